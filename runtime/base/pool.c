#include "runtime/base/pool.h"
#include "runtime/base/mem.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MAX_THREADS = 256, SPINS = 4000 };

// Each thread has a range of neighbouring pieces, so that it walks through memory in order, and helps the others when
// its own are taken. A piece is taken by counting its range's `left` down. Whoever has taken one may read the loop's
// fields: they change only when all pieces are finished. A worker that comes late finds nothing left and touches
// nothing, so that nobody waits for a thread that got no time.
struct range {
  atomic_llong left;                     // pieces not yet taken
  char alone[64 - sizeof(atomic_llong)]; // in its cache line
};

struct pool {
  int threads, started;
  pthread_t ids[MAX_THREADS];
  pthread_mutex_t lock;
  pthread_cond_t work, done;
  atomic_bool stop, waiting; // waiting: the caller sleeps until the last piece is finished
  atomic_int sleepers;       // workers that sleep
  atomic_uint loops;         // begun so far
  void (*fn)(void *, int64_t, int64_t, int);
  void *ctx;
  int64_t count, grain, pieces;
  struct range ranges[MAX_THREADS];
  atomic_llong finished; // pieces done
};

struct worker {
  struct pool *pool;
  int index;
};

// Tells the processor that this is a waiting loop.
static void relax(void) {
#if defined __x86_64__
  __builtin_ia32_pause();
#elif defined __aarch64__
  __asm__ volatile("yield");
#endif
}

static int64_t range_begin(const struct pool *p, int index) {
  return p->pieces / p->threads * index + p->pieces % p->threads * index / p->threads;
}

static void take_range(struct pool *p, int index, int thread) {
  atomic_llong *counter = &p->ranges[index].left;
  long long left = atomic_load(counter);
  while (left > 0) {
    if (!atomic_compare_exchange_weak(counter, &left, left - 1)) continue;
    int64_t pieces = p->pieces, begin = (range_begin(p, index + 1) - left) * p->grain;
    int64_t end = p->count - begin < p->grain ? p->count : begin + p->grain;
    p->fn(p->ctx, begin, end, thread);
    if (atomic_fetch_add(&p->finished, 1) + 1 == pieces && atomic_load(&p->waiting)) {
      pthread_mutex_lock(&p->lock);
      pthread_cond_signal(&p->done);
      pthread_mutex_unlock(&p->lock);
    }
    left = atomic_load(counter);
  }
}

static void take_pieces(struct pool *p, int thread) {
  for (int i = 0; i < p->threads; i++) take_range(p, (thread + i) % p->threads, thread);
}

// Waits until a loop was begun after the `seen`-th. A short spin first: in decoding the next loop comes within
// microseconds.
static bool wait_for_work(struct pool *p, unsigned *seen) {
  for (int i = 0; i < SPINS && atomic_load(&p->loops) == *seen; i++) relax();
  if (atomic_load(&p->loops) == *seen) {
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->loops) == *seen && !atomic_load(&p->stop)) pthread_cond_wait(&p->work, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
  }
  *seen = atomic_load(&p->loops);
  return !atomic_load(&p->stop);
}

static void *work(void *arg) {
  struct worker w = *(struct worker *)arg;
  unsigned seen = 0;
  mem_free(arg);
  while (wait_for_work(w.pool, &seen)) take_pieces(w.pool, w.index);
  return NULL;
}

static int available_processors(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (int)n : 1;
}

struct pool *pool_open(int threads, struct err *e) {
  if (threads <= 0) threads = available_processors();
  if (threads > MAX_THREADS) threads = MAX_THREADS;
  struct pool *p = mem_alloc(1, sizeof *p, "the thread pool", e);
  if (!p) return NULL;
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->work, NULL);
  pthread_cond_init(&p->done, NULL);
  p->threads = threads;
  for (int i = 1; i < threads; i++) {
    struct worker *w = mem_alloc(1, sizeof *w, "a thread", e);
    if (!w) return pool_close(p), NULL;
    *w = (struct worker){p, i};
    if (pthread_create(&p->ids[i], NULL, work, w) != 0) {
      mem_free(w);
      err_set(e, "cannot start %d threads; use fewer with --threads", threads);
      return pool_close(p), NULL;
    }
    p->started++;
  }
  return p;
}

void pool_close(struct pool *p) {
  if (!p) return;
  pthread_mutex_lock(&p->lock);
  atomic_store(&p->stop, true);
  pthread_cond_broadcast(&p->work);
  pthread_mutex_unlock(&p->lock);
  for (int i = 1; i <= p->started; i++) pthread_join(p->ids[i], NULL);
  pthread_cond_destroy(&p->done);
  pthread_cond_destroy(&p->work);
  pthread_mutex_destroy(&p->lock);
  mem_free(p);
}

int pool_threads(const struct pool *p) { return p->threads; }

void pool_for(struct pool *p, int64_t count, int64_t grain, void (*fn)(void *, int64_t, int64_t, int), void *ctx) {
  if (count <= 0) return;
  if (grain < 1) grain = 1;
  if (p->started == 0 || count <= grain) {
    for (int64_t b = 0; b < count; b += grain) fn(ctx, b, count - b < grain ? count : b + grain, 0);
    return;
  }
  p->fn = fn;
  p->ctx = ctx;
  p->count = count;
  p->grain = grain;
  p->pieces = (count - 1) / grain + 1;
  atomic_store(&p->finished, 0);
  for (int i = 0; i < p->threads; i++) atomic_store(&p->ranges[i].left, range_begin(p, i + 1) - range_begin(p, i));
  atomic_fetch_add(&p->loops, 1);
  if (atomic_load(&p->sleepers) > 0) {
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
  }
  take_pieces(p, 0);
  for (int i = 0; i < SPINS; i++, relax())
    if (atomic_load(&p->finished) == p->pieces) return;
  pthread_mutex_lock(&p->lock);
  atomic_store(&p->waiting, true);
  while (atomic_load(&p->finished) != p->pieces) pthread_cond_wait(&p->done, &p->lock);
  atomic_store(&p->waiting, false);
  pthread_mutex_unlock(&p->lock);
}

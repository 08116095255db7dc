#include "runtime/base/pool.h"
#include "runtime/base/mem.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MAX_THREADS = 256, SPINS = 4000 };

// Each thread has a range of neighbouring pieces, so that it walks through memory in order, and helps the others when
// its own are taken. A loop has a number, and a range counts the pieces taken of the loop whose number stands beside
// the count: nobody has to set it back, and it stays in its thread's cache. Whoever has taken a piece may read the
// loop's fields: they change only when all pieces are finished. A worker that comes late finds nothing left of its loop
// and touches nothing, so that nobody waits for a thread that got no time. Between processors that share no cache each
// line that changes hands costs a few hundred nanoseconds, as much as a small piece: hence as few as can be.
enum { PIECE_BITS = 24, LINE = 64 };

struct range {
  atomic_ullong taken; // loop's number, pieces
  char alone[LINE - sizeof(atomic_ullong)];
};

struct loop {
  atomic_ullong number_pieces; // of the last one begun
  void (*fn)(void *, int64_t, int64_t, int);
  void *ctx;
  int64_t count, grain;
  long long target; // `finished` when it is over
};

struct pool {
  int threads, started;
  pthread_t ids[MAX_THREADS];
  pthread_mutex_t lock;
  pthread_cond_t work, done;
  atomic_bool stop, waiting; // waiting: the caller sleeps until the last piece is finished
  atomic_int sleepers;       // workers that sleep
  char before[LINE];
  struct loop loop;
  char between[LINE];
  atomic_llong finished; // pieces of all loops
  char after[LINE];
  struct range ranges[MAX_THREADS];
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

static int64_t pieces_of(unsigned long long loop) { return (int64_t)(loop & ((1u << PIECE_BITS) - 1)); }

static int64_t range_begin(const struct pool *p, int64_t pieces, int index) {
  return pieces / p->threads * index + pieces % p->threads * index / p->threads;
}

// The piece of the loop that a range whose count is `taken` gives next, or one that is not below `size`.
static int64_t next_piece(unsigned long long loop, unsigned long long taken) {
  unsigned long long number = loop >> PIECE_BITS, of = taken >> PIECE_BITS;
  return of < number ? 0 : of == number ? pieces_of(taken) : INT64_MAX;
}

static void finish_pieces(struct pool *p, long long count) {
  long long target = p->loop.target; // the loop cannot end before this thread's pieces are counted
  if (atomic_fetch_add(&p->finished, count) + count == target && atomic_load(&p->waiting)) {
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
  }
}

static void take_range(struct pool *p, unsigned long long loop, int index, int thread) {
  int64_t first = range_begin(p, pieces_of(loop), index), size = range_begin(p, pieces_of(loop), index + 1) - first;
  atomic_ullong *counter = &p->ranges[index].taken;
  unsigned long long taken = atomic_load(counter);
  long long done = 0;
  for (int64_t piece; (piece = next_piece(loop, taken)) < size;) {
    unsigned long long next = (loop >> PIECE_BITS << PIECE_BITS) + (unsigned long long)piece + 1;
    if (!atomic_compare_exchange_weak(counter, &taken, next)) continue;
    int64_t begin = (first + piece) * p->loop.grain, left = p->loop.count - begin;
    p->loop.fn(p->loop.ctx, begin, begin + (left < p->loop.grain ? left : p->loop.grain), thread);
    done++;
    taken = next;
  }
  if (done) finish_pieces(p, done);
}

static void take_pieces(struct pool *p, unsigned long long loop, int thread) {
  for (int i = 0; i < p->threads; i++) take_range(p, loop, (thread + i) % p->threads, thread);
}

// Waits until a loop was begun after the one `seen`. A short spin first: in decoding the next loop comes within
// microseconds.
static bool wait_for_work(struct pool *p, unsigned long long *seen) {
  atomic_ullong *loop = &p->loop.number_pieces;
  for (int i = 0; i < SPINS && atomic_load(loop) == *seen; i++) relax();
  if (atomic_load(loop) == *seen) {
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(loop) == *seen && !atomic_load(&p->stop)) pthread_cond_wait(&p->work, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
  }
  *seen = atomic_load(loop);
  return !atomic_load(&p->stop);
}

static void *work(void *arg) {
  struct worker w = *(struct worker *)arg;
  unsigned long long seen = 0;
  mem_free(arg);
  while (wait_for_work(w.pool, &seen)) take_pieces(w.pool, seen, w.index);
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
  int64_t most = (1 << PIECE_BITS) - 1, pieces = (count - 1) / grain + 1;
  if (pieces > most) {
    grain = (count - 1) / most + 1;
    pieces = (count - 1) / grain + 1;
  }
  unsigned long long loop = atomic_load(&p->loop.number_pieces);
  loop = (((loop >> PIECE_BITS) + 1) << PIECE_BITS) + (unsigned long long)pieces;
  p->loop.fn = fn;
  p->loop.ctx = ctx;
  p->loop.count = count;
  p->loop.grain = grain;
  p->loop.target += pieces;
  atomic_store(&p->loop.number_pieces, loop);
  if (atomic_load(&p->sleepers) > 0) {
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
  }
  take_pieces(p, loop, 0);
  for (int i = 0; i < SPINS; i++, relax())
    if (atomic_load(&p->finished) == p->loop.target) return;
  pthread_mutex_lock(&p->lock);
  atomic_store(&p->waiting, true);
  while (atomic_load(&p->finished) != p->loop.target) pthread_cond_wait(&p->done, &p->lock);
  atomic_store(&p->waiting, false);
  pthread_mutex_unlock(&p->lock);
}

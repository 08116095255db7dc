#include "runtime/base/pool.h"
#include "runtime/base/mem.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MAX_THREADS = 256, SPINS = 2000 };

struct pool {
  int threads, started;
  pthread_t ids[MAX_THREADS];
  pthread_mutex_t lock;
  pthread_cond_t work, done;
  atomic_ulong generation; // counts the loops begun; a worker waits for the next one
  bool stop;
  void (*fn)(void *, int64_t, int64_t, int);
  void *ctx;
  int64_t count, grain;
  atomic_llong next; // first item not yet taken
  atomic_int busy;   // workers that have not finished the current loop
};

struct worker {
  struct pool *pool;
  int index;
};

static void take_pieces(struct pool *p, int thread) {
  for (;;) {
    int64_t begin = atomic_fetch_add(&p->next, p->grain);
    if (begin >= p->count) return;
    int64_t end = p->count - begin < p->grain ? p->count : begin + p->grain;
    p->fn(p->ctx, begin, end, thread);
  }
}

// A short spin first: in decoding the next loop comes within microseconds.
static bool wait_for_work(struct pool *p, unsigned long seen) {
  for (int i = 0; i < SPINS; i++)
    if (atomic_load(&p->generation) != seen) break;
  pthread_mutex_lock(&p->lock);
  while (atomic_load(&p->generation) == seen && !p->stop) pthread_cond_wait(&p->work, &p->lock);
  bool go = !p->stop;
  pthread_mutex_unlock(&p->lock);
  return go;
}

static void *work(void *arg) {
  struct worker w = *(struct worker *)arg;
  mem_free(arg);
  unsigned long seen = 0;
  while (wait_for_work(w.pool, seen)) {
    seen++;
    take_pieces(w.pool, w.index);
    if (atomic_fetch_sub(&w.pool->busy, 1) == 1) {
      pthread_mutex_lock(&w.pool->lock);
      pthread_cond_signal(&w.pool->done);
      pthread_mutex_unlock(&w.pool->lock);
    }
  }
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
  p->stop = true;
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
  atomic_store(&p->next, 0);
  atomic_store(&p->busy, p->started);
  pthread_mutex_lock(&p->lock);
  atomic_fetch_add(&p->generation, 1);
  pthread_cond_broadcast(&p->work);
  pthread_mutex_unlock(&p->lock);
  take_pieces(p, 0);
  for (int i = 0; i < SPINS; i++)
    if (atomic_load(&p->busy) == 0) return;
  pthread_mutex_lock(&p->lock);
  while (atomic_load(&p->busy) != 0) pthread_cond_wait(&p->done, &p->lock);
  pthread_mutex_unlock(&p->lock);
}

// Launches: host threads, the order of blocks, and which blocks are resident. A block runs to its end on one thread unless it
// spins on memory; then it takes turns with others, up to as many as a T4 holds, so that blocks which wait for each other
// (locks, hand-made grid barriers) go on.
#include "runtime/vgpu/exec_internal.h"
#include <pthread.h>
#include <stdlib.h>

enum { SLICE = 1 << 16, MAX_RESIDENT = 40 * 16 };

struct worker {
  struct vgpu_pool *pool;
  unsigned index;
  pthread_t thread;
  struct vgpu_block **blocks; // contexts; the first `running` hold blocks
  unsigned num, running;
};

struct vgpu_pool {
  pthread_mutex_t turn; // one launch at a time
  pthread_mutex_t lock;
  pthread_cond_t start, done;
  unsigned threads, busy;
  uint64_t serial; // of launches
  uint64_t call;   // counts the times that workers are called; they wait for it to change
  bool quit;
  struct worker *workers;
  // the launch
  struct vgpu_launch *launch;
  struct vg_launch check;
  uint64_t num_blocks, bits;
  atomic_uint_fast64_t next_block, issued;
  unsigned resident; // contexts a worker may have
};

// A permutation of [0, n): steps that are one-to-one on `bits` bits, repeated until the value is below n.
static uint64_t shuffled(uint64_t k, uint64_t n, unsigned bits, uint64_t seed) {
  uint64_t mask = bits >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << bits) - 1;
  do {
    uint64_t s = seed;
    for (int round = 0; round < 4; round++) {
      k = (k * (vgpu_random(&s) | 1) + vgpu_random(&s)) & mask;
      k ^= k >> (bits / 2 + 1);
    }
  } while (k >= n);
  return k;
}

static bool take_block(struct vgpu_pool *p, uint64_t *id) {
  const struct vgpu_launch *l = p->launch;
  uint64_t step = l->sample > 1 ? l->sample : 1, k = atomic_fetch_add(&p->next_block, step);
  if (k >= p->num_blocks) return false;
  *id = l->seed ? shuffled(k, p->num_blocks, (unsigned)p->bits, l->seed) : k;
  return true;
}

static void fail(struct vgpu_pool *p, int error) {
  int none = 0;
  atomic_compare_exchange_strong(&p->check.error, &none, error);
}

// Another block for the worker. false: none left, or no room for it.
static bool start_one(struct worker *w) {
  struct vgpu_pool *p = w->pool;
  uint64_t id;
  if (w->running >= p->resident || vg_launch_stopped(&p->check)) return false;
  if (w->running == w->num) {
    struct vgpu_block **more = realloc(w->blocks, (w->num + 1) * sizeof *more);
    if (more) w->blocks = more;
    struct vgpu_block *b = more ? vgpu_block_open() : NULL;
    if (!b) {
      if (!w->running) fail(p, 2);
      return false;
    }
    w->blocks[w->num++] = b;
  }
  if (!take_block(p, &id)) return false;
  if (!vgpu_block_start(w->blocks[w->running], p->launch, &p->check, p->serial, id, w->index)) {
    fail(p, 2);
    return false;
  }
  w->running++;
  return true;
}

static void end_block(struct worker *w, unsigned k) {
  struct vgpu_block *b = w->blocks[k];
  vgpu_block_finish(b);
  uint64_t sum = atomic_fetch_add(&w->pool->issued, b->issued) + b->issued;
  if (w->pool->launch->watchdog && sum > w->pool->launch->watchdog) fail(w->pool, 702);
  w->blocks[k] = w->blocks[--w->running];
  w->blocks[w->running] = b;
}

static bool timed_out(struct worker *w, const struct vgpu_block *b) {
  uint64_t limit = w->pool->launch->watchdog;
  if (!limit || b->issued <= limit) return false;
  fail(w->pool, 702);
  return true;
}

static void work(struct worker *w) {
  w->running = 0;
  for (unsigned k = 0; w->running || start_one(w); k++) {
    if (k >= w->running) k = 0;
    struct vgpu_block *b = w->blocks[k];
    if (vgpu_block_run(b, SLICE) || timed_out(w, b)) {
      end_block(w, k);
      if (!w->running) k = ~0u;
    } else if (b->spun || w->pool->launch->cooperative) {
      start_one(w);
    } else {
      k--; // it works: let it
    }
  }
}

static void *worker_main(void *arg) {
  struct worker *w = arg;
  struct vgpu_pool *p = w->pool;
  uint64_t seen = 0;
  pthread_mutex_lock(&p->lock);
  for (;;) {
    while (!p->quit && p->call == seen) pthread_cond_wait(&p->start, &p->lock);
    if (p->quit) break;
    seen = p->call;
    pthread_mutex_unlock(&p->lock);
    work(w);
    pthread_mutex_lock(&p->lock);
    if (!--p->busy) pthread_cond_signal(&p->done);
  }
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

struct vgpu_pool *vgpu_pool_open(unsigned threads) {
  struct vgpu_pool *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->workers = calloc(threads ? threads : 1, sizeof *p->workers);
  if (!p->workers) {
    free(p);
    return NULL;
  }
  pthread_mutex_init(&p->turn, NULL);
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->start, NULL);
  pthread_cond_init(&p->done, NULL);
  p->threads = 1;
  p->workers[0].pool = p;
  for (unsigned k = 1; k < threads; k++) { // fewer than asked for is no error
    p->workers[k].pool = p;
    p->workers[k].index = k;
    if (pthread_create(&p->workers[k].thread, NULL, worker_main, &p->workers[k])) break;
    p->threads++;
  }
  return p;
}

unsigned vgpu_pool_threads(const struct vgpu_pool *p) { return p->threads; }

void vgpu_pool_close(struct vgpu_pool *p) {
  if (!p) return;
  pthread_mutex_lock(&p->lock);
  p->quit = true;
  pthread_cond_broadcast(&p->start);
  pthread_mutex_unlock(&p->lock);
  for (unsigned k = 1; k < p->threads; k++) pthread_join(p->workers[k].thread, NULL);
  for (unsigned k = 0; k < p->threads; k++) {
    for (unsigned i = 0; i < p->workers[k].num; i++) vgpu_block_close(p->workers[k].blocks[i]);
    free(p->workers[k].blocks);
  }
  pthread_cond_destroy(&p->start);
  pthread_cond_destroy(&p->done);
  pthread_mutex_destroy(&p->lock);
  pthread_mutex_destroy(&p->turn);
  free(p->workers);
  free(p);
}

static unsigned resident_limit(const struct vgpu_pool *p) {
  const struct vgpu_launch *l = p->launch;
  uint32_t threads = l->block[0] * l->block[1] * l->block[2], warps = (threads + 31) / 32;
  unsigned per_sm = 32 / (warps ? warps : 1);
  if (per_sm > 16) per_sm = 16;
  uint32_t shared = l->kernel->static_shared + l->dynamic_shared;
  if (shared && 65536 / shared < per_sm) per_sm = 65536 / shared;
  if (!per_sm) per_sm = 1;
  unsigned n = (40 * per_sm + p->threads - 1) / p->threads;
  return n < MAX_RESIDENT ? n : MAX_RESIDENT;
}

static void begin(struct vgpu_pool *p, struct vgpu_launch *l) {
  p->launch = l;
  p->check.kernel = l->kernel->name;
  memcpy(p->check.grid, l->grid, sizeof l->grid);
  memcpy(p->check.block, l->block, sizeof l->block);
  p->check.module = l->code;
  p->check.locate = vgpu_locate;
  vg_launch_begin(&p->check);
  p->num_blocks = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
  p->bits = 1;
  while (p->bits < 63 && UINT64_C(1) << p->bits < p->num_blocks) p->bits++;
  atomic_store(&p->next_block, 0);
  atomic_store(&p->issued, 0);
  p->resident = resident_limit(p);
}

int vgpu_exec(struct vgpu_pool *p, struct vgpu_launch *l) {
  uint32_t threads = l->block[0] * l->block[1] * l->block[2];
  if (!threads || l->block[0] > 1024 || l->block[1] > 1024 || l->block[2] > 64 || threads > 1024) return 1;
  if (!l->kernel->num) return 98; // a prototype without a body
  if (!l->grid[0] || !l->grid[1] || !l->grid[2]) return 1;
  pthread_mutex_lock(&p->turn);
  begin(p, l);
  bool alone = p->num_blocks == 1 || p->threads == 1;
  pthread_mutex_lock(&p->lock);
  p->serial++;
  if (!alone) {
    p->call++;
    p->busy = p->threads - 1;
    pthread_cond_broadcast(&p->start);
  }
  pthread_mutex_unlock(&p->lock);
  work(&p->workers[0]);
  if (!alone) {
    pthread_mutex_lock(&p->lock);
    while (p->busy) pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
  }
  l->issued = atomic_load(&p->issued);
  int error = vg_launch_end(&p->check);
  pthread_mutex_unlock(&p->turn);
  return error;
}

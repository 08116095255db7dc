#include "bench/roof_loops.h"
#include "bench/roof.h"
#include "runtime/base/mem.h"
#include "runtime/base/pool.h"
#include "runtime/cpu/kernels.h"
#include <string.h>
#include <time.h>

enum { TRIES = 12, PIECE = 1 << 20, PIECES = 256, FMA_PIECES = 64, FMA_STEPS = 100000 };

struct work {
  const struct roof_loops *loops;
  char *memory;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Every page is written once: pages never written are all one page of zeros.
static void write_pieces(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct work *w = ctx;
  (void)thread;
  memset(w->memory + begin * PIECE, 1, (size_t)(end - begin) * PIECE);
}

static void read_pieces(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct work *w = ctx;
  (void)thread;
  for (int64_t i = begin; i < end; i++) w->loops->read(w->memory + i * PIECE, PIECE);
}

static void multiply_add_pieces(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct work *w = ctx;
  (void)thread;
  for (int64_t i = begin; i < end; i++) w->loops->multiply_add(FMA_STEPS);
}

static double best_seconds(struct pool *p, int64_t count, void (*fn)(void *, int64_t, int64_t, int), struct work *w) {
  double best = 0;
  for (int i = 0; i < TRIES; i++) {
    double start = now();
    pool_for(p, count, 1, fn, w);
    double seconds = now() - start;
    if (i == 0 || seconds < best) best = seconds;
  }
  return best;
}

static const struct roof_loops *find_loops(const char *isa) {
#ifdef __x86_64__
  if (!strcmp(isa, "v4") || !strcmp(isa, "vnni")) return &roof_loops_v4;
  if (!strcmp(isa, "v3")) return &roof_loops_v3;
#endif
  (void)isa;
  return &roof_loops_baseline;
}

bool roof_measure(struct roof *r, int threads, struct err *e) {
  const struct cpu_kernels *k = cpu_kernels_select(e);
  if (!k) return false;
  struct pool *p = pool_open(threads, e);
  struct work w = {find_loops(k->isa), NULL};
  if (p) w.memory = mem_alloc(PIECES, PIECE, "measuring the memory", e);
  if (w.memory) {
    pool_for(p, PIECES, 1, write_pieces, &w);
    r->read_bytes_per_second = (double)PIECES * PIECE / best_seconds(p, PIECES, read_pieces, &w);
    int64_t pieces = (int64_t)FMA_PIECES * pool_threads(p);
    r->flops = 2.0 * (double)pieces * (double)w.loops->multiply_adds_per_step * FMA_STEPS /
               best_seconds(p, pieces, multiply_add_pieces, &w);
  }
  bool ok = w.memory != NULL;
  mem_free(w.memory);
  pool_close(p);
  return ok;
}

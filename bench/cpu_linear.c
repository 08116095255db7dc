// How near the CPU backend's projections come to the machine's ceilings: for each stored type, one row of activations
// (decode) against the read bandwidth and 512 rows (prefill) against the multiply-add rate. Ceilings and projections
// are measured in turn, so that a share compares figures of the same second; the median of the rounds is printed.
//   cpu_linear [ROUNDS [THREADS]]
#include "bench/roof.h"
#include "runtime/base/mem.h"
#include "runtime/cpu/cpu.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COLS = 8192, DECODE_BYTES = 192 << 20, PREFILL_ROWS = 512, PREFILL_OUTPUTS = 768, MAX_ROUNDS = 99, TRIES = 8 };

struct figures {
  double decode[MAX_ROUNDS], prefill[MAX_ROUNDS], decode_share[MAX_ROUNDS], prefill_share[MAX_ROUNDS];
};

struct bench {
  struct cpu cpu;
  struct rows x, y;
  uint8_t *weights;
  struct figures figures[DTYPE_COUNT];
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *v, int n) {
  qsort(v, (size_t)n, sizeof *v, compare);
  return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

static double best_seconds(struct bench *b, const struct matrix *w, int32_t count) {
  double best = INFINITY;
  for (int i = 0; i < TRIES; i++) {
    double start = now();
    linear_f32(&b->cpu, w, &b->x, count, &b->y, false);
    best = fmin(best, now() - start);
  }
  return best;
}

static bool measure(struct bench *b, enum dtype type, const struct roof *roof, int round, struct err *e) {
  int64_t row_bytes = dtype_row_bytes(type, COLS), rows = DECODE_BYTES / row_bytes;
  struct tensor t = {
      .type = type, .dims = 2, .rows = rows, .cols = COLS, .data = b->weights, .bytes = rows * row_bytes};
  struct matrix w = {.rows = rows, .cols = COLS, .num_parts = 1, .parts = {{.tensor = &t}}};
  struct figures *f = &b->figures[type];
  if (!linear_alloc(&b->cpu, &w, PREFILL_ROWS, e)) return false;
  f->decode[round] = (double)t.bytes / best_seconds(b, &w, 1);
  w.rows = PREFILL_OUTPUTS;
  f->prefill[round] = 2.0 * PREFILL_ROWS * PREFILL_OUTPUTS * COLS / best_seconds(b, &w, PREFILL_ROWS);
  f->decode_share[round] = f->decode[round] / roof->read_bytes_per_second;
  f->prefill_share[round] = f->prefill[round] / roof->flops;
  return true;
}

static bool bench_open(struct bench *b, int threads, struct err *e) {
  int64_t outputs = DECODE_BYTES / dtype_row_bytes(DTYPE_Q4_0, COLS);
  b->cpu.kernels = cpu_kernels_select(e);
  b->cpu.pool = b->cpu.kernels ? pool_open(threads, e) : NULL;
  if (!b->cpu.pool) return false;
  b->x = (struct rows){mem_alloc(PREFILL_ROWS, COLS * sizeof(float), "activations", e), COLS, COLS};
  b->y = (struct rows){mem_alloc((size_t)outputs + PREFILL_ROWS * PREFILL_OUTPUTS, sizeof(float), "outputs", e),
                       outputs, PREFILL_OUTPUTS};
  b->cpu.scratch = mem_alloc((size_t)pool_threads(b->cpu.pool), sizeof *b->cpu.scratch, "scratch", e);
  b->weights = mem_alloc(DECODE_BYTES, 1, "weights", e);
  if (!b->x.data || !b->y.data || !b->cpu.scratch || !b->weights) return false;
  uint32_t random = 1; // bytes that make moderate numbers of every type
  for (int64_t i = 0; i < DECODE_BYTES; i++)
    b->weights[i] = (uint8_t)(0x20 + ((random = random * 1664525u + 1013904223u) >> 27));
  for (int64_t i = 0; i < PREFILL_ROWS * COLS; i++) ((float *)b->x.data)[i] = (float)(i % 7 - 3);
  return true;
}

static void bench_close(struct bench *b) {
  pool_close(b->cpu.pool);
  mem_free(b->x.data);
  mem_free(b->y.data);
  mem_free(b->cpu.scratch);
  mem_free(b->cpu.fixed);
  mem_free(b->weights);
}

static bool run(struct bench *b, int rounds, struct err *e) {
  double read[MAX_ROUNDS], flops[MAX_ROUNDS];
  for (int r = 0; r < rounds; r++)
    for (int t = 0; t < DTYPE_COUNT; t++) {
      struct roof roof;
      if (!roof_measure(&roof, pool_threads(b->cpu.pool), e)) return false;
      read[r] = roof.read_bytes_per_second;
      flops[r] = roof.flops;
      if (!measure(b, (enum dtype)t, &roof, r, e)) return false;
    }
  printf("%s, %d threads, %d rounds: reads %.1f GB/s, %.0f Gflop/s\n", b->cpu.kernels->isa, pool_threads(b->cpu.pool),
         rounds, median(read, rounds) / 1e9, median(flops, rounds) / 1e9);
  printf("%-6s %14s %8s %18s %8s\n", "type", "decode GB/s", "share", "prefill Gflop/s", "share");
  for (int t = 0; t < DTYPE_COUNT; t++) {
    struct figures *f = &b->figures[t];
    printf("%-6s %14.1f %7.0f%% %18.0f %7.0f%%\n", dtype_info((enum dtype)t)->name, median(f->decode, rounds) / 1e9,
           100 * median(f->decode_share, rounds), median(f->prefill, rounds) / 1e9,
           100 * median(f->prefill_share, rounds));
  }
  return true;
}

int main(int argc, char **argv) {
  static struct bench b;
  struct err e = {0};
  int rounds = argc > 1 ? atoi(argv[1]) : 5, threads = argc > 2 ? atoi(argv[2]) : 0;
  if (rounds < 1 || rounds > MAX_ROUNDS || threads < 0)
    return fprintf(stderr, "usage: cpu_linear [ROUNDS [THREADS]], rounds 1..%d\n", MAX_ROUNDS), 2;
  bool ok = bench_open(&b, threads, &e) && run(&b, rounds, &e);
  if (!ok) fprintf(stderr, "cpu_linear: %s\n", e.text);
  bench_close(&b);
  return ok ? 0 : 1;
}

// Projections against sums in double, and one row against many, to the bit.
#include "tests/cpu/cpu_test.h"
#include "runtime/base/half.h"
#include <math.h>

static uint64_t seed;

struct problem {
  struct weight_rows w[LINEAR_PANEL]; // runs of rows that lie one behind the other, from one to all
  int32_t runs, num_outputs, num_rows;
  int64_t k, ldx;
  float *x;
  double *exact, *size; // [num_rows, num_outputs]: the sum, and the sum of absolute values
};

static void problem_open(struct problem *p, enum dtype type, int32_t num_outputs, int32_t num_rows, int64_t k) {
  *p = (struct problem){
      .num_outputs = num_outputs, .num_rows = num_rows, .k = k, .ldx = (k + CPU_PAD - 1) / CPU_PAD * CPU_PAD};
  p->x = calloc((size_t)(num_rows * p->ldx), sizeof *p->x);
  p->exact = calloc((size_t)num_rows * (size_t)num_outputs, sizeof *p->exact);
  p->size = calloc((size_t)num_rows * (size_t)num_outputs, sizeof *p->size);
  float *w = malloc((size_t)k * sizeof *w);
  assert_true(p->x && p->exact && p->size && w);
  for (int32_t r = 0; r < num_rows; r++)
    for (int64_t i = 0; i < k; i++) p->x[r * p->ldx + i] = random_value(&seed, true);
  struct weight_rows *run = NULL;
  for (int32_t o = 0, i = 0; o < num_outputs; o++, i++) {
    if (!run || i == run->count) {
      int32_t count = 1 + (int32_t)(test_random(&seed) % (uint64_t)(num_outputs - o));
      run = &p->w[p->runs++];
      *run =
          random_weights(type == DTYPE_COUNT ? (enum dtype)(test_random(&seed) % DTYPE_COUNT) : type, count * k, &seed);
      run->count = count;
      i = 0;
    }
    dtype_to_f32(run->type, (const char *)run->data + i * dtype_row_bytes(run->type, k), w, k);
    for (int32_t r = 0; r < num_rows; r++)
      for (int64_t j = 0; j < k; j++) {
        double product = (double)p->x[r * p->ldx + j] * w[j];
        p->exact[r * num_outputs + o] += product;
        p->size[r * num_outputs + o] += fabs(product);
      }
  }
  free(w);
}

static void problem_close(struct problem *p) {
  for (int32_t i = 0; i < p->runs; i++) free_weights(p->w[i]);
  free(p->x);
  free(p->exact);
  free(p->size);
}

// The longest chain of roundings: a lane's products and sums in a chunk, the tree, the chunks; at least four lanes.
static double bound(int64_t k, double size) {
  int64_t chunk = k < LINEAR_CHUNK ? k : LINEAR_CHUNK, chunks = (k + LINEAR_CHUNK - 1) / LINEAR_CHUNK;
  return (double)((chunk + 3) / 4 + 1 + 4 + chunks) * EPS * size;
}

static void check_problem(const struct problem *p, const struct cpu_kernels *kernels, const char *what) {
  static struct linear_scratch scratch;
  struct guarded many, one;
  guarded_open(&many, (int64_t)p->num_rows * LINEAR_PANEL);
  struct linear_task t = {.w = p->w,
                          .num_outputs = p->num_outputs,
                          .num_rows = p->num_rows,
                          .k = p->k,
                          .x = p->x,
                          .ldx = p->ldx,
                          .out = many.data};
  memset(&scratch, 0xff, sizeof scratch); // NaN
  kernels->linear(&t, &scratch);
  guarded_check(&many, what);
  for (int32_t r = 0; r < p->num_rows; r++) {
    guarded_open(&one, p->num_outputs);
    t.num_rows = 1;
    t.x = p->x + r * p->ldx;
    t.out = one.data;
    kernels->linear(&t, &scratch);
    guarded_check(&one, what);
    for (int32_t o = 0; o < p->num_outputs; o++)
      fail_unless_close(one.data[o], p->exact[r * p->num_outputs + o], bound(p->k, p->size[r * p->num_outputs + o]),
                        what, o);
    fail_unless_same(one.data, many.data + (int64_t)r * LINEAR_PANEL, p->num_outputs, what);
    guarded_close(&one);
  }
  guarded_close(&many);
}

static void check(enum dtype type, int32_t num_outputs, int32_t num_rows, int64_t k) {
  struct problem p;
  const struct cpu_kernels *kernels;
  char what[128];
  problem_open(&p, type, num_outputs, num_rows, k);
  for (int i = 0; (kernels = isa_next(&i));) {
    snprintf(what, sizeof what, "%s, %s, %d outputs, %d rows, k = %lld", kernels->isa,
             type == DTYPE_COUNT ? "mixed types" : dtype_info(type)->name, num_outputs, num_rows, (long long)k);
    check_problem(&p, kernels, what);
  }
  problem_close(&p);
}

static void sums_are_exact_to_rounding_and_do_not_depend_on_the_rows(void **state) {
  static const int64_t any_k[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 80, 96, 1023, 1024, 1025, 1056, 2049, 3072};
  static const int32_t outputs[] = {1, 2, 3, 4, 5, 7, 8, 63, 64}, rows[] = {1, 2, 3, 4, 5, 6, 7, 11, 12, 13};
  (void)state;
  for (int t = 0; t < DTYPE_COUNT; t++) {
    int64_t block = dtype_info((enum dtype)t)->block;
    for (size_t i = 0; i < sizeof any_k / sizeof *any_k; i++)
      if (any_k[i] % block == 0) check((enum dtype)t, outputs[i % 9], rows[i % 10], any_k[i]);
    for (int i = 0; i < 9; i++) check((enum dtype)t, outputs[i], rows[9 - i], block * (1 + i));
    check((enum dtype)t, 6, 3, 8192);
    check((enum dtype)t, 7, 19, 1280);
  }
  check(DTYPE_BF16, 5, LINEAR_ROWS, 48);
  check(DTYPE_F32, LINEAR_PANEL, LINEAR_ROWS - 1, 20);
  for (int i = 0; i < 8; i++)
    check(DTYPE_COUNT, 1 + (int32_t)(test_random(&seed) % 17), 4, 512); // types mixed row by row
}

static void stored_rows_convert_to_the_formulas_values(void **state) {
  const struct cpu_kernels *kernels;
  (void)state;
  for (int i = 0; (kernels = isa_next(&i));)
    for (int t = 0; t < DTYPE_COUNT; t++)
      for (int64_t blocks = 1; blocks < (dtype_info((enum dtype)t)->block == 1 ? 70 : 9); blocks++) {
        int64_t n = blocks * dtype_info((enum dtype)t)->block;
        struct weight_rows w = random_weights((enum dtype)t, n, &seed);
        float *expected = malloc((size_t)n * sizeof *expected);
        struct guarded found;
        guarded_open(&found, n);
        dtype_to_f32((enum dtype)t, w.data, expected, n);
        kernels->to_f32(w.type, w.data, found.data, n);
        guarded_check(&found, kernels->isa);
        for (int64_t j = 0; j < n; j++)
          fail_unless_close(found.data[j], expected[j], 0, dtype_info((enum dtype)t)->name, j);
        guarded_close(&found);
        free(expected);
        free_weights(w);
      }
}

// Every fp16 value there is, subnormals, infinities and NaNs too.
static void every_half_converts(void **state) {
  static uint16_t all[65536];
  static float found[65536];
  const struct cpu_kernels *kernels;
  (void)state;
  for (int i = 0; i < 65536; i++) all[i] = (uint16_t)i;
  for (int i = 0; (kernels = isa_next(&i));) {
    kernels->to_f32(DTYPE_F16, all, found, 65536);
    for (int j = 0; j < 65536; j++) {
      float expected = f16_to_f32(all[j]);
      if (isnan(expected) ? !isnan(found[j]) : memcmp(&expected, found + j, 4) != 0)
        fail_msg("%s: half %04x is %.9g, expected %.9g", kernels->isa, (unsigned)j, (double)found[j], (double)expected);
    }
  }
}

// A NaN or infinity in one row or weight stays in its own outputs.
static void bad_numbers_stay_where_they_are(void **state) {
  const struct cpu_kernels *kernels;
  static struct linear_scratch scratch;
  static float out[7 * LINEAR_PANEL];
  struct problem p;
  (void)state;
  problem_open(&p, DTYPE_F32, 9, 7, 50);
  float bad[2] = {NAN, INFINITY};
  int32_t run = 0, row = 4; // of the outputs
  for (; row >= p.w[run].count; run++) row -= p.w[run].count;
  memcpy((char *)p.w[run].data + (row * 50 + 49) * (int64_t)sizeof(float), &bad[0], sizeof(float));
  p.x[2 * p.ldx + 49] = bad[1];
  for (int i = 0; (kernels = isa_next(&i));) {
    kernels->linear(&(struct linear_task){p.w, 9, 7, 50, p.x, p.ldx, out}, &scratch);
    for (int r = 0; r < 7; r++)
      for (int o = 0; o < 9; o++) assert_int_equal(isfinite(out[r * LINEAR_PANEL + o]) != 0, r != 2 && o != 4);
  }
  problem_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stored_rows_convert_to_the_formulas_values),
      cmocka_unit_test(every_half_converts),
      cmocka_unit_test(sums_are_exact_to_rounding_and_do_not_depend_on_the_rows),
      cmocka_unit_test(bad_numbers_stay_where_they_are),
  };
  seed = test_seed();
  return cmocka_run_group_tests(tests, NULL, NULL);
}

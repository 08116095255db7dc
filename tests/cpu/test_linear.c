// Projections against sums in double, and one row against many, to the bit.
#include "tests/cpu/cpu_test.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"
#include "runtime/cpu/cpu.h"
#include <math.h>

static uint64_t seed;

struct problem {
  struct weight_rows w[LINEAR_PANEL]; // runs of rows that lie one behind the other, from one to all
  int32_t runs, num_outputs, num_rows;
  int64_t k, ldx;
  float *x;
  double *exact, *size; // [num_rows, num_outputs]: the sum, and the sum of absolute values
  double *minima;       // the sum of absolute values of the weights' minima times x
  double *units;        // half of what activations in fixed point may be off, times the weights
};

enum { ANY_TYPE = DTYPE_COUNT, ANY_FIXED_TYPE };

static enum dtype random_type(int kind) {
  static const enum dtype fixed[] = {DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K};
  return kind == ANY_FIXED_TYPE ? fixed[test_random(&seed) % 5] : (enum dtype)(test_random(&seed) % DTYPE_COUNT);
}

// What a row's weights are where all their integers are zero.
static void minima_of(enum dtype type, const void *row, int64_t k, float *dst) {
  const struct dtype_info *d = dtype_info(type);
  int64_t bytes = dtype_row_bytes(type, k);
  memset(dst, 0, (size_t)k * sizeof *dst);
  if (type != DTYPE_Q4_1 && type != DTYPE_Q4_K && type != DTYPE_Q5_K) return;
  uint8_t *copy = malloc((size_t)bytes);
  assert_non_null(copy);
  memcpy(copy, row, (size_t)bytes);
  int head = type == DTYPE_Q4_1 ? 4 : 16;
  for (int64_t b = 0; b < bytes; b += d->block_bytes) memset(copy + b + head, 0, (size_t)(d->block_bytes - head));
  dtype_to_f32(type, copy, dst, k);
  free(copy);
}

// Half a unit of the group of eight that x[j] belongs to, at most: struct fixed_step.
static double half_unit(const float *x, int64_t j) {
  const float *group = x + j / 32 * 32 + j % 16 / 4 * 4;
  float max = 0;
  for (int i = 0; i < 8; i++) max = fmaxf(max, fabsf(group[i % 4 + i / 4 * 16]));
  return max * 0x1p-23 * 128 / 127;
}

static void problem_open(struct problem *p, int type, int32_t num_outputs, int32_t num_rows, int64_t k) {
  *p = (struct problem){
      .num_outputs = num_outputs, .num_rows = num_rows, .k = k, .ldx = (k + CPU_PAD - 1) / CPU_PAD * CPU_PAD};
  p->x = calloc((size_t)(num_rows * p->ldx), sizeof *p->x);
  p->exact = calloc((size_t)num_rows * (size_t)num_outputs, sizeof *p->exact);
  p->size = calloc((size_t)num_rows * (size_t)num_outputs, sizeof *p->size);
  p->minima = calloc((size_t)num_rows * (size_t)num_outputs, sizeof *p->minima);
  p->units = calloc((size_t)num_rows * (size_t)num_outputs, sizeof *p->units);
  float *w = malloc((size_t)k * sizeof *w), *min = malloc((size_t)k * sizeof *min);
  assert_true(p->x && p->exact && p->size && p->minima && p->units && w && min);
  for (int32_t r = 0; r < num_rows; r++)
    for (int64_t i = 0; i < k; i++) p->x[r * p->ldx + i] = random_value(&seed, true);
  struct weight_rows *run = NULL;
  for (int32_t o = 0, i = 0; o < num_outputs; o++, i++) {
    if (!run || i == run->count) {
      int32_t count = 1 + (int32_t)(test_random(&seed) % (uint64_t)(num_outputs - o));
      run = &p->w[p->runs++];
      *run = random_weights(type >= DTYPE_COUNT ? random_type(type) : (enum dtype)type, count * k, &seed);
      run->count = count;
      i = 0;
    }
    const char *row = (const char *)run->data + i * dtype_row_bytes(run->type, k);
    dtype_to_f32(run->type, row, w, k);
    minima_of(run->type, row, k, min);
    for (int32_t r = 0; r < num_rows; r++)
      for (int64_t j = 0; j < k; j++) {
        double product = (double)p->x[r * p->ldx + j] * w[j];
        p->exact[r * num_outputs + o] += product;
        p->size[r * num_outputs + o] += fabs(product);
        p->minima[r * num_outputs + o] += fabs((double)p->x[r * p->ldx + j] * min[j]);
        if (k % 32 == 0) p->units[r * num_outputs + o] += half_unit(p->x + r * p->ldx, j) * fabs((double)w[j]);
      }
  }
  free(w);
  free(min);
}

static void problem_close(struct problem *p) {
  for (int32_t i = 0; i < p->runs; i++) free_weights(p->w[i]);
  free(p->x);
  free(p->exact);
  free(p->size);
  free(p->minima);
  free(p->units);
}

// The longest chain of roundings: a lane's products and sums in a chunk, the tree, the chunks; at least four lanes.
static double bound(int64_t k, double size) {
  int64_t chunk = k < LINEAR_CHUNK ? k : LINEAR_CHUNK, chunks = (k + LINEAR_CHUNK - 1) / LINEAR_CHUNK;
  return (double)((chunk + 3) / 4 + 1 + 4 + chunks) * EPS * size;
}

// In fixed point: the units, and the roundings of an integer or a sum of x, of two multiply-adds a step, the tree, the
// chunks and the weights that are the reference. d q is w - m, and no larger than w and m together.
static double fixed_bound(const struct problem *p, int64_t i) {
  int64_t chunk = p->k < LINEAR_CHUNK ? p->k : LINEAR_CHUNK, chunks = (p->k + LINEAR_CHUNK - 1) / LINEAR_CHUNK;
  return p->units[i] + (double)(2 * fixed_steps(chunk) + 1 + 4 + chunks + 1) * EPS * (p->size[i] + 2 * p->minima[i]);
}

static void check_problem(const struct problem *p, const struct cpu_kernels *kernels, bool fixed, const char *what) {
  static struct linear_scratch scratch;
  void (*linear)(const struct linear_task *, struct linear_scratch *) = fixed ? kernels->linear_fixed : kernels->linear;
  struct guarded many, one;
  struct fixed_step *x = malloc((size_t)(p->num_rows * fixed_steps(p->k)) * sizeof *x);
  assert_non_null(x);
  memset(x, 0xff, (size_t)(p->num_rows * fixed_steps(p->k)) * sizeof *x); // NaN
  for (int32_t r = 0; fixed && r < p->num_rows; r++) kernels->fix(p->x + r * p->ldx, p->k, x + r * fixed_steps(p->k));
  guarded_open(&many, (int64_t)p->num_rows * LINEAR_PANEL);
  struct linear_task t = {.w = p->w,
                          .num_outputs = p->num_outputs,
                          .num_rows = p->num_rows,
                          .k = p->k,
                          .x = fixed ? NULL : p->x,
                          .ldx = p->ldx,
                          .fixed = fixed ? x : NULL,
                          .out = many.data};
  memset(&scratch, 0xff, sizeof scratch); // NaN
  linear(&t, &scratch);
  guarded_check(&many, what);
  for (int32_t r = 0; r < p->num_rows; r++) {
    guarded_open(&one, p->num_outputs);
    t.num_rows = 1;
    t.x = fixed ? NULL : p->x + r * p->ldx;
    t.fixed = fixed ? x + r * fixed_steps(p->k) : NULL;
    t.out = one.data;
    linear(&t, &scratch);
    guarded_check(&one, what);
    for (int32_t o = 0; o < p->num_outputs; o++) {
      int64_t i = (int64_t)r * p->num_outputs + o;
      fail_unless_close(one.data[o], p->exact[i], fixed ? fixed_bound(p, i) : bound(p->k, p->size[i]), what, o);
    }
    fail_unless_same(one.data, many.data + (int64_t)r * LINEAR_PANEL, p->num_outputs, what);
    guarded_untouched(&many, (int64_t)r * LINEAR_PANEL + p->num_outputs, LINEAR_PANEL - p->num_outputs, what);
    guarded_close(&one);
  }
  guarded_close(&many);
  free(x);
}

static bool all_fixed(const struct problem *p, const struct cpu_kernels *kernels) {
  for (int32_t i = 0; i < p->runs; i++)
    if (!cpu_kernels_fix(kernels, p->w[i].type)) return false;
  return true;
}

static void check(int type, int32_t num_outputs, int32_t num_rows, int64_t k) {
  struct problem p;
  const struct cpu_kernels *kernels;
  char what[128];
  problem_open(&p, type, num_outputs, num_rows, k);
  for (int i = 0; (kernels = isa_next(&i));)
    for (int fixed = 0; fixed <= all_fixed(&p, kernels); fixed++) {
      snprintf(what, sizeof what, "%s%s, %s, %d outputs, %d rows, k = %lld", kernels->isa,
               fixed ? " in fixed point" : "", type >= DTYPE_COUNT ? "mixed types" : dtype_info((enum dtype)type)->name,
               num_outputs, num_rows, (long long)k);
      check_problem(&p, kernels, fixed, what);
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
      if (any_k[i] % block == 0) check(t, outputs[i % 9], rows[i % 10], any_k[i]);
    for (int i = 0; i < 9; i++) check(t, outputs[i], rows[9 - i], block * (1 + i));
    check(t, 6, 3, 8192);
    check(t, 7, 19, 1280);
  }
  check(DTYPE_BF16, 5, LINEAR_ROWS, 48);
  check(DTYPE_F32, LINEAR_PANEL, LINEAR_ROWS - 1, 20);
  for (int i = 0; i < 8; i++) { // types mixed row by row
    check(ANY_TYPE, 1 + (int32_t)(test_random(&seed) % 17), 4, 512);
    check(ANY_FIXED_TYPE, 1 + (int32_t)(test_random(&seed) % 17), i + 1, 512);
  }
  check(ANY_FIXED_TYPE, LINEAR_PANEL, LINEAR_ROWS - 1, 2304);
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

static int32_t fixed_integer(const struct fixed_step *s, int half, int byte) {
  return s->digits[0][half][byte] + 256 * s->digits[1][half][byte] + 65536 * s->digits[2][half][byte];
}

// One group against struct fixed_step's words: `b` and `j` are of its step.
static void check_group(const float *x, const struct fixed_step *s, int b, int j) {
  int lane = 4 * j + b;
  double unit = s->scale[lane], sum = 0, max = 0;
  int exponent;
  assert_true(frexp(unit, &exponent) == 0.5);
  for (int half = 0; half < 2; half++) {
    int64_t half_sum = 0;
    for (int i = 0; i < 4; i++) {
      float value = x[32 * b + 16 * half + 4 * j + i];
      int32_t n = fixed_integer(s, half, 4 * lane + i);
      if (!(fabs(n * unit - value) <= unit / 2))
        fail_msg("%.9g is %d times %.9g in fixed point", (double)value, (int)n, unit);
      half_sum += n;
      max = fmax(max, fabs(value));
    }
    assert_int_equal(s->minus_8[half][lane], -8 * half_sum);
    sum += (double)half_sum;
  }
  assert_true(s->sum[lane] == (float)((float)sum * unit)); // infinite where eight of the largest numbers are added
  assert_true(unit <= fmax(max * 0x1p-22 * 128 / 127, 0x1p-122));
}

// Around the powers of two and around the largest integer that three digits hold, from the smallest numbers on.
static void activations_in_fixed_point_are_the_nearest(void **state) {
  const struct cpu_kernels *kernels;
  float x[384];
  struct fixed_step s[3];
  (void)state;
  for (int i = 0; (kernels = isa_next(&i));)
    for (int round = 0; kernels->fix && round < 2000; round++) {
      int64_t k = 32 * (1 + (int64_t)(test_random(&seed) % 12));
      float top = ldexpf(1, (int)(test_random(&seed) % 277) - 149);
      for (int j = 0; j < k; j++) {
        int what = (int)(test_random(&seed) % 8);
        x[j] = what == 0   ? 0
               : what == 1 ? (float)(127.0 * 65793 / 4194304 + ((double)(test_random(&seed) % 5) - 2) / 8388608) * top
               : what == 2 ? nextafterf(top, 0)
                           : ldexpf(random_value(&seed, true), -(int)(test_random(&seed) % 30)) * top;
        if (!isfinite(x[j])) x[j] = 3.4028234e38f;
        if (test_random(&seed) % 2) x[j] = -x[j];
      }
      memset(s, 0xff, sizeof s);
      kernels->fix(x, k, s);
      for (int64_t g = 0; g < k / 8; g++) check_group(x + g / 16 * 128, &s[g / 16], (int)(g % 16 / 4), (int)(g % 4));
      for (int64_t g = k / 8; g < fixed_steps(k) * 16; g++) { // behind the row: nothing
        const struct fixed_step *last = &s[g / 16];
        int lane = (int)(4 * (g % 4) + g % 16 / 4);
        for (int half = 0; half < 2; half++) {
          for (int n = 0; n < 4; n++) assert_int_equal(fixed_integer(last, half, 4 * lane + n), 0);
          assert_int_equal(last->minus_8[half][lane], 0);
        }
        assert_true(last->scale[lane] == 0 && last->sum[lane] == 0);
      }
    }
}

// A NaN or infinity in one row of activations makes its sums NaN, and no others.
static void bad_activations_in_fixed_point_stay_in_their_row(void **state) {
  const struct cpu_kernels *kernels;
  static struct linear_scratch scratch;
  static float out[7 * LINEAR_PANEL];
  static struct fixed_step x[7 * 4];
  static const float bad[] = {NAN, INFINITY, -INFINITY};
  (void)state;
  for (int i = 0; (kernels = isa_next(&i));)
    for (int b = 0; kernels->fix && b < 12; b++) {
      struct problem p;
      int rows = b / 3 % 2 ? 7 : 4;
      problem_open(&p, ANY_FIXED_TYPE, 9, rows, 512);
      p.x[2 * p.ldx + (int64_t)(test_random(&seed) % 512)] = bad[b % 3];
      for (int r = 0; r < rows; r++) kernels->fix(p.x + r * p.ldx, 512, x + 4 * r);
      kernels->linear_fixed(
          &(struct linear_task){.w = p.w, .num_outputs = 9, .num_rows = rows, .k = 512, .fixed = x, .out = out},
          &scratch);
      for (int r = 0; r < rows; r++)
        for (int o = 0; o < 9; o++) assert_int_equal(isnan(out[r * LINEAR_PANEL + o]) != 0, r == 2);
      problem_close(&p);
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
    kernels->linear(
        &(struct linear_task){.w = p.w, .num_outputs = 9, .num_rows = 7, .k = 50, .x = p.x, .ldx = p.ldx, .out = out},
        &scratch);
    for (int r = 0; r < 7; r++)
      for (int o = 0; o < 9; o++) assert_int_equal(isfinite(out[r * LINEAR_PANEL + o]) != 0, r != 2 && o != 4);
  }
  problem_close(&p);
}

// The projection that threads share, over more rows than one piece of work has and weights whose type changes within a
// panel: each row as it is alone.
static void threads_and_mixed_types_do_not_matter(void **state) {
  enum { ROWS = 300, K = 512, OUTPUTS = 150, PARTS = 3 };
  static const enum dtype types[PARTS] = {DTYPE_Q4_0, DTYPE_F32, DTYPE_Q6_K};
  static const int64_t rows[PARTS] = {45, 22, 83};
  const struct cpu_kernels *kernels;
  struct err e = {0};
  struct weight_rows data[PARTS];
  struct tensor tensors[PARTS];
  struct matrix w = {.rows = OUTPUTS, .cols = K, .num_parts = PARTS};
  float *x = malloc(ROWS * K * sizeof *x), *y = malloc(ROWS * OUTPUTS * sizeof *y), one[OUTPUTS];
  (void)state;
  assert_true(x && y);
  for (int64_t i = 0, first = 0; i < PARTS; first += rows[i++]) {
    data[i] = random_weights(types[i], rows[i] * K, &seed);
    tensors[i] = (struct tensor){.type = types[i],
                                 .dims = 2,
                                 .rows = rows[i],
                                 .cols = K,
                                 .data = data[i].data,
                                 .bytes = rows[i] * dtype_row_bytes(types[i], K)};
    w.parts[i] = (struct matrix_part){.tensor = &tensors[i], .first_row = first};
  }
  for (int64_t i = 0; i < ROWS * K; i++) x[i] = random_value(&seed, true);
  for (int i = 0; (kernels = isa_next(&i));)
    for (int threads = 1; threads <= 3; threads++) {
      struct cpu c = {.kernels = kernels, .pool = pool_open(threads, &e)};
      struct rows in = {x, K, K}, out = {y, OUTPUTS, OUTPUTS}, alone = {one, OUTPUTS, OUTPUTS};
      c.scratch = mem_alloc((size_t)threads, sizeof *c.scratch, "scratch", &e);
      assert_true(c.pool && c.scratch && linear_alloc(&c, &w, ROWS, &e));
      for (int64_t j = 0; j < ROWS * OUTPUTS; j++) y[j] = NAN;
      linear_f32(&c, &w, &in, ROWS, &out, false);
      for (int r = 0; r < ROWS; r += r < ROWS - 8 ? 7 : 1) {
        struct rows row = {x + (int64_t)r * K, K, K};
        linear_f32(&c, &w, &row, 1, &alone, false);
        fail_unless_same(one, y + (int64_t)r * OUTPUTS, OUTPUTS, kernels->isa);
        for (int o = 0; o < OUTPUTS; o += 11) { // the right weights; how exactly is asked above
          float weights[K];
          double exact = 0, size = 0;
          matrix_row_f32(&w, o, weights);
          for (int k = 0; k < K; k++) {
            exact += (double)row_f32(&row, 0)[k] * weights[k];
            size += fabs((double)row_f32(&row, 0)[k] * weights[k]);
          }
          fail_unless_close(one[o], exact, 1e-5 * size, kernels->isa, o);
        }
      }
      pool_close(c.pool);
      mem_free(c.scratch);
      mem_free(c.fixed);
    }
  for (int i = 0; i < PARTS; i++) free_weights(data[i]);
  free(x);
  free(y);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stored_rows_convert_to_the_formulas_values),
      cmocka_unit_test(every_half_converts),
      cmocka_unit_test(sums_are_exact_to_rounding_and_do_not_depend_on_the_rows),
      cmocka_unit_test(bad_numbers_stay_where_they_are),
      cmocka_unit_test(activations_in_fixed_point_are_the_nearest),
      cmocka_unit_test(bad_activations_in_fixed_point_stay_in_their_row),
      cmocka_unit_test(threads_and_mixed_types_do_not_matter),
  };
  seed = test_seed();
  return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/cpu/cpu_test.h"
#include "runtime/base/half.h"
#include <math.h>

enum { GUARD = 64 };
static const uint32_t poison = 0x7fc0dead; // a NaN

const struct cpu_kernels *isa_next(int *i) {
  static const char *const names[] = {"baseline", "v3", "v4", "vnni"};
  while (*i < 4) {
    const struct cpu_kernels *k = cpu_kernels_find(names[(*i)++]);
    if (k) return k;
  }
  return NULL;
}

void guarded_open(struct guarded *g, int64_t count) {
  g->count = count;
  g->block = malloc((size_t)(count + 2 * GUARD) * sizeof(float));
  g->data = g->block + GUARD;
  assert_non_null(g->block);
  for (int64_t i = 0; i < count + 2 * GUARD; i++) memcpy(g->block + i, &poison, sizeof poison);
}

void guarded_check(const struct guarded *g, const char *what) {
  for (int64_t i = 0; i < GUARD; i++)
    if (memcmp(g->block + i, &poison, 4) || memcmp(g->data + g->count + i, &poison, 4))
      fail_msg("%s: wrote outside of its output", what);
}

void guarded_untouched(const struct guarded *g, int64_t first, int64_t count, const char *what) {
  for (int64_t i = 0; i < count; i++)
    if (memcmp(g->data + first + i, &poison, 4)) fail_msg("%s: wrote element %lld", what, (long long)(first + i));
}

void guarded_close(struct guarded *g) { free(g->block); }

float random_value(uint64_t *seed, bool outliers) {
  double u = test_uniform(seed), v = test_uniform(seed);
  double x = sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * v);
  return (float)(outliers && test_random(seed) % 37 == 0 ? 1000 * x : x);
}

static void put_f16(uint8_t *p, double x) {
  uint16_t h = f32_to_f16((float)x);
  memcpy(p, &h, sizeof h);
}

// Random bits, with scales that make weights of about 0.1.
static void random_block(enum dtype type, uint8_t *p, uint64_t *seed) {
  for (int i = 0; i < dtype_info(type)->block_bytes; i++) p[i] = (uint8_t)test_random(seed);
  bool packed = type == DTYPE_Q4_K || type == DTYPE_Q5_K; // a scale and a minimum of up to 63 times these
  double scale = (packed               ? 3e-4
                  : type == DTYPE_Q6_K ? 1e-4
                  : type == DTYPE_Q8_0 ? 2e-3
                                       : 0.02) *
                 (test_uniform(seed) - 0.5);
  put_f16(type == DTYPE_Q6_K ? p + 208 : p, scale);
  if (packed || type == DTYPE_Q4_1) put_f16(p + 2, (packed ? 2e-3 : 0.1) * test_uniform(seed));
}

struct weight_rows random_weights(enum dtype type, int64_t n, uint64_t *seed) {
  const struct dtype_info *d = dtype_info(type);
  uint8_t *block = malloc((size_t)dtype_row_bytes(type, n) + 1), *p = block + 1;
  assert_non_null(block);
  for (int64_t i = 0; i < n; i += d->block, p += d->block_bytes) {
    float x = random_value(seed, false);
    uint16_t h = type == DTYPE_F16 ? f32_to_f16(x) : f32_to_bf16(x);
    if (type == DTYPE_F32) memcpy(p, &x, sizeof x);
    else if (d->block == 1) memcpy(p, &h, sizeof h);
    else random_block(type, p, seed);
  }
  return (struct weight_rows){block + 1, type, 1};
}

void free_weights(struct weight_rows w) { free((uint8_t *)w.data - 1); }

void fail_unless_close(double found, double expected, double bound, const char *what, int64_t index) {
  if (!(fabs(found - expected) <= bound)) // so that a NaN fails
    fail_msg("%s: element %lld is %.9g, expected %.9g within %.3g", what, (long long)index, found, expected, bound);
}

void fail_unless_same(const float *a, const float *b, int64_t n, const char *what) {
  for (int64_t i = 0; i < n; i++)
    if (memcmp(a + i, b + i, sizeof *a))
      fail_msg("%s: element %lld is %.9g and %.9g", what, (long long)i, (double)a[i], (double)b[i]);
}

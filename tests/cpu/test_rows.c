// Norm, activation, exponential and conversion against double.
#include "tests/cpu/cpu_test.h"
#include "runtime/base/half.h"
#include <math.h>

enum { CHUNK = 4096 };
static uint64_t seed;

// Units in the last place of the exact value, a subnormal's being 2^-149.
static double ulps(float found, double exact) {
  int exponent;
  frexp(exact, &exponent);
  return fabs((double)found - exact) / ldexp(1, exponent - 24 < -149 ? -149 : exponent - 24);
}

// Every 1009th float from -110 to 95, both zeros, and the edges.
static void exp_is_within_two_ulps(void **state) {
  static float x[CHUNK], y[CHUNK];
  const struct cpu_kernels *kernels;
  (void)state;
  for (int i = 0; (kernels = isa_next(&i));) {
    double worst = 0;
    float at = 0;
    for (int sign = 0; sign < 2; sign++)
      for (uint32_t bits = 0, n = 0; bits < 0x42e00000; bits += 1009) { // 112
        x[n++] = f32_from_bits(bits | (uint32_t)sign << 31);
        if (n < CHUNK && bits + 1009 < 0x42e00000) continue;
        kernels->exp(x, n, y);
        for (; n > 0; n--) {
          double exact = exp((double)x[n - 1]);
          if (exact >= 0x1.ffffffp127) {
            if (y[n - 1] != INFINITY)
              fail_msg("%s: exp(%.9g) is %.9g, expected infinity", kernels->isa, (double)x[n - 1], (double)y[n - 1]);
          } else if (!(ulps(y[n - 1], exact) <= worst)) {
            worst = ulps(y[n - 1], exact);
            at = x[n - 1];
          }
        }
      }
    printf("%s: exp within %.2f ulp, worst at %.9g\n", kernels->isa, worst, (double)at);
    if (!(worst <= 2)) fail_msg("%s: exp(%.9g) is %.2f ulp off", kernels->isa, (double)at, worst);
  }
}

static void exp_of_special_values(void **state) {
  const float x[] = {-INFINITY, INFINITY, NAN, 0.0f, -0.0f, -1e30f, 1e30f, -104.5f};
  float y[8];
  const struct cpu_kernels *kernels;
  (void)state;
  for (int i = 0; (kernels = isa_next(&i));) {
    kernels->exp(x, 8, y);
    assert_true(y[0] == 0 && y[1] == INFINITY && isnan(y[2]) && y[3] == 1 && y[4] == 1 && y[5] == 0 &&
                y[6] == INFINITY && y[7] == 0);
  }
}

static void check_norm(const struct cpu_kernels *kernels, int64_t n, bool outliers, float scale) {
  const float eps = 1e-5f;
  float *x = malloc((size_t)n * sizeof *x), *gain = malloc((size_t)n * sizeof *gain);
  struct guarded y;
  guarded_open(&y, n);
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    x[i] = scale * random_value(&seed, outliers);
    gain[i] = 1 + 0.3f * random_value(&seed, false);
    sum += (double)x[i] * x[i];
  }
  double inverse = 1 / sqrt(sum / (double)n + (double)eps);
  kernels->rmsnorm(x, gain, n, eps, y.data);
  guarded_check(&y, "rmsnorm");
  // The sum's error is halved by the root; then the root's rounding and two products.
  double relative = ((double)((n + 3) / 4 + 5) / 2 + 3) * EPS;
  for (int64_t i = 0; i < n; i++) {
    double exact = x[i] * inverse * gain[i];
    fail_unless_close(y.data[i], exact, relative * fabs(exact), "rmsnorm", i);
  }
  guarded_close(&y);
  free(x);
  free(gain);
}

static void norms_are_exact_to_rounding(void **state) {
  static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 576, 3071, 3072, 3073};
  const struct cpu_kernels *kernels;
  (void)state;
  for (int i = 0; (kernels = isa_next(&i));)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      check_norm(kernels, sizes[s], false, 1);
      check_norm(kernels, sizes[s], true, 1);
      check_norm(kernels, sizes[s], true, 1e-6f); // eps counts
    }
}

static void check_silu(const struct cpu_kernels *kernels, int64_t n) {
  float *gate = malloc((size_t)n * sizeof *gate), *up = malloc((size_t)n * sizeof *up);
  struct guarded y;
  guarded_open(&y, n);
  for (int64_t i = 0; i < n; i++) {
    gate[i] = random_value(&seed, false) * (float[]){0.1f, 1, 8, 40}[test_random(&seed) % 4];
    up[i] = random_value(&seed, true);
  }
  kernels->silu_mul(gate, up, n, y.data);
  guarded_check(&y, "silu_mul");
  for (int64_t i = 0; i < n;
       i++) { // two ulps of exp, and three roundings; exp(-gate) is infinite where silu is below 3e-37
    double exact = gate[i] / (1 + exp(-(double)gate[i])) * up[i];
    fail_unless_close(y.data[i], exact, 8 * EPS * fabs(exact) + 3e-37 * fabs((double)up[i]), "silu_mul", i);
  }
  guarded_close(&y);
  free(gate);
  free(up);
}

static void activations_are_exact_to_rounding(void **state) {
  const struct cpu_kernels *kernels;
  (void)state;
  for (int i = 0; (kernels = isa_next(&i));)
    for (int64_t n = 1; n < 70; n++) check_silu(kernels, n);
}

static void halves_round_to_nearest_even(void **state) {
  static float x[65536 * 2 + 5];
  static uint16_t y[65536 * 2 + 6];
  const struct cpu_kernels *kernels;
  const int n = 65536 * 2 + 5;
  (void)state;
  for (int i = 0; i < n; i++) { // random bits around the range of halves, ties among them
    uint32_t bits = (uint32_t)test_random(&seed);
    x[i] = f32_from_bits((bits & 0x80000000) | (0x32000000 + (bits & 0x7fffffff) % (0x48000000 - 0x32000000)));
    if (i % 3 == 0) x[i] = f32_from_bits(f32_to_bits(x[i]) & ~0xfffu);
  }
  for (int i = 0; (kernels = isa_next(&i));) {
    y[n] = 0xdead;
    kernels->to_f16(x, y, n);
    assert_int_equal(y[n], 0xdead);
    for (int j = 0; j < n; j++)
      if (y[j] != f32_to_f16(x[j]))
        fail_msg("%s: %.9g becomes %04x, expected %04x", kernels->isa, (double)x[j], y[j], f32_to_f16(x[j]));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exp_is_within_two_ulps),       cmocka_unit_test(exp_of_special_values),
      cmocka_unit_test(norms_are_exact_to_rounding),  cmocka_unit_test(activations_are_exact_to_rounding),
      cmocka_unit_test(halves_round_to_nearest_even),
  };
  seed = test_seed();
  return cmocka_run_group_tests(tests, NULL, NULL);
}

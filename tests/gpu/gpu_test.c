#include "tests/gpu/gpu_test.h"
#include <dlfcn.h>
#include <math.h>

enum { GUARD = 256 };
enum { GUARD_BYTE = 0xa5, POISON_BYTE = 0xff };

static struct err e;
static struct gpu_device device;
static bool opened;

bool test_device_is_virtual(void) {
  const char *wanted = getenv("PHI3_TEST_DEVICE");
  return !wanted || strcmp(wanted, "cuda") != 0;
}

struct gpu_device *test_device(void) {
  if (opened) return &device;
  if (gpu_num_images == 0) {
    printf("skipped: this build has no GPU kernels\n");
    exit(77);
  }
  if (test_device_is_virtual() && !getenv("PHI3_VGPU")) {
    printf("skipped: PHI3_VGPU does not name the virtual GPU's library\n");
    exit(77);
  }
  assert_ok(gpu_device_open(&device, test_device_is_virtual(), &e));
  opened = true;
  return &device;
}

void test_device_close(void) {
  if (opened) gpu_device_close(&device);
  opened = false;
}

unsigned test_findings(const char **first) {
  if (!test_device_is_virtual()) return 0;
  unsigned (*count)(int) = NULL;
  const char *(*text)(unsigned) = NULL;
  *(void **)&count = dlsym(device.cuda.library, "vgpuFindings");
  *(void **)&text = dlsym(device.cuda.library, "vgpuFindingText");
  if (!count || !text) fail_msg("the virtual GPU's library does not tell its findings");
  unsigned n = count(-1);
  *first = n ? text(0) : "";
  return n;
}

void test_schedule(uint64_t seed) {
  char text[32];
  snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
  setenv("VGPU_SEED", text, 1);
}

struct buffer buffer_open(const void *data, size_t bytes) {
  struct buffer b = {.bytes = bytes};
  uint8_t *block = malloc(bytes + 2 * GUARD);
  assert_non_null(block);
  memset(block, GUARD_BYTE, bytes + 2 * GUARD);
  if (data) memcpy(block + GUARD, data, bytes);
  else memset(block + GUARD, POISON_BYTE, bytes);
  assert_ok(cuda_check(&device.cuda, device.cuda.mem_alloc(&b.p, bytes + 2 * GUARD), "a test's buffer", &e));
  assert_ok(cuda_check(&device.cuda, device.cuda.to_device(b.p, block, bytes + 2 * GUARD), "a test's buffer", &e));
  b.p += GUARD;
  free(block);
  return b;
}

void *buffer_read(const struct buffer *b, const char *what) {
  uint8_t *block = malloc(b->bytes + 2 * GUARD), *data = malloc(b->bytes + 1);
  assert_true(block && data);
  assert_ok(gpu_wait(&device, what, &e));
  assert_ok(cuda_check(&device.cuda, device.cuda.to_host(block, b->p - GUARD, b->bytes + 2 * GUARD), "reading a test's buffer", &e));
  for (size_t i = 0; i < GUARD; i++)
    if (block[i] != GUARD_BYTE || block[GUARD + b->bytes + i] != GUARD_BYTE) fail_msg("%s: wrote outside of its output", what);
  memcpy(data, block + GUARD, b->bytes);
  free(block);
  return data;
}

void buffer_close(struct buffer *b) {
  if (b->p) device.cuda.mem_free(b->p - GUARD);
  *b = (struct buffer){0};
}

float random_normal(uint64_t *seed, bool outliers) {
  double u = test_uniform(seed), v = test_uniform(seed);
  double x = sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * v);
  return (float)(outliers && test_random(seed) % 37 == 0 ? 1000 * x : x);
}

uint16_t *random_halfs(uint64_t *seed, int64_t rows, int64_t cols, int64_t ld, double scale, bool outliers) {
  uint16_t *p = calloc((size_t)(rows * ld) + 1, sizeof *p);
  assert_non_null(p);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) p[r * ld + c] = f32_to_f16((float)(scale * random_normal(seed, outliers)));
  return p;
}

float *random_floats(uint64_t *seed, int64_t count, double scale, bool outliers) {
  float *p = calloc((size_t)count + 1, sizeof *p);
  assert_non_null(p);
  for (int64_t i = 0; i < count; i++) p[i] = (float)(scale * random_normal(seed, outliers));
  return p;
}

double saturated(double v) { return fmin(fmax(v, -65504), 65504); }

void measure_add(struct measure *m, double found, double expected) {
  double d = found - expected, rounded = f16_to_f32(f32_to_f16((float)expected)) - expected;
  if (!isfinite(found) || !isfinite(expected)) d = INFINITY;
  m->error += d * d;
  m->reference += expected * expected;
  if (isfinite(rounded)) m->rounded += rounded * rounded;
  if (!(fabs(d) <= m->worst)) m->worst = fabs(d);
}

void measure_check(const struct measure *m, double gate, bool half, const char *what) {
  if (!(m->reference > 0)) fail_msg("%s: the reference is zero everywhere; the test shows nothing", what);
  double nmse = m->error / m->reference;
  if (!(nmse <= gate)) fail_msg("%s: NMSE %.3g, the gate is %.3g; largest error %.3g", what, nmse, gate, m->worst);
  if (half && !(m->error <= 4 * m->rounded + 1e-12 * m->reference))
    fail_msg("%s: NMSE %.3g is more than twice what rounding to fp16 costs (%.3g)", what, nmse, m->rounded / m->reference);
}

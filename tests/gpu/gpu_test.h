// What the tests of the kernels share: a device, buffers with guards, random numbers, error measures.
//
// The device is the virtual GPU, or with PHI3_TEST_DEVICE=cuda a real one. Tests skip only when there is none.
#pragma once
#include "tests/test.h"
#include "runtime/base/half.h"
#include "runtime/gpu/gpu.h"

// Opens the device, or skips the test with the reason.
struct gpu_device *test_device(void);
void test_device_close(void);
bool test_device_is_virtual(void);
// Findings of the virtual GPU's checks so far (0 on a real device), and the first one's text.
unsigned test_findings(const char **first);
// The schedule of the launches from now on.
void test_schedule(uint64_t seed);

// `bytes` on the device between guards. Without `data` all of it is poison: NaN as fp16 and as fp32.
struct buffer {
  cu_pointer p;
  size_t bytes;
};
struct buffer buffer_open(const void *data, size_t bytes);
// What it holds now, in a new block; fails when a guard has changed.
void *buffer_read(const struct buffer *b, const char *what);
void buffer_close(struct buffer *b);

// Normal, deviation 1; with outliers every 37th is 1000 times that, within fp16's range.
float random_normal(uint64_t *seed, bool outliers);
// A block of fp16 numbers, `cols` of `ld` in each row, zeros from there on.
uint16_t *random_halfs(uint64_t *seed, int64_t rows, int64_t cols, int64_t ld, double scale, bool outliers);
float *random_floats(uint64_t *seed, int64_t count, double scale, bool outliers);

// Sum of squares of the error over that of the reference; infinite when an element is no number. 0 for two zeros.
struct measure {
  double error, reference, rounded; // rounded: the error of the reference rounded to fp16
  double worst;                     // largest |error|
};
void measure_add(struct measure *m, double found, double expected);
// What fp16 makes of a value beyond its range.
double saturated(double v);
// NMSE within `gate`; with `half` also at most twice, in norm, what rounding the exact result to fp16 costs.
void measure_check(const struct measure *m, double gate, bool half, const char *what);

// Runs one kernel on one of its shapes, checks the result against fp64 when `check`, and returns the outputs' bits in a new block.
struct outcome {
  void *data;
  size_t bytes;
};
typedef struct outcome (*kernel_case)(enum gpu_kernel k, int shape, uint64_t seed, bool check);
struct outcome case_linear(enum gpu_kernel k, int shape, uint64_t seed, bool check);
struct outcome case_attention(enum gpu_kernel k, int shape, uint64_t seed, bool check);
struct outcome case_rows(enum gpu_kernel k, int shape, uint64_t seed, bool check);
struct outcome case_sample(enum gpu_kernel k, int shape, uint64_t seed, bool check);
// Shapes that a case has.
int linear_shapes(enum gpu_kernel k), attention_shapes(enum gpu_kernel k), rows_shapes(enum gpu_kernel k), sample_shapes(enum gpu_kernel k);

// What the tests of the CPU backend share: random numbers, guarded outputs, and every instruction set that this machine
// runs.
#pragma once
#include "tests/test.h"
#include "runtime/cpu/kernels.h"

#define EPS 0x1p-24 // half a unit in the last place of 1

// Instruction sets in turn: `for (int i = 0; (k = isa_next(&i));)`.
const struct cpu_kernels *isa_next(int *i);

// `count` floats between guards, all of one NaN, so that what is not written or written outside is seen.
struct guarded {
  float *data;
  int64_t count;
  float *block;
};

void guarded_open(struct guarded *g, int64_t count);
// Fails when a guard has changed.
void guarded_check(const struct guarded *g, const char *what);
// Fails when one of these has been written.
void guarded_untouched(const struct guarded *g, int64_t first, int64_t count, const char *what);
void guarded_close(struct guarded *g);

// Normal with deviation 1; every 37th on average 1000 times that when `outliers`.
float random_value(uint64_t *seed, bool outliers);
// A stored row of n random weights, moderate in size, in a block of its own that ends with the row and begins at an odd
// address. To be freed with free(weight_block(w)).
struct weight_rows random_weights(enum dtype type, int64_t n, uint64_t *seed);
void free_weights(struct weight_rows w);

void fail_unless_close(double found, double expected, double bound, const char *what, int64_t index);
void fail_unless_same(const float *a, const float *b, int64_t n, const char *what);

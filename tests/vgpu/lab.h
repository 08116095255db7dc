// What the operation tests share: one buffer of device memory, and running a kernel `k` of PTX text over it. lab.c
#ifndef VGPU_TEST_LAB_H
#define VGPU_TEST_LAB_H

#include "runtime/vgpu/exec.h"
#include "runtime/vgpu/ops.h"
#include <stdbool.h>
#include <stdint.h>

#define LAB_HEAD ".version 7.8\n.target sm_75\n.address_size 64\n"

enum { LAB_BYTES = 65536 * 48, LAB_TABLE = 512 };

struct lab {
  struct vgpu_pool *pool;
  uint64_t device;
  uint8_t *host; // the same bytes
  uint64_t seed;
  bool covered[VGPU_NUM_OPS];          // operations that some kernel held
  bool covered_sub[VGPU_NUM_OPS][256]; // and their vgpu_ins.sub
};
extern struct lab lab;

int lab_open(void **state);  // draws the seed (or takes VGPU_TEST_SEED) and prints it
int lab_close(void **state);
uint64_t lab_random(void);

// A PTX text being written.
struct text {
  char s[32768];
  size_t n;
};
void put(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// Runs kernel k(.param .u64 p = the buffer[, .param .align 16 .b8 q[LAB_TABLE] = table]). The CUresult, or -1: does not load.
int lab_launch(const char *ptx, uint32_t blocks, uint32_t threads, const uint8_t *table);
// The same; false, with a message, unless it succeeds without findings.
bool lab_run(const char *ptx, uint32_t blocks, uint32_t threads, const uint8_t *table);

// The tests of the other files.
void test_loads(void **state);
void test_stores(void **state);
void test_function_parameters(void **state);
void test_mixed_generic(void **state);
void test_spaces(void **state);
void test_atomics(void **state);
void test_shuffles(void **state);
void test_votes(void **state);
void test_matches(void **state);
void test_block_reductions(void **state);
void test_arrive(void **state);
void test_control(void **state);
void test_recursion(void **state);
void test_trap(void **state);
void test_ldmatrix(void **state);
void test_movmatrix(void **state);
void test_mma_half(void **state);
void test_mma_special(void **state);
void test_mma_integer(void **state);
void test_wmma(void **state);

#endif

// The functions of one instruction set, gathered by table.c.
#pragma once
#include "runtime/cpu/kernels.h"
#include "runtime/cpu/simd/simd.h"

void CPU_NAME(linear)(const struct linear_task *t, struct linear_scratch *b);
void CPU_NAME(to_f32)(enum dtype type, const void *row, float *dst, int64_t n);
void CPU_NAME(to_f16)(const float *src, uint16_t *dst, int64_t n);
void CPU_NAME(rmsnorm)(const float *x, const float *gain, int64_t n, float eps, float *y);
void CPU_NAME(silu_mul)(const float *gate, const float *up, int64_t n, float *y);
void CPU_NAME(exp)(const float *x, int64_t n, float *y);
void CPU_NAME(attention)(const struct attention_task *t, struct attention_scratch *s);
extern const struct cpu_kernels CPU_NAME(cpu_kernels);

// A table's loops but for those in fixed point.
#define CPU_LOOPS                                                                                                      \
  .linear = CPU_NAME(linear), .to_f32 = CPU_NAME(to_f32), .to_f16 = CPU_NAME(to_f16), .rmsnorm = CPU_NAME(rmsnorm),    \
  .silu_mul = CPU_NAME(silu_mul), .exp = CPU_NAME(exp), .attention = CPU_NAME(attention)

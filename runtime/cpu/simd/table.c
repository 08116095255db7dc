#include "runtime/cpu/simd/names.h"

#define CPU_TEXT2(s) #s
#define CPU_TEXT(s)  CPU_TEXT2(s)

const struct cpu_kernels CPU_NAME(cpu_kernels) = {
    .isa = CPU_TEXT(CPU_ISA),
    .linear = CPU_NAME(linear),
    .to_f32 = CPU_NAME(to_f32),
    .to_f16 = CPU_NAME(to_f16),
    .rmsnorm = CPU_NAME(rmsnorm),
    .silu_mul = CPU_NAME(silu_mul),
    .exp = CPU_NAME(exp),
    .attention = CPU_NAME(attention),
};

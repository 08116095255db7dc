#include "runtime/cpu/simd/names.h"

#define CPU_TEXT2(s) #s
#define CPU_TEXT(s)  CPU_TEXT2(s)

const struct cpu_kernels CPU_NAME(cpu_kernels) = {.isa = CPU_TEXT(CPU_ISA), CPU_LOOPS};

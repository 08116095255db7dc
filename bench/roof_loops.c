#include "bench/roof_loops.h"
#include "runtime/cpu/simd/simd.h"

// Chains enough to cover the latency of a multiply-add, and few enough to stay in registers.
enum { CHAINS = VW == 4 ? 8 : 12, STREAMS = 8 };

// Keeps the compiler from dropping what was computed.
INLINE void keep(vf v) { __asm__ volatile("" : : "m"(v)); }

static void read_memory(const void *memory, size_t bytes) {
  vi sum[STREAMS] = {{0}};
  for (const char *p = memory, *end = p + bytes; p < end; p += STREAMS * sizeof(vi))
    UNROLL for (int i = 0; i < STREAMS; i++) sum[i] |= (vi)vf_load(p + (size_t)i * sizeof(vi));
  for (int i = 0; i < STREAMS; i++) keep((vf)sum[i]);
}

static void multiply_add(int64_t steps) {
  vf acc[CHAINS], a = vf_set(0.999f), b = vf_set(1e-3f);
  __asm__("" : "+m"(a), "+m"(b));
  UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = vf_set((float)i);
  for (int64_t s = 0; s < steps; s++) UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = vf_fma(acc[i], a, b);
  for (int i = 0; i < CHAINS; i++) keep(acc[i]);
}

const struct roof_loops CPU_NAME(roof_loops) = {read_memory, multiply_add, CHAINS *VW};

// Handlers for this machine: the hot files are built for several instruction sets, and the best that runs is taken.
#include "runtime/vgpu/exec_internal.h"
#include <pthread.h>
#include <stdlib.h>

static vgpu_op_fn table[VGPU_NUM_OPS];
static const char *variant = "baseline";
static pthread_once_t once = PTHREAD_ONCE_INIT;

#define FILL(v) \
  vgpu_ops_int_##v(table), vgpu_ops_setp_##v(table), vgpu_ops_float_##v(table), vgpu_ops_half_##v(table), vgpu_ops_cvt_##v(table), \
      vgpu_ops_mem_##v(table), vgpu_ops_mma_##v(table)

static void fill(void) {
  const char *most = getenv("VGPU_ISA"); // baseline, avx2: to test the lower ones
  int level = most && most[0] == 'b' ? 0 : most && most[0] == 'a' && most[3] == '2' ? 1 : 2;
  FILL(base);
#ifdef VGPU_X86_VARIANTS
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
  if (avx512 && level > 1) {
    FILL(avx512);
    variant = "avx512";
  } else if (avx2 && level > 0) {
    FILL(avx2);
    variant = "avx2";
  }
#else
  (void)level;
#endif
  vgpu_ops_atom(table);
  vgpu_ops_slow(table);
  vgpu_ops_warp(table);
  vgpu_ops_control(table);
}

const vgpu_op_fn *vgpu_op_handlers(void) {
  pthread_once(&once, fill);
  return table;
}

const char *vgpu_exec_variant(void) {
  pthread_once(&once, fill);
  return variant;
}

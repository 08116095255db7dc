#include "runtime/cpu/kernels.h"
#include <stdlib.h>
#include <string.h>

extern const struct cpu_kernels cpu_kernels_baseline;

#ifdef __x86_64__
#include <cpuid.h>
extern const struct cpu_kernels cpu_kernels_v3, cpu_kernels_v4, cpu_kernels_vnni;

static bool has_f16c(void) {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool has_v3(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2") && has_f16c();
}

static bool has_v4(void) {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool has_vnni(void) { return has_v4() && __builtin_cpu_supports("avx512vnni"); }
#endif

const struct cpu_kernels *cpu_kernels_find(const char *isa) {
  if (!strcmp(isa, "baseline")) return &cpu_kernels_baseline;
#ifdef __x86_64__
  if (!strcmp(isa, "v3")) return has_v3() ? &cpu_kernels_v3 : NULL;
  if (!strcmp(isa, "v4")) return has_v4() ? &cpu_kernels_v4 : NULL;
  if (!strcmp(isa, "vnni")) return has_vnni() ? &cpu_kernels_vnni : NULL;
#endif
  return NULL;
}

const struct cpu_kernels *cpu_kernels_select(struct err *e) {
  static const char *const best_first[] = {"vnni", "v4", "v3", "baseline"};
  const char *wanted = getenv("PHI3_ISA");
  const struct cpu_kernels *k = NULL;
  if (wanted && *wanted) {
    k = cpu_kernels_find(wanted);
    if (!k)
      err_set(e,
              "PHI3_ISA=%s is not an instruction set that this machine runs; use baseline, v3, v4 or vnni, or unset it",
              wanted);
    return k;
  }
  for (int i = 0; !k; i++) k = cpu_kernels_find(best_first[i]);
  return k;
}

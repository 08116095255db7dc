// The list of cases: every kernel of the registry, by the family that its parameters belong to.
#include "bench/kernel_bench.h"
#include "runtime/base/mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct family *const families[] = {&linear_family, &attention_family, &embed_family,  &rmsnorm_family, &rope_family,
                                                &append_family, &copy_family,      &unpack_family, &sample_family};

bool case_add(struct case_list *l, const struct kernel_case *c, struct err *e, const char *fmt, ...) {
  if (l->count == l->capacity) {
    size_t capacity = l->capacity ? 2 * l->capacity : 128;
    struct kernel_case *p = mem_grow(l->cases, l->count, capacity, sizeof *p, "the cases", e);
    if (!p) return false;
    l->cases = p, l->capacity = capacity;
  }
  struct kernel_case *to = &l->cases[l->count++];
  *to = *c;
  int n = c->kernel == KERNEL_COUNT ? 0 : snprintf(to->name, sizeof to->name, "%s/", gpu_kernel_name(c->kernel) + strlen("phi3_"));
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(to->name + n, sizeof to->name - (size_t)n, fmt, ap);
  va_end(ap);
  return true;
}

static bool add_kernel(struct case_list *l, enum gpu_kernel k, struct err *e) {
  size_t before = l->count;
  for (size_t i = 0; i < sizeof families / sizeof *families; i++)
    if (strcmp(gpu_registry[k].parameters, families[i]->parameters) == 0 && !families[i]->add_cases(l, k, e)) return false;
  return l->count > before || err_set(e, "%s (%s) has no case: add one to bench/", gpu_kernel_name(k), gpu_registry[k].parameters);
}

bool case_list_fill(struct case_list *l, bool cublas, struct err *e) {
  *l = (struct case_list){0};
  for (enum gpu_kernel k = 0; k < KERNEL_COUNT; k++)
    if (!add_kernel(l, k, e)) return case_list_free(l), false;
  return !cublas || cublas_cases(l, e);
}

void case_list_free(struct case_list *l) {
  mem_free(l->cases);
  *l = (struct case_list){0};
}

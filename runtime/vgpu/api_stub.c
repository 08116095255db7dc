// A body for every exported name that this library does not implement, and the table of all names.
#include "runtime/vgpu/api.h"
#include <string.h>

// What is not implemented elsewhere answers NOT_SUPPORTED: a weak body that a real one replaces when the library is linked.
// The arguments are not looked at, so that they need no declaration.
#define ENTRY(base, version, symbol)
#define PER_THREAD(symbol, variant)
#define NAME(symbol)                                                                                                           \
  VG_API __attribute__((weak)) int vg_weak_##symbol(void) __asm__(#symbol);                                                    \
  int vg_weak_##symbol(void) { return CUDA_ERROR_NOT_SUPPORTED; }
#include "runtime/vgpu/cunames.inc"
#undef NAME
#undef ENTRY
#undef PER_THREAD

struct entry {
  const char *base, *symbol;
  int version;
  int (*function)(void);
};

#define NAME(symbol)
#define PER_THREAD(symbol, variant)
#define ENTRY(base, version, symbol) {#base, #symbol, version, vg_weak_##symbol},
static const struct entry entries[] = {
#include "runtime/vgpu/cunames.inc"
};
#undef ENTRY
#undef PER_THREAD

#define ENTRY(base, version, symbol)
#define PER_THREAD(symbol, variant) {#symbol, #variant, 0, vg_weak_##variant},
static const struct entry per_thread[] = {
#include "runtime/vgpu/cunames.inc"
};
#undef ENTRY
#undef PER_THREAD
#undef NAME

void *vg_proc_find(const char *symbol, int version, bool threads, bool *known) {
  const struct entry *best = NULL;
  *known = false;
  for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
    const struct entry *e = &entries[i];
    if (strcmp(e->base, symbol)) continue;
    *known = true;
    if (e->version <= version && (!best || e->version > best->version)) best = e;
  }
  if (!best) return NULL;
  for (size_t i = 0; threads && i < sizeof per_thread / sizeof *per_thread; i++)
    if (!strcmp(per_thread[i].base, best->symbol)) best = &per_thread[i];
  return (void *)(uintptr_t)best->function;
}

bool vg_name_known(const char *name) {
  for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
    if (!strcmp(entries[i].base, name) || !strcmp(entries[i].symbol, name)) return true;
  return false;
}

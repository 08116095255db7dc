#include "runtime/base/mem.h"
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 }; // a cache line, and the widest vector

static atomic_long tried, fail_from;

void mem_fail_from(long k) {
  atomic_store(&tried, 0);
  atomic_store(&fail_from, k);
}

long mem_tried(void) { return atomic_load(&tried); }

static bool must_fail(void) {
  long n = atomic_fetch_add(&tried, 1) + 1, f = atomic_load(&fail_from);
  return f > 0 && n >= f;
}

void *mem_raw_alloc(size_t bytes) { return must_fail() ? NULL : malloc(bytes ? bytes : 1); }

void mem_raw_free(void *p) { free(p); }

// calloc, so that the pages of a large block cost nothing before they are used; the block's own address stands before the aligned one.
void *mem_alloc(size_t count, size_t size, const char *what, struct err *e) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2) {
    err_no_memory(e, SIZE_MAX, what);
    return NULL;
  }
  char *block = must_fail() ? NULL : calloc(1, bytes + ALIGN + sizeof(void *));
  if (!block) {
    err_no_memory(e, bytes, what);
    return NULL;
  }
  uintptr_t p = ((uintptr_t)block + sizeof(void *) + ALIGN - 1) / ALIGN * ALIGN;
  ((void **)p)[-1] = block;
  return (void *)p;
}

void *mem_grow(void *old, size_t old_count, size_t count, size_t size, const char *what, struct err *e) {
  void *p = mem_alloc(count, size, what, e);
  if (!p) return NULL;
  if (old) memcpy(p, old, (old_count < count ? old_count : count) * size);
  mem_free(old);
  return p;
}

char *mem_strdup(const char *s, struct err *e) {
  size_t n = strlen(s) + 1;
  char *p = mem_alloc(n, 1, "a string", e);
  return p ? memcpy(p, s, n) : NULL;
}

void mem_free(void *p) {
  if (p) free(((void **)p)[-1]);
}

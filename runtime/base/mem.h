// Allocation with a checked product, and a way to make the k-th allocation fail so that every failure exit can be tested.
#pragma once
#include "runtime/base/err.h"

// `count` zeroed elements of `size` bytes, 64-byte aligned; `what` names them in the error. NULL and an error when they
// cannot be had. A count of zero gives a valid pointer.
void *mem_alloc(size_t count, size_t size, const char *what, struct err *e);
// Grows (never shrinks) `old`, which holds `old_count` elements; what is new is zeroed. On failure `old` stays as it was.
void *mem_grow(void *old, size_t old_count, size_t count, size_t size, const char *what, struct err *e);
char *mem_strdup(const char *s, struct err *e);
void mem_free(void *p);

// malloc and free with the same fault injection, for libraries that take such functions.
void *mem_raw_alloc(size_t bytes);
void mem_raw_free(void *p);

// Testing: the k-th allocation from now (1 is the next) fails, and every one after it; 0 switches this off.
void mem_fail_from(long k);
// Allocations tried since the last mem_fail_from.
long mem_tried(void);

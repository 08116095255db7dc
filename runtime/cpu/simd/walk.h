// How projections walk over stored rows of weights: in fours, ahead of which memory is asked for.
#pragma once
#include "runtime/cpu/simd/unpack.h"

INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

// A line of memory is asked for about AHEAD bytes before it is read: the processor's own prefetcher stops at the end of
// a page and follows short rows badly. Groups of four rows follow each other in memory, so that one stream that walks
// four times as fast as each row asks for all of it.
enum { AHEAD = 12288, LINE = 64 };

// From a group's first byte to what is asked for while it is summed: whole groups.
INLINE int64_t ahead_of(int64_t group_bytes) { return (AHEAD + group_bytes - 1) / group_bytes * group_bytes; }

// Asks for `bytes` bytes. They may lie behind the weights: nothing is read.
INLINE void prefetch(uintptr_t start, int64_t bytes) {
  for (int64_t b = 0; b < bytes; b += LINE) __builtin_prefetch((const void *)(start + (uintptr_t)b), 0, 2);
}

INLINE int64_t row_bytes(enum dtype t, int64_t k) {
  return is_float(t) ? k * (unit_bytes(t) / VW) : k / unit_elements(t) * unit_bytes(t);
}

// The first row of the next four. The last four may overlap those before.
INLINE int32_t next_four(int32_t o, int32_t count) {
  return count < 4 ? o + 1 : o + 4 >= count ? count : (int32_t)at_most(o + 4, count - 4);
}

// What next_four walked over: one sum where there are fewer than four.
INLINE void put_four(v4f sum, int32_t count, float *out) {
  if (count < 4) *out = sum[0];
  else memcpy(out, &sum, sizeof sum);
}

// out[0..n - 1] += the first n <= 4 sums.
INLINE void add_four(v4f sum, int n, float *out) {
  v4f old;
  if (n < 4) {
    for (int i = 0; i < n; i++) out[i] += sum[i];
    return;
  }
  memcpy(&old, out, sizeof old);
  old += sum;
  memcpy(out, &old, sizeof old);
}

// Each load of x serves SHARE rows of weights. Left alone, compilers load x again for each multiply-add, and the first
// cache gives fewer loads than there are multiply-adds.
#if defined __AVX512F__
#define keep_in_register(v) __asm__("" : "+v"(v))
#else
#define keep_in_register(v) (void)(v)
#endif

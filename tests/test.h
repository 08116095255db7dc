// cmocka with what it wants included first, and what our tests share.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "runtime/base/err.h"

#define assert_ok(call)                                     \
  do {                                                      \
    struct err *ok_e = &e;                                  \
    ok_e->text[0] = 0;                                      \
    if (!(call)) fail_msg("%s failed: %s", #call, ok_e->text); \
  } while (0)

// The call fails and its error mentions `word`.
#define assert_fails(call, word)                                                                              \
  do {                                                                                                        \
    e.text[0] = 0;                                                                                            \
    if (call) fail_msg("%s did not fail", #call);                                                             \
    if (!strstr(e.text, word)) fail_msg("%s: the error '%s' does not mention '%s'", #call, e.text, word);     \
  } while (0)

// From PHI3_TEST_SEED, else the clock; printed, so that a failing run can be repeated.
static inline uint64_t test_seed(void) {
  const char *s = getenv("PHI3_TEST_SEED");
  uint64_t seed = s ? strtoull(s, NULL, 10) : (uint64_t)time(NULL) * 1000003u;
  printf("seed: PHI3_TEST_SEED=%llu\n", (unsigned long long)seed);
  return seed;
}

// SplitMix64.
static inline uint64_t test_random(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static inline double test_uniform(uint64_t *state) { return (double)(test_random(state) >> 11) * 0x1p-53; }

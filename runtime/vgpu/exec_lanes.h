// Macros that make a handler of an expression over one lane: x, y, z are the sources, of types TA, TB, TC; R is the result's.
// All lanes are computed; with a partial mask the others keep what they had. Both loops vectorize.
#ifndef VGPU_EXEC_LANES_H
#define VGPU_EXEC_LANES_H

#include "runtime/vgpu/exec_internal.h"

#define LANE_LOOPS(R, EXPR) \
  if (m == ~0u) { \
    LANES r[i] = (R)(EXPR); \
  } else { \
    LANES { \
      R v_ = (R)(EXPR); \
      r[i] = ON(i) ? v_ : r[i]; \
    } \
  } \
  return d + 1;

#define UNARY(NAME, R, TA, EXPR) \
  HANDLER(NAME) { \
    R *r = (R *)P(d->dst); \
    const TA *pa = (const TA *)P(d->a); \
    LANE_LOOPS(R, ({ TA x = pa[i]; EXPR; })) \
  }
#define BINARY(NAME, R, TA, TB, EXPR) \
  HANDLER(NAME) { \
    R *r = (R *)P(d->dst); \
    const TA *pa = (const TA *)P(d->a); \
    const TB *pb = (const TB *)P(d->b); \
    LANE_LOOPS(R, ({ TA x = pa[i]; TB y = pb[i]; EXPR; })) \
  }
#define TERNARY(NAME, R, TA, TB, TC, EXPR) \
  HANDLER(NAME) { \
    R *r = (R *)P(d->dst); \
    const TA *pa = (const TA *)P(d->a); \
    const TB *pb = (const TB *)P(d->b); \
    const TC *pc = (const TC *)P(d->c); \
    LANE_LOOPS(R, ({ TA x = pa[i]; TB y = pb[i]; TC z = pc[i]; EXPR; })) \
  }

#endif

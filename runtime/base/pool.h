// A fixed pool of threads for loops whose parts are independent. Results must not depend on the number of threads: a
// part is given its range and nothing else.
#pragma once
#include "runtime/base/err.h"
#include <stdint.h>

struct pool;

// `threads` in all, the caller's among them; 0 takes one per available processor.
struct pool *pool_open(int threads, struct err *e);
void pool_close(struct pool *p);
int pool_threads(const struct pool *p);

// Calls fn(ctx, begin, end, thread) for pieces of [0, count) of at most `grain` items, on all threads, and returns when
// all are done. `thread` is in [0, pool_threads). One call at a time per pool.
void pool_for(struct pool *p, int64_t count, int64_t grain,
              void (*fn)(void *ctx, int64_t begin, int64_t end, int thread), void *ctx);

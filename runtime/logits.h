// What rows of logits say: their distributions, and how far two of them are apart. All sums are fp64.
#pragma once
#include <stdbool.h>
#include <stdint.h>

// The first index whose logit is NaN or infinite upwards, -1 when there is none. A logit of -infinity rules its id out
// and is allowed.
int64_t logits_find_bad(const float *x, int64_t n);
// log(sum(exp(x))) of logits without a bad one; -infinity when all are.
double logits_log_sum(const float *x, int64_t n);
// Kullback-Leibler divergence of q's distribution from p's, in nats: sum p (log p - log q). Infinite where q rules out
// what p does not.
double logits_divergence(const float *p, const float *q, int64_t n);
// The k (at most n) largest logits' ids, largest first, the lower id first on a tie.
void logits_top(const float *x, int64_t n, int32_t k, int32_t *ids);

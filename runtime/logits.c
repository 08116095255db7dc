#include "runtime/logits.h"
#include <math.h>

int64_t logits_find_bad(const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (!(x[i] < INFINITY)) return i;
  return -1;
}

double logits_log_sum(const float *x, int64_t n) {
  double most = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; i++)
    if (x[i] > most) most = x[i]; // not fmax: its reduction from float crashes gcc 12 for aarch64
  if (most == -INFINITY) return most;
  for (int64_t i = 0; i < n; i++) sum += exp((double)x[i] - most);
  return most + log(sum);
}

double logits_divergence(const float *p, const float *q, int64_t n) {
  double p_sum = logits_log_sum(p, n), q_sum = logits_log_sum(q, n), d = 0;
  for (int64_t i = 0; i < n; i++) {
    double log_p = (double)p[i] - p_sum;
    if (log_p > -INFINITY) d += exp(log_p) * (log_p - ((double)q[i] - q_sum));
  }
  return d;
}

// Whether id i comes after id j.
static bool after(const float *x, int32_t i, int32_t j) { return x[i] < x[j] || (x[i] == x[j] && i > j); }

// heap[0, k) with the last of them at its root, where heap[at] may come before its children.
static void sift(const float *x, int32_t *heap, int32_t k, int32_t at) {
  for (int32_t child; (child = 2 * at + 1) < k; at = child) {
    if (child + 1 < k && after(x, heap[child + 1], heap[child])) child++;
    if (!after(x, heap[child], heap[at])) return;
    int32_t moved = heap[at];
    heap[at] = heap[child];
    heap[child] = moved;
  }
}

void logits_top(const float *x, int64_t n, int32_t k, int32_t *ids) {
  if (k < 1) return;
  for (int32_t i = 0; i < k; i++) ids[i] = i;
  for (int32_t i = k / 2 - 1; i >= 0; i--) sift(x, ids, k, i);
  for (int32_t i = k; i < n; i++)
    if (after(x, ids[0], i)) {
      ids[0] = i;
      sift(x, ids, k, 0);
    }
  for (int32_t left = k - 1; left > 0; left--) { // heap sort: the last one goes behind the heap
    int32_t last = ids[0];
    ids[0] = ids[left];
    ids[left] = last;
    sift(x, ids, left, 0);
  }
}

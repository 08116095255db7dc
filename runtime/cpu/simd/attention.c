// Attention of up to 48 (query, head) pairs that share a key-value head. Each tile of 64 keys is brought into the first
// two caches as fp32 once for all of them, keys as [head_dim, 64] so that a vector holds keys and no sum crosses lanes,
// values as [64, head_dim]. Scores: each is one chain over head_dim. Weighted sums: each is one chain over the keys.
// GROUP pairs share the loads; the order of a pair's arithmetic does not depend on its neighbours.
#include "runtime/cpu/simd/names.h"
#include <math.h>

#if defined __AVX512F__ || defined __aarch64__
enum { GROUP = 6 }; // 6 x 4 of 32 registers
#else
enum { GROUP = 2 }; // 2 x 4 of 16 registers
#endif
enum { BLOCK = 4 }; // vectors of keys, or of a value's channels, at a time
_Static_assert(ATTENTION_KEYS % (BLOCK * VW) == 0, "a tile is whole blocks of keys");
_Static_assert(ATTENTION_DIM % CPU_PAD == 0, "rows of values are whole vectors");

// Keys [begin, end) of a tile are visible to a pair; begin == end: none.
struct span {
  int begin, end;
};

static struct span visible(const struct attention_task *t, int pair, int64_t first_key) {
  int64_t last = t->position[pair] - first_key + 1, first = t->window ? last - t->window : 0;
  int64_t end = last < 0 ? 0 : last > ATTENTION_KEYS ? ATTENTION_KEYS : last;
  int64_t begin = first < 0 ? 0 : first > end ? end : first;
  return (struct span){(int)begin, (int)end};
}

INLINE void copy_floats(const char *src, bool f16, int64_t n, float *dst) {
  int64_t k = 0;
  if (f16) {
    for (; k + VW <= n; k += VW) vf_store(dst + k, vf_from_f16(src + 2 * k));
    for (; k < n; k++) dst[k] = f32_from_f16((const uint8_t *)src + 2 * k);
  } else {
    for (; k + VW <= n; k += VW) vf_store(dst + k, vf_load(src + 4 * k));
    for (; k < n; k++) memcpy(dst + k, src + 4 * k, 4);
  }
}

// Brings the keys and values of `span` of the tile in. What lies outside keeps older numbers: scores made of them are
// masked.
static void load_tile(const struct attention_cache *c, int64_t first_key, struct span span,
                      struct attention_scratch *s) {
  int64_t bytes = c->f16 ? 2 : 4, dim = c->head_dim;
  for (int begin = span.begin, count; begin < span.end; begin += count) {
    int64_t key = first_key + begin, slot = key % c->page_size, left = c->page_size - slot;
    count = left < span.end - begin ? (int)left : span.end - begin; // keys that lie in one page
    int64_t page = c->block_table[key / c->page_size] * c->page_bytes;
    const char *keys = c->keys + page + slot * bytes, *values = c->values + page + slot * dim * bytes;
    for (int64_t d = 0; d < dim; d++)
      copy_floats(keys + d * c->page_size * bytes, c->f16, count, s->keys + d * ATTENTION_KEYS + begin);
    for (int j = 0; j < count; j++)
      copy_floats(values + j * dim * bytes, c->f16, dim, s->values + (begin + j) * ATTENTION_DIM);
  }
}

// scores[p][j] = q[p] . key[j] of `blocks` vectors of keys from j on, for `pairs` pairs from `p` on.
INLINE void score_keys(int pairs, int blocks, int p, int j, int32_t dim, struct attention_scratch *s) {
  const float *keys = s->keys + j, *queries = s->q[p];
  vf acc[GROUP][BLOCK];
  UNROLL for (int i = 0; i < pairs; i++) UNROLL for (int v = 0; v < blocks; v++) acc[i][v] = (vf){0};
  for (int32_t d = 0; d < dim; d++, keys += ATTENTION_KEYS, queries++) {
    vf k[BLOCK];
    UNROLL for (int v = 0; v < blocks; v++) k[v] = vf_load(keys + v * VW);
    UNROLL for (int i = 0; i < pairs; i++) {
      vf q = vf_set(queries[i * ATTENTION_DIM]);
      UNROLL for (int v = 0; v < blocks; v++) acc[i][v] = vf_fma(q, k[v], acc[i][v]);
    }
  }
  UNROLL for (int i = 0; i < pairs; i++) UNROLL for (int v = 0; v < blocks; v++)
      vf_store(s->scores[p + i] + j + v * VW, acc[i][v]);
}

// Those of the keys in `span`, and of their neighbours that share vectors with them.
INLINE void score(int pairs, int p, struct span span, int32_t dim, struct attention_scratch *s) {
  int j = span.begin / VW * VW;
  for (; j + 2 * VW < span.end; j += BLOCK * VW) { // three or four vectors
    if (j + BLOCK * VW > ATTENTION_KEYS) j = ATTENTION_KEYS - BLOCK * VW;
    score_keys(pairs, BLOCK, p, j, dim, s);
  }
  for (; j < span.end; j += VW) score_keys(pairs, 1, p, j, dim, s);
}

// Scores to exponentials against the largest score so far; what was summed before is scaled to match.
static void soften(int p, struct span span, float scale, int32_t dim, struct attention_scratch *s) {
  vf x[ATTENTION_KEYS / VW], max = vf_set(-INFINITY), total = {0};
  vi lane;
  int first = span.begin / VW, end = (span.end + VW - 1) / VW; // vectors that hold a visible key
  for (int i = 0; i < VW; i++) lane[i] = i;
  for (int v = first; v < end; v++) {
    vi j = lane + v * VW;
    x[v] = vf_select((j >= span.begin) & (j < span.end), vf_load(s->scores[p] + v * VW) * scale, vf_set(-INFINITY));
    max = vf_max(max, x[v]);
  }
  float old = s->max[p], highest = vf_max_lane(max);
  s->max[p] = highest > old ? highest : old;
  for (int v = first; v < end; v++) {
    vf e = vf_exp(x[v] - s->max[p]);
    vf_store(s->scores[p] + v * VW, e);
    total += e;
  }
  float shrink = vf_exp(vf_set(old - s->max[p]))[0];
  s->total[p] = s->total[p] * shrink + vf_sum(total);
  if (shrink != 1)
    for (int d = 0; d < dim; d += VW) vf_store(s->sum[p] + d, vf_load(s->sum[p] + d) * shrink);
}

// sum[p] += exponential[j] value[j] for j in [begin, end), `blocks` vectors of channels from d on.
INLINE void mix(int pairs, int blocks, int p, int begin, int end, int d, struct attention_scratch *s) {
  vf acc[GROUP][BLOCK];
  UNROLL for (int i = 0; i < pairs; i++) UNROLL for (int v = 0; v < blocks; v++) acc[i][v] =
      vf_load(s->sum[p + i] + d + v * VW);
  const float *value = s->values + begin * ATTENTION_DIM + d, *weights = s->scores[p] + begin;
  for (int j = begin; j < end; j++, value += ATTENTION_DIM, weights++) {
    vf x[BLOCK];
    UNROLL for (int v = 0; v < blocks; v++) x[v] = vf_load(value + v * VW);
    UNROLL for (int i = 0; i < pairs; i++) {
      vf e = vf_set(weights[i * ATTENTION_KEYS]);
      UNROLL for (int v = 0; v < blocks; v++) acc[i][v] = vf_fma(e, x[v], acc[i][v]);
    }
  }
  UNROLL for (int i = 0; i < pairs; i++) UNROLL for (int v = 0; v < blocks; v++)
      vf_store(s->sum[p + i] + d + v * VW, acc[i][v]);
}

INLINE void mix_channels(int pairs, int p, struct span span, int32_t dim, struct attention_scratch *s) {
  int d = 0;
  for (; d + BLOCK * VW <= dim; d += BLOCK * VW) mix(pairs, BLOCK, p, span.begin, span.end, d, s);
  for (; d + 2 * VW <= dim; d += 2 * VW) mix(pairs, 2, p, span.begin, span.end, d, s);
  for (; d < dim; d += VW) mix(pairs, 1, p, span.begin, span.end, d, s); // the last vector ends in zeros
}

static void mix_one(int p, int begin, int end, int32_t dim, struct attention_scratch *s) {
  if (begin < end) mix_channels(1, p, (struct span){begin, end}, dim, s);
}

// A pair takes only the keys that it sees: where the group's spans differ, each takes its own edges, still in ascending
// order.
static void mix_group(int p, const struct span *spans, int32_t dim, struct attention_scratch *s) {
  struct span common = spans[0];
  for (int i = 1; i < GROUP; i++) {
    if (spans[i].begin > common.begin) common.begin = spans[i].begin;
    if (spans[i].end < common.end) common.end = spans[i].end;
  }
  if (common.begin >= common.end) {
    for (int i = 0; i < GROUP; i++) mix_one(p + i, spans[i].begin, spans[i].end, dim, s);
    return;
  }
  for (int i = 0; i < GROUP; i++) mix_one(p + i, spans[i].begin, common.begin, dim, s);
  mix_channels(GROUP, p, common, dim, s);
  for (int i = 0; i < GROUP; i++) mix_one(p + i, common.end, spans[i].end, dim, s);
}

static void attend_tile(const struct attention_task *t, int64_t first_key, struct attention_scratch *s) {
  struct span spans[ATTENTION_ROWS], all = {ATTENTION_KEYS, 0};
  int32_t dim = t->cache.head_dim;
  for (int p = 0; p < t->num_pairs; p++) {
    spans[p] = visible(t, p, first_key);
    if (spans[p].begin == spans[p].end) continue;
    if (spans[p].begin < all.begin) all.begin = spans[p].begin;
    if (spans[p].end > all.end) all.end = spans[p].end;
  }
  if (all.begin >= all.end) return;
  load_tile(&t->cache, first_key, all, s);
  for (int p = 0; p < t->num_pairs;) {
    bool whole = p + GROUP <= t->num_pairs;
    int pairs = whole ? GROUP : 1;
    struct span seen = spans[p]; // by any of the pairs, whose positions ascend
    for (int i = p + 1; i < p + pairs; i++) {
      if (spans[i].begin == spans[i].end) continue;
      if (seen.begin == seen.end) seen = spans[i];
      if (spans[i].begin < seen.begin) seen.begin = spans[i].begin;
      if (spans[i].end > seen.end) seen.end = spans[i].end;
    }
    if (whole) score(GROUP, p, seen, dim, s);
    else score(1, p, seen, dim, s);
    for (int i = p; i < p + pairs; i++)
      if (spans[i].begin < spans[i].end) soften(i, spans[i], t->scale, dim, s);
    if (whole) mix_group(p, spans + p, dim, s);
    else mix_one(p, spans[p].begin, spans[p].end, dim, s);
    p += pairs;
  }
}

void CPU_NAME(attention)(const struct attention_task *t, struct attention_scratch *s) {
  int32_t dim = t->cache.head_dim;
  int64_t first = t->position[0], last = t->position[t->num_pairs - 1];
  first = t->window && first >= t->window ? first - t->window + 1 : 0; // the oldest key that any pair sees
  for (int p = 0; p < t->num_pairs; p++) {
    memcpy(s->q[p], t->q[p], (size_t)dim * sizeof(float));
    memset(s->sum[p], 0, sizeof s->sum[p]);
    s->max[p] = -INFINITY;
    s->total[p] = 0;
  }
  for (int64_t tile = first / ATTENTION_KEYS; tile <= last / ATTENTION_KEYS; tile++)
    attend_tile(t, tile * ATTENTION_KEYS, s);
  for (int p = 0; p < t->num_pairs; p++)
    for (int d = 0; d < dim; d++) t->out[p][d] = s->sum[p][d] / s->total[p];
}

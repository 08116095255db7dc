// The arithmetic that prefill and decode attention share: 16 query rows against tiles of PHI3_TILE_KEYS keys, spans of
// PHI3_SPAN_KEYS, and their merge.
//
// Both products run on mma.m16n8k8 with the queries as the 16 rows. Lane l = 4 g + j holds query rows g and g + 8.
//   Scores: channel slices of 16 bytes serve as operands, as in linear: step s of a group of 32 channels uses channels
//   8 j + 2 s + 0..1.
//   Keys of a tile are permuted: column n of score tile t (0 .. 3) is key 8 (n / 2) + n % 2 + 2 t. So lane j's scores
//   are those of keys 8 j .. 8 j + 7, which are operand A of the second product without a shuffle, and its operand B,
//   eight consecutive keys of a channel of the transposed V page, is one 16-byte load for four products.
// A score is scaled by the same fused operation that subtracts the maximum: exp2(s scale - m).
// Every rounding is spelt out (__fmaf_rn ...): the two kernels must give the same bits.
// Online softmax: Milakov and Gimelshein 2018; tiling: FlashAttention-2 (Dao 2023); split keys: Flash-Decoding (Dao et
// al. 2023).
#pragma once
#include "common.cuh"

constexpr int SCORE_TILES = PHI3_TILE_KEYS / 8;
static_assert(PHI3_SPAN_KEYS % PHI3_TILE_KEYS == 0, "a span is whole tiles");

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The maximum of a row that has seen no key yet: below every score of fp16 numbers.
constexpr float NO_MAXIMUM = -1e30f;

// Fixes where a value is computed among all that is asm volatile: level by level of a tree, not branch by branch.
__device__ __forceinline__ void compute_here(float &v) { asm volatile("" : "+f"(v)); }

__device__ __forceinline__ float shuffle_xor(float v, int lanes) {
  float other;
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, -1;" : "=f"(other) : "f"(v), "r"(lanes));
  return other;
}

// Key of a tile that column n of score tile t holds.
__device__ __forceinline__ int permuted_key(int n, int t) { return n / 2 * 8 + n % 2 + 2 * t; }

// Channels 8 j .. 8 j + 7 of a group; zeros beyond head_dim and where there is no row.
__device__ __forceinline__ uint4 load_query(const uint16_t *row, int channel, int head_dim) {
  return row && channel < head_dim ? *reinterpret_cast<const uint4 *>(row + channel) : make_uint4(0, 0, 0, 0);
}

// The keys [first, last] of one sequence and key-value head that are read, in groups of eight: a page is whole groups.
// Loads never depend on a condition, so that many are on their way at once: what is asked for outside of the groups of
// [first, last] or of head_dim comes from inside. A key's score is masked then, a channel meets a zero of the query,
// and a value's weight is zero; only the values must be made finite, for 0 x NaN is NaN: see keep.
struct Source {
  const char *keys, *values; // of this head in page 0
  const int32_t *table;
  int32_t page_bytes, key_bytes, value_bytes; // from page to page, key to key, and channel to channel of values
  int32_t first, last, first_group, last_group, page_groups;
  uint32_t inverse; // of page_groups: see Place

  __device__ __forceinline__ Source(const phi3_attention &p, const phi3_row &info, int kv_head, int last_key)
      : keys(reinterpret_cast<const char *>(p.cache.keys + (int64_t)kv_head * p.cache.page_size * p.head_dim)),
        values(reinterpret_cast<const char *>(p.cache.values + (int64_t)kv_head * p.cache.page_size * p.head_dim)),
        table(p.cache.block_tables + (int64_t)info.seq * p.cache.table_stride),
        page_bytes(2 * p.kv_heads * p.cache.page_size * p.head_dim), key_bytes(2 * p.head_dim),
        value_bytes(2 * p.cache.page_size), first(max(0, info.position - p.window + 1)), last(last_key),
        first_group(first / 8), last_group(last / 8), page_groups(p.cache.page_size / 8),
        inverse(~0u / (uint32_t)page_groups) {}
};

// Page of a group of eight keys, and the group's place in it. The quotient (a product with the inverse, for a division
// is some twenty instructions) is exact while key x page_size is below 2^38.
struct Place {
  int32_t page, group;
  __device__ __forceinline__ Place(const Source &s, int group_of_sequence) {
    const int at = min(max(group_of_sequence, s.first_group), s.last_group);
    const uint32_t block = __umulhi((uint32_t)at + 1, s.inverse);
    page = s.table[block];
    group = at - (int)block * s.page_groups;
  }
};

// Masks for `n` halfs (n at most 0: none) of a word that holds halfs 2 i and 2 i + 1.
__device__ __forceinline__ uint32_t keep(int n, int i) { return n >= 2 * i + 2 ? ~0u : n == 2 * i + 1 ? 0xffffu : 0u; }

// Partial softmax of rows g (index 0) and g + 8 (index 1) over one span. l is this lane's share of the sum of weights,
// taken before they are rounded for the second product.
template <int CHANNEL_TILES> struct Partial {
  float o[CHANNEL_TILES][4];
  float m[2], l[2];
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int c = 0; c < CHANNEL_TILES; c++)
#pragma unroll
      for (int i = 0; i < 4; i++) o[c][i] = 0;
    m[0] = m[1] = NO_MAXIMUM;
    l[0] = l[1] = 0;
  }
  // The sum of all lanes; the whole warp asks for it.
  __device__ __forceinline__ float weight(int r) const {
    const float pair = __fadd_rn(l[r], shuffle_xor(l[r], 1));
    return __fadd_rn(pair, shuffle_xor(pair, 2));
  }
};

// Scores of one group of 32 channels, four chains of sums at a time; the first group starts them.
__device__ __forceinline__ void add_scores(float (&s)[SCORE_TILES][4], bool first, const uint4 &q0, const uint4 &q1,
                                           const uint4 (&k)[SCORE_TILES]) {
#pragma unroll
  for (int step = 0; step < 4; step++)
#pragma unroll
    for (int t = 0; t < SCORE_TILES; t++) {
      if (first && step == 0) mma_m16n8k8_first(s[t], word(q0, step), word(q1, step), word(k[t], step));
      else mma_m16n8k8(s[t], word(q0, step), word(q1, step), word(k[t], step));
    }
}

// -infinity where key `tile_key` + ... is not in (position - window, position] of the row.
__device__ __forceinline__ void mask(float (&s)[SCORE_TILES][4], int tile_key, const int (&position)[2], int window) {
  const int j = threadIdx.x % 4;
#pragma unroll
  for (int t = 0; t < SCORE_TILES; t++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int key = tile_key + j * 8 + t * 2 + i % 2, behind = position[i / 2] - key;
      if (behind < 0 || behind >= window) s[t][i] = -INFINITY;
    }
}

// One step of the online softmax: scores become weights, and the span's sums are brought to the new maximum. Both rows
// go through each step together, so that one's latency hides the other's.
template <int CHANNEL_TILES>
__device__ __forceinline__ void online_step(Partial<CHANNEL_TILES> &p, float (&s)[SCORE_TILES][4], float scale) {
  static_assert(SCORE_TILES == 4, "the maximum's tree");
  constexpr int SUMS = 4 * CHANNEL_TILES, STEPS = 4 * SCORE_TILES;
  float most[SCORE_TILES][2], m[2], correction[2];
#pragma unroll
  for (int i = 0; i < STEPS / 2; i++) {
    most[i / 2][i % 2] = fmaxf(s[i / 2][i % 2 * 2], s[i / 2][i % 2 * 2 + 1]);
    compute_here(most[i / 2][i % 2]);
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    most[i / 2][i % 2] = fmaxf(most[i / 2][i % 2], most[i / 2 + 2][i % 2]);
    compute_here(most[i / 2][i % 2]);
  }
#pragma unroll
  for (int r = 0; r < 2; r++) m[r] = fmaxf(most[0][r], most[1][r]);
#pragma unroll
  for (int o = 1; o < 4; o *= 2) {
    const float other[2] = {shuffle_xor(m[0], o), shuffle_xor(m[1], o)};
#pragma unroll
    for (int r = 0; r < 2; r++) m[r] = fmaxf(m[r], other[r]);
  }
#pragma unroll
  for (int r = 0; r < 2; r++) m[r] = __fmul_rn(m[r], scale);
#pragma unroll
  for (int r = 0; r < 2; r++) m[r] = fmaxf(p.m[r], m[r]);
#pragma unroll
  for (int i = 0; i < STEPS; i++) s[i / 4][i % 4] = __fmaf_rn(s[i / 4][i % 4], scale, -m[i % 4 / 2]);
#pragma unroll
  for (int r = 0; r < 2; r++) {
    correction[r] = exp2_fast(__fadd_rn(p.m[r], -m[r]));
    p.m[r] = m[r];
  }
  float sum[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < STEPS; i++) {
    s[i / 4][i % 4] = exp2_fast(s[i / 4][i % 4]);
    sum[i % 4 / 2] = __fadd_rn(sum[i % 4 / 2], s[i / 4][i % 4]);
#pragma unroll
    for (int c = i * SUMS / STEPS; c < (i + 1) * SUMS / STEPS; c++)
      p.o[c / 4][c % 4] = __fmul_rn(p.o[c / 4][c % 4], correction[c % 4 / 2]);
  }
#pragma unroll
  for (int r = 0; r < 2; r++) p.l[r] = __fmaf_rn(p.l[r], correction[r], sum[r]);
}

// Weights as operand A.
__device__ __forceinline__ void pack_weights(uint32_t (&a)[SCORE_TILES][2], const float (&s)[SCORE_TILES][4]) {
  __half h[SCORE_TILES][4];
#pragma unroll
  for (int t = 0; t < SCORE_TILES; t++)
#pragma unroll
    for (int i = 0; i < 4; i++) h[t][i] = __float2half_rn(s[t][i]);
#pragma unroll
  for (int t = 0; t < SCORE_TILES; t++)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const __half2 pair = __halves2half2(h[t][2 * r], h[t][2 * r + 1]);
      a[t][r] = *reinterpret_cast<const uint32_t *>(&pair);
    }
}

// What earlier spans and the next one, in ascending order, are together: the one formula of the merge.
struct Weights {
  float a, b, m; // of the earlier sums, of the span's, and the new maximum
};
__device__ __forceinline__ Weights merge_weights(float earlier, float span) {
  const float m = fmaxf(earlier, span);
  return {exp2_fast(__fadd_rn(earlier, -m)), exp2_fast(__fadd_rn(span, -m)), m};
}
__device__ __forceinline__ float merged(const Weights &w, float earlier, float span) {
  return __fmaf_rn(span, w.b, __fmul_rn(earlier, w.a));
}

// The arithmetic that prefill and decode attention share: 16 query rows against tiles of PHI3_TILE_KEYS keys, spans of
// PHI3_SPAN_KEYS, and their merge.
//
// Both products run on mma.m16n8k8 with the queries as the 16 rows. Lane l = 4 g + j holds query rows g and g + 8.
//   Scores: channel slices of 16 bytes serve as operands, as in linear: step s of a group of 32 channels uses channels
//   8 j + 2 s + 0..1.
//   Keys in a group of 16 are permuted: column n of score tile t (0, 1) is key 4 (n / 2) + n % 2 + 2 t. So lane j's
//   scores of both tiles are those of keys 4 j .. 4 j + 3, which are operand A of the second product without a shuffle,
//   and its operand B, four consecutive keys of a channel of the transposed V page, is one 8-byte load.
// Every rounding is spelt out (__fmaf_rn ...): the two kernels must give the same bits.
// Online softmax: Milakov and Gimelshein 2018; tiling: FlashAttention-2 (Dao 2023); split keys: Flash-Decoding (Dao et
// al. 2023).
#pragma once
#include "common.cuh"

constexpr int SCORE_TILES = PHI3_TILE_KEYS / 8;
static_assert(PHI3_SPAN_KEYS % PHI3_TILE_KEYS == 0, "a span is whole tiles");

// exp2 of a difference to the maximum; a row that has seen no key yet has the maximum -infinity and takes 0 in its
// place.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reference(float m) { return m == -INFINITY ? 0.0f : m; }

// Key of a group of 16 that column n of score tile t holds.
__device__ __forceinline__ int permuted_key(int n, int t) { return n / 2 * 4 + n % 2 + 2 * t; }

// Channels 8 j .. 8 j + 7 of a group; zeros beyond head_dim and where there is no row.
__device__ __forceinline__ uint4 load_query(const uint16_t *row, int channel, int head_dim) {
  return row && channel < head_dim ? *reinterpret_cast<const uint4 *>(row + channel) : make_uint4(0, 0, 0, 0);
}

// The keys [first, last] of one sequence and key-value head that are read. Loads never depend on a condition, so that
// many are on their way at once: what is asked for outside of [first, last] or head_dim comes from inside. A key's
// score is masked then, a channel meets a zero of the query, and a value's weight is zero; only the values must be made
// finite, for 0 x NaN is NaN: see keep.
struct Source {
  const uint16_t *keys, *values;
  const int32_t *table;
  int32_t page_size, head_dim, kv_heads, kv_head, first, last;

  __device__ __forceinline__ Source(const phi3_attention &p, const phi3_row &info, int kv, int last_key)
      : keys(p.cache.keys), values(p.cache.values), table(p.cache.block_tables + (int64_t)info.seq * p.cache.table_stride), page_size(p.cache.page_size),
        head_dim(p.head_dim), kv_heads(p.kv_heads), kv_head(kv), first(max(0, info.position - p.window + 1)), last(last_key) {}

  __device__ __forceinline__ int inside(int key) const { return min(max(key, first), last); }

  // Halfs before the keys or values of a page and this head.
  __device__ __forceinline__ int64_t page_head(int block) const { return ((int64_t)table[block] * kv_heads + kv_head) * page_size * head_dim; }

  __device__ __forceinline__ uint4 key_piece(int key, int channel) const {
    const int at = inside(key), block = at / page_size;
    return *reinterpret_cast<const uint4 *>(keys + page_head(block) + (int64_t)(at - block * page_size) * head_dim + min(channel, head_dim - 8));
  }
};

// Masks for `n` halfs (n at most 0: none) of a word that holds halfs 2 i and 2 i + 1.
__device__ __forceinline__ uint32_t keep(int n, int i) { return n >= 2 * i + 2 ? ~0u : n == 2 * i + 1 ? 0xffffu : 0u; }

// Partial softmax of rows g (index 0) and g + 8 (index 1) over one span. l is this lane's share of the sum of weights.
template <int CHANNEL_TILES> struct Partial {
  float o[CHANNEL_TILES][4];
  float m[2], l[2];
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int c = 0; c < CHANNEL_TILES; c++)
#pragma unroll
      for (int i = 0; i < 4; i++) o[c][i] = 0;
    m[0] = m[1] = -INFINITY;
    l[0] = l[1] = 0;
  }
};

__device__ __forceinline__ float quad_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
  return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

__device__ __forceinline__ float quad_sum(float v) {
  v = __fadd_rn(v, __shfl_xor_sync(0xffffffffu, v, 1));
  return __fadd_rn(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

// Scores in units of log2, -infinity where key `tile_key` + ... is not in (position - window, position] of the row.
__device__ __forceinline__ void scale_and_mask(float (&s)[SCORE_TILES][4], float scale, int tile_key, const int (&position)[2], int window, bool edge) {
  const int j = threadIdx.x % 4;
#pragma unroll
  for (int t = 0; t < SCORE_TILES; t++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      s[t][i] = __fmul_rn(s[t][i], scale);
      if (edge) {
        const int key = tile_key + t / 2 * 16 + j * 4 + t % 2 * 2 + i % 2, behind = position[i / 2] - key;
        if (behind < 0 || behind >= window) s[t][i] = -INFINITY;
      }
    }
}

// One step of the online softmax: scores become weights, and the span's sums are brought to the new maximum.
template <int CHANNEL_TILES> __device__ __forceinline__ void online_step(Partial<CHANNEL_TILES> &p, float (&s)[SCORE_TILES][4]) {
  float correction[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float m = s[0][2 * r];
#pragma unroll
    for (int t = 0; t < SCORE_TILES; t++) m = fmaxf(m, fmaxf(s[t][2 * r], s[t][2 * r + 1]));
    m = fmaxf(p.m[r], quad_max(m));
    const float ref = reference(m);
    correction[r] = exp2_fast(__fadd_rn(p.m[r], -ref));
    p.m[r] = m;
    float sum = 0;
#pragma unroll
    for (int t = 0; t < SCORE_TILES; t++)
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; i++) {
        s[t][i] = exp2_fast(__fadd_rn(s[t][i], -ref));
        sum = __fadd_rn(sum, s[t][i]);
      }
    p.l[r] = __fmaf_rn(p.l[r], correction[r], sum);
  }
#pragma unroll
  for (int c = 0; c < CHANNEL_TILES; c++)
#pragma unroll
    for (int i = 0; i < 4; i++) p.o[c][i] = __fmul_rn(p.o[c][i], correction[i / 2]);
}

// What earlier spans and the next one, in ascending order, are together: the one formula of the merge.
struct Weights {
  float a, b, m; // of the earlier sums, of the span's, and the new maximum
};
__device__ __forceinline__ Weights merge_weights(float earlier, float span) {
  const float m = fmaxf(earlier, span), ref = reference(m);
  return {exp2_fast(__fadd_rn(earlier, -ref)), exp2_fast(__fadd_rn(span, -ref)), m};
}
__device__ __forceinline__ float merged(const Weights &w, float earlier, float span) { return __fmaf_rn(span, w.b, __fmul_rn(earlier, w.a)); }

// Flash-style causal attention for many rows, over pages.
//
// Shapes: struct phi3_attention. Grid (blocks of queries, heads), 128 threads: four warps of 16 query rows, one head.
// The tile of 32 keys and values is shared by the warps through shared memory: while the scores are computed the values
// are on their way in registers, while the weights are applied the next keys are (Turing has no cp.async). A key's row
// takes 2 head_dim bytes, brought to 64 past a multiple of 128, so that two keys' 64-byte slices share no bank (head
// size 96 needs no padding); V lies as 32 bytes (16 keys) a channel, read in 8-byte pieces without conflicts. Tiles
// beyond the diagonal or behind the window are not read.
// Registers at head size 96: sums 48, earlier spans 48, scores 16, on their way 24; the queries are read from L1 at
// each tile. Two blocks an SM take turns at the barriers.
// Ideal: operations = 4 head_dim heads x visible pairs; bytes = q, out, and K and V once for each block of 64 queries
// (from L2 for the most part). On the virtual T4, 32 heads of 96 at 2048 tokens: 1.89 ms, of them 408 us at the tensor
// cores' own pace, as much as at that of issuing instructions.
#include "attention.cuh"

namespace {

constexpr int THREADS = 128;
static_assert(PHI3_QUERY_ROWS == THREADS / 32 * 16, "a warp has 16 query rows");

template <int HEAD_DIM> struct Shape {
  static constexpr int GROUPS = (HEAD_DIM + 31) / 32;         // of 32 channels
  static constexpr int CHANNEL_TILES = HEAD_DIM / 8;
  // halfs of a key's row: 64 bytes past a multiple of 128
  static constexpr int STRIDE = GROUPS * 32 + (GROUPS % 2 ? 0 : 32);
  static constexpr int K_PIECES = PHI3_TILE_KEYS * GROUPS * 4 / THREADS; // of 16 bytes, a thread
  static constexpr int V_ALL = HEAD_DIM * PHI3_TILE_KEYS / 8; // pieces of the tile
  static constexpr int V_PIECES = (V_ALL + THREADS - 1) / THREADS;
  // pieces are on their way during the products; larger heads leave no registers for that
  static constexpr bool AHEAD = HEAD_DIM <= 96;
  static_assert(STRIDE * 2 % 128 == 64, "two keys share no bank");
  static_assert(PHI3_TILE_KEYS * GROUPS * 4 % THREADS == 0, "the keys are whole pieces a thread");
};

// Eight keys of one channel, zeros beyond the last key and where none is seen.
__device__ __forceinline__ uint4 value_piece(const Source &s, int key, int channel) {
  const int at = s.inside(key) & ~7, block = at / s.page_size, n = key + 7 < s.first ? 0 : s.last - key + 1;
  uint4 v = *reinterpret_cast<const uint4 *>(s.values + s.page_head(block) + (int64_t)min(channel, s.head_dim - 1) * s.page_size + (at - block * s.page_size));
  v.x &= keep(n, 0);
  v.y &= keep(n, 1);
  v.z &= keep(n, 2);
  v.w &= keep(n, 3);
  return v;
}

template <int HEAD_DIM> __device__ __forceinline__ void load_keys(uint4 (&r)[Shape<HEAD_DIM>::K_PIECES], const Source &s, int tile_key) {
#pragma unroll
  for (int i = 0; i < Shape<HEAD_DIM>::K_PIECES; i++) {
    const int piece = threadIdx.x + i * THREADS, per_key = Shape<HEAD_DIM>::GROUPS * 4;
    r[i] = s.key_piece(tile_key + piece / per_key, piece % per_key * 8);
  }
}

template <int HEAD_DIM> __device__ __forceinline__ void store_keys(const uint4 (&r)[Shape<HEAD_DIM>::K_PIECES], uint16_t *sk) {
#pragma unroll
  for (int i = 0; i < Shape<HEAD_DIM>::K_PIECES; i++) {
    const int piece = threadIdx.x + i * THREADS, per_key = Shape<HEAD_DIM>::GROUPS * 4;
    *reinterpret_cast<uint4 *>(sk + piece / per_key * Shape<HEAD_DIM>::STRIDE + piece % per_key * 8) = r[i];
  }
}

// Shared V: [4 groups of 16 keys][HEAD_DIM channels][16 keys].
template <int HEAD_DIM> __device__ __forceinline__ void load_values(uint4 (&r)[Shape<HEAD_DIM>::V_PIECES], const Source &s, int tile_key) {
#pragma unroll
  for (int i = 0; i < Shape<HEAD_DIM>::V_PIECES; i++) {
    const int piece = min((int)threadIdx.x + i * THREADS, Shape<HEAD_DIM>::V_ALL - 1), group = piece / (HEAD_DIM * 2), channel = piece / 2 % HEAD_DIM;
    r[i] = value_piece(s, tile_key + group * 16 + piece % 2 * 8, channel);
  }
}

template <int HEAD_DIM> __device__ __forceinline__ void store_values(const uint4 (&r)[Shape<HEAD_DIM>::V_PIECES], uint4 *sv) {
#pragma unroll
  for (int i = 0; i < Shape<HEAD_DIM>::V_PIECES; i++)
    if (threadIdx.x + i * THREADS < Shape<HEAD_DIM>::V_ALL) sv[threadIdx.x + i * THREADS] = r[i];
}

// Both steps at once, two pieces at a time.
template <int HEAD_DIM> __device__ __forceinline__ void copy_keys(const Source &s, int tile_key, uint16_t *sk) {
#pragma unroll 2
  for (int i = 0; i < Shape<HEAD_DIM>::K_PIECES; i++) {
    const int piece = threadIdx.x + i * THREADS, per_key = Shape<HEAD_DIM>::GROUPS * 4;
    *reinterpret_cast<uint4 *>(sk + piece / per_key * Shape<HEAD_DIM>::STRIDE + piece % per_key * 8) = s.key_piece(tile_key + piece / per_key, piece % per_key * 8);
  }
}

template <int HEAD_DIM> __device__ __forceinline__ void copy_values(const Source &s, int tile_key, uint4 *sv) {
#pragma unroll 2
  for (int piece = threadIdx.x; piece < Shape<HEAD_DIM>::V_ALL; piece += THREADS)
    sv[piece] = value_piece(s, tile_key + piece / (HEAD_DIM * 2) * 16 + piece % 2 * 8, piece / 2 % HEAD_DIM);
}

// The queries come from L1 each time: kept in registers they would make them spill.
template <int HEAD_DIM>
__device__ __forceinline__ void scores(float (&s)[SCORE_TILES][4], const uint16_t *const (&q)[2], int head_dim, const uint16_t *sk) {
  const int g = threadIdx.x % 32 / 4, j = threadIdx.x % 4;
#pragma unroll
  for (int t = 0; t < SCORE_TILES; t++)
#pragma unroll
    for (int i = 0; i < 4; i++) s[t][i] = 0;
#pragma unroll
  for (int k = 0; k < Shape<HEAD_DIM>::GROUPS; k++) {
    const uint4 a0 = load_query(q[0], k * 32 + j * 8, head_dim), a1 = load_query(q[1], k * 32 + j * 8, head_dim);
#pragma unroll
    for (int t = 0; t < SCORE_TILES; t++) {
      const uint4 b = *reinterpret_cast<const uint4 *>(sk + (t / 2 * 16 + permuted_key(g, t % 2)) * Shape<HEAD_DIM>::STRIDE + k * 32 + j * 8);
#pragma unroll
      for (int step = 0; step < 4; step++) mma_m16n8k8(s[t], word(a0, step), word(a1, step), word(b, step));
    }
  }
}

template <int HEAD_DIM>
__device__ __forceinline__ void apply_weights(Partial<Shape<HEAD_DIM>::CHANNEL_TILES> &p, const float (&s)[SCORE_TILES][4], const uint16_t *sv) {
  const int g = threadIdx.x % 32 / 4, j = threadIdx.x % 4;
#pragma unroll
  for (int group = 0; group < PHI3_TILE_KEYS / 16; group++) {
    const float *s0 = s[2 * group], *s1 = s[2 * group + 1];
    const uint32_t a0 = pack_half2(s0[0], s0[1]), a1 = pack_half2(s0[2], s0[3]), b0 = pack_half2(s1[0], s1[1]), b1 = pack_half2(s1[2], s1[3]);
#pragma unroll
    for (int c = 0; c < Shape<HEAD_DIM>::CHANNEL_TILES; c++) {
      const uint2 v = *reinterpret_cast<const uint2 *>(sv + (group * HEAD_DIM + c * 8 + g) * 16 + j * 4);
      mma_m16n8k8(p.o[c], a0, a1, v.x);
      mma_m16n8k8(p.o[c], b0, b1, v.y);
    }
  }
}

// Earlier spans' sums take the span in, and the span starts anew.
template <int TILES> __device__ __forceinline__ void merge(Partial<TILES> &earlier, Partial<TILES> &span) {
  Weights w[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    w[r] = merge_weights(earlier.m[r], span.m[r]);
    earlier.m[r] = w[r].m;
    earlier.l[r] = merged(w[r], earlier.l[r], quad_sum(span.l[r]));
  }
#pragma unroll
  for (int c = 0; c < TILES; c++)
#pragma unroll
    for (int i = 0; i < 4; i++) earlier.o[c][i] = merged(w[i / 2], earlier.o[c][i], span.o[c][i]);
  span.clear();
}

template <int HEAD_DIM> __device__ __forceinline__ void attention(const phi3_attention &p) {
  using S = Shape<HEAD_DIM>;
  __shared__ __align__(16) uint16_t sk[PHI3_TILE_KEYS * S::STRIDE];
  __shared__ uint4 sv[HEAD_DIM * PHI3_TILE_KEYS / 8];
  const phi3_queries block = p.queries[blockIdx.x];
  const int head = blockIdx.y, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, j = threadIdx.x % 4;
  const phi3_row info = p.row_info[block.first_row];
  const int last = info.position + block.count - 1;
  const Source source(p, info, head / (p.heads / p.kv_heads), last);
  const int row[2] = {warp * 16 + g, warp * 16 + g + 8}, position[2] = {info.position + row[0], info.position + row[1]};
  const uint16_t *q[2];
#pragma unroll
  for (int r = 0; r < 2; r++) q[r] = row[r] < block.count ? p.q + (int64_t)(block.first_row + row[r]) * p.ld + head * p.head_dim : nullptr;
  Partial<S::CHANNEL_TILES> earlier, span;
  earlier.clear();
  span.clear();
  uint4 keys[S::K_PIECES], values[S::V_PIECES];
  int tile = source.first / PHI3_TILE_KEYS;
  const int end = last / PHI3_TILE_KEYS + 1;
  load_keys<HEAD_DIM>(keys, source, tile * PHI3_TILE_KEYS);
  store_keys<HEAD_DIM>(keys, sk);
  __syncthreads();
  for (; tile < end; tile++) {
    const int tile_key = tile * PHI3_TILE_KEYS;
    float s[SCORE_TILES][4];
    if (S::AHEAD) load_values<HEAD_DIM>(values, source, tile_key);
    scores<HEAD_DIM>(s, q, p.head_dim, sk);
    if (S::AHEAD) store_values<HEAD_DIM>(values, sv);
    else copy_values<HEAD_DIM>(source, tile_key, sv);
    __syncthreads(); // the keys are used up, the values are there
    if (S::AHEAD) load_keys<HEAD_DIM>(keys, source, tile_key + PHI3_TILE_KEYS);
    const bool edge = tile_key + PHI3_TILE_KEYS - 1 > info.position + warp * 16 || info.position + warp * 16 + 15 - tile_key >= p.window;
    scale_and_mask(s, p.scale, tile_key, position, p.window, edge);
    online_step(span, s);
    apply_weights<HEAD_DIM>(span, s, reinterpret_cast<const uint16_t *>(sv));
    if (S::AHEAD) store_keys<HEAD_DIM>(keys, sk); // after the last tile: keys that nobody reads
    else copy_keys<HEAD_DIM>(source, tile_key + PHI3_TILE_KEYS, sk);
    __syncthreads(); // the values are used up, the next keys are there
    if ((tile + 1) % (PHI3_SPAN_KEYS / PHI3_TILE_KEYS) == 0 || tile + 1 == end) merge(earlier, span);
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    if (row[r] >= block.count) continue;
    uint16_t *out = p.out + (int64_t)(block.first_row + row[r]) * p.ld + head * p.head_dim;
#pragma unroll
    for (int c = 0; c < S::CHANNEL_TILES; c++) {
      const int channel = c * 8 + j * 2;
      if (channel < p.head_dim)
        *reinterpret_cast<uint32_t *>(out + channel) =
            pack_half2(__fdiv_rn(earlier.o[c][2 * r], earlier.l[r]), __fdiv_rn(earlier.o[c][2 * r + 1], earlier.l[r]));
    }
  }
}

} // namespace

PHI3_KERNEL __launch_bounds__(THREADS, 2) phi3_attention_prefill_32(phi3_attention p) { attention<32>(p); }
PHI3_KERNEL __launch_bounds__(THREADS, 2) phi3_attention_prefill_64(phi3_attention p) { attention<64>(p); }
PHI3_KERNEL __launch_bounds__(THREADS, 2) phi3_attention_prefill_80(phi3_attention p) { attention<80>(p); }
PHI3_KERNEL __launch_bounds__(THREADS, 2) phi3_attention_prefill_96(phi3_attention p) { attention<96>(p); }
PHI3_KERNEL __launch_bounds__(THREADS, 2) phi3_attention_prefill_128(phi3_attention p) { attention<128>(p); }

// Attention of one query row a sequence against the pages, keys split over warps in fixed spans, merged in order.
//
// Shapes: struct phi3_attention. phi3_attention_decode_*: grid (ceil(spans / 4), kv_heads x groups of 16 query heads,
// rows), four warps of a span each. The 16 rows of the tensor-core product are the query heads that share the key-value
// head (one of them is of use when every head has its own; the bound is DRAM all the same: at head size 96 a tile is 12
// KiB of keys and values for 192 tensor cycles of one scheduler). Keys and values go from the pages to registers
// without shared memory: 16-byte pieces of a key and of a transposed value channel are operands as they lie. A span's
// sums go to `partial`; phi3_attention_merge adds the spans in ascending order: the arithmetic of attention_prefill.cu,
// step by step.
// Ideal: bytes = 4 head_dim kv_heads x visible keys (each key and value once), operations = 4 head_dim heads x visible
// keys. On the virtual T4, 32 heads of 96 at 2047 tokens: 25.18 MB read of 25.17, 83 us against 79 at DRAM's own pace,
// DRAM the bound; at 128 tokens one warp a head is all there is, and 11 us are latency (kernel_bench --device vgpu
// --benchmark_filter='attention_decode_96/sequences:1').
#include "attention.cuh"

namespace {

constexpr int WARPS = 4; // of a block, a span each: registers are given out to four warps at a time

// What a tile needs from memory; all of it is asked for before any is used.
template <int HEAD_DIM> struct Tile {
  static constexpr int GROUPS = (HEAD_DIM + 31) / 32, CHANNEL_TILES = HEAD_DIM / 8;
  uint4 keys[GROUPS][SCORE_TILES];
  uint4 values[CHANNEL_TILES];
};

template <int HEAD_DIM>
__device__ __forceinline__ void load_keys(Tile<HEAD_DIM> &tile, const Source &from, int tile_key) {
  const int g = threadIdx.x % 32 / 4, j = threadIdx.x % 4;
  const Place at(from, tile_key / 8 + permuted_key(g, 0) / 8);
  const char *keys =
      from.keys + (int64_t)at.page * from.page_bytes + (at.group * 8 + permuted_key(g, 0) % 8) * from.key_bytes;
#pragma unroll
  for (int t = 0; t < SCORE_TILES; t++)
#pragma unroll
    for (int k = 0; k < Tile<HEAD_DIM>::GROUPS; k++)
      tile.keys[k][t] =
          *reinterpret_cast<const uint4 *>(keys + 2 * t * from.key_bytes + min(k * 64 + j * 16, from.key_bytes - 16));
}

// Eight consecutive keys of each channel.
template <int HEAD_DIM>
__device__ __forceinline__ void load_values(Tile<HEAD_DIM> &tile, const Source &from, int tile_key, int head_dim) {
  const int g = threadIdx.x % 32 / 4, j = threadIdx.x % 4;
  const Place at(from, tile_key / 8 + j);
  const char *values = from.values + (int64_t)at.page * from.page_bytes + at.group * 16;
#pragma unroll
  for (int c = 0; c < Tile<HEAD_DIM>::CHANNEL_TILES; c++)
    tile.values[c] = *reinterpret_cast<const uint4 *>(values + min(c * 8 + g, head_dim - 1) * from.value_bytes);
}

template <int HEAD_DIM>
__device__ __forceinline__ void scores(float (&s)[SCORE_TILES][4], const uint16_t *const (&q)[2],
                                       const Tile<HEAD_DIM> &tile, int head_dim) {
  const int j = threadIdx.x % 4;
#pragma unroll
  for (int k = 0; k < Tile<HEAD_DIM>::GROUPS; k++)
    add_scores(s, k == 0, load_query(q[0], k * 32 + j * 8, head_dim), load_query(q[1], k * 32 + j * 8, head_dim),
               tile.keys[k]);
}

template <int HEAD_DIM>
__device__ __forceinline__ void apply_weights(Partial<HEAD_DIM / 8> &p, const float (&s)[SCORE_TILES][4],
                                              const Tile<HEAD_DIM> &tile, const Source &from, int tile_key) {
  // of this lane's keys; an unwritten slot may hold anything
  const int key = tile_key + threadIdx.x % 4 * 8, n = key + 7 < from.first ? 0 : from.last - key + 1;
  uint32_t a[SCORE_TILES][2];
  pack_weights(a, s);
#pragma unroll
  for (int t = 0; t < SCORE_TILES; t++) {
    const uint32_t kept = keep(n, t);
#pragma unroll
    for (int c = 0; c < HEAD_DIM / 8; c++) mma_m16n8k8(p.o[c], a[t][0], a[t][1], word(tile.values[c], t) & kept);
  }
}

// Sums and weights of one span to `partial`.
template <int HEAD_DIM>
__device__ __forceinline__ void store(const Partial<HEAD_DIM / 8> &sums, const phi3_attention &p, int head0, int count,
                                      int span) {
  const int g = threadIdx.x % 32 / 4, j = threadIdx.x % 4;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const float weight = sums.weight(r);
    if (g + 8 * r >= count) continue;
    float *out =
        p.partial + (((int64_t)blockIdx.z * p.heads + head0 + g + 8 * r) * p.max_spans + span) * (p.head_dim + 2);
#pragma unroll
    for (int c = 0; c < HEAD_DIM / 8; c++)
      if (c * 8 + 2 * j < p.head_dim)
        *reinterpret_cast<float2 *>(out + c * 8 + 2 * j) = make_float2(sums.o[c][2 * r], sums.o[c][2 * r + 1]);
    if (j == 0) *reinterpret_cast<float2 *>(out + p.head_dim) = make_float2(sums.m[r], weight);
  }
}

template <int HEAD_DIM> __device__ __forceinline__ void attention(const phi3_attention &p) {
  const int row = blockIdx.z, per_kv = p.heads / p.kv_heads, groups = (per_kv + 15) / 16, g = threadIdx.x % 32 / 4;
  const int kv_head = blockIdx.y / groups, head0 = kv_head * per_kv + blockIdx.y % groups * 16,
            count = min(16, (kv_head + 1) * per_kv - head0);
  const phi3_row info = p.row_info[row];
  const Source from(p, info, kv_head, info.position);
  const int nth = blockIdx.x * WARPS + threadIdx.x / 32, span = from.first / PHI3_SPAN_KEYS + nth;
  if (span * PHI3_SPAN_KEYS > info.position) return;
  const int first_tile = max(from.first, span * PHI3_SPAN_KEYS) / PHI3_TILE_KEYS;
  const int end = min(info.position, span * PHI3_SPAN_KEYS + PHI3_SPAN_KEYS - 1) / PHI3_TILE_KEYS + 1;
  const uint16_t *q[2];
#pragma unroll
  for (int r = 0; r < 2; r++)
    q[r] = g + 8 * r < count ? p.q + (int64_t)row * p.ld + (head0 + g + 8 * r) * p.head_dim : nullptr;
  const int position[2] = {info.position, info.position};
  Partial<HEAD_DIM / 8> sums;
  sums.clear();
  for (int tile = first_tile; tile < end; tile++) {
    const int tile_key = tile * PHI3_TILE_KEYS;
    float s[SCORE_TILES][4];
    Tile<HEAD_DIM> data;
    load_keys(data, from, tile_key);
    load_values(data, from, tile_key, p.head_dim);
    scores<HEAD_DIM>(s, q, data, p.head_dim);
    if (tile_key + PHI3_TILE_KEYS - 1 > info.position || tile_key < from.first) mask(s, tile_key, position, p.window);
    online_step(sums, s, p.scale);
    apply_weights<HEAD_DIM>(sums, s, data, from, tile_key);
  }
  store<HEAD_DIM>(sums, p, head0, count, nth);
}

} // namespace

PHI3_KERNEL __launch_bounds__(32 * WARPS, 2) phi3_attention_decode_32(phi3_attention p) { attention<32>(p); }
PHI3_KERNEL __launch_bounds__(32 * WARPS, 2) phi3_attention_decode_64(phi3_attention p) { attention<64>(p); }
PHI3_KERNEL __launch_bounds__(32 * WARPS, 2) phi3_attention_decode_80(phi3_attention p) { attention<80>(p); }
PHI3_KERNEL __launch_bounds__(32 * WARPS, 2) phi3_attention_decode_96(phi3_attention p) { attention<96>(p); }
PHI3_KERNEL __launch_bounds__(32 * WARPS, 2) phi3_attention_decode_128(phi3_attention p) { attention<128>(p); }

// Spans of one row and head in ascending order; grid (heads, rows), a thread a channel.
PHI3_KERNEL __launch_bounds__(PHI3_MAX_HEAD_DIM) phi3_attention_merge(phi3_attention p) {
  const int row = blockIdx.y, head = blockIdx.x, channel = threadIdx.x;
  if (channel >= p.head_dim) return;
  const int position = p.row_info[row].position, first = max(0, position - p.window + 1) / PHI3_SPAN_KEYS;
  const int spans = position / PHI3_SPAN_KEYS - first + 1;
  const float *in = p.partial + ((int64_t)row * p.heads + head) * p.max_spans * (p.head_dim + 2);
  float o = 0, l = 0, m = NO_MAXIMUM;
  for (int s = 0; s < spans; s++, in += p.head_dim + 2) {
    const Weights w = merge_weights(m, in[p.head_dim]);
    o = merged(w, o, in[channel]);
    l = merged(w, l, in[p.head_dim + 1]);
    m = w.m;
  }
  p.out[(int64_t)row * p.ld + head * p.head_dim + channel] = half_bits(__fdiv_rn(o, l));
}

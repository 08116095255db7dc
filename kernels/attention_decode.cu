// Attention of one query row a sequence against the pages, keys split over warps in fixed spans, merged in order.
//
// Shapes: struct phi3_attention. phi3_attention_decode_*: grid (spans, kv_heads x groups of 16 query heads, rows), one warp. The 16 rows of the tensor-core product are
// the query heads that share the key-value head (one of them is of use when every head has its own; the bound is DRAM all the same: 24 KiB of keys and
// values for 384 tensor cycles). Keys and values go from the pages to registers without shared memory: a 16-byte piece of a key, an 8-byte piece of a transposed
// value channel are operands as they lie. A span's sums go to `partial`; phi3_attention_merge adds the spans in ascending order: the arithmetic
// of attention_prefill.cu, step by step.
// Ideal: bytes = 4 head_dim kv_heads x visible keys (each key and value once), operations = 4 head_dim heads x visible keys.
#include "attention.cuh"

namespace {

// A span's keys of one sequence; those outside [first, last] read as zeros.
struct Source {
  const uint16_t *keys, *values;
  const int32_t *table;
  int32_t page_size, head_dim, kv_heads, kv_head, first, last;

  __device__ __forceinline__ int64_t page_head(int key) const {
    return ((int64_t)table[key / page_size] * kv_heads + kv_head) * page_size * head_dim;
  }
};

template <int HEAD_DIM>
__device__ __forceinline__ void scores(float (&s)[SCORE_TILES][4], const uint16_t *const (&q)[2], const Source &from, int tile_key) {
  const int g = threadIdx.x / 4, j = threadIdx.x % 4;
  constexpr int GROUPS = (HEAD_DIM + 31) / 32;
  uint4 b[SCORE_TILES][GROUPS];
#pragma unroll
  for (int t = 0; t < SCORE_TILES; t++) {
    const int key = tile_key + t / 2 * 16 + permuted_key(g, t % 2);
    const bool there = key >= from.first && key <= from.last;
    const uint16_t *row = there ? from.keys + from.page_head(key) + (int64_t)(key % from.page_size) * from.head_dim : nullptr;
#pragma unroll
    for (int k = 0; k < GROUPS; k++) b[t][k] = load_channels(row, k * 32 + j * 8, from.head_dim);
#pragma unroll
    for (int i = 0; i < 4; i++) s[t][i] = 0;
  }
#pragma unroll
  for (int k = 0; k < GROUPS; k++) {
    const uint4 a0 = load_channels(q[0], k * 32 + j * 8, from.head_dim), a1 = load_channels(q[1], k * 32 + j * 8, from.head_dim);
#pragma unroll
    for (int t = 0; t < SCORE_TILES; t++)
#pragma unroll
      for (int step = 0; step < 4; step++) mma_m16n8k8(s[t], word(a0, step), word(a1, step), word(b[t][k], step));
  }
}

// Four consecutive keys of a channel; keys beyond the last are zero, for an unwritten slot may hold anything.
__device__ __forceinline__ uint2 value_piece(const Source &from, const uint16_t *page, int key, int channel) {
  if (!page || channel >= from.head_dim) return make_uint2(0, 0);
  uint2 v = *reinterpret_cast<const uint2 *>(page + (int64_t)channel * from.page_size + key % from.page_size);
  const int n = from.last - key + 1; // of these keys
  if (n < 4) v.y &= n == 3 ? 0xffffu : 0u;
  if (n < 2) v.x &= n == 1 ? 0xffffu : 0u;
  return v;
}

template <int CHANNEL_TILES>
__device__ __forceinline__ void apply_weights(Partial<CHANNEL_TILES> &p, const float (&s)[SCORE_TILES][4], const Source &from, int tile_key) {
  const int g = threadIdx.x / 4, j = threadIdx.x % 4;
#pragma unroll
  for (int group = 0; group < PHI3_TILE_KEYS / 16; group++) {
    const int key = tile_key + group * 16 + j * 4;
    const bool there = key + 3 >= from.first && key <= from.last;
    const uint16_t *page = there ? from.values + from.page_head(key) : nullptr;
    const float *s0 = s[2 * group], *s1 = s[2 * group + 1];
    const uint32_t a0 = pack_half2(s0[0], s0[1]), a1 = pack_half2(s0[2], s0[3]), b0 = pack_half2(s1[0], s1[1]), b1 = pack_half2(s1[2], s1[3]);
    uint2 v[CHANNEL_TILES];
#pragma unroll
    for (int c = 0; c < CHANNEL_TILES; c++) v[c] = value_piece(from, page, key, c * 8 + g);
#pragma unroll
    for (int c = 0; c < CHANNEL_TILES; c++) {
      mma_m16n8k8(p.o[c], a0, a1, v[c].x);
      mma_m16n8k8(p.o[c], b0, b1, v[c].y);
    }
  }
}

template <int HEAD_DIM> __device__ __forceinline__ void attention(const phi3_attention &p) {
  constexpr int CHANNEL_TILES = HEAD_DIM / 8;
  const int row = blockIdx.z, per_kv = p.heads / p.kv_heads, groups = (per_kv + 15) / 16;
  const int kv_head = blockIdx.y / groups, head0 = kv_head * per_kv + blockIdx.y % groups * 16, count = min(16, (kv_head + 1) * per_kv - head0);
  const int g = threadIdx.x / 4, j = threadIdx.x % 4;
  const phi3_row info = p.row_info[row];
  const int first = max(0, info.position - p.window + 1), span = first / PHI3_SPAN_KEYS + blockIdx.x;
  const int first_tile = max(first, span * PHI3_SPAN_KEYS) / PHI3_TILE_KEYS;
  const int end = min(info.position, span * PHI3_SPAN_KEYS + PHI3_SPAN_KEYS - 1) / PHI3_TILE_KEYS + 1;
  if (span * PHI3_SPAN_KEYS > info.position) return;
  const Source from = {p.cache.keys, p.cache.values, p.cache.block_tables + (int64_t)info.seq * p.cache.table_stride, p.cache.page_size, p.head_dim,
                       p.kv_heads, kv_head, first, info.position};
  const uint16_t *q[2];
#pragma unroll
  for (int r = 0; r < 2; r++) q[r] = g + 8 * r < count ? p.q + (int64_t)row * p.ld + (head0 + g + 8 * r) * p.head_dim : nullptr;
  const int position[2] = {info.position, info.position};
  Partial<CHANNEL_TILES> sums;
  sums.clear();
  for (int tile = first_tile; tile < end; tile++) {
    const int tile_key = tile * PHI3_TILE_KEYS;
    float s[SCORE_TILES][4];
    scores<HEAD_DIM>(s, q, from, tile_key);
    scale_and_mask(s, p.scale, tile_key, position, p.window, tile_key + PHI3_TILE_KEYS - 1 > info.position || tile_key < first);
    online_step(sums, s);
    apply_weights(sums, s, from, tile_key);
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const float l = quad_sum(sums.l[r]);
    if (g + 8 * r >= count) continue;
    float *out = p.partial + (((int64_t)row * p.heads + head0 + g + 8 * r) * p.max_spans + blockIdx.x) * (p.head_dim + 2);
#pragma unroll
    for (int c = 0; c < CHANNEL_TILES; c++)
      if (c * 8 + 2 * j < p.head_dim) {
        out[c * 8 + 2 * j] = sums.o[c][2 * r];
        out[c * 8 + 2 * j + 1] = sums.o[c][2 * r + 1];
      }
    if (j == 0) {
      out[p.head_dim] = sums.m[r];
      out[p.head_dim + 1] = l;
    }
  }
}

} // namespace

PHI3_KERNEL __launch_bounds__(32, 8) phi3_attention_decode_32(phi3_attention p) { attention<32>(p); }
PHI3_KERNEL __launch_bounds__(32, 8) phi3_attention_decode_64(phi3_attention p) { attention<64>(p); }
PHI3_KERNEL __launch_bounds__(32, 8) phi3_attention_decode_80(phi3_attention p) { attention<80>(p); }
PHI3_KERNEL __launch_bounds__(32, 8) phi3_attention_decode_96(phi3_attention p) { attention<96>(p); }
PHI3_KERNEL __launch_bounds__(32, 8) phi3_attention_decode_128(phi3_attention p) { attention<128>(p); }

// Spans of one row and head in ascending order; grid (heads, rows), a thread a channel.
PHI3_KERNEL __launch_bounds__(PHI3_MAX_HEAD_DIM) phi3_attention_merge(phi3_attention p) {
  const int row = blockIdx.y, head = blockIdx.x, channel = threadIdx.x;
  if (channel >= p.head_dim) return;
  const int position = p.row_info[row].position, first = max(0, position - p.window + 1) / PHI3_SPAN_KEYS;
  const int spans = position / PHI3_SPAN_KEYS - first + 1;
  const float *in = p.partial + ((int64_t)row * p.heads + head) * p.max_spans * (p.head_dim + 2);
  float o = 0, l = 0, m = -INFINITY;
  for (int s = 0; s < spans; s++, in += p.head_dim + 2) {
    const Weights w = merge_weights(m, in[p.head_dim]);
    o = merged(w, o, in[channel]);
    l = merged(w, l, in[p.head_dim + 1]);
    m = w.m;
  }
  p.out[(int64_t)row * p.ld + head * p.head_dim + channel] = half_bits(__fdiv_rn(o, l));
}

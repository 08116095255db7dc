// Flash-style causal attention for many rows, over pages.
//
// Shapes: struct phi3_attention. Grid (blocks of queries, heads), 128 threads: four warps of 16 query rows, one head.
// Blocks are taken some heads at a time, so that their keys and values stay in L2, and the longest first, so that an SM
// does not begin with one when the others have ended.
// Tiles of 32 keys and values go through shared memory, two of each, shared by the warps: with Turing's lack of
// cp.async they are on their way in registers, values while the scores are computed, the next keys while scores become
// weights, and both are stored before the tile's only barrier. A key's row is 64 bytes past a multiple of 128, or odd
// keys have their 64-byte groups swapped, so that two keys' slices share no bank; V lies as 64 bytes (32 keys) a
// channel. Tiles beyond the diagonal or behind the window are not read. A warp has few neighbours to hide its latency,
// so products go in four independent chains, and addresses are computed a tile ahead.
// Registers at head size 96 (240 in all): sums 50, earlier spans 50, scores 16, queries 24 (from L1 at each tile at 128,
// where they do not fit), on their way 24: two blocks an SM.
// Ideal: operations = 4 head_dim heads x visible pairs; bytes = q, out, and K and V once for each block of 64 queries
// (from L2 for the most part). On the virtual T4, 32 heads of 96 at 2048 tokens: 922 us, of them 408 at the tensor
// cores' own pace, 256 at that of shared memory, 214 at that of issuing instructions
// (kernel_bench --device vgpu --benchmark_filter=attention_prefill_96/rows:2048).
#include "attention.cuh"

namespace {

constexpr int THREADS = 128;
constexpr int SPAN_TILES = PHI3_SPAN_KEYS / PHI3_TILE_KEYS;
constexpr int HEADS_TOGETHER = 4; // their keys and values fit in L2
static_assert(PHI3_QUERY_ROWS == THREADS / 32 * 16, "a warp has 16 query rows");
static_assert(THREADS == 4 * PHI3_TILE_KEYS, "a key is four threads' part: see Stage");

template <int HEAD_DIM> struct Shape {
  static constexpr int GROUPS = (HEAD_DIM + 31) / 32; // of 32 channels
  static constexpr int CHANNEL_TILES = HEAD_DIM / 8;
  static constexpr int KEY_BYTES = GROUPS * 64; // of shared memory
  // Bytes of a key from 0 on and those of its neighbour from `group` on lie in different banks: either the rows do so
  // of themselves, or odd keys have their groups swapped in pairs.
  static __device__ __forceinline__ int group_bytes(int key, int group) {
    return (GROUPS % 2 ? group : group ^ (key & 1)) * 64;
  }
  static constexpr bool KEEP_QUERIES = HEAD_DIM <= 96; // in registers; larger heads read them from L1 for each tile
};

// A lane's part of its two rows of queries.
template <int HEAD_DIM> struct Queries {
  const uint16_t *row[2];
  int head_dim;
  uint4 kept[Shape<HEAD_DIM>::GROUPS][2];

  __device__ __forceinline__ uint4 load(int group, int r) const {
    return load_query(row[r], group * 32 + threadIdx.x % 4 * 8, head_dim);
  }
  __device__ __forceinline__ void keep() {
#pragma unroll
    for (int k = 0; k < Shape<HEAD_DIM>::GROUPS; k++)
#pragma unroll
      for (int r = 0; r < 2; r++) kept[k][r] = load(k, r);
  }
  __device__ __forceinline__ uint4 get(int group, int r) const {
    return Shape<HEAD_DIM>::KEEP_QUERIES ? kept[group][r] : load(group, r);
  }
};

// Tiles that lie wholly in the keys from `first_key` to before `end`.
struct Inside {
  int first, num;
  __device__ __forceinline__ Inside(int first_key, int end)
      : first((first_key + PHI3_TILE_KEYS - 1) >> 5), num(max(0, (end >> 5) - first)) {
    static_assert(PHI3_TILE_KEYS == 1 << 5, "shifts round down");
  }
  __device__ __forceinline__ bool has(int tile) const { return (uint32_t)(tile - first) < (uint32_t)num; }
};

// The compiler would rather compute these anew wherever they are used.
__device__ __forceinline__ void keep_in_register(int &v) { asm volatile("" : "+r"(v)); }
__device__ __forceinline__ void keep_in_register(const char *&v) { asm volatile("" : "+l"(v)); }

__device__ __forceinline__ uint4 &piece_at(uint4 *base, int bytes) {
  return *reinterpret_cast<uint4 *>(reinterpret_cast<char *>(base) + bytes);
}

// A thread's part of each tile: a piece (16 bytes) of each 32 channels of one key, and one channel of each 32 of that
// key's group of eight. Eight neighbours' pieces of keys lie in different banks of shared memory; two neighbours' make
// a sector of global memory, and so do those of values.
template <int HEAD_DIM> struct Stage {
  using S = Shape<HEAD_DIM>;
  static constexpr int GROUPS = S::GROUPS;
  const char *keys, *values;                    // in page 0
  int group, group_bytes, last_key, last_value; // last_...: bytes from the first piece to that of the last 32 channels
  int next_values;                              // bytes to the next 32 channels
  int to_keys[2];                               // bytes of shared memory, of even and odd groups of 32 channels

  __device__ __forceinline__ Stage(const Source &s, int head_dim) {
    const int j = threadIdx.x % 4, u = threadIdx.x / 4;
    const int piece = (u & 1) | ((j / 2 ^ u / 2) & 1) << 1, key = ((j ^ u / 4) & 1) | u / 8 << 1;
    const int first_key = min(piece * 16, s.key_bytes - 16), first_value = min(u, head_dim - 1) * s.value_bytes;
    group = j;
    group_bytes = 8 * s.key_bytes;
    keys = s.keys + key * s.key_bytes + first_key;
    values = s.values + first_value;
    last_key = min(piece * 16 + (GROUPS - 1) * 64, s.key_bytes - 16) - first_key;
    last_value = min(u + (GROUPS - 1) * 32, head_dim - 1) * s.value_bytes - first_value;
    next_values = 32 * s.value_bytes;
    for (int i = 0; i < 2; i++)
      to_keys[i] = (j * 8 + key) * S::KEY_BYTES + S::group_bytes(key, i) - i * 64 + piece * 16;
    keep_in_register(keys);
    keep_in_register(values);
    keep_in_register(group_bytes);
    keep_in_register(last_key);
    keep_in_register(last_value);
    keep_in_register(to_keys[0]);
    keep_in_register(to_keys[1]);
  }

  // All of the 32 channels but the last ones are there: smaller heads have a kernel of their own.
  __device__ __forceinline__ void load_keys(uint4 (&r)[GROUPS], const char *from) const {
#pragma unroll
    for (int i = 0; i < GROUPS; i++)
      r[i] = __ldg(reinterpret_cast<const uint4 *>(from + (i < GROUPS - 1 ? i * 64 : last_key)));
  }
  __device__ __forceinline__ void load_values(uint4 (&r)[GROUPS], const char *from) const {
#pragma unroll
    for (int i = 0; i < GROUPS; i++)
      r[i] = __ldg(reinterpret_cast<const uint4 *>(from + (i < GROUPS - 1 ? i * next_values : last_value)));
  }

  __device__ __forceinline__ void store_keys(const uint4 (&r)[GROUPS], uint4 *sk) const {
#pragma unroll
    for (int i = 0; i < GROUPS; i++) piece_at(sk, to_keys[GROUPS % 2 ? 0 : i % 2] + i * 64) = r[i];
  }
  // Shared V: [HEAD_DIM channels][32 keys].
  __device__ __forceinline__ void store_values(uint4 (&r)[GROUPS], const Source &s, bool edge, int tile,
                                               uint4 *sv) const {
    if (edge) {
      const int key = tile * PHI3_TILE_KEYS + group * 8, n = key + 7 < s.first ? 0 : s.last - key + 1;
#pragma unroll
      for (int i = 0; i < GROUPS; i++)
        r[i] = make_uint4(r[i].x & keep(n, 0), r[i].y & keep(n, 1), r[i].z & keep(n, 2), r[i].w & keep(n, 3));
    }
#pragma unroll
    for (int i = 0; i < GROUPS; i++)
      if (i * 32 + 32 <= HEAD_DIM || threadIdx.x / 4 + i * 32 < HEAD_DIM) sv[threadIdx.x + i * THREADS] = r[i];
  }
};

template <int HEAD_DIM>
__device__ __forceinline__ void scores(float (&s)[SCORE_TILES][4], const Queries<HEAD_DIM> &q, uint4 *sk,
                                       const int (&lane_keys)[2]) {
  using S = Shape<HEAD_DIM>;
#pragma unroll
  for (int k = 0; k < S::GROUPS; k++) {
    uint4 b[SCORE_TILES];
#pragma unroll
    for (int t = 0; t < SCORE_TILES; t++)
      b[t] = piece_at(sk, lane_keys[S::GROUPS % 2 ? 0 : k % 2] + permuted_key(0, t) * S::KEY_BYTES + k * 64);
    add_scores(s, k == 0, q.get(k, 0), q.get(k, 1), b);
  }
}

// Four chains of sums at a time.
template <int HEAD_DIM>
__device__ __forceinline__ void apply_weights(Partial<Shape<HEAD_DIM>::CHANNEL_TILES> &p,
                                              const uint32_t (&a)[SCORE_TILES][2], uint4 *sv, int lane_values) {
  constexpr int AT_ONCE = 4, TILES = Shape<HEAD_DIM>::CHANNEL_TILES;
#pragma unroll
  for (int c0 = 0; c0 < TILES; c0 += AT_ONCE) {
    uint4 v[AT_ONCE];
#pragma unroll
    for (int c = c0; c < TILES && c < c0 + AT_ONCE; c++) v[c - c0] = piece_at(sv, lane_values + c * 512);
#pragma unroll
    for (int t = 0; t < SCORE_TILES; t++)
#pragma unroll
      for (int c = c0; c < TILES && c < c0 + AT_ONCE; c++) mma_m16n8k8(p.o[c], a[t][0], a[t][1], word(v[c - c0], t));
  }
}

// Sums of earlier spans, and of the weights in them.
template <int CHANNEL_TILES> struct Earlier { float o[CHANNEL_TILES][4], m[2], l[2]; };

// Earlier spans' sums take the span in, and the span starts anew.
template <int CHANNEL_TILES>
__device__ __forceinline__ void merge(Earlier<CHANNEL_TILES> &earlier, Partial<CHANNEL_TILES> &span) {
  Weights w[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    w[r] = merge_weights(earlier.m[r], span.m[r]);
    earlier.m[r] = w[r].m;
    earlier.l[r] = merged(w[r], earlier.l[r], span.weight(r));
  }
#pragma unroll
  for (int c = 0; c < CHANNEL_TILES; c++)
#pragma unroll
    for (int i = 0; i < 4; i++) earlier.o[c][i] = merged(w[i / 2], earlier.o[c][i], span.o[c][i]);
  span.clear();
}

template <int HEAD_DIM> __device__ __forceinline__ void attention(const phi3_attention &p) {
  using S = Shape<HEAD_DIM>;
  __shared__ uint4 sk[2][PHI3_TILE_KEYS * S::KEY_BYTES / 16], sv[2][HEAD_DIM * PHI3_TILE_KEYS / 8];
  // Longest first, some heads at a time.
  const int nth = blockIdx.y * gridDim.x + blockIdx.x, first_head = nth / (gridDim.x * HEADS_TOGETHER) * HEADS_TOGETHER;
  const int together = min(HEADS_TOGETHER, p.heads - first_head), nth_here = nth - first_head * gridDim.x;
  const phi3_queries block = p.queries[gridDim.x - 1 - nth_here / together];
  const int head = first_head + nth_here % together, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4,
            j = threadIdx.x % 4;
  const phi3_row info = p.row_info[block.first_row];
  const int last = info.position + block.count - 1;
  const Source source(p, info, head / (p.heads / p.kv_heads), last);
  const int row[2] = {warp * 16 + g, warp * 16 + g + 8}, position[2] = {info.position + row[0], info.position + row[1]};
  Queries<HEAD_DIM> q;
  q.head_dim = p.head_dim;
#pragma unroll
  for (int r = 0; r < 2; r++)
    q.row[r] = row[r] < block.count ? p.q + (int64_t)(block.first_row + row[r]) * p.ld + head * p.head_dim : nullptr;
  if (S::KEEP_QUERIES) q.keep();
  Earlier<S::CHANNEL_TILES> earlier = {{}, {NO_MAXIMUM, NO_MAXIMUM}, {}};
  Partial<S::CHANNEL_TILES> span;
  span.clear();
  const Stage<HEAD_DIM> stage(source, p.head_dim);
  int lane_keys[2], lane_values = threadIdx.x % 32 * 16;
  for (int i = 0; i < 2; i++) lane_keys[i] = permuted_key(g, 0) * S::KEY_BYTES + S::group_bytes(g, i) - i * 64 + j * 16;
  keep_in_register(lane_keys[0]);
  keep_in_register(lane_keys[1]);
  keep_in_register(lane_values);
  // for all of the warp's rows; of the values
  const Inside seen(info.position + warp * 16 + 15 - p.window + 1, info.position + warp * 16 + 1),
      there(source.first, last + 1);
  int tile = source.first / PHI3_TILE_KEYS, at = 0, next_group = tile * (PHI3_TILE_KEYS / 8) + stage.group;
  const int end = last / PHI3_TILE_KEYS + 1;
  Place place(source, next_group);
  uint4 keys[S::GROUPS], values[S::GROUPS];
  stage.load_keys(keys, stage.keys + (int64_t)place.page * source.page_bytes + place.group * stage.group_bytes);
  const char *values_from = stage.values + (int64_t)place.page * source.page_bytes + place.group * 16;
  place = Place(source, next_group += PHI3_TILE_KEYS / 8);
  stage.store_keys(keys, sk[0]);
  __syncthreads();
  while (tile < end) {
    for (const int span_end = min(end, (tile / SPAN_TILES + 1) * SPAN_TILES); tile < span_end; tile++, at ^= 1) {
      float s[SCORE_TILES][4];
      uint32_t a[SCORE_TILES][2];
      stage.load_values(values, values_from);
      const int64_t page = (int64_t)place.page * source.page_bytes;
      const char *keys_from = stage.keys + page + place.group * stage.group_bytes;
      values_from = stage.values + page + place.group * 16;
      place = Place(source, next_group += PHI3_TILE_KEYS / 8);
      scores<HEAD_DIM>(s, q, sk[at], lane_keys);
      if (!seen.has(tile)) mask(s, tile * PHI3_TILE_KEYS, position, p.window);
      stage.load_keys(keys, keys_from); // after the last tile: keys that nobody reads
      online_step(span, s, p.scale);
      pack_weights(a, s);
      stage.store_values(values, source, !there.has(tile), tile, sv[at]);
      stage.store_keys(keys, sk[at ^ 1]);
      __syncthreads(); // this tile's values and the next one's keys are there
      apply_weights<HEAD_DIM>(span, a, sv[at], lane_values);
    }
    merge(earlier, span);
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

PHI3_KERNEL __launch_bounds__(THREADS, 4) phi3_attention_prefill_32(phi3_attention p) { attention<32>(p); }
PHI3_KERNEL __launch_bounds__(THREADS, 2) phi3_attention_prefill_64(phi3_attention p) { attention<64>(p); }
PHI3_KERNEL __launch_bounds__(THREADS, 2) phi3_attention_prefill_80(phi3_attention p) { attention<80>(p); }
PHI3_KERNEL __launch_bounds__(THREADS, 2) phi3_attention_prefill_96(phi3_attention p) { attention<96>(p); }
PHI3_KERNEL __launch_bounds__(THREADS, 2) phi3_attention_prefill_128(phi3_attention p) { attention<128>(p); }

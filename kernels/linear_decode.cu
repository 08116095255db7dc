// linear for 1 to 16 rows: y = x W^T bound by reading the weights once, with four epilogues, and the norm before it
// fused in for few rows.
//
// Shapes: struct phi3_linear. A warp computes one tile of 16 packed rows over one chunk of PHI3_CHUNK_K: it streams the
// tile's fragments straight to registers, eight 16-byte loads in flight, and multiplies them with the rows as the eight
// (or twice eight) columns of mma.m16n8k8. The chunk sums of a tile meet in shared memory and are added in ascending
// order by the epilogue's thread: the same chains and the same additions as linear_prefill.cu, so the same bits.
// Block: `tiles_per_block` tiles x chunks warps, about four (eight at most): small blocks end together, and few
// registers let many stand by. x costs 64 bytes a row to 1 KiB of weights, from L1.
// Norm fused (phi3_decode_norm_*): every block norms the rows itself into shared memory: 4 bytes x hidden a row from L2
// in place of a kernel of its own.
// Ideal: bytes = 2 k features (the weights, once), operations = 2 k features rows, of which a half or more is on
// padding. On the virtual T4, one row, read and written over the weights' bytes, and time over that at DRAM's own pace:
// qkv 1.001 and 1.04, o 1.001 and 1.03, gate_up 1.000 and 1.02, down 1.001 and 1.02; issuing takes 4 % of the time
// (VGPU_PROFILE=p.json with the benchmark of the kernels, then scripts/vgpu_report --limits p.json).
#include "epilogue.cuh"

namespace {

constexpr int GROUPS = PHI3_CHUNK_K / PHI3_GROUP_K; // of a chunk
// groups of a batch; two batches in flight: eight 16-byte loads of weights a lane
constexpr int AHEAD = 2;
static_assert(GROUPS % (2 * AHEAD) == 0, "a whole chunk is whole pairs of batches");

// Sums of one tile and chunk for 8 * COLUMNS rows.
template <int COLUMNS> struct Sums {
  float d[COLUMNS][4];
};

// x comes with the weights, or, normed in the block, from shared memory when it is used.
template <int COLUMNS, bool NORM> struct Batch {
  uint4 lo[AHEAD], hi[AHEAD], x[NORM ? 1 : AHEAD][COLUMNS];
};

// x[u] is this lane's slice of row 8 u + lane / 4, or null beyond the last row.
template <int COLUMNS> __device__ __forceinline__ uint4 slice(const uint16_t *const (&x)[COLUMNS], int u, int group) {
  return x[u] ? *reinterpret_cast<const uint4 *>(x[u] + group * PHI3_GROUP_K) : make_uint4(0, 0, 0, 0);
}

template <int COLUMNS, bool NORM>
__device__ __forceinline__ void load(Batch<COLUMNS, NORM> &b, const uint4 *w, const uint16_t *const (&x)[COLUMNS], int group, int end) {
#pragma unroll
  for (int i = 0; i < AHEAD; i++)
    if (group + i < end) {
      b.lo[i] = load_stream(w + (int64_t)(group + i) * 64);
      b.hi[i] = load_stream(w + (int64_t)(group + i) * 64 + 32);
      if (!NORM) {
#pragma unroll
        for (int u = 0; u < COLUMNS; u++) b.x[i][u] = slice(x, u, group + i);
      }
    }
}

template <int COLUMNS, bool NORM>
__device__ __forceinline__ void multiply(Sums<COLUMNS> &sums, const Batch<COLUMNS, NORM> &b, const uint16_t *const (&x)[COLUMNS], int group, int end) {
#pragma unroll
  for (int i = 0; i < AHEAD; i++)
    if (group + i < end) {
#pragma unroll
      for (int u = 0; u < COLUMNS; u++) {
        const uint4 v = NORM ? slice(x, u, group + i) : b.x[NORM ? 0 : i][u];
#pragma unroll
        for (int s = 0; s < 4; s++) mma_m16n8k8(sums.d[u], word(b.lo[i], s), word(b.hi[i], s), word(v, s));
      }
    }
}

// `a` holds the first batch. Two batches take turns, so that one is always on its way.
template <int COLUMNS, bool NORM>
__device__ __forceinline__ Sums<COLUMNS> chunk_sums(Batch<COLUMNS, NORM> &a, const uint4 *w, const uint16_t *const (&x)[COLUMNS], int group, int end) {
  Sums<COLUMNS> sums = {};
  Batch<COLUMNS, NORM> b;
  for (; group < end; group += 2 * AHEAD) {
    load(b, w, x, group + AHEAD, end);
    multiply(sums, a, x, group, end);
    load(a, w, x, group + 2 * AHEAD, end);
    multiply(sums, b, x, group + AHEAD, end);
  }
  return sums;
}

// Rows normed to fp16 in shared memory, `stride` halfs apart; stride is 32 halfs past a multiple of 64, so that two
// rows' 64-byte slices share no bank. Every warp adds up the whole row, which is sooner done than told.
__device__ __forceinline__ void norm_rows(const phi3_linear &p, uint16_t *x, int stride) {
  const int padded = p.w.groups * PHI3_GROUP_K;
  const float4 *gain = reinterpret_cast<const float4 *>(p.gain);
  for (int row = 0; row < p.rows; row++) {
    const float *r = p.residual + (int64_t)row * p.hidden;
    const float4 *from = reinterpret_cast<const float4 *>(r);
    const float inverse = inverse_rms(sum_of_squares(r, p.hidden), p.hidden, p.eps);
    uint2 *to = reinterpret_cast<uint2 *>(x + row * stride);
#pragma unroll 4
    for (int i = threadIdx.x; i < padded / 4; i += blockDim.x) to[i] = i < p.hidden / 4 ? normed_halfs(load_float4(from + i), inverse, load_float4(gain + i)) : make_uint2(0, 0);
  }
  __syncthreads();
}

// One tile and one chunk.
struct Job {
  const uint4 *w;
  int group, end;
  bool there;
  __device__ __forceinline__ Job(const phi3_linear &p, int job, int chunks, int tiles_per_block) {
    const int tile = blockIdx.x * tiles_per_block + job / chunks, chunk = job % chunks;
    there = job < tiles_per_block * chunks && tile < p.w.tiles;
    w = reinterpret_cast<const uint4 *>(p.w.data) + (int64_t)tile * p.w.groups * 64 + threadIdx.x % 32;
    group = chunk * GROUPS;
    end = min(group + GROUPS, p.w.groups);
  }
};

// Shared memory: chunk sums, floats [tiles_per_block][chunks][16 packed rows][8 COLUMNS + 1 rows]; then, with the norm,
// the rows.
template <template <int> class Epilogue, int COLUMNS, bool NORM> __device__ __forceinline__ void linear(const phi3_linear &p) {
  extern __shared__ uint4 shared[];
  constexpr int ROWS = 8 * COLUMNS, LINE = ROWS + 1;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int chunks = (p.w.groups + GROUPS - 1) / GROUPS, tiles_per_block = max(1, warps / chunks);
  float *partial = reinterpret_cast<float *>(shared);
  uint16_t *normed_x = reinterpret_cast<uint16_t *>(partial + ((tiles_per_block * chunks * PHI3_TILE_ROWS * LINE + 3) & ~3));
  const uint16_t *x0 = NORM ? normed_x : p.x;
  const int64_t ldx = NORM ? ((p.w.groups * PHI3_GROUP_K + 63) & ~63) + 32 : p.ldx;
  const uint16_t *x[COLUMNS];
#pragma unroll
  for (int u = 0; u < COLUMNS; u++) x[u] = 8 * u + lane / 4 < p.rows ? x0 + (8 * u + lane / 4) * ldx + lane % 4 * 8 : nullptr;
  Batch<COLUMNS, NORM> batch;
  Job job(p, warp, chunks, tiles_per_block);
  if (job.there) load(batch, job.w, x, job.group, job.end); // on its way while the rows are normed
  if (NORM) norm_rows(p, normed_x, (int)ldx);
  for (int i = warp; job.there;) {
    const Sums<COLUMNS> sums = chunk_sums(batch, job.w, x, job.group, job.end);
    float *out = partial + (i * PHI3_TILE_ROWS + lane / 4) * LINE + lane % 4 * 2;
#pragma unroll
    for (int u = 0; u < COLUMNS; u++)
#pragma unroll
      for (int s = 0; s < 4; s++) out[s / 2 * 8 * LINE + u * 8 + s % 2] = sums.d[u][s];
    i += warps;
    job = Job(p, i, chunks, tiles_per_block);
    if (job.there) load(batch, job.w, x, job.group, job.end);
  }
  __syncthreads();
  // A thread a pair of packed rows g, g + 8 and a row.
  for (int i = threadIdx.x; i < tiles_per_block * 8 * ROWS; i += blockDim.x) {
    const int local = i / (8 * ROWS), row = i / 8 % ROWS, g = i % 8, tile = blockIdx.x * tiles_per_block + local;
    if (row >= p.rows || tile >= p.w.tiles) continue;
    const float *from = partial + (local * chunks * PHI3_TILE_ROWS + g) * LINE + row;
    const int rows[1] = {row};
    const Epilogue<1> epilogue(p, rows);
    float lo[1] = {0}, hi[1] = {0};
    for (int c = 0; c < chunks; c++) {
      lo[0] += from[c * PHI3_TILE_ROWS * LINE];
      hi[0] += from[(c * PHI3_TILE_ROWS + 8) * LINE];
    }
    epilogue.put(p, tile, g, rows, lo, hi);
  }
}

} // namespace

#define PHI3_DECODE(name, Epilogue)                                                                      \
  PHI3_KERNEL __launch_bounds__(256) phi3_decode_##name##_8(phi3_linear p) { linear<Epilogue, 1, false>(p); }  \
  PHI3_KERNEL __launch_bounds__(256) phi3_decode_##name##_16(phi3_linear p) { linear<Epilogue, 2, false>(p); }

#define PHI3_DECODE_NORM(name, Epilogue) \
  PHI3_KERNEL __launch_bounds__(256, 3) phi3_decode_norm_##name(phi3_linear p) { linear<Epilogue, 1, true>(p); }

PHI3_DECODE(store, EpilogueStore)
PHI3_DECODE(add, EpilogueAdd)
PHI3_DECODE(silu, EpilogueSilu)
PHI3_DECODE(qkv, EpilogueQkv)
PHI3_DECODE_NORM(store, EpilogueStore)
PHI3_DECODE_NORM(silu, EpilogueSilu)
PHI3_DECODE_NORM(qkv, EpilogueQkv)

// linear for many rows: y = x W^T on the tensor cores, with four epilogues.
//
// Shapes: struct phi3_linear. Grid (ceil(tiles / 8), ceil(rows / 128)), 256 threads. A block computes 128 packed rows x 128 tokens; its eight warps stand
// 2 x 4, each 64 x 32. A step of 32 k brings 8 KiB of weights and 8 KiB of activations: from global memory to registers while the step before is
// multiplied, then to the other half of shared memory (Turing has no cp.async). Both operands lie in shared memory in the order in which the lanes want them, so every access is
// a 16-byte one without conflicts and no ldmatrix is needed. 12 such loads feed 64 mma: 48 cycles of the shared-memory port for 128 of the tensor cores.
// Sums: chains of PHI3_CHUNK_K, added in ascending order, so 128 of the ~210 registers hold sums: one block an SM, two warps a scheduler, latency
// hidden by 16 independent mma.
// Ideal: bytes = 2 k (features + rows) + output, operations = 2 k features rows.
// Method: CUTLASS's hierarchy (Kerr et al. 2017); fragment-order packing as in Marlin (Frantar et al. 2024).
#include "epilogue.cuh"

namespace {

constexpr int TILES = 8, TOKENS = 128, THREADS = 256;
constexpr int WARP_TILES = 4, WARP_COLUMNS = 4; // of 16 packed rows, of 8 tokens
constexpr int PIECES = 512;                     // 16-byte pieces of a stage, for each operand
static_assert(TILES * 64 == PIECES && TOKENS * 4 == PIECES, "both operands of a stage are 512 pieces");
static_assert(PIECES == 2 * THREADS, "a thread carries two pieces of each");
static_assert((TILES / WARP_TILES) * (TOKENS / 8 / WARP_COLUMNS) * 32 == THREADS, "the warps cover the block's tile");
static_assert(PHI3_CHUNK_K % PHI3_GROUP_K == 0, "a chunk is whole steps");

struct Stage {
  uint4 w[2], x[2];
};

struct Loader {
  const uint4 *w[2], *x[2]; // where this thread's pieces of step 0 are
  bool has_w[2], has_x[2];

  __device__ __forceinline__ Loader(const phi3_linear &p, int tile0, int row0) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int piece = threadIdx.x + i * THREADS, tile = tile0 + piece / 64, row = row0 + piece / 4;
      has_w[i] = tile < p.w.tiles;
      has_x[i] = row < p.rows;
      w[i] = reinterpret_cast<const uint4 *>(p.w.data) + (int64_t)tile * p.w.groups * 64 + piece % 64;
      x[i] = reinterpret_cast<const uint4 *>(p.x + (int64_t)row * p.ldx) + piece % 4;
    }
  }

  __device__ __forceinline__ void load(Stage &s, int group) const {
    const uint4 zero = make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      s.w[i] = has_w[i] ? w[i][(int64_t)group * 64] : zero;
      s.x[i] = has_x[i] ? x[i][(int64_t)group * 4] : zero;
    }
  }
};

__device__ __forceinline__ void store(const Stage &s, uint4 *w, uint4 *x) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    w[threadIdx.x + i * THREADS] = s.w[i];
    x[threadIdx.x + i * THREADS] = s.x[i];
  }
}

__device__ __forceinline__ void multiply(float (&acc)[WARP_TILES][WARP_COLUMNS][4], const uint4 *w, const uint4 *x) {
  uint4 b[WARP_COLUMNS];
#pragma unroll
  for (int u = 0; u < WARP_COLUMNS; u++) b[u] = x[u * 32];
#pragma unroll
  for (int t = 0; t < WARP_TILES; t++) {
    uint4 lo = w[t * 64], hi = w[t * 64 + 32];
#pragma unroll
    for (int s = 0; s < 4; s++)
#pragma unroll
      for (int u = 0; u < WARP_COLUMNS; u++) mma_m16n8k8(acc[t][u], word(lo, s), word(hi, s), word(b[u], s));
  }
}

template <class Epilogue> __device__ __forceinline__ void linear(const phi3_linear &p) {
  __shared__ uint4 sw[2][PIECES], sx[2][PIECES];
  const int tile0 = blockIdx.x * TILES, row0 = blockIdx.y * TOKENS;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warp_tile = warp / 4 * WARP_TILES, warp_column = warp % 4 * WARP_COLUMNS;
  const Loader loader(p, tile0, row0);
  float total[WARP_TILES][WARP_COLUMNS][4] = {};
  Stage stage;
  loader.load(stage, 0);
  store(stage, sw[0], sx[0]);
  __syncthreads();
  int buffer = 0;
  for (int chunk = 0; chunk < p.w.groups; chunk += PHI3_CHUNK_K / PHI3_GROUP_K) {
    const int end = min(chunk + PHI3_CHUNK_K / PHI3_GROUP_K, p.w.groups);
    float acc[WARP_TILES][WARP_COLUMNS][4] = {};
    for (int group = chunk; group < end; group++) {
      const bool more = group + 1 < p.w.groups;
      if (more) loader.load(stage, group + 1);
      multiply(acc, &sw[buffer][warp_tile * 64 + lane], &sx[buffer][warp_column * 32 + lane]);
      if (more) store(stage, sw[buffer ^ 1], sx[buffer ^ 1]); // last read before the barrier of the step before
      __syncthreads();
      buffer ^= 1;
    }
#pragma unroll
    for (int t = 0; t < WARP_TILES; t++)
#pragma unroll
      for (int u = 0; u < WARP_COLUMNS; u++)
#pragma unroll
        for (int i = 0; i < 4; i++) total[t][u][i] += acc[t][u][i];
  }
#pragma unroll
  for (int t = 0; t < WARP_TILES; t++) {
    const int tile = tile0 + warp_tile + t;
    if (tile >= p.w.tiles) break;
#pragma unroll
    for (int u = 0; u < WARP_COLUMNS; u++)
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int row = row0 + (warp_column + u) * 8 + lane % 4 * 2 + i;
        if (row < p.rows) Epilogue::put(p, tile, lane / 4, row, total[t][u][i], total[t][u][i + 2]);
      }
  }
}

} // namespace

PHI3_KERNEL __launch_bounds__(THREADS) phi3_linear_store(phi3_linear p) { linear<EpilogueStore>(p); }
PHI3_KERNEL __launch_bounds__(THREADS) phi3_linear_add(phi3_linear p) { linear<EpilogueAdd>(p); }
PHI3_KERNEL __launch_bounds__(THREADS) phi3_linear_silu(phi3_linear p) { linear<EpilogueSilu>(p); }
PHI3_KERNEL __launch_bounds__(THREADS) phi3_linear_qkv(phi3_linear p) { linear<EpilogueQkv>(p); }

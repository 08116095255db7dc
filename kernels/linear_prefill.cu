// linear for many rows: y = x W^T on the tensor cores, with four epilogues.
//
// Shapes: struct phi3_linear. Grid ceil(tiles / 8) x ceil(rows / 128), 256 threads; blocks that run together share rows
// and weights in L2: see where_to. A block computes 128 packed rows x 128 tokens; its eight warps stand 2 x 4, each 64
// x 32. A step of 32 k brings 8 KiB of weights and 8 KiB of activations: from global memory to registers while the step
// before the last is multiplied, then to the other half of shared memory (Turing has no cp.async). The loads are dealt
// out over the step, for 64 of them at once would keep the shared-memory loads of all warps waiting behind them. Both
// operands lie in shared memory in the order in which the lanes want them, so every access is a 16-byte one without
// conflicts and no ldmatrix is needed: 12 such loads feed 64 mma, 48 cycles of the shared-memory port for 128 of the
// tensor cores.
// Sums: chains of PHI3_CHUNK_K, added in ascending order, so 128 of the ~240 registers hold sums: one block an SM, two
// warps a scheduler, latency hidden by 16 independent mma.
// Ideal: bytes = 2 k (features + rows) + output, operations = 2 k features rows. On the virtual T4 the tensor cores are
// the bound, in use for half of the time (2048 rows of 3072 x 3072: 1150 us, of them 593 at the tensor cores' own pace,
// 402 at L2's, 299 at shared memory's; VGPU_SAMPLE=160 VGPU_PROFILE=p.json with the benchmark of the kernels, then
// scripts/vgpu_report --limits p.json).
// Method: CUTLASS's hierarchy (Kerr et al. 2017); fragment-order packing as in Marlin (Frantar et al. 2024).
#include "epilogue.cuh"

namespace {

constexpr int TILES = 8, TOKENS = 128, THREADS = 256;
constexpr int WARP_TILES = 4, WARP_COLUMNS = 4; // of 16 packed rows, of 8 tokens
constexpr int PIECES = 512;                     // 16-byte pieces of a stage, for each operand
constexpr int CARRIED = 4;                      // 8-byte halves of them a thread brings in
static_assert(TILES * 64 == PIECES && TOKENS * 4 == PIECES, "both operands of a stage are 512 pieces");
static_assert(2 * PIECES == CARRIED * THREADS, "the threads bring in a stage");
static_assert((TILES / WARP_TILES) * (TOKENS / 8 / WARP_COLUMNS) * 32 == THREADS, "the warps cover the block's tile");
static_assert(PHI3_CHUNK_K % PHI3_GROUP_K == 0, "a chunk is whole steps");
static_assert(WARP_TILES == 4, "the step's products are spelt out for four tiles");

// Which 128 x 128 of the output a block computes. Neighbours in the grid share a tile of weights: the blocks of rows
// come first, eight at a time, so that the 40 of one wave stand at most 8 x 5 and read each step's weights and
// activations from DRAM about once.
struct Place {
  int tile0, row0;
};
__device__ __forceinline__ Place where_to(const phi3_linear &p) {
  constexpr int GROUP = 8;
  const int tile_blocks = (p.w.tiles + TILES - 1) / TILES, row_blocks = (p.rows + TOKENS - 1) / TOKENS;
  const int group = blockIdx.x / (GROUP * tile_blocks), in_group = blockIdx.x % (GROUP * tile_blocks), height = min(GROUP, row_blocks - group * GROUP);
  return {in_group / height * TILES, (group * GROUP + in_group % height) * TOKENS};
}

struct Stage {
  uint2 w[CARRIED], x[CARRIED];
};

// Beyond the last tile or row the last one is loaded again and its products are dropped.
struct Loader {
  const uint2 *w[CARRIED], *x[CARRIED]; // where this thread's parts of step 0 are
  int last;

  __device__ __forceinline__ Loader(const phi3_linear &p, int tile0, int row0) : last(p.w.groups - 1) {
#pragma unroll
    for (int i = 0; i < CARRIED; i++) {
      const int part = threadIdx.x + i * THREADS, tile = min(tile0 + part / 128, p.w.tiles - 1),
                row = min(row0 + part / 8, p.rows - 1);
      w[i] = reinterpret_cast<const uint2 *>(p.w.data) + (int64_t)tile * p.w.groups * 128 + part % 128;
      x[i] = reinterpret_cast<const uint2 *>(p.x + (int64_t)row * p.ldx) + part % 8;
    }
  }

  // Part i. Beyond the last step a stage keeps what it has; nobody multiplies it.
  __device__ __forceinline__ void load(Stage &s, int step, int i) const {
    if (step > last) return;
    s.w[i] = w[i][(int64_t)step * 128];
    s.x[i] = x[i][(int64_t)step * 8];
  }
};

__device__ __forceinline__ void store(const Stage &s, uint4 *w, uint4 *x, int i) {
  reinterpret_cast<uint2 *>(w)[threadIdx.x + i * THREADS] = s.w[i];
  reinterpret_cast<uint2 *>(x)[threadIdx.x + i * THREADS] = s.x[i];
}

// Operands of a warp's products in registers: one tile of weights, and all of its tokens.
struct Weights {
  uint4 lo, hi;
  __device__ __forceinline__ void load(const uint4 *w, int tile) { lo = w[tile * 64], hi = w[tile * 64 + 32]; }
};

struct Tokens {
  uint4 b[WARP_COLUMNS];
  __device__ __forceinline__ void load(const uint4 *x) {
#pragma unroll
    for (int u = 0; u < WARP_COLUMNS; u++) b[u] = x[u * 32];
  }
};

__device__ __forceinline__ void multiply(float (&acc)[WARP_COLUMNS][4], const Weights &w, const Tokens &x) {
#pragma unroll
  for (int s = 0; s < 4; s++)
#pragma unroll
    for (int u = 0; u < WARP_COLUMNS; u++) mma_m16n8k8(acc[u], word(w.lo, s), word(w.hi, s), word(x.b[u], s));
}

template <template <int> class Epilogue> __device__ __forceinline__ void linear(const phi3_linear &p) {
  __shared__ uint4 sw[2][PIECES], sx[2][PIECES];
  const Place place = where_to(p);
  const int tile0 = place.tile0, row0 = place.row0;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warp_tile = warp / 4 * WARP_TILES, warp_column = warp % 4 * WARP_COLUMNS;
  const Loader loader(p, tile0, row0);
  float total[WARP_TILES][WARP_COLUMNS][4] = {};
  Stage stage;
#pragma unroll
  for (int i = 0; i < CARRIED; i++) loader.load(stage, 0, i);
#pragma unroll
  for (int i = 0; i < CARRIED; i++) store(stage, sw[0], sx[0], i);
#pragma unroll
  for (int i = 0; i < CARRIED; i++) loader.load(stage, 1, i);
  __syncthreads();
  // Operands are loaded a tile ahead of their products; those of a step's last tile are multiplied behind the barrier,
  // while the next step's first are on their way.
  const uint4 *w = &sw[0][warp_tile * 64 + lane], *x = &sx[0][warp_column * 32 + lane];
  Weights even, odd;
  Tokens tokens, next_tokens;
  even.load(w, 0);
  tokens.load(x);
  int buffer = 0;
  for (int chunk = 0; chunk < p.w.groups; chunk += PHI3_CHUNK_K / PHI3_GROUP_K) {
    const int end = min(chunk + PHI3_CHUNK_K / PHI3_GROUP_K, p.w.groups);
    float acc[WARP_TILES][WARP_COLUMNS][4] = {};
    for (int group = chunk; group < end; group++) {
      uint4 *to_w = sw[buffer ^ 1], *to_x = sx[buffer ^ 1]; // last read before the barrier of the step before
      odd.load(w + buffer * PIECES, 1);
      store(stage, to_w, to_x, 0);
      loader.load(stage, group + 2, 0);
      multiply(acc[0], even, tokens);
      even.load(w + buffer * PIECES, 2);
      store(stage, to_w, to_x, 1);
      loader.load(stage, group + 2, 1);
      multiply(acc[1], odd, tokens);
      odd.load(w + buffer * PIECES, 3);
      store(stage, to_w, to_x, 2);
      loader.load(stage, group + 2, 2);
      store(stage, to_w, to_x, 3);
      loader.load(stage, group + 2, 3);
      multiply(acc[2], even, tokens);
      buffer ^= 1;
      __syncthreads();
      even.load(w + buffer * PIECES, 0);
      next_tokens.load(x + buffer * PIECES);
      multiply(acc[3], odd, tokens);
      tokens = next_tokens;
    }
#pragma unroll
    for (int t = 0; t < WARP_TILES; t++)
#pragma unroll
      for (int u = 0; u < WARP_COLUMNS; u++)
#pragma unroll
        for (int i = 0; i < 4; i++) total[t][u][i] += acc[t][u][i];
  }
  constexpr int ROWS = 2 * WARP_COLUMNS; // of a thread
  int row[ROWS];
#pragma unroll
  for (int n = 0; n < ROWS; n++) row[n] = row0 + (warp_column + n / 2) * 8 + lane % 4 * 2 + n % 2;
  const Epilogue<ROWS> epilogue(p, row);
#pragma unroll
  for (int t = 0; t < WARP_TILES; t++) {
    const int tile = tile0 + warp_tile + t;
    if (tile >= p.w.tiles) break;
    float lo[ROWS], hi[ROWS];
#pragma unroll
    for (int n = 0; n < ROWS; n++) lo[n] = total[t][n / 2][n % 2], hi[n] = total[t][n / 2][n % 2 + 2];
    epilogue.put(p, tile, lane / 4, row, lo, hi);
  }
}

} // namespace

PHI3_KERNEL __launch_bounds__(THREADS) phi3_linear_store(phi3_linear p) { linear<EpilogueStore>(p); }
PHI3_KERNEL __launch_bounds__(THREADS) phi3_linear_add(phi3_linear p) { linear<EpilogueAdd>(p); }
PHI3_KERNEL __launch_bounds__(THREADS) phi3_linear_silu(phi3_linear p) { linear<EpilogueSilu>(p); }
PHI3_KERNEL __launch_bounds__(THREADS) phi3_linear_qkv(phi3_linear p) { linear<EpilogueQkv>(p); }

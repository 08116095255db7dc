// linear for many rows: y = x W^T on the tensor cores, with four epilogues.
//
// Shapes: struct phi3_linear. Grid: whole_blocks, and two halves of each tile behind them (runtime/gpu/launch.c), 256
// threads; blocks that run together share rows and weights in L2: see where_to. A block computes 128 packed rows x 128
// tokens; its eight warps stand 2 x 4, each 64 x 32. A half has 64 packed rows: a last wave that is less than half full
// takes little more than half of the time.
// A step of 32 k brings 8 KiB of weights and 8 KiB of activations: from global memory to registers while the step
// before the last is multiplied, then to the other half of shared memory (Turing has no cp.async). Nothing in a step
// waits for a condition or for arithmetic on addresses: a step past the last loads the last again, and the two buffers
// are spelt out. Both operands lie in shared memory in the order in which the lanes want them, in 8-byte pieces without
// conflicts (but for one store of sixteen that the compiler cuts in two): of weights the pair of registers of one mma,
// of activations the words of two. A piece keeps the port for two cycles, so one between two mma does not outrun it; 24
// pieces feed 64 mma, 48 cycles of the port for 128 of the tensor cores.
// Sums: chains of PHI3_CHUNK_K, added in ascending order, so 128 of the 218 registers hold sums: one block an SM, two
// warps a scheduler, latency hidden by 16 independent mma. 32 KiB of shared memory.
// Ideal: bytes = 2 k (features + rows) + output, operations = 2 k features rows. On the virtual T4 (memory at 256 GB/s)
// the tensor cores are the bound: 2048 rows of 3072 x 3072 in 909 us, of them 593 at the tensor cores' own pace, 531 at
// memory's, 403 at L2's, 303 at shared memory's
// (kernel_bench --device vgpu --blocks 80 --benchmark_filter=linear_add/o/rows:2048, two waves of 9.6).
// What is lost is lost to bursts of loads: a step's 512 sectors are twice what L1 has places for on their way, and
// shared-memory loads wait behind them.
// Method: CUTLASS's hierarchy (Kerr et al. 2017); fragment-order packing as in Marlin (Frantar et al. 2024).
#include "epilogue.cuh"

namespace {

// The tile of a block: its warps stand WARPS_W x WARPS_X, each computes WARP_TILES tiles of 16 packed rows for
// WARP_COLUMNS times eight tokens.
template <int WARPS_W_, int WARPS_X_, int WARP_TILES_, int WARP_COLUMNS_> struct Tile {
  static constexpr int WARPS_W = WARPS_W_, WARPS_X = WARPS_X_, WARP_TILES = WARP_TILES_, WARP_COLUMNS = WARP_COLUMNS_;
  static constexpr int THREADS = 32 * WARPS_W * WARPS_X, TILES = WARPS_W * WARP_TILES, COLUMNS = WARPS_X * WARP_COLUMNS,
                       TOKENS = 8 * COLUMNS;
  static constexpr int W_PARTS = TILES * 64 / THREADS,
                       X_PARTS = TOKENS * 8 / THREADS; // of a step, that a thread brings in
  static_assert(W_PARTS * THREADS == TILES * 64 && X_PARTS * THREADS == TOKENS * 8, "the threads bring in a step");
};
static_assert(PHI3_CHUNK_K % PHI3_GROUP_K == 0, "a chunk is whole steps");

using Whole = Tile<2, 4, 4, 4>;
using Half = Tile<2, 4, 2, 4>; // of the weights
static_assert(Whole::TILES * PHI3_TILE_ROWS == PHI3_LINEAR_ROWS && Whole::TOKENS == PHI3_LINEAR_ROWS,
              "the host's grid");
static_assert(Half::THREADS == Whole::THREADS && Half::TOKENS == Whole::TOKENS && 2 * Half::TILES == Whole::TILES,
              "two halves are a whole");

// Which 128 x 128 of the output are number `index`. Neighbours share a tile of weights: the blocks of rows come first,
// eight at a time, so that the 40 of one wave stand at most 8 x 5 and read each step's weights and activations from
// DRAM about once.
struct Place {
  int tile0, row0;
};
__device__ __forceinline__ Place where_to(const phi3_linear &p, int index) {
  constexpr int GROUP = 8;
  const int tile_blocks = (p.w.tiles + Whole::TILES - 1) / Whole::TILES,
            row_blocks = (p.rows + Whole::TOKENS - 1) / Whole::TOKENS;
  const int group = index / (GROUP * tile_blocks), in_group = index % (GROUP * tile_blocks),
            height = min(GROUP, row_blocks - group * GROUP);
  return {in_group / height * Whole::TILES, (group * GROUP + in_group % height) * Whole::TOKENS};
}

// Both operands of a step in shared memory, in the order in which the lanes want them: of weights the two words of one
// mma, of tokens the words of two.
template <class T> struct Shared { uint2 w[T::TILES][4][32], x[T::COLUMNS][2][32]; };

template <class T> struct Stage { uint2 lo[T::W_PARTS], hi[T::W_PARTS], x[T::X_PARTS]; };

// Beyond the last tile or row the last one is loaded again and its products are dropped; beyond the last step the last
// step is, and nobody multiplies it: a load that waits for no condition needs no arithmetic beside it.
template <class T> struct Loader {
  const uint2 *w[T::W_PARTS], *x[T::X_PARTS]; // this thread's parts of the next step to load
  int left;                                   // steps behind it

  static __device__ __forceinline__ int w_part(int i) { return threadIdx.x + i * T::THREADS; }
  static __device__ __forceinline__ int x_part(int i) { return threadIdx.x + i * T::THREADS; }

  __device__ __forceinline__ Loader(const phi3_linear &p, int tile0, int row0) : left(p.w.groups - 1) {
#pragma unroll
    for (int i = 0; i < T::W_PARTS; i++) {
      const int part = w_part(i), tile = min(tile0 + part / 64, p.w.tiles - 1);
      const int lane = part / 32 % 2 * 16 + part % 16, pair = part / 16 % 2;
      w[i] = reinterpret_cast<const uint2 *>(p.w.data) + (int64_t)tile * p.w.groups * 128 + lane * 2 + pair;
    }
#pragma unroll
    for (int i = 0; i < T::X_PARTS; i++) {
      const int part = x_part(i), row = min(row0 + part / 32 * 4 + part % 16 / 4, p.rows - 1);
      const int quad = part % 4, pair = part / 16 % 2;
      x[i] = reinterpret_cast<const uint2 *>(p.x + (int64_t)row * p.ldx) + quad * 2 + pair;
    }
  }

  __device__ __forceinline__ void load_w(Stage<T> &s, int i) const { s.lo[i] = w[i][0], s.hi[i] = w[i][64]; }
  __device__ __forceinline__ void load_x(Stage<T> &s, int i) const { s.x[i] = x[i][0]; }

  __device__ __forceinline__ void load(Stage<T> &s) const {
#pragma unroll
    for (int i = 0; i < T::W_PARTS; i++) load_w(s, i);
#pragma unroll
    for (int i = 0; i < T::X_PARTS; i++) load_x(s, i);
  }

  __device__ __forceinline__ void advance() {
    const int64_t w_step = left > 0 ? 128 : 0, x_step = left > 0 ? 8 : 0;
    left--;
#pragma unroll
    for (int i = 0; i < T::W_PARTS; i++) w[i] += w_step;
#pragma unroll
    for (int i = 0; i < T::X_PARTS; i++) x[i] += x_step;
  }
};

template <class T> struct Storer {
  uint2 *w, *x; // this thread's first parts of the first buffer
  __device__ __forceinline__ Storer(Shared<T> &s) {
    const int part = threadIdx.x, lane = part / 32 % 2 * 16 + part % 16, pair = part / 16 % 2;
    w = &s.w[part / 64][2 * pair][lane];
    x = &s.x[part / 64][pair][part / 32 % 2 * 16 + part % 16];
  }
  __device__ __forceinline__ void store_w(const Stage<T> &s, int buffer, int i) const {
    uint2 *to = w + buffer * (int)(sizeof(Shared<T>) / sizeof(uint2)) + i * (T::THREADS / 64) * 128;
    to[0] = make_uint2(s.lo[i].x, s.hi[i].x);
    to[32] = make_uint2(s.lo[i].y, s.hi[i].y);
  }
  __device__ __forceinline__ void store_x(const Stage<T> &s, int buffer, int i) const {
    x[buffer * (int)(sizeof(Shared<T>) / sizeof(uint2)) + i * (T::THREADS / 64) * 64] = s.x[i];
  }
  __device__ __forceinline__ void store(const Stage<T> &s, int buffer) const {
#pragma unroll
    for (int i = 0; i < T::W_PARTS; i++) store_w(s, buffer, i);
#pragma unroll
    for (int i = 0; i < T::X_PARTS; i++) store_x(s, buffer, i);
  }
};

template <class T>
__device__ __forceinline__ void multiply(float (&acc)[T::WARP_COLUMNS][4], const uint2 &w,
                                         const uint2 (&x)[T::WARP_COLUMNS], int s) {
#pragma unroll
  for (int u = 0; u < T::WARP_COLUMNS; u++) mma_m16n8k8(acc[u], w.x, w.y, s % 2 ? x[u].y : x[u].x);
}

template <class T, template <int> class Epilogue>
__device__ __forceinline__ void linear(const phi3_linear &p, const Place &place, Shared<T> (&shared)[2]) {
  constexpr int NEXT = sizeof(Shared<T>) / sizeof(uint2);
  const int tile0 = place.tile0, row0 = place.row0;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warp_tile = warp / T::WARPS_X * T::WARP_TILES,
            warp_column = warp % T::WARPS_X * T::WARP_COLUMNS;
  Loader<T> loader(p, tile0, row0);
  const Storer<T> storer(shared[0]);
  float total[T::WARP_TILES][T::WARP_COLUMNS][4] = {};
  Stage<T> stage;
  loader.load(stage);
  loader.advance();
  storer.store(stage, 0);
  loader.load(stage);
  loader.advance();
  __syncthreads();
  const uint2 *w0 = &shared[0].w[warp_tile][0][lane], *x0 = &shared[0].x[warp_column][0][lane];
  uint2 even[T::WARP_TILES], odd[T::WARP_TILES], low[T::WARP_COLUMNS], high[T::WARP_COLUMNS];
#pragma unroll
  for (int t = 0; t < T::WARP_TILES; t++) even[t] = w0[t * 128];
#pragma unroll
  for (int u = 0; u < T::WARP_COLUMNS; u++) low[u] = x0[u * 64];
  const auto step = [&](float(&acc)[T::WARP_TILES][T::WARP_COLUMNS][4], int buffer) {
    const uint2 *w = w0 + buffer * NEXT, *x = x0 + buffer * NEXT, *next_w = w0 + (buffer ^ 1) * NEXT,
                *next_x = x0 + (buffer ^ 1) * NEXT;
#pragma unroll
    for (int t = 0; t < T::WARP_TILES; t++) {
      odd[t] = w[t * 128 + 32];
#pragma unroll
      for (int i = t; i < T::W_PARTS; i += T::WARP_TILES) storer.store_w(stage, buffer ^ 1, i), loader.load_w(stage, i);
      multiply<T>(acc[t], even[t], low, 0);
    }
#pragma unroll
    for (int t = 0; t < T::WARP_TILES; t++) {
      even[t] = w[t * 128 + 64];
#pragma unroll
      for (int u = t; u < T::WARP_COLUMNS; u += T::WARP_TILES) high[u] = x[u * 64 + 32];
      multiply<T>(acc[t], odd[t], low, 1);
    }
#pragma unroll
    for (int t = 0; t < T::WARP_TILES; t++) {
      odd[t] = w[t * 128 + 96];
#pragma unroll
      for (int i = t; i < T::X_PARTS; i += T::WARP_TILES) storer.store_x(stage, buffer ^ 1, i), loader.load_x(stage, i);
      if (t == T::WARP_TILES - 1) loader.advance();
      multiply<T>(acc[t], even[t], high, 0);
    }
    __syncthreads();
#pragma unroll
    for (int t = 0; t < T::WARP_TILES; t++) {
      even[t] = next_w[t * 128];
#pragma unroll
      for (int u = t; u < T::WARP_COLUMNS; u += T::WARP_TILES) low[u] = next_x[u * 64];
      multiply<T>(acc[t], odd[t], high, 1);
    }
  };
  for (int chunk = 0; chunk < p.w.groups; chunk += PHI3_CHUNK_K / PHI3_GROUP_K) {
    const int end = min(chunk + PHI3_CHUNK_K / PHI3_GROUP_K, p.w.groups);
    float acc[T::WARP_TILES][T::WARP_COLUMNS][4] = {};
    for (int group = chunk; group < end; group += 2) {
      step(acc, 0);
      if (group + 1 == end) break;
      step(acc, 1);
    }
#pragma unroll
    for (int t = 0; t < T::WARP_TILES; t++)
#pragma unroll
      for (int u = 0; u < T::WARP_COLUMNS; u++)
#pragma unroll
        for (int i = 0; i < 4; i++) total[t][u][i] += acc[t][u][i];
  }
  constexpr int ROWS = 2 * T::WARP_COLUMNS; // of a thread
  int row[ROWS];
#pragma unroll
  for (int n = 0; n < ROWS; n++) row[n] = row0 + (warp_column + n / 2) * 8 + lane % 4 * 2 + n % 2;
  const Epilogue<ROWS> epilogue(p, row);
#pragma unroll
  for (int t = 0; t < T::WARP_TILES; t++) {
    const int tile = tile0 + warp_tile + t;
    if (tile >= p.w.tiles) break;
    float lo[ROWS], hi[ROWS];
#pragma unroll
    for (int n = 0; n < ROWS; n++) lo[n] = total[t][n / 2][n % 2], hi[n] = total[t][n / 2][n % 2 + 2];
    epilogue.put(p, tile, lane / 4, row, lo, hi);
  }
}

template <template <int> class Epilogue> __device__ __forceinline__ void whole_or_half(const phi3_linear &p) {
  __shared__ union {
    Shared<Whole> whole[2];
    Shared<Half> half[2];
  } shared;
  const int behind = (int)blockIdx.x - p.whole_blocks;
  if (behind < 0) return linear<Whole, Epilogue>(p, where_to(p, blockIdx.x), shared.whole);
  Place place = where_to(p, p.whole_blocks + behind / 2);
  place.tile0 += behind % 2 * Half::TILES;
  linear<Half, Epilogue>(p, place, shared.half);
}

} // namespace

PHI3_KERNEL __launch_bounds__(Whole::THREADS) phi3_linear_store(phi3_linear p) { whole_or_half<EpilogueStore>(p); }
PHI3_KERNEL __launch_bounds__(Whole::THREADS) phi3_linear_add(phi3_linear p) { whole_or_half<EpilogueAdd>(p); }
PHI3_KERNEL __launch_bounds__(Whole::THREADS) phi3_linear_silu(phi3_linear p) { whole_or_half<EpilogueSilu>(p); }
PHI3_KERNEL __launch_bounds__(Whole::THREADS) phi3_linear_qkv(phi3_linear p) { whole_or_half<EpilogueQkv>(p); }

// Around a projection by cuBLAS: the packed weights in plain order before it, and after it the epilogues that cuBLAS
// has not. It is an option and a yardstick: cuBLAS sums in an order of its own, so the bits are others than the
// projections' here.
#include "epilogue.cuh"

// Shapes: struct phi3_unpack. Grid ceil(pieces / 256), 256 threads: a thread carries one of the 64 tiles groups 16-byte
// pieces, from where it lies packed to row 16 t + 8 h + l / 4, k 32 g + 8 (l % 4). Reads are contiguous, writes 64
// bytes a row.
// Ideal: bytes = 4 k features. On the virtual T4 at its DRAM bound, see results/.
PHI3_KERNEL __launch_bounds__(256) phi3_unpack_rows(phi3_unpack p) {
  const int64_t piece = (int64_t)blockIdx.x * 256 + threadIdx.x, group = piece / 64, tile = group / p.w.groups;
  if (tile >= p.w.tiles) return;
  const int64_t row = tile * PHI3_TILE_ROWS + piece % 64 / 4, k = (group - tile * p.w.groups) * PHI3_GROUP_K + piece % 4 * 8;
  *reinterpret_cast<uint4 *>(p.out + row * p.w.groups * PHI3_GROUP_K + k) = load_stream(reinterpret_cast<const uint4 *>(p.w.data) + piece);
}

namespace {

constexpr int THREADS = 128, TILES = THREADS / 8; // a thread has a pair of packed rows g, g + 8 of a tile

// Shapes: struct phi3_linear with `sums`. Grid rows x ceil(tiles / 16), 128 threads. Ideal: bytes = 4 rows x packed
// rows + output.
template <template <int> class Epilogue> __device__ __forceinline__ void apply(const phi3_linear &p) {
  const int across = (p.w.tiles + TILES - 1) / TILES, row[1] = {(int)(blockIdx.x / across)};
  const int tile = (int)(blockIdx.x % across) * TILES + threadIdx.x / 8, g = threadIdx.x % 8;
  if (tile >= p.w.tiles) return;
  const float *sums = p.sums + ((int64_t)row[0] * p.w.tiles + tile) * PHI3_TILE_ROWS + g;
  const float lo[1] = {sums[0]}, hi[1] = {sums[8]};
  const Epilogue<1> epilogue(p, row);
  epilogue.put(p, tile, g, row, lo, hi);
}

} // namespace

PHI3_KERNEL __launch_bounds__(THREADS) phi3_apply_silu(phi3_linear p) { apply<EpilogueSilu>(p); }
PHI3_KERNEL __launch_bounds__(THREADS) phi3_apply_qkv(phi3_linear p) { apply<EpilogueQkv>(p); }

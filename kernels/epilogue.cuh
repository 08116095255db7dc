// What a projection does with its sums. A thread holds, for one tile of 16 packed rows and one row (token) of the step, the sums `lo` of packed
// row g and `hi` of packed row g + 8 (g = lane / 4): by the packing these are gate and up, or the two channels of a rotation.
#pragma once
#include "common.cuh"

struct EpilogueStore {
  static __device__ __forceinline__ void put(const phi3_linear &p, int tile, int g, int row, float lo, float hi) {
    float *out = p.out + (int64_t)row * p.ld_out;
    int f = tile * PHI3_TILE_ROWS + g;
    if (f < p.features) out[f] = lo;
    if (f + 8 < p.features) out[f + 8] = hi;
  }
};

struct EpilogueAdd {
  static __device__ __forceinline__ void put(const phi3_linear &p, int tile, int g, int row, float lo, float hi) {
    float *out = p.out + (int64_t)row * p.ld_out;
    int f = tile * PHI3_TILE_ROWS + g;
    if (f < p.features) out[f] += lo;
    if (f + 8 < p.features) out[f + 8] += hi;
  }
};

struct EpilogueSilu {
  static __device__ __forceinline__ void put(const phi3_linear &p, int tile, int g, int row, float lo, float hi) {
    int i = tile * 8 + g;
    if (i < p.features) p.half_out[(int64_t)row * p.ld_out + i] = half_bits(lo / (1.0f + __expf(-lo)) * hi);
  }
};

struct EpilogueQkv {
  static __device__ __forceinline__ void put_one(const phi3_linear &p, const phi3_qkv_part &part, int g, int row, const phi3_row &info, float v) {
    if (g >= part.count) return;
    int c = part.channel + g;
    if (part.kind == PHI3_PART_Q) {
      p.half_out[(int64_t)row * p.ld_out + part.head * p.head_dim + c] = half_bits(v);
      return;
    }
    int size = p.cache.page_size, slot = info.position % size;
    int64_t page = p.cache.block_tables[(int64_t)info.seq * p.cache.table_stride + info.position / size];
    int64_t head = (page * p.kv_heads + part.head) * size * p.head_dim;
    if (part.kind == PHI3_PART_K) p.cache.keys[head + (int64_t)slot * p.head_dim + c] = half_bits(v);
    else p.cache.values[head + (int64_t)c * size + slot] = half_bits(v);
  }

  static __device__ __forceinline__ void put(const phi3_linear &p, int tile, int g, int row, float lo, float hi) {
    phi3_qkv_part a = p.parts[2 * tile], b = p.parts[2 * tile + 1];
    phi3_row info = p.row_info[row];
    if (a.rotated && g < a.count) {
      int64_t at = ((int64_t)info.rope_set * p.rope_positions + info.position) * p.rotary_half + a.channel + g;
      float c = p.rope[2 * at], s = p.rope[2 * at + 1], x = lo;
      lo = __fmaf_rn(x, c, -__fmul_rn(hi, s)); // spelt out: every kernel that includes this must round alike
      hi = __fmaf_rn(hi, c, __fmul_rn(x, s));
    }
    if (a.kind != PHI3_PART_NONE) put_one(p, a, g, row, info, lo);
    if (b.kind != PHI3_PART_NONE) put_one(p, b, g, row, info, hi);
  }
};

// What a projection does with its sums. A thread holds, for one tile of 16 packed rows and N rows (tokens) of the step,
// the sums lo[] of packed row g and hi[] of packed row g + 8 (g = lane / 4): by the packing these are gate and up, or
// the two channels of a rotation.
//
// An epilogue is made once for a thread's rows, which looks up what depends on them alone, then takes tile after tile.
// Rows from p.rows on are padding: what they need is read from the last row, so that no load waits for a condition, and
// nothing is stored for them.
#pragma once
#include "common.cuh"

template <int N> struct EpilogueStore {
  __device__ __forceinline__ EpilogueStore(const phi3_linear &, const int (&)[N]) {}
  __device__ __forceinline__ void put(const phi3_linear &p, int tile, int g, const int (&row)[N], const float (&lo)[N], const float (&hi)[N]) const {
    const int f = tile * PHI3_TILE_ROWS + g;
#pragma unroll
    for (int n = 0; n < N; n++) {
      float *out = p.out + (int64_t)row[n] * p.ld_out + f;
      if (row[n] < p.rows && f < p.features) out[0] = lo[n];
      if (row[n] < p.rows && f + 8 < p.features) out[8] = hi[n];
    }
  }
};

template <int N> struct EpilogueAdd {
  __device__ __forceinline__ EpilogueAdd(const phi3_linear &, const int (&)[N]) {}
  __device__ __forceinline__ void put(const phi3_linear &p, int tile, int g, const int (&row)[N], const float (&lo)[N], const float (&hi)[N]) const {
    const int f = tile * PHI3_TILE_ROWS + g, f_lo = min(f, p.features - 1), f_hi = min(f + 8, p.features - 1);
    float old_lo[N], old_hi[N];
#pragma unroll
    for (int n = 0; n < N; n++) {
      const float *from = p.out + (int64_t)min(row[n], p.rows - 1) * p.ld_out;
      old_lo[n] = from[f_lo];
      old_hi[n] = from[f_hi];
    }
#pragma unroll
    for (int n = 0; n < N; n++) {
      float *out = p.out + (int64_t)row[n] * p.ld_out + f;
      if (row[n] < p.rows && f < p.features) out[0] = old_lo[n] + lo[n];
      if (row[n] < p.rows && f + 8 < p.features) out[8] = old_hi[n] + hi[n];
    }
  }
};

template <int N> struct EpilogueSilu {
  __device__ __forceinline__ EpilogueSilu(const phi3_linear &, const int (&)[N]) {}
  __device__ __forceinline__ void put(const phi3_linear &p, int tile, int g, const int (&row)[N], const float (&lo)[N], const float (&hi)[N]) const {
    const int i = tile * 8 + g;
#pragma unroll
    for (int n = 0; n < N; n++) {
      const float h = lo[n] / (1.0f + __expf(-lo[n])) * hi[n];
      if (row[n] < p.rows && i < p.features) p.half_out[(int64_t)row[n] * p.ld_out + i] = half_bits(h);
    }
  }
};

template <int N> struct EpilogueQkv {
  int64_t page[N]; // halfs before the page of the row's token
  int slot[N], angle[N];

  __device__ __forceinline__ EpilogueQkv(const phi3_linear &p, const int (&row)[N]) {
    const int size = p.cache.page_size;
    int32_t index[N];
#pragma unroll
    for (int n = 0; n < N; n++) {
      const phi3_row info = p.row_info[min(row[n], p.rows - 1)];
      const int block = info.position / size;
      slot[n] = info.position - block * size;
      angle[n] = info.rope_set * p.rope_positions + info.position;
      index[n] = p.cache.block_tables[(int64_t)info.seq * p.cache.table_stride + block];
    }
#pragma unroll
    for (int n = 0; n < N; n++) page[n] = (int64_t)index[n] * p.kv_heads * size * p.head_dim;
  }

  __device__ __forceinline__ void put_part(const phi3_linear &p, const phi3_qkv_part &part, int g, const int (&row)[N], const float (&v)[N]) const {
    if (part.kind == PHI3_PART_NONE || g >= part.count) return;
    const int c = part.channel + g, size = p.cache.page_size;
#pragma unroll
    for (int n = 0; n < N; n++) {
      if (row[n] >= p.rows) continue;
      const int64_t head = page[n] + (int64_t)part.head * size * p.head_dim;
      if (part.kind == PHI3_PART_Q) p.half_out[(int64_t)row[n] * p.ld_out + part.head * p.head_dim + c] = half_bits(v[n]);
      else if (part.kind == PHI3_PART_K) p.cache.keys[head + (int64_t)slot[n] * p.head_dim + c] = half_bits(v[n]);
      else p.cache.values[head + (int64_t)c * size + slot[n]] = half_bits(v[n]);
    }
  }

  __device__ __forceinline__ void put(const phi3_linear &p, int tile, int g, const int (&row)[N], const float (&lo)[N], const float (&hi)[N]) const {
    const phi3_qkv_part a = p.parts[2 * tile], b = p.parts[2 * tile + 1];
    float first[N], second[N];
    const float2 *rope = reinterpret_cast<const float2 *>(p.rope) + min(a.channel + g, p.rotary_half - 1);
    float2 at[N];
#pragma unroll
    for (int n = 0; n < N; n++) at[n] = a.rotated ? rope[(int64_t)angle[n] * p.rotary_half] : make_float2(1, 0);
#pragma unroll
    for (int n = 0; n < N; n++) { // spelt out: every kernel that includes this must round alike
      first[n] = a.rotated ? __fmaf_rn(lo[n], at[n].x, -__fmul_rn(hi[n], at[n].y)) : lo[n];
      second[n] = a.rotated ? __fmaf_rn(hi[n], at[n].x, __fmul_rn(lo[n], at[n].y)) : hi[n];
    }
    put_part(p, a, g, row, first);
    put_part(p, b, g, row, second);
  }
};

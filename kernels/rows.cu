// The kernels that touch each row once: embedding, norm, rotation, cache append and page copy. All are bound by DRAM.
#include "common.cuh"

// A block a row: 16-byte loads of the table, two 16-byte stores each. Ideal bytes: 6 hidden rows.
PHI3_KERNEL __launch_bounds__(128) phi3_embed_rows(phi3_embed p) {
  const int row = blockIdx.x;
  const uint4 *from = reinterpret_cast<const uint4 *>(p.table + (int64_t)p.ids[row] * p.hidden);
  float4 *to = reinterpret_cast<float4 *>(p.x + (int64_t)row * p.hidden);
  for (int i = threadIdx.x; i < p.hidden / 8; i += 128) {
    const uint4 v = load_stream(from + i);
    const float2 a = __half22float2(*reinterpret_cast<const __half2 *>(&v.x)), b = __half22float2(*reinterpret_cast<const __half2 *>(&v.y));
    const float2 c = __half22float2(*reinterpret_cast<const __half2 *>(&v.z)), d = __half22float2(*reinterpret_cast<const __half2 *>(&v.w));
    to[2 * i] = make_float4(a.x, a.y, b.x, b.y);
    to[2 * i + 1] = make_float4(c.x, c.y, d.x, d.y);
  }
}

// A block a row, which it keeps in registers up to 8192 columns; wider ones are read twice. Ideal bytes: 6 hidden rows,
// and 8 more with add.
PHI3_KERNEL __launch_bounds__(NORM_CHAINS) phi3_rmsnorm_rows(phi3_rmsnorm p) {
  constexpr int KEPT = 16; // pieces of four values a thread
  __shared__ float chains[4];
  const int row = blockIdx.x, pieces = p.hidden / 4, chain = threadIdx.x;
  float4 *x = reinterpret_cast<float4 *>(p.x + (int64_t)(p.from ? p.from[row] : row) * p.hidden);
  const float4 *add = p.add ? reinterpret_cast<const float4 *>(p.add + (int64_t)row * p.hidden) : nullptr;
  float4 v[KEPT];
  float s = 0;
#pragma unroll
  for (int u = 0; u < KEPT; u++)
    if (chain + u * NORM_CHAINS < pieces) v[u] = load_float4(x + chain + u * NORM_CHAINS);
#pragma unroll
  for (int u = 0; u < KEPT; u++) {
    const int i = chain + u * NORM_CHAINS;
    if (i >= pieces) continue;
    if (add) {
      const float4 a = load_float4(add + i);
      v[u] = make_float4(v[u].x + a.x, v[u].y + a.y, v[u].z + a.z, v[u].w + a.w);
      x[i] = v[u];
    }
    s = add_squares(v[u], s);
  }
  for (int i = chain + KEPT * NORM_CHAINS; i < pieces; i += NORM_CHAINS) {
    float4 w = load_float4(x + i);
    if (add) {
      const float4 a = load_float4(add + i);
      w = make_float4(w.x + a.x, w.y + a.y, w.z + a.z, w.w + a.w);
      x[i] = w;
    }
    s = add_squares(w, s);
  }
  s = warp_sum(s);
  if (chain % 32 == 0) chains[chain / 32] = s;
  __syncthreads();
  const float inverse = inverse_rms(sum_of_chains(chains), p.hidden, p.eps);
  const float4 *gain = reinterpret_cast<const float4 *>(p.gain);
  uint2 *y = reinterpret_cast<uint2 *>(p.y + (int64_t)row * p.ldy);
#pragma unroll
  for (int u = 0; u < KEPT; u++)
    if (chain + u * NORM_CHAINS < pieces) y[chain + u * NORM_CHAINS] = normed_halfs(v[u], inverse, load_float4(gain + chain + u * NORM_CHAINS));
  for (int i = chain + KEPT * NORM_CHAINS; i < pieces; i += NORM_CHAINS) y[i] = normed_halfs(load_float4(x + i), inverse, load_float4(gain + i));
  for (int i = pieces + chain; i < p.ldy / 4; i += NORM_CHAINS) y[i] = make_uint2(0, 0);
}

PHI3_KERNEL __launch_bounds__(128) phi3_rope_rows(phi3_rope p) {
  const int row = blockIdx.x;
  const phi3_row info = p.row_info[row];
  const float *table = p.rope + ((int64_t)info.rope_set * p.rope_positions + info.position) * p.rotary_half * 2;
  for (int i = threadIdx.x; i < p.heads * p.rotary_half; i += 128) {
    const int head = i / p.rotary_half, c = i % p.rotary_half;
    __half *x = reinterpret_cast<__half *>(p.x) + ((int64_t)row * p.heads + head) * p.head_dim + c;
    const float lo = __half2float(x[0]), hi = __half2float(x[p.rotary_half]), cosine = table[2 * c], sine = table[2 * c + 1];
    x[0] = __float2half_rn(saturated(__fmaf_rn(lo, cosine, -__fmul_rn(hi, sine))));
    x[p.rotary_half] = __float2half_rn(saturated(__fmaf_rn(hi, cosine, __fmul_rn(lo, sine))));
  }
}

PHI3_KERNEL __launch_bounds__(128) phi3_append_rows(phi3_append p) {
  const int row = blockIdx.x, size = p.cache.page_size;
  const phi3_row info = p.row_info[row];
  const int64_t page = p.cache.block_tables[(int64_t)info.seq * p.cache.table_stride + info.position / size];
  const int slot = info.position % size;
  for (int i = threadIdx.x; i < p.kv_heads * p.head_dim; i += 128) {
    const int head = i / p.head_dim, c = i % p.head_dim;
    const int64_t at = (page * p.kv_heads + head) * size * p.head_dim, from = (int64_t)row * p.kv_heads * p.head_dim + i;
    p.cache.keys[at + (int64_t)slot * p.head_dim + c] = p.k[from];
    p.cache.values[at + (int64_t)c * size + slot] = p.v[from];
  }
}

PHI3_KERNEL __launch_bounds__(256) phi3_copy_pages(phi3_copy_page p) {
  uint16_t *base = (blockIdx.z ? p.values : p.keys) + blockIdx.y * p.layer_stride;
  const uint4 *from = reinterpret_cast<const uint4 *>(base + p.from * p.page_halfs);
  uint4 *to = reinterpret_cast<uint4 *>(base + p.to * p.page_halfs);
  for (int64_t i = blockIdx.x * 256 + threadIdx.x; i < p.page_halfs / 8; i += (int64_t)gridDim.x * 256) to[i] = from[i];
}

// The contract of the kernels: parameters, shapes, geometry. Read by host (C11) and device (CUDA) alike.
//
// Words: "row" is a token of the step; fp16 is IEEE half. Every pointer is a device address aligned to 16 bytes; every
// matrix is row-major. What is stored as fp16 and passes its range becomes its largest value (saturates). A kernel
// takes one parameter struct by value. Weights are packed (see struct phi3_weights).
#pragma once
#include <stdint.h>

#ifdef __CUDACC__
#define PHI3_PTR(type) type *
#else
#define PHI3_PTR(type) uint64_t // a CUdeviceptr
#endif

enum {
  PHI3_TILE_ROWS = 16,   // weight rows of one mma.m16n8k8
  PHI3_GROUP_K = 32,     // k of one packed group: four mma steps
  PHI3_CHUNK_K = 1024,   // k of one chain of sums; chunk sums are added in ascending order
  PHI3_TILE_KEYS = 32,   // keys of one step of the online softmax, at absolute positions
  PHI3_SPAN_KEYS = 256,  // keys of one partial softmax; spans are merged in ascending order
  PHI3_MAX_HEAD_DIM = 128,
  PHI3_DECODE_ROWS = 16, // rows at most of the decode kernels
  PHI3_LINEAR_ROWS = 128, // rows, and packed rows of the weights, of a whole block of the linear_* kernels; 256 threads
};

// fp16 weights [rows, k] in the order in which mma.m16n8k8 reads them as operand A: halfs [tiles][groups][2][32
// lanes][8], where lane l of half h of tile t and group g holds row 16 t + 8 h + l / 4 at k = 32 g + 8 (l % 4) + 0..7.
// k is padded to a multiple of 32 with zeros, and so are the activations. Which of the matrix's rows stands where is
// the packer's choice: see the epilogues.
struct phi3_weights {
  PHI3_PTR(const uint16_t) data;
  int32_t tiles;  // of 16 rows
  int32_t groups; // of 32 k
};

// One new token each.
struct phi3_row {
  int32_t seq;      // index into the block tables
  int32_t position; // in its sequence
  int32_t rope_set; // 0: short (or only) factors, 1: long
};

// Keys and values of one layer. K of a page: halfs [kv_heads][page_size][head_dim]. V is stored transposed, halfs
// [kv_heads][head_dim][page_size], so that the second product's operand is read without a shuffle. page_size is a
// multiple of 16.
struct phi3_cache {
  PHI3_PTR(uint16_t) keys;   // [num_pages] pages
  PHI3_PTR(uint16_t) values; // [num_pages] pages
  PHI3_PTR(const int32_t) block_tables; // [num_seqs, table_stride] page of position / page_size
  int32_t table_stride;
  int32_t page_size; // tokens
};

// --- linear: y = x W^T -----------------------------------------------------------------------------------------------
//
// x: fp16 [rows, ldx], ldx a multiple of 32, zeros from k on. What becomes of y is the epilogue's:
//   store  out[row][feature] = y, fp32: logits. Tile row r of tile t is feature 16 t + r.
//   add    out[row][feature] += y, fp32: the residual stream.
//   silu   h[row][i] = silu(gate i) * up i, fp16. Rows 0-7 of tile t are gate 8 t + 0..7, rows 8-15 up 8 t + 0..7.
//   qkv    half tile h of tile t is described by parts[2 t + h]; see struct phi3_qkv_part. Rotates q and k, writes q
//   and the pages.
struct phi3_linear {
  struct phi3_weights w;
  PHI3_PTR(const uint16_t) x;
  int32_t rows, ldx;
  PHI3_PTR(float) out;    // store, add: fp32 [rows, ld_out]
  PHI3_PTR(uint16_t) half_out; // silu: fp16 [rows, ld_out]; qkv: queries, fp16 [rows, ld_out]
  int32_t ld_out;
  int32_t features;       // store, add: columns of out; silu: columns of h
  PHI3_PTR(const struct phi3_qkv_part) parts; // qkv: [2 tiles]
  PHI3_PTR(const struct phi3_row) row_info;   // qkv: [rows]
  PHI3_PTR(const float) rope; // qkv: [2 sets][positions][rotary_dim / 2][2] cos and sin
  int32_t rope_positions, rotary_half;
  int32_t head_dim, kv_heads;
  struct phi3_cache cache;
  // linear_*: blocks of the grid that compute a whole PHI3_LINEAR_ROWS x PHI3_LINEAR_ROWS of the output; behind them two
  // share one, so that a last wave that is less than half full takes half of the time. Bits do not depend on it.
  int32_t whole_blocks;
  // decode kernels with the norm fused in: x is not read but made from the residual stream
  PHI3_PTR(const float) residual; // fp32 [rows, hidden]
  PHI3_PTR(const float) gain;     // fp32 [hidden]
  int32_t hidden;
  float eps;
  // phi3_apply_*: y is there already, by cuBLAS
  PHI3_PTR(const float) sums; // fp32 [rows, 16 tiles]
};

// Packed weights to plain ones: fp16 [16 tiles, 32 groups], row-major, in the order of the packed rows. Grid ceil(64
// tiles groups / 256), 256 threads.
struct phi3_unpack {
  struct phi3_weights w;
  PHI3_PTR(uint16_t) out;
};

// Eight packed rows of qkv_proj: channels channel..channel + count - 1 of a head. A rotated half tile 0 goes with a
// half tile 1 that holds the channels rotary_dim / 2 further on.
enum { PHI3_PART_NONE, PHI3_PART_Q, PHI3_PART_K, PHI3_PART_V };
struct phi3_qkv_part {
  int16_t kind, head, channel, count, rotated; // count: at most 8, the rest is padding
};

// --- attention -------------------------------------------------------------------------------------------------------
//
// a = softmax(scale q k^T) v over the keys j of the query's sequence with 0 <= i - j < window. Query heads h share
// key-value head h / (heads / kv_heads). Scores are in units of log2, so scale is log2(e) / sqrt(head_dim). Keys are
// cut at fixed absolute positions (PHI3_TILE_KEYS, PHI3_SPAN_KEYS), so the decode and the prefill kernel give the same
// bits.
struct phi3_attention {
  PHI3_PTR(const uint16_t) q; // fp16 [rows, ld], rotated
  PHI3_PTR(uint16_t) out;     // fp16 [rows, ld]
  int32_t rows, ld;
  int32_t heads, kv_heads, head_dim;
  int32_t window;             // keys a query sees; INT32_MAX: all
  float scale;
  PHI3_PTR(const struct phi3_row) row_info; // [rows]
  struct phi3_cache cache;
  PHI3_PTR(const struct phi3_queries) queries; // prefill: [blocks]
  // decode: fp32 [rows, heads, max_spans, head_dim + 2]: sums, then maximum and sum of weights
  PHI3_PTR(float) partial;
  int32_t max_spans;
};

// Up to PHI3_QUERY_ROWS rows of one sequence at consecutive positions.
enum { PHI3_QUERY_ROWS = 64 };
struct phi3_queries {
  int32_t first_row, count;
};

// --- rows ------------------------------------------------------------------------------------------------------------

// x[row] = table[ids[row]], fp16 [vocab, hidden] to fp32 [rows, hidden]. Ids were checked by the host. Grid rows, 128
// threads.
struct phi3_embed {
  PHI3_PTR(const uint16_t) table;
  PHI3_PTR(const int32_t) ids;
  PHI3_PTR(float) x;
  int32_t rows, hidden; // hidden a multiple of 8
};

// With add: x[row] += add[row] first. Then y[row] = x / sqrt(mean(x^2) + eps) * gain in fp16, zeros in columns hidden
// .. ldy. `from` picks the rows of x: y's row r is made from x's row from[r]; null: r. Grid rows, 128 threads.
struct phi3_rmsnorm {
  PHI3_PTR(float) x;           // fp32 [., hidden]
  PHI3_PTR(const float) add;   // fp32 [rows, hidden] or null; not with `from`
  PHI3_PTR(const float) gain;  // fp32 [hidden]
  PHI3_PTR(uint16_t) y;        // fp16 [rows, ldy]
  PHI3_PTR(const int32_t) from;
  int32_t rows, hidden, ldy;   // hidden a multiple of 4, ldy of 32
  float eps;
};

// Rotates the first rotary_dim channels of each head in place: pairs (c, c + rotary_dim / 2). Grid (rows), 128 threads.
// The forward pass rotates in the epilogue of phi3_linear_qkv; this kernel is its measure.
struct phi3_rope {
  PHI3_PTR(uint16_t) x;       // fp16 [rows, heads, head_dim]
  PHI3_PTR(const struct phi3_row) row_info;
  PHI3_PTR(const float) rope; // as in struct phi3_linear
  int32_t rope_positions, rotary_half, rows, heads, head_dim;
};

// Stores keys and values of one layer's rows in their pages. Grid (rows), 128 threads.
struct phi3_append {
  PHI3_PTR(const uint16_t) k; // fp16 [rows, kv_heads, head_dim]
  PHI3_PTR(const uint16_t) v; // the same
  PHI3_PTR(const struct phi3_row) row_info;
  struct phi3_cache cache;
  int32_t rows, kv_heads, head_dim;
};

// Copies page `from` to page `to`, in layers whose pages are `layer_stride` halfs apart. Grid (chunks, layers, 2), 256
// threads.
struct phi3_copy_page {
  PHI3_PTR(uint16_t) keys;
  PHI3_PTR(uint16_t) values;
  int64_t layer_stride, page_halfs; // page_halfs a multiple of 8
  int32_t from, to;
};

// The next id of each row of logits. Greedy with temperature 0 (the lower id on a tie), else drawn as runtime/sampler.h
// says. Grid (rows), 1024 threads.
struct phi3_sample {
  PHI3_PTR(const float) logits;    // fp32 [rows, vocab]
  PHI3_PTR(const uint64_t) random; // [rows] the drawn share, in units of 2^-64; not read when greedy
  PHI3_PTR(int32_t) ids;           // [rows] -1: a logit is NaN or infinite upwards, or none is finite
  int32_t rows, vocab, top_k;      // top_k 0: all
  float temperature, top_p, min_p;
};

// --- the list --------------------------------------------------------------------------------------------------------
//
// Every kernel once: entry point phi3_<name>, parameter struct, threads of a block at most, registers of a thread at
// most on sm_75 (65536 / (threads x registers) blocks an SM fit; none of them spills). runtime/gpu/registry.h tells
// bytes and operations; tests and benchmarks walk this list.
#define PHI3_KERNELS(K)                          \
  K(embed_rows, phi3_embed, 128, 64)             \
  K(rmsnorm_rows, phi3_rmsnorm, 128, 104)        \
  K(rope_rows, phi3_rope, 128, 64)               \
  K(append_rows, phi3_append, 128, 64)           \
  K(copy_pages, phi3_copy_page, 256, 64)         \
  K(linear_store, phi3_linear, 256, 255)         \
  K(linear_add, phi3_linear, 256, 255)           \
  K(linear_silu, phi3_linear, 256, 255)          \
  K(linear_qkv, phi3_linear, 256, 255)           \
  K(decode_store_8, phi3_linear, 256, 104)       \
  K(decode_add_8, phi3_linear, 256, 104)         \
  K(decode_silu_8, phi3_linear, 256, 104)        \
  K(decode_qkv_8, phi3_linear, 256, 104)         \
  K(decode_store_16, phi3_linear, 256, 104)      \
  K(decode_add_16, phi3_linear, 256, 104)        \
  K(decode_silu_16, phi3_linear, 256, 104)       \
  K(decode_qkv_16, phi3_linear, 256, 104)        \
  K(decode_norm_store, phi3_linear, 256, 104)    \
  K(decode_norm_silu, phi3_linear, 256, 104)     \
  K(decode_norm_qkv, phi3_linear, 256, 104)      \
  K(attention_prefill_32, phi3_attention, 128, 128) \
  K(attention_prefill_64, phi3_attention, 128, 208) \
  K(attention_prefill_80, phi3_attention, 128, 232) \
  K(attention_prefill_96, phi3_attention, 128, 248) \
  K(attention_prefill_128, phi3_attention, 128, 255) \
  K(attention_decode_32, phi3_attention, 128, 128) \
  K(attention_decode_64, phi3_attention, 128, 192) \
  K(attention_decode_80, phi3_attention, 128, 224) \
  K(attention_decode_96, phi3_attention, 128, 255) \
  K(attention_decode_128, phi3_attention, 128, 255) \
  K(attention_merge, phi3_attention, 128, 64)    \
  K(sample_rows, phi3_sample, 1024, 64)          \
  K(unpack_rows, phi3_unpack, 256, 64)           \
  K(apply_silu, phi3_linear, 128, 64)            \
  K(apply_qkv, phi3_linear, 128, 64)

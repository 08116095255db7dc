// The tuned loops of the CPU backend: one table per instruction set, filled by runtime/cpu/simd/. All run on one thread
// and allocate nothing. Their sums have one fixed order each, told here, so that a result does not depend on how the
// work was cut up.
#pragma once
#include "runtime/model/dtype.h"

enum {
  CPU_PAD = 16,        // rows of activations are padded with zeros to a multiple of this many floats
  LINEAR_CHUNK = 1024, // k of a partial sum; a multiple of every quantized block
  LINEAR_PANEL = 64,   // outputs computed at a time
  LINEAR_ROWS = 264,   // rows of activations at a time
  LINEAR_TILE = 4,     // most rows of a register tile
  LINEAR_TILES = 12,   // rows that every instruction set cuts into whole tiles
  ATTENTION_KEYS = 64, // keys of a tile; tile t holds the keys at positions [64 t, 64 t + 64)
  ATTENTION_ROWS = 48, // (query, head) pairs at a time
  ATTENTION_DIM = 128, // largest head
};

// Rows of k weights of one type as stored, one behind the other; may be unaligned.
struct weight_rows {
  const void *data;
  enum dtype type;
  int32_t count;
};

// FIXED_STEP activations in fixed point. Groups of eight, x[32 b + 4 j + (0..3)] and x[32 b + 16 + 4 j + (0..3)], have
// one power of two each, so that the largest has 23 bits and a sign; three digits to the base 256, of -128 to 127, make
// an integer. Group 4 j + b is lane 4 j + b everywhere. The error of an activation is at most half a unit of its
// group's, 2^-23 x 128 / 127 of the group's largest (or 2^-123).
enum { FIXED_STEP = 128 };
struct fixed_step {
  int8_t digits[3][2][64]; // lowest first, of the first and the second half of each 32
  float scale[16];         // of a unit
  float sum[16];           // of the group
  int32_t minus_8[2][16];  // -8 times the sum of the integers of each half of a group
};
static inline int64_t fixed_steps(int64_t k) { return (k + FIXED_STEP - 1) / FIXED_STEP; }

// out[r, o] = sum over k of x[r, k] w[o, k]. Lane l sums k = l (mod lanes) of a chunk in ascending order with fused
// multiply-adds, the lanes are added by a fixed tree and the chunks' sums in ascending order.
struct linear_task {
  const struct weight_rows *w; // num_outputs rows in all
  int32_t num_outputs;         // at most LINEAR_PANEL
  int32_t num_rows;            // at most LINEAR_ROWS
  int64_t k;
  const float *x; // [num_rows, k], rows `ldx` apart and zero from k to the next multiple of CPU_PAD
  int64_t ldx;
  const struct fixed_step *fixed; // [num_rows, fixed_steps(k)], for linear_fixed in place of x
  float *out;                     // [num_rows, num_outputs], rows LINEAR_PANEL apart
};

struct linear_scratch {
  float weights[LINEAR_PANEL * LINEAR_CHUNK], x[LINEAR_TILE * LINEAR_CHUNK];
};

// Where the keys and values of one layer and one key-value head lie. In a page, keys are [head_dim, page_size] and
// values [page_size, head_dim].
struct attention_cache {
  const char *keys, *values; // of page 0
  int64_t page_bytes;        // from page to page
  int32_t page_size, head_dim;
  bool f16;
  const int32_t *block_table;
};

// out[p] = softmax(q[p] k^T scale) v over the keys j with 0 <= position[p] - j < window. Tiles of keys ascend, each
// with its maximum, exponentials and weighted sum in ascending order, merged with what came before as flash attention
// does (Dao et al., 2022).
struct attention_task {
  struct attention_cache cache;
  int32_t num_pairs; // at most ATTENTION_ROWS, positions ascending
  int32_t window;    // 0: all
  float scale;
  const float *q[ATTENTION_ROWS];
  float *out[ATTENTION_ROWS];
  int64_t position[ATTENTION_ROWS];
};

// Zero at first: what lies behind a value's head_dim stays so.
struct attention_scratch {
  float keys[ATTENTION_DIM * ATTENTION_KEYS];   // [head_dim, 64]
  float values[ATTENTION_KEYS * ATTENTION_DIM]; // [64, ATTENTION_DIM]
  float q[ATTENTION_ROWS][ATTENTION_DIM], scores[ATTENTION_ROWS][ATTENTION_KEYS], sum[ATTENTION_ROWS][ATTENTION_DIM];
  float max[ATTENTION_ROWS], total[ATTENTION_ROWS];
};

struct cpu_kernels {
  const char *isa;
  // For a few rows of activations weights are read as stored; for many they are converted once to fp32. A row's result
  // has the same bits however many go with it.
  void (*linear)(const struct linear_task *t, struct linear_scratch *s);
  // The same for weights of 4 to 6 bits, whose products with activations in fixed point and the sums over 32 (Q6_K: 16)
  // of them are exact in integers: a multiply-add of bytes does the work of four in fp32. NULL where the machine has
  // none.
  void (*linear_fixed)(const struct linear_task *t, struct linear_scratch *s);
  void (*fix)(const float *x, int64_t k, struct fixed_step *dst); // a row; k is a multiple of 32
  // A stored row of n elements as fp32, the same values as dtype_to_f32.
  void (*to_f32)(enum dtype type, const void *row, float *dst, int64_t n);
  void (*to_f16)(const float *src, uint16_t *dst, int64_t n); // round to nearest even
  // y = x / sqrt(mean(x^2) + eps) * gain
  void (*rmsnorm)(const float *x, const float *gain, int64_t n, float eps, float *y);
  // y = gate / (1 + exp(-gate)) * up
  void (*silu_mul)(const float *gate, const float *up, int64_t n, float *y);
  void (*exp)(const float *x, int64_t n, float *y);
  void (*attention)(const struct attention_task *t, struct attention_scratch *s);
};

// Whether rows of this type are for linear_fixed.
static inline bool cpu_kernels_fix(const struct cpu_kernels *k, enum dtype t) {
  return k->fix && (t == DTYPE_Q4_0 || t == DTYPE_Q4_1 || t == DTYPE_Q4_K || t == DTYPE_Q5_K || t == DTYPE_Q6_K);
}

// The best table that this machine can run, or the one that PHI3_ISA in the environment names: baseline, v3 (AVX2, FMA,
// F16C), v4 (AVX-512) or vnni (v4 and AVX512-VNNI). NULL and an error for a name that is unknown or that the machine
// cannot run.
const struct cpu_kernels *cpu_kernels_select(struct err *e);
// The table of that name, or NULL where the machine or the build has none.
const struct cpu_kernels *cpu_kernels_find(const char *isa);

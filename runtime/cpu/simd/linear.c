// Projections. A row-major weight matrix wants its sums along k, so a vector holds k and the lanes are added at the end
// of each chunk. One row of activations is bound by memory: four rows of weights at a time, read as stored. A few rows
// share what is unpacked of them. Many rows are bound by arithmetic: a panel of weights is converted to fp32 and
// interleaved as the tile reads it, and TILE rows x 4 outputs stay in registers, so that TILE + 4 loads feed 4 TILE
// fused multiply-adds. A tile of x stays in the first cache, the panel in the second.
#include "runtime/cpu/simd/walk.h"
#include "runtime/cpu/simd/names.h"

#if defined __AVX512F__ || defined __aarch64__
enum { TILE = 4 }; // 16 of 32 registers
#elif defined __AVX2__
enum { TILE = 3 }; // 12 of 16 registers
#else
enum { TILE = 2 }; // products need registers as well
#endif
// Most rows of x in a pass over weights as they are stored, and rows of weights that share a load of x.
#if defined __AVX512F__
enum { PASS = 4, SHARE = 2 };
#else
enum { PASS = 2, SHARE = 1 };
#endif
_Static_assert((int)TILE <= LINEAR_TILE && LINEAR_TILES % TILE == 0 && LINEAR_ROWS % LINEAR_TILES == 0,
               "blocks of rows are cut into whole tiles");
_Static_assert(CPU_PAD % VW == 0, "padding covers the last vector");

// A chunk of four rows: n elements of each. Row i begins at row + i stride.
struct piece {
  const uint8_t *row;
  int64_t stride, n;
  uintptr_t ahead; // what is asked for meanwhile
};

// acc[i] += the products of row i of a float type.
INLINE void dot_floats(enum dtype t, const struct piece *p, const float *x, vf acc[4]) {
  const uint8_t *row = p->row;
  int64_t k = 0;
  uintptr_t ahead = p->ahead;
  for (; k + VW <= p->n; k += VW, row += unit_bytes(t), ahead += 4 * (uintptr_t)unit_bytes(t)) {
    vf xv = vf_load(x + k);
    prefetch(ahead, 4 * unit_bytes(t));
    UNROLL for (int i = 0; i < 4; i++) acc[i] = vf_fma(load_floats(t, row + i * p->stride), xv, acc[i]);
  }
  if (k == p->n) return;
  vf xv = vf_load(x + k);
  for (int i = 0; i < 4; i++) acc[i] = vf_fma(load_last_floats(t, row + i * p->stride, p->n - k), xv, acc[i]);
}

INLINE void load_scales(enum dtype t, const struct piece *p, int64_t first_block, struct scales s[4]) {
  int64_t blocks = p->n / unit_elements(t);
  UNROLL for (int i = 0; i < 4; i++) {
    for (int64_t b = first_block; b < blocks; b++) gather_scales(t, p->row + i * p->stride, b, &s[i]);
    convert_scales(t, blocks, &s[i]);
  }
}

// The same of a quantized type. While the arithmetic of this piece keeps the processor's vector units busy, the scales
// of the next one are gathered.
INLINE void dot_blocks(enum dtype t, const struct piece *p, const struct scales s[4], const struct piece *next,
                       struct scales next_s[4], const float *x, vf acc[4]) {
  int64_t blocks = p->n / unit_elements(t), next_blocks = next->n / unit_elements(t);
  const uint8_t *row = p->row;
  uintptr_t ahead = p->ahead;
  for (int64_t b = 0; b < blocks; b++) {
    prefetch(ahead, 4 * unit_bytes(t));
    if (b < next_blocks) UNROLL for (int i = 0; i < 4; i++) gather_scales(t, next->row + i * p->stride, b, &next_s[i]);
    UNROLL for (int j = 0; j < unit_elements(t) / 32; j++) UNROLL for (int i = 0; i < 4; i++) {
      vf w[32 / VW];
      unpack(t, row + i * p->stride, j, s[i].of + b * unit_scales(t), w);
      UNROLL for (int v = 0; v < 32 / VW; v++) acc[i] = vf_fma(w[v], vf_load(x + 32 * j + v * VW), acc[i]);
    }
    x += unit_elements(t);
    row += unit_bytes(t);
    ahead += 4 * (uintptr_t)unit_bytes(t);
  }
  load_scales(t, next, blocks, next_s);
}

// The four rows from row `o` of `count` on, from element k0. Of fewer rows than four each goes alone, as four times
// itself. Behind the last row an empty piece.
INLINE struct piece piece_at(enum dtype t, int64_t k, const uint8_t *w, int32_t count, int32_t o, int64_t k0) {
  int64_t bytes = row_bytes(t, k), done = row_bytes(t, k0);
  if (o >= count) return (struct piece){.row = w};
  return (struct piece){.row = w + o * bytes + done,
                        .stride = count < 4 ? 0 : bytes,
                        .n = at_most(LINEAR_CHUNK, k - k0),
                        .ahead = (uintptr_t)w + (uintptr_t)(o * bytes + ahead_of(4 * bytes) + 4 * done)};
}

// out[o] of `count` rows of one type.
INLINE void dot(enum dtype t, const struct linear_task *task, const uint8_t *w, int32_t count, float *out) {
  struct piece p = piece_at(t, task->k, w, count, 0, 0);
  struct scales s[2][4];
  int turn = 0;
  if (!is_float(t)) load_scales(t, &p, 0, s[0]);
  for (int32_t o = 0, next_o; o < count; o = next_o) {
    v4f sum = {0};
    next_o = next_four(o, count);
    for (int64_t k0 = 0; k0 < task->k; k0 += LINEAR_CHUNK) {
      bool last = k0 + LINEAR_CHUNK >= task->k;
      struct piece next = piece_at(t, task->k, w, count, last ? next_o : o, last ? 0 : k0 + LINEAR_CHUNK);
      vf acc[4] = {{0}, {0}, {0}, {0}};
      if (is_float(t)) dot_floats(t, &p, task->x + k0, acc);
      else dot_blocks(t, &p, s[turn], &next, s[!turn], task->x + k0, acc);
      sum += vf_sum4(acc[0], acc[1], acc[2], acc[3]);
      p = next;
      turn = !turn;
    }
    put_four(sum, count, out + o);
  }
}

// acc[r][first..first + SHARE - 1] += the products of vectors of those rows of weights and of row r of x.
INLINE void pass_vectors(int rows, const vf w[SHARE], const float *const x[PASS], int64_t k, int first,
                         vf acc[PASS][4]) {
  UNROLL for (int r = 0; r < rows; r++) {
    vf xv = vf_load(x[r] + k);
    keep_in_register(xv);
    UNROLL for (int i = 0; i < SHARE; i++) acc[r][first + i] = vf_fma(w[i], xv, acc[r][first + i]);
  }
}

INLINE void pass_floats(enum dtype t, int rows, const struct piece *p, const float *const x[PASS], int64_t k0,
                        vf acc[PASS][4]) {
  const uint8_t *row = p->row;
  for (int64_t k = 0; k < p->n; k += VW, row += unit_bytes(t)) UNROLL for (int first = 0; first < 4; first += SHARE) {
      vf w[SHARE];
      UNROLL for (int i = 0; i < SHARE; i++) {
        const uint8_t *at = row + (first + i) * p->stride;
        w[i] = k + VW <= p->n ? load_floats(t, at) : load_last_floats(t, at, p->n - k);
      }
      pass_vectors(rows, w, x, k0 + k, first, acc);
    }
}

INLINE void pass_blocks(enum dtype t, int rows, const struct piece *p, const struct scales s[4],
                        const float *const x[PASS], int64_t k0, vf acc[PASS][4]) {
  int64_t blocks = p->n / unit_elements(t);
  for (int64_t b = 0; b < blocks; b++)
    UNROLL for (int j = 0; j < unit_elements(t) / 32; j++, k0 += 32)
        UNROLL for (int first = 0; first < 4; first += SHARE) {
      vf w[32 / VW][SHARE], one[32 / VW];
      UNROLL for (int i = 0; i < SHARE; i++) {
        unpack(t, p->row + (first + i) * p->stride + b * unit_bytes(t), j, s[first + i].of + b * unit_scales(t), one);
        UNROLL for (int v = 0; v < 32 / VW; v++) w[v][i] = one[v];
      }
      UNROLL for (int v = 0; v < 32 / VW; v++) pass_vectors(rows, w[v], x, k0 + v * VW, first, acc);
    }
}

// out[r, o] of `count` rows of weights for the task's rows of x, at most `rows`. Behind the last of them the last one
// again, whose sums nobody reads.
INLINE void pass(enum dtype t, int rows, const struct linear_task *task, const uint8_t *w, int32_t count, float *out) {
  const float *row[PASS];
  for (int r = 0; r < rows; r++) row[r] = task->x + at_most(r, task->num_rows - 1) * task->ldx;
  for (int32_t o = 0; o < count; o = next_four(o, count)) {
    v4f sum[PASS] = {{0}};
    for (int64_t k0 = 0; k0 < task->k; k0 += LINEAR_CHUNK) {
      struct piece p = piece_at(t, task->k, w, count, o, k0);
      struct scales s[4];
      vf acc[PASS][4];
      UNROLL for (int r = 0; r < rows; r++) UNROLL for (int i = 0; i < 4; i++) acc[r][i] = (vf){0};
      if (is_float(t)) pass_floats(t, rows, &p, row, k0, acc);
      else {
        load_scales(t, &p, 0, s);
        pass_blocks(t, rows, &p, s, row, k0, acc);
      }
      UNROLL for (int r = 0; r < rows; r++) sum[r] += vf_sum4(acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
    }
    for (int r = 0; r < task->num_rows; r++) put_four(sum[r], count, out + r * LINEAR_PANEL + o);
  }
}

// Rows of weights of one type for up to PASS rows of x.
INLINE void few_rows(enum dtype t, const struct linear_task *task, const uint8_t *w, int32_t count, float *out) {
  if (task->num_rows == 1) dot(t, task, w, count, out);
  else if (task->num_rows == 2) pass(t, 2, task, w, count, out);
  else pass(t, PASS, task, w, count, out);
}

static void few_rows_any(const struct linear_task *t) {
  float *out = t->out;
  for (const struct weight_rows *w = t->w; out < t->out + t->num_outputs; out += w++->count) {
    switch (w->type) {
    case DTYPE_F32: few_rows(DTYPE_F32, t, w->data, w->count, out); break;
    case DTYPE_F16: few_rows(DTYPE_F16, t, w->data, w->count, out); break;
    case DTYPE_BF16: few_rows(DTYPE_BF16, t, w->data, w->count, out); break;
    case DTYPE_Q8_0: few_rows(DTYPE_Q8_0, t, w->data, w->count, out); break;
    case DTYPE_Q4_0: few_rows(DTYPE_Q4_0, t, w->data, w->count, out); break;
    case DTYPE_Q4_1: few_rows(DTYPE_Q4_1, t, w->data, w->count, out); break;
    case DTYPE_Q4_K: few_rows(DTYPE_Q4_K, t, w->data, w->count, out); break;
    case DTYPE_Q5_K: few_rows(DTYPE_Q5_K, t, w->data, w->count, out); break;
    default: few_rows(DTYPE_Q6_K, t, w->data, w->count, out); break;
    }
  }
}

// n elements of a stored row to fp32 vectors `stride` floats apart; the last one is filled up with zeros.
INLINE void convert(enum dtype t, const uint8_t *row, int64_t n, float *dst, int64_t stride) {
  int64_t k = 0;
  if (is_float(t)) {
    for (; k + VW <= n; k += VW, row += unit_bytes(t), dst += stride) vf_store(dst, load_floats(t, row));
    if (k < n) vf_store(dst, load_last_floats(t, row, n - k));
    return;
  }
  for (int64_t begin = 0; begin < n; begin += LINEAR_CHUNK) {
    struct scales s;
    int64_t end = at_most(n, begin + LINEAR_CHUNK), blocks = (end - begin) / unit_elements(t), scale = 0;
    for (int64_t b = 0; b < blocks; b++) gather_scales(t, row, b, &s);
    convert_scales(t, blocks, &s);
    for (; k < end; k += unit_elements(t), row += unit_bytes(t), scale += unit_scales(t))
      UNROLL for (int j = 0; j < unit_elements(t) / 32; j++) {
        vf w[32 / VW];
        unpack(t, row, j, s.of + scale, w);
        UNROLL for (int v = 0; v < 32 / VW; v++, dst += stride) vf_store(dst, w[v]);
      }
  }
}

static void convert_any(enum dtype t, const uint8_t *row, int64_t n, float *dst, int64_t stride) {
  switch (t) {
  case DTYPE_F32: convert(DTYPE_F32, row, n, dst, stride); break;
  case DTYPE_F16: convert(DTYPE_F16, row, n, dst, stride); break;
  case DTYPE_BF16: convert(DTYPE_BF16, row, n, dst, stride); break;
  case DTYPE_Q8_0: convert(DTYPE_Q8_0, row, n, dst, stride); break;
  case DTYPE_Q4_0: convert(DTYPE_Q4_0, row, n, dst, stride); break;
  case DTYPE_Q4_1: convert(DTYPE_Q4_1, row, n, dst, stride); break;
  case DTYPE_Q4_K: convert(DTYPE_Q4_K, row, n, dst, stride); break;
  case DTYPE_Q5_K: convert(DTYPE_Q5_K, row, n, dst, stride); break;
  default: convert(DTYPE_Q6_K, row, n, dst, stride); break;
  }
}

void CPU_NAME(to_f32)(enum dtype type, const void *row, float *dst, int64_t n) {
  int64_t whole = n / VW * VW;
  convert_any(type, row, whole, dst, VW);
  if (whole == n) return; // else a float type
  float last[VW];
  convert_any(type, (const uint8_t *)row + whole * dtype_info(type)->block_bytes, n - whole, last, VW);
  memcpy(dst + whole, last, (size_t)(n - whole) * sizeof *dst);
}

// out[r, 0..n - 1] += the products of `steps` vectors. x is [steps][rows][VW], w is [steps][4][VW].
INLINE void tile(int rows, int64_t steps, const float *x, const float *w, int n, float *out) {
  vf acc[TILE][4];
  UNROLL for (int r = 0; r < rows; r++) UNROLL for (int i = 0; i < 4; i++) acc[r][i] = (vf){0};
  for (int64_t s = 0; s < steps; s++, x += rows * VW, w += 4 * VW) {
    vf w0 = vf_load(w), w1 = vf_load(w + VW), w2 = vf_load(w + 2 * VW), w3 = vf_load(w + 3 * VW);
    UNROLL for (int r = 0; r < rows; r++) {
      vf xv = vf_load(x + r * VW);
      acc[r][0] = vf_fma(w0, xv, acc[r][0]);
      acc[r][1] = vf_fma(w1, xv, acc[r][1]);
      acc[r][2] = vf_fma(w2, xv, acc[r][2]);
      acc[r][3] = vf_fma(w3, xv, acc[r][3]);
    }
  }
  v4f sum[TILE];
  vf_sum4_rows(rows, acc, sum);
  UNROLL for (int r = 0; r < rows; r++) add_four(sum[r], n, out + r * LINEAR_PANEL);
}

static void tile_any(int rows, int64_t steps, const float *x, const float *w, int n, float *out) {
  switch (rows) {
  case 1: tile(1, steps, x, w, n, out); break;
#if defined __AVX512F__ || defined __aarch64__
  case 2: tile(2, steps, x, w, n, out); break;
  case 3: tile(3, steps, x, w, n, out); break;
#elif defined __AVX2__
  case 2: tile(2, steps, x, w, n, out); break;
#endif
  default: tile(TILE, steps, x, w, n, out); break;
  }
}

static void pack_x(const float *x, int64_t ldx, int rows, int64_t steps, float *dst) {
  for (int64_t s = 0; s < steps; s++)
    for (int r = 0; r < rows; r++, dst += VW) vf_store(dst, vf_load(x + r * ldx + s * VW));
}

void CPU_NAME(linear)(const struct linear_task *t, struct linear_scratch *b) {
  if (t->num_rows <= PASS) {
    few_rows_any(t);
    return;
  }
  int32_t groups = (t->num_outputs + 3) / 4;
  for (int32_t r = 0; r < t->num_rows; r++)
    memset(t->out + r * LINEAR_PANEL, 0, (size_t)t->num_outputs * sizeof *t->out);
  for (int64_t k0 = 0; k0 < t->k; k0 += LINEAR_CHUNK) {
    int64_t n = at_most(LINEAR_CHUNK, t->k - k0), steps = (n + VW - 1) / VW, group_floats = steps * 4 * VW;
    const struct weight_rows *w = t->w;
    for (int32_t o = 0, i = 0; o < groups * 4; o++) { // behind the last output its row again, whose sums nobody reads
      const struct dtype_info *d = dtype_info(w->type);
      const uint8_t *row = (const uint8_t *)w->data + (i * t->k + k0) / d->block * d->block_bytes;
      convert_any(w->type, row, n, b->weights + o / 4 * group_floats + o % 4 * VW, 4 * VW);
      if (o < t->num_outputs - 1 && ++i == w->count) w++, i = 0;
    }
    for (int32_t r = 0; r < t->num_rows; r += TILE) {
      int rows = (int)at_most(TILE, t->num_rows - r);
      pack_x(t->x + r * t->ldx + k0, t->ldx, rows, steps, b->x);
      for (int32_t g = 0; g < groups; g++)
        tile_any(rows, steps, b->x, b->weights + g * group_floats, (int)at_most(4, t->num_outputs - g * 4),
                 t->out + r * LINEAR_PANEL + g * 4);
    }
  }
}

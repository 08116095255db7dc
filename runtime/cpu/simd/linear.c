// Projections. A row-major weight matrix wants its sums along k, so a vector holds k and the lanes are added at the end
// of each chunk. One row of activations is bound by memory: four rows of weights at a time, read as stored. A few rows
// share what is unpacked of plain quantized blocks. Many rows are bound by arithmetic: a panel of weights is converted
// to fp32 and interleaved as the tile reads it, and TILE rows x 4 outputs stay in registers, so that TILE + 4 loads
// feed 4 TILE fused multiply-adds. A tile of x stays in the first cache, the panel in the second.
#include "runtime/cpu/simd/unpack.h"
#include "runtime/cpu/simd/names.h"

#if defined __AVX512F__ || defined __aarch64__
enum { TILE = 6 }; // 24 of 32 registers
#elif defined __AVX2__
enum { TILE = 3 }; // 12 of 16 registers
#else
enum { TILE = 2 }; // products need registers as well
#endif
// Rows of x in a pass over plain quantized blocks, and rows of weights that share a load of x. Up to FEW_PLAIN rows
// passes are quicker than converting the weights first, up to FEW_FLOAT rows of float weights one row after the other
// is, by the cycles that they take on Zen 4; with four lanes neither is.
#if defined __AVX512F__
enum { PASS = 4, SHARE = 2, FEW_PLAIN = 8, FEW_FLOAT = 3 };
#elif defined __AVX2__
enum { PASS = 2, SHARE = 1, FEW_PLAIN = 2, FEW_FLOAT = 3 };
#else
enum { PASS = 2, SHARE = 1, FEW_PLAIN = 1, FEW_FLOAT = 1 };
#endif
_Static_assert((int)TILE <= LINEAR_TILE && LINEAR_ROWS % TILE == 0, "blocks of rows are cut into whole tiles");
_Static_assert(CPU_PAD % VW == 0, "padding covers the last vector");

INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

// Memory is asked for the next four rows, or those AHEAD bytes on, while these are summed: the processor's own
// prefetcher follows four streams only when each is longer than a page. Of long rows each stream asks for its
// successor; short rows are asked for in the order in which they lie.
enum { AHEAD = 12288, LONG_ROW = 4096 };

struct prefetch {
  int64_t ahead;        // from the rows' first byte to what is asked for while it is summed
  int64_t spread, rate; // from stream to stream; bytes asked for by each for a byte of a row
};

INLINE struct prefetch prefetch_plan(enum dtype t, int64_t k) {
  int64_t row_bytes = is_float(t) ? k * (unit_bytes(t) / VW) : k / unit_elements(t) * unit_bytes(t),
          four = 4 * row_bytes, ahead = (AHEAD + four - 1) / four * four;
  int64_t step = is_float(t) ? 64 : unit_bytes(t); // bytes of a row between two calls of prefetch
  return row_bytes < LONG_ROW ? (struct prefetch){ahead, step, 4} : (struct prefetch){ahead, row_bytes, 1};
}

// What belongs to `bytes` bytes of the rows, from `done` on. It may lie behind the weights: nothing is read.
INLINE void prefetch(const struct prefetch *p, const uint8_t *first_row, int64_t done, int64_t bytes) {
  uintptr_t start = (uintptr_t)first_row + (uintptr_t)(p->ahead + done * p->rate);
  UNROLL for (int i = 0; i < 4; i++) for (int64_t b = 0; b < bytes; b += 64)
      __builtin_prefetch((const void *)(start + (uintptr_t)(i * p->spread + b)), 0, 2);
}

// A chunk of four rows: n elements from byte `done` of each on.
struct piece {
  const uint8_t *row[4];
  int64_t done, n;
};

// acc[i] += the products of row i of a float type.
INLINE void dot_floats(enum dtype t, const struct piece *p, const float *x, const struct prefetch *ahead, vf acc[4]) {
  int64_t k = 0, at = p->done;
  for (; k + VW <= p->n; k += VW, at += unit_bytes(t)) {
    vf xv = vf_load(x + k);
    if (at % 64 == 0) prefetch(ahead, p->row[0], at, 64);
    UNROLL for (int i = 0; i < 4; i++) acc[i] = vf_fma(load_floats(t, p->row[i] + at), xv, acc[i]);
  }
  if (k == p->n) return;
  vf xv = vf_load(x + k);
  for (int i = 0; i < 4; i++) acc[i] = vf_fma(load_last_floats(t, p->row[i] + at, p->n - k), xv, acc[i]);
}

INLINE void load_scales(enum dtype t, const struct piece *p, int64_t first_block, struct scales s[4]) {
  int64_t blocks = p->n / unit_elements(t);
  UNROLL for (int i = 0; i < 4; i++) {
    for (int64_t b = first_block; b < blocks; b++) gather_scales(t, p->row[i] + p->done, b, &s[i]);
    convert_scales(t, blocks, &s[i]);
  }
}

// The same of a quantized type. While the arithmetic of this piece keeps the processor's vector units busy, the scales
// of the next one are gathered.
INLINE void dot_blocks(enum dtype t, const struct piece *p, const struct scales s[4], const struct piece *next,
                       struct scales next_s[4], const float *x, const struct prefetch *ahead, vf acc[4]) {
  int64_t blocks = p->n / unit_elements(t), next_blocks = next->n / unit_elements(t);
  for (int64_t b = 0; b < blocks; b++, x += unit_elements(t)) {
    int64_t at = p->done + b * unit_bytes(t);
    prefetch(ahead, p->row[0], at, unit_bytes(t));
    if (b < next_blocks) UNROLL for (int i = 0; i < 4; i++) gather_scales(t, next->row[i] + next->done, b, &next_s[i]);
    UNROLL for (int j = 0; j < unit_elements(t) / 32; j++) UNROLL for (int i = 0; i < 4; i++) {
      vf w[32 / VW];
      unpack(t, p->row[i] + at, j, s[i].of + b * unit_scales(t), w);
      UNROLL for (int v = 0; v < 32 / VW; v++) acc[i] = vf_fma(w[v], vf_load(x + 32 * j + v * VW), acc[i]);
    }
  }
  load_scales(t, next, blocks, next_s);
}

// The piece from element k0 of row `o` on; behind the last row the last one again, whose sums nobody reads. Behind the
// last piece an empty one.
INLINE struct piece piece_at(enum dtype t, const struct linear_task *task, const struct weight_row *w, int32_t count,
                             int32_t o, int64_t k0) {
  struct piece p = {.done = is_float(t) ? k0 * (unit_bytes(t) / VW) : k0 / unit_elements(t) * unit_bytes(t)};
  if (o >= count) return p;
  for (int i = 0; i < 4; i++) p.row[i] = w[at_most(o + i, count - 1)].data;
  p.n = at_most(LINEAR_CHUNK, task->k - k0);
  return p;
}

// out[o] of `count` rows of one type.
INLINE void dot(enum dtype t, const struct linear_task *task, const struct weight_row *w, int32_t count, float *out) {
  struct prefetch ahead = prefetch_plan(t, task->k);
  struct piece p = piece_at(t, task, w, count, 0, 0);
  struct scales s[2][4];
  int turn = 0;
  if (!is_float(t)) load_scales(t, &p, 0, s[0]);
  for (int32_t o = 0; o < count; o += 4) {
    v4f sum = {0};
    for (int64_t k0 = 0; k0 < task->k; k0 += LINEAR_CHUNK) {
      bool last = k0 + LINEAR_CHUNK >= task->k;
      struct piece next = piece_at(t, task, w, count, last ? o + 4 : o, last ? 0 : k0 + LINEAR_CHUNK);
      vf acc[4] = {{0}, {0}, {0}, {0}};
      if (is_float(t)) dot_floats(t, &p, task->x + k0, &ahead, acc);
      else dot_blocks(t, &p, s[turn], &next, s[!turn], task->x + k0, &ahead, acc);
      sum += vf_sum4(acc[0], acc[1], acc[2], acc[3]);
      p = next;
      turn = !turn;
    }
    memcpy(out + o, &sum, (size_t)at_most(4, count - o) * sizeof *out);
  }
}

// How many outputs from `first` on have weights of one type.
static int32_t same_type(const struct linear_task *t, int32_t first) {
  int32_t end = first + 1;
  while (end < t->num_outputs && t->w[end].type == t->w[first].type) end++;
  return end - first;
}

void CPU_NAME(linear_row)(const struct linear_task *t) {
  for (int32_t o = 0, count; o < t->num_outputs; o += count) {
    const struct weight_row *w = t->w + o;
    count = same_type(t, o);
    switch (w->type) {
    case DTYPE_F32: dot(DTYPE_F32, t, w, count, t->out + o); break;
    case DTYPE_F16: dot(DTYPE_F16, t, w, count, t->out + o); break;
    case DTYPE_BF16: dot(DTYPE_BF16, t, w, count, t->out + o); break;
    case DTYPE_Q8_0: dot(DTYPE_Q8_0, t, w, count, t->out + o); break;
    case DTYPE_Q4_0: dot(DTYPE_Q4_0, t, w, count, t->out + o); break;
    case DTYPE_Q4_1: dot(DTYPE_Q4_1, t, w, count, t->out + o); break;
    case DTYPE_Q4_K: dot(DTYPE_Q4_K, t, w, count, t->out + o); break;
    case DTYPE_Q5_K: dot(DTYPE_Q5_K, t, w, count, t->out + o); break;
    default: dot(DTYPE_Q6_K, t, w, count, t->out + o); break;
    }
  }
}

// Each load of x serves SHARE rows of weights. Left alone, compilers load x again for each multiply-add, and the first
// cache gives fewer loads than there are multiply-adds.
#if defined __AVX512F__
#define keep_in_register(v) __asm__("" : "+v"(v))
#else
#define keep_in_register(v) (void)(v)
#endif

// acc[r][i] += the products of row i, a chunk of plain blocks, and row r of x.
INLINE void pass_piece(enum dtype t, int rows, const struct piece *p, const struct scales s[4],
                       const float *const x[PASS], int64_t k0, vf acc[PASS][4]) {
  int64_t blocks = p->n / 32;
  for (int64_t b = 0; b < blocks; b++, k0 += 32) {
    UNROLL for (int first = 0; first < 4; first += SHARE) {
      vf w[SHARE][32 / VW];
      UNROLL for (int i = 0; i < SHARE; i++)
          unpack_plain(t, p->row[first + i] + p->done + b * unit_bytes(t), s[first + i].of + b * unit_scales(t), w[i]);
      UNROLL for (int v = 0; v < 32 / VW; v++) UNROLL for (int r = 0; r < rows; r++) {
        vf xv = vf_load(x[r] + k0 + v * VW);
        keep_in_register(xv);
        UNROLL for (int i = 0; i < SHARE; i++) acc[r][first + i] = vf_fma(w[i][v], xv, acc[r][first + i]);
      }
    }
  }
}

// out[r, o] of `count` rows of weights for `used` rows of x, at most `rows`. Behind the last of them the last one
// again, whose sums nobody reads.
INLINE void pass(enum dtype t, int rows, const struct linear_task *task, const struct weight_row *w, int32_t count,
                 const float *x, int used, float *out) {
  const float *row[PASS];
  for (int r = 0; r < rows; r++) row[r] = x + at_most(r, used - 1) * task->ldx;
  for (int32_t o = 0; o < count; o += 4) {
    v4f sum[PASS] = {{0}};
    for (int64_t k0 = 0; k0 < task->k; k0 += LINEAR_CHUNK) {
      struct piece p = piece_at(t, task, w, count, o, k0);
      struct scales s[4];
      vf acc[PASS][4];
      load_scales(t, &p, 0, s);
      UNROLL for (int r = 0; r < rows; r++) UNROLL for (int i = 0; i < 4; i++) acc[r][i] = (vf){0};
      pass_piece(t, rows, &p, s, row, k0, acc);
      UNROLL for (int r = 0; r < rows; r++) sum[r] += vf_sum4(acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
    }
    for (int r = 0; r < used; r++)
      memcpy(out + r * LINEAR_PANEL + o, &sum[r], (size_t)at_most(4, count - o) * sizeof *out);
  }
}

// All rows of a plain quantized type.
INLINE void passes(enum dtype t, const struct linear_task *task, const struct weight_row *w, int32_t count,
                   float *out) {
  const float *x = task->x;
  for (int32_t left = task->num_rows, used; left > 0; left -= used, x += used * task->ldx, out += used * LINEAR_PANEL) {
    used = (int32_t)at_most(left, PASS);
    if (used == 2) pass(t, 2, task, w, count, x, 2, out);
    else pass(t, PASS, task, w, count, x, used, out);
  }
}

static bool is_plain(enum dtype t) { return !is_float(t) && unit_elements(t) == 32; }

static void passes_any(const struct linear_task *t) {
  for (int32_t o = 0, count; o < t->num_outputs; o += count) {
    const struct weight_row *w = t->w + o;
    count = same_type(t, o);
    switch (w->type) {
    case DTYPE_Q8_0: passes(DTYPE_Q8_0, t, w, count, t->out + o); break;
    case DTYPE_Q4_0: passes(DTYPE_Q4_0, t, w, count, t->out + o); break;
    default: passes(DTYPE_Q4_1, t, w, count, t->out + o); break;
    }
  }
}

static void row_by_row(const struct linear_task *t) {
  struct linear_task one = *t;
  one.num_rows = 1;
  for (int32_t r = 0; r < t->num_rows; r++, one.x += t->ldx, one.out += LINEAR_PANEL) CPU_NAME(linear_row)(&one);
}

static bool all_are(const struct linear_task *t, bool (*is)(enum dtype)) {
  for (int32_t o = 0; o < t->num_outputs; o++)
    if (!is(t->w[o].type)) return false;
  return true;
}

static bool is_any_float(enum dtype t) { return is_float(t); }

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

// Elements [k0, k0 + n) of the row.
static void convert_any(struct weight_row w, int64_t k0, int64_t n, float *dst, int64_t stride) {
  const struct dtype_info *d = dtype_info(w.type);
  const uint8_t *row = (const uint8_t *)w.data + k0 / d->block * d->block_bytes;
  switch (w.type) {
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

void CPU_NAME(to_f32)(struct weight_row w, float *dst, int64_t n) {
  int64_t whole = n / VW * VW;
  convert_any(w, 0, whole, dst, VW);
  if (whole == n) return; // else a float type
  float last[VW];
  const uint8_t *row = (const uint8_t *)w.data + whole * dtype_info(w.type)->block_bytes;
  convert_any((struct weight_row){row, w.type}, 0, n - whole, last, VW);
  memcpy(dst + whole, last, (size_t)(n - whole) * sizeof *dst);
}

// out[r, 0..3] += the products of `steps` vectors. x is [steps][rows][VW], w is [steps][4][VW].
INLINE void tile(int rows, int64_t steps, const float *x, const float *w, float *out) {
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
  UNROLL for (int r = 0; r < rows; r++) {
    v4f sum;
    memcpy(&sum, out + r * LINEAR_PANEL, sizeof sum);
    sum += vf_sum4(acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
    memcpy(out + r * LINEAR_PANEL, &sum, sizeof sum);
  }
}

static void tile_any(int rows, int64_t steps, const float *x, const float *w, float *out) {
  switch (rows) {
  case 1: tile(1, steps, x, w, out); break;
#if defined __AVX512F__ || defined __aarch64__
  case 2: tile(2, steps, x, w, out); break;
  case 3: tile(3, steps, x, w, out); break;
  case 4: tile(4, steps, x, w, out); break;
  case 5: tile(5, steps, x, w, out); break;
#elif defined __AVX2__
  case 2: tile(2, steps, x, w, out); break;
#endif
  default: tile(TILE, steps, x, w, out); break;
  }
}

static void pack_x(const float *x, int64_t ldx, int rows, int64_t steps, float *dst) {
  for (int64_t s = 0; s < steps; s++)
    for (int r = 0; r < rows; r++, dst += VW) vf_store(dst, vf_load(x + r * ldx + s * VW));
}

void CPU_NAME(linear_rows)(const struct linear_task *t, struct linear_scratch *b) {
  if (t->num_rows <= FEW_PLAIN && all_are(t, is_plain)) {
    passes_any(t);
    return;
  }
  if (t->num_rows <= FEW_FLOAT && all_are(t, is_any_float)) {
    row_by_row(t);
    return;
  }
  int32_t groups = (t->num_outputs + 3) / 4;
  memset(t->out, 0, (size_t)t->num_rows * LINEAR_PANEL * sizeof *t->out);
  for (int64_t k0 = 0; k0 < t->k; k0 += LINEAR_CHUNK) {
    int64_t n = at_most(LINEAR_CHUNK, t->k - k0), steps = (n + VW - 1) / VW, group_floats = steps * 4 * VW;
    for (int32_t o = 0; o < groups * 4; o++) { // behind the last output the last row again, whose sums nobody reads
      int32_t row = (int32_t)at_most(o, t->num_outputs - 1);
      convert_any(t->w[row], k0, n, b->weights + o / 4 * group_floats + o % 4 * VW, 4 * VW);
    }
    for (int32_t r = 0; r < t->num_rows; r += TILE) {
      int rows = (int)at_most(TILE, t->num_rows - r);
      pack_x(t->x + r * t->ldx + k0, t->ldx, rows, steps, b->x);
      for (int32_t g = 0; g < groups; g++)
        tile_any(rows, steps, b->x, b->weights + g * group_floats, t->out + r * LINEAR_PANEL + g * 4);
    }
  }
}

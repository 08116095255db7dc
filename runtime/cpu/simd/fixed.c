// Projections of weights of 4 to 6 bits with AVX512-VNNI, and the table of that instruction set, whose other loops are
// those of v4. A weight is d q + m with an unsigned integer q, an activation an integer of 24 bits times its group's
// unit (struct fixed_step), so that
//   y = sum over groups of d unit (sum of q X) + m (sum of x)
// where the sums of q X are exact: 8 times 31 or 4 times 63 times the largest X stays below 2^31. Weights are neither
// looked up nor converted, and a multiply-add of bytes takes 64 of them for each digit of X. Types without m, d (q - 8)
// and d (q - 32), take the centre times the sum of X off in integers.
// Lane 4 j + b of a step of 128 elements sums the groups 4 j + b of a chunk's steps in ascending order; lanes and
// chunks are added as in linear.c.
#include "runtime/cpu/simd/walk.h"
#include "runtime/cpu/simd/names.h"

enum { PASS = 4, TILE = 4, CHUNK_STEPS = LINEAR_CHUNK / FIXED_STEP };
enum { SHARE = CHUNK_STEPS * sizeof(struct fixed_step) * 4 / LINEAR_PANEL }; // bytes of a row of x for each tile
_Static_assert(LINEAR_TILES % TILE == 0 && LINEAR_CHUNK % FIXED_STEP == 0, "whole tiles");

INLINE vi vi_load(const void *p) { return (vi)vf_load(p); }
INLINE void vi_store(void *p, vi v) { vf_store(p, (vf)v); }

// The first n bytes, then zeros; the others are not touched.
INLINE vi load_bytes(const void *p, int64_t n) {
  return (vi)_mm512_maskz_loadu_epi8(n >= 64 ? ~0ull : n <= 0 ? 0 : (1ull << n) - 1, p);
}

// 32 bytes, twice; four floats, four times.
INLINE vi load_32_bytes_twice(const uint8_t *p) {
  return (vi)_mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)p));
}
INLINE vf load_4_floats(const float *p) { return (vf)_mm512_broadcast_f32x4(_mm_loadu_ps(p)); }

INLINE vi bytes(int b) { return b * 0x01010101 - (vi){0}; }
INLINE vi low_nibbles(vi v) { return v & bytes(15); }
INLINE vi high_nibbles(vi v) { return (vi)_mm512_srli_epi16((__m512i)v, 4) & bytes(15); }

// A step of a row of weights: the bytes q of the first half of each 32 and of the second, and each lane's factors. Q6_K
// has d for each half, m is 0 where the type has none.
struct weights {
  vi q[2];
  vf d[2], m;
};

INLINE bool has_min(enum dtype t) { return t == DTYPE_Q4_1 || t == DTYPE_Q4_K || t == DTYPE_Q5_K; }

// The factors of a unit, four floats to be loaded into every quarter of a vector: so they cost no shuffles, which the
// products need the ports of. Plain types: d and m of four blocks. Q4_K, Q5_K: eight d, eight m. Q6_K: d of the first
// half of each 32 of a step, of the second, and so of the other step.
struct factors {
  float of[16];
};

// Keeps the compiler from taking them out of the register that they are stored from.
#define keep_in_memory(f) __asm__("" : "+m"(f))

INLINE struct factors factors_k(enum dtype t, const uint8_t *block) {
  uint64_t packed[2];
  __m512 factor;
  vi scales;
  if (t == DTYPE_Q6_K) {
    const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    scales = (vi)_mm512_cvtepi8_epi32(_mm_shuffle_epi8(_mm_loadu_si128((const void *)(block + 192)), order));
    factor = (__m512)vf_set_f16(block + 208);
  } else {
    const __m256i words =
        _mm256_setr_epi32(0x1000100, 0x1000100, 0x1000100, 0x1000100, 0x3020302, 0x3020302, 0x3020302, 0x3020302);
    const __m256i minus =
        _mm256_setr_epi32(0, 0, 0, 0, (int)0x80008000, (int)0x80008000, (int)0x80008000, (int)0x80008000);
    int32_t d_m;
    memcpy(&d_m, block, sizeof d_m);
    unpack_scales_k(block, packed);
    __asm__("" : "+r"(packed[0]), "+r"(packed[1])); // leave vectors to the products
    scales = (vi)_mm512_cvtepu8_epi32(_mm_set_epi64x((int64_t)packed[1], (int64_t)packed[0]));
    factor = _mm512_cvtph_ps(_mm256_xor_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(d_m), words), minus));
  }
  struct factors f;
  vf_store(f.of, vf_from_i32(scales) * (vf)factor);
  keep_in_memory(f);
  return f;
}

// Plain blocks, four or, at the end of a row, `blocks`: their words are brought together from two loads. Lane 4 j + b
// takes the j-th four bytes of block b.
INLINE struct weights unpack_plain_step(enum dtype t, const uint8_t *p, int64_t blocks) {
  const int64_t size = unit_bytes(t), second = 4 * size - 64;
  vi a = blocks >= 4 ? vi_load(p) : load_bytes(p, blocks * size);
  vi b = blocks >= 4 ? vi_load(p + second) : load_bytes(p + second, blocks * size - second), q;
  struct weights w = {0};
  struct factors f;
  keep_in_register(a);   // for q and for the factors
  if (t == DTYPE_Q4_1) { // five words of 32 bits: d and m, q
    const vi q_words = {1, 6, 11, 28, 2, 7, 12, 29, 3, 8, 13, 30, 4, 9, 14, 31};
    const vi d_m = {0xa0000, 0x1e0014, 0xb0001, 0x1f0015};
    q = (vi)_mm512_permutex2var_epi32((__m512i)a, (__m512i)q_words, (__m512i)b);
    __m512i halves = _mm512_permutexvar_epi16((__m512i)d_m, (__m512i)a);
    _mm256_storeu_ps(f.of, _mm256_cvtph_ps(_mm512_castsi512_si128(halves)));
  } else { // Q4_0, nine words of 16 bits: d, q
    const vi q_words = {0x20001, 0xb000a, 0x140013, 0x1d001c, 0x40003, 0xd000c,  0x160015, 0x1f001e,
                        0x60005, 0xf000e, 0x180017, 0x3d003c, 0x80007, 0x110010, 0x1a0019, 0x3f003e};
    const vi d = {0x90000, 0x1b0012};
    q = (vi)_mm512_permutex2var_epi16((__m512i)a, (__m512i)q_words, (__m512i)b);
    __m512i halves = _mm512_permutexvar_epi16((__m512i)d, (__m512i)a);
    _mm_storeu_ps(f.of, _mm_cvtph_ps(_mm512_castsi512_si128(halves)));
  }
  keep_in_memory(f);
  w.q[0] = low_nibbles(q);
  w.q[1] = high_nibbles(q);
  w.d[0] = load_4_floats(f.of);
  if (has_min(t)) w.m = load_4_floats(f.of + 4);
  return w;
}

// Step `h` of a K block, whose layout unpack.h tells: 64 bytes of low bits; those above lie in 32 bytes, in bits of
// each 32 elements' own, and are turned to where they belong.
INLINE struct weights unpack_k_step(enum dtype t, const uint8_t *block, int h, const struct factors *f) {
  vi q = vi_load(block + (t == DTYPE_Q4_K ? 16 : t == DTYPE_Q5_K ? 48 : 0) + 64 * h);
  keep_in_register(q); // for both halves
  vi low = low_nibbles(q), high = high_nibbles(q);
  if (t != DTYPE_Q4_K) {
    const int first = t == DTYPE_Q6_K ? 4 : 4 - 4 * h, by = t == DTYPE_Q6_K ? 2 : 1; // bits to the left
    const vi second_half = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}, mask = bytes(t == DTYPE_Q6_K ? 48 : 16);
    vi above = load_32_bytes_twice(t == DTYPE_Q6_K ? block + 128 + 32 * h : block + 16);
    // Q5_K: low holds the first and third 32, high the second and fourth. Q6_K: the first two, the last two.
    const vi left[2] = {first - (t == DTYPE_Q6_K ? by : 2 * by) * second_half,
                        first - (t == DTYPE_Q6_K ? 2 * by + by * second_half : by + 2 * by * second_half)};
    low |= (vi)_mm512_rolv_epi32((__m512i)above, (__m512i)left[0]) & mask;
    high |= (vi)_mm512_rolv_epi32((__m512i)above, (__m512i)left[1]) & mask;
  }
  // Lane 4 j + b takes the j-th four bytes of the b-th 32.
  const vi dealt = {0, 16, 8, 24, 1, 17, 9, 25, 2, 18, 10, 26, 3, 19, 11, 27};
  const vi halved = {0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27};
  struct weights w = {0};
  UNROLL for (int i = 0; i < 2; i++) {
    const vi lanes = (t == DTYPE_Q6_K ? halved : dealt) + 4 * i;
    w.q[i] = (vi)_mm512_permutex2var_epi32((__m512i)low, (__m512i)lanes, (__m512i)high);
  }
  w.d[0] = load_4_floats(f->of + (t == DTYPE_Q6_K ? 8 * h : 4 * h));
  if (t == DTYPE_Q6_K) w.d[1] = load_4_floats(f->of + 8 * h + 4);
  else w.m = load_4_floats(f->of + 8 + 4 * h);
  return w;
}

// Steps of a unit of weights, and what its steps share.
INLINE int64_t unit_steps(enum dtype t) { return unit_elements(t) == 256 ? 2 : 1; }
INLINE int64_t unit_steps_bytes(enum dtype t) { return unit_elements(t) == 256 ? unit_bytes(t) : 4 * unit_bytes(t); }

INLINE struct factors unit_factors(enum dtype t, const uint8_t *p) {
  return unit_elements(t) == 256 ? factors_k(t, p) : (struct factors){{0}};
}

INLINE struct weights unpack_step(enum dtype t, const uint8_t *p, int h, const struct factors *f, int64_t blocks) {
  return unit_elements(t) == 256 ? unpack_k_step(t, p, h, f) : unpack_plain_step(t, p, blocks);
}

INLINE vi dot_bytes(vi sum, vi q, vi x) { return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)q, (__m512i)x); }
INLINE vi next_digit(vi sum) { return (vi)_mm512_slli_epi32((__m512i)sum, 8); }

INLINE vi load_digits(const struct fixed_step *x, int digit, int half) {
  vi v = vi_load(x->digits[digit][half]);
  keep_in_register(v); // for every row of weights
  return v;
}

// acc[i] += the products of a step of n rows of weights with one of x. The rows go side by side: one by one their
// chains would fill the processor's queues with instructions that wait. Q6_K: of the halves `part` alone.
INLINE void add_part(enum dtype t, int part, int n, const struct weights w[], const struct fixed_step *x, vf acc[]) {
  vi sum[4] = {{0}, {0}, {0}, {0}};
  UNROLL for (int d = 2; d >= 0; d--) {
    UNROLL for (int half = 0; half < 2; half++) {
      if (t == DTYPE_Q6_K && half != part) continue;
      vi digits = load_digits(x, d, half);
      UNROLL for (int i = 0; i < n; i++) sum[i] = dot_bytes(sum[i], w[i].q[half], digits);
    }
    if (d) UNROLL for (int i = 0; i < n; i++) sum[i] = next_digit(sum[i]);
  }
  vi centre = {0};
  if (t == DTYPE_Q4_0) centre = vi_load(x->minus_8[0]) + vi_load(x->minus_8[1]);
  if (t == DTYPE_Q6_K) centre = vi_load(x->minus_8[part]) * 4;
  vf scale = vf_load(x->scale);
  UNROLL for (int i = 0; i < n; i++) acc[i] = vf_fma(w[i].d[part], vf_from_i32(sum[i] + centre) * scale, acc[i]);
}

INLINE void add_products(enum dtype t, int n, const struct weights w[], const struct fixed_step *x, vf acc[]) {
  if (has_min(t)) UNROLL for (int i = 0; i < n; i++) acc[i] = vf_fma(w[i].m, vf_load(x->sum), acc[i]);
  add_part(t, 0, n, w, x, acc);
  if (t == DTYPE_Q6_K) add_part(t, 1, n, w, x, acc);
}

// acc[r][0..3] += the products of step h of a unit of four rows of weights, `stride` apart, and of `rows` rows of x.
INLINE void pass_step(enum dtype t, int rows, const uint8_t *p, int64_t stride, int h, const struct factors f[4],
                      int64_t blocks, const struct fixed_step *const x[PASS], int64_t step, vf acc[PASS][4]) {
  const int share = rows == 1 ? 4 : 2; // as registers allow
  UNROLL for (int first = 0; first < 4; first += share) {
    struct weights w[4];
    UNROLL for (int i = 0; i < share; i++) w[i] = unpack_step(t, p + (first + i) * stride, h, &f[first + i], blocks);
    UNROLL for (int r = 0; r < rows; r++) add_products(t, share, w, x[r] + step, acc[r] + first);
  }
}

// out[r, o] of `count` rows of weights for `num_rows` rows of x, at most `rows`: behind the last of them the last one
// again, whose sums nobody reads.
INLINE void pass(enum dtype t, int rows, const struct linear_task *task, const uint8_t *weights, int32_t count,
                 float *out) {
  const int64_t steps = fixed_steps(task->k), whole = task->k / FIXED_STEP, bytes = row_bytes(t, task->k),
                blocks = task->k % FIXED_STEP / 32, stride = count < 4 ? 0 : bytes;
  for (int32_t o = 0; o < count; o = next_four(o, count)) {
    const uint8_t *p = weights + o * bytes;
    uintptr_t ahead = (uintptr_t)p + (uintptr_t)ahead_of(4 * bytes);
    const struct fixed_step *x[PASS];
    for (int r = 0; r < rows; r++) x[r] = task->fixed + at_most(r, task->num_rows - 1) * steps;
    v4f sum[PASS] = {{0}};
    for (int64_t begin = 0; begin < steps; begin += CHUNK_STEPS) {
      vf acc[PASS][4];
      UNROLL for (int r = 0; r < rows; r++) UNROLL for (int i = 0; i < 4; i++) acc[r][i] = (vf){0};
      for (int64_t s = begin, end = at_most(whole, begin + CHUNK_STEPS); s < end; s += unit_steps(t)) {
        struct factors f[4];
        prefetch(ahead, 4 * unit_steps_bytes(t));
        UNROLL for (int i = 0; i < 4; i++) f[i] = unit_factors(t, p + i * stride);
        UNROLL for (int h = 0; h < unit_steps(t); h++) pass_step(t, rows, p, stride, h, f, 4, x, s + h, acc);
        p += unit_steps_bytes(t);
        ahead += 4 * (uintptr_t)unit_steps_bytes(t);
      }
      if (whole < at_most(steps, begin + CHUNK_STEPS)) { // plain blocks at the end
        prefetch(ahead, 4 * blocks * unit_bytes(t));
        pass_step(t, rows, p, stride, 0, (struct factors[4]){{{0}}}, blocks, x, whole, acc);
      }
      UNROLL for (int r = 0; r < rows; r++) sum[r] += vf_sum4(acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
    }
    for (int r = 0; r < (rows == 1 ? 1 : task->num_rows); r++) put_four(sum[r], count, out + r * LINEAR_PANEL + o);
  }
}

// A step as a tile reads it, in vectors: q, q, and d, m or d, d.
enum { STEP_VECTORS = 4 };

INLINE void store_step(enum dtype t, const struct weights *w, float *dst) {
  UNROLL for (int i = 0; i < 2; i++) vf_store(dst + i * VW, (vf)w->q[i]);
  vf_store(dst + 2 * VW, w->d[0]);
  vf_store(dst + 3 * VW, t == DTYPE_Q6_K ? w->d[1] : w->m);
}

INLINE struct weights load_step(enum dtype t, const float *p) {
  struct weights w = {.q = {vi_load(p), vi_load(p + VW)}, .d[0] = vf_load(p + 2 * VW)};
  if (t == DTYPE_Q6_K) w.d[1] = vf_load(p + 3 * VW);
  else if (has_min(t)) w.m = vf_load(p + 3 * VW);
  return w;
}

// Steps [begin, end) of a row of k weights, `stride` floats apart.
INLINE void convert(enum dtype t, const uint8_t *row, int64_t k, int64_t begin, int64_t end, float *dst,
                    int64_t stride) {
  row += begin / unit_steps(t) * unit_steps_bytes(t);
  for (int64_t s = begin; s < end; s += unit_steps(t), row += unit_steps_bytes(t)) {
    struct factors f = unit_factors(t, row);
    UNROLL for (int h = 0; h < unit_steps(t); h++, dst += stride) {
      struct weights w = unpack_step(t, row, h, &f, (k - s * FIXED_STEP) / 32);
      store_step(t, &w, dst);
    }
  }
}

// out[r, 0..n - 1] += the products of `count` steps; x[rows], `steps` apart, w[count][4][STEP_VECTORS].
INLINE void tile(enum dtype t, int rows, const struct fixed_step *x, int64_t steps, const float *w, int64_t count,
                 int n, float *out) {
  vf acc[TILE][4];
  v4f sum[TILE];
  UNROLL for (int r = 0; r < rows; r++) UNROLL for (int i = 0; i < 4; i++) acc[r][i] = (vf){0};
  for (int64_t s = 0; s < count; s++, w += 4 * STEP_VECTORS * VW) UNROLL for (int r = 0; r < rows; r++) {
      struct weights four[4];
      UNROLL for (int i = 0; i < 4; i++) four[i] = load_step(t, w + i * STEP_VECTORS * VW);
      add_products(t, 4, four, x + r * steps + s, acc[r]);
    }
  vf_sum4_rows(rows, acc, sum);
  UNROLL for (int r = 0; r < rows; r++) add_four(sum[r], n, out + r * LINEAR_PANEL);
}

// The loops of one type, each a function of its own: all in one, compilers run out of registers.
struct loops {
  void (*pass[3])(const struct linear_task *task, const uint8_t *weights, int32_t count, float *out); // of 1, 2, 4 rows
  void (*convert)(const uint8_t *row, int64_t k, int64_t begin, int64_t end, float *dst, int64_t stride);
  void (*tile[TILE])(const struct fixed_step *x, int64_t steps, const float *w, int64_t count, int n, float *out);
};

#define PASS_OF(t, rows)                                                                                               \
  static void pass_##t##_##rows(const struct linear_task *task, const uint8_t *weights, int32_t count, float *out) {   \
    pass(DTYPE_##t, rows, task, weights, count, out);                                                                  \
  }
#define TILE_OF(t, rows)                                                                                               \
  static void tile_##t##_##rows(const struct fixed_step *x, int64_t steps, const float *w, int64_t count, int n,       \
                                float *out) {                                                                          \
    tile(DTYPE_##t, rows, x, steps, w, count, n, out);                                                                 \
  }
#define TILES_OF(t) TILE_OF(t, 1) TILE_OF(t, 2) TILE_OF(t, 3) TILE_OF(t, 4)
#define LOOPS_OF(t)                                                                                                    \
  PASS_OF(t, 1)                                                                                                        \
  PASS_OF(t, 2)                                                                                                        \
  PASS_OF(t, 4)                                                                                                        \
  TILES_OF(t)                                                                                                          \
  static void convert_##t(const uint8_t *row, int64_t k, int64_t begin, int64_t end, float *dst, int64_t stride) {     \
    convert(DTYPE_##t, row, k, begin, end, dst, stride);                                                               \
  }                                                                                                                    \
  static const struct loops loops_##t = {{pass_##t##_1, pass_##t##_2, pass_##t##_4},                                   \
                                         convert_##t,                                                                  \
                                         {tile_##t##_1, tile_##t##_2, tile_##t##_3, tile_##t##_4}};
LOOPS_OF(Q4_0)
LOOPS_OF(Q4_1)
LOOPS_OF(Q4_K)
LOOPS_OF(Q5_K)
LOOPS_OF(Q6_K)

static const struct loops *const loops_of[DTYPE_COUNT] = {[DTYPE_Q4_0] = &loops_Q4_0,
                                                          [DTYPE_Q4_1] = &loops_Q4_1,
                                                          [DTYPE_Q4_K] = &loops_Q4_K,
                                                          [DTYPE_Q5_K] = &loops_Q5_K,
                                                          [DTYPE_Q6_K] = &loops_Q6_K};

// out[r, o] of `count` rows of weights for many rows of x: a panel of weights is unpacked once.
static void panel(const struct loops *l, const struct linear_task *task, const uint8_t *weights, int64_t bytes,
                  int32_t count, float *out, struct linear_scratch *b) {
  const int64_t steps = fixed_steps(task->k), stride = 4 * STEP_VECTORS * VW;
  for (int32_t r = 0; r < task->num_rows; r++) memset(out + r * LINEAR_PANEL, 0, (size_t)count * sizeof *out);
  for (int64_t begin = 0; begin < steps; begin += CHUNK_STEPS) {
    int64_t end = at_most(steps, begin + CHUNK_STEPS), group = (end - begin) * stride;
    for (int32_t o = 0; o < (count + 3) / 4 * 4; o++) // behind the last row it again, whose sums nobody reads
      l->convert(weights + at_most(o, count - 1) * bytes, task->k, begin, end,
                 b->weights + o / 4 * group + o % 4 * STEP_VECTORS * VW, stride);
    for (int32_t r = 0; r < task->num_rows; r += TILE) {
      int rows = (int)at_most(TILE, task->num_rows - r);
      const struct fixed_step *x = task->fixed + r * steps + begin;
      uintptr_t next =
          (uintptr_t)x + TILE * (uintptr_t)steps * sizeof *x; // rows, a share of them asked for by each tile
      for (int32_t o = 0; o < count; o += 4, next += SHARE) {
        for (int i = 0; i < rows; i++) prefetch(next + (uintptr_t)(i * steps) * sizeof *x, SHARE);
        l->tile[rows - 1](x, steps, b->weights + o / 4 * group, end - begin, (int)at_most(4, count - o),
                          out + r * LINEAR_PANEL + o);
      }
    }
  }
}

static void linear_fixed(const struct linear_task *t, struct linear_scratch *b) {
  float *out = t->out;
  for (const struct weight_rows *w = t->w; out < t->out + t->num_outputs; out += w++->count) {
    const struct loops *l = loops_of[w->type];
    if (t->num_rows <= PASS) l->pass[t->num_rows <= 2 ? t->num_rows - 1 : 2](t, w->data, w->count, out);
    else panel(l, t, w->data, row_bytes(w->type, t->k), w->count, out, b);
  }
}

// The largest of four lanes, in each of them.
INLINE vi max_of_quarter(vi v) {
  UNROLL for (int i = 0; i < 2; i++) {
    __m512i other =
        i ? _mm512_shuffle_epi32((__m512i)v, _MM_PERM_BADC) : _mm512_shuffle_epi32((__m512i)v, _MM_PERM_CDAB);
    v = (vi)_mm512_max_epi32((__m512i)v, other);
  }
  return v;
}

// 32 elements, to the lanes 4 block + j of a step.
INLINE void fix_block(const float *x, int block, struct fixed_step *s) {
  vf v[2] = {vf_load(x), vf_load(x + VW)};
  // Magnitudes as bits: so NaN is above infinity, and infinity above numbers.
  vi bits = max_of_quarter((vi)_mm512_max_epi32((__m512i)((vi)v[0] & INT32_MAX), (__m512i)((vi)v[1] & INT32_MAX)));
  vf max = (vf)bits;
  // That of the largest, or one more where its integer would be above 127 * 65793, which is all that three digits hold:
  // adding 65793 carries then. A group below 2^-100 has the unit of 2^-122.
  vi high = (vi)_mm512_srli_epi32(_mm512_add_epi32((__m512i)bits, _mm512_set1_epi32(65793)), 23);
  vf exponent = vf_at_least(vf_from_i32(high - 127), -100.0f);
  UNROLL for (int i = 0; i < 2; i++) {
    vi n = (vi)_mm512_cvtps_epi32(_mm512_scalef_ps((__m512)v[i], (__m512)(22.0f - exponent)));
    vi digits = (n + 0x808080) ^ 0x808080; // bytes of 0 to 255 less 128
    UNROLL for (int d = 0; d < 3; d++)
        _mm_storeu_si128((void *)(s->digits[d][i] + 16 * block), _mm512_cvtepi32_epi8((__m512i)(digits >> (8 * d))));
  }
  // No number times 0 is NaN, and makes every sum with this group one.
  vf scale = (vf)_mm512_scalef_ps((__m512)vf_set(1.0f), (__m512)(exponent - 22.0f)) + max * 0.0f;
  const vi firsts = {0, 4, 8, 12};
  _mm_storeu_ps(s->scale + 4 * block, _mm512_castps512_ps128(_mm512_permutexvar_ps((__m512i)firsts, (__m512)scale)));
}

// Lane 4 b + j to 4 j + b.
INLINE void turn(void *p) {
  const vi lanes = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  vi_store(p, (vi)_mm512_permutexvar_epi32((__m512i)lanes, (__m512i)vi_load(p)));
}

static void fix(const float *x, int64_t k, struct fixed_step *dst) {
  for (int64_t begin = 0; begin < k; begin += FIXED_STEP, dst++) {
    int64_t blocks = at_most(FIXED_STEP, k - begin) / 32;
    if (blocks < 4) memset(dst, 0, sizeof *dst);
    for (int b = 0; b < blocks; b++) fix_block(x + begin + 32 * b, b, dst);
    UNROLL for (int d = 0; d < 3; d++) UNROLL for (int i = 0; i < 2; i++) turn(dst->digits[d][i]);
    turn(dst->scale);
    vi minus[2], sum[2] = {{0}, {0}};
    UNROLL for (int i = 0; i < 2; i++) {
      UNROLL for (int d = 2; d >= 0; d--) sum[i] = dot_bytes(next_digit(sum[i]), bytes(1), vi_load(dst->digits[d][i]));
      minus[i] = sum[i] * -8;
      vi_store(dst->minus_8[i], minus[i]);
    }
    vf_store(dst->sum, vf_from_i32(sum[0] + sum[1]) * vf_load(dst->scale));
  }
}

extern const struct cpu_kernels cpu_kernels_vnni;
const struct cpu_kernels cpu_kernels_vnni = {.isa = "vnni", .linear_fixed = linear_fixed, .fix = fix, CPU_LOOPS};

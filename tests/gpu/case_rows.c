// The kernels that touch each row once, against plain loops in double.
#include "tests/gpu/gpu_test.h"
#include "runtime/base/mem.h"
#include <math.h>

struct shape {
  int32_t rows, hidden, heads, head_dim, rotary, page_size, variant; // variant: of rmsnorm: 1 with add, 2 with from
};
static const struct shape shapes[] = {{1, 8, 1, 8, 8, 16, 0},      {5, 3072, 32, 96, 96, 16, 0}, {3, 40, 5, 8, 4, 32, 1}, {4, 1000, 2, 80, 32, 16, 2},
                                      {7, 72, 3, 24, 12, 48, 2}, {2, 3080, 2, 128, 128, 16, 1}};
enum { SHAPES = sizeof shapes / sizeof *shapes };
int rows_shapes(enum gpu_kernel k) {
  (void)k;
  return SHAPES;
}

static struct err e;

static struct outcome embed(const struct shape *s, uint64_t *seed, bool check, const char *what) {
  enum { VOCAB = 37 };
  uint16_t *table = random_halfs(seed, VOCAB, s->hidden, s->hidden, 1, true);
  int32_t ids[8];
  for (int32_t r = 0; r < s->rows; r++) ids[r] = r == 0 ? VOCAB - 1 : (int32_t)(test_random(seed) % VOCAB);
  struct buffer t = buffer_open(table, (size_t)VOCAB * (size_t)s->hidden * 2), i = buffer_open(ids, (size_t)s->rows * 4),
                x = buffer_open(NULL, (size_t)s->rows * (size_t)s->hidden * 4);
  struct phi3_embed p = {t.p, i.p, x.p, s->rows, s->hidden};
  assert_ok(gpu_launch(test_device(), KERNEL_embed_rows, (unsigned[]){(unsigned)s->rows, 1, 1}, 128, 0, &p, &e));
  struct outcome o = {buffer_read(&x, what), x.bytes};
  for (int64_t r = 0; r < s->rows && check; r++)
    for (int64_t c = 0; c < s->hidden; c++)
      if (((float *)o.data)[r * s->hidden + c] != f16_to_f32(table[ids[r] * (int64_t)s->hidden + c])) fail_msg("%s: row %d, column %d", what, (int)r, (int)c);
  buffer_close(&t), buffer_close(&i), buffer_close(&x);
  free(table);
  return o;
}

static struct outcome rmsnorm(const struct shape *s, uint64_t *seed, bool check, const char *what) {
  int64_t n = s->hidden, ld = (n + 31) / 32 * 32, all = s->rows + 3;
  float *x = random_floats(seed, all * n, 1, true), *add = random_floats(seed, s->rows * n, 1, false), *gain = random_floats(seed, n, 1, false);
  int32_t from[8];
  for (int32_t r = 0; r < s->rows; r++) from[r] = s->variant == 2 ? (int32_t)all - 1 - r : r;
  for (int64_t c = 0, r = s->rows - 1; r > 0 && c < n; c++) { // where the last row is small, epsilon counts
    x[from[r] * n + c] *= 0x1p-20f;
    add[r * n + c] *= 0x1p-20f;
  }
  struct buffer bx = buffer_open(x, (size_t)(all * n) * 4), ba = buffer_open(add, (size_t)(s->rows * n) * 4), bg = buffer_open(gain, (size_t)n * 4),
                bf = buffer_open(from, sizeof from), by = buffer_open(NULL, (size_t)(s->rows * ld) * 2);
  struct phi3_rmsnorm p = {.x = bx.p, .add = s->variant == 1 ? ba.p : 0, .gain = bg.p, .y = by.p, .from = s->variant == 2 ? bf.p : 0, .rows = s->rows, .hidden = s->hidden,
                           .ldy = (int32_t)ld, .eps = 1e-5f};
  assert_ok(gpu_rmsnorm(test_device(), &p, &e));
  struct outcome o = {buffer_read(&by, what), by.bytes};
  float *after = buffer_read(&bx, what);
  struct measure m = {0};
  for (int64_t r = 0; r < s->rows && check; r++) {
    double sum = 0;
    float *row = x + from[r] * n;
    for (int64_t c = 0; c < n; c++) {
      if (s->variant == 1) row[c] += add[r * n + c];
      if (after[from[r] * n + c] != row[c]) fail_msg("%s: the residual of row %d, column %d", what, (int)r, (int)c);
      sum += (double)row[c] * row[c];
    }
    for (int64_t c = 0; c < n; c++) measure_add(&m, f16_to_f32(((uint16_t *)o.data)[r * ld + c]), row[c] / sqrt(sum / (double)n + 1e-5) * gain[c]);
    for (int64_t c = n; c < ld; c++) assert_int_equal(((uint16_t *)o.data)[r * ld + c], 0);
  }
  if (check) measure_check(&m, 1e-7, true, what);
  struct buffer *all_buffers[] = {&bx, &ba, &bg, &bf, &by};
  for (int i = 0; i < 5; i++) buffer_close(all_buffers[i]);
  free(x), free(add), free(gain), free(after);
  return o;
}

static struct outcome rope(const struct shape *s, uint64_t *seed, bool check, const char *what) {
  enum { SETS = 2, POSITIONS = 9 };
  int64_t width = (int64_t)s->heads * s->head_dim, half = s->rotary / 2;
  uint16_t *x = random_halfs(seed, s->rows, width, width, 1, false);
  float *table = random_floats(seed, SETS * POSITIONS * s->rotary, 1, false);
  struct phi3_row info[8];
  for (int32_t r = 0; r < s->rows; r++) info[r] = (struct phi3_row){0, (int32_t)(test_random(seed) % POSITIONS), r % SETS};
  struct buffer bx = buffer_open(x, (size_t)(s->rows * width) * 2), bi = buffer_open(info, sizeof info), bt = buffer_open(table, SETS * POSITIONS * (size_t)s->rotary * 4);
  struct phi3_rope p = {bx.p, bi.p, bt.p, POSITIONS, s->rotary / 2, s->rows, s->heads, s->head_dim};
  assert_ok(gpu_launch(test_device(), KERNEL_rope_rows, (unsigned[]){(unsigned)s->rows, 1, 1}, 128, 0, &p, &e));
  struct outcome o = {buffer_read(&bx, what), bx.bytes};
  struct measure m = {0};
  for (int64_t r = 0; r < s->rows && check; r++)
    for (int64_t i = 0; i < width; i++) {
      int64_t c = i % s->head_dim;
      const uint16_t *in = x + r * width + i;
      const float *at = table + 2 * (((int64_t)info[r].rope_set * POSITIONS + info[r].position) * half + c % half);
      double y = f16_to_f32(*in);
      if (c < half) y = y * at[0] - f16_to_f32(in[half]) * at[1];
      else if (c < s->rotary) y = y * at[0] + f16_to_f32(in[-half]) * at[1];
      measure_add(&m, f16_to_f32(((uint16_t *)o.data)[r * width + i]), y);
    }
  if (check) measure_check(&m, 1e-7, true, what);
  buffer_close(&bx), buffer_close(&bi), buffer_close(&bt);
  free(x), free(table);
  return o;
}

// Pages are compared whole: every slot that is no row's stays poisoned.
static struct outcome append(const struct shape *s, uint64_t *seed, bool check, const char *what) {
  enum { BLOCKS = 3, SEQS = 2 };
  int64_t width = (int64_t)s->heads * s->head_dim, page = width * s->page_size, pages = SEQS * BLOCKS;
  uint16_t *k = random_halfs(seed, s->rows, width, width, 1, true), *v = random_halfs(seed, s->rows, width, width, 1, true);
  uint16_t *expected[2] = {malloc((size_t)(pages * page) * 2), malloc((size_t)(pages * page) * 2)};
  int32_t table[SEQS * BLOCKS] = {4, 0, 5, 2, 3, 1};
  struct phi3_row info[8];
  for (int i = 0; i < 2; i++) memset(expected[i], 0xff, (size_t)(pages * page) * 2);
  for (int32_t r = 0; r < s->rows; r++) {
    int32_t position = r == 0 ? 0 : s->page_size - 2 + r; // across a page's edge
    info[r] = (struct phi3_row){r % SEQS, position, 0};
    int64_t at = table[r % SEQS * BLOCKS + position / s->page_size] * page, slot = position % s->page_size;
    for (int64_t h = 0; h < s->heads; h++)
      for (int64_t c = 0; c < s->head_dim; c++) {
        expected[0][at + (h * s->page_size + slot) * s->head_dim + c] = k[r * width + h * s->head_dim + c];
        expected[1][at + (h * s->head_dim + c) * s->page_size + slot] = v[r * width + h * s->head_dim + c];
      }
  }
  struct buffer b[] = {buffer_open(k, (size_t)(s->rows * width) * 2), buffer_open(v, (size_t)(s->rows * width) * 2), buffer_open(info, sizeof info),
                       buffer_open(table, sizeof table), buffer_open(NULL, (size_t)(pages * page) * 2), buffer_open(NULL, (size_t)(pages * page) * 2)};
  struct phi3_append p = {b[0].p, b[1].p, b[2].p, {b[4].p, b[5].p, b[3].p, BLOCKS, s->page_size}, s->rows, s->heads, s->head_dim};
  assert_ok(gpu_launch(test_device(), KERNEL_append_rows, (unsigned[]){(unsigned)s->rows, 1, 1}, 128, 0, &p, &e));
  uint8_t *found[2] = {buffer_read(&b[4], what), buffer_read(&b[5], what)};
  for (int i = 0; i < 2 && check; i++)
    if (memcmp(found[i], expected[i], (size_t)(pages * page) * 2)) fail_msg("%s: the pages of %s are not what they must be", what, i ? "values" : "keys");
  for (int i = 0; i < 6; i++) buffer_close(&b[i]);
  free(k), free(v), free(expected[0]), free(expected[1]), free(found[0]);
  return (struct outcome){found[1], (size_t)(pages * page) * 2};
}

static struct outcome copy(const struct shape *s, uint64_t *seed, bool check, const char *what) {
  enum { PAGES = 4, LAYERS = 3, FROM = 2, TO = 1 };
  int64_t page = (int64_t)s->heads * s->head_dim * s->page_size, halfs = PAGES * LAYERS * page;
  uint16_t *k = random_halfs(seed, 1, halfs, halfs, 1, false), *v = random_halfs(seed, 1, halfs, halfs, 1, false);
  struct buffer bk = buffer_open(k, (size_t)halfs * 2), bv = buffer_open(v, (size_t)halfs * 2);
  struct phi3_copy_page p = {bk.p, bv.p, PAGES * page, page, FROM, TO};
  assert_ok(gpu_launch(test_device(), KERNEL_copy_pages, (unsigned[]){2, LAYERS, 2}, 256, 0, &p, &e));
  for (int64_t l = 0; l < LAYERS; l++) {
    memcpy(k + (l * PAGES + TO) * page, k + (l * PAGES + FROM) * page, (size_t)page * 2);
    memcpy(v + (l * PAGES + TO) * page, v + (l * PAGES + FROM) * page, (size_t)page * 2);
  }
  uint8_t *fk = buffer_read(&bk, what), *fv = buffer_read(&bv, what);
  if (check && (memcmp(fk, k, (size_t)halfs * 2) || memcmp(fv, v, (size_t)halfs * 2))) fail_msg("%s: the pages are not what they must be", what);
  buffer_close(&bk), buffer_close(&bv);
  free(k), free(v), free(fk);
  return (struct outcome){fv, (size_t)halfs * 2};
}

struct outcome case_rows(enum gpu_kernel k, int shape, uint64_t seed, bool check) {
  const struct shape *s = &shapes[shape];
  char what[120];
  snprintf(what, sizeof what, "%s, shape %d", gpu_kernel_name(k), shape);
  switch (k) {
  case KERNEL_embed_rows: return embed(s, &seed, check, what);
  case KERNEL_rmsnorm_rows: return rmsnorm(s, &seed, check, what);
  case KERNEL_rope_rows: return rope(s, &seed, check, what);
  case KERNEL_append_rows: return append(s, &seed, check, what);
  default: return copy(s, &seed, check, what);
  }
}

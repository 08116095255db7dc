// linear: every epilogue, decode and prefill kernels, against sums in double over the same fp16 numbers.
#include "tests/gpu/gpu_test.h"
#include "runtime/base/mem.h"
#include <math.h>

enum { POSITIONS = 40, PAGE = 16, SEQS = 3, MAX_ROWS = 144 };

// Rows are those that the kernel is chosen for. Widths stand around the edges of tiles (16), groups (32) and chunks (1024).
struct shape {
  int32_t rows, k, features; // features: of the output; qkv makes its own from heads
  int32_t heads, kv_heads, head_dim, rotary;
  enum { PLAIN, OUTLIERS, LIMITS } inputs; // LIMITS: every fifth at fp16's largest value, and many an output passes it
  int32_t multiprocessors; // that the launch is told of, 0: the device's own; by them tiles are cut into halves
};

static const struct shape few[] = {{1, 32, 16, 2, 1, 32, 32, PLAIN, 0},    {8, 1056, 40, 2, 2, 24, 24, OUTLIERS, 0},   {3, 31, 7, 3, 1, 8, 8, PLAIN, 0},
                                   {5, 1024, 17, 1, 1, 96, 96, PLAIN, 0},  {7, 2081, 95, 4, 2, 32, 12, OUTLIERS, 0},   {2, 8200, 33, 2, 1, 80, 40, PLAIN, 0},
                                   {1, 3072, 193, 2, 2, 96, 96, OUTLIERS, 0},  {1, 5000, 9, 1, 1, 128, 128, PLAIN, 0},
                                   {4, 96, 40, 2, 1, 32, 32, LIMITS, 0}};
static const struct shape some[] = {{9, 32, 16, 2, 1, 32, 32, PLAIN, 0}, {16, 1025, 47, 3, 3, 24, 20, OUTLIERS, 0}, {13, 96, 1, 1, 1, 64, 64, PLAIN, 0}, {16, 3104, 65, 2, 1, 96, 96, PLAIN, 0},
                                    {9, 96, 40, 2, 1, 32, 32, LIMITS, 0}};
static const struct shape fused[] = {{1, 32, 16, 2, 1, 32, 32, PLAIN, 0}, {2, 1056, 40, 2, 2, 24, 24, OUTLIERS, 0}, {1, 3072, 95, 2, 2, 96, 96, OUTLIERS, 0}, {2, 40, 7, 3, 1, 8, 8, PLAIN, 0},
                                     {2, 96, 40, 2, 1, 32, 32, LIMITS, 0},
                                     {2, 1000, 9, 1, 1, 32, 16, PLAIN, 0}}; // a row that ends within a turn of the norm's chains, and no large value that hides it
// On the device's own multiprocessors these few tiles are halves; on one all are whole, on three the last of four is cut.
enum { WHOLE = 1, MIXED = 3 };
static const struct shape many[] = {{17, 32, 16, 2, 1, 32, 32, PLAIN, 0},     {17, 32, 16, 2, 1, 32, 32, PLAIN, WHOLE},
                                    {128, 64, 128, 2, 2, 24, 24, OUTLIERS, 0}, {128, 64, 128, 2, 2, 24, 24, OUTLIERS, WHOLE},
                                    {129, 1056, 130, 3, 1, 96, 96, PLAIN, 0}, {129, 1056, 130, 3, 1, 96, 96, PLAIN, MIXED},
                                    {33, 2049, 127, 4, 2, 32, 12, OUTLIERS, 0}, {127, 31, 129, 2, 1, 80, 40, PLAIN, WHOLE},
                                    {130, 2081, 65, 3, 1, 8, 8, PLAIN, WHOLE}, {20, 96, 40, 2, 1, 32, 32, LIMITS, 0}, {130, 40, 7, 3, 1, 8, 8, PLAIN, 0}};

static const struct shape *shapes_of(enum gpu_kernel k, int *n) {
  if (k >= KERNEL_unpack_rows) return *n = sizeof some / sizeof *some, some;
  if (k >= KERNEL_decode_norm_store && k <= KERNEL_decode_norm_qkv) return *n = sizeof fused / sizeof *fused, fused;
  if (k >= KERNEL_decode_store_16 && k <= KERNEL_decode_qkv_16) return *n = sizeof some / sizeof *some, some;
  if (k >= KERNEL_decode_store_8 && k <= KERNEL_decode_qkv_8) return *n = sizeof few / sizeof *few, few;
  return *n = sizeof many / sizeof *many, many;
}

int linear_shapes(enum gpu_kernel k) {
  int n;
  shapes_of(k, &n);
  return n;
}

static enum gpu_epilogue epilogue_of(enum gpu_kernel k) {
  switch (k) {
  case KERNEL_unpack_rows: case KERNEL_linear_store: case KERNEL_decode_store_8: case KERNEL_decode_store_16: case KERNEL_decode_norm_store: return EPILOGUE_STORE;
  case KERNEL_linear_add: case KERNEL_decode_add_8: case KERNEL_decode_add_16: return EPILOGUE_ADD;
  case KERNEL_linear_silu: case KERNEL_decode_silu_8: case KERNEL_decode_silu_16: case KERNEL_decode_norm_silu: case KERNEL_apply_silu: return EPILOGUE_SILU;
  default: return EPILOGUE_QKV;
  }
}

// Everything of one run: host copies and device buffers.
struct work {
  struct shape s;
  enum gpu_epilogue epilogue;
  bool norm;
  int64_t w_rows, ldx, ld_out;
  uint16_t *w, *x;
  double *y; // [rows, w_rows]
  float *residual, *gain, *before, *rope;
  struct phi3_row rows[MAX_ROWS];
  int32_t tables[SEQS * (POSITIONS / PAGE + 1)];
  struct row_order order;
  struct phi3_qkv_part *parts;
  struct config config;
  struct phi3_linear p;
  struct buffer b_w, b_x, b_out, b_residual, b_gain, b_parts, b_rows, b_rope, b_keys, b_values, b_tables, b_sums;
};

static struct err e;

// Packed as kernels.h says, written apart from pack.c.
static uint16_t *packed(const struct work *w) {
  int64_t groups = (w->s.k + 31) / 32;
  uint16_t *out = calloc((size_t)(w->order.tiles * groups * 512), sizeof *out);
  for (int64_t t = 0; t < w->order.tiles; t++)
    for (int64_t g = 0; g < groups; g++)
      for (int h = 0; h < 2; h++)
        for (int lane = 0; lane < 32; lane++)
          for (int i = 0; i < 8; i++) {
            int32_t row = w->order.rows[16 * t + 8 * h + lane / 4];
            int64_t k = 32 * g + 8 * (lane % 4) + i;
            if (row >= 0 && k < w->s.k) out[(((t * groups + g) * 2 + h) * 32 + lane) * 8 + i] = w->w[row * w->s.k + k];
          }
  return out;
}

static void make_order(struct work *w) {
  const struct shape *s = &w->s;
  w->config = (struct config){.num_heads = s->heads, .num_kv_heads = s->kv_heads, .head_dim = s->head_dim, .rotary_dim = s->rotary};
  if (w->epilogue == EPILOGUE_QKV) assert_ok(row_order_qkv(&w->order, &w->parts, &w->config, &e));
  else if (w->epilogue == EPILOGUE_SILU) assert_ok(row_order_gate_up(&w->order, s->features, &e));
  else assert_ok(row_order_plain(&w->order, s->features, &e));
  w->w_rows = w->epilogue == EPILOGUE_QKV ? (int64_t)(s->heads + 2 * s->kv_heads) * s->head_dim : w->epilogue == EPILOGUE_SILU ? 2 * s->features : s->features;
}

static void make_inputs(struct work *w, uint64_t *seed) {
  const struct shape *s = &w->s;
  w->ldx = (s->k + 31) / 32 * 32;
  w->w = random_halfs(seed, w->w_rows, s->k, s->k, 1 / sqrt(s->k), false);
  if (w->norm) {
    w->residual = random_floats(seed, (int64_t)s->rows * s->k, 1, s->inputs == OUTLIERS);
    w->gain = random_floats(seed, s->k, 1, false);
    for (int64_t i = 0; i < s->k && s->inputs == LIMITS; i += 5) w->gain[i] = i % 2 ? -70000 : 70000;
    w->x = calloc((size_t)(s->rows * w->ldx), sizeof *w->x);
    for (int64_t r = 0; r < s->rows; r++) { // the rounding to fp16 is part of the contract
      double sum = 0;
      for (int64_t i = 0; i < s->k; i++) sum += (double)w->residual[r * s->k + i] * w->residual[r * s->k + i];
      for (int64_t i = 0; i < s->k; i++)
        w->x[r * w->ldx + i] = f32_to_f16((float)saturated(w->residual[r * s->k + i] / sqrt(sum / s->k + 1e-5) * w->gain[i]));
    }
  } else {
    w->x = random_halfs(seed, s->rows, s->k, w->ldx, 1, s->inputs == OUTLIERS);
    for (int64_t i = 0; i < s->rows * s->k && s->inputs == LIMITS; i += 5) w->x[i / s->k * w->ldx + i % s->k] = i % 2 ? 0xfbff : 0x7bff;
  }
  w->y = calloc((size_t)(s->rows * w->w_rows), sizeof *w->y);
  for (int64_t r = 0; r < s->rows; r++)
    for (int64_t o = 0; o < w->w_rows; o++)
      for (int64_t k = 0; k < s->k; k++) w->y[r * w->w_rows + o] += (double)f16_to_f32(w->x[r * w->ldx + k]) * f16_to_f32(w->w[o * s->k + k]);
}

static void make_step(struct work *w, uint64_t *seed) {
  const struct shape *s = &w->s;
  int32_t half = s->rotary / 2, pages = SEQS * (POSITIONS / PAGE + 1);
  for (int32_t r = 0; r < s->rows; r++) w->rows[r] = (struct phi3_row){r / POSITIONS % SEQS, r % POSITIONS, r % 2};
  if (s->rows > POSITIONS * SEQS) // more rows than tokens have room: the last write of a slot would be anyone's
    for (int32_t r = POSITIONS * SEQS; r < s->rows; r++) w->rows[r] = (struct phi3_row){r % SEQS, POSITIONS + (r - POSITIONS * SEQS) / SEQS, 0};
  for (int32_t i = 0; i < pages; i++) w->tables[i] = pages - 1 - i;
  int64_t count = 2ll * (POSITIONS + PAGE) * half * 2;
  w->rope = calloc((size_t)count, sizeof *w->rope);
  for (int64_t i = 0; i < count; i += 2) {
    double angle = 6.28 * test_uniform(seed);
    w->rope[i] = (float)cos(angle);
    w->rope[i + 1] = (float)sin(angle);
  }
}

static void make_parameters(struct work *w) {
  const struct shape *s = &w->s;
  uint16_t *weights = packed(w);
  int64_t groups = (s->k + 31) / 32, pages = SEQS * (POSITIONS / PAGE + 1), page = (int64_t)s->kv_heads * s->head_dim * PAGE;
  w->b_w = buffer_open(weights, (size_t)(w->order.tiles * groups * 512) * 2);
  free(weights);
  w->p = (struct phi3_linear){.w = {w->b_w.p, w->order.tiles, (int32_t)groups}, .rows = s->rows, .ldx = (int32_t)w->ldx, .features = s->features};
  if (w->norm) {
    w->b_residual = buffer_open(w->residual, (size_t)(s->rows * s->k) * 4);
    w->b_gain = buffer_open(w->gain, (size_t)s->k * 4);
    w->p.residual = w->b_residual.p, w->p.gain = w->b_gain.p, w->p.hidden = s->k, w->p.eps = 1e-5f;
  } else {
    w->b_x = buffer_open(w->x, (size_t)(s->rows * w->ldx) * 2);
    w->p.x = w->b_x.p;
  }
  if (w->epilogue == EPILOGUE_QKV) {
    w->ld_out = s->heads * s->head_dim;
    w->b_out = buffer_open(NULL, (size_t)(s->rows * w->ld_out) * 2);
    w->b_parts = buffer_open(w->parts, 2 * (size_t)w->order.tiles * sizeof *w->parts);
    w->b_rows = buffer_open(w->rows, (size_t)s->rows * sizeof w->rows[0]);
    w->b_rope = buffer_open(w->rope, 2ull * (POSITIONS + PAGE) * (size_t)s->rotary * 4);
    w->b_keys = buffer_open(NULL, (size_t)(pages * page) * 2);
    w->b_values = buffer_open(NULL, (size_t)(pages * page) * 2);
    w->b_tables = buffer_open(w->tables, sizeof w->tables);
    w->p.half_out = w->b_out.p, w->p.parts = w->b_parts.p, w->p.row_info = w->b_rows.p, w->p.rope = w->b_rope.p;
    w->p.rope_positions = POSITIONS + PAGE, w->p.rotary_half = s->rotary / 2, w->p.head_dim = s->head_dim, w->p.kv_heads = s->kv_heads;
    w->p.cache = (struct phi3_cache){w->b_keys.p, w->b_values.p, w->b_tables.p, POSITIONS / PAGE + 1, PAGE};
  } else if (w->epilogue == EPILOGUE_SILU) {
    w->ld_out = s->features;
    w->b_out = buffer_open(NULL, (size_t)(s->rows * w->ld_out) * 2);
    w->p.half_out = w->b_out.p;
  } else {
    w->ld_out = s->features;
    w->b_out = buffer_open(w->epilogue == EPILOGUE_ADD ? w->before : NULL, (size_t)(s->rows * w->ld_out) * 4);
    w->p.out = w->b_out.p;
  }
  w->p.ld_out = (int32_t)w->ld_out;
}

// The exact value of channel c of a head of row r; `first` is the head's first row of the matrix.
static double rotated(const struct work *w, int32_t r, int64_t first, int32_t c) {
  const struct shape *s = &w->s;
  const double *y = w->y + r * w->w_rows + first;
  int32_t half = s->rotary / 2;
  if (c >= s->rotary) return y[c];
  const float *at = w->rope + 2 * (((int64_t)w->rows[r].rope_set * (POSITIONS + PAGE) + w->rows[r].position) * half + c % half);
  return c < half ? y[c] * at[0] - y[c + half] * at[1] : y[c] * at[0] + y[c - half] * at[1];
}

static void check_qkv(const struct work *w, const uint16_t *q, const uint16_t *keys, const uint16_t *values, const char *what) {
  const struct shape *s = &w->s;
  struct measure m = {0};
  int64_t dim = s->head_dim, written = 0, pages = SEQS * (POSITIONS / PAGE + 1);
  for (int32_t r = 0; r < s->rows; r++) {
    for (int64_t h = 0; h < s->heads; h++)
      for (int32_t c = 0; c < dim; c++) measure_add(&m, f16_to_f32(q[r * w->ld_out + h * dim + c]), saturated(rotated(w, r, h * dim, c)));
    int64_t page = w->tables[w->rows[r].seq * (POSITIONS / PAGE + 1) + w->rows[r].position / PAGE], slot = w->rows[r].position % PAGE;
    for (int64_t h = 0; h < s->kv_heads; h++)
      for (int32_t c = 0; c < dim; c++, written += 2) {
        int64_t head = (page * s->kv_heads + h) * PAGE * dim;
        measure_add(&m, f16_to_f32(keys[head + slot * dim + c]), saturated(rotated(w, r, (s->heads + h) * dim, c)));
        measure_add(&m, f16_to_f32(values[head + c * PAGE + slot]), saturated(w->y[r * w->w_rows + (s->heads + s->kv_heads + h) * dim + c]));
      }
  }
  measure_check(&m, 1e-6, !w->norm && s->inputs != LIMITS, what); // at the limit most outputs are exact, and rounding costs the others alone
  int64_t poisoned = 0;
  for (int64_t i = 0; i < pages * s->kv_heads * PAGE * dim; i++) poisoned += (keys[i] == 0xffff) + (values[i] == 0xffff);
  if (poisoned != 2 * pages * s->kv_heads * PAGE * dim - written) fail_msg("%s: wrote into slots of other tokens", what);
}

static void check_plain(const struct work *w, const void *out, const char *what) {
  const struct shape *s = &w->s;
  struct measure m = {0};
  for (int64_t r = 0; r < s->rows; r++)
    for (int64_t f = 0; f < s->features; f++) {
      const double *y = w->y + r * w->w_rows;
      int64_t at = r * w->ld_out + f;
      if (w->epilogue == EPILOGUE_SILU) measure_add(&m, f16_to_f32(((const uint16_t *)out)[at]), saturated(y[f] / (1 + exp(-y[f])) * y[f + s->features]));
      else measure_add(&m, ((const float *)out)[at], y[f] + (w->epilogue == EPILOGUE_ADD ? (double)w->before[at] : 0));
    }
  // With the norm inside, a value may round to the other fp16 neighbour than the reference's.
  measure_check(&m, w->epilogue == EPILOGUE_SILU || w->norm ? 1e-6 : 1e-11, w->epilogue == EPILOGUE_SILU && !w->norm && s->inputs != LIMITS, what);
}

static void launch(enum gpu_epilogue epilogue, struct phi3_linear *p, int32_t multiprocessors) {
  struct gpu_device *d = test_device();
  int32_t own = d->multiprocessors;
  if (multiprocessors) d->multiprocessors = multiprocessors;
  assert_ok(gpu_linear(d, epilogue, p, &e));
  d->multiprocessors = own;
}

// The same rows among many, which another kernel serves, in half and in whole tiles: the same bits.
static void check_among_many(const struct work *w, const float *out, int32_t multiprocessors, const char *what) {
  enum { MANY = 33 };
  uint16_t *x = malloc((size_t)(MANY * w->ldx) * sizeof *x);
  for (int64_t r = 0; r < MANY; r++) memcpy(x + r * w->ldx, w->x + r % w->s.rows * w->ldx, (size_t)w->ldx * sizeof *x);
  struct buffer b_x = buffer_open(x, (size_t)(MANY * w->ldx) * sizeof *x), b_out = buffer_open(NULL, (size_t)(MANY * w->ld_out) * sizeof *out);
  struct phi3_linear p = w->p;
  p.x = b_x.p, p.out = b_out.p, p.rows = MANY;
  launch(w->epilogue, &p, multiprocessors);
  float *all = buffer_read(&b_out, what);
  for (int64_t r = 0; r < MANY; r++)
    if (memcmp(all + r * w->ld_out, out + r % w->s.rows * w->ld_out, (size_t)w->s.features * sizeof *out))
      fail_msg("%s: row %d has other bits among %d rows", what, (int)(r % w->s.rows), MANY);
  buffer_close(&b_x), buffer_close(&b_out);
  free(x), free(all);
}

static void free_work(struct work *w) {
  void *owned[] = {w->w, w->x, w->y, w->residual, w->gain, w->before, w->rope};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
  struct buffer *buffers[] = {&w->b_w, &w->b_x, &w->b_out, &w->b_residual, &w->b_gain, &w->b_parts, &w->b_rows, &w->b_rope, &w->b_keys, &w->b_values, &w->b_tables, &w->b_sums};
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) buffer_close(buffers[i]);
  row_order_free(&w->order);
  mem_free(w->parts);
}

// The sums as cuBLAS leaves them, in the order of the packed rows.
static void make_sums(struct work *w) {
  int64_t packed_rows = 16ll * w->order.tiles;
  float *sums = calloc((size_t)(w->s.rows * packed_rows), sizeof *sums);
  for (int64_t r = 0; r < w->s.rows; r++)
    for (int64_t i = 0; i < packed_rows; i++)
      if (w->order.rows[i] >= 0) sums[r * packed_rows + i] = (float)w->y[r * w->w_rows + w->order.rows[i]];
  w->b_sums = buffer_open(sums, (size_t)(w->s.rows * packed_rows) * 4);
  w->p.sums = w->b_sums.p;
  free(sums);
}

// Every row in its plain place, zeros in the padding.
static struct outcome unpack(struct work *w, bool check, const char *what) {
  int64_t ld = w->p.w.groups * 32ll, rows = 16ll * w->p.w.tiles;
  struct buffer out = buffer_open(NULL, (size_t)(rows * ld) * 2);
  struct phi3_unpack p = {w->p.w, out.p};
  assert_ok(gpu_unpack(test_device(), &p, &e));
  struct outcome o = {buffer_read(&out, what), out.bytes};
  for (int64_t r = 0; r < rows && check; r++)
    for (int64_t c = 0; c < ld; c++) {
      uint16_t expected = w->order.rows[r] >= 0 && c < w->s.k ? w->w[w->order.rows[r] * w->s.k + c] : 0;
      if (((uint16_t *)o.data)[r * ld + c] != expected) fail_msg("%s: row %d, column %d", what, (int)r, (int)c);
    }
  buffer_close(&out);
  return o;
}

struct outcome case_linear(enum gpu_kernel k, int shape, uint64_t seed, bool check) {
  int n;
  struct work w = {.epilogue = epilogue_of(k), .norm = k >= KERNEL_decode_norm_store && k <= KERNEL_decode_norm_qkv};
  w.s = shapes_of(k, &n)[shape];
  char what[160];
  snprintf(what, sizeof what, "%s, %d rows, k %d, %d features, multiprocessors %d", gpu_kernel_name(k), w.s.rows, w.s.k, w.s.features, w.s.multiprocessors);
  make_order(&w);
  make_inputs(&w, &seed);
  make_step(&w, &seed);
  w.before = random_floats(&seed, (int64_t)w.s.rows * w.s.features, 1, w.s.inputs == OUTLIERS);
  make_parameters(&w);
  if (k == KERNEL_unpack_rows) {
    struct outcome o = unpack(&w, check, what);
    free_work(&w);
    return o;
  }
  if (k >= KERNEL_unpack_rows) {
    make_sums(&w);
    assert_ok(gpu_apply(test_device(), w.epilogue, &w.p, &e));
  } else {
    launch(w.epilogue, &w.p, w.s.multiprocessors);
  }
  struct outcome o = {buffer_read(&w.b_out, what), w.b_out.bytes};
  if (w.epilogue == EPILOGUE_QKV) {
    uint8_t *keys = buffer_read(&w.b_keys, what), *values = buffer_read(&w.b_values, what);
    if (check) check_qkv(&w, o.data, (uint16_t *)keys, (uint16_t *)values, what);
    o.data = realloc(o.data, o.bytes + 2 * w.b_keys.bytes);
    memcpy((uint8_t *)o.data + o.bytes, keys, w.b_keys.bytes);
    memcpy((uint8_t *)o.data + o.bytes + w.b_keys.bytes, values, w.b_keys.bytes);
    o.bytes += 2 * w.b_keys.bytes;
    free(keys), free(values);
  } else if (check) {
    check_plain(&w, o.data, what);
    for (int32_t one = 0; one < 2 && w.epilogue == EPILOGUE_STORE && !w.norm && w.s.rows <= PHI3_DECODE_ROWS; one++)
      check_among_many(&w, o.data, one ? WHOLE : 0, what);
  }
  free_work(&w);
  return o;
}

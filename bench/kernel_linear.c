// Projections with all epilogues, decode and prefill, at Phi-3-mini's five matrices.
#include "bench/kernel_bench.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <string.h>

// Relative errors that pass: of sums that stay fp32, and of what is rounded to fp16 on the way in or out (NMSE 1e-6).
static const double gate_f32 = 1e-5, gate_f16 = 1e-3;

enum { CHECKED_ROWS = 4, CHECKED_FEATURES = 96 };

static enum gpu_epilogue epilogue_of(enum gpu_kernel k) {
  const char *name = gpu_kernel_name(k);
  return strstr(name, "qkv") ? EPILOGUE_QKV : strstr(name, "silu") ? EPILOGUE_SILU : strstr(name, "add") ? EPILOGUE_ADD : EPILOGUE_STORE;
}

// The epilogues alone, on sums that cuBLAS left.
static bool is_apply(enum gpu_kernel k) { return strstr(gpu_kernel_name(k), "apply") != NULL; }
static bool has_norm(enum gpu_kernel k) { return strstr(gpu_kernel_name(k), "norm") != NULL; }

// --- cases

struct sweep {
  int32_t rows[8];      // ended by 0
  int32_t published[3]; // of them
};

static struct sweep sweep_of(enum gpu_kernel k) {
  const char *name = gpu_kernel_name(k);
  if (has_norm(k)) return (struct sweep){{1, 2}, {1}};
  if (strstr(name, "_16")) return (struct sweep){{9, 12, 16}, {16}};
  if (strstr(name, "decode")) return (struct sweep){{1, 2, 4, 8}, {1, 8}};
  return (struct sweep){{32, 64, 128, 256, 512, 1024, 2048}, {512, 2048}};
}

static bool add_rows(struct case_list *l, enum gpu_kernel k, const char *matrix, int32_t features, int32_t depth, struct err *e) {
  struct sweep s = sweep_of(k);
  for (int i = 0; i < 8 && s.rows[i]; i++) {
    struct kernel_case c = {.kernel = k, .family = &linear_family, .variant = matrix, .rows = s.rows[i], .k = depth, .features = features};
    for (int j = 0; j < 3; j++) c.published |= s.published[j] == s.rows[i];
    if (strcmp(matrix, "head") == 0 && c.rows > PHI3_DECODE_ROWS) { // few rows of logits are wanted of a prompt
      if (c.rows > 256) break;
      c.published = c.rows == 64;
    }
    if (!case_add(l, &c, e, "%s/rows:%d", matrix, c.rows)) return false;
  }
  return true;
}

static bool add_cases(struct case_list *l, enum gpu_kernel k, struct err *e) {
  switch (epilogue_of(k)) {
  case EPILOGUE_QKV: return add_rows(l, k, "qkv", 3 * HIDDEN, HIDDEN, e);
  case EPILOGUE_SILU: return add_rows(l, k, "gate_up", INTERMEDIATE, HIDDEN, e);
  case EPILOGUE_ADD: return add_rows(l, k, "o", HIDDEN, HIDDEN, e) && add_rows(l, k, "down", HIDDEN, INTERMEDIATE, e);
  default: return add_rows(l, k, "head", VOCAB, HIDDEN, e);
  }
}

// --- inputs

struct linear_work {
  const struct kernel_case *c;
  enum gpu_epilogue epilogue;
  bool norm, decode, apply;
  int64_t w_rows;           // of the matrix, plain
  uint16_t *w, *x;          // fp16 [w_rows, k], [rows, k]
  float *residual, *gain, *before, *rope, *sums;
  struct phi3_row *row_info;
  int32_t *table;           // pages of the rows
  int32_t stride, num_pages;
  struct row_order order;
  struct phi3_qkv_part *parts;
  struct phi3_linear p;
  struct device_buffer weights, in, gains, sums_there, out, parts_there, info, angles, tables, keys, values;
};

// Plain rows to the device's order by the runtime's own packer.
static bool send_weights(struct bench_device *d, struct linear_work *w, struct err *e) {
  int64_t k = w->c->k;
  struct config config = {.num_heads = HEADS, .num_kv_heads = HEADS, .head_dim = HEAD_DIM, .rotary_dim = HEAD_DIM};
  bool ok = w->epilogue == EPILOGUE_QKV    ? row_order_qkv(&w->order, &w->parts, &config, e)
            : w->epilogue == EPILOGUE_SILU ? row_order_gate_up(&w->order, w->c->features, e)
                                           : row_order_plain(&w->order, w->c->features, e);
  if (!ok) return false;
  struct tensor t = {.name = w->c->variant, .type = DTYPE_F16, .dims = 2, .rows = w->w_rows, .cols = k, .data = w->w, .bytes = w->w_rows * k * 2};
  struct matrix m = {.rows = w->w_rows, .cols = k, .num_parts = 1, .parts = {{.tensor = &t}}};
  struct pack_report report = {0};
  int64_t halfs = packed_halfs(&w->order, k);
  uint16_t *packed = mem_alloc((size_t)halfs, sizeof *packed, "packed weights", e);
  ok = packed && pack_matrix(&m, &w->order, packed, d->pool, &report, e) && buffer_open(d, &w->weights, packed, (size_t)halfs * 2, e);
  mem_free(packed);
  w->p.w = (struct phi3_weights){w->weights.p, w->order.tiles, (int32_t)(k / PHI3_GROUP_K)};
  return ok;
}

// What the projection would be, for the epilogues alone: random, in the order of the packed rows.
static bool make_sums(struct bench_device *d, struct linear_work *w, uint64_t seed, struct err *e) {
  int64_t count = (int64_t)w->c->rows * w->order.tiles * PHI3_TILE_ROWS;
  w->sums = data_floats(d, count, 1, seed, e);
  return w->sums && buffer_open(d, &w->sums_there, w->sums, (size_t)count * 4, e);
}

// Of a prefill the rows are one sequence's from position 0 on; of a decode step they are sequences with a thousand tokens each.
static bool make_rows(struct bench_device *d, struct linear_work *w, struct err *e) {
  enum { BEFORE = 1000 };
  int32_t rows = w->c->rows;
  w->stride = POSITIONS / PAGE_TOKENS;
  w->num_pages = w->decode ? rows : (rows + PAGE_TOKENS - 1) / PAGE_TOKENS;
  size_t entries = (size_t)(w->decode ? rows : 1) * (size_t)w->stride, page = (size_t)HEADS * HEAD_DIM * PAGE_TOKENS * 2;
  w->row_info = mem_alloc((size_t)rows, sizeof *w->row_info, "rows", e);
  if (w->row_info) w->table = mem_alloc(entries, sizeof *w->table, "block tables", e);
  if (!w->table) return false;
  for (int32_t r = 0; r < rows; r++) w->row_info[r] = w->decode ? (struct phi3_row){.seq = r, .position = BEFORE + r} : (struct phi3_row){.position = r};
  for (int32_t r = 0; r < rows; r++) w->table[w->row_info[r].seq * w->stride + w->row_info[r].position / PAGE_TOKENS] = w->num_pages - 1 - (w->decode ? r : r / PAGE_TOKENS);
  w->rope = data_rope(POSITIONS, HEAD_DIM, e);
  return w->rope && buffer_open(d, &w->info, w->row_info, (size_t)rows * sizeof *w->row_info, e) && buffer_open(d, &w->tables, w->table, entries * sizeof *w->table, e) &&
         buffer_open(d, &w->angles, w->rope, (size_t)POSITIONS * HEAD_DIM * sizeof(float), e) && buffer_open(d, &w->keys, NULL, (size_t)w->num_pages * page, e) &&
         buffer_open(d, &w->values, NULL, (size_t)w->num_pages * page, e) &&
         buffer_open(d, &w->parts_there, w->parts, 2 * (size_t)w->order.tiles * sizeof *w->parts, e);
}

static bool make_input(struct bench_device *d, struct linear_work *w, uint64_t seed, struct err *e) {
  int64_t rows = w->c->rows, k = w->c->k;
  if (!w->norm) {
    w->x = data_halfs(d, rows * k, 1, seed, e);
    return w->x && buffer_open(d, &w->in, w->x, (size_t)(rows * k) * 2, e);
  }
  w->residual = data_residual(d, rows, k, seed, e);
  w->gain = data_floats(d, k, 1, seed + 1, e);
  return w->residual && w->gain && buffer_open(d, &w->in, w->residual, (size_t)(rows * k) * 4, e) && buffer_open(d, &w->gains, w->gain, (size_t)k * 4, e);
}

static bool make_output(struct bench_device *d, struct linear_work *w, uint64_t seed, struct err *e) {
  int64_t count = (int64_t)w->c->rows * w->p.ld_out;
  bool half = w->epilogue == EPILOGUE_SILU || w->epilogue == EPILOGUE_QKV;
  if (w->epilogue == EPILOGUE_ADD && !(w->before = data_residual(d, w->c->rows, w->p.ld_out, seed, e))) return false;
  return buffer_open(d, &w->out, w->before, (size_t)count * (half ? 2 : 4), e);
}

static void set_parameters(struct linear_work *w) {
  struct phi3_linear *p = &w->p;
  p->rows = w->c->rows;
  p->features = w->c->features;
  p->sums = w->sums_there.p;
  if (w->norm) p->residual = w->in.p, p->gain = w->gains.p, p->hidden = w->c->k, p->eps = 1e-5f;
  else p->x = w->in.p, p->ldx = w->c->k;
  if (w->epilogue == EPILOGUE_SILU || w->epilogue == EPILOGUE_QKV) p->half_out = w->out.p;
  else p->out = w->out.p;
  if (w->epilogue != EPILOGUE_QKV) return;
  p->parts = w->parts_there.p, p->row_info = w->info.p;
  p->rope = w->angles.p, p->rope_positions = POSITIONS, p->rotary_half = HEAD_DIM / 2;
  p->head_dim = HEAD_DIM, p->kv_heads = HEADS;
  p->cache = (struct phi3_cache){w->keys.p, w->values.p, w->tables.p, w->stride, PAGE_TOKENS};
}

static bool open_linear(struct bench_device *d, const struct kernel_case *c, uint64_t seed, void **work, struct err *e) {
  struct linear_work *w = mem_alloc(1, sizeof *w, "a case", e);
  if (!(*work = w)) return false;
  *w = (struct linear_work){.c = c, .epilogue = epilogue_of(c->kernel), .norm = has_norm(c->kernel), .apply = is_apply(c->kernel), .decode = c->rows <= PHI3_DECODE_ROWS};
  w->w_rows = w->epilogue == EPILOGUE_SILU ? 2ll * c->features : c->features;
  w->p.ld_out = w->epilogue == EPILOGUE_QKV ? HEADS * HEAD_DIM : c->features;
  w->w = data_halfs(d, w->w_rows * c->k, 1 / sqrt(c->k), seed, e);
  if (!w->w || !send_weights(d, w, e) || !(w->apply ? make_sums : make_input)(d, w, seed + 1000, e) || !make_output(d, w, seed + 2000, e) ||
      (w->epilogue == EPILOGUE_QKV && !make_rows(d, w, e)))
    return false;
  set_parameters(w);
  return true;
}

static void close_linear(struct bench_device *d, void *work) {
  struct linear_work *w = work;
  if (!w) return;
  void *owned[] = {w->w, w->x, w->residual, w->gain, w->before, w->rope, w->sums, w->row_info, w->table, w->parts};
  struct device_buffer *buffers[] = {&w->weights, &w->in, &w->gains, &w->sums_there, &w->out, &w->parts_there, &w->info, &w->angles, &w->tables, &w->keys, &w->values};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) mem_free(owned[i]);
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) buffer_close(d, buffers[i]);
  row_order_free(&w->order);
  mem_free(w);
}

static bool reset_linear(struct bench_device *d, void *work, struct err *e) {
  struct linear_work *w = work;
  if (w->before) return buffer_write(d, &w->out, w->before, e);
  return buffer_poison(d, &w->out, e) && (!w->keys.p || (buffer_poison(d, &w->keys, e) && buffer_poison(d, &w->values, e)));
}

static bool launch_linear(struct bench_device *d, void *work, struct err *e) {
  struct linear_work *w = work;
  return (w->apply ? gpu_apply : gpu_linear)(&d->gpu, w->epilogue, &w->p, e);
}

// --- check

// The activations of a row as the contract has them: in fp16, the norm's result too.
static void input_row(const struct linear_work *w, int64_t r, double *x) {
  int64_t k = w->c->k;
  double sum = 0;
  for (int64_t i = 0; i < k && w->norm; i++) sum += (double)w->residual[r * k + i] * w->residual[r * k + i];
  for (int64_t i = 0; i < k; i++)
    x[i] = w->norm ? f16_to_f32(f32_to_f16((float)(w->residual[r * k + i] / sqrt(sum / (double)k + 1e-5) * w->gain[i]))) : f16_to_f32(w->x[r * k + i]);
}

// Row `row` of the matrix, in the order of the packed rows.
static int64_t packed_row(const struct linear_work *w, int64_t row) {
  int64_t at = 0;
  while (w->order.rows[at] != row) at++;
  return at;
}

// y of the matrix's row for the activations x, which are row r's.
static double dot(const struct linear_work *w, const double *x, int64_t r, int64_t row) {
  if (w->sums) return w->sums[r * w->order.tiles * PHI3_TILE_ROWS + packed_row(w, row)];
  const uint16_t *weights = w->w + row * w->c->k;
  double sum = 0;
  for (int64_t i = 0; i < w->c->k; i++) sum += x[i] * f16_to_f32(weights[i]);
  return sum;
}

// Channel c of the head whose rows of the matrix begin at `first`; q and k are rotated.
static double head_channel(const struct linear_work *w, const double *x, int64_t r, int64_t first, int32_t c, bool rotated) {
  enum { HALF = HEAD_DIM / 2 };
  double y = dot(w, x, r, first + c);
  if (!rotated) return y;
  const float *at = w->rope + (int64_t)w->row_info[r].position * HEAD_DIM + 2 * (c % HALF);
  double partner = dot(w, x, r, first + (c + HALF) % HEAD_DIM);
  return c < HALF ? y * at[0] - partner * at[1] : y * at[0] + partner * at[1];
}

struct outputs {
  void *out;
  uint16_t *keys, *values;
};

// Row `feature` of qkv_proj: where its value lies, and what it must be.
static void check_qkv(const struct linear_work *w, const struct outputs *o, const double *x, int64_t r, int64_t feature, struct agreement *a) {
  int64_t part = feature / (HEADS * HEAD_DIM), head = feature / HEAD_DIM % HEADS, position = w->row_info[r].position, slot = position % PAGE_TOKENS;
  int32_t c = (int32_t)(feature % HEAD_DIM);
  double expected = half_range(head_channel(w, x, r, feature - c, c, part < 2));
  int64_t base = (w->table[w->row_info[r].seq * w->stride + position / PAGE_TOKENS] * (int64_t)HEADS + head) * PAGE_TOKENS * HEAD_DIM;
  uint16_t found = part == 0   ? ((const uint16_t *)o->out)[r * w->p.ld_out + head * HEAD_DIM + c]
                   : part == 1 ? o->keys[base + slot * HEAD_DIM + c]
                               : o->values[base + c * PAGE_TOKENS + slot];
  agreement_add(a, f16_to_f32(found), expected);
}

static void check_feature(const struct linear_work *w, const struct outputs *o, const double *x, int64_t r, int64_t f, struct agreement *a) {
  int64_t at = r * w->p.ld_out + f;
  if (w->epilogue == EPILOGUE_QKV) return check_qkv(w, o, x, r, f, a);
  double y = dot(w, x, r, f);
  if (w->epilogue == EPILOGUE_SILU) agreement_add(a, f16_to_f32(((const uint16_t *)o->out)[at]), half_range(y / (1 + exp(-y)) * dot(w, x, r, f + w->c->features)));
  else agreement_add(a, ((const float *)o->out)[at], y + (w->before ? (double)w->before[at] : 0));
}

// Slots of the pages that no row is stored in stay poison, and all others do not.
static int64_t unwritten(const struct linear_work *w, const struct outputs *o) {
  int64_t rows = w->c->rows, count = rows * w->p.ld_out, halfs = (int64_t)w->num_pages * HEADS * HEAD_DIM * PAGE_TOKENS;
  if (w->epilogue == EPILOGUE_ADD) return 0;
  if (w->epilogue == EPILOGUE_STORE) return count_poison_floats(o->out, count);
  int64_t n = count_poison_halfs(o->out, count);
  if (w->epilogue == EPILOGUE_QKV)
    n += count_poison_halfs(o->keys, halfs) + count_poison_halfs(o->values, halfs) - 2 * (halfs - rows * HEADS * HEAD_DIM);
  return n;
}

static bool read_outputs(struct bench_device *d, const struct linear_work *w, struct outputs *o, struct err *e) {
  *o = (struct outputs){0};
  if (!(o->out = buffer_read(d, &w->out, e))) return false;
  if (w->epilogue != EPILOGUE_QKV) return true;
  return (o->keys = buffer_read(d, &w->keys, e)) && (o->values = buffer_read(d, &w->values, e));
}

static bool check_linear(struct bench_device *d, void *work, struct agreement *a, struct err *e) {
  struct linear_work *w = work;
  struct outputs o;
  double *x = mem_alloc((size_t)w->c->k, sizeof *x, "a row of the check", e);
  bool ok = read_outputs(d, w, &o, e) && x;
  uint64_t state = 1;
  int64_t all = w->epilogue == EPILOGUE_SILU ? w->c->features : w->w_rows, last = w->c->rows - 1;
  a->gate = w->epilogue == EPILOGUE_SILU || w->epilogue == EPILOGUE_QKV || w->norm ? gate_f16 : gate_f32;
  for (int i = 0; i < CHECKED_ROWS && ok; i++) {
    int64_t r = i == 0 ? 0 : i == 1 ? last : (int64_t)(data_random(&state) % (uint64_t)w->c->rows);
    if (!w->apply) input_row(w, r, x);
    for (int j = 0; j < CHECKED_FEATURES; j++)
      check_feature(w, &o, x, r, j == 0 ? 0 : j == 1 ? all - 1 : (int64_t)(data_random(&state) % (uint64_t)all), a);
  }
  if (ok) a->unwritten = unwritten(w, &o);
  mem_free(x), mem_free(o.out), mem_free(o.keys), mem_free(o.values);
  return ok;
}

static struct gpu_cost cost_linear(const void *work) {
  const struct linear_work *w = work;
  return gpu_registry[w->c->kernel].cost(&w->p, (struct gpu_extent){0});
}

const struct family linear_family = {"struct phi3_linear", add_cases, open_linear, close_linear, reset_linear, launch_linear, check_linear, cost_linear};

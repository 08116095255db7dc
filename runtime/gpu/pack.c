#include "runtime/gpu/pack.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum { HALF_TILE = PHI3_TILE_ROWS / 2 };

static bool order_init(struct row_order *o, int64_t tiles, struct err *e) {
  *o = (struct row_order){0};
  o->rows = mem_alloc((size_t)tiles * PHI3_TILE_ROWS, sizeof *o->rows, "the order of packed rows", e);
  o->tiles = (int32_t)tiles;
  for (int64_t i = 0; o->rows && i < tiles * PHI3_TILE_ROWS; i++) o->rows[i] = -1;
  return o->rows != NULL;
}

void row_order_free(struct row_order *o) {
  mem_free(o->rows);
  *o = (struct row_order){0};
}

bool row_order_plain(struct row_order *o, int64_t features, struct err *e) {
  if (!order_init(o, (features + PHI3_TILE_ROWS - 1) / PHI3_TILE_ROWS, e)) return false;
  for (int64_t i = 0; i < features; i++) o->rows[i] = (int32_t)i;
  return true;
}

bool row_order_gate_up(struct row_order *o, int64_t intermediate, struct err *e) {
  if (!order_init(o, (intermediate + HALF_TILE - 1) / HALF_TILE, e)) return false;
  for (int64_t i = 0; i < intermediate; i++) {
    int32_t *tile = o->rows + i / HALF_TILE * PHI3_TILE_ROWS + i % HALF_TILE;
    tile[0] = (int32_t)i;
    tile[HALF_TILE] = (int32_t)(i + intermediate);
  }
  return true;
}

// One half tile: channels channel .. channel + 7 of a head, at most up to `end`.
static void put_part(struct row_order *o, struct phi3_qkv_part *parts, int64_t half_tile, int kind, int32_t head, int32_t channel, int32_t end,
                     bool rotated, int64_t first_row) {
  int32_t count = end - channel < HALF_TILE ? end - channel : HALF_TILE;
  parts[half_tile] = (struct phi3_qkv_part){(int16_t)kind, (int16_t)head, (int16_t)channel, (int16_t)count, (int16_t)rotated};
  for (int32_t i = 0; i < count; i++) o->rows[half_tile * HALF_TILE + i] = (int32_t)(first_row + channel + i);
}

static int32_t ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

// Half tiles of one head, in whole tiles: pairs of rotation partners, then what is not rotated.
static int32_t head_halfs(int32_t head_dim, int32_t rotary) {
  return 2 * ceil_div(rotary / 2, HALF_TILE) + 2 * ceil_div(ceil_div(head_dim - rotary, HALF_TILE), 2);
}

static int64_t put_head(struct row_order *o, struct phi3_qkv_part *parts, int64_t at, int kind, int32_t head, int32_t head_dim, int32_t rotary,
                        int64_t first_row) {
  int64_t end = at + head_halfs(head_dim, rotary);
  for (int32_t c = 0; c < rotary / 2; c += HALF_TILE) {
    put_part(o, parts, at++, kind, head, c, rotary / 2, true, first_row);
    put_part(o, parts, at++, kind, head, c + rotary / 2, rotary, false, first_row);
  }
  for (int32_t c = rotary; c < head_dim; c += HALF_TILE) put_part(o, parts, at++, kind, head, c, head_dim, false, first_row);
  return end;
}

bool row_order_qkv(struct row_order *o, struct phi3_qkv_part **parts, const struct config *c, struct err *e) {
  int64_t rotated = head_halfs(c->head_dim, c->rotary_dim), plain = head_halfs(c->head_dim, 0);
  int64_t halfs = (c->num_heads + c->num_kv_heads) * rotated + c->num_kv_heads * plain;
  *parts = NULL;
  if (!order_init(o, halfs / 2, e)) return false;
  *parts = mem_alloc((size_t)halfs, sizeof **parts, "the parts of q, k and v", e);
  if (!*parts) return row_order_free(o), false;
  int64_t at = 0, row = 0;
  for (int32_t h = 0; h < c->num_heads; h++, row += c->head_dim) at = put_head(o, *parts, at, PHI3_PART_Q, h, c->head_dim, c->rotary_dim, row);
  for (int32_t h = 0; h < c->num_kv_heads; h++, row += c->head_dim) at = put_head(o, *parts, at, PHI3_PART_K, h, c->head_dim, c->rotary_dim, row);
  for (int32_t h = 0; h < c->num_kv_heads; h++, row += c->head_dim) at = put_head(o, *parts, at, PHI3_PART_V, h, c->head_dim, 0, row);
  return true;
}

static int64_t groups_of(int64_t k) { return (k + PHI3_GROUP_K - 1) / PHI3_GROUP_K; }

int64_t packed_halfs(const struct row_order *o, int64_t k) { return o->tiles * groups_of(k) * PHI3_TILE_ROWS * PHI3_GROUP_K; }

struct pack_job {
  const struct matrix *m;
  const struct row_order *order; // NULL: plain rows
  uint16_t *out;
  float *rows;                   // [threads, cols rounded up to a group]
  int64_t stride;
  atomic_llong overflows, nans;
  _Atomic uint32_t largest;      // bits of a magnitude
};

static uint16_t to_half(float v, int64_t *overflows, int64_t *nans, float *largest) {
  if (isnan(v)) ++*nans;
  float a = fabsf(v);
  if (a > *largest) *largest = a;
  uint16_t h = f32_to_f16(v);
  if ((h & 0x7fff) == 0x7c00) {
    ++*overflows;
    h = (uint16_t)((h & 0x8000) | 0x7bff);
  }
  return h;
}

static void note(struct pack_job *j, int64_t overflows, int64_t nans, float largest) {
  atomic_fetch_add(&j->overflows, overflows);
  atomic_fetch_add(&j->nans, nans);
  uint32_t bits = f32_to_bits(largest), seen = atomic_load(&j->largest); // magnitudes order like their bits
  while (bits > seen && !atomic_compare_exchange_weak(&j->largest, &seen, bits)) continue;
}

static void pack_tiles(void *ctx, int64_t begin, int64_t end, int thread) {
  struct pack_job *j = ctx;
  float *row = j->rows + thread * j->stride, largest = 0;
  int64_t groups = groups_of(j->m->cols), overflows = 0, nans = 0;
  for (int64_t r = begin * PHI3_TILE_ROWS; r < end * PHI3_TILE_ROWS; r++) {
    uint16_t *tile = j->out + r / PHI3_TILE_ROWS * groups * PHI3_TILE_ROWS * PHI3_GROUP_K;
    int64_t in_tile = r % PHI3_TILE_ROWS, half = in_tile / HALF_TILE, lane0 = in_tile % HALF_TILE * 4;
    if (j->order->rows[r] >= 0) matrix_row_f32(j->m, j->order->rows[r], row);
    else memset(row, 0, (size_t)j->stride * sizeof *row);
    for (int64_t k = 0; k < groups * PHI3_GROUP_K; k++) {
      int64_t lane = lane0 + k % PHI3_GROUP_K / 8;
      tile[((k / PHI3_GROUP_K * 2 + half) * 32 + lane) * 8 + k % 8] = k < j->m->cols ? to_half(row[k], &overflows, &nans, &largest) : 0;
    }
  }
  note(j, overflows, nans, largest);
}

static void pack_plain(void *ctx, int64_t begin, int64_t end, int thread) {
  struct pack_job *j = ctx;
  float *row = j->rows + thread * j->stride, largest = 0;
  int64_t overflows = 0, nans = 0;
  for (int64_t r = begin; r < end; r++) {
    matrix_row_f32(j->m, r, row);
    for (int64_t k = 0; k < j->m->cols; k++) j->out[r * j->m->cols + k] = to_half(row[k], &overflows, &nans, &largest);
  }
  note(j, overflows, nans, largest);
}

static bool pack(const struct matrix *m, const struct row_order *o, uint16_t *out, struct pool *pool, struct pack_report *report, struct err *e) {
  struct pack_job j = {.m = m, .order = o, .out = out, .stride = groups_of(m->cols) * PHI3_GROUP_K};
  j.rows = mem_alloc((size_t)(pool_threads(pool) * j.stride), sizeof *j.rows, "rows on their way to the device", e);
  if (!j.rows) return false;
  pool_for(pool, o ? o->tiles : m->rows, 8, o ? pack_tiles : pack_plain, &j);
  mem_free(j.rows);
  report->values += m->rows * m->cols;
  report->overflows += atomic_load(&j.overflows);
  float largest = f32_from_bits(atomic_load(&j.largest));
  if (largest > report->largest) report->largest = largest;
  if (atomic_load(&j.nans))
    return err_set(e, "tensor '%s' holds %lld values that are not a number; the file is damaged", m->parts[0].tensor->name, (long long)atomic_load(&j.nans));
  return true;
}

bool pack_matrix(const struct matrix *m, const struct row_order *o, uint16_t *out, struct pool *pool, struct pack_report *report, struct err *e) {
  return pack(m, o, out, pool, report, e);
}

bool pack_rows(const struct matrix *m, uint16_t *out, struct pool *pool, struct pack_report *report, struct err *e) {
  return pack(m, NULL, out, pool, report, e);
}

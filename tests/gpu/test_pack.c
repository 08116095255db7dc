// The packed weights against their definition in kernels.h, and what fp16 cannot hold. Needs no device.
#include "tests/gpu/gpu_test.h"
#include "runtime/base/mem.h"
#include <math.h>

static struct err e;

// A matrix of rows x cols floats whose element tells where it comes from: 256 row + col fits fp16's integers for small shapes.
struct source {
  struct tensor tensor;
  struct matrix m;
  float *data;
};

static void open_source(struct source *s, int64_t rows, int64_t cols) {
  s->data = malloc((size_t)(rows * cols) * sizeof *s->data);
  assert_non_null(s->data);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) s->data[r * cols + c] = (float)(1 + (r * 31 + c * 7) % 2047);
  s->tensor = (struct tensor){.name = "w", .type = DTYPE_F32, .dims = 2, .rows = rows, .cols = cols, .data = s->data, .bytes = rows * cols * 4};
  s->m = (struct matrix){.rows = rows, .cols = cols, .num_parts = 1, .parts = {{&s->tensor, 0, 0, 0}}};
}

static struct pool *pool(void) {
  struct pool *p = pool_open(2, &e);
  assert_non_null(p);
  return p;
}

// Every packed half is the matrix's element that the definition names, and zero where there is none.
static void check_packed(const struct source *s, const struct row_order *o, const uint16_t *packed) {
  int64_t groups = (s->m.cols + 31) / 32;
  for (int64_t i = 0; i < packed_halfs(o, s->m.cols); i++) {
    int64_t tile = i / (groups * 512), group = i / 512 % groups, half = i / 256 % 2, lane = i / 8 % 32, k = 32 * group + 8 * (lane % 4) + i % 8;
    int32_t row = o->rows[16 * tile + 8 * half + lane / 4];
    float expected = row >= 0 && k < s->m.cols ? s->data[row * s->m.cols + k] : 0;
    if (f16_to_f32(packed[i]) != expected) fail_msg("half %lld is %g, expected %g", (long long)i, f16_to_f32(packed[i]), expected);
  }
}

// Each row of the matrix stands in the packing once.
static void check_order(const struct row_order *o, int64_t rows) {
  int *seen = calloc((size_t)rows, sizeof *seen);
  for (int64_t i = 0; i < 16ll * o->tiles; i++)
    if (o->rows[i] >= 0) seen[o->rows[i]]++;
  for (int64_t r = 0; r < rows; r++) assert_int_equal(seen[r], 1);
  free(seen);
}

static void packs_as_defined(void **state) {
  (void)state;
  struct pool *p = pool();
  static const int64_t shapes[][2] = {{1, 1}, {16, 32}, {17, 33}, {40, 95}, {15, 1025}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    struct source s;
    struct row_order o;
    struct pack_report report = {0};
    open_source(&s, shapes[i][0], shapes[i][1]);
    assert_ok(row_order_plain(&o, s.m.rows, &e));
    check_order(&o, s.m.rows);
    for (int64_t r = 0; r < s.m.rows; r++) assert_int_equal(o.rows[r], r);
    uint16_t *packed = malloc((size_t)packed_halfs(&o, s.m.cols) * 2);
    assert_ok(pack_matrix(&s.m, &o, packed, p, &report, &e));
    assert_int_equal(report.values, s.m.rows * s.m.cols);
    assert_int_equal(report.overflows, 0);
    check_packed(&s, &o, packed);
    free(packed), free(s.data);
    row_order_free(&o);
  }
  pool_close(p);
}

static void gate_and_up_share_a_tile(void **state) {
  (void)state;
  for (int64_t width = 1; width < 40; width++) {
    struct row_order o;
    assert_ok(row_order_gate_up(&o, width, &e));
    check_order(&o, 2 * width);
    for (int64_t t = 0; t < o.tiles; t++)
      for (int64_t g = 0; g < 8; g++) {
        int64_t i = 8 * t + g;
        assert_int_equal(o.rows[16 * t + g], i < width ? i : -1);
        assert_int_equal(o.rows[16 * t + 8 + g], i < width ? i + width : -1);
      }
    row_order_free(&o);
  }
}

// Rotation partners stand eight rows apart, and each half tile's description names the row that stands there.
static void rotation_partners_share_a_tile(void **state) {
  (void)state;
  static const struct { int32_t heads, kv_heads, dim, rotary; } shapes[] = {{1, 1, 8, 8}, {2, 1, 24, 24}, {4, 2, 32, 12}, {3, 3, 96, 96}, {2, 2, 80, 2}, {5, 1, 128, 64}, {6, 2, 40, 26}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    struct config c = {.num_heads = shapes[i].heads, .num_kv_heads = shapes[i].kv_heads, .head_dim = shapes[i].dim, .rotary_dim = shapes[i].rotary};
    struct row_order o;
    struct phi3_qkv_part *parts;
    assert_ok(row_order_qkv(&o, &parts, &c, &e));
    check_order(&o, (c.num_heads + 2ll * c.num_kv_heads) * c.head_dim);
    for (int32_t h = 0; h < 2 * o.tiles; h++) {
      const struct phi3_qkv_part *part = &parts[h];
      int64_t first = part->kind == PHI3_PART_Q ? part->head : part->kind == PHI3_PART_K ? c.num_heads + part->head : c.num_heads + c.num_kv_heads + part->head;
      for (int32_t g = 0; g < 8; g++)
        assert_int_equal(o.rows[8 * h + g], part->kind != PHI3_PART_NONE && g < part->count ? first * c.head_dim + part->channel + g : -1);
      if (!part->rotated) continue;
      assert_int_equal(h % 2, 0);
      assert_int_equal(parts[h + 1].channel, part->channel + c.rotary_dim / 2);
      assert_int_equal(parts[h + 1].count, part->count);
      assert_true(part->kind != PHI3_PART_V);
    }
    mem_free(parts);
    row_order_free(&o);
  }
}

static void overflows_are_counted(void **state) {
  (void)state;
  struct pool *p = pool();
  struct source s;
  struct row_order o;
  struct pack_report report = {0};
  open_source(&s, 20, 40);
  s.data[3] = 70000, s.data[40] = -1e9f, s.data[41] = 65519, s.data[42] = INFINITY; // 65519 rounds to 65504
  assert_ok(row_order_plain(&o, 20, &e));
  uint16_t *packed = malloc((size_t)packed_halfs(&o, 40) * 2);
  assert_ok(pack_matrix(&s.m, &o, packed, p, &report, &e));
  assert_int_equal(report.overflows, 3);
  assert_true(isinf(report.largest));
  assert_ok(pack_rows(&s.m, packed, p, &report, &e));
  assert_int_equal(report.overflows, 6);
  assert_int_equal(packed[3], 0x7bff);
  assert_int_equal(packed[40], 0xfbff);
  assert_int_equal(packed[41], 0x7bff);
  s.data[799] = NAN;
  assert_fails(pack_matrix(&s.m, &o, packed, p, &report, &e), "not a number");
  free(packed), free(s.data);
  row_order_free(&o);
  pool_close(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(packs_as_defined), cmocka_unit_test(gate_and_up_share_a_tile), cmocka_unit_test(rotation_partners_share_a_tile),
                                     cmocka_unit_test(overflows_are_counted)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

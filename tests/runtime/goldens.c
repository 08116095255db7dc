#include "tests/test.h"
#include "tests/runtime/goldens.h"
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include <math.h>

static struct err e;

static void ints(const json_t *a, int32_t **out, int32_t *count) {
  *count = (int32_t)json_array_size(a);
  *out = mem_alloc((size_t)*count, sizeof **out, "ids", &e);
  for (int32_t i = 0; i < *count; i++) (*out)[i] = (int32_t)json_integer_value(json_array_get(a, (size_t)i));
}

static void read_array(struct npy *a, const char *dir, const char *name, const char *type) {
  char path[600];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  assert_ok(npy_read(a, path, &e));
  assert_string_equal(a->type, type);
}

static void open_case(struct golden *g, const json_t *c) {
  *g = (struct golden){.name = json_string_value(json_object_get(c, "name"))};
  snprintf(g->model_path, sizeof g->model_path, "tests/goldens/%s", json_string_value(json_object_get(c, "model")));
  snprintf(g->case_path, sizeof g->case_path, "tests/goldens/%s", json_string_value(json_object_get(c, "case")));
  read_array(&g->ids, g->case_path, "ids.npy", "i4");
  read_array(&g->logits, g->case_path, "logits.npy", "f4");
  if (json_is_true(json_object_get(c, "fp64"))) read_array(&g->logits_fp64, g->case_path, "logits_fp64.npy", "f8");
  ints(json_object_get(c, "rows"), &g->rows, &g->num_rows);
  ints(json_object_get(c, "greedy"), &g->greedy, &g->num_greedy);
  g->hidden_layers = (int32_t)json_integer_value(json_object_get(c, "hidden"));
  assert_true(g->num_rows > 0 && g->num_rows == g->logits.shape[0]);
}

static void close_case(struct golden *g) {
  npy_free(&g->ids);
  npy_free(&g->logits);
  npy_free(&g->logits_fp64);
  mem_free(g->rows);
  mem_free(g->greedy);
}

static int each_of(const char *file, void (*check)(const struct golden *, void *), void *ctx) {
  json_t *index = json_read_file(file, &e);
  if (!index) fail_msg("%s", e.text);
  size_t n = json_array_size(index);
  assert_true(n > 0);
  size_t step = getenv("PHI3_TEST_QUICK") ? 9 : 1;
  for (size_t i = 0; i < n; i += step) {
    struct golden g;
    open_case(&g, json_array_get(index, i));
    check(&g, ctx);
    close_case(&g);
  }
  json_decref(index);
  return (int)n;
}

int goldens_each(void (*check)(const struct golden *, void *), void *ctx) {
  return each_of("tests/goldens/index.json", check, ctx) + each_of("tests/goldens/nano/index.json", check, ctx);
}

void opened_open(struct opened *o, const char *model_path, const struct backend_options *options) {
  *o = (struct opened){0};
  assert_ok(model_open(&o->model, model_path, &e));
  struct backend *b = cpu_backend_open(&o->model, options, &e);
  if (!b) fail_msg("%s: %s", model_path, e.text);
  assert_ok(forward_open(&o->forward, b, &e));
}

void opened_close(struct opened *o) {
  forward_close(&o->forward);
  model_close(&o->model);
}

double relative_error(const float *a, const float *b, int64_t n) {
  double diff = 0, norm = 0;
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(a[i]) || !isfinite(b[i])) return INFINITY;
    diff += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    norm += (double)b[i] * b[i];
  }
  return sqrt(diff / norm);
}

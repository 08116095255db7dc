// A real model in a quantized file against Hugging Face's reading of the same file: the largest logits of the first
// tokens of a few texts, and the sum of all. Skips where scripts/get_model.sh smollm2 has not been run.
#include "tests/test.h"
#include "tests/runtime/goldens.h"
#include "runtime/base/mem.h"
#include "runtime/logits.h"
#include <math.h>

static struct err e;
static char *path;
static json_t *goldens;

static const struct backend_options plain = {.page_size = 16, .num_pages = 4, .max_rows = 32, .max_logits = 32};

static void read_array(struct npy *a, const json_t *c, const char *name, const char *type) {
  char file[600];
  snprintf(file, sizeof file, "tests/goldens/%s/%s.npy", json_string_value(json_object_get(c, "case")), name);
  assert_ok(npy_read(a, file, &e));
  assert_string_equal(a->type, type);
}

static void check_row(const char *name, int64_t row, const float *logits, int64_t vocab, const struct npy *ids,
                      const struct npy *top, double log_sum) {
  int64_t k = ids->shape[1];
  const int32_t *id = (const int32_t *)ids->data + row * k;
  const float *wanted = (const float *)top->data + row * k;
  double error = 0, size = 0, least = (double)wanted[k - 1];
  for (int64_t i = 0; i < k; i++) {
    assert_in_range(id[i], 0, vocab - 1);
    error += pow((double)logits[id[i]] - (double)wanted[i], 2);
    size += pow((double)wanted[i], 2);
  }
  if (!(sqrt(error / size) <= 1e-5))
    fail_msg("%s: token %lld: relative error %g", name, (long long)row, sqrt(error / size));
  if (!(fabs(logits_log_sum(logits, vocab) - log_sum) <= 1e-5 * fabs(log_sum)))
    fail_msg("%s: token %lld: the logits' sum is another", name, (long long)row);
  for (int64_t i = 0; i < vocab; i++) { // nothing is larger that is not among them
    bool among = (double)logits[i] < least + 1e-4 * fabs(least);
    for (int64_t j = 0; j < k && !among; j++) among = id[j] == i;
    if (!among) fail_msg("%s: token %lld: id %lld is not among the largest", name, (long long)row, (long long)i);
  }
}

static void the_largest_logits_are_hugging_faces(void **state) {
  (void)state;
  struct opened o;
  opened_open(&o, path, &plain);
  const json_t *cases = json_object_get(goldens, "cases");
  int64_t vocab = o.model.config.vocab_size;
  size_t n = json_array_size(cases);
  assert_true(n > 2);
  for (size_t i = 0; i < n; i++) {
    const json_t *c = json_array_get(cases, i);
    struct npy ids, top_ids, top, sums;
    struct sequence s = {0};
    read_array(&ids, c, "ids", "i4"), read_array(&top_ids, c, "top_ids", "i4"), read_array(&top, c, "top_logits", "f4"),
        read_array(&sums, c, "log_sum", "f8");
    int64_t tokens = ids.shape[0];
    assert_true(tokens > 5 && top_ids.shape[0] == tokens && top.shape[0] == tokens &&
                top.shape[1] == top_ids.shape[1] && sums.shape[0] == tokens);
    struct forward_input in = {&s, ids.data, (int32_t)tokens, false, LOGITS_ALL};
    float *logits = mem_alloc((size_t)(tokens * vocab), sizeof *logits, "logits", &e);
    assert_ok(forward_run(&o.forward, &in, 1, &e));
    assert_ok(forward_read(&o.forward, STAGE_LOGITS, logits, &e));
    for (int64_t r = 0; r < tokens; r++)
      check_row(json_string_value(json_object_get(c, "name")), r, logits + r * vocab, vocab, &top_ids, &top,
                ((const double *)sums.data)[r]);
    sequence_free(&s, &o.forward.pages);
    mem_free(logits);
    npy_free(&ids), npy_free(&top_ids), npy_free(&top), npy_free(&sums);
  }
  opened_close(&o);
}

static int skipped(const char *why) {
  printf("skipped: %s\n", why);
  json_decref(goldens);
  mem_free(path);
  return 77;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_largest_logits_are_hugging_faces)};
  goldens = json_read_file("tests/goldens/smollm2/index.json", &e);
  if (!goldens) return fprintf(stderr, "%s\n", e.text), 1;
  if (!(path = model_find("smollm2", &e))) return skipped(e.text);
  const char *name = strrchr(path, '/');
  if (strcmp(name ? name + 1 : path, json_string_value(json_object_get(goldens, "file"))) != 0)
    return skipped("the goldens are of another file of this model");
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  json_decref(goldens);
  mem_free(path);
  return failed;
}

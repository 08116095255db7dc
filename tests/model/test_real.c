// Files that others made: those of the shared data folder and a downloaded SmolLM2. Each test skips where its file is
// absent.
#include "tests/test.h"
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include "runtime/model/gguf.h"
#include "runtime/model/model.h"
#include <math.h>

static struct err e;

static void skip_without(const char *path) {
  if (file_exists(path)) return;
  printf("skipped: %s is not there\n", path);
  skip();
}

// No NaN, nothing absurd, not all zeros.
static void check_values(const struct matrix *m) {
  float *row = malloc((size_t)m->cols * sizeof *row);
  double sum = 0;
  for (int64_t r = 0; r < m->rows; r++) {
    matrix_row_f32(m, r, row);
    for (int64_t c = 0; c < m->cols; c++) {
      if (!(fabsf(row[c]) < 100)) fail_msg("[%lld, %lld] is %g", (long long)r, (long long)c, (double)row[c]);
      sum += (double)row[c] * (double)row[c];
    }
  }
  double mean_square = sum / ((double)m->rows * (double)m->cols);
  assert_true(mean_square > 1e-6 && mean_square < 10);
  free(row);
}

static void check_weights(const struct model *m) {
  check_values(&m->embed);
  for (int32_t i = 0; i < m->config.num_layers; i++) {
    check_values(&m->layers[i].qkv);
    check_values(&m->layers[i].o);
    check_values(&m->layers[i].gate_up);
    check_values(&m->layers[i].down);
  }
}

static void stories260k_opens(void **state) {
  (void)state;
  static const char path[] = "../shared/data/stories260k";
  skip_without(path);
  struct model m;
  assert_ok(model_open(&m, path, &e));
  assert_int_equal(m.num_params, 260032);
  assert_true(m.config.tied_embeddings && m.config.num_kv_heads == 4 && m.config.head_dim == 8 &&
              m.config.num_end_ids == 1);
  check_weights(&m);
  model_close(&m);
}

static void phi3_mini_configurations_are_read(void **state) {
  (void)state;
  static const char folder[] = "../shared/data/phi3-mini", file[] = "../shared/data/phi3-mini/phi-3-vocab.gguf";
  skip_without(folder);
  struct config c;
  assert_ok(config_read_json(&c, folder, &e));
  const int32_t found[] = {
      c.hidden_size,   c.num_layers,     c.num_heads,  c.num_kv_heads, c.head_dim, c.intermediate_size, c.vocab_size,
      c.max_positions, c.sliding_window, c.rotary_dim, c.bos_id,       c.pad_id,   c.num_end_ids,       c.end_ids[0]};
  const int32_t expected[] = {3072, 32, 32, 32, 96, 8192, 32064, 4096, 2047, 96, 1, 32000, 1, 32000};
  assert_memory_equal(found, expected, sizeof expected);
  config_free(&c);
  struct model m;
  assert_fails(model_open(&m, folder, &e), "has neither model.safetensors");
  assert_fails(model_open(&m, file, &e), "the file has a vocabulary but no weights");
  struct gguf g;
  assert_ok(gguf_open(&g, file, &e));
  const struct gguf_value *tokens = gguf_find(&g, "tokenizer.ggml.tokens");
  struct gguf_string *s = gguf_strings(&g, tokens, &e);
  assert_int_equal(tokens->count, 32064);
  assert_true(s[32000].len == 13 && memcmp(s[32000].data, "<|endoftext|>", 13) == 0);
  mem_free(s);
  gguf_close(&g);
}

static void smollm2_opens(void **state) {
  (void)state;
  char *path = model_find("smollm2", &e);
  if (!path) {
    printf("skipped: %s\n", e.text);
    skip();
  }
  struct model m;
  assert_ok(model_open(&m, path, &e));
  mem_free(path);
  assert_int_equal(m.num_params, 134515008);
  assert_true(m.config.tied_embeddings && m.config.num_heads == 9 && m.config.num_kv_heads == 3 &&
              m.config.rope_theta == 100000);
  check_weights(&m);
  model_close(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stories260k_opens),
      cmocka_unit_test(phi3_mini_configurations_are_read),
      cmocka_unit_test(smollm2_opens),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

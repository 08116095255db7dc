// The model's numbers from GGUF metadata: defaults, arrays, and what first files left out.
#include "tests/test.h"
#include "runtime/model/config.h"
#include "runtime/model/gguf.h"
#include "tests/model/make_files.h"

static struct err e;
static char *dir;

static int set_up(void **state) {
  (void)state;
  dir = temp_dir();
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  temp_dir_remove(dir);
  return 0;
}

struct key {
  const char *name;
  uint32_t value;
};

// The keys that a file must have, with Phi-3-mini's values; `without` is left out.
static struct gguf_maker required(const char *arch, const char *without) {
  static const struct key keys[] = {{"block_count", 32},
                                    {"embedding_length", 3072},
                                    {"feed_forward_length", 8192},
                                    {"context_length", 4096},
                                    {"attention.head_count", 32}};
  struct gguf_maker g = {0};
  char name[128];
  gguf_put_string(&g, "general.architecture", arch);
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    snprintf(name, sizeof name, "%s.%s", arch, keys[i].name);
    if (strcmp(keys[i].name, without) != 0) gguf_put_u32(&g, name, keys[i].value);
  }
  snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", arch);
  if (!strstr(name, without) || !*without) gguf_put_f32(&g, name, 1e-6f);
  return g;
}

// Writes the file, with an embedding of 40 rows of 4 elements that holds no more than its shape, and reads it.
static bool read(struct gguf_maker *g, struct config *c) {
  static const float zeros[160];
  char *path = path_in(dir, "m.gguf");
  gguf_put_tensor(g, "token_embd.weight", 0, 40, 4, zeros, sizeof zeros);
  gguf_write(g, path);
  struct gguf file;
  bool ok = gguf_open(&file, path, &e) && config_read_gguf(c, &file, &e);
  gguf_close(&file);
  free(path);
  return ok;
}

static void missing_keys_have_defaults(void **state) {
  (void)state;
  struct config c;
  struct gguf_maker g = required("llama", "");
  assert_ok(read(&g, &c));
  const int32_t found[] = {
      c.hidden_size,   c.num_layers,     c.num_heads,  c.num_kv_heads, c.head_dim, c.intermediate_size, c.vocab_size,
      c.max_positions, c.sliding_window, c.rotary_dim, c.bos_id,       c.pad_id,   c.num_end_ids};
  const int32_t expected[] = {3072, 32, 32, 32, 96, 8192, 40, 4096, 0, 96, -1, -1, 0};
  assert_memory_equal(found, expected, sizeof expected);
  assert_true(c.rms_eps == 1e-6f && c.rope_theta == 10000 && c.rope_scale == 1);
}

static void keys_are_required(void **state) {
  (void)state;
  static const char *const names[] = {"block_count",    "embedding_length",     "feed_forward_length",
                                      "context_length", "attention.head_count", "layer_norm_rms_epsilon"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct config c;
    struct gguf_maker g = required("phi3", names[i]);
    assert_fails(read(&g, &c), names[i]);
    assert_non_null(strstr(e.text, "is missing"));
  }
}

// Phi-3's first GGUF files do not state their window.
static void windows_are_known(void **state) {
  (void)state;
  static const struct {
    const char *arch;
    int stated, expected;
  } cases[] = {{"phi3", -1, 2047}, {"phi3", 0, 0}, {"phi3", 100, 100}, {"llama", -1, 0}, {"llama", 50, 50}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct config c;
    char name[64];
    struct gguf_maker g = required(cases[i].arch, "");
    snprintf(name, sizeof name, "%s.attention.sliding_window", cases[i].arch);
    if (cases[i].stated >= 0) gguf_put_u32(&g, name, (uint32_t)cases[i].stated);
    assert_ok(read(&g, &c));
    assert_int_equal(c.sliding_window, cases[i].expected);
  }
}

static void heads_may_be_listed_by_layer(void **state) {
  (void)state;
  int32_t heads[32];
  struct config c;
  for (int i = 0; i < 32; i++) heads[i] = 8;
  struct gguf_maker g = required("llama", "");
  gguf_put_i32s(&g, "llama.attention.head_count_kv", heads, 32);
  assert_ok(read(&g, &c));
  assert_int_equal(c.num_kv_heads, 8);
  heads[7] = 4;
  g = required("llama", "");
  gguf_put_i32s(&g, "llama.attention.head_count_kv", heads, 32);
  assert_fails(read(&g, &c), "is 8 for layer 0 and 4 for layer 7");
  g = required("llama", "");
  gguf_put_i32s(&g, "llama.attention.head_count_kv", heads, 31);
  assert_fails(read(&g, &c), "has 31 values, expected one for each of 32 layers");
  float wrong[32] = {0};
  g = required("llama", "");
  gguf_put_f32s(&g, "llama.attention.head_count_kv", wrong, 32);
  assert_fails(read(&g, &c), "holds f32, expected integers");
  g = required("llama", "");
  gguf_put_i32s(&g, "llama.attention.key_length", heads, 32);
  assert_fails(read(&g, &c), "is an array, expected one value");
}

static void ids_are_gathered(void **state) {
  (void)state;
  struct config c;
  struct gguf_maker g = required("llama", "");
  gguf_put_u32(&g, "tokenizer.ggml.eos_token_id", 2);
  gguf_put_u32(&g, "tokenizer.ggml.eot_token_id", 7);
  gguf_put_u32(&g, "tokenizer.ggml.eom_token_id", 2);
  gguf_put_u32(&g, "tokenizer.ggml.padding_token_id", 40); // outside the vocabulary: none
  gguf_put_u32(&g, "tokenizer.ggml.bos_token_id", 39);
  gguf_put_string(&g, "general.name", "a\tname \xff");
  assert_ok(read(&g, &c));
  assert_int_equal(c.num_end_ids, 2);
  assert_int_equal(c.end_ids[1], 7);
  assert_int_equal(c.pad_id, -1);
  assert_int_equal(c.bos_id, 39);
  assert_string_equal(c.name, "a?name ?");
}

static void different_key_and_value_sizes_are_refused(void **state) {
  (void)state;
  struct config c;
  struct gguf_maker g = required("llama", "");
  gguf_put_u32(&g, "llama.attention.key_length", 64);
  gguf_put_u32(&g, "llama.attention.value_length", 32);
  assert_fails(read(&g, &c), "keys have 64 channels a head and values 32");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(missing_keys_have_defaults, set_up, tear_down),
      cmocka_unit_test_setup_teardown(keys_are_required, set_up, tear_down),
      cmocka_unit_test_setup_teardown(windows_are_known, set_up, tear_down),
      cmocka_unit_test_setup_teardown(heads_may_be_listed_by_layer, set_up, tear_down),
      cmocka_unit_test_setup_teardown(ids_are_gathered, set_up, tear_down),
      cmocka_unit_test_setup_teardown(different_key_and_value_sizes_are_refused, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

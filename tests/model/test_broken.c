// Broken files: each gives one sentence that names the file and the thing; none crashes, hangs or takes memory.
#include "tests/test.h"
#include "runtime/model/gguf.h"
#include "runtime/model/model.h"
#include "tests/model/make_files.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static struct err e;
static char *dir, *gguf, *weights;

static int set_up(void **state) {
  (void)state;
  dir = temp_dir();
  gguf = path_in(dir, "m.gguf");
  weights = path_in(dir, "model.safetensors");
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  free(gguf);
  free(weights);
  temp_dir_remove(dir);
  return 0;
}

static struct sample tiny(void) {
  struct sample s = sample_default();
  s.hidden = 4, s.layers = 1, s.heads = 2, s.kv_heads = 1, s.head_dim = 2, s.intermediate = 3, s.vocab = 5;
  return s;
}

static void row_is_inside(const struct model *m, const struct matrix *x, int64_t row) {
  enum dtype type;
  const uint8_t *p = matrix_row(x, row, &type);
  int64_t n = dtype_row_bytes(type, x->cols);
  bool inside = false;
  for (int i = 0; i < m->num_files; i++) {
    const struct file *f = &m->files[i];
    inside |= p >= f->data && p + n <= f->data + f->size;
  }
  assert_true(inside);
}

// A file that opens after all must be usable: every row lies inside the file.
static void check_opened(const struct model *m) {
  for (int64_t r = 0; r < m->embed.rows; r++) row_is_inside(m, &m->embed, r);
  for (int64_t r = 0; r < m->head.rows; r++) row_is_inside(m, &m->head, r);
  for (int i = 0; i < m->config.num_layers; i++) {
    const struct matrix *x[] = {&m->layers[i].qkv, &m->layers[i].o, &m->layers[i].gate_up, &m->layers[i].down};
    for (int j = 0; j < 4; j++)
      for (int64_t r = 0; r < x[j]->rows; r++) row_is_inside(m, x[j], r);
  }
}

// Opens `path` (the model is in `file`); an error must be one line that begins with a path in `dir`.
static bool survives(const char *path) {
  struct model m;
  e = (struct err){0};
  if (model_open(&m, path, &e)) {
    check_opened(&m);
    model_close(&m);
    return true;
  }
  if (strncmp(e.text, dir, strlen(dir)) != 0 || strchr(e.text, '\n')) fail_msg("not a good error: %s", e.text);
  return false;
}

// Changed in place: writing thousands of files anew takes minutes.
static void put_byte(int file, size_t at, uint8_t byte) { assert_int_equal(pwrite(file, &byte, 1, (off_t)at), 1); }

static void no_truncation(const char *path, const char *file) {
  size_t size;
  uint8_t *bytes = read_bytes(file, &size);
  assert_true(survives(path));
  for (size_t n = size; n-- > 0;) {
    assert_int_equal(truncate(file, (off_t)n), 0);
    if (survives(path)) fail_msg("%s opens with %zu of its %zu bytes", file, n, size);
  }
  write_bytes(file, bytes, size);
  assert_true(survives(path));
  free(bytes);
}

// Every byte of the first `span` in turn is replaced in several ways.
static void no_corruption(const char *path, const char *file, size_t span) {
  static const uint8_t flips[] = {0x01, 0x02, 0x20, 0x80, 0xff};
  size_t size, opened = 0, tried = 0;
  uint8_t *bytes = read_bytes(file, &size);
  int f = open(file, O_WRONLY);
  assert_true(f >= 0);
  if (span > size) span = size;
  for (size_t i = 0; i < span; i++) {
    for (size_t j = 0; j < sizeof flips; j++, tried++) {
      put_byte(f, i, bytes[i] ^ flips[j]);
      opened += survives(path);
    }
    put_byte(f, i, bytes[i]);
  }
  printf("%zu corruptions, %zu of them harmless\n", tried, opened);
  assert_true(tried > opened && survives(path));
  close(f);
  free(bytes);
}

// The offset of the tensors' data.
static size_t safetensors_header(void) {
  size_t size;
  uint64_t n;
  uint8_t *bytes = read_bytes(weights, &size);
  memcpy(&n, bytes, sizeof n);
  free(bytes);
  return (size_t)n + 8;
}

static size_t gguf_header(void) {
  struct gguf g;
  assert_ok(gguf_open(&g, gguf, &e));
  size_t n = g.data_offset;
  gguf_close(&g);
  return n;
}

static void damaged_safetensors_are_refused(void **state) {
  (void)state;
  struct sample s = tiny();
  sample_write_hf(&s, dir, "");
  no_truncation(dir, weights);
  no_corruption(dir, weights, safetensors_header());
  char *config = path_in(dir, "config.json");
  no_corruption(dir, config, SIZE_MAX);
  free(config);
}

static void damaged_gguf_is_refused(void **state) {
  (void)state;
  struct sample s = tiny();
  s.longrope = true;
  static const char *const archs[] = {"phi3", "llama"};
  for (int i = 0; i < 2; i++) {
    sample_write_gguf(&s, gguf, archs[i]);
    no_truncation(gguf, gguf);
    no_corruption(gguf, gguf, gguf_header());
  }
}

static void a_damaged_index_is_refused(void **state) {
  (void)state;
  struct sample s = tiny();
  s.shards = 2;
  sample_write_hf(&s, dir, "");
  char *index = path_in(dir, "model.safetensors.index.json");
  no_corruption(dir, index, SIZE_MAX);
  static const struct {
    const char *json, *word;
  } cases[] = {
      {"{}", "weight_map is missing"},
      {"[]", "weight_map is missing"},
      {"{\"weight_map\": {\"a\": 3}}", "'a' names no file"},
      {"{\"weight_map\": {\"a\": \"../x.safetensors\"}}", "'a' names no file"},
      {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}", "'a' names no file"},
      {"{\"weight_map\": {\"a\": \"gone.safetensors\"}}", "gone.safetensors: cannot open"},
      {"{\"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\"}}", "'a' should be in"},
      {"{\"weight_map\": {\"model.embed_tokens.weight\": \"model-00001-of-00002.safetensors\"}}", "is missing"},
      {"{\"weight_map\": {\"model.norm.weight\": \"model-00001-of-00002.safetensors\", "
       "\"model.embed_tokens.weight\": \"model-00002-of-00002.safetensors\"}}",
       "should be in"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct model m;
    write_text(index, cases[i].json);
    assert_fails(model_open(&m, dir, &e), cases[i].word);
  }
  free(index);
}

static void write_header(const char *path, const char *header, size_t data) {
  struct bytes b = {0};
  uint64_t n = strlen(header);
  bytes_put(&b, &n, sizeof n);
  bytes_put(&b, header, n);
  while (data--) bytes_put(&b, "", 1);
  write_bytes(path, b.data, b.size);
  bytes_free(&b);
}

static void open_header(const char *header, size_t data, const char *word) {
  struct model m;
  write_header(weights, header, data);
  assert_fails(model_open(&m, dir, &e), word);
}

// The index is content: each tensor that it names is in the shard that it names.
static void a_tensor_of_two_shards_is_refused(void **state) {
  (void)state;
  struct sample s = tiny();
  struct model m;
  char *first = path_in(dir, "1.safetensors"), *second = path_in(dir, "2.safetensors");
  char *index = path_in(dir, "model.safetensors.index.json");
  sample_write_hf(&s, dir, "");
  assert_int_equal(rename(weights, second), 0);
  write_header(first, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                      "\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[4,20]}}", 20);
  write_text(index, "{\"weight_map\": {\"a\": \"1.safetensors\", \"model.norm.weight\": \"2.safetensors\"}}");
  assert_fails(model_open(&m, dir, &e), "both have a tensor 'model.norm.weight'");
  free(first);
  free(second);
  free(index);
}

static void bad_safetensors_are_explained(void **state) {
  (void)state;
  struct sample s = tiny();
  sample_write_hf(&s, dir, "");
  open_header("[]", 0, "not a JSON object");
  open_header("{", 0, "not valid JSON");
  open_header("{}", 0, "'model.embed_tokens.weight' of shape [5, 4] is missing");
  open_header("{}", 3, "3 bytes after the last tensor");
  open_header("{\"a\":3}", 0, "'a': its entry is not an object");
  open_header("{\"a\":{}}", 0, "'a': its dtype is missing");
  open_header("{\"a\":{\"dtype\":\"F8_E4M3\"}}", 0, "'a': type F8_E4M3 is not supported");
  open_header("{\"a\":{\"dtype\":\"F32\"}}", 0, "'a': shape has 0 dimensions");
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1]}}", 0, "'a': shape has 3 dimensions");
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[0]}}", 0, "not a positive integer");
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1]}}", 0, "not a positive integer");
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5]}}", 0, "not a positive integer");
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets");
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "data_offsets");
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,5]}}", 4, "ends at byte 5");
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "4 bytes of data");
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,1073741824],\"data_offsets\":[0,0]}}", 0,
              "0 bytes of data"); // 2^64 bytes
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
              "0 bytes of data"); // 2^64 elements
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "there is a hole before it");
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F16\",\"shape\":[1],"
              "\"data_offsets\":[2,4]}}",
              4, "overlap");
  open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],"
              "\"data_offsets\":[4,8]}}",
              8, "duplicate");
  open_header("{\"a\\u0007\":{}}", 0, "not printable UTF-8");
  open_header("{\"\":{}}", 0, "not printable UTF-8");
  open_header("{\"__metadata__\":{\"format\":\"pt\"}}", 0, "is missing");
}

static void wrong_tensors_are_explained(void **state) {
  (void)state;
  static const struct {
    const char *name, *type;
    int64_t rows, cols;
    const char *word;
  } cases[] = {{"model.norm.weight", "F32", 0, 5, "'model.norm.weight': shape [5], expected [4]"},
               {"model.norm.weight", "F32", 1, 4, "'model.norm.weight': shape [1, 4], expected [4]"},
               {"model.embed_tokens.weight", "F32", 4, 5, "'model.embed_tokens.weight': shape [4, 5], expected [5, 4]"},
               {"model.layers.1.input_layernorm.weight", "F32", 0, 4,
                "'model.layers.1.input_layernorm.weight' is not supported"},
               {"model.layers.0.self_attn.qkv_proj.bias", "F32", 0, 8, "qkv_proj.bias' is not supported"}};
  static const struct {
    const char *name;
    int64_t rows, cols;
  } good[] = {{"model.embed_tokens.weight", 5, 4},
              {"model.layers.0.input_layernorm.weight", 0, 4},
              {"model.norm.weight", 0, 4},
              {"lm_head.weight", 5, 4},
              {"model.layers.0.post_attention_layernorm.weight", 0, 4},
              {"model.layers.0.self_attn.qkv_proj.weight", 8, 4},
              {"model.layers.0.self_attn.o_proj.weight", 4, 4},
              {"model.layers.0.mlp.gate_up_proj.weight", 6, 4},
              {"model.layers.0.mlp.down_proj.weight", 4, 3},
              {"model.layers.0.self_attn.rotary_emb.inv_freq", 0, 1}};
  enum { GOOD = sizeof good / sizeof *good, CASES = sizeof cases / sizeof *cases };
  float zeros[64] = {0};
  struct sample s = tiny();
  sample_write_hf(&s, dir, "");
  for (int i = 0; i <= CASES + GOOD - 1;
       i++) { // wrong ones, then each left out in turn (not the last, which may be absent)
    struct safetensors_maker f = {0};
    struct model m;
    int replaced = -1;
    for (int j = 0; j < GOOD; j++) {
      if (i < CASES && strcmp(cases[i].name, good[j].name) == 0) replaced = j;
      if (replaced == j || i - CASES == j) continue;
      safetensors_put(&f, good[j].name, "F32", good[j].rows, good[j].cols, zeros,
                      (size_t)((good[j].rows ? good[j].rows : 1) * good[j].cols * 4));
    }
    if (i < CASES)
      safetensors_put(&f, cases[i].name, cases[i].type, cases[i].rows, cases[i].cols, zeros,
                      (size_t)((cases[i].rows ? cases[i].rows : 1) * cases[i].cols * 4));
    safetensors_write(&f, weights);
    if (i == CASES + GOOD - 1) {
      assert_ok(model_open(&m, dir, &e));
      model_close(&m);
      continue;
    }
    assert_fails(model_open(&m, dir, &e), i < CASES ? cases[i].word : good[i - CASES].name);
    assert_true(i < CASES || strstr(e.text, "is missing"));
  }
}

static void refuse_gguf(struct gguf_maker *g, const char *word) {
  struct model m;
  gguf_write(g, gguf);
  assert_fails(model_open(&m, gguf, &e), word);
}

// The keys of the tiny model under `arch`, with `key` left to the caller: the maker appends, and a duplicate would be
// refused.
static struct gguf_maker without_tensors(const char *arch) {
  struct sample s = tiny();
  struct gguf_maker g = {0}, all = {0};
  sample_put_gguf(&s, &all, arch);
  g.keys = all.keys, g.num_keys = all.num_keys;
  bytes_free(&all.tensors);
  bytes_free(&all.data);
  return g;
}

static void bad_gguf_tensors_are_explained(void **state) {
  (void)state;
  float zeros[256] = {0};
  struct gguf_maker g = without_tensors("phi3");
  refuse_gguf(&g, "no weights");
  g = without_tensors("phi3");
  gguf_put_tensor(&g, "token_embd.weight", 6, 5, 4, zeros, 16);
  refuse_gguf(&g, "'token_embd.weight': type Q5_0 is not supported");
  g = without_tensors("phi3");
  gguf_put_tensor(&g, "token_embd.weight", 77, 5, 4, zeros, 16);
  refuse_gguf(&g, "type number 77 is not supported");
  g = without_tensors("phi3");
  gguf_put_tensor(&g, "token_embd.weight", 12, 5, 4, zeros, 16);
  refuse_gguf(&g, "of type Q4_K has rows of 4 elements, expected a multiple of 256");
  g = without_tensors("phi3");
  gguf_put_tensor(&g, "token_embd.weight", 0, 5, 4, zeros, 80);
  gguf_put_tensor(&g, "output_norm.weight", 0, 0, INT64_MAX / 8, zeros, 4);
  refuse_gguf(&g, "'output_norm.weight' of shape [1, 1152921504606846975]");
  g = without_tensors("phi3");
  gguf_put_tensor(&g, "token_embd.weight", 0, INT64_MAX, INT64_MAX, zeros, 4);
  refuse_gguf(&g, "empty or too large");
  g = without_tensors("phi3");
  gguf_put_tensor(&g, "token_embd.weight", 0, 5, 4, zeros, 80);
  gguf_put_tensor(&g, "token_embd.weight", 0, 5, 4, zeros, 80);
  refuse_gguf(&g, "tensor 'token_embd.weight' appears twice");
  g = without_tensors("phi3");
  gguf_put_tensor(&g, "token_embd.weight", 0, 5, 4, zeros, 40); // the next one begins inside it
  gguf_put_tensor(&g, "output_norm.weight", 0, 0, 4, zeros, 64);
  refuse_gguf(&g, "overlap");
  g = without_tensors("phi3");
  gguf_put_tensor(&g, "token_embd.weight", 0, 5, 4, zeros, 160); // the next one begins too late
  gguf_put_tensor(&g, "output_norm.weight", 0, 0, 4, zeros, 16);
  refuse_gguf(&g, "hole");
  struct sample s = tiny();
  g = (struct gguf_maker){0};
  sample_put_gguf(&s, &g, "llama");
  gguf_put_tensor(&g, "rope_freqs.weight", 0, 0, 1, zeros, 4);
  refuse_gguf(&g, "'rope_freqs.weight' is not supported");
  g = (struct gguf_maker){0};
  sample_put_gguf(&s, &g, "phi3");
  gguf_put_tensor(&g, "rope_factors_long.weight", 0, 0, 1, zeros, 4);
  refuse_gguf(&g, "only one of rope_factors_short");
}

static void bad_gguf_keys_are_explained(void **state) {
  (void)state;
  static const struct {
    const char *key, *text; // text NULL: the number
    uint32_t number;
    const char *word;
  } cases[] = {{"llama.rope.scaling.type", "yarn", 0, "rope scaling 'yarn'"},
               {"llama.rope.scaling.type", "longrope", 0, "'rope_factors_short.weight' is missing"},
               {"llama.rope.scale_linear", NULL, 4, "rope scaling 'linear'"},
               {"split.count", NULL, 3, "is one of 3 parts"},
               {"llama.expert_count", NULL, 8, "'llama.expert_count' (8) is not supported"},
               {"llama.attention.scale", NULL, 1, "'llama.attention.scale'"},
               {"general.alignment", NULL, 33, "expected a power of two"},
               {"general.alignment", "x", 0, "'general.alignment' is of type string"},
               {"general.name", NULL, 3, "'general.name' is of type u32, expected a string"},
               {"llama.rope.freq_base", NULL, 3, "'llama.rope.freq_base' appears twice"},
               {"tokenizer.ggml.eot_token_id", "x", 0, "'tokenizer.ggml.eot_token_id' is of type string"},
               {"", NULL, 3, "not printable UTF-8"},
               {"a\x80", NULL, 3, "not printable UTF-8"}};
  struct sample s = tiny();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct gguf_maker g = {0};
    sample_put_gguf(&s, &g, "llama");
    if (cases[i].text) gguf_put_string(&g, cases[i].key, cases[i].text);
    else gguf_put_u32(&g, cases[i].key, cases[i].number);
    refuse_gguf(&g, cases[i].word);
  }
  struct gguf_maker g = {0};
  sample_put_gguf(&s, &g, "gemma");
  refuse_gguf(&g, "architecture 'gemma' is not supported; this program runs phi3 and llama");
  refuse_gguf(&g, "'general.architecture' is missing");
  static const char *const tokens[] = {"a", "b", "c", "d", "e", "f"};
  sample_put_gguf(&s, &g, "phi3");
  gguf_put_strings(&g, "tokenizer.ggml.tokens", tokens, 6);
  refuse_gguf(&g, "has 5 rows, expected at least one for each of the tokenizer's 6 tokens");
}

static void bad_gguf_headers_cost_nothing(void **state) {
  (void)state;
  enum { MAX_KIB = 4096 };
  static const struct {
    const char *head; // 24 bytes: magic, version, tensors, keys
    const char *word;
  } cases[] = {{"GGUX\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "not a GGUF file"},
               {"GGUF\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "version 2 is not supported"},
               {"GGUF\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "big-endian"},
               {"GGUF\3\0\0\0\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0\0", "the header claims"},
               {"GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\0\0\0", "the header claims"},
               {"GGUF\3\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0", "tensor 1 of 131072"},
               {"GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\2\0\0\0\0\0", "key 1 of 131072"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct gguf g;
    write_bytes(gguf, cases[i].head, 24);
    if (truncate(gguf, (off_t)10 << 30)) fail_msg("cannot make a sparse file of 10 GiB");
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    assert_fails(gguf_open(&g, gguf, &e), cases[i].word);
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < MAX_KIB);
  }
  uint64_t n = (uint64_t)10 << 30;
  struct model m;
  struct sample s = tiny();
  sample_write_hf(&s, dir, "");
  write_bytes(weights, &n, sizeof n);
  if (truncate(weights, (off_t)11 << 30)) fail_msg("cannot make a sparse file of 11 GiB");
  assert_fails(model_open(&m, dir, &e), "the header should have 10737418240 bytes");
  write_bytes(weights, &n, 3);
  assert_fails(model_open(&m, dir, &e), "has 3 bytes, not even its header's length");
}

static void missing_files_are_named(void **state) {
  (void)state;
  struct model m;
  struct sample s = tiny();
  assert_fails(model_open(&m, dir, &e), "config.json: cannot open");
  sample_write_hf(&s, dir, "");
  unlink(weights);
  assert_fails(model_open(&m, dir, &e), "has neither model.safetensors nor model.safetensors.index.json");
  assert_fails(model_open(&m, gguf, &e), "m.gguf: cannot open");
  assert_fails(model_open(&m, "/dev/null", &e), "not a regular file");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(damaged_safetensors_are_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(damaged_gguf_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_damaged_index_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_tensor_of_two_shards_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(bad_safetensors_are_explained, set_up, tear_down),
      cmocka_unit_test_setup_teardown(wrong_tensors_are_explained, set_up, tear_down),
      cmocka_unit_test_setup_teardown(bad_gguf_tensors_are_explained, set_up, tear_down),
      cmocka_unit_test_setup_teardown(bad_gguf_keys_are_explained, set_up, tear_down),
      cmocka_unit_test_setup_teardown(bad_gguf_headers_cost_nothing, set_up, tear_down),
      cmocka_unit_test_setup_teardown(missing_files_are_named, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

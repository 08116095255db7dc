// phi3 inspect, run as a program: the module tree of a file with Phi-3-mini's shapes, totals, and what it says of bad
// input.
#include "tests/test.h"
#include "runtime/base/json.h"
#include "tests/model/make_files.h"
#include <sys/wait.h>

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

// Runs "phi3 inspect ARGS" with {} replaced by the folder; returns what it writes, to be freed.
static char *inspect(const char *args, int *code) {
  char command[4096];
  const char *at = strstr(args, "{}");
  int before = at ? (int)(at - args) : (int)strlen(args);
  snprintf(command, sizeof command, "'%s' inspect %.*s%s%s 2>&1", PHI3_PROGRAM, before, args, at ? dir : "",
           at ? at + 2 : "");
  FILE *f = popen(command, "r");
  assert_non_null(f);
  struct bytes b = {0};
  char piece[4096];
  for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;) bytes_put(&b, piece, n);
  bytes_put(&b, "", 1);
  int status = pclose(f);
  assert_true(WIFEXITED(status));
  *code = WEXITSTATUS(status);
  return (char *)b.data;
}

static void put(struct safetensors_maker *f, const char *name, int64_t rows, int64_t cols) {
  safetensors_put(f, name, "BF16", rows, cols, NULL, (size_t)((rows ? rows : 1) * cols) * 2);
}

static void put_layer(struct safetensors_maker *f, int layer) {
  static const struct {
    const char *name;
    int64_t rows, cols;
  } t[] = {{"input_layernorm", 0, 3072},          {"mlp.down_proj", 3072, 8192},    {"mlp.gate_up_proj", 16384, 3072},
           {"post_attention_layernorm", 0, 3072}, {"self_attn.o_proj", 3072, 3072}, {"self_attn.qkv_proj", 9216, 3072}};
  char name[128];
  for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
    snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, t[i].name);
    put(f, name, t[i].rows, t[i].cols);
  }
}

static void write_in(const char *name, const char *text) {
  char *path = path_in(dir, name);
  write_text(path, text);
  free(path);
}

// A folder with Phi-3-mini-4k-instruct's configuration and tensors, which read as zeros and take no room.
static void make_phi3_mini(void) {
  struct safetensors_maker f = {0};
  put(&f, "model.embed_tokens.weight", 32064, 3072);
  for (int i = 0; i < 32; i++) put_layer(&f, i);
  put(&f, "model.norm.weight", 0, 3072);
  put(&f, "lm_head.weight", 32064, 3072);
  char *path = path_in(dir, "model.safetensors");
  safetensors_write(&f, path);
  free(path);
  write_in("config.json",
           "{\"architectures\": [\"Phi3ForCausalLM\"], \"model_type\": \"phi3\", \"attention_bias\": false, "
           "\"bos_token_id\": 1,"
           "\"eos_token_id\": 32000, \"hidden_act\": \"silu\", \"hidden_size\": 3072, \"intermediate_size\": 8192,"
           "\"max_position_embeddings\": 4096, \"num_attention_heads\": 32, \"num_hidden_layers\": 32,"
           "\"num_key_value_heads\": 32, \"original_max_position_embeddings\": 4096, \"pad_token_id\": 32000,"
           "\"rms_norm_eps\": 1e-05, \"rope_scaling\": null, \"rope_theta\": 10000.0, \"sliding_window\": 2047,"
           "\"tie_word_embeddings\": false, \"vocab_size\": 32064}");
}

// The line that begins with "file" names the folder, which differs from run to run.
static void drop_file_line(char *text) {
  char *line = strstr(text, "\nfile "), *end = line ? strchr(line + 1, '\n') : NULL;
  assert_non_null(end);
  memmove(line, end, strlen(end) + 1);
}

static void phi3_mini_is_printed_as_hugging_face_does(void **state) {
  (void)state;
  int code;
  size_t size;
  make_phi3_mini();
  char *found = inspect("-m {}", &code);
  assert_int_equal(code, 0);
  drop_file_line(found);
  char *expected = (char *)read_bytes("tests/model/goldens/inspect_phi3_mini.txt", &size);
  expected[size] = 0;
  assert_string_equal(found, expected);
  free(expected);
  free(found);
}

static void json_has_the_totals(void **state) {
  (void)state;
  int code;
  make_phi3_mini();
  char *text = inspect("--json --tensors --tokens 100 {}", &code);
  assert_int_equal(code, 0);
  json_t *root;
  assert_ok(root = json_read_memory(text, strlen(text), "the output", &e));
  assert_int_equal(json_integer_value(json_object_get(root, "parameters")), 3821079552);
  assert_int_equal(json_integer_value(json_object_get(root, "weight_bytes")), 7642159104);
  const json_t *cache = json_object_get(root, "cache"), *tensors = json_object_get(root, "tensors");
  assert_int_equal(json_integer_value(json_object_get(cache, "fp16_bytes")), 100 * 32 * 2 * 3072 * 2);
  assert_int_equal(json_integer_value(json_object_get(cache, "fp32_bytes")), 100 * 32 * 2 * 3072 * 4);
  assert_int_equal(json_array_size(tensors), 195);
  assert_string_equal(json_string_value(json_object_get(json_array_get(tensors, 0), "name")), "lm_head.weight");
  json_decref(root);
  free(text);
}

static void gguf_is_printed_in_the_same_notation(void **state) {
  (void)state;
  static const char *const archs[] = {"phi3", "llama"};
  struct sample s = sample_default();
  s.layers = 1;
  sample_write_hf(&s, dir, "");
  int code;
  char *hf = inspect("{}", &code);
  for (int i = 0; i < 2; i++) {
    char *path = path_in(dir, "m.gguf");
    sample_write_gguf(&s, path, archs[i]);
    free(path);
    char *text = inspect("{}/m.gguf", &code);
    assert_int_equal(code, 0);
    assert_memory_equal(hf, text, (size_t)(strstr(hf, "\n\n") - hf));
    assert_non_null(strstr(text, "(0): Phi3DecoderLayer("));
    assert_non_null(strstr(text, "(qkv_proj): Linear(in_features=24, out_features=64, bias=False)"));
    free(text);
    text = inspect("--tensors {}/m.gguf", &code);
    assert_non_null(strstr(text, i ? "blk.0.attn_q.weight " : "blk.0.attn_qkv.weight "));
    free(text);
  }
  free(hf);
}

static void mistakes_are_told(void **state) {
  (void)state;
  static const struct {
    const char *args;
    int code;
    const char *word;
  } cases[] = {{"{}/gone", 1, "neither a path nor"},         {"{}", 1, "holds neither config.json"},
               {"-m {} x", 2, "give the model once"},        {"--tokens 0 {}", 2, "--tokens takes a whole number"},
               {"--what", 2, "there is no option '--what'"}, {"--help", 0, "Usage: phi3 inspect"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int code;
    char *text = inspect(cases[i].args, &code);
    if (code != cases[i].code || !strstr(text, cases[i].word))
      fail_msg("%s: exit code %d: %s", cases[i].args, code, text);
    free(text);
  }
  make_phi3_mini();
  int code;
  char *text = inspect("--tokens 5000 {}", &code);
  assert_int_equal(code, 1);
  assert_non_null(strstr(text, "more than the model's 4096 positions"));
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(phi3_mini_is_printed_as_hugging_face_does, set_up, tear_down),
      cmocka_unit_test_setup_teardown(json_has_the_totals, set_up, tear_down),
      cmocka_unit_test_setup_teardown(gguf_is_printed_in_the_same_notation, set_up, tear_down),
      cmocka_unit_test_setup_teardown(mistakes_are_told, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

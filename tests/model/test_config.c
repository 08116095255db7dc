// config.json as transformers' Phi3Config reads it, and what is refused.
#include "tests/test.h"
#include "runtime/base/mem.h"
#include "runtime/model/config.h"
#include "tests/model/make_files.h"
#include <math.h>

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

static void write_in(const char *name, const char *text) {
  char *path = path_in(dir, name);
  write_text(path, text);
  free(path);
}

static bool read(struct config *c, const char *json) {
  write_in("config.json", json);
  return config_read_json(c, dir, &e);
}

#define ARCH "\"architectures\": [\"Phi3ForCausalLM\"]"

static void missing_keys_have_phi3_config_defaults(void **state) {
  (void)state;
  struct config c;
  assert_ok(read(&c, "{" ARCH "}"));
  assert_string_equal(c.architecture, "Phi3ForCausalLM");
  const int32_t found[] = {c.vocab_size,
                           c.hidden_size,
                           c.intermediate_size,
                           c.num_layers,
                           c.num_heads,
                           c.num_kv_heads,
                           c.head_dim,
                           c.rotary_dim,
                           c.max_positions,
                           c.original_max_positions,
                           c.sliding_window,
                           c.bos_id,
                           c.pad_id,
                           c.num_end_ids,
                           c.end_ids[0]};
  const int32_t expected[] = {32064, 3072, 8192, 32, 32, 32, 96, 96, 4096, 4096, 0, 1, 32000, 1, 32000};
  assert_memory_equal(found, expected, sizeof expected);
  assert_true(c.rms_eps == 1e-5 && c.rope_theta == 10000 && c.rope_scale == 1 && c.rope == ROPE_PLAIN &&
              !c.tied_embeddings);
  config_free(&c);
}

static void every_key_is_read(void **state) {
  (void)state;
  struct config c;
  assert_ok(read(
      &c, "{" ARCH ", \"model_type\": \"phi3\", \"vocab_size\": 1000, \"hidden_size\": 96, \"intermediate_size\": 200,"
          "\"num_hidden_layers\": 3, \"num_attention_heads\": 6, \"num_key_value_heads\": 2, \"head_dim\": 20,"
          "\"partial_rotary_factor\": 0.7, \"max_position_embeddings\": 777, \"sliding_window\": 55, \"rms_norm_eps\": "
          "1e-6,"
          "\"rope_theta\": 500000, \"tie_word_embeddings\": true, \"bos_token_id\": null, \"pad_token_id\": 7,"
          "\"eos_token_id\": [5, 6, 5, 2000], \"hidden_act\": \"silu\", \"attention_bias\": false, \"_name_or_path\": "
          "\"x/y\"}"));
  const int32_t found[] = {c.vocab_size,
                           c.hidden_size,
                           c.intermediate_size,
                           c.num_layers,
                           c.num_heads,
                           c.num_kv_heads,
                           c.head_dim,
                           c.rotary_dim,
                           c.max_positions,
                           c.original_max_positions,
                           c.sliding_window,
                           c.bos_id,
                           c.pad_id,
                           c.num_end_ids,
                           c.end_ids[0],
                           c.end_ids[1]};
  const int32_t expected[] = {1000, 96, 200, 3, 6, 2, 20, 14, 777, 777, 55, -1, 7, 2, 5, 6};
  assert_memory_equal(found, expected, sizeof expected);
  assert_true(c.rms_eps == 1e-6 && c.rope_theta == 500000 && c.tied_embeddings);
  assert_string_equal(c.name, "x/y");
  config_free(&c);
}

static void end_ids_come_from_both_files(void **state) {
  (void)state;
  struct config c;
  write_in("generation_config.json", "{\"eos_token_id\": [32000, 32001, 32007]}");
  assert_ok(read(&c, "{" ARCH "}"));
  assert_int_equal(c.num_end_ids, 3);
  assert_int_equal(c.end_ids[2], 32007);
  config_free(&c);
  write_in("generation_config.json", "{\"eos_token_id\": \"x\"}");
  assert_fails(read(&c, "{" ARCH "}"), "generation_config.json: eos_token_id is a string");
  write_in("generation_config.json", "{\"eos_token_id\": [1,2,3,4,5,6,7,8]}");
  assert_fails(read(&c, "{" ARCH "}"), "more than 8 end ids");
}

#define LONG "\"short_factor\": [1, 1.5], \"long_factor\": [2, 3.5]"
#define SMALL                                                                                                          \
  ARCH ", \"hidden_size\": 16, \"num_attention_heads\": 4, \"vocab_size\": 64, \"max_position_embeddings\": 131072"

static void longrope_is_scaled_as_in_the_paper(void **state) {
  (void)state;
  static const struct {
    const char *json;
    double scale;
    int32_t original;
  } cases[] = {
      {"{" SMALL ", \"rope_scaling\": {\"type\": \"longrope\", " LONG "}}", 1.19023807,
       4096}, // sqrt(1 + ln 32 / ln 4096)
      {"{" SMALL ", \"rope_scaling\": {\"type\": \"su\", " LONG "}}", 1.19023807, 4096},
      {"{" SMALL ", \"rope_scaling\": {\"type\": \"yarn\", " LONG "}}", 1.19023807,
       4096}, // an old name, with longrope's factors
      {"{" SMALL ", \"rope_scaling\": {\"rope_type\": \"longrope\", \"attention_factor\": 1.25, " LONG "}}", 1.25,
       4096},
      {"{" SMALL ", \"rope_scaling\": {\"rope_type\": \"longrope\", \"factor\": 4.0, \"short_mscale\": 3, " LONG "}}",
       1.08012345, 4096},
      {"{" SMALL ", \"original_max_position_embeddings\": 131072, \"rope_scaling\": {\"type\": \"su\", " LONG "}}", 1,
       131072},
      {"{" SMALL ", \"original_max_position_embeddings\": 8192, \"rope_theta\": 5, \"rope_parameters\": "
                 "{\"rope_type\": \"longrope\","
       "\"rope_theta\": 20000.0, \"partial_rotary_factor\": 1.0, \"original_max_position_embeddings\": 3, " LONG "}}",
       1.14354375, 8192},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct config c;
    assert_ok(read(&c, cases[i].json));
    assert_int_equal(c.rope, ROPE_LONGROPE);
    assert_int_equal(c.original_max_positions, cases[i].original);
    if (!(fabs((double)c.rope_scale - cases[i].scale) < 1e-6))
      fail_msg("case %zu: scale %.9g, expected %.9g", i, (double)c.rope_scale, cases[i].scale);
    assert_true(c.short_factor[1] == 1.5f && c.long_factor[0] == 2 && c.long_factor[1] == 3.5f);
    assert_true(i + 1 < sizeof cases / sizeof *cases || c.rope_theta == 20000);
    config_free(&c);
  }
}

static void newer_rope_parameters_are_read(void **state) {
  (void)state;
  struct config c;
  assert_ok(read(
      &c,
      "{" ARCH
      ", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 250000, \"partial_rotary_factor\": 0.5}}"));
  assert_true(c.rope_theta == 250000 && c.rotary_dim == 48 && c.rope == ROPE_PLAIN);
  config_free(&c);
  assert_ok(read(&c, "{" ARCH ", \"rope_scaling\": {}, \"rope_theta\": 7, \"partial_rotary_factor\": 0.25}"));
  assert_true(c.rope_theta == 7 && c.rotary_dim == 24 && c.rope == ROPE_PLAIN);
  config_free(&c);
}

static void what_cannot_be_run_is_named(void **state) {
  (void)state;
  static const struct {
    const char *json, *word;
  } cases[] = {
      {"{\"architectures\": [\"MistralForCausalLM\"]}",
       "config.json: architecture MistralForCausalLM is not supported; this program runs Phi3ForCausalLM"},
      {"{\"architectures\": []}", "(none)"},
      {"{\"architectures\": \"Phi3ForCausalLM\"}", "architectures is a string"},
      {"{\"architectures\": [3]}", "architectures is an integer"},
      {"{\"model_type\": \"llama\"}", "model type llama"},
      {"{}", "names no architecture"},
      {"[]", "is an array, expected an object"},
      {"{" ARCH, "not valid JSON"},
      {"{" ARCH ", \"hidden_act\": \"gelu\"}", "hidden_act 'gelu'"},
      {"{" ARCH ", \"attention_bias\": true}", "attention_bias"},
      {"{" ARCH ", \"mlp_bias\": true}", "mlp_bias"},
      {"{" ARCH ", \"attention_bias\": 1}", "attention_bias is an integer"},
      {"{" ARCH ", \"quantization_config\": {\"quant_method\": \"awq\"}}", "awq"},
      {"{" ARCH ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}}", "'linear'"},
      {"{" ARCH ", \"rope_scaling\": {\"rope_type\": \"llama3\"}}", "'llama3'"},
      {"{" ARCH ", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2.0}}", "'yarn'"},
      {"{" ARCH ", \"rope_parameters\": {\"rope_type\": \"dynamic\"}}", "'dynamic'"},
      {"{" ARCH ", \"rope_scaling\": \"su\"}", "rope_scaling is a string"},
      {"{" ARCH ", \"rope_scaling\": {\"type\": \"su\", \"short_factor\": [1]}}",
       "short_factor has 1 numbers, expected 48"},
      {"{" SMALL ", \"rope_scaling\": {\"type\": \"su\", \"short_factor\": [1, 1]}}", "long_factor is missing"},
      {"{" SMALL ", \"rope_scaling\": {\"type\": \"su\", \"short_factor\": [1, 1], \"long_factor\": [1, \"x\"]}}",
       "long_factor is a string"},
      {"{" SMALL ", \"rope_scaling\": {\"type\": \"su\", \"short_factor\": [1, 0], \"long_factor\": [1, 1]}}",
       "short_factor is 0"},
      {"{" SMALL ", \"original_max_position_embeddings\": 1, \"rope_scaling\": {\"type\": \"su\", " LONG "}}",
       "1 original positions"},
      {"{" ARCH ", \"vocab_size\": 0}", "vocabulary size is 0"},
      {"{" ARCH ", \"vocab_size\": 3.5}", "vocab_size is a number"},
      {"{" ARCH ", \"vocab_size\": 99999999999}", "out of range"},
      {"{" ARCH ", \"hidden_size\": -3}", "hidden size is -3"},
      {"{" ARCH ", \"num_attention_heads\": 0}", "num_attention_heads is 0"},
      {"{" ARCH ", \"num_key_value_heads\": 5}", "not a multiple of 5"},
      {"{" ARCH ", \"num_key_value_heads\": 64}", "key-value heads is 64"},
      {"{" ARCH ", \"num_attention_heads\": 12}", "head size is 256"},
      {"{" ARCH ", \"head_dim\": 7}", "head size is 7"},
      {"{" ARCH ", \"partial_rotary_factor\": 1.5}", "partial_rotary_factor is 1.5"},
      {"{" ARCH ", \"partial_rotary_factor\": 0.01}", "rotated channels is 0"},
      {"{" ARCH ", \"head_dim\": 20, \"partial_rotary_factor\": 0.75}", "rotated channels is 15"},
      {"{" ARCH ", \"sliding_window\": 0}", "sliding_window is 0"},
      {"{" ARCH ", \"rms_norm_eps\": 0}", "epsilon is 0"},
      {"{" ARCH ", \"rms_norm_eps\": -1e-5}", "epsilon is -1e-05"},
      {"{" ARCH ", \"rope_theta\": 0}", "rotary base is 0"},
      {"{" ARCH ", \"num_hidden_layers\": 100000}", "layers is 100000"},
      {"{" ARCH ", \"eos_token_id\": true}", "eos_token_id is true"},
      {"{" ARCH ", \"vocab_size\": 1, \"vocab_size\": 1}", "duplicate"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct config c;
    assert_fails(read(&c, cases[i].json), cases[i].word);
    assert_non_null(strstr(e.text, "config.json"));
  }
}

static void every_failed_allocation_is_reported(void **state) {
  (void)state;
  struct config c;
  write_in("generation_config.json", "{\"eos_token_id\": [32000, 32001, 32007]}");
  const char *json = "{" SMALL ", \"rope_scaling\": {\"type\": \"su\", " LONG "}}";
  assert_ok(read(&c, json));
  config_free(&c);
  long k = 1;
  for (;; k++) {
    mem_fail_from(k);
    e = (struct err){0};
    bool ok = config_read_json(&c, dir, &e);
    mem_fail_from(0);
    if (ok) break;
    if (!e.no_memory) fail_msg("allocation %ld: %s", k, e.text);
  }
  config_free(&c);
  assert_true(k > 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(missing_keys_have_phi3_config_defaults, set_up, tear_down),
      cmocka_unit_test_setup_teardown(every_key_is_read, set_up, tear_down),
      cmocka_unit_test_setup_teardown(end_ids_come_from_both_files, set_up, tear_down),
      cmocka_unit_test_setup_teardown(longrope_is_scaled_as_in_the_paper, set_up, tear_down),
      cmocka_unit_test_setup_teardown(newer_rope_parameters_are_read, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_cannot_be_run_is_named, set_up, tear_down),
      cmocka_unit_test_setup_teardown(every_failed_allocation_is_reported, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

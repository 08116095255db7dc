// Broken tokenizer files give one sentence that names file and key; memory that runs out at any allocation gives an
// error and no leak.
#include "tests/test.h"
#include "runtime/base/mem.h"
#include "runtime/model/utf8.h"
#include "tests/tokenizer/tokenizer_files.h"

#define WITH(model, rest) "{\"model\":{" model "}" rest "}"
#define GOOD              "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]"
#define ADDED(token)      WITH(GOOD, ",\"added_tokens\":[" token "]")
#define PRE(step)         WITH(GOOD, ",\"pre_tokenizer\":" step)
#define DECODER(step)     WITH(GOOD, ",\"decoder\":" step)

static void broken_json(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"", "tokenizer.json"},
      {"{", "tokenizer.json"},
      {"[]", "object"},
      {"{}", "model is missing"},
      {"{\"model\":[]}", "model is an array"},
      {WITH("\"type\":\"Unigram\"", ""), "'Unigram'"},
      {WITH("\"type\":7", ""), "type is an integer"},
      {WITH("\"merges\":[]", ""), "vocab is missing"},
      {WITH("\"vocab\":[],\"merges\":[]", ""), "vocab is an array"},
      {WITH("\"vocab\":{\"a\":0}", ""), "merges is missing"},
      {WITH("\"vocab\":{\"a\":0},\"merges\":{}", ""), "merges is an object"},
      {WITH("\"vocab\":{\"a\":\"0\"},\"merges\":[]", ""), "'a' is not an integer"},
      {WITH("\"vocab\":{\"a\":-1},\"merges\":[]", ""), "id -1"},
      {WITH("\"vocab\":{\"a\":1.5},\"merges\":[]", ""), "not an integer"},
      {WITH("\"vocab\":{\"a\":2147483648},\"merges\":[]", ""), "id 2147483648"},
      {WITH("\"vocab\":{\"a\":99999999999999999999},\"merges\":[]", ""), "not an integer"},
      {WITH("\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]", ""), "two pieces"},
      {WITH("\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]", ""), "duplicate"},
      {WITH("\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]", ""), "'ab'"},
      {WITH("\"vocab\":{\"a\":0,\"ab\":1},\"merges\":[\"a b\"]", ""), "'b'"},
      {WITH("\"vocab\":{\"a\":0},\"merges\":[\"a\"]", ""), "merges: entry 0"},
      {WITH("\"vocab\":{\"a\":0},\"merges\":[\"a b c\"]", ""), "merges: entry 0"},
      {WITH("\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]", ""), "merges: entry 0"},
      {WITH("\"vocab\":{\"a\":0},\"merges\":[[\"a\",1]]", ""), "merges: entry 0"},
      {WITH("\"vocab\":{\"a\":0},\"merges\":[7]", ""), "merges: entry 0"},
      {WITH(GOOD ",\"dropout\":0.5", ""), "dropout"},
      {WITH(GOOD ",\"continuing_subword_prefix\":\"##\"", ""), "'##'"},
      {WITH(GOOD ",\"end_of_word_suffix\":\"</w>\"", ""), "'</w>'"},
      {WITH(GOOD ",\"byte_fallback\":1", ""), "byte_fallback"},
      {WITH(GOOD ",\"unk_token\":0", ""), "unk_token"},
      {ADDED("7"), "entry 0"},
      {ADDED("{\"id\":0}"), "content is missing"},
      {ADDED("{\"content\":\"x\"}"), "id is missing"},
      {ADDED("{\"id\":-5,\"content\":\"x\"}"), "id -5"},
      {ADDED("{\"id\":4000000000,\"content\":\"x\"}"), "id 4000000000"},
      {ADDED("{\"id\":3,\"content\":\"x\",\"lstrip\":\"no\"}"), "lstrip"},
      {ADDED("{\"id\":3,\"content\":\"x\"},{\"id\":4,\"content\":\"x\",\"special\":true}"), "other flags"},
      {WITH(GOOD, ",\"added_tokens\":{}"), "added_tokens is an object"},
      {WITH("\"vocab\":{\"a\":0,\"b\":2},\"merges\":[]", ",\"added_tokens\":[{\"id\":3,\"content\":\"x\"}]"),
       "id 2 belongs to two pieces"},
      {WITH(GOOD, ",\"normalizer\":{\"type\":\"NFKC\"}"), "NFKC: this normalizer is not supported"},
      {WITH(GOOD, ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}]}"), "Lowercase"},
      {WITH(GOOD, ",\"normalizer\":{}"), "no type"},
      {WITH(GOOD, ",\"normalizer\":5"), "normalizer"},
      {WITH(GOOD, ",\"normalizer\":{\"type\":\"Prepend\"}"), "prepend is missing"},
      {WITH(GOOD, ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}"), "empty"},
      {PRE("{\"type\":\"BertPreTokenizer\"}"), "BertPreTokenizer"},
      {PRE("{\"type\":\"Sequence\"}"), "pretokenizers is missing"},
      {PRE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}"), "Split"},
      {PRE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Strange\"}"), "'Strange'"},
      {PRE("{\"type\":\"Split\",\"pattern\":\"a\",\"behavior\":\"Isolated\"}"), "pattern"},
      {PRE("{\"type\":\"Metaspace\",\"replacement\":\"ab\"}"), "one character"},
      {PRE("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"often\"}"), "prepend_scheme"},
      {DECODER("{\"type\":\"CTC\"}"), "CTC"},
      {DECODER("{\"type\":\"Strip\",\"content\":\" \",\"start\":0,\"stop\":1}"), "stop"},
      {DECODER("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}]}"), "behind"},
      {WITH(GOOD, ",\"post_processor\":{\"type\":\"BertProcessing\"}"), "BertProcessing"},
      {WITH(GOOD, ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}"), "no Sequence A"},
      {WITH(GOOD,
            ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}]}"),
       "'x'"},
  };
  struct err e;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    e.text[0] = 0;
    struct tokenizer *t = open_text(cases[i][0], &e);
    if (t) fail_msg("case %zu was taken: %s", i, cases[i][0]);
    if (!strstr(e.text, cases[i][1])) fail_msg("case %zu: '%s' does not mention '%s'", i, e.text, cases[i][1]);
    if (!strstr(e.text, "tokenizer.json")) fail_msg("case %zu: '%s' does not name the file", i, e.text);
  }
}

static void broken_config(void **state) {
  (void)state;
  struct err e;
  assert_fails(open_texts(WITH(GOOD, ""), "{\"add_bos_token\":true}", &e), "bos_token names no piece");
  assert_fails(open_texts(WITH(GOOD, ""), "{\"add_bos_token\":true,\"bos_token\":\"zzz\"}", &e),
               "tokenizer_config.json");
  assert_fails(open_texts(WITH(GOOD, ""), "{\"add_bos_token\":1}", &e), "add_bos_token");
  assert_fails(open_texts(WITH(GOOD, ""), "{\"bos_token\":1}", &e), "bos_token");
  assert_fails(open_texts(WITH(GOOD, ""), "[]", &e), "tokenizer_config.json");
  assert_fails(open_texts(WITH(GOOD, ""), "{\"a", &e), "tokenizer_config.json");
  char *dir = temp_dir(), *nothing = path_in(dir, "nothing/tokenizer.json");
  assert_fails(tokenizer_open(nothing, &e), nothing);
  assert_fails(tokenizer_open(dir, &e), "there is no tokenizer.json");
  free(nothing);
  temp_dir_remove(dir);
}

// What may be missing, and odd but lawful values.
static void lenient(void **state) {
  (void)state;
  struct err e;
  struct ids ids = {0};
  struct tokenizer *t;
  assert_ok(t = open_texts(
                WITH(GOOD, ""),
                "{\"add_bos_token\":true,\"bos_token\":{\"content\":\"b\"},\"add_eos_token\":true,\"eos_token\":\"a\"}",
                &e));
  assert_ids(t, "ab?a", 4, true, (const int32_t[]){1, 2, 0, 0}, 4);
  assert_ids(t, "", 0, false, NULL, 0);
  tokenizer_close(t);
  // A hole in the ids, an empty vocabulary, an unk_token that only matters when it is needed.
  assert_ok(t = open_text(WITH("\"vocab\":{\"a\":7},\"merges\":[],\"unk_token\":\"u\"", ""), &e));
  assert_int_equal(tokenizer_vocab_size(t), 8);
  assert_null(tokenizer_piece(t, 3, NULL));
  assert_ids(t, "aa", 2, false, (const int32_t[]){7, 7}, 2);
  assert_ok(ids_push(&ids, 5, &e));
  assert_fails(tokenizer_encode(t, "ab", 2, false, &ids, &e), "U+0062");
  assert_int_equal(ids.count, 1); // as it was
  ids_free(&ids);
  tokenizer_close(t);
  // A word that is a piece, though no merges lead to it.
#define UNREACHED "\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4},\"merges\":[\"a b\"]"
  assert_ok(t = open_text(WITH(UNREACHED ",\"ignore_merges\":true", ""), &e));
  assert_ids(t, "abc", 3, false, (const int32_t[]){4}, 1);
  tokenizer_close(t);
  assert_ok(t = open_text(WITH(UNREACHED, ""), &e));
  assert_ids(t, "abc", 3, false, (const int32_t[]){3, 2}, 2);
  tokenizer_close(t);
  assert_ok(t = open_text(WITH("\"vocab\":{},\"merges\":[]", ""), &e));
  assert_ids(t, "ab", 2, true, NULL, 0);
  tokenizer_close(t);
}

// Opens, encodes, decodes and renders; false where memory ran out.
static bool whole_life(const char *path, struct err *e) {
  static const struct chat_message hello[] = {{"user", "Hello"}};
  static const char text[] = "The capital of\xFF France <|end|>\n is <|im_start|> 123 \xE6\xBC\xA2";
  struct ids ids = {0};
  size_t n;
  struct tokenizer *t = tokenizer_open(path, e);
  struct decoder *d = t ? decoder_open(t, false, e) : NULL;
  bool ok = d && tokenizer_encode(t, text, sizeof text - 1, true, &ids, e);
  for (int64_t i = 0; ok && i < ids.count; i++) ok = decoder_push(d, ids.data[i], &n, e) != NULL;
  ok = ok && decoder_finish(d, &n, e);
  char *chat = ok ? tokenizer_chat_render(t, hello, 1, e) : NULL;
  char *piece = chat ? tokenizer_token_text(t, ids.data[0], &n, e) : NULL;
  ok = piece != NULL;
  mem_free(chat);
  mem_free(piece);
  ids_free(&ids);
  decoder_close(d);
  tokenizer_close(t);
  return ok;
}

static void out_of_memory(const char *path) {
  struct err e;
  mem_fail_from(0);
  assert_ok(whole_life(path, &e));
  long all = mem_tried();
  assert_true(all > 20);
  for (long k = 1; k <= all; k++) {
    e = (struct err){0};
    mem_fail_from(k);
    bool ok = whole_life(path, &e);
    mem_fail_from(0);
    if (ok) fail_msg("succeeded although allocation %ld of %ld failed", k, all);
    if (!e.text[0] || !e.no_memory) fail_msg("allocation %ld of %ld: the error is '%s'", k, all, e.text);
  }
}

// Small files, so that each allocation can be tried.
static void no_memory_spm(void **state) {
  (void)state;
  char *dir = temp_dir(), *path = path_in(dir, "tokenizer.json"), *config = path_in(dir, "tokenizer_config.json");
  write_text(
      path,
      WITH("\"vocab\":{\"<unk>\":0,\"T\":1,\"h\":2,\"Th\":3,\"<0xE6>\":4,\"<0xBC>\":5,\"<0xA2>\":6},\"merges\":[\"T "
           "h\"],"
           "\"byte_fallback\":true,\"unk_token\":\"<unk>\"",
           ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"_\"},"
           "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"_\"}]},"
           "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},"
           "\"content\":\" \"},"
           "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" "
           "\",\"start\":1,\"stop\":0}]},"
           "\"added_tokens\":[{\"id\":7,\"content\":\"<|end|>\",\"rstrip\":true,\"special\":true,\"normalized\":false},"
           "{\"id\":8,\"content\":\"of\",\"single_word\":true,\"lstrip\":true,\"normalized\":true}]"));
  write_text(config, "{\"chat_template\":\"<|im_start|>system\\nBe.<|im_end|>\"}");
  out_of_memory(dir);
  free(path);
  free(config);
  temp_dir_remove(dir);
}

static void no_memory_bytes(void **state) {
  (void)state;
  char *dir = temp_dir(), *path = path_in(dir, "tokenizer.json");
  write_text(
      path,
      WITH(
          "\"vocab\":{\"<|im_start|>\":0,\"<|im_end|>\":1,\"T\":2,\"h\":3,\"Th\":4,\"e\":5},\"merges\":[[\"T\",\"h\"]]",
          ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":"
          "true},"
          "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}]},\"decoder\":{\"type\":\"ByteLevel\"},"
          "\"added_tokens\":[{\"id\":0,\"content\":\"<|im_start|>\",\"special\":true,\"normalized\":false},"
          "{\"id\":1,\"content\":\"<|im_end|>\",\"special\":true,\"normalized\":false}]"));
  out_of_memory(path);
  free(path);
  temp_dir_remove(dir);
}

static void no_memory_gguf(void **state) {
  (void)state;
  static const char *const tokens[] = {"<unk>", "<|im_start|>", "<|im_end|>", "T", "h", "Th", "\xE2\x96\x81"};
  char *dir = temp_dir(), *path = path_in(dir, "model.gguf");
  struct gguf_maker g = {0};
  gguf_put_string(&g, "tokenizer.ggml.model", "llama");
  gguf_put_strings(&g, "tokenizer.ggml.tokens", tokens, 7);
  gguf_put_f32s(&g, "tokenizer.ggml.scores", (const float[]){0, 0, 0, 0, 0, -1, 0}, 7);
  gguf_put_i32s(&g, "tokenizer.ggml.token_type", (const int32_t[]){2, 3, 3, 1, 1, 1, 1}, 7);
  gguf_put_u32(&g, "tokenizer.ggml.unknown_token_id", 0);
  gguf_write(&g, path);
  out_of_memory(path);
  free(path);
  temp_dir_remove(dir);
}

// Random damage: never a crash, and an error has text.
static void damaged(void **state) {
  (void)state;
  uint64_t seed = test_seed();
  struct err e;
  size_t size;
  uint8_t *good = read_bytes(BYTE_LEVEL "/tokenizer.json", &size);
  char *dir = temp_dir(), *path = path_in(dir, "tokenizer.json");
  uint8_t *bad = malloc(size);
  int taken = 0;
  for (int round = 0; round < 200; round++) {
    memcpy(bad, good, size);
    for (int i = 0; i < 1 + round % 4; i++)
      bad[test_random(&seed) % size] = (uint8_t) "\"{}[]:,0a \\"[test_random(&seed) % 11];
    write_bytes(path, bad, round % 5 ? size : test_random(&seed) % size);
    e.text[0] = 0;
    struct tokenizer *t = tokenizer_open(path, &e);
    if (!t) assert_true(e.text[0]);
    taken += t != NULL;
    tokenizer_close(t);
  }
  print_message("%d of 200 were taken\n", taken);
  free(bad);
  free(good);
  free(path);
  temp_dir_remove(dir);
}

// Files that would keep the machine busy for ever: each text is refused at once, and a lawful one still taken.
static void endless(void **state) {
  (void)state;
  static const char grow[] = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaaaaaaaa\"}";
  struct err e;
  struct ids ids = {0};
  struct buffer many = {0};
  size_t n;
  for (int i = 0; i < 15; i++)
    assert_ok(buffer_append(&many, i ? "," : "", i > 0, &e) && buffer_append(&many, grow, sizeof grow - 1, &e));
  assert_ok(buffer_append(&many, "", 1, &e));
  char json[4096];
  struct tokenizer *t;
  snprintf(json, sizeof json, WITH(GOOD, ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[%s]}"), many.data);
  assert_ok(t = open_text(json, &e));
  assert_fails(tokenizer_encode(t, "a", 1, false, &ids, &e), "steps make more than");
  assert_ok(tokenizer_encode(t, "b", 1, false, &ids, &e));
  tokenizer_close(t);
  snprintf(json, sizeof json, WITH(GOOD, ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[%s]}"), many.data);
  assert_ok(t = open_text(json, &e));
  struct decoder *d = decoder_open(t, false, &e);
  assert_non_null(d);
  assert_fails(decoder_push(d, 0, &n, &e), "decoders make more than");
  assert_fails(tokenizer_token_text(t, 0, &n, &e), "decoders make more than");
  decoder_close(d);
  tokenizer_close(t);
  buffer_free(&many);
  assert_ok(
      t = open_text(PRE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a|a)*$\"},\"behavior\":\"Isolated\"}"), &e));
  assert_fails(tokenizer_encode(t, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", 40, false, &ids, &e),
               "does not come to an end");
  assert_ok(tokenizer_encode(t, "aab", 3, false, &ids, &e));
  tokenizer_close(t);
  ids_free(&ids);
}

// What transformers 4.57 makes of add_bos_token: its Llama class puts BOS where the key says, its plain one where
// tokenizer.json does.
static void frame_of_classes(void **state) {
  (void)state;
  struct err e;
  static const char post[] =
      WITH(GOOD, ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"b\"}},"
                 "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"b\":{\"ids\":[1]}}}");
  static const struct {
    const char *json, *class;
    bool says, has;
  } cases[] = {
      {post, "\"LlamaTokenizerFast\"", false, false},
      {post, "\"LlamaTokenizer\"", true, true},
      {post, "\"PreTrainedTokenizerFast\"", false, true},
      {post, "\"GPT2Tokenizer\"", false, true},
      {post, "null", false, false},
      {WITH(GOOD, ""), "\"LlamaTokenizer\"", true, true},
      {WITH(GOOD, ""), "\"PreTrainedTokenizerFast\"", true, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char config[200];
    struct tokenizer *t;
    snprintf(config, sizeof config, "{\"tokenizer_class\":%s,\"add_bos_token\":%s,\"bos_token\":\"b\"}", cases[i].class,
             cases[i].says ? "true" : "false");
    assert_ok(t = open_texts(cases[i].json, config, &e));
    if (tokenizer_adds_bos(t) != cases[i].has) fail_msg("case %zu", i);
    assert_ids(t, "a", 1, true, cases[i].has ? (const int32_t[]){1, 0} : (const int32_t[]){0}, 1 + cases[i].has);
    tokenizer_close(t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(broken_json),     cmocka_unit_test(frame_of_classes), cmocka_unit_test(endless),
      cmocka_unit_test(broken_config),   cmocka_unit_test(lenient),          cmocka_unit_test(no_memory_spm),
      cmocka_unit_test(no_memory_bytes), cmocka_unit_test(no_memory_gguf),   cmocka_unit_test(damaged)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

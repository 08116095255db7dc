// Tokenizers from GGUF metadata: the same ids as the tokenizer.json they stand for.
#include "tests/test.h"
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include "tests/tokenizer/tokenizer_files.h"

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

// The metadata of a tokenizer.json, as converters write it.
struct twin {
  char **tokens;
  char **merges;
  int32_t *types;
  float *scores;
  uint64_t count, num_merges;
};

static char *copy(const char *s) { return strcpy(malloc(strlen(s) + 1), s); }

static void read_twin(struct twin *w, const char *path) {
  struct err e;
  struct tokenizer *t;
  assert_ok(t = tokenizer_open(path, &e));
  json_t *root = json_read_file(path, &e);
  const json_t *model = json_object_get(root, "model"), *merges = json_object_get(model, "merges"),
               *added = json_object_get(root, "added_tokens");
  w->count = (uint64_t)tokenizer_vocab_size(t);
  w->num_merges = json_array_size(merges);
  w->tokens = calloc(w->count, sizeof *w->tokens);
  w->types = calloc(w->count, sizeof *w->types);
  w->scores = calloc(w->count, sizeof *w->scores);
  w->merges = calloc(w->num_merges, sizeof *w->merges);
  for (uint64_t i = 0; i < w->count; i++) {
    w->tokens[i] = copy(tokenizer_piece(t, (int32_t)i, NULL));
    w->types[i] = w->tokens[i][0] == '<' && w->tokens[i][1] == '0' && strlen(w->tokens[i]) == 6 ? BYTE : NORMAL;
    w->scores[i] = -1e9f;
  }
  for (size_t i = 0; i < json_array_size(added); i++) {
    const json_t *a = json_array_get(added, i);
    int32_t id = tokenizer_find(t, json_string_value(json_object_get(a, "content")));
    w->types[id] = json_is_true(json_object_get(a, "special")) ? CONTROL : USER_DEFINED;
  }
  // SentencePiece's score of a piece falls with the rank of its first merge.
  for (uint64_t i = 0; i < w->num_merges; i++) {
    const json_t *merge = json_array_get(merges, i); // "a b" or ["a", "b"]
    char m[256], piece[256];
    if (json_is_string(merge)) snprintf(m, sizeof m, "%s", json_string_value(merge));
    else
      snprintf(m, sizeof m, "%s %s", json_string_value(json_array_get(merge, 0)),
               json_string_value(json_array_get(merge, 1)));
    const char *space = strchr(m, ' ');
    w->merges[i] = copy(m);
    snprintf(piece, sizeof piece, "%.*s%s", (int)(space - m), m, space + 1);
    int32_t id = tokenizer_find(t, piece);
    if (w->scores[id] == -1e9f) w->scores[id] = -(float)i;
  }
  json_decref(root);
  tokenizer_close(t);
}

static void free_twin(struct twin *w) {
  for (uint64_t i = 0; i < w->count; i++) free(w->tokens[i]);
  for (uint64_t i = 0; i < w->num_merges; i++) free(w->merges[i]);
  free(w->tokens);
  free(w->merges);
  free(w->types);
  free(w->scores);
}

static void put_twin(struct gguf_maker *g, const struct twin *w, const char *model) {
  gguf_put_string(g, "general.architecture", "phi3");
  gguf_put_string(g, "tokenizer.ggml.model", model);
  gguf_put_strings(g, "tokenizer.ggml.tokens", (const char *const *)w->tokens, w->count);
  gguf_put_i32s(g, "tokenizer.ggml.token_type", w->types, w->count);
  if (strcmp(model, "llama") == 0) gguf_put_f32s(g, "tokenizer.ggml.scores", w->scores, w->count);
  else gguf_put_strings(g, "tokenizer.ggml.merges", (const char *const *)w->merges, w->num_merges);
}

static struct tokenizer *open_gguf(struct gguf_maker *g, struct err *e) {
  char *dir = temp_dir(), *path = path_in(dir, "model.gguf");
  gguf_write(g, path);
  struct tokenizer *t = tokenizer_open(path, e);
  free(path);
  temp_dir_remove(dir);
  return t;
}

static size_t random_text(uint64_t *seed, char *text) {
  static const char *const parts[] = {"the ",
                                      "Paris",
                                      " capital",
                                      "\n",
                                      "  ",
                                      "1234",
                                      "\xC3\xA9",
                                      "\xE6\xBC\xA2",
                                      "\xF0\x9F\x98\x80",
                                      "<s>",
                                      "</s> \n",
                                      "<|end|>\n",
                                      "<|user|> ",
                                      "<|im_start|>",
                                      "<unk>",
                                      "don't",
                                      "\xFF",
                                      "\xE2\x96\x81",
                                      "e",
                                      "s",
                                      "th",
                                      "in"};
  size_t len = 0, n = 1 + test_random(seed) % 20;
  for (size_t i = 0; i < n; i++) {
    const char *p = parts[test_random(seed) % (sizeof parts / sizeof *parts)];
    memcpy(text + len, p, strlen(p));
    len += strlen(p);
  }
  return len;
}

static void compare(const struct tokenizer *json, const struct tokenizer *gguf) {
  uint64_t seed = test_seed();
  struct err e;
  for (int round = 0; round < 3000; round++) {
    char text[400];
    size_t len = random_text(&seed, text), a_len, b_len;
    struct ids want = {0};
    assert_ok(tokenizer_encode(json, text, len, false, &want, &e));
    assert_ids(gguf, text, len, false, want.data, (size_t)want.count);
    char *a = decode_all(json, want.data, (size_t)want.count, round % 2, &a_len),
         *b = decode_all(gguf, want.data, (size_t)want.count, round % 2, &b_len);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a, b, a_len);
    bytes_free(&(struct bytes){.data = (uint8_t *)a});
    bytes_free(&(struct bytes){.data = (uint8_t *)b});
    ids_free(&want);
  }
}

// nano is Phi-3's kind: its flags are known by its tokens.
static void spm(void **state) {
  (void)state;
  struct err e;
  struct twin w;
  struct gguf_maker g = {0};
  struct tokenizer *t, *json;
  read_twin(&w, NANO "/tokenizer.json");
  put_twin(&g, &w, "llama");
  gguf_put_u32(&g, "tokenizer.ggml.unknown_token_id", 0);
  gguf_put_u32(&g, "tokenizer.ggml.bos_token_id", 1);
  gguf_put_u32(&g, "tokenizer.ggml.eos_token_id", 2);
  gguf_put_bool(&g, "tokenizer.ggml.add_bos_token", true); // as llama.cpp's converter writes it for Phi-3
  assert_ok(t = open_gguf(&g, &e));
  assert_ok(json = tokenizer_open(NANO, &e));
  compare(json, t);
  assert_false(tokenizer_adds_bos(t));
  assert_int_equal(tokenizer_chat_format(t), CHAT_PHI3);
  assert_int_equal(tokenizer_eos(t), 2);
  tokenizer_close(t);
  tokenizer_close(json);
  free_twin(&w);
}

static void byte_level(void **state) {
  (void)state;
  static const char *const folders[] = {BYTE_LEVEL, "tests/goldens/tokenizer/gpt2"}, *const pre[] = {"smollm", "gpt-2"};
  struct err e;
  for (int i = 0; i < 2; i++) {
    struct twin w;
    struct gguf_maker g = {0};
    struct tokenizer *t, *json;
    char path[200];
    snprintf(path, sizeof path, "%s/tokenizer.json", folders[i]);
    read_twin(&w, path);
    put_twin(&g, &w, "gpt2");
    gguf_put_string(&g, "tokenizer.ggml.pre", pre[i]);
    assert_ok(t = open_gguf(&g, &e));
    assert_ok(json = tokenizer_open(folders[i], &e));
    compare(json, t);
    assert_int_equal(tokenizer_bos(t), -1);
    tokenizer_close(t);
    tokenizer_close(json);
    free_twin(&w);
  }
}

// A few tokens by hand: BOS by default, padding names are no pieces, ties of scores go by id, no prefix where the file
// says so.
static void by_hand(void **state) {
  (void)state;
  static const char *const tokens[] = {"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a",      "b",
                                       "ab",    "ba",  "aba",  "[PAD9]",       "[PAD10]"};
  static const int32_t types[] = {UNKNOWN, CONTROL, CONTROL, NORMAL, NORMAL, NORMAL,
                                  NORMAL,  NORMAL,  NORMAL,  UNUSED, UNKNOWN};
  static const float scores[] = {0, 0, 0, -9, -9, -9, -1, -1, -2, 0, 0};
  for (int prefix = 0; prefix < 2; prefix++) {
    struct err e;
    struct gguf_maker g = {0};
    struct tokenizer *t;
    gguf_put_string(&g, "tokenizer.ggml.model", "llama");
    gguf_put_strings(&g, "tokenizer.ggml.tokens", tokens, 11);
    gguf_put_i32s(&g, "tokenizer.ggml.token_type", types, 11);
    gguf_put_f32s(&g, "tokenizer.ggml.scores", scores, 11);
    gguf_put_u32(&g, "tokenizer.ggml.bos_token_id", 1);
    gguf_put_u32(&g, "tokenizer.ggml.eos_token_id", 2);
    gguf_put_u32(&g, "tokenizer.ggml.unknown_token_id", 0);
    gguf_put_bool(&g, "tokenizer.ggml.add_space_prefix", prefix);
    gguf_put_bool(&g, "tokenizer.ggml.add_eos_token", true);
    assert_ok(t = open_gguf(&g, &e));
    static const int32_t with[] = {1, 3, 8, 0, 6, 2}, without[] = {1, 8, 0, 6, 2};
    assert_ids(t, "aba??ab", 7, true, prefix ? with : without, prefix ? 6 : 5);
    assert_int_equal(tokenizer_vocab_size(t), 11);
    assert_null(tokenizer_piece(t, 9, NULL));
    assert_int_equal(tokenizer_find(t, "[PAD10]"), -1);
    assert_true(tokenizer_is_special(t, 0) && tokenizer_is_special(t, 2) && !tokenizer_is_special(t, 6));
    assert_true(tokenizer_adds_bos(t));
    size_t len;
    char *s = decode_all(t, (const int32_t[]){3, 8, 9, 3, 6, 2}, 6, true, &len);
    assert_string_equal(s, prefix ? "aba ab" : " aba ab");
    bytes_free(&(struct bytes){.data = (uint8_t *)s});
    tokenizer_close(t);
  }
}

static const char *const few[] = {"a", "b", "ab"};

static void put_few(struct gguf_maker *g, const char *model) {
  *g = (struct gguf_maker){0};
  gguf_put_string(g, "tokenizer.ggml.model", model);
  gguf_put_strings(g, "tokenizer.ggml.tokens", few, 3);
}

static void refused(void **state) {
  (void)state;
  struct err e;
  struct gguf_maker g = {0};
  gguf_put_string(&g, "general.architecture", "phi3");
  assert_fails(open_gguf(&g, &e), "tokenizer.ggml.model");
  put_few(&g, "bert");
  assert_fails(open_gguf(&g, &e), "'bert'");
  put_few(&g, "llama");
  assert_fails(open_gguf(&g, &e), "tokenizer.ggml.scores is missing");
  put_few(&g, "llama");
  gguf_put_f32s(&g, "tokenizer.ggml.scores", (const float[]){1, 2}, 2);
  assert_fails(open_gguf(&g, &e), "tokenizer.ggml.scores has 2 entries for 3 tokens");
  put_few(&g, "llama");
  gguf_put_f32s(&g, "tokenizer.ggml.scores", (const float[]){1, 0.f / 0.f, 2}, 3);
  assert_fails(open_gguf(&g, &e), "the score of token 1 is no number");
  put_few(&g, "gpt2");
  assert_fails(open_gguf(&g, &e), "tokenizer.ggml.merges is missing");
  put_few(&g, "gpt2");
  gguf_put_string(&g, "tokenizer.ggml.pre", "klingon");
  assert_fails(open_gguf(&g, &e), "'klingon'");
  put_few(&g, "gpt2");
  gguf_put_strings(&g, "tokenizer.ggml.merges", (const char *const[]){"a b", "ab"}, 2);
  assert_fails(open_gguf(&g, &e), "entry 1");
  put_few(&g, "gpt2");
  gguf_put_strings(&g, "tokenizer.ggml.merges", (const char *const[]){"b a"}, 1);
  assert_fails(open_gguf(&g, &e), "'b a' names a piece");
  put_few(&g, "llama");
  gguf_put_i32s(&g, "tokenizer.ggml.token_type", (const int32_t[]){1}, 1);
  assert_fails(open_gguf(&g, &e), "tokenizer.ggml.token_type has 1 entries");
  put_few(&g, "llama");
  gguf_put_f32s(&g, "tokenizer.ggml.scores", (const float[]){1, 2, 3}, 3);
  gguf_put_u32(&g, "tokenizer.ggml.bos_token_id", 3);
  assert_fails(open_gguf(&g, &e), "bos_token_id is 3");
  g = (struct gguf_maker){0};
  gguf_put_string(&g, "tokenizer.ggml.model", "llama");
  gguf_put_strings(&g, "tokenizer.ggml.tokens", (const char *const[]){"a", "a"}, 2);
  assert_fails(open_gguf(&g, &e), "'a' has two ids");
  g = (struct gguf_maker){0};
  gguf_put_string(&g, "tokenizer.ggml.model", "llama");
  gguf_put_strings(&g, "tokenizer.ggml.tokens", (const char *const[]){"a", "\xFF"}, 2);
  assert_fails(open_gguf(&g, &e), "token 1 is not UTF-8");
}

static void pre_tokenizers(void **state) {
  (void)state;
  static const char *const names[] = {"default",   "gpt2", "phi-2",  "starcoder",
                                      "llama-bpe", "dbrx", "gpt-4o", "stablelm2"};
  struct err e;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct gguf_maker g;
    struct tokenizer *t;
    put_few(&g, "gpt2");
    gguf_put_strings(&g, "tokenizer.ggml.merges", (const char *const[]){"a b"}, 1);
    gguf_put_string(&g, "tokenizer.ggml.pre", names[i]);
    assert_ok(t = open_gguf(&g, &e));
    assert_ids(t, "abab b", 6, true, (const int32_t[]){2, 2, 1}, 3); // no piece for the space: dropped
    tokenizer_close(t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(spm), cmocka_unit_test(byte_level), cmocka_unit_test(by_hand),
                                     cmocka_unit_test(refused), cmocka_unit_test(pre_tokenizers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

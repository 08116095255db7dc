// Ids and texts against Hugging Face's: of whole tokenizers (tests/goldens/tokenizer) and of variants of small ones
// (variants.json).
#include "tests/test.h"
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "tests/tokenizer/tokenizer_files.h"

static int value_of(char c) {
  const char *letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
             *at = c ? strchr(letters, c) : NULL;
  return at ? (int)(at - letters) : -1;
}

// Decodes base64 in place; returns the bytes.
static size_t from_base64(const char *s, char *out) {
  uint32_t bits = 0;
  int count = 0;
  size_t n = 0;
  for (; *s && *s != '='; s++) {
    bits = bits << 6 | (uint32_t)value_of(*s);
    if ((count += 6) >= 8) out[n++] = (char)(bits >> (count -= 8) & 255);
  }
  return n;
}

static int32_t *ints(const json_t *list) {
  int32_t *v = calloc(json_array_size(list) + 1, sizeof *v);
  for (size_t i = 0; v && i < json_array_size(list); i++) v[i] = (int32_t)json_integer_value(json_array_get(list, i));
  return v;
}

static void check_encode(const struct tokenizer *t, const json_t *c) {
  const char *text = json_string_value(json_object_get(c, "text"));
  const json_t *plain = json_object_get(c, "ids"), *special = json_object_get(c, "ids_special");
  assert_non_null(text);
  char *bytes = malloc(strlen(text) + 1);
  size_t len = from_base64(text, bytes);
  int32_t *ids = ints(plain), *with = ints(special ? special : plain);
  assert_ids(t, bytes, len, false, ids, json_array_size(plain));
  assert_ids(t, bytes, len, true, with, json_array_size(special ? special : plain));
  free(ids);
  free(with);
  free(bytes);
}

static void check_decode(const struct tokenizer *t, const json_t *c) {
  static const char *const keys[] = {"text", "text_skip_special"};
  const json_t *list = json_object_get(c, "ids");
  int32_t *ids = ints(list);
  for (int skip = 0; skip < 2; skip++) {
    const char *text = json_string_value(json_object_get(c, keys[skip]));
    assert_non_null(text);
    char *want = malloc(strlen(text) + 1);
    size_t n = from_base64(text, want), len;
    char *got = decode_all(t, ids, json_array_size(list), skip, &len);
    if (len != n || memcmp(want, got, n) != 0) fail_msg("decoding gave '%s', not '%.*s'", got, (int)n, want);
    free(got);
    free(want);
  }
  free(ids);
}

static void check_cases(const struct tokenizer *t, const json_t *root) {
  const json_t *encode = json_object_get(root, "encode"), *decode = json_object_get(root, "decode");
  assert_true(json_array_size(encode) > 10 && json_array_size(decode) > 10);
  for (size_t i = 0; i < json_array_size(encode); i++) check_encode(t, json_array_get(encode, i));
  for (size_t i = 0; i < json_array_size(decode); i++) check_decode(t, json_array_get(decode, i));
}

// `twin`: another file of the same tokenizer; NULL: none.
static void check_file(const char *golden, const char *twin) {
  struct err e;
  json_t *root = json_read_file(golden, &e);
  assert_ok(root != NULL);
  const char *path = twin ? twin : json_string_value(json_object_get(root, "tokenizer"));
  assert_non_null(path);
  if (!file_exists(path)) {
    print_message("skipped: %s is not there\n", path); // the path may be a string of `root`
    json_decref(root);
    skip();
  }
  struct tokenizer *t;
  assert_ok(t = tokenizer_open(path, &e));
  check_cases(t, root);
  tokenizer_close(t);
  json_decref(root);
}

static void nano(void **state) { (void)state, check_file("tests/goldens/tokenizer/nano.json", NULL); }
static void gpt2(void **state) { (void)state, check_file("tests/goldens/tokenizer/gpt2.json", NULL); }
static void smollm(void **state) { (void)state, check_file("tests/goldens/tokenizer/smollm.json", NULL); }
static void phi3(void **state) { (void)state, check_file("tests/goldens/tokenizer/phi3-mini.json", NULL); }
static void stories(void **state) { (void)state, check_file("tests/goldens/tokenizer/stories260k.json", NULL); }

static void phi3_gguf(void **state) {
  (void)state;
  check_file("tests/goldens/tokenizer/phi3-mini.json", "../shared/data/phi3-mini/phi-3-vocab.gguf");
}

// The base with the variant's keys; "model" is merged.
static json_t *patched(const json_t *variant) {
  struct err e;
  char path[256];
  snprintf(path, sizeof path, "%s/tokenizer.json", json_string_value(json_object_get(variant, "base")));
  json_t *root = json_read_file(path, &e);
  assert_ok(root != NULL);
  const json_t *patch = json_object_get(variant, "patch");
  for (void *it = json_object_iter((json_t *)patch); it; it = json_object_iter_next((json_t *)patch, it)) {
    const char *key = json_object_iter_key(it);
    json_t *value = json_object_iter_value(it);
    if (strcmp(key, "model") == 0) json_object_update(json_object_get(root, key), value);
    else json_object_set(root, key, value);
  }
  return root;
}

static void variants(void **state) {
  (void)state;
  struct err e;
  json_t *list = json_read_file("tests/tokenizer/variants.json", &e);
  assert_ok(list != NULL);
  assert_true(json_array_size(list) > 30);
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *variant = json_array_get(list, i);
    print_message("%s\n", json_string_value(json_object_get(variant, "name")));
    json_t *root = patched(variant);
    char *text = json_dumps(root, 0);
    struct tokenizer *t;
    assert_ok(t = open_text(text, &e));
    check_cases(t, variant);
    tokenizer_close(t);
    free(text);
    json_decref(root);
  }
  json_decref(list);
}

// What merges would join stays apart where each digit is alone. The goldens' vocabularies have no such merges.
static void digits(void **state) {
  (void)state;
  struct err e;
  static const int32_t alone[] = {0, 1, 0, 1}, together[] = {2, 2};
  for (int individual = 0; individual < 2; individual++) {
    char json[400];
    snprintf(json, sizeof json,
             "{\"model\":{\"vocab\":{\"1\":0,\"2\":1,\"12\":2},\"merges\":[\"1 2\"]},\"pre_tokenizer\":"
             "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":%s},"
             "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}}",
             individual ? "true" : "false");
    struct tokenizer *t = open_text(json, &e);
    if (!t) fail_msg("%s", e.text);
    assert_ids(t, "1212", 4, false, individual ? alone : together, individual ? 4 : 2);
    tokenizer_close(t);
  }
}

static void germany(void **state) {
  (void)state;
  static const char *const files[] = {"../shared/data/phi3-mini", "../shared/data/phi3-mini/tokenizer.json",
                                      "../shared/data/phi3-mini/phi-3-vocab.gguf"};
  static const int32_t ids[] = {450, 7483, 310, 9556, 338};
  struct err e;
  if (!file_exists(files[1])) skip();
  for (int i = 0; i < 3; i++) {
    struct tokenizer *t;
    struct ids france = {0};
    assert_ok(t = tokenizer_open(files[i], &e));
    assert_ids(t, "The capital of Germany is", 25, true, ids, 5);
    assert_ok(tokenizer_encode(t, "The capital of France is", 24, true, &france, &e));
    assert_int_equal(france.count, 5);
    assert_int_equal(tokenizer_find(t, "<|end|>"), 32007);
    assert_true(tokenizer_is_special(t, 32007) && !tokenizer_is_special(t, 2));
    assert_false(tokenizer_adds_bos(t));
    ids_free(&france);
    tokenizer_close(t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nano),    cmocka_unit_test(gpt2),      cmocka_unit_test(smollm),   cmocka_unit_test(phi3),
      cmocka_unit_test(stories), cmocka_unit_test(phi3_gguf), cmocka_unit_test(variants), cmocka_unit_test(germany), cmocka_unit_test(digits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// A megabyte of the worst texts: merging is O(n log n) and matching needs no room that grows with the text. A quadratic
// step anywhere would take hours and run into the test's time limit; what comes out is checked by decoding it.
#include "tests/test.h"
#include "tests/tokenizer/tokenizer_files.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { LENGTH = 1 << 17 }; // instrumented code is slow; still long enough for a quadratic step to show
#else
enum { LENGTH = 1 << 20 };
#endif

static void fill(char *text, const char *with) {
  size_t n = strlen(with);
  for (size_t i = 0; i < LENGTH; i++) text[i] = with[i % n];
}

static void check(const struct tokenizer *t, const char *text, size_t len, const char *what) {
  struct err e;
  struct ids ids = {0};
  size_t n;
  clock_t start = clock();
  assert_ok(tokenizer_encode(t, text, len, false, &ids, &e));
  double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
  char *back = decode_all(t, ids.data, (size_t)ids.count, false, &n);
  print_message("%8lld ids in %.3f s: %s\n", (long long)ids.count, seconds, what);
  if (n != len || memcmp(back, text, len) != 0) fail_msg("the text does not come back");
  free(back);
  ids_free(&ids);
}

static void check_all(struct tokenizer *t) {
  static const char *const fillings[][2] = {
      {"a", "one letter"},
      {" ", "spaces"},
      {"\n", "lines"},
      {"<", "<"},
      {"7", "digits"},
      {"the quick brown fox, 123 times. ", "words"},
      {"abcdefghij", "one word"},
      {" \n\t", "mixed spaces"},
      {"\xE6\xBC\xA2\xE5\xAD\x97", "ideographs"},
      {"<|", "<|"},
      {"'", "'"},
  };
  char *text = malloc(LENGTH + 1);
  for (size_t i = 0; i < sizeof fillings / sizeof *fillings; i++) {
    size_t n = strlen(fillings[i][0]);
    fill(text, fillings[i][0]);
    check(t, text, LENGTH / n * n, fillings[i][1]);
  }
  fill(text, " ");
  text[LENGTH] = 'x'; // what stands behind a long run makes the engine step back
  check(t, text, LENGTH + 1, "spaces and a letter");
  memset(text, 0, LENGTH);
  check(t, text, LENGTH, "zero bytes");
  tokenizer_close(t);
  free(text);
}

static struct tokenizer *open_path(const char *path) {
  struct err e;
  struct tokenizer *t;
  assert_ok(t = tokenizer_open(path, &e));
  return t;
}

static void spm(void **state) { (void)state, check_all(open_path(NANO)); }
static void gpt2(void **state) { (void)state, check_all(open_path("tests/goldens/tokenizer/gpt2")); }
static void digits(void **state) { (void)state, check_all(open_path(BYTE_LEVEL)); }

static void put(struct bytes *b, const char *s) { bytes_put(b, s, strlen(s)); }

// Pieces of 1, 2, 4 ... 256 times "a", without pre-tokenizer: one word of a megabyte in which every place can be
// merged.
static void doubling(void **state) {
  (void)state;
  enum { LEVELS = 9, LONGEST = 1 << (LEVELS - 1) };
  struct err e;
  struct bytes json = {0};
  struct tokenizer *t;
  struct ids ids = {0};
  char run[LONGEST + 1], line[3 * LONGEST];
  memset(run, 'a', LONGEST);
  put(&json, "{\"model\":{\"vocab\":{");
  for (int i = 0; i < LEVELS; i++)
    bytes_put(&json, line, (size_t)sprintf(line, "%s\"%.*s\":%d", i ? "," : "", 1 << i, run, i));
  put(&json, "},\"merges\":[");
  for (int i = 0; i + 1 < LEVELS; i++)
    bytes_put(&json, line, (size_t)sprintf(line, "%s\"%.*s %.*s\"", i ? "," : "", 1 << i, run, 1 << i, run));
  put(&json, "]}}");
  bytes_put(&json, "", 1);
  assert_ok(t = open_text((char *)json.data, &e));
  char *text = malloc(LENGTH);
  memset(text, 'a', LENGTH);
  clock_t start = clock();
  assert_ok(tokenizer_encode(t, text, LENGTH - 1, false, &ids, &e));
  print_message("%lld ids in %.3f s\n", (long long)ids.count, (double)(clock() - start) / CLOCKS_PER_SEC);
  assert_int_equal(ids.count, LENGTH / LONGEST - 1 + LEVELS - 1); // and one of each shorter length
  for (int64_t i = 0; i < ids.count; i++)
    assert_int_equal(ids.data[i], i < LENGTH / LONGEST - 1 ? LEVELS - 1 : LENGTH / LONGEST + LEVELS - 3 - i);
  free(text);
  ids_free(&ids);
  tokenizer_close(t);
  bytes_free(&json);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(spm), cmocka_unit_test(gpt2), cmocka_unit_test(digits),
                                     cmocka_unit_test(doubling)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

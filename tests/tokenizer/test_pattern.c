// Patterns: which characters a class holds, for every code point, as Hugging Face's engine has it (classes.json); where
// matches are; what is refused.
#include "tests/test.h"
#include "runtime/base/json.h"
#include "runtime/model/pattern.h"

static void open_regex(struct pattern *p, const char *text) {
  struct err e;
  assert_ok(pattern_regex(p, text, strlen(text), &e));
}

static bool in_ranges(const json_t *ranges, uint32_t c) {
  size_t lo = 0, hi = json_array_size(ranges) / 2;
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (c > (uint32_t)json_integer_value(json_array_get(ranges, 2 * mid + 1))) lo = mid + 1;
    else hi = mid;
  }
  return lo < json_array_size(ranges) / 2 && c >= (uint32_t)json_integer_value(json_array_get(ranges, 2 * lo));
}

// All characters in one text, matched one by one.
static void check_class(const char *class, const json_t *ranges, const struct buffer *all, const uint32_t *points) {
  struct err e;
  struct pattern p;
  struct matcher m;
  size_t start = 0, end = 0;
  open_regex(&p, class);
  matcher_init(&m, &p);
  assert_ok(matcher_start(&m, all->data, all->len, &e));
  int found = matcher_next(&m, &start, &end, &e);
  int64_t members = 0;
  for (size_t at = 0, i = 0; at < all->len; at += (size_t)utf8_length(all->data[at]), i++) {
    bool got = found == 1 && start == at, want = in_ranges(ranges, points[i]);
    if (got != want) fail_msg("%s: U+%04X is %sa member", class, points[i], want ? "" : "not ");
    if (got) {
      assert_int_equal(end, at + (size_t)utf8_length(all->data[at]));
      found = matcher_next(&m, &start, &end, &e);
    }
    members += want;
  }
  assert_true(members > 20);
  assert_int_equal(found, 0);
  matcher_free(&m);
  pattern_free(&p);
}

static void classes(void **state) {
  (void)state;
  struct err e;
  struct buffer all = {0};
  uint32_t *points = calloc(0x110000, sizeof *points);
  json_t *root = json_read_file("tests/tokenizer/classes.json", &e);
  assert_ok(root != NULL);
  for (uint32_t c = 0, n = 0; c < 0x110000; c++) {
    char s[UTF8_MAX];
    if (c >= 0xD800 && c < 0xE000) continue;
    points[n++] = c;
    assert_ok(buffer_append(&all, s, (size_t)utf8_encode(c, s), &e));
  }
  for (void *it = json_object_iter(root); it; it = json_object_iter_next(root, it))
    check_class(json_object_iter_key(it), json_object_iter_value(it), &all, points);
  for (uint32_t c = 0; c < 0x110000; c++)
    if (unicode_is_space(c) != in_ranges(json_object_get(root, "\\s"), c)) fail_msg("unicode_is_space(U+%04X)", c);
  json_decref(root);
  buffer_free(&all);
  free(points);
}

// Matches as "start-end ...".
static void check_matches(const char *regex, const char *text, const char *want) {
  struct err e;
  struct pattern p;
  struct matcher m;
  size_t start, end;
  char got[200] = "";
  open_regex(&p, regex);
  matcher_init(&m, &p);
  assert_ok(matcher_start(&m, text, strlen(text), &e));
  while (matcher_next(&m, &start, &end, &e) == 1)
    snprintf(got + strlen(got), sizeof got - strlen(got), "%zu-%zu ", start, end);
  assert_string_equal(got, want);
  matcher_free(&m);
  pattern_free(&p);
}

// What Oniguruma gives for the same.
static void matches(void **state) {
  (void)state;
  check_matches("x*", "axxb", "0-0 1-3 4-4 ");
  check_matches("\\p{N}{1,3}+", "12345678x", "0-8 ");
  check_matches("(ab){2}+", "ababababab", "0-8 ");
  check_matches("(?i:'s|'t)", "a'\xC5\xBF b'S", "1-4 6-8 ");
  check_matches("a$", "a\na\r\na", "0-1 5-6 ");
  check_matches("^a", "a\na\ra", "0-1 2-3 ");
  check_matches("a.", "a\na\ra\xE2\x80\xA8", "2-4 4-8 ");
  check_matches("\\u0041+", "aAAb", "1-3 ");
  check_matches("a{,2}b", "aaab", "1-4 ");
  check_matches("a{x", "a{x", "0-3 ");
  check_matches("[^\\S\\n]+", "a \n b", "1-2 3-4 ");
  check_matches("\\P{L}+", "ab 12c", "2-5 ");
  check_matches("\\\xE2\x96\x81+|[\\\xC3\xA9]", "a\xE2\x96\x81\xE2\x96\x81\xC3\xA9", "1-7 7-9 "); // an escaped character of several bytes
}

static void refused(void **state) {
  (void)state;
  static const char *const bad[][2] = {
      {"[a&&b]", "intersection"},
      {"[a[b]]", "class within a class"},
      {"\\h", "\\h"},
      {"(?<name>a)", "group of this kind"},
      {"(?m:a)", "group of this kind"},
      {"a(?i)b", "not at the start"},
      {"\\bword", "\\b"},
      {"(a", "without an end"},
      {"a)", "closing parenthesis"},
      {"[a", "without an end"},
      {"\\p{Nonsense}", "not valid"},
      {"\\", "lone backslash"},
      {"[\\W]", "\\W in a class"},
      {"\\u12", "four digits"},
      {"(a)\\1", "\\1"},
      {"*", "not valid"},
      {"\\pL", "braces"},
      {"[]", "empty class"},
  };
  struct err e;
  struct pattern p;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_fails(pattern_regex(&p, bad[i][0], strlen(bad[i][0]), &e), bad[i][1]);
  assert_fails(pattern_literal(&p, "", 0, &e), "empty");
  assert_fails(pattern_regex(&p, "\xFF", 1, &e), "not text");
  char deep[200];
  memset(deep, '(', sizeof deep);
  assert_fails(pattern_regex(&p, deep, sizeof deep, &e), "too deep");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(classes), cmocka_unit_test(matches), cmocka_unit_test(refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

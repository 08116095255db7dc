#include "tests/test.h"
#include "runtime/base/mem.h"
#include "runtime/model/utf8.h"

// Encoded by the table of RFC 3629, apart from the code judged.
static size_t plain_encode(uint32_t c, char *s) {
  if (c < 0x80) return s[0] = (char)c, 1;
  if (c < 0x800) return s[0] = (char)(192 + c / 64), s[1] = (char)(128 + c % 64), 2;
  if (c < 0x10000)
    return s[0] = (char)(224 + c / 4096), s[1] = (char)(128 + c / 64 % 64), s[2] = (char)(128 + c % 64), 3;
  s[0] = (char)(240 + c / 262144);
  s[1] = (char)(128 + c / 4096 % 64);
  s[2] = (char)(128 + c / 64 % 64);
  s[3] = (char)(128 + c % 64);
  return 4;
}

static void every_code_point(void **state) {
  (void)state;
  for (uint32_t c = 0; c < 0x110000; c++) {
    char want[4], got[UTF8_MAX];
    uint32_t back;
    size_t n = plain_encode(c, want);
    if (c >= 0xD800 && c < 0xE000) {
      assert_int_equal(utf8_decode(want, n, &back), -1);
      continue;
    }
    assert_int_equal(utf8_encode(c, got), n);
    assert_memory_equal(got, want, n);
    assert_int_equal(utf8_decode(want, n, &back), n);
    assert_int_equal(back, c);
    assert_int_equal(utf8_length(want[0]), n);
    for (size_t k = 1; k < n; k++) {
      assert_true(utf8_is_partial(want, k));
      assert_int_equal(utf8_decode(want, k, &back), -(int)k);
    }
    assert_false(utf8_is_partial(want, n));
  }
}

static void check_lossy(const char *bytes, size_t len, const char *want) {
  struct err e;
  struct buffer b = {0};
  assert_ok(buffer_append_lossy(&b, bytes, len, &e) && buffer_append(&b, "", 1, &e));
  assert_string_equal(b.data, want);
  buffer_free(&b);
}

// One U+FFFD for each maximal subpart: table 3-8 to 3-11 of the Unicode standard, and Python's errors="replace".
static void broken_sequences(void **state) {
  (void)state;
#define R REPLACEMENT
  check_lossy("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", 9, R R R R R R R R "A");
  check_lossy("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", 9, R R R R R R R R "A");
  check_lossy("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", 9, R R R R R "A" R R "B");
  check_lossy("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", 9, R R R R "A");
  check_lossy("a\xE2\x96", 3, "a" R);
  check_lossy("12345678\xE2\x96\x81\xFF", 12, "12345678\xE2\x96\x81" R);
  check_lossy("", 0, "");
}

static void valid_prefix(void **state) {
  (void)state;
  assert_int_equal(utf8_valid("abcdefghij\xC3\xA9", 12), 12);
  assert_int_equal(utf8_valid("abcdefghij\xC3", 11), 10);
  assert_int_equal(utf8_valid("a\0b\xFF", 4), 3);
  assert_int_equal(utf8_valid("\x80", 1), 0);
  assert_int_equal(utf8_valid(NULL, 0), 0);
}

static void buffers(void **state) {
  (void)state;
  struct err e;
  struct buffer b = {0};
  for (int i = 0; i < 5000; i++) assert_ok(buffer_append(&b, "xyz", 3, &e));
  assert_int_equal(b.len, 15000);
  assert_memory_equal(b.data + 14997, "xyz", 3);
  assert_fails(buffer_reserve(&b, SIZE_MAX - 100, &e), "not enough memory");
  mem_fail_from(1);
  assert_fails(buffer_reserve(&b, 1 << 20, &e), "not enough memory");
  mem_fail_from(0);
  assert_int_equal(b.len, 15000);
  buffer_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_code_point), cmocka_unit_test(broken_sequences),
                                     cmocka_unit_test(valid_prefix), cmocka_unit_test(buffers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

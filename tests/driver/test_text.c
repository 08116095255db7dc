// Quoting and lining up of text in the driver's tables.
#include "driver/text.h"
#include "runtime/base/mem.h"
#include "tests/test.h"
#include <string.h>

static void quotes(const char *text, size_t len, size_t most, const char *wanted) {
  struct err e = {0};
  char *q = text_quote(text, len, most, &e);
  assert_non_null(q);
  assert_string_equal(q, wanted);
  mem_free(q);
}

static void what_cannot_be_shown_is_escaped(void **state) {
  (void)state;
  quotes("", 0, 9, "\"\"");
  quotes(" Paris", 6, 9, "\" Paris\"");
  quotes("a\"\\\n\r\t\x1b\x7f", 8, 99, "\"a\\\"\\\\\\n\\r\\t\\x1b\\x7f\"");
  quotes("\0b", 2, 9, "\"\\x00b\"");
  quotes("\xe2\x96\x81is", 5, 9, "\"\xe2\x96\x81is\"");
}

static void long_text_is_cut_between_characters(void **state) {
  (void)state;
  quotes("abcd", 4, 4, "\"abcd\"");
  quotes("abcde", 5, 4, "\"abcd...\"");
  quotes("\xe2\x96\x81\xe2\x96\x81", 6, 1, "\"\xe2\x96\x81...\"");
  quotes("\n\n\n", 3, 2, "\"\\n\\n...\"");
}

static void width_counts_characters(void **state) {
  (void)state;
  assert_int_equal(text_width(""), 0);
  assert_int_equal(text_width("6.21 s \xc2\xb1 2.22 s"), 15);
  char *out = NULL;
  size_t len;
  FILE *f = open_memstream(&out, &len);
  text_print(f, "\xc2\xb5s", 4);
  text_print(f, "\xc2\xb5s", -4);
  text_print(f, "longer", 4);
  fclose(f);
  assert_string_equal(out, "\xc2\xb5s    \xc2\xb5slonger");
  free(out);
}

static void quantities_have_three_digits(void **state) {
  (void)state;
  char out[TEXT_QUANTITY];
  const struct {
    double seconds;
    const char *text;
  } times[] = {{6.214, "6.21 s"}, {33.94, "33.9 s"},        {1200, "1200 s"},  {0.01, "10.0 ms"},
               {1e-3, "1.00 ms"}, {5e-6, "5.00 \xc2\xb5s"}, {0, "0 \xc2\xb5s"}};
  for (size_t i = 0; i < sizeof times / sizeof *times; i++)
    assert_string_equal(text_seconds(times[i].seconds, out), times[i].text);
  const struct {
    int64_t bytes;
    const char *text;
  } sizes[] = {{0, "0 bytes"},
               {999, "999 bytes"},
               {1000, "1.00 kB"},
               {76800, "76.8 kB"},
               {2739456, "2.74 MB"},
               {7642159104, "7.64 GB"},
               {INT64_C(12) << 40, "13.2 TB"}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    assert_string_equal(text_bytes(sizes[i].bytes, out), sizes[i].text);
}

static void a_failed_allocation_is_told(void **state) {
  (void)state;
  struct err e = {0};
  mem_fail_from(1);
  assert_null(text_quote("x", 1, 1, &e));
  mem_fail_from(0);
  assert_true(e.no_memory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_cannot_be_shown_is_escaped), cmocka_unit_test(long_text_is_cut_between_characters),
      cmocka_unit_test(width_counts_characters),         cmocka_unit_test(quantities_have_three_digits),
      cmocka_unit_test(a_failed_allocation_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// The reader of a card's power and clocks, on a library that tells of a card which is not there.
#include "runtime/gpu/nvml.h"
#include "tests/test.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void open_fake(struct nvml *n, const char *kind) {
  struct err e = {0};
  setenv("PHI3_NVML", FAKE_NVML_FILE, 1);
  setenv("FAKE_NVML", kind, 1);
  assert_ok(nvml_open(n, "0000:00:04.0", &e));
}

static void a_card_is_read(void **state) {
  (void)state;
  struct nvml n;
  char text[NVML_TEXT];
  open_fake(&n, "");
  assert_string_equal(n.card.name, "Tesla T4");
  assert_string_equal(n.card.driver, "535.1");
  assert_true(isnan(n.card.watts_limit)); // functions that the library lacks
  assert_int_equal(n.card.max_sm_mhz, -1);
  struct nvml_reading a = nvml_read(&n), b = nvml_read(&n);
  assert_true(a.watts == 68.5 && a.celsius == 61);
  assert_int_equal(a.sm_mhz, 1095);
  assert_int_equal(a.memory_mhz, 5000);
  assert_true(fabs(b.joules - a.joules - 2) < 1e-9);
  assert_string_equal(nvml_reasons_text(a.reasons, text), "power cap, heat (hardware)");
  nvml_close(&n);
}

static void what_a_card_does_not_tell_is_no_number(void **state) {
  (void)state;
  struct nvml n;
  char text[NVML_TEXT];
  open_fake(&n, "old");
  struct nvml_reading r = nvml_read(&n);
  assert_true(isnan(r.joules));
  assert_string_equal(nvml_reasons_text(r.reasons, text), "unknown");
  assert_string_equal(nvml_reasons_text(0x3, text), "none");
  assert_true(strlen(nvml_reasons_text(0x1ff, text)) < NVML_TEXT - 1);
  nvml_close(&n);
}

static void what_is_not_there_is_told(void **state) {
  (void)state;
  struct nvml n;
  struct err e = {0};
  setenv("PHI3_NVML", FAKE_NVML_FILE, 1);
  setenv("FAKE_NVML", "none", 1);
  assert_fails(nvml_open(&n, NULL, &e), "no card");
  assert_null(n.library);
  setenv("FAKE_NVML", "", 1);
  assert_fails(nvml_open(&n, "x", &e), "no card at x");
  setenv("PHI3_NVML", "/no/such/library.so", 1);
  assert_fails(nvml_open(&n, NULL, &e), "/no/such/library.so");
  nvml_close(&n); // a second time does no harm
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_card_is_read),
      cmocka_unit_test(what_a_card_does_not_tell_is_no_number),
      cmocka_unit_test(what_is_not_there_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

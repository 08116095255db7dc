// A build without nvcc: images.c is compiled into this program as it is then, and takes the place of the library's.
#include "tests/test.h"
#include "runtime/gpu/gpu.h"

static struct err e;

static void the_reason_is_told(void **state) {
  (void)state;
  static const char says[] = "this build has no GPU kernels, because nvcc was not found or PHI3_CUDA was off; install the CUDA toolkit (11.8 or later) and build again, or use --device cpu";
  struct model m;
  struct backend_options o = {.threads = 1, .page_size = 16, .num_pages = 4, .max_rows = 8, .max_logits = 1};
  assert_int_equal(gpu_num_images, 0);
  assert_fails(gpu_available(&e), says);
  assert_ok(model_open(&m, "runtime/model/nano", &e));
  assert_fails(gpu_backend_open(&m, &o, true, &e) != NULL, says);
  assert_fails(gpu_backend_open(&m, &o, false, &e) != NULL, says);
  model_close(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_reason_is_told)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

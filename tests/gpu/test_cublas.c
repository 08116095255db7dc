// --gemm cublas: prefill by cuBLAS agrees with our kernels; decode does not use it; what is missing or fails is told. On the virtual
// GPU a library of plain loops stands for cuBLAS (fake_cublas.c), which PHI3_CUBLAS names; on a real one it is cuBLAS itself.
#include "tests/gpu/gpu_test.h"
#include "tests/runtime/goldens.h"
#include "runtime/base/mem.h"
#include "runtime/forward.h"
#include "runtime/logits.h"
#include <dlfcn.h>
#include <math.h>

static struct err e;

enum { ROWS = 40 };

static struct backend *open_backend(const struct model *m, enum gemm gemm) {
  struct backend_options o = {.threads = 2, .page_size = 16, .num_pages = 16, .max_rows = ROWS, .max_logits = ROWS, .gemm = gemm};
  return gpu_backend_open(m, &o, test_device_is_virtual(), &e);
}

static void *fake(const char *name) {
  void *library = dlopen(getenv("PHI3_CUBLAS"), RTLD_NOW), *p = library ? dlsym(library, name) : NULL;
  if (!p) fail_msg("the library that PHI3_CUBLAS names has no %s", name);
  return p;
}
static int calls(void) { return (*(int (**)(void))&(void *){fake("fake_cublas_calls")})(); }
static int handles(void) { return (*(int (**)(void))&(void *){fake("fake_cublas_handles")})(); }
static void fail_at(int call) { (*(void (**)(int))&(void *){fake("fake_cublas_fail_at")})(call); }

// The logits of a prompt; with `steps` of as many tokens after it, which must not ask cuBLAS for anything.
static bool logits_by(const struct model *m, enum gemm gemm, const struct golden *g, int32_t n, int32_t steps, float *out) {
  struct forward f;
  struct sequence s = {0};
  struct backend *b = open_backend(m, gemm);
  if (!b) return false;
  assert_ok(forward_open(&f, b, &e));
  struct forward_input in = {&s, g->ids.data, n, forward_long_rope(&m->config, g->ids.shape[0]), LOGITS_ALL};
  bool ok = forward_run(&f, &in, 1, &e) && forward_read(&f, STAGE_LOGITS, out, &e);
  int prompt = ok && test_device_is_virtual() ? calls() : 0;
  for (int32_t rows = 1; ok && rows <= steps; rows += PHI3_DECODE_ROWS - 1) { // the fewest and the most of a decode kernel
    in.count = rows;
    assert_ok(forward_run(&f, &in, 1, &e));
  }
  if (ok && test_device_is_virtual()) assert_int_equal(calls(), prompt);
  sequence_free(&s, &f.pages);
  forward_close(&f);
  return ok;
}

// Within the gate of the whole model, against Hugging Face's logits.
static void check_golden(const struct golden *g, int32_t n, const float *logits, int64_t vocab) {
  double divergence = 0;
  int rows = 0;
  for (int32_t i = 0; i < g->num_rows; i++) {
    if (g->rows[i] >= n) continue;
    divergence += logits_divergence((const float *)g->logits.data + i * vocab, logits + g->rows[i] * vocab, vocab);
    rows++;
  }
  if (rows && !(divergence / rows <= 1e-4)) fail_msg("%s: mean divergence %g", g->name, divergence / rows);
}

static void compare(const struct golden *g, void *ctx) {
  int32_t n = (int32_t)g->ids.shape[0] < ROWS ? (int32_t)g->ids.shape[0] : ROWS;
  struct model m;
  if (n <= PHI3_DECODE_ROWS) return;
  assert_ok(model_open(&m, g->model_path, &e));
  size_t count = (size_t)n * (size_t)m.config.vocab_size;
  float *own = malloc(count * sizeof *own), *cublas = malloc(count * sizeof *cublas);
  assert_true(own && cublas);
  if (test_device_is_virtual()) fail_at(0);
  assert_ok(logits_by(&m, GEMM_OWN, g, n, 0, own));
  if (test_device_is_virtual()) assert_int_equal(calls(), 0);
  assert_ok(logits_by(&m, GEMM_CUBLAS, g, n, 16, cublas));
  if (test_device_is_virtual()) assert_int_equal(calls(), 4 * m.config.num_layers + 1);
  double error = relative_error(cublas, own, (int64_t)count);
  if (!(error <= 5e-3)) fail_msg("%s: relative error %g", g->name, error);
  check_golden(g, n, cublas, m.config.vocab_size);
  ++*(int *)ctx;
  free(own), free(cublas);
  model_close(&m);
}

static void agrees_with_our_kernels(void **state) {
  (void)state;
  int compared = 0;
  test_device();
  goldens_each(compare, &compared);
  assert_true(compared > (getenv("PHI3_TEST_QUICK") ? 0 : 5)); // of a share of the goldens
}

static void open_nano(struct model *m) { assert_ok(model_open(m, "tests/goldens/models/hd96", &e)); }

// Every product fails once: a sentence, and no handle is left.
static void failures_are_told(void **state) {
  (void)state;
  if (!test_device_is_virtual()) return;
  int32_t ids[20] = {1, 2, 3};
  struct golden g = {.ids = {.data = ids}};
  struct model m;
  open_nano(&m);
  float *out = malloc(sizeof *out * 20 * (size_t)m.config.vocab_size);
  for (int k = 1; k <= 4 * m.config.num_layers + 1; k++) {
    fail_at(k);
    assert_fails(logits_by(&m, GEMM_CUBLAS, &g, 20, 0, out), "cuBLAS: multiplying failed");
    assert_int_equal(handles(), 0);
  }
  free(out);
  model_close(&m);
}

static void a_missing_library_is_told(void **state) {
  (void)state;
  char *given = getenv("PHI3_CUBLAS");
  char *kept = given ? mem_strdup(given, &e) : NULL;
  struct model m;
  test_device();
  open_nano(&m);
  if (test_device_is_virtual()) {
    unsetenv("PHI3_CUBLAS");
    assert_fails(open_backend(&m, GEMM_CUBLAS) != NULL, "needs a real GPU");
  }
  setenv("PHI3_CUBLAS", "/nowhere/libcublas.so", 1);
  assert_fails(open_backend(&m, GEMM_CUBLAS) != NULL, "/nowhere/libcublas.so cannot be opened");
  setenv("PHI3_CUBLAS", "libm.so.6", 1);
  assert_fails(open_backend(&m, GEMM_CUBLAS) != NULL, "has no function cublasCreate_v2");
  if (kept) setenv("PHI3_CUBLAS", kept, 1);
  else unsetenv("PHI3_CUBLAS");
  mem_free(kept);
  model_close(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_our_kernels), cmocka_unit_test(failures_are_told), cmocka_unit_test(a_missing_library_is_told)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  test_device_close();
  return failed;
}

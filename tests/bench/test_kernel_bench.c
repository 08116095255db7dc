// The kernel benchmark's inside: every kernel has a case, a wrong result is never timed, and what the card tells gets into the report.
#include "bench/kernel_report.h"
#include "tests/test.h"
#include "runtime/base/half.h"
#include "runtime/forward.h"
#include "runtime/base/mem.h"
#include "runtime/forward.h"
#include <math.h>

static struct err e;

// --- the list

static void every_kernel_has_a_case(void **state) {
  (void)state;
  struct case_list l;
  assert_ok(case_list_fill(&l, true, &e));
  bool published = false;
  for (int k = 0; k < KERNEL_COUNT; k++) {
    int cases = 0, in_results = 0;
    for (size_t i = 0; i < l.count; i++)
      if ((int)l.cases[i].kernel == k) cases++, in_results += l.cases[i].published;
    if (!cases || !in_results) fail_msg("%s: %d cases, %d of them published", gpu_kernel_name((enum gpu_kernel)k), cases, in_results);
  }
  for (size_t i = 0; i < l.count; i++) {
    published |= l.cases[i].published;
    for (size_t j = 0; j < i; j++)
      if (strcmp(l.cases[i].name, l.cases[j].name) == 0) fail_msg("two cases are called %s", l.cases[i].name);
  }
  assert_true(published);
  case_list_free(&l);
}

static void every_operation_of_the_cpu_has_a_case(void **state) {
  (void)state;
  struct case_list l;
  assert_ok(cpu_cases(&l, &e));
  for (int op = 0; op < OP_COUNT; op++) {
    size_t i = 0;
    while (i < l.count && strcmp(l.cases[i].variant, operation_names[op]) != 0) i++;
    if (i == l.count) fail_msg("%s has no case", operation_names[op]);
  }
  case_list_free(&l);
}

// --- the virtual GPU

static bool open_virtual(struct bench_device *d) {
  if (gpu_num_images == 0 || !getenv("PHI3_VGPU")) {
    printf("skipped: no kernels in this build, or PHI3_VGPU does not name the virtual GPU's library\n");
    return false;
  }
  *d = (struct bench_device){.kind = ON_VGPU, .configs = "t4 t4_eff", .samples = 3};
  assert_ok(device_open(d, &e));
  return true;
}

static const struct kernel_case *find(const struct case_list *l, const char *name) {
  for (size_t i = 0; i < l->count; i++)
    if (strcmp(l->cases[i].name, name) == 0) return &l->cases[i];
  fail_msg("there is no case %s", name);
  return NULL;
}

// The runtime's choice of kernel is only seen when it launches: cheap cases of each family.
static void cases_are_right_and_estimated(void **state) {
  static const char *const names[] = {"embed_rows/rows:1", "rmsnorm_rows/add_norm/rows:1", "rope_rows/rows:1", "append_rows/rows:1", "decode_add_8/o/rows:1",
                                      "attention_decode_96/sequences:1/keys:16", "attention_merge/sequences:1/keys:16", "attention_prefill_96/rows:16/keys:16",
                                      "sample_rows/greedy/rows:1"};
  (void)state;
  struct bench_device d;
  struct case_list l;
  if (!open_virtual(&d)) return;
  assert_ok(case_list_fill(&l, false, &e));
  int most = getenv("PHI3_TEST_QUICK") ? 2 : sizeof names / sizeof *names;
  for (int i = 0; i < most; i++) {
    const struct kernel_case *c = find(&l, names[i]);
    struct measurement m;
    assert_ok(case_measure(&d, c, 7, &m, &e));
    assert_string_equal(json_string_value(json_object_get(m.launch, "kernel")), gpu_kernel_name(c->kernel));
    double t4 = json_number_value(json_object_get(json_object_get(m.launch, "estimate"), "us"));
    double eff = json_number_value(json_object_get(json_object_get(m.launch, "estimate_t4_eff"), "us"));
    assert_true(t4 > 0 && eff >= 0.98 * t4); // slower memory makes nothing faster
    assert_true(fabs(m.seconds * 1e6 - t4) < 1e-9);
    assert_true(m.ideal.bytes > 0 && m.agreement.outputs > 0 && m.agreement.unwritten == 0);
    measurement_free(&m);
  }
  case_list_free(&l);
  device_close(&d);
}

// A family whose launch leaves one output out, or changes one, after the kernel has run.
static enum { LEAVE_OUT, CHANGE, LAUNCH_NOTHING, OTHER_KERNEL } fault;
static const struct family *whole;

static bool faulty_launch(struct bench_device *d, void *work, struct err *err) {
  const uint16_t bad = fault == LEAVE_OUT ? 0xffff : 0x7000; // poison; a large half
  if (fault == OTHER_KERNEL) {
    struct phi3_copy_page p = {.page_halfs = 0}; // nothing to copy
    return gpu_launch(&d->gpu, KERNEL_copy_pages, (unsigned[]){1, 1, 1}, 256, 0, &p, err);
  }
  if (fault == LAUNCH_NOTHING) return true;
  if (!whole->launch(d, work, err) || !gpu_wait(&d->gpu, "a test", err)) return false;
  // The first parameter of phi3_rope is what it writes.
  uint64_t out = d->launches[0].parameters[0];
  return cuda_check(&d->gpu.cuda, d->gpu.cuda.to_device(out, &bad, sizeof bad), "a test's fault", err);
}

static struct measurement measured;
static size_t measured_runs;

static void run_faulty(struct gb_state *s, void *arg) {
  struct bench_device *d = arg;
  struct case_list l;
  struct err why = {0};
  assert_ok(case_list_fill(&l, false, &e));
  struct kernel_case c = *find(&l, "rope_rows/rows:16");
  struct family faulty = *(whole = c.family);
  faulty.launch = faulty_launch;
  c.family = &faulty;
  measured_runs++;
  if (case_measure(d, &c, 3, &measured, &why)) gb_time(s, measured.seconds), measurement_free(&measured);
  else gb_fail(s, why.text);
  case_list_free(&l);
}

static void a_wrong_result_fails(void **state) {
  static const char *const says[] = {"relative error", "relative error", "another kernel", "another kernel"};
  (void)state;
  struct bench_device d;
  struct case_list l;
  if (!open_virtual(&d)) return;
  assert_ok(case_list_fill(&l, false, &e));
  struct kernel_case c = *find(&l, "rope_rows/rows:16");
  struct family faulty = *(whole = c.family);
  faulty.launch = faulty_launch;
  c.family = &faulty;
  for (fault = LEAVE_OUT; fault <= OTHER_KERNEL; fault++) {
    assert_fails(case_measure(&d, &c, 3, &measured, &e), says[fault]);
    assert_true(measured.seconds == 0 && !measured.launch);
  }
  case_list_free(&l);
  device_close(&d);
}

// Through Google Benchmark and back: the case of a wrong result has an error in the report and no time.
static void a_wrong_result_has_no_time(void **state) {
  (void)state;
  struct bench_device d;
  if (!open_virtual(&d)) return;
  char path[] = "/tmp/phi3-bench-XXXXXX", out[64];
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  snprintf(out, sizeof out, "--benchmark_out=%s", path);
  char *argv[] = {(char *)"test", out, (char *)"--benchmark_out_format=json", NULL};
  int argc = 3;
  static const char *const shown[] = {NULL};
  size_t failed = 0;
  fault = CHANGE;
  gb_init(&argc, argv, shown);
  assert_int_equal(argc, 1);
  gb_register("planted", run_faulty, &d);
  assert_int_equal(gb_run(&failed), 1);
  assert_int_equal(failed, 1);
  assert_int_equal(measured_runs, 1);
  gb_shutdown();
  json_t *j = json_read_file(path, &e);
  assert_non_null(j);
  json_t *run = json_array_get(json_object_get(j, "benchmarks"), 0);
  assert_true(json_is_true(json_object_get(run, "error_occurred")));
  assert_non_null(strstr(json_string_value(json_object_get(run, "error_message")), "wrong result"));
  assert_true(json_number_value(json_object_get(run, "real_time")) == 0);
  json_decref(j);
  remove(path);
  device_close(&d);
}

// The yardstick's inputs and check, by a library of plain loops that multiplies in cuBLAS's place.
static void cublas_is_checked(void **state) {
  (void)state;
  struct bench_device d;
  struct case_list l;
  struct agreement a = {0};
  void *work = NULL;
  if (!open_virtual(&d)) return;
  setenv("PHI3_CUBLAS", FAKE_CUBLAS_FILE, 1);
  assert_ok(cublas_open(&d.cublas, d.gpu.stream, true, &e));
  assert_ok(case_list_fill(&l, true, &e));
  const struct kernel_case *c = find(&l, "cublas/o/rows:1");
  assert_ok(c->family->open(&d, c, 5, &work, &e));
  assert_ok(c->family->reset(&d, work, &e));
  assert_ok(c->family->check(&d, work, &a, &e));
  assert_int_equal(a.unwritten, HIDDEN); // nothing has run
  a = (struct agreement){0};
  assert_ok(c->family->launch(&d, work, &e));
  assert_ok(c->family->check(&d, work, &a, &e));
  assert_int_equal(a.unwritten, 0);
  if (!(agreement_error(&a) <= a.gate)) fail_msg("relative error %g", agreement_error(&a));
  c->family->close(&d, work);
  case_list_free(&l);
  device_close(&d);
}

// --- measures

static void errors_are_measured(void **state) {
  (void)state;
  struct agreement a = {0};
  agreement_add(&a, 3, 3);
  agreement_add(&a, 4.5, 4);
  assert_true(fabs(agreement_error(&a) - 0.1) < 1e-12);
  agreement_add(&a, NAN, 1);
  assert_true(isinf(agreement_error(&a)));
  struct agreement zeros = {0};
  agreement_add(&zeros, 0, 0);
  assert_true(isinf(agreement_error(&zeros))); // a reference of zeros shows nothing
  uint16_t halfs[] = {0xffff, 0, 0x3c00, 0xffff};
  assert_int_equal(count_poison_halfs(halfs, 4), 2);
  float floats[] = {1, f32_from_bits(0xffffffff), NAN};
  assert_int_equal(count_poison_floats(floats, 3), 1);
}

static void random_numbers_are_normal(void **state) {
  (void)state;
  enum { COUNT = 100000 };
  struct bench_device d = {.kind = ON_CPU};
  assert_non_null(d.pool = pool_open(2, &e));
  float *x = data_floats(&d, COUNT, 2, 5, &e), *again = data_floats(&d, COUNT, 2, 5, &e);
  assert_true(x && again);
  assert_memory_equal(x, again, COUNT * sizeof *x);
  double sum = 0, squares = 0, most = 0;
  for (int i = 0; i < COUNT; i++) sum += x[i], squares += x[i] * x[i], most = fmax(most, fabs(x[i]));
  assert_true(fabs(sum / COUNT) < 0.05);
  assert_true(fabs(sqrt(squares / COUNT) - 2) < 0.05);
  assert_true(most > 5 && most < 7.1);
  mem_free(x), mem_free(again);
  pool_close(d.pool);
}

// --- the card

static void a_card_is_told(void **state) {
  (void)state;
  struct card_watch w = {0};
  char text[400];
  setenv("PHI3_NVML", FAKE_NVML_FILE, 1);
  setenv("FAKE_NVML", "", 1);
  assert_ok(nvml_open(&w.nvml, NULL, &e));
  w.open = true;
  w.before = nvml_read(&w.nvml);
  card_watch_stop(&w);
  assert_non_null(strstr(card_text(&w, &w.after, text, sizeof text), "1095 MHz, memory 5000 MHz, 68.5 W of ? W, 61 C, clocks held down by: power cap, heat (hardware)"));
  assert_true(w.after.joules > w.before.joules);
  w = (struct card_watch){0};
  setenv("PHI3_NVML", "/no/such/library.so", 1);
  w.open = nvml_open(&w.nvml, NULL, &w.why);
  assert_false(w.open);
  assert_non_null(strstr(card_text(&w, &w.after, text, sizeof text), "unknown: /no/such/library.so"));
  card_watch_stop(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_kernel_has_a_case),   cmocka_unit_test(every_operation_of_the_cpu_has_a_case),
                                     cmocka_unit_test(errors_are_measured),       cmocka_unit_test(random_numbers_are_normal),
                                     cmocka_unit_test(cases_are_right_and_estimated), cmocka_unit_test(a_wrong_result_fails),
                                     cmocka_unit_test(a_wrong_result_has_no_time), cmocka_unit_test(cublas_is_checked), cmocka_unit_test(a_card_is_told)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

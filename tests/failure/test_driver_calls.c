// Every call of the GPU driver fails once, in each way: out of memory, a failed launch that spoils the context, a lost device. Each time the command ends
// with a sentence that names what failed, gives back all it had where the driver still lets it, and leaves no half output. With
// PHI3_TEST_QUICK one of eleven.
#include "tests/failure/command.h"
#include <dlfcn.h>
#include <unistd.h>

static struct {
  void (*inject)(const char *spec);
  const char *(*failed)(void);
  unsigned (*findings)(int kind);
  const char *(*finding)(unsigned i);
  void (*forget)(void);
  int (*reset)(int device);
} gpu;

static int set_up(void **state) {
  (void)state;
  const char *path = getenv("PHI3_VGPU");
  void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  if (!library) return -1;
  *(void **)&gpu.inject = dlsym(library, "vgpuFail");
  *(void **)&gpu.failed = dlsym(library, "vgpuFailed");
  *(void **)&gpu.findings = dlsym(library, "vgpuFindings");
  *(void **)&gpu.finding = dlsym(library, "vgpuFindingText");
  *(void **)&gpu.forget = dlsym(library, "vgpuFindingsReset");
  *(void **)&gpu.reset = dlsym(library, "cuDevicePrimaryCtxReset_v2");
  return gpu.inject && gpu.failed && gpu.findings && gpu.finding && gpu.forget && gpu.reset ? 0 : -1;
}

// Functions that give something back: what they were to give stays where it is when they fail.
static bool gives_back(const char *function) {
  return strstr(function, "Free") || strstr(function, "Destroy") || strstr(function, "Release") || strstr(function, "Unload");
}

// What is asked about the card for a report that can do without it: where it sits, and its memory's clock. (The attributes that kernels depend on fail.)
static bool can_be_left_out(const char *function) {
  return strcmp(function, "cuDeviceGetPCIBusId") == 0 || strcmp(function, "cuDeviceGetAttribute") == 0;
}

// What is wrong about the command's end with this call failing; NULL for nothing. *function: the one that failed, NULL when the command
// made fewer calls.
static char *one_failure(const char *line, bool json, const char *spec, const char **function, int *harmless) {
  char *wrong = NULL;
  gpu.inject(spec);
  alarm(240); // a command that does not end ends the test; this is long for a busy machine with sanitizers
  struct result r = command_run(line);
  alarm(0);
  *function = gpu.failed();
  bool lost = strstr(spec, "lost") || strstr(spec, "launch"); // then nothing can be given back
  // Giving back is the last thing, and its failure nobody's concern any more; nor is that of the two waits before it.
  bool waited = *function && strcmp(*function, "cuStreamSynchronize") == 0 && r.code == EXIT_OK && (!json || is_json(r.out, r.out_len)) && ++*harmless <= 2;
  bool without = *function && can_be_left_out(*function) && r.code == EXIT_OK && (!json || is_json(r.out, r.out_len));
  if (!*function || waited || without || gives_back(*function)) {
    if (r.code != EXIT_OK && !*function && asprintf(&wrong, "failed by itself: %s", r.err) < 0) abort();
    if (*function && r.code != EXIT_OK) wrong = bad_failure(&r, line);
  } else {
    wrong = bad_failure(&r, line);
    if (!wrong && !strstr(r.err, "failed: ") && asprintf(&wrong, "the sentence names no operation: %s", r.err) < 0) abort();
    if (!wrong && json && r.out_len && asprintf(&wrong, "failed and wrote '%s'", r.out) < 0) abort();
    if (!wrong && !lost && gpu.findings(-1) && asprintf(&wrong, "%s, after %s", gpu.finding(0), r.err) < 0) abort();
  }
  gpu.inject(NULL);
  gpu.reset(0);
  gpu.forget();
  result_free(&r);
  return wrong;
}

// Call `step`, 2 step, ... of the command fails, each in the next of the ways.
static void walk(const char *line, const char *const ways[2], int step) {
  int calls = 0, harmless = 0;
  bool json = strstr(line, "--json") != NULL;
  const char *function = line;
  if (getenv("PHI3_TEST_QUICK")) step *= 11;
  for (int k = step; function; k += step) {
    char spec[64];
    snprintf(spec, sizeof spec, "all:%d:%s", k, ways[calls % 2]);
    char *wrong = one_failure(line, json, spec, &function, &harmless);
    if (wrong) fail_msg("phi3 %s with VGPU_FAIL=%s (%s): %s", line, spec, function ? function : "no call", wrong);
    calls += function != NULL;
  }
  print_message("%d calls failed (%s, %s): %s\n", calls, ways[0], ways[1], line);
  assert_true(calls >= 100 / step);
}

#define MODEL "tests/goldens/models/mha"

static const char *const memory[] = {"oom", "oom"}, *const device[] = {"lost", "launch"};

static void generate_fails(void **state) {
  (void)state;
  static const char line[] = "generate -m " MODEL " --device vgpu --ids 1,2,3 -n 3 --ignore-end --json";
  walk(line, memory, 1);
  walk(line, device, 3);
}

static void trace_fails(void **state) {
  (void)state;
  static const char line[] = "trace -m " MODEL " --device vgpu --ids 1,2,3 --json";
  walk(line, memory, 2);
  walk(line, device, 3);
}

static void bench_fails(void **state) {
  (void)state;
  walk("bench -m " MODEL " --device vgpu --ids 1,2,3 -n 2 --runs 1 --no-sweep --no-roof", memory, 7);
}

// The bundled model, with text.
static void with_text(void **state) {
  (void)state;
  const char *function;
  int harmless = 0;
  for (int k = 40; k < 400; k += 67) {
    char spec[32];
    snprintf(spec, sizeof spec, "all:%d:lost", k);
    char *wrong = one_failure("generate --device vgpu -p Once -n 2", false, spec, &function, &harmless);
    if (wrong) fail_msg("VGPU_FAIL=%s (%s): %s", spec, function ? function : "no call", wrong);
  }
}

int main(void) {
  setenv("VGPU_LOG", "/dev/null", 1); // findings are asked for, and standard error is the command's
  const struct CMUnitTest tests[] = {cmocka_unit_test(generate_fails), cmocka_unit_test(trace_fails), cmocka_unit_test(bench_fails), cmocka_unit_test(with_text)};
  return cmocka_run_group_tests(tests, set_up, NULL);
}

// Every call of the GPU driver fails once, in each way: out of memory, a failed launch that spoils the context, a lost
// device. Each time the command ends with a sentence that names what failed, gives back all it had where the driver
// still lets it, and leaves no half output. A command runs once: at each call a child is forked off in which that call
// fails, so that only what follows it is run again. In the same way every allocation fails, with all that follow it.
// With PHI3_TEST_QUICK one of eleven.
#include "runtime/base/mem.h"
#include "tests/failure/command.h"
#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

// Of LeakSanitizer, where the program has it: a child ends without it.
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static struct {
  void (*inject)(const char *spec);
  const char *(*failed)(void);
  void (*on_call)(void (*told)(const char *name));
  unsigned (*findings)(int kind);
  const char *(*finding)(unsigned i);
  void (*forget)(void);
  int (*reset)(int device);
} gpu;

static int set_up(void **state) {
  (void)state;
  const char *path = getenv("PHI3_VGPU");
  setenv("VGPU_THREADS", "1", 1); // a forked child has none but its own
  void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  if (!library) return -1;
  *(void **)&gpu.inject = dlsym(library, "vgpuFail");
  *(void **)&gpu.failed = dlsym(library, "vgpuFailed");
  *(void **)&gpu.on_call = dlsym(library, "vgpuOnCall");
  *(void **)&gpu.findings = dlsym(library, "vgpuFindings");
  *(void **)&gpu.finding = dlsym(library, "vgpuFindingText");
  *(void **)&gpu.forget = dlsym(library, "vgpuFindingsReset");
  *(void **)&gpu.reset = dlsym(library, "cuDevicePrimaryCtxReset_v2");
  return gpu.inject && gpu.failed && gpu.on_call && gpu.findings && gpu.finding && gpu.forget && gpu.reset ? 0 : -1;
}

// Functions that give something back: what they were to give stays where it is when they fail.
static bool gives_back(const char *function) {
  return strstr(function, "Free") || strstr(function, "Destroy") || strstr(function, "Release") ||
         strstr(function, "Unload");
}

// What is asked about the card for a report that can do without it: where it sits, and its memory's clock. (The
// attributes that kernels depend on fail.)
static bool can_be_left_out(const char *function) {
  return strcmp(function, "cuDeviceGetPCIBusId") == 0 || strcmp(function, "cuDeviceGetAttribute") == 0;
}

enum { AS_IT_SHOULD, HARMLESS_WAIT, WRONG, TEXT = 4096 }; // how a child ends

static struct {
  const char *line;
  const char *const *ways; // two, in turns; NULL: allocations fail, not calls
  int step, calls, failures, backends, waits;
  int pipe[2];     // the child's words
  const char *way; // in the child
  char wrong[TEXT];
} walk;

// How the command ended whose call failed; what is wrong goes into walk.wrong.
static int judge(const struct result *r) {
  const char *function = gpu.failed();
  bool json = strstr(walk.line, "--json") != NULL,
       lost = walk.ways && strcmp(walk.way, "oom") != 0; // then nothing can be given back
  if (!walk.ways) function = "an allocation";
  bool fine = r->code == EXIT_OK && (!json || is_json(r->out, r->out_len));
  if (!function) return snprintf(walk.wrong, TEXT, "no call failed"), WRONG;
  if (fine && (can_be_left_out(function) || gives_back(function))) return AS_IT_SHOULD;
  if (fine && strcmp(function, "cuStreamSynchronize") == 0) return HARMLESS_WAIT;
  char *bad = bad_failure(r, walk.line);
  if (bad) snprintf(walk.wrong, TEXT, "%s: %s", function, bad);
  else if (!strstr(r->err, walk.ways ? "failed: " : "memory"))
    snprintf(walk.wrong, TEXT, "%s: the sentence does not say what failed: %s", function, r->err);
  else if (json && r->out_len) snprintf(walk.wrong, TEXT, "%s: failed and wrote '%s'", function, r->out);
  else if (!lost && gpu.findings(-1)) snprintf(walk.wrong, TEXT, "%s: %s, after %s", function, gpu.finding(0), r->err);
  else if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check())
    snprintf(walk.wrong, TEXT, "%s: memory leaks, after %s", function, r->err);
  else return AS_IT_SHOULD;
  free(bad);
  return WRONG;
}

static const char *next_way(void) { return walk.ways ? walk.ways[(walk.failures + 1) % 2] : "no memory"; }

static void wait_for(pid_t child, const char *name) {
  int status = 0;
  char said[TEXT - 256] = "";
  if (waitpid(child, &status, 0) != child) abort();
  const char *way = next_way();
  walk.failures++;
  if (WIFEXITED(status) && WEXITSTATUS(status) == AS_IT_SHOULD) return;
  // Giving back is the last thing, and its failure nobody's concern any more; nor is that of the two waits before it,
  // of each backend.
  if (WIFEXITED(status) && WEXITSTATUS(status) == HARMLESS_WAIT && ++walk.waits <= 2 * walk.backends) return;
  if (WIFEXITED(status) && WEXITSTATUS(status) == WRONG && read(walk.pipe[0], said, sizeof said - 1) < 0) abort();
  if (WIFSIGNALED(status))
    snprintf(said, sizeof said, "%s", WTERMSIG(status) == SIGALRM ? "does not end" : strsignal(WTERMSIG(status)));
  snprintf(walk.wrong, TEXT, "call %d, %s, fails with %s: %s", walk.calls, name, way,
           said[0] ? said : "nobody noticed");
}

// At a call or an allocation: true in a child that is forked here, which is to fail it.
static bool fails_here(const char *name) {
  if (!walk.line || walk.way || walk.wrong[0] || ++walk.calls % walk.step) return false;
  const char *way = next_way();
  pid_t child = fork();
  if (child < 0) abort();
  if (child) return wait_for(child, name), false;
  walk.way = way;
  command_part();
  alarm(240); // one that does not end ends the test; this is long for a busy machine with sanitizers
  return true;
}

static void on_call(const char *name) {
  char spec[64];
  walk.backends += strstr(name, "PrimaryCtxRetain") != NULL;
  if (!fails_here(name)) return;
  snprintf(spec, sizeof spec, "all:1:%s", walk.way);
  gpu.inject(spec);
}

// What allocates, wrapped by the linker where it is called from other files.
#define WRAP(type, name, parameters, arguments)                                                                        \
  type __real_##name parameters;                                                                                       \
  type __wrap_##name parameters;                                                                                       \
  type __wrap_##name parameters {                                                                                      \
    if (walk.line && !walk.ways && fails_here(#name)) mem_fail_from(1);                                                \
    return __real_##name arguments;                                                                                    \
  }

WRAP(void *, mem_alloc, (size_t count, size_t size, const char *what, struct err *e), (count, size, what, e))
WRAP(void *, mem_grow, (void *old, size_t old_count, size_t count, size_t size, const char *what, struct err *e),
     (old, old_count, count, size, what, e))
WRAP(char *, mem_strdup, (const char *s, struct err *e), (s, e))
WRAP(void *, mem_raw_alloc, (size_t bytes), (bytes))

// Call or allocation `step`, 2 step, ... of the command fails, a call in the next of the ways.
static void walk_command(const char *line, const char *const ways[2], int step) {
  memset(&walk, 0, sizeof walk);
  walk.line = line;
  walk.ways = ways;
  walk.step = getenv("PHI3_TEST_QUICK") ? 11 * step : step;
  assert_int_equal(pipe(walk.pipe), 0);
  if (ways) gpu.on_call(on_call);
  struct result r = command_run(line);
  if (walk.way) {
    int end = judge(&r);
    size_t len = strlen(walk.wrong);
    if (len && write(walk.pipe[1], walk.wrong, len) != (ssize_t)len) abort();
    _exit(end);
  }
  gpu.on_call(NULL);
  close(walk.pipe[0]);
  close(walk.pipe[1]);
  if (walk.wrong[0]) fail_msg("phi3 %s: %s", line, walk.wrong);
  if (r.code != EXIT_OK) fail_msg("phi3 %s fails by itself: %s", line, r.err);
  result_free(&r);
  gpu.reset(0);
  gpu.forget();
  print_message("%d of %d %s failed (%s, %s): %s\n", walk.failures, walk.calls, ways ? "calls" : "allocations",
                ways ? ways[0] : "all", ways ? ways[1] : "that follow", line);
  assert_true(walk.calls >= 100 && walk.failures == walk.calls / walk.step);
  memset(&walk, 0, sizeof walk);
}

#define MODEL "tests/goldens/models/mha"

static const char *const memory[] = {"oom", "oom"}, *const device[] = {"lost", "launch"};

// Every call, and every allocation or, of thousands, one of `allocations`.
static void walk_all(const char *line, int allocations) {
  walk_command(line, memory, 1);
  walk_command(line, device, 1);
  walk_command(line, NULL, allocations);
}

static void generate_fails(void **state) {
  (void)state;
  walk_all("generate -t 1 -m " MODEL " --device vgpu --ids 1,2,3 -n 3 --ignore-end --json", 1);
}

static void trace_fails(void **state) {
  (void)state;
  walk_all("trace -t 1 -m " MODEL " --device vgpu --ids 1,2,3 --json", 1);
}

static void bench_fails(void **state) {
  (void)state;
  walk_all("bench -t 1 -m " MODEL " --device vgpu --ids 1,2,3 -n 2 --runs 1 --no-sweep --no-roof", 29);
}

static void profile_fails(void **state) {
  (void)state;
  walk_all("profile -t 1 -m " MODEL " --device vgpu --ids 1,2,3 -n 1 --blocks 1", 97);
}

// The bundled model, with text.
static void with_text(void **state) {
  (void)state;
  walk_command("generate -t 1 --device vgpu -p Once -n 2", device, 23);
}

int main(void) {
  setenv("VGPU_LOG", "/dev/null", 1); // findings are asked for, and standard error is the command's
  const struct CMUnitTest tests[] = {cmocka_unit_test(generate_fails), cmocka_unit_test(trace_fails),
                                     cmocka_unit_test(bench_fails), cmocka_unit_test(profile_fails),
                                     cmocka_unit_test(with_text)};
  return cmocka_run_group_tests(tests, set_up, NULL);
}

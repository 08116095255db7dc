// Every allocation of a command fails once, and all that follow it: one sentence says that memory ran out, and no half output is left. (Those of a trace
// and a bench run below the command line are in tests/driver/test_memory.c.) With PHI3_TEST_QUICK
// one of seven of those that are tried otherwise.
#include "runtime/base/mem.h"
#include "tests/failure/command.h"
#include <unistd.h>

// Allocation `step`, 2 step, ...
static void walk(const char *line, long step) {
  long k = 0;
  if (getenv("PHI3_TEST_QUICK")) step *= 7;
  bool ended = false;
  while (!ended) {
    k += step;
    mem_fail_from(k);
    alarm(60);
    struct result r = command_run(line);
    alarm(0);
    ended = mem_tried() < k;
    mem_fail_from(0);
    char *wrong = ended ? NULL : bad_failure(&r, line);
    if (wrong) fail_msg("phi3 %s, allocation %ld: %s", line, k, wrong);
    if (ended && r.code != EXIT_OK) fail_msg("phi3 %s fails by itself: %s", line, r.err);
    if (!ended && !strstr(r.err, "memory")) fail_msg("phi3 %s, allocation %ld: the sentence does not speak of memory: %s", line, k, r.err);
    if (!ended && strstr(line, "--json") && !strstr(line, "/dev/null") && r.out_len) fail_msg("phi3 %s, allocation %ld failed and wrote '%s'", line, k, r.out);
    result_free(&r);
  }
  print_message("%ld allocations: phi3 %s\n", k - 1, line);
  assert_true(k > 50);
}

#define MODEL "tests/goldens/models/mha"

static void on_the_cpu(void **state) {
  (void)state;
  walk("generate --device cpu -t 1 -m " MODEL " --ids 1,2,3 -n 2 --ignore-end --json", 1);
  walk("generate --device cpu -t 1 -m " MODEL " --ids 1,2,3 -n 2 --ignore-end --temperature 1 --repetition-penalty 1.1 --no-cache", 3);
  walk("inspect -m " MODEL " --json", 1);
  walk("compare --a cpu:fp64 --b cpu -t 1 -m " MODEL " --ids 1,2,3 -n 1 --json /dev/null", 3);
  walk("perplexity --device cpu -t 1 -m " MODEL " --ids 1,2,3,4,5 --json /dev/null", 3);
  walk("inspect -m tests/goldens/models/sharded", 3);
}

static void on_the_virtual_gpu(void **state) {
  (void)state;
  if (!getenv("PHI3_VGPU")) skip();
  setenv("VGPU_LOG", "/dev/null", 1);
  walk("generate --device vgpu -m " MODEL " --ids 1,2,3 -n 2 --ignore-end --json", 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(on_the_cpu), cmocka_unit_test(on_the_virtual_gpu)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

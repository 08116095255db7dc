// Every allocation of a command fails once, and all that follow it: one sentence says that memory ran out, and no half
// output is left. (Those of a trace and a bench run below the command line are in tests/driver/test_memory.c, those of
// the virtual GPU's commands in test_driver_calls.c.) With PHI3_TEST_QUICK one of seven.
#include "runtime/base/mem.h"
#include "tests/failure/command.h"
#include <unistd.h>

static char dir[] = "/tmp/phi3-allocations-XXXXXX", *talker;

static int set_up(void **state) {
  (void)state;
  talker = talker_make("tests/goldens/models/mha");
  return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  talker_remove(talker);
  return rmdir(dir);
}

// `files` are left in the folder by a command that succeeds; by one that fails all of them or none.
static void walk_files(const char *command, int files) {
  char line[512];
  const long step = getenv("PHI3_TEST_QUICK") ? 7 : 1;
  long k = 0;
  bool ended = false;
  snprintf(line, sizeof line, command, dir);
  while (!ended) {
    k += step;
    mem_fail_from(k);
    alarm(60);
    struct result r = command_run(line);
    alarm(0);
    ended = mem_tried() < k;
    mem_fail_from(0);
    int left = folder_clear(dir);
    char *wrong = ended ? NULL : bad_failure(&r, line);
    if (wrong) fail_msg("phi3 %s, allocation %ld: %s", line, k, wrong);
    if (ended && r.code != EXIT_OK) fail_msg("phi3 %s fails by itself: %s", line, r.err);
    if (!ended && !strstr(r.err, "memory"))
      fail_msg("phi3 %s, allocation %ld: the sentence does not speak of memory: %s", line, k, r.err);
    if (!ended && strstr(line, "--json") && !strstr(line, "/dev/null") && r.out_len && !files)
      fail_msg("phi3 %s, allocation %ld failed and wrote '%s'", line, k, r.out);
    if (left != files && (ended || left)) fail_msg("phi3 %s, allocation %ld: %d files are left", line, k, left);
    result_free(&r);
  }
  print_message("%ld allocations: phi3 %s\n", k - 1, line);
  assert_true(k > 50);
}

static void walk(const char *line) { walk_files(line, 0); }

// With the talker as the model.
static void walk_talker(const char *command) {
  char line[512];
  snprintf(line, sizeof line, command, talker);
  walk(line);
}

#define MODEL "tests/goldens/models/mha"

static void ids_in(void **state) {
  (void)state;
  walk("generate --device cpu -t 1 -m " MODEL " --ids 1,2,3 -n 2 --ignore-end --json");
  walk("generate --device cpu -t 1 -m " MODEL
       " --ids 1,2,3 -n 2 --ignore-end --temperature 1 --repetition-penalty 1.1 --no-cache");
  walk("compare --a cpu:fp64 --b cpu -t 1 -m " MODEL " --ids 1,2,3 -n 1 --json /dev/null");
  walk("compare --a cpu:fp64 --b cpu -t 1 -m " MODEL " --model-b " MODEL " --ids 1,2,3 -n 1");
  walk("perplexity --device cpu -t 1 -m " MODEL " --ids 1,2,3,4,5 --json /dev/null");
  walk("trace --device cpu -t 1 -m " MODEL " --ids 1,2,3 --json");
  walk("inspect -m " MODEL " --json");
  walk("inspect -m tests/goldens/models/sharded");
}

static void text_in(void **state) {
  (void)state;
  walk_talker("generate --device cpu -t 1 -m %s -n 2 --ignore-end --chat --stop bb --json -p abc");
  walk_talker("tokenize -m %s --json a_abc_ab");
  walk_talker("tokenize -m %s --pieces a_abc_ab");
  walk_talker("tokenize -m %s --chat abc");
  walk_talker("tokenize -m %s --decode 1,5,6");
  command_input = "abc ab\n";
  walk_talker("tokenize -m %s -");
  command_input = "ab\nabc\n";
  walk_talker("chat --device cpu -t 1 -m %s -n 2 --system a");
  command_input = "";
}

static void files_out(void **state) {
  (void)state;
  walk_files("synth -t 1 --like " MODEL " %s/model", 3);
  walk_files("trace --device cpu -t 1 -m " MODEL " --ids 1,2,3 --dump %s", 6);
  walk_files("bench --device cpu -t 1 -m " MODEL
             " --ids 1,2,3 -n 2 --runs 1 --prompts 2 --outputs 2 --batches 2 --sweep-runs 1 --no-roof --json %s/b.json",
             1);
  walk_files("compare --a cpu:fp64 --b cpu -t 1 -m " MODEL " --ids 1,2,3 -n 1 --heatmap %s/c.svg", 1);
  walk_files("perplexity --device cpu -t 1 -m " MODEL " --ids 1,2,3,4,5 --save-base %s/base", 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(ids_in), cmocka_unit_test(text_in), cmocka_unit_test(files_out)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}

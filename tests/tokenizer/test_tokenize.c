// phi3 tokenize as a user runs it: output, exit codes, one sentence on stderr.
#include "tests/test.h"
#include "tests/tokenizer/tokenizer_files.h"
#include <sys/wait.h>

#define MODEL " -m " BYTE_LEVEL " "
#define SPM   " -m " NANO "/tokenizer.json "

// Runs the program with these arguments, by way of the shell; stdout and stderr together.
static int run(const char *arguments, char *out, size_t size) {
  char command[1000];
  snprintf(command, sizeof command, "%s tokenize %s 2>&1", PHI3_PROGRAM, arguments);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  size_t n = fread(out, 1, size - 1, f);
  out[n] = 0;
  int status = pclose(f);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void check(const char *arguments, int code, const char *want) {
  char out[4000];
  int got = run(arguments, out, sizeof out);
  if (got != code || strcmp(out, want) != 0)
    fail_msg("phi3 tokenize %s: exit %d, '%s'; expected %d, '%s'", arguments, got, out, code, want);
}

static void mentions(const char *arguments, int code, const char *word) {
  char out[4000];
  int got = run(arguments, out, sizeof out);
  if (got != code || !strstr(out, word))
    fail_msg("phi3 tokenize %s: exit %d, '%s'; expected %d and '%s'", arguments, got, out, code, word);
}

// There and back, from arguments and from standard input.
static void round_trip(void **state) {
  (void)state;
  char ids[1000], arguments[1200];
  assert_int_equal(run(SPM "'The capital of France is'", ids, sizeof ids), 0);
  assert_int_equal(strspn(ids, "0123456789 \n"), strlen(ids));
  ids[strlen(ids) - 1] = 0;
  snprintf(arguments, sizeof arguments, SPM "--decode '%s'", ids);
  check(arguments, 0, "The capital of France is\n");
  snprintf(arguments, sizeof arguments, SPM "-d - <<E\n%s\nE\n", ids);
  check(arguments, 0, "The capital of France is\n");
  strcat(ids, "\n");
  snprintf(arguments, sizeof arguments, SPM "- <<E\nThe capital of France is\nE\n");
  char more[1000];
  assert_int_equal(run(arguments, more, sizeof more), 0);
  assert_memory_equal(more, ids, strlen(ids) - 1); // and the line's end
  check(MODEL "''", 0, "\n");
  check(MODEL "-d ''", 0, "\n");
}

static void forms(void **state) {
  (void)state;
  check(MODEL "'<|im_start|><|im_end|>'", 0, "1 2\n");
  check(MODEL "--pieces '<|im_start|><|im_end|>'", 0, "1 <|im_start|>\n2 <|im_end|>\n");
  check(MODEL "--json '<|im_end|>'", 0, "{\"ids\":[2],\"pieces\":[\"<|im_end|>\"],\"text\":\"<|im_end|>\"}\n");
  check(MODEL "--decode 1,2 --no-special", 0, "\n");
  check(MODEL "--color '<|im_end|>'", 0, "\033[38;5;16;48;5;153m<|im_end|>\033[0m\n");
  mentions(SPM "--chat --pieces Hello", 0, "<|assistant|>");
  mentions(SPM "--color \"$(printf '\\360\\237\\230\\200')\"", 0, "\\xF0"); // a piece that is a part of a character
  mentions("--help", 0, "Examples:");
}

static void wrong(void **state) {
  (void)state;
  mentions("", 2, "there is no text");
  mentions("a b", 2, "'b'");
  mentions("--decode 1 x", 2, "not both");
  mentions("--nonsense x", 2, "nonsense");
  mentions("--json --pieces x", 2, "one of");
  mentions("--chat --decode 1", 2, "--chat");
  mentions("--chat-form phi3 x", 2, "--chat-form belongs to --chat");
  mentions("--chat --chat-form llama x", 2, "'llama'");
  mentions(MODEL "--decode 99999", 1, "99999");
  mentions(MODEL "--decode one", 1, "'one'");
  mentions("-m tests/tokenizer/no-model x", 1, "tests/tokenizer/no-model");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(forms), cmocka_unit_test(wrong)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

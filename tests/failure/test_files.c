// Every call with which the commands reach files fails once: opening, sizes, mapping, writing, closing, renaming,
// folders. Each time there is one sentence, and what was to be written is there whole or not at all. The calls are
// wrapped by the linker.
#include "tests/failure/command.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static long calls, fail_at; // calls so far; the one that fails, 0: none
static const char *failed;  // its function
static bool counting;       // while the command runs

static bool fails(const char *function, int why) {
  if (!counting || !fail_at || ++calls != fail_at) return false;
  failed = function;
  errno = why;
  return true;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
  va_list ap;
  va_start(ap, flags);
  int mode = flags & O_CREAT ? va_arg(ap, int) : 0;
  va_end(ap);
  return fails("open", EMFILE) ? -1 : __real_open(path, flags, mode);
}

#define WRAP(type, name, parameters, arguments, on_failure, why)                                                       \
  type __real_##name parameters;                                                                                       \
  type __wrap_##name parameters;                                                                                       \
  type __wrap_##name parameters { return fails(#name, why) ? (on_failure) : __real_##name arguments; }

WRAP(int, fstat, (int fd, struct stat *st), (fd, st), -1, EIO)
WRAP(void *, mmap, (void *at, size_t n, int protection, int flags, int fd, off_t offset),
     (at, n, protection, flags, fd, offset), MAP_FAILED, ENOMEM)
WRAP(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n), -1, ENOSPC)
WRAP(int, close, (int fd), (fd), (__real_close(fd), -1), EIO) // Linux closes it all the same
WRAP(int, rename, (const char *from, const char *to), (from, to), -1, EIO)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), -1, ENOSPC)

size_t __real_fwrite(const void *p, size_t size, size_t n, FILE *f);
size_t __wrap_fwrite(const void *p, size_t size, size_t n, FILE *f);
size_t __wrap_fwrite(const void *p, size_t size, size_t n, FILE *f) {
  if (fileno(f) <= STDERR_FILENO)
    return __real_fwrite(p, size, n, f); // in memory, or where a real failure leaves a mark that main looks for
  return fails("fwrite", ENOSPC) ? 0 : __real_fwrite(p, size, n, f);
}

static FILE *read_stream; // opened for reading

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode) {
  if (fails(mode[0] == 'r' ? "fopen to read" : "fopen", EMFILE)) return NULL;
  FILE *f = __real_fopen(path, mode);
  if (mode[0] == 'r') read_stream = f;
  return f;
}

int __real_fclose(FILE *f);
int __wrap_fclose(FILE *f);
int __wrap_fclose(FILE *f) {
  bool fail = fails(f == read_stream ? "fclose of what was read" : "fclose", ENOSPC);
  int r = __real_fclose(f);
  return fail ? EOF : r;
}

static void note_running(bool running) { counting = running; }

static char dir[] = "/tmp/phi3-files-XXXXXX";

static int set_up(void **state) {
  (void)state;
  command_running = note_running;
  return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  return rmdir(dir);
}

// The k-th call fails for every k, until there are no more; `files` are left by a command that succeeds. Reading what
// the machine is may fail without harm, and so may closing what was only read.
static void walk(const char *command, int files, int least) {
  char line[512];
  snprintf(line, sizeof line, command, dir);
  int harmless = 0;
  long k = 0;
  do {
    failed = NULL;
    calls = 0;
    fail_at = ++k;
    alarm(60);
    struct result r = command_run(line);
    fail_at = 0;
    alarm(0);
    int left = folder_clear(dir);
    char *wrong = r.code == EXIT_OK ? NULL : bad_failure(&r, line);
    if (wrong) fail_msg("phi3 %s, call %ld (%s): %s", line, k, failed ? failed : "none", wrong);
    if (left != (r.code == EXIT_OK ? files : 0))
      fail_msg("phi3 %s, call %ld (%s): code %d and %d files: %s", line, k, failed ? failed : "none", r.code, left,
               r.err);
    if (r.code == EXIT_OK && strstr(line, "--json") && !files && !is_json(r.out, r.out_len))
      fail_msg("phi3 %s, call %ld (%s): no JSON", line, k, failed);
    bool may = failed && (strcmp(failed, "close") == 0 || strstr(failed, "read"));
    if (failed && r.code == EXIT_OK && !may)
      fail_msg("phi3 %s, call %ld (%s) failed and nobody noticed", line, k, failed);
    harmless += failed && r.code == EXIT_OK;
    result_free(&r);
  } while (failed);
  print_message("%ld calls failed, %d of them without harm: phi3 %s\n", k - 1, harmless, line);
  assert_true(k > least);
}

#define MODEL "tests/goldens/models/mha"

static void reading(void **state) {
  (void)state;
  walk("generate --device cpu -t 1 -p Once -n 1 --json", 0, 10);
  walk("tokenize --json Once", 0, 4);
  walk("inspect -m tests/goldens/models/sharded --json", 0, 10);
}

static void writing(void **state) {
  (void)state;
  walk("trace --device cpu -t 1 -m " MODEL " --ids 1,2,3 --dump %s", 6, 20);
  walk("bench --device cpu -t 1 -m " MODEL " --ids 1,2,3 -n 2 --runs 1 --no-sweep --no-roof --json %s/b.json", 1, 10);
  walk("perplexity --device cpu -t 1 -m " MODEL " --ids 1,2,3,4,5 --save-base %s/base", 1, 10);
  walk("compare --a cpu:fp64 --b cpu -t 1 -m " MODEL " --ids 1,2,3 -n 1 --json %s/c.json", 1, 10);
  walk("compare --a cpu:fp64 --b cpu -t 1 -m " MODEL " --ids 1,2,3 -n 1 --heatmap %s/c.svg", 1, 10);
  walk("bench --device cpu -t 1 -m " MODEL " --ids 1,2,3 -n 2 --runs 1 --no-sweep --no-roof --csv %s/b.csv", 1, 10);
  walk("bench --device cpu -t 1 -m " MODEL " --ids 1,2,3 -n 2 --runs 1 --no-sweep --no-roof --markdown %s/b.md", 1, 10);
  walk("synth -t 1 --like " MODEL " %s/model", 3, 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(reading), cmocka_unit_test(writing)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}

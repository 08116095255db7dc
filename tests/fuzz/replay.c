// Runs a fuzz target without libFuzzer: every file of the folders given, and damaged copies of each. A crash, a sanitizer's finding or a
// failed check ends the program; the input at work is then in the file that is printed.
// Usage: PROGRAM DAMAGED_COPIES FOLDER...
#include "tests/fuzz/fuzz.h"
#include "tests/test.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>

enum { MAX_FILES = 4096, MAX_BYTES = 1 << 20 };

static struct {
  uint8_t *data;
  size_t size;
} inputs[MAX_FILES];
static int num_inputs;
static const uint8_t *now; // at work
static size_t now_size;

// The input that did it is kept, for whoever is to mend it.
static void on_death(int signal_number) {
  static const char path[] = "fuzz-input", said[] = "replay: the input is in the file fuzz-input\n";
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  bool kept = fd >= 0 && write(fd, now, now_size) == (ssize_t)now_size;
  if (kept && write(STDERR_FILENO, said, sizeof said - 1) < 0) kept = false;
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

static void run(const uint8_t *data, size_t size) {
  uint8_t *exact = malloc(size ? size : 1); // so that a sanitizer sees one byte too far
  if (!exact) abort();
  if (size) memcpy(exact, data, size);
  now = exact;
  now_size = size;
  LLVMFuzzerTestOneInput(exact, size);
  free(exact);
}

static void read_input(const char *path) {
  FILE *f = fopen(path, "rb");
  uint8_t *p = f ? malloc(MAX_BYTES) : NULL;
  if (!p || num_inputs == MAX_FILES) {
    fprintf(stderr, "replay: cannot read %s\n", path);
    exit(1);
  }
  inputs[num_inputs].size = fread(p, 1, MAX_BYTES, f);
  inputs[num_inputs++].data = p;
  fclose(f);
}

static void read_folder(const char *dir) {
  DIR *d = opendir(dir);
  if (!d) {
    fprintf(stderr, "replay: cannot open the folder %s\n", dir);
    exit(1);
  }
  for (struct dirent *entry; (entry = readdir(d));) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
    if (entry->d_name[0] != '.') read_input(path);
  }
  closedir(d);
}

// One to four wounds: a byte changed, a piece lost, a piece said twice, or one of another input put in.
static size_t damage(uint8_t *p, size_t n, size_t capacity, uint64_t *seed) {
  for (uint64_t k = 1 + test_random(seed) % 4; k && n; k--) {
    size_t at = test_random(seed) % n, len = 1 + test_random(seed) % 32;
    int other = (int)(test_random(seed) % (uint64_t)num_inputs);
    if (len > n - at) len = n - at;
    switch (test_random(seed) % 5) {
    case 0: p[at] = (uint8_t)test_random(seed); break;
    case 1: n = at; break;
    case 2:
      memmove(p + at, p + at + len, n - at - len);
      n -= len;
      break;
    case 3:
      if (n + len > capacity) break;
      memmove(p + at + len, p + at, n - at);
      n += len;
      break;
    default: {
      size_t from = inputs[other].size ? test_random(seed) % inputs[other].size : 0, most = inputs[other].size - from;
      memcpy(p + at, inputs[other].data + from, len < most ? len : most);
    }
    }
  }
  return n;
}

int main(int argc, char **argv) {
  if (argc < 3) return fprintf(stderr, "usage: %s DAMAGED_COPIES FOLDER...\n", argv[0]), 2;
  long copies = strtol(argv[1], NULL, 10);
  for (int i = 2; i < argc; i++) read_folder(argv[i]);
  if (!num_inputs) return fprintf(stderr, "replay: there is no input\n"), 1;
  if (LLVMFuzzerInitialize) LLVMFuzzerInitialize(&argc, &argv);
  static const int deaths[] = {SIGABRT, SIGSEGV, SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGTERM};
  for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++) signal(deaths[i], on_death);
  for (int i = 0; i < num_inputs; i++) run(inputs[i].data, inputs[i].size);
  uint64_t seed = test_seed();
  uint8_t *copy = malloc(MAX_BYTES + 4096);
  for (int i = 0; copy && i < num_inputs; i++)
    for (long k = 0; k < copies; k++) {
      memcpy(copy, inputs[i].data, inputs[i].size);
      run(copy, damage(copy, inputs[i].size, MAX_BYTES + 4096, &seed));
    }
  printf("%d inputs, %ld damaged copies of each\n", num_inputs, copies);
  free(copy);
  for (int i = 0; i < num_inputs; i++) free(inputs[i].data);
  return 0;
}

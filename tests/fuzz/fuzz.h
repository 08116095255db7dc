// A fuzz target: a file that defines LLVMFuzzerTestOneInput. libFuzzer drives it in scripts/fuzz.sh; in every build
// replay.c runs the corpus through it.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// Once, before the first input; a target may leave it out.
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);
// Whatever the input, it returns 0; what must hold is checked with fuzz_check.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Stops the program where a sanitizer or the fuzzer sees it.
#define fuzz_check(condition)             \
  do {                                    \
    if (!(condition)) __builtin_trap();   \
  } while (0)

// An error is one sentence on one line that begins with the file's name.
void fuzz_check_error(const char *text, const char *begins);

// Cuts the next part off an input whose parts end with a zero byte; an empty part when nothing is left.
struct fuzz_part {
  const uint8_t *data;
  size_t size;
};
struct fuzz_part fuzz_take(const uint8_t **data, size_t *size);

// Files that the library sees in place of the disk's: each a copy of exactly its size, so that a sanitizer sees one byte too far. While
// there are none (count 0) it sees the disk. A folder is there when a file's path begins with it.
struct memory_file {
  const char *path;
  const void *data;
  size_t size;
};
void memory_files(const struct memory_file *files, int count);

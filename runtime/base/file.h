// Whole files: mapped for reading, and written so that a reader sees all of it or nothing.
#pragma once
#include "runtime/base/err.h"
#include <stdint.h>

struct file {
  const uint8_t *data; // NULL for an empty file
  size_t size;         // bytes
  char *path;
};

// Maps `path` read-only; opening is independent of its size.
bool file_map(struct file *f, const char *path, struct err *e);
void file_unmap(struct file *f);

// Writes `size` bytes to `path` by way of a temporary file beside it that is renamed when complete. What is no file
// (/dev/stdout, a pipe) is written to as it is.
bool file_write(const char *path, const void *data, size_t size, struct err *e);
// Whether file_write could write there, found by trying: for what is computed long before it is written. NULL is no file, and true.
bool file_can_write(const char *path, struct err *e);
// A device, a pipe or a terminal, which is written to and never replaced by a file.
bool file_is_special(const char *path);
// Whether two names stand for one file that can be written, be it there already or not.
bool file_is_same(const char *a, const char *b);
bool file_exists(const char *path);
bool file_is_dir(const char *path);
// Makes the folder and those above it.
bool file_make_dir(const char *path, struct err *e);
// "dir/name" in a new string, to be freed with mem_free.
char *file_join(const char *dir, const char *name, struct err *e);

// A stage of a trace on its way to a .npy file [rows, cols] of fp32: rows are added as they are computed, so that a
// long prompt needs no memory for them, and the file takes its name when it is complete.
#pragma once
#include "runtime/base/err.h"
#include <stdint.h>
#include <stdio.h>

struct stage_file {
  FILE *file; // NULL when closed
  char *path, *tmp;
};

// DIR/NAME.npy. On failure, and after any failure below, stage_file_free removes what was written.
bool stage_file_open(struct stage_file *s, const char *dir, const char *name, int64_t rows, int64_t cols,
                     struct err *e);
bool stage_file_add(struct stage_file *s, const float *data, size_t count, struct err *e);
// Everything is on its way to the disk; the name is still to be given.
bool stage_file_close(struct stage_file *s, struct err *e);
bool stage_file_rename(struct stage_file *s, struct err *e);
// After a rename that failed: removes what has its name already, so that a dump is all of its files or none.
void stage_file_undo(struct stage_file *s);
void stage_file_free(struct stage_file *s);

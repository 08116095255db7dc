// JSON by way of Jansson: files with errors that name file, line and key.
#pragma once
#include "runtime/base/err.h"
#include <jansson.h>
#include <stdint.h>

// Reads a whole file; duplicate keys and trailing text are errors; integers beyond 64 bits become reals. NULL and an
// error on failure; free with json_decref.
json_t *json_read_file(const char *path, struct err *e);
json_t *json_read_memory(const void *data, size_t size, const char *name, struct err *e);
// Writes whole or not at all, indented by two.
bool json_write_file(const char *path, const json_t *root, struct err *e);
// Makes Jansson allocate through mem_raw_alloc, and begins a value of which nothing may be missing; called by the readers above.
void json_use_mem(void);
// Prints to standard output, indented by two, or nothing at all. Takes `root`; NULL and an allocation that failed since json_use_mem are
// errors.
bool json_print(json_t *root, struct err *e);

// Where a figure comes from, for the JSON that holds it: date, build, machine, and the command that makes it again.
#pragma once
#include "runtime/base/json.h"

// argv as one would type it, in a new string; `name` in place of argv[0].
char *command_line(const char *name, int argc, char **argv, struct err *e);
// Adds "command", "date", "build" {version, commit, compiler, type} and "machine" {cpu, cores, memory_bytes, cache_bytes, os}.
bool provenance_add(json_t *root, const char *command, struct err *e);

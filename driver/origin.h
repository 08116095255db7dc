// Where a figure comes from: what a file of results must hold to be made again.
#pragma once
#include "runtime/base/json.h"

// The command as one would type it again, in a new string to be freed with mem_free: the program's name, then all of `argv`.
char *origin_command_line(const char *program, int argc, char **argv, struct err *e);
// {command, date, build, machine}; NULL without memory.
json_t *origin_json(const char *command_line);
// The same, into `root`.
bool origin_add(json_t *root, const char *command_line, struct err *e);
// The last part of a model's path: what a published file says of it.
const char *origin_model(const char *path);
// NULL becomes null: Jansson knows neither infinities nor text that is not UTF-8.
json_t *json_or_null(json_t *j);

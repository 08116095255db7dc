#include "driver/driver.h"
#include "runtime/base/file.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int usage_error(const struct command *c, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fprintf(stderr, "phi3 %s: ", c->name);
  vfprintf(stderr, fmt, ap);
  fprintf(stderr, "; see phi3 %s --help\n", c->name);
  va_end(ap);
  return EXIT_USAGE;
}

int failure(const struct command *c, const struct err *e) {
  fprintf(stderr, "phi3 %s: %s\n", c->name, interrupted() ? "interrupted" : e->text);
  return EXIT_FAILED;
}

void tell_greedy(const struct command *c, const struct sampler_options *s) {
  if (s->temperature > 0 || (!s->top_k && s->top_p == 1 && s->min_p == 0)) return;
  fprintf(stderr,
          "phi3 %s: --top-k, --top-p and --min-p do nothing at temperature 0; to sample, give a --temperature\n",
          c->name);
}

static void print_option(const struct option_spec *o) {
  char left[64];
  snprintf(left, sizeof left, "%c%c%s--%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
           o->letter ? ", " : "  ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
  if (strlen(left) > 30) printf("  %s\n  %-31s%s\n", left, "", o->help);
  else printf("  %-31s%s\n", left, o->help);
}

static void print_help(const struct command *c) {
  printf("Usage: phi3 %s %s\n\n%s\n", c->name, c->usage, c->summary);
  printf("\nOptions:\n");
  for (const struct option_spec *const *g = c->groups; *g; g++)
    for (const struct option_spec *o = *g; o->name; o++) print_option(o);
  printf("  -h, --help                     show this text\n\nExamples:\n%s", c->examples);
}

static const struct option_spec *find_option(const struct command *c, const char *arg, size_t len) {
  for (const struct option_spec *const *g = c->groups; *g; g++)
    for (const struct option_spec *o = *g; o->name; o++) {
      bool by_name =
          arg[0] == '-' && arg[1] == '-' && strlen(o->name) == len - 2 && memcmp(o->name, arg + 2, len - 2) == 0;
      if (by_name || (len == 2 && arg[1] == o->letter && o->letter)) return o;
    }
  return NULL;
}

static bool choose(const struct option_spec *o, const char *value) {
  size_t n = strlen(value);
  const char *word = o->arg;
  for (int i = 0; word; i++) {
    size_t len = strcspn(word, "|");
    if (len == n && memcmp(word, value, n) == 0) return *(int *)o->to = i, true;
    word = word[len] ? word + len + 1 : NULL;
  }
  return false;
}

static bool in_range(const struct option_spec *o, double v) {
  return isfinite(v) && ((o->min == 0 && o->max == 0) || (v >= o->min && v <= o->max));
}

// False when the value does not fit.
static bool store(const struct option_spec *o, const char *value) {
  char *end = NULL;
  errno = 0;
  switch (o->type) {
  case OPTION_FLAG: *(bool *)o->to = true; return true;
  case OPTION_TEXT: *(const char **)o->to = value; return true;
  case OPTION_FILE:
  case OPTION_OUT: *(const char **)o->to = value; return *value;
  case OPTION_CHOICE: return choose(o, value);
  case OPTION_TEXTS: {
    struct texts *t = o->to;
    if (t->count == MAX_TEXTS) return false;
    t->data[t->count++] = value;
    return true;
  }
  case OPTION_INT: {
    long long v = strtoll(value, &end, 10);
    *(int64_t *)o->to = v;
    return end != value && !*end && !errno && in_range(o, (double)v);
  }
  case OPTION_U64: {
    unsigned long long v = strtoull(value, &end, 10);
    *(uint64_t *)o->to = v;
    return end != value && !*end && !errno && value[0] != '-';
  }
  case OPTION_FLOAT: {
    double v = strtod(value, &end);
    *(float *)o->to = (float)v;
    return end != value && !*end && in_range(o, v);
  }
  }
  return false;
}

static int bad_value(const struct command *c, const struct option_spec *o, const char *value) {
  if (o->type == OPTION_FILE || o->type == OPTION_OUT) return usage_error(c, "--%s needs a file, not ''", o->name);
  if (o->type == OPTION_CHOICE) return usage_error(c, "--%s takes one of %s, not '%s'", o->name, o->arg, value);
  if (o->type == OPTION_TEXTS) return usage_error(c, "--%s can be given %d times at most", o->name, MAX_TEXTS);
  const char *kind = o->type == OPTION_FLOAT ? "number" : "whole number";
  if (o->type == OPTION_U64)
    return usage_error(c, "--%s takes a whole number from 0 to 2^64-1, not '%s'", o->name, value);
  if (o->min == 0 && o->max == 0) return usage_error(c, "--%s takes a %s, not '%s'", o->name, kind, value);
  return usage_error(c, "--%s takes a %s from %g to %.12g, not '%s'", o->name, kind, o->min, o->max, value);
}

static const char *file_of(const struct option_spec *o) { return o->type == OPTION_OUT ? *(const char **)o->to : NULL; }

// What is written last would replace what was written before.
static int check_files(const struct command *c) {
  for (const struct option_spec *const *g = c->groups; *g; g++)
    for (const struct option_spec *a = *g; a->name; a++)
      for (const struct option_spec *b = *g; b < a; b++)
        if (file_of(a) && file_of(b) && file_is_same(file_of(a), file_of(b)))
          return usage_error(c, "--%s and --%s both name the file '%s'", b->name, a->name, file_of(a));
  return -1;
}

int options_parse(const struct command *c, int argc, char **argv, struct arguments *args) {
  *args = (struct arguments){0};
  bool only_args = false;
  for (int i = 1; i < argc; i++) {
    const char *a = argv[i];
    if (only_args || a[0] != '-' || !a[1]) {
      if (args->count == c->max_args || args->count == MAX_ARGS)
        return usage_error(c, "'%s' is one argument too many", a);
      args->data[args->count++] = a;
      continue;
    }
    if (strcmp(a, "--") == 0) {
      only_args = true;
      continue;
    }
    if (strcmp(a, "-h") == 0 || strcmp(a, "--help") == 0) return print_help(c), EXIT_OK;
    size_t len = strcspn(a, "=");
    const struct option_spec *o = find_option(c, a, len);
    if (!o) return usage_error(c, "there is no option '%.*s'", (int)len, a);
    const char *value = a[len] ? a + len + 1 : NULL;
    if (o->type == OPTION_FLAG && value) return usage_error(c, "--%s takes no value", o->name);
    if (o->type != OPTION_FLAG && !value) {
      if (i + 1 == argc) return usage_error(c, "--%s needs a value: %s", o->name, o->arg);
      value = argv[++i];
    }
    if (!store(o, value)) return bad_value(c, o, value);
  }
  if (args->count < c->min_args) return usage_error(c, "an argument is missing: %s", c->usage);
  return check_files(c);
}

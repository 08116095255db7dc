#include "runtime/base/err.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// A file's words may stand in a text: a line's end in one would break the sentence, an escape would command the terminal.
static void one_line(char *text) {
  for (char *p = text; *p; p++)
    if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
}

void err_set_text(struct err *e, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(e->text, sizeof e->text, fmt, ap);
  va_end(ap);
  one_line(e->text);
  e->no_memory = false;
}

void err_add_context(struct err *e, const char *fmt, ...) {
  char old[sizeof e->text];
  memcpy(old, e->text, sizeof old);
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
  va_end(ap);
  if (n < 0) n = 0;
  // what does not fit is cut off
  if ((size_t)n < sizeof e->text && snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", old) < 0) e->text[n] = 0;
  one_line(e->text);
}

void err_set_no_memory(struct err *e, size_t bytes, const char *what) {
  err_set_text(e, "not enough memory: %zu bytes for %s; close other programs or use a smaller model or context", bytes, what);
  e->no_memory = true;
}

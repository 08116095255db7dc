// Errors: a function that can fail returns bool (or a pointer) and says why in a struct err, one sentence that names the
// thing and the mend. The library never prints and never exits; the driver does.
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err {
  char text[1024]; // empty while nothing failed
  bool no_memory;  // the cause was a failed allocation
};

// Sets the text and returns false, so that a failing function can end with `return err_set(e, ...)`.
bool err_set(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// Puts "context: " in front of the text and returns false: each frame that knows more adds a word.
bool err_context(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// An allocation of `bytes` for `what` failed.
bool err_no_memory(struct err *e, size_t bytes, const char *what);

// Errors: a function that can fail returns bool (or a pointer) and says why in a struct err, one sentence that names the
// thing and the mend. The library never prints and never exits; the driver does.
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err {
  char text[1024]; // empty while nothing failed
  bool no_memory;  // the cause was a failed allocation
};

static inline bool err_false(void) { return false; }

// Sets the text and is false, so that a failing function can end with `return err_set(e, ...)`. Macros, so that the compiler sees the
// constant and knows which paths have failed.
#define err_set(...) (err_set_text(__VA_ARGS__), err_false())
// Puts "context: " in front of the text and is false: each frame that knows more adds a word.
#define err_context(...) (err_add_context(__VA_ARGS__), err_false())
// An allocation of `bytes` for `what` failed; is false.
#define err_no_memory(e, bytes, what) (err_set_no_memory(e, bytes, what), err_false())

// Control characters in what is put into the text become '?'.
void err_set_text(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void err_add_context(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void err_set_no_memory(struct err *e, size_t bytes, const char *what);

#include "runtime/stop.h"
#include "runtime/base/mem.h"
#include <string.h>

bool stop_filter_init(struct stop_filter *f, const char *const *stop, int32_t num_stop, struct err *e) {
  *f = (struct stop_filter){.stop = stop, .num_stop = num_stop};
  for (int32_t i = 0; i < num_stop; i++) {
    size_t n = strlen(stop[i]);
    if (n == 0) return err_set(e, "a stop text is empty; leave --stop out or give it a text");
    if (n > f->longest) f->longest = n;
  }
  return true;
}

void stop_filter_free(struct stop_filter *f) {
  mem_free(f->held);
  *f = (struct stop_filter){0};
}

static bool append(struct stop_filter *f, const char *text, size_t len, struct err *e) {
  if (f->len + len > f->capacity) {
    size_t capacity = (f->len + len) * 2 + 64;
    char *p = mem_grow(f->held, f->len, capacity, 1, "text", e);
    if (!p) return false;
    f->held = p;
    f->capacity = capacity;
  }
  if (len) memcpy(f->held + f->len, text, len);
  f->len += len;
  return true;
}

// Where the earliest stop text begins, or where one may yet begin: the length if neither.
static size_t boundary(const struct stop_filter *f, bool last, bool *found) {
  *found = false;
  for (size_t at = 0; at < f->len; at++) {
    bool possible = false;
    for (int32_t i = 0; i < f->num_stop; i++) {
      size_t n = strlen(f->stop[i]), have = f->len - at < n ? f->len - at : n;
      if (memcmp(f->held + at, f->stop[i], have) != 0) continue;
      if (have == n) return *found = true, at;
      possible = true;
    }
    if (possible && !last) return at;
  }
  return f->len;
}

bool stop_filter_push(struct stop_filter *f, const char *text, size_t len, bool last, const char **ready, size_t *n,
                      bool *found, struct err *e) {
  if (f->given) memmove(f->held, f->held + f->given, f->len - f->given);
  f->len -= f->given;
  f->given = 0;
  if (!append(f, text, len, e)) return false;
  f->given = boundary(f, last, found);
  *ready = f->held ? f->held : "";
  *n = f->given;
  return true;
}

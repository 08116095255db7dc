// Finds stop texts in a stream of text, holding back what may yet become one.
#pragma once
#include "runtime/base/err.h"
#include <stdint.h>

struct stop_filter {
  const char *const *stop; // borrowed
  int32_t num_stop;
  size_t longest;
  char *held;                  // text not yet handed on
  size_t len, given, capacity; // held[0, given) was handed on by the last push
};

bool stop_filter_init(struct stop_filter *f, const char *const *stop, int32_t num_stop, struct err *e);
// Adds text; *ready[0, *n), valid until the next push, is text that can be shown now. With *found, it ends before the
// first stop text and nothing follows. `last`: no more text comes, so nothing is held back.
bool stop_filter_push(struct stop_filter *f, const char *text, size_t len, bool last, const char **ready, size_t *n,
                      bool *found, struct err *e);
void stop_filter_free(struct stop_filter *f);

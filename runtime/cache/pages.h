// The paged key-value cache's bookkeeping: which page of the backend's memory holds which tokens of which sequence. No keys and
// no values here; the backend owns those. A page holds `page_size` tokens of all layers.
#pragma once
#include "runtime/base/err.h"
#include <stdint.h>

struct pages {
  int32_t page_size;  // tokens
  int32_t num_pages;
  int32_t num_free;
  int32_t *free_list; // [num_free] used as a stack
  int32_t *refs;      // [num_pages] sequences that hold the page
};

enum { PAGE_NONE = -1 }; // in a block table: evicted

struct sequence {
  int64_t length;       // tokens whose keys and values are stored
  int32_t *block_table; // [num_blocks] page of the tokens [i page_size, (i + 1) page_size)
  int32_t num_blocks, capacity;
  int32_t first_block;  // blocks before it are evicted
};

struct page_copy {
  int32_t from, to;
};

bool pages_init(struct pages *p, int32_t num_pages, int32_t page_size, struct err *e);
void pages_free(struct pages *p);
// Pages that `tokens` positions take at most at once when a query sees `window` keys (0: all) and up to `chunk` tokens are
// added at a time.
int64_t pages_needed(int64_t tokens, int32_t page_size, int32_t window, int64_t chunk);

// A sequence starts as zeros. Reserving makes room for `count` more tokens; a shared page about to be written is replaced by one of
// its own, which `copy` tells the backend to fill first (`from` is PAGE_NONE when there is nothing to copy). Nothing is
// changed on failure.
bool sequence_reserve(struct sequence *s, struct pages *p, int64_t count, struct page_copy *copy, struct err *e);
// The reserved tokens are stored now.
void sequence_advance(struct sequence *s, int64_t count);
// Gives back the pages that no query at or after position s->length can see.
void sequence_evict(struct sequence *s, struct pages *p, int32_t window);
// Makes `s`, which must be empty, begin with the first `length` tokens of `from`, sharing its pages.
bool sequence_share(struct sequence *s, const struct sequence *from, int64_t length, struct pages *p, struct err *e);
// Forgets all tokens from position `length` on. What is evicted does not come back: false when position `length` would need it.
bool sequence_truncate(struct sequence *s, struct pages *p, int64_t length, int32_t window, struct err *e);
void sequence_free(struct sequence *s, struct pages *p);

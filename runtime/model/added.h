// Added tokens: pieces that are looked for in the text before anything else is done to it, as Hugging Face's
// AddedVocabulary does it.
#pragma once
#include "runtime/model/pattern.h"

struct added_token {
  int32_t id;
  char *content, *pattern; // what it is; what is looked for (its normalized form, where `normalized`)
  size_t content_len, pattern_len;
  bool single_word;    // only where no word character touches it
  bool lstrip, rstrip; // takes the white space on that side along
  bool normalized;     // looked for in the normalized text, the others in the text as it came
  bool special;        // left out of decoded text
};

enum { ADDED_RAW, ADDED_NORMALIZED, ADDED_SETS };

struct added {
  struct added_token *tokens;
  int32_t count, capacity;
  int32_t *sets[ADDED_SETS]; // indices of tokens, in the patterns' byte order
  int32_t set_counts[ADDED_SETS];
  struct pattern word; // \w; compiled when a token has single_word
};

// Adds a token, or replaces the one with the same content. Copies `content` and `pattern`.
bool added_put(struct added *a, const struct added_token *token, struct err *e);
// NULL: none.
const struct added_token *added_find(const struct added *a, const char *content, size_t len);
// To be called when all are in.
bool added_finish(struct added *a, struct err *e);
void added_free(struct added *a);

struct segment {
  const char *text;
  size_t len;
  int32_t id; // of an added token; -1: text
};

// Walks through a text: longest token at the leftmost place, then on behind it.
struct added_scan {
  const struct added *added;
  int set;
  const char *text;
  size_t len, at, done; // searched from here; given out up to here
  struct segment next;
  bool has_next;
  struct matcher word;
};

void added_scan_init(struct added_scan *s, const struct added *a, int set, const char *text, size_t len);
void added_scan_free(struct added_scan *s);
// 1: a segment, 0: the end, -1: an error. Text segments are never empty.
int added_scan_next(struct added_scan *s, struct segment *out, struct err *e);

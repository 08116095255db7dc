// What a tokenizer file looks for in a text: a literal string, or a regular expression in the dialect of Hugging Face's
// engine (Oniguruma, Unicode 16), run by PCRE2 with what differs evened out.
#pragma once
#include "runtime/model/utf8.h"

struct pattern {
  char *literal; // or NULL
  size_t literal_len;
  void *code; // pcre2_code
};

// An empty literal, which matches nothing, is refused.
bool pattern_literal(struct pattern *p, const char *text, size_t len, struct err *e);
// Refuses by name the constructs that the two engines read in different ways.
bool pattern_regex(struct pattern *p, const char *text, size_t len, struct err *e);
void pattern_free(struct pattern *p);

// One search through a text, match by match.
struct matcher {
  const struct pattern *pattern;
  void *match_data, *context, *stack; // of PCRE2; kept from text to text
  struct buffer stand_in;             // the text with stand-ins, when it needs any
  const char *text;
  size_t len, at, last_end;
  bool any;
  bool unassigned; // PCRE2 knows characters that Oniguruma does not
};

void matcher_init(struct matcher *m, const struct pattern *p);
void matcher_free(struct matcher *m);
// `text`, valid UTF-8, must stay until the last match.
bool matcher_start(struct matcher *m, const char *text, size_t len, struct err *e);
// The next match, [start, end); 1 found, 0 no more, -1 an error. An empty match right behind the last match is passed
// over.
int matcher_next(struct matcher *m, size_t *start, size_t *end, struct err *e);

// Regular expressions from the dialect above to PCRE2's; appends to `out`.
bool regex_translate(const char *text, size_t len, struct buffer *out, struct err *e);

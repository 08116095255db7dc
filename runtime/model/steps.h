// What happens to a text between its added tokens and the merging: normalizers and pre-tokenizers, broken down to four
// kinds of steps. Each piece that a step makes goes through the steps behind it at once, so nothing is held but one
// text for each step.
#pragma once
#include "runtime/model/pattern.h"

enum step_kind {
  STEP_PREPEND, // puts `text` in front
  STEP_REPLACE, // each match of `pattern` becomes `text`
  STEP_SPLIT,   // cuts at the matches of `pattern`
  STEP_BYTES,   // each byte becomes the printable character that byte-level vocabularies spell it with
};

enum split_behavior {
  SPLIT_REMOVED,
  SPLIT_ISOLATED,
  SPLIT_MERGED_WITH_PREVIOUS,
  SPLIT_MERGED_WITH_NEXT,
  SPLIT_CONTIGUOUS
};

struct step {
  enum step_kind kind;
  char *text; // owned
  size_t text_len;
  bool unless_there; // STEP_PREPEND: not where the text starts with it already
  bool only_first;   // STEP_PREPEND: only where the whole input starts
  struct pattern pattern;
  enum split_behavior behavior;
  bool invert; // STEP_SPLIT: what lies between the matches counts as the matches
};

enum { MAX_STEPS = 32 };

// Steps that make more of a text for the next ones to make more of could keep a machine busy for ever. All steps together may handle so
// many bytes for each byte of a text, and so many besides; files that people use need less than a hundred.
enum { MAX_WORK_RATE = 1024, MAX_WORK_FREE = 4096 };

struct steps {
  struct step data[MAX_STEPS];
  int count;
};

// Each appends a step; `text` is copied.
bool steps_prepend(struct steps *s, const char *text, size_t len, bool unless_there, bool only_first, struct err *e);
bool steps_replace(struct steps *s, struct pattern *pattern, const char *text, size_t len,
                   struct err *e); // takes `pattern` over, even on failure
bool steps_split(struct steps *s, struct pattern *pattern, enum split_behavior b, bool invert,
                 struct err *e); // likewise
bool steps_bytes(struct steps *s, struct err *e);
// Byte-level BPE's pre-tokenizer as GPT-2 has it.
bool steps_byte_level(struct steps *s, bool add_prefix_space, bool use_regex, struct err *e);
// Numbers apart from the rest, digit by digit or each as a whole.
bool steps_digits(struct steps *s, bool individual, struct err *e);
void steps_free(struct steps *s);

struct step_state {
  struct buffer text;
  struct matcher matcher;
};

// A run through the steps. `sink` gets the pieces, none of them empty; `at_start`: the piece begins where the input
// begins.
struct steps_run {
  const struct steps *steps;
  struct step_state states[MAX_STEPS];
  bool (*sink)(void *user, const char *text, size_t len, bool at_start, struct err *e);
  void *user;
  size_t work, most_work; // bytes handled for this text
};

void steps_run_init(struct steps_run *r, const struct steps *s,
                    bool (*sink)(void *, const char *, size_t, bool, struct err *), void *user);
void steps_run_free(struct steps_run *r);
bool steps_run(struct steps_run *r, const char *text, size_t len, bool at_start, struct err *e);

// The character for a byte in byte-level vocabularies, and back; -1 when it stands for none.
uint32_t byte_level_char(uint8_t byte);
int byte_level_byte(uint32_t cp);

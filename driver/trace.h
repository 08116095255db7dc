// What `phi3 trace` collects on the way of a prompt through the model.
#pragma once
#include "driver/driver.h"
#include "driver/stage_file.h"

enum { TRACE_FIRST = 4 }; // values shown of a stage

// One stage of all tokens, [1, tokens, width].
struct trace_stage {
  char name[24]; // "embedding", "layer_00", ..., "norm", "logits"
  int64_t width;
  double squares;           // sum over all values
  float first[TRACE_FIRST]; // of the last token
  struct stage_file file;   // with --dump
};

struct trace_text {
  char *data; // UTF-8 that may hold zero bytes; NULL where there is none
  size_t len;
};

struct trace_candidate {
  int32_t id;
  float logit;
  double probability;
  struct trace_text text; // what it stands for
};

struct trace {
  const struct engine *engine; // borrowed
  struct ids ids;              // the prompt
  struct trace_text text;      // of the ids
  struct trace_stage *stages;
  int32_t num_stages;
  float *rows;                 // a stage of one step; in the end the last token's logits
  struct trace_candidate *top; // most probable first
  int32_t num_top;
};

// Computes all stages: the prompt goes through `f` `chunk` tokens at a time, and with `dump` each stage goes into a
// file of that folder. `t` has engine and ids set; the last token's logits stay in t->rows.
bool trace_run(struct trace *t, struct forward *f, int64_t chunk, const char *dump, struct err *e);
// The prompt's text, and the `count` most probable next tokens (or as many as there are) with theirs. False and the
// first stage's name when a logit is no number.
bool trace_rank(struct trace *t, int64_t count, struct err *e);
void trace_free(struct trace *t);

// To standard output. Candidates that were not ranked are left out.
bool trace_print(const struct trace *t, struct err *e);
bool trace_print_json(const struct trace *t, struct err *e);

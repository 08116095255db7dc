// The Phi-3 forward pass: one schedule over the backend's operations, for any number of sequences at once.
#pragma once
#include "runtime/backend.h"
#include "runtime/cache/pages.h"

enum operation {
  OP_EMBED,
  OP_ATTENTION_IN,
  OP_ATTENTION,
  OP_ATTENTION_OUT,
  OP_MLP_IN,
  OP_MLP_OUT,
  OP_LOGITS,
  OP_COUNT
};
extern const char *const operation_names[OP_COUNT];

// Called after each operation; may read stages. Returning false (with an error) ends the pass.
struct forward_observer {
  bool (*after)(void *ctx, struct backend *b, const struct step *s, enum operation op, int32_t layer, struct err *e);
  void *ctx;
  bool lazy; // reads no stage: the backend may put off all work until the end of the step
};

struct forward {
  struct backend *backend; // owned
  struct pages pages;
  struct forward_observer observer; // optional
  struct step step;                 // the last one, for reads
  int32_t *ids, *logit_rows;        // storage of the step
  struct step_seq *seqs;
};

enum logits_of { LOGITS_NONE, LOGITS_LAST, LOGITS_ALL };

// New tokens of one sequence.
struct forward_input {
  struct sequence *seq;
  const int32_t *ids;
  int32_t count; // at least 1
  bool long_rope;
  enum logits_of logits;
};

// Takes the backend over, also on failure.
bool forward_open(struct forward *f, struct backend *b, struct err *e);
void forward_close(struct forward *f);
// Runs the tokens of all inputs (at most max_rows in all) and stores their keys and values. On failure no sequence has
// grown.
bool forward_run(struct forward *f, const struct forward_input *in, int32_t count, struct err *e);
// The same for one sequence and any number of tokens, `chunk` at a time; logits of the last token only, or none.
bool forward_chunks(struct forward *f, struct sequence *s, const int32_t *ids, int64_t count, int32_t chunk,
                    bool long_rope, enum logits_of logits, struct err *e);
// Whether a whole sequence of `tokens` is rotated with longrope's long factors.
bool forward_long_rope(const struct config *c, int64_t tokens);
// The next id of each row of logits, chosen in the backend, where it has that operation; see struct backend_ops.
bool forward_can_pick(const struct forward *f);
bool forward_pick(struct forward *f, const struct sampler_options *o, const double *random, int32_t *ids,
                  struct err *e);
// A stage of the last step; see enum stage.
bool forward_read(struct forward *f, enum stage stage, float *dst, struct err *e);

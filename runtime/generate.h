// Generation: a prompt's tokens, then one token after the other, with the key-value cache or without it, to the same
// ids.
#pragma once
#include "runtime/forward.h"
#include "runtime/model/tokenizer.h"
#include "runtime/sampler.h"

// One sequence that grows.
struct session {
  struct forward *forward; // borrowed
  struct sequence sequence;
  struct ids tokens; // all so far
  bool long_rope;    // the factors that the stored keys were rotated with
  bool use_cache;    // false: every call computes the whole sequence anew
  int32_t chunk;     // tokens of a prompt computed at once
};

void session_init(struct session *s, struct forward *f, bool use_cache, int32_t chunk);
void session_free(struct session *s);
// Adds tokens and computes the logits [vocab] that follow the last one; NULL leaves them in the backend. When the
// sequence passes longrope's original maximum, the cache is rebuilt once with the long factors. On failure the tokens
// are as before.
bool session_feed(struct session *s, const int32_t *ids, int64_t count, float *logits, struct err *e);

// Forgets the tokens from position `count` on.
bool session_rewind(struct session *s, int64_t count, struct err *e);

enum finish { FINISH_LENGTH, FINISH_END_ID, FINISH_STOP_TEXT, FINISH_POSITIONS, FINISH_CANCELLED };
extern const char *const finish_names[];

// How the new text is read: as the continuation of the prompt, so that both put together are the text of all ids (a
// space between them is the new text's); the same with the prompt's text handed on first; or as a text of its own, as
// an answer is.
enum prompt_text { PROMPT_CONTINUED, PROMPT_SHOWN, PROMPT_APART };

struct generate_options {
  int64_t max_new; // tokens to generate at most
  bool ignore_end; // go on past end ids
  enum prompt_text prompt_text;
  const char *const *stop; // texts that end generation and are not part of it
  int32_t num_stop;
  struct sampler_options sampler;
  // Called with text as it becomes certain (may be NULL), and with each id. Returning false cancels.
  bool (*on_text)(void *ctx, const char *text, size_t len);
  bool (*on_id)(void *ctx, int32_t id);
  // Asked when a pass was not finished (may be NULL): true when that was wanted, which ends generation with what there
  // is.
  bool (*cancelled)(void *ctx);
  void *ctx;
};

struct generated {
  struct ids ids; // the new ids, an end id among them
  enum finish finish;
  double first_seconds; // from the call to the first id
  double seconds;       // from the call to the last id
};

// Feeds the prompt and generates. `t` may be NULL: then no text is made and stop texts are not looked for.
bool generate(struct session *s, const struct tokenizer *t, const int32_t *prompt, int64_t count,
              const struct generate_options *o, struct generated *out, struct err *e);
void generated_free(struct generated *g);

// Bytes of weights that one pass reads, however many rows it has: all matrices but the embedding's unused rows.
int64_t weight_bytes_per_pass(const struct model *m);
// Seconds of a clock that never goes back.
double now_seconds(void);

// Several sequences at once: their prompts one after the other, then a token of each in every step.
#include "driver/bench.h"
#include "runtime/base/mem.h"

struct batch {
  struct forward *forward;
  struct session sessions[MAX_BATCH]; // each holds one sequence
  int32_t count, ids[MAX_BATCH];      // the last id of each
  struct sampler sampler;
  float *logits; // [count, vocab]; NULL: the backend chooses
};

// The ids that follow the last step, of `rows` sequences.
static bool pick(struct batch *b, int32_t rows, int32_t *ids, struct err *e) {
  struct sampler_options greedy = sampler_greedy();
  int64_t vocab = b->forward->backend->model->config.vocab_size;
  if (!b->logits) return forward_pick(b->forward, &greedy, NULL, ids, e);
  if (!forward_read(b->forward, STAGE_LOGITS, b->logits, e)) return false;
  for (int32_t i = 0; i < rows; i++)
    if ((ids[i] = sampler_pick(&b->sampler, b->logits + i * vocab, NULL, 0, e)) < 0) return false;
  return true;
}

static bool feed_prompts(struct batch *b, const struct ids *prompt, struct err *e) {
  for (int32_t i = 0; i < b->count; i++)
    if (!session_feed(&b->sessions[i], prompt->data, prompt->count, NULL, e) || !pick(b, 1, &b->ids[i], e))
      return false;
  return true;
}

// A pass that goes beyond longrope's original maximum recomputes each sequence by itself, as a session does.
static bool long_rope_begins(const struct batch *b, const struct config *c) {
  const struct session *s = &b->sessions[0];
  return forward_long_rope(c, s->tokens.count + 1) != s->long_rope;
}

static bool step(struct batch *b, struct err *e) {
  const struct config *c = &b->forward->backend->model->config;
  struct forward_input in[MAX_BATCH];
  if (long_rope_begins(b, c)) {
    for (int32_t i = 0; i < b->count; i++)
      if (!session_feed(&b->sessions[i], &b->ids[i], 1, NULL, e) || !pick(b, 1, &b->ids[i], e)) return false;
    return true;
  }
  for (int32_t i = 0; i < b->count; i++) {
    struct session *s = &b->sessions[i];
    in[i] = (struct forward_input){&s->sequence, &b->ids[i], 1, s->long_rope, LOGITS_LAST};
  }
  if (!forward_run(b->forward, in, b->count, e)) return false;
  for (int32_t i = 0; i < b->count; i++)
    if (!ids_push(&b->sessions[i].tokens, b->ids[i], e)) return false;
  return pick(b, b->count, b->ids, e);
}

static bool generate_all(struct batch *b, const struct point *p, const struct ids *prompt, double *at, struct ids *ids,
                         struct err *e) {
  double start = now_seconds();
  for (int64_t n = 0; n < p->new_tokens; n++) {
    if (interrupted()) return err_set(e, "interrupted");
    if (!(n ? step(b, e) : feed_prompts(b, prompt, e))) return false;
    at[n] = now_seconds() - start;
    for (int32_t i = 1; i < b->count; i++)
      if (b->ids[i] != b->ids[0])
        return err_set(e,
                       "new token %lld of sequence %d of %d with the same prompt is %d, and %d in the first one: the "
                       "ids differ, so no time is given",
                       (long long)n, i, b->count, b->ids[i], b->ids[0]);
    if (!ids_push(ids, b->ids[0], e)) return false;
  }
  return true;
}

bool bench_batch(struct bench *bench, const struct point *p, const struct ids *prompt, double *at, struct ids *ids,
                 struct err *e) {
  struct batch b = {.forward = &bench->engine->forward, .count = (int32_t)p->batch};
  struct sampler_options greedy = sampler_greedy();
  int32_t vocab = bench->engine->model.config.vocab_size;
  for (int32_t i = 0; i < b.count; i++)
    session_init(&b.sessions[i], b.forward, true, (int32_t)bench->options->engine.chunk);
  bool ok = sampler_init(&b.sampler, vocab, &greedy, e);
  if (ok && !forward_can_pick(b.forward))
    ok = (b.logits = mem_alloc((size_t)b.count * (size_t)vocab, sizeof *b.logits, "the logits of a batch", e)) != NULL;
  ok = ok && generate_all(&b, p, prompt, at, ids, e);
  for (int32_t i = 0; i < b.count; i++) session_free(&b.sessions[i]);
  sampler_free(&b.sampler);
  mem_free(b.logits);
  return ok;
}

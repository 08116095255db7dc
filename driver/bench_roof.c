// The machine's ceilings, and what decode and prefill make of them, measured side by side: a share is of figures from
// the same second.
#include "bench/roof.h"
#include "driver/bench.h"
#include "runtime/base/mem.h"

enum { DECODE_PROMPT = 16, DECODE_TOKENS = 64, PREFILL_TOKENS = ROOF_TOKENS };

// Operations of a prompt's pass with the logits of its last token; a multiply-add counts as two.
static double prefill_operations(const struct model *m, int64_t tokens) {
  const struct config *c = &m->config;
  double weights = 0, pairs = 0;
  for (int32_t i = 0; i < c->num_layers; i++) {
    const struct layer_weights *l = &m->layers[i];
    const struct matrix *all[] = {&l->qkv, &l->o, &l->gate_up, &l->down};
    for (int j = 0; j < 4; j++) weights += (double)all[j]->rows * (double)all[j]->cols;
  }
  for (int64_t i = 1; i <= tokens; i++)
    pairs += (double)(c->sliding_window && i > c->sliding_window ? c->sliding_window : i);
  double attention = 4 * pairs * c->num_heads * c->head_dim * c->num_layers; // scores and mixing
  return 2 * weights * (double)tokens + attention + 2 * (double)m->head.rows * (double)m->head.cols;
}

static bool prefill_seconds(struct bench *b, const struct ids *prompt, float *logits, double *seconds, struct err *e) {
  struct session s;
  session_init(&s, &b->engine->forward, true, (int32_t)b->options->engine.chunk);
  double start = now_seconds();
  bool ok = session_feed(&s, prompt->data, prompt->count, logits, e);
  *seconds = now_seconds() - start;
  session_free(&s);
  return ok;
}

static bool measure_model(struct bench *b, struct ceiling *c, struct err *e) {
  struct point p = {.prompt_tokens = b->decode_prompt, .new_tokens = b->decode_tokens};
  struct ids prompt = {0};
  double seconds = 0;
  float *logits = mem_alloc((size_t)b->engine->model.config.vocab_size, sizeof *logits, "a row of logits", e);
  bool ok = logits && bench_point(b, &p, "decode", 1, false, 0, e);
  if (ok) c->decode_tokens = timing_rate(&p.cached);
  ok = ok && bench_prompt(b, b->prefill_tokens, &prompt, e) && prefill_seconds(b, &prompt, logits, &seconds, e);
  if (ok) c->prefill_operations = prefill_operations(&b->engine->model, b->prefill_tokens) / seconds;
  mem_free(logits);
  ids_free(&prompt);
  point_free(&p);
  return ok;
}

bool bench_roof(struct bench *b, int64_t rounds, bool with_model, struct err *e) {
  struct ceiling warm_up;
  int64_t positions = b->engine->model.config.max_positions;
  b->decode_prompt = positions > 2 * DECODE_PROMPT ? DECODE_PROMPT : 1;
  b->decode_tokens = positions - b->decode_prompt < DECODE_TOKENS ? positions - b->decode_prompt : DECODE_TOKENS;
  b->prefill_tokens = positions < PREFILL_TOKENS ? positions : PREFILL_TOKENS;
  b->rounds = mem_alloc((size_t)rounds, sizeof *b->rounds, "the rounds", e);
  if (!b->rounds || (with_model && !measure_model(b, &warm_up, e))) return false;
  for (; b->num_rounds < rounds; b->num_rounds++) {
    struct ceiling *c = &b->rounds[b->num_rounds];
    struct roof roof;
    if (interrupted()) return err_set(e, "interrupted");
    if (!roof_measure(&roof, b->engine->forward.backend->options.threads, e)) return false;
    c->read_bytes = roof.read_bytes_per_second;
    c->multiply_adds = roof.flops;
    if (with_model && !measure_model(b, c, e)) return false;
  }
  return true;
}

// The bench on the virtual GPU: no clock is read, every time is the estimator's.
#include "driver/bench.h"
#include "driver/synth.h"
#include "runtime/base/mem.h"
#include <string.h>

static int64_t most_of(const struct bench *b, bool batches) {
  int64_t most = b->prompt.count + b->options->new_tokens;
  for (int64_t i = 0; i < b->num_sweep && !batches; i++)
    if (b->sweep[i].prompt_tokens + b->sweep[i].new_tokens > most)
      most = b->sweep[i].prompt_tokens + b->sweep[i].new_tokens;
  return most;
}

static int64_t most_sequences(const struct bench *b) {
  int64_t most = 1;
  for (int64_t i = 0; i < b->num_sweep; i++) most = b->sweep[i].batch > most ? b->sweep[i].batch : most;
  return most;
}

bool bench_estimate_open(struct bench *b, struct config *c, struct err *e) {
  const struct bench_options *o = b->options;
  struct estimate_setup s = {.config = c,
                             .name = c->name,
                             .chunk = o->engine.chunk,
                             .page_size = o->engine.page_size,
                             .tokens = most_of(b, false),
                             .sequences = most_sequences(b),
                             .shared_tokens = most_of(b, true),
                             .blocks = o->blocks,
                             .threads = (int)o->engine.threads};
  b->estimator = estimator_open(&s, e);
  if (!b->estimator) return false;
  struct gpu_report r = gpu_backend_report(estimator_engine(b->estimator)->forward.backend);
  snprintf(b->subject.card, sizeof b->subject.card, "%s, virtual", r.device);
  b->subject.roof = estimate_bytes_per_second[0];
  snprintf(b->subject.roof_text, sizeof b->subject.roof_text, "of %.0f GB/s", 1e-9 * b->subject.roof);
  return true;
}

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

// The same block, narrower and with two layers: it runs in full in a second or so.
static bool narrow_model(struct model *m, const struct config *c, struct err *e) {
  int32_t group = c->num_heads / c->num_kv_heads;
  struct config n = *c;
  n.num_layers = least(c->num_layers, 2);
  n.num_kv_heads = least(c->num_kv_heads, group > 2 ? 1 : 2);
  n.num_heads = n.num_kv_heads * group;
  n.hidden_size = least(c->hidden_size, 1088); // more than a chunk of the kernels' sums, and no multiple of it
  n.intermediate_size = least(c->intermediate_size, 512);
  n.vocab_size = least(c->vocab_size, 512);
  n.short_factor = n.long_factor = NULL;
  if (c->rope == ROPE_LONGROPE && !config_set_longrope(&n, c->short_factor, c->long_factor, 0, c->rope_scale, e))
    return config_free(&n), false;
  return synth_model(m, &n, "narrow", e);
}

static bool generate_ids(struct engine *en, const struct ids *prompt, bool cached, int64_t count, struct ids *out,
                         struct err *e) {
  struct generate_options o = {.max_new = count, .ignore_end = true, .sampler = sampler_greedy()};
  struct generated g = {0};
  struct session s;
  session_init(&s, &en->forward, cached, 0);
  bool ok = generate(&s, NULL, prompt->data, prompt->count, &o, &g, e);
  session_free(&s);
  if (ok) *out = g.ids;
  return ok;
}

// With the cache and without it the same ids come out of a narrow model on the virtual GPU.
static bool check_ids(struct bench *b, const struct config *c, struct err *e) {
  enum { TOKENS = 4, PROMPT = 40 };
  struct engine en = {0};
  struct engine_options o = b->options->engine;
  struct ids prompt = {0}, ids[2] = {{0}, {0}};
  int64_t room = c->max_positions - TOKENS + 1, most = room < PROMPT ? room : PROMPT;
  bool ok = narrow_model(&en.model, c, e) && engine_start(&en, &o, PROMPT + TOKENS, 1, 1, e);
  for (int64_t i = 0; ok && i < b->prompt.count && i < most; i++)
    ok = ids_push(&prompt, b->prompt.data[i] % en.model.config.vocab_size, e);
  for (int i = 0; ok && i < 2; i++) ok = generate_ids(&en, &prompt, i == 0, TOKENS, &ids[i], e);
  for (int64_t i = 0; ok && i < ids[0].count && i < ids[1].count; i++)
    if (ids[0].data[i] != ids[1].data[i])
      ok = err_set(e,
                   "on a narrow model new token %lld is %d with the cache and %d without it: the ids differ, so no "
                   "time is given",
                   (long long)i, ids[0].data[i], ids[1].data[i]);
  ids_free(&prompt);
  ids_free(&ids[0]);
  ids_free(&ids[1]);
  engine_close(&en);
  return b->main.compared = ok;
}

// The n-th new token's own time: the prompt's pass, or a step, or without the cache a pass over all so far.
static bool token_cost(struct bench *b, const struct point *p, int64_t n, bool cached, struct estimate_cost *c,
                       struct err *e) {
  int64_t length = p->prompt_tokens + n;
  if (cached && n) return estimate_decode(b->estimator, p->batch, length - 1, c, e);
  if (!estimate_prefill(b->estimator, length, c, e)) return false;
  for (int i = 0; i < ESTIMATE_MEMORIES; i++) c->seconds[i] *= (double)p->batch; // prompts one after the other
  c->overhead *= (double)p->batch;
  return true;
}

// With the memory as fast as on paper only the experiment is estimated.
static bool estimate_kind(struct bench *b, struct point *p, bool cached, struct err *e) {
  struct timing *to[ESTIMATE_MEMORIES] = {cached ? &p->cached : &p->uncached,
                                          cached ? &p->paper_cached : &p->paper_uncached};
  int memories = p == &b->main ? ESTIMATE_MEMORIES : 1;
  double bytes = 0;
  estimator_memories(b->estimator, memories);
  for (int i = 0; i < memories; i++)
    if (!timing_init(to[i], 1, p->new_tokens, e)) return false;
  for (int64_t n = 0; n < p->new_tokens; n++) {
    struct estimate_cost c;
    if (!token_cost(b, p, n, cached, &c, e)) return false;
    for (int i = 0; i < memories; i++) to[i]->at[n] = (n ? to[i]->at[n - 1] : 0) + estimate_total(&c, i);
    if (n) bytes += c.bytes / (double)(p->new_tokens - 1);
  }
  for (int i = 0; i < memories; i++) {
    to[i]->runs = 1;
    to[i]->joules[0] = __builtin_nan("");
  }
  if (cached) p->decode_bytes = bytes;
  return true;
}

static bool estimate_point(struct bench *b, struct point *p, struct err *e) {
  return estimate_kind(b, p, true, e) && (b->options->no_uncached || p->batch > 1 || estimate_kind(b, p, false, e));
}

static bool break_down(struct bench *b, struct breakdown *d, int64_t rows, int64_t position, struct err *e) {
  *d = (struct breakdown){.rows = rows, .seqs = 1, .position = position};
  for (int op = 0; op < ESTIMATE_OPS; op++) {
    bool ok = op >= OP_LOGITS ? estimate_op(b->estimator, op, 1, 1, 0, &d->cost[op], e)
                              : estimate_between(b->estimator, op, rows, position, &d->cost[op], e);
    d->times[op] = op >= OP_ATTENTION_IN && op <= OP_MLP_OUT ? b->subject.layers : 1;
    if (!ok) return false;
  }
  return true;
}

bool bench_estimate(struct bench *b, struct err *e) {
  int64_t budget = b->options->sweep_seconds, prompt = b->prompt.count, chunk = b->options->engine.chunk;
  b->main = (struct point){.prompt_tokens = prompt, .new_tokens = b->options->new_tokens, .batch = 1};
  if (!check_ids(b, estimator_config(b->estimator), e) || !estimate_point(b, &b->main, e)) return false;
  if (!break_down(b, &b->decode, 1, prompt + b->options->new_tokens / 2, e) ||
      !break_down(b, &b->prefill, prompt < chunk ? prompt : chunk, 0, e))
    return false;
  double start = now_seconds();
  for (int64_t i = 0; i < b->num_sweep; i++) {
    struct point *p = &b->sweep[i];
    if (!p->skipped && now_seconds() - start > (double)budget)
      p->skipped = "the time for the sweep was over; see --sweep-seconds";
    if (!p->skipped && !estimate_point(b, p, e)) return false;
  }
  return true;
}

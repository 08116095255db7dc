#include "runtime/generate.h"
#include "runtime/base/mem.h"
#include "runtime/stop.h"
#include <string.h>
#include <time.h>

const char *const finish_names[] = {"length", "end", "stop", "positions", "cancelled"};

double now_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int64_t weight_bytes_per_pass(const struct model *m) {
  int64_t bytes = matrix_bytes(&m->head) + m->norm->bytes;
  for (int32_t i = 0; i < m->config.num_layers; i++) {
    const struct layer_weights *l = &m->layers[i];
    bytes += l->input_norm->bytes + l->post_attention_norm->bytes;
    bytes += matrix_bytes(&l->qkv) + matrix_bytes(&l->o) + matrix_bytes(&l->gate_up) + matrix_bytes(&l->down);
  }
  return bytes;
}

void session_init(struct session *s, struct forward *f, bool use_cache, int32_t chunk) {
  int32_t most = f->backend->options.max_rows;
  *s = (struct session){.forward = f, .use_cache = use_cache, .chunk = chunk > 0 && chunk < most ? chunk : most};
}

void session_free(struct session *s) {
  if (s->forward) sequence_free(&s->sequence, &s->forward->pages);
  ids_free(&s->tokens);
  *s = (struct session){0};
}

static bool compute(struct session *s, float *logits, struct err *e) {
  struct forward *f = s->forward;
  bool long_rope = forward_long_rope(&f->backend->model->config, s->tokens.count);
  if (!s->use_cache || long_rope != s->long_rope) {
    if (!sequence_truncate(&s->sequence, &f->pages, 0, 0, e)) return false;
    s->long_rope = long_rope;
  }
  int64_t known = s->sequence.length;
  return forward_chunks(f, &s->sequence, s->tokens.data + known, s->tokens.count - known, s->chunk, long_rope,
                        LOGITS_LAST, e) &&
         (!logits || forward_read(f, STAGE_LOGITS, logits, e));
}

bool session_feed(struct session *s, const int32_t *ids, int64_t count, float *logits, struct err *e) {
  int64_t before = s->tokens.count, most = s->forward->backend->model->config.max_positions;
  if (before + count < 1) return err_set(e, "there is no token to begin with; give a prompt");
  if (before + count > most)
    return err_set(e, "%lld tokens, but the model has %lld positions; give a shorter prompt",
                   (long long)(before + count), (long long)most);
  bool ok = true;
  for (int64_t i = 0; i < count && ok; i++) ok = ids_push(&s->tokens, ids[i], e);
  if (ok && compute(s, logits, e)) return true;
  struct err ignored; // the first failure is the one to tell
  session_rewind(s, before, &ignored);
  return false;
}

bool session_rewind(struct session *s, int64_t count, struct err *e) {
  if (count < 0 || count > s->tokens.count)
    return err_set(e, "cannot cut %lld tokens to %lld", (long long)s->tokens.count, (long long)count);
  s->tokens.count = count;
  if (s->sequence.length <= count) return true;
  struct pages *p = &s->forward->pages;
  // What the cut needs may have left the window: then the next call computes the sequence from its start.
  return sequence_truncate(&s->sequence, p, count, s->forward->backend->model->config.sliding_window, e) ||
         sequence_truncate(&s->sequence, p, 0, 0, e);
}

static bool is_end(const struct config *c, int32_t id) {
  for (int32_t i = 0; i < c->num_end_ids; i++)
    if (c->end_ids[i] == id) return true;
  return false;
}

struct run {
  struct session *session;
  const struct generate_options *o;
  struct generated *out;
  struct decoder *decoder; // NULL without text
  struct stop_filter stop;
  struct sampler sampler;
  float *logits; // NULL: the backend chooses
};

// Hands on text that cannot belong to a stop text any more. False: generation ends, r->out->finish says why.
static bool emit(struct run *r, const char *text, size_t len, bool last, bool *go_on, struct err *e) {
  const char *ready;
  size_t n;
  bool found;
  if (!stop_filter_push(&r->stop, text, len, last, &ready, &n, &found, e)) return false;
  if (n && r->o->on_text && !r->o->on_text(r->o->ctx, ready, n)) {
    r->out->finish = FINISH_CANCELLED;
    *go_on = false;
  }
  if (found) {
    r->out->finish = FINISH_STOP_TEXT;
    *go_on = false;
  }
  return true;
}

static bool take_id(struct run *r, int32_t id, bool *go_on, struct err *e) {
  struct generated *out = r->out;
  if (!ids_push(&out->ids, id, e)) return false;
  if (r->o->on_id && !r->o->on_id(r->o->ctx, id)) {
    out->finish = FINISH_CANCELLED;
    *go_on = false;
    return true;
  }
  if (!r->o->ignore_end && is_end(&r->session->forward->backend->model->config, id)) {
    out->finish = FINISH_END_ID;
    *go_on = false;
    return true;
  }
  if (!r->decoder) return true;
  size_t len;
  const char *text = decoder_push(r->decoder, id, &len, e);
  return text && emit(r, text, len, false, go_on, e);
}

// The id after the tokens so far; -1 and an error.
static int32_t pick_id(struct run *r, struct err *e) {
  struct session *s = r->session;
  if (r->logits) return sampler_pick(&r->sampler, r->logits, s->tokens.data, s->tokens.count, e);
  bool greedy = r->o->sampler.temperature <= 0;
  double random = greedy ? 0 : sampler_random(&r->sampler);
  int32_t id;
  return forward_pick(s->forward, &r->o->sampler, greedy ? NULL : &random, &id, e) ? id : -1;
}

// The prompt's text, so that the decoder knows what the new text follows.
static bool decode_prompt(struct run *r, const int32_t *prompt, int64_t count, bool *go_on, struct err *e) {
  if (!r->decoder || r->o->prompt_text == PROMPT_APART) return true;
  for (int64_t i = 0; i < count; i++) {
    size_t len;
    const char *text = decoder_push(r->decoder, prompt[i], &len, e);
    if (!text) return false;
    if (r->o->prompt_text == PROMPT_SHOWN && len && r->o->on_text && !r->o->on_text(r->o->ctx, text, len)) {
      r->out->finish = FINISH_CANCELLED;
      *go_on = false;
      return true;
    }
  }
  return true;
}

// The next token's logits and its id; *go_on is false after a pass that was stopped on purpose.
static bool next_id(struct run *r, const int32_t *ids, int64_t count, int32_t *id, bool *go_on, struct err *e) {
  struct session *s = r->session;
  if (!session_feed(s, ids, count, r->logits, e)) {
    if (!r->o->cancelled || !r->o->cancelled(r->o->ctx)) return false;
    r->out->finish = FINISH_CANCELLED;
    *go_on = false;
    return true;
  }
  return (*id = pick_id(r, e)) >= 0;
}

static bool loop(struct run *r, const int32_t *prompt, int64_t count, struct err *e) {
  struct session *s = r->session;
  struct generated *out = r->out;
  double start = now_seconds();
  int32_t id = 0;
  bool go_on = r->o->max_new > 0;
  if (!decode_prompt(r, prompt, count, &go_on, e)) return false;
  while (go_on) {
    bool first = out->ids.count == 0;
    int32_t last = id;
    if (!next_id(r, first ? prompt : &last, first ? count : 1, &id, &go_on, e)) return false;
    if (!go_on) break;
    out->seconds = now_seconds() - start;
    if (first) out->first_seconds = out->seconds;
    if (!take_id(r, id, &go_on, e)) return false;
    if (go_on && out->ids.count >= r->o->max_new) go_on = false;
    if (go_on && s->tokens.count >= s->forward->backend->model->config.max_positions) {
      out->finish = FINISH_POSITIONS;
      go_on = false;
    }
  }
  if (!r->decoder || out->finish == FINISH_STOP_TEXT) return true;
  size_t len;
  const char *text = decoder_finish(r->decoder, &len, e);
  return text && emit(r, text, len, true, &go_on, e);
}

bool generate(struct session *s, const struct tokenizer *t, const int32_t *prompt, int64_t count,
              const struct generate_options *o, struct generated *out, struct err *e) {
  *out = (struct generated){.finish = FINISH_LENGTH};
  struct run r = {.session = s, .o = o, .out = out};
  int32_t vocab = s->forward->backend->model->config.vocab_size;
  bool ok = sampler_init(&r.sampler, vocab, &o->sampler, e);
  bool in_backend = forward_can_pick(s->forward) && o->sampler.repetition_penalty == 1;
  if (ok && !in_backend) ok = (r.logits = mem_alloc((size_t)vocab, sizeof *r.logits, "a row of logits", e)) != NULL;
  if (ok && t) ok = (r.decoder = decoder_open(t, true, e)) != NULL;
  if (ok) ok = stop_filter_init(&r.stop, o->stop, o->num_stop, e);
  if (ok) ok = loop(&r, prompt, count, e);
  stop_filter_free(&r.stop);
  if (r.decoder) decoder_close(r.decoder);
  mem_free(r.logits);
  sampler_free(&r.sampler);
  if (!ok) generated_free(out);
  return ok;
}

void generated_free(struct generated *g) {
  ids_free(&g->ids);
  *g = (struct generated){0};
}

#include "runtime/forward.h"
#include "runtime/base/mem.h"

const char *const operation_names[OP_COUNT] = {"embed",  "attention_in", "attention", "attention_out",
                                               "mlp_in", "mlp_out",      "logits"};

bool forward_open(struct forward *f, struct backend *b, struct err *e) {
  *f = (struct forward){.backend = b};
  const struct backend_options *o = &b->options;
  size_t rows = (size_t)o->max_rows;
  f->ids = mem_alloc(rows, sizeof *f->ids, "the ids of a step", e);
  if (f->ids) f->logit_rows = mem_alloc(rows, sizeof *f->logit_rows, "the logit rows of a step", e);
  if (f->logit_rows) f->seqs = mem_alloc(rows, sizeof *f->seqs, "the sequences of a step", e);
  if (f->seqs && pages_init(&f->pages, o->num_pages, o->page_size, e)) return true;
  forward_close(f);
  return false;
}

void forward_close(struct forward *f) {
  if (f->backend) f->backend->ops->close(f->backend);
  pages_free(&f->pages);
  mem_free(f->ids);
  mem_free(f->logit_rows);
  mem_free(f->seqs);
  *f = (struct forward){0};
}

bool forward_long_rope(const struct config *c, int64_t tokens) {
  return c->rope == ROPE_LONGROPE && tokens > c->original_max_positions;
}

static bool done(struct forward *f, enum operation op, int32_t layer, struct err *e) {
  return !f->observer.after || f->observer.after(f->observer.ctx, f->backend, &f->step, op, layer, e);
}

static bool run_layer(struct forward *f, int32_t layer, struct err *e) {
  struct backend *b = f->backend;
  const struct backend_ops *op = b->ops;
  const struct step *s = &f->step;
  return op->attention_in(b, s, layer, e) && done(f, OP_ATTENTION_IN, layer, e)      //
         && op->attention(b, s, layer, e) && done(f, OP_ATTENTION, layer, e)         //
         && op->attention_out(b, s, layer, e) && done(f, OP_ATTENTION_OUT, layer, e) //
         && op->mlp_in(b, s, layer, e) && done(f, OP_MLP_IN, layer, e)               //
         && op->mlp_out(b, s, layer, e) && done(f, OP_MLP_OUT, layer, e);
}

// The schedule.
static bool run_operations(struct forward *f, struct err *e) {
  struct backend *b = f->backend;
  if (!b->ops->embed(b, &f->step, e) || !done(f, OP_EMBED, 0, e)) return false;
  for (int32_t layer = 0; layer < b->model->config.num_layers; layer++)
    if (!run_layer(f, layer, e)) return err_context(e, "layer %d", layer);
  if (f->step.num_logits == 0) return true;
  return b->ops->logits(b, &f->step, e) && done(f, OP_LOGITS, 0, e);
}

static bool run_step(struct forward *f, struct err *e) {
  struct backend *b = f->backend;
  bool observed = f->observer.after && !f->observer.lazy;
  return (!b->ops->begin_step || b->ops->begin_step(b, &f->step, observed, e)) && run_operations(f, e) &&
         (!b->ops->end_step || b->ops->end_step(b, &f->step, e));
}

static bool check_inputs(const struct forward *f, const struct forward_input *in, int32_t count, struct err *e) {
  const struct backend *b = f->backend;
  int64_t rows = 0, logits = 0;
  for (int32_t i = 0; i < count; i++) {
    if (in[i].count < 1) return err_set(e, "sequence %d of the batch has no new token", i);
    for (int32_t j = 0; j < in[i].count; j++)
      if (in[i].ids[j] < 0 || in[i].ids[j] >= b->model->config.vocab_size)
        return err_set(e, "id %d is not in the vocabulary of %d", in[i].ids[j], b->model->config.vocab_size);
    rows += in[i].count;
    logits += in[i].logits == LOGITS_ALL ? in[i].count : in[i].logits == LOGITS_LAST;
  }
  if (rows > b->options.max_rows)
    return err_set(e, "%lld tokens at once, the backend takes %d", (long long)rows, b->options.max_rows);
  if (logits > b->options.max_logits)
    return err_set(e, "%lld rows of logits at once, the backend takes %d", (long long)logits, b->options.max_logits);
  return count > 0 || err_set(e, "an empty batch");
}

static bool add_input(struct forward *f, const struct forward_input *in, struct err *e) {
  struct backend *b = f->backend;
  struct step *s = &f->step;
  struct page_copy copy;
  sequence_evict(in->seq, &f->pages, b->model->config.sliding_window);
  if (!sequence_reserve(in->seq, &f->pages, in->count, &copy, e)) return false;
  if (copy.from != PAGE_NONE && !b->ops->copy_page(b, copy.from, copy.to, e)) return false;
  f->seqs[s->num_seqs++] =
      (struct step_seq){s->num_rows, in->count, in->seq->length, in->seq->block_table, in->long_rope};
  for (int32_t j = 0; j < in->count; j++, s->num_rows++) {
    f->ids[s->num_rows] = in->ids[j];
    bool wanted = in->logits == LOGITS_ALL || (in->logits == LOGITS_LAST && j == in->count - 1);
    if (wanted) f->logit_rows[s->num_logits++] = s->num_rows;
  }
  return true;
}

bool forward_run(struct forward *f, const struct forward_input *in, int32_t count, struct err *e) {
  if (!check_inputs(f, in, count, e)) return false;
  f->step = (struct step){.ids = f->ids, .seqs = f->seqs, .logit_rows = f->logit_rows};
  for (int32_t i = 0; i < count; i++)
    if (!add_input(f, &in[i], e)) return false;
  if (!run_step(f, e)) return false;
  for (int32_t i = 0; i < count; i++) sequence_advance(in[i].seq, in[i].count);
  return true;
}

bool forward_chunks(struct forward *f, struct sequence *s, const int32_t *ids, int64_t count, int32_t chunk,
                    bool long_rope, enum logits_of logits, struct err *e) {
  for (int64_t at = 0; at < count; at += chunk) {
    int32_t n = (int32_t)(count - at < chunk ? count - at : chunk);
    struct forward_input in = {s, ids + at, n, long_rope, at + n == count ? logits : LOGITS_NONE};
    if (!forward_run(f, &in, 1, e)) return false;
  }
  return true;
}

bool forward_read(struct forward *f, enum stage stage, float *dst, struct err *e) {
  return f->backend->ops->read(f->backend, &f->step, stage, dst, e);
}

bool forward_can_pick(const struct forward *f) { return f->backend->ops->pick != NULL; }

bool forward_pick(struct forward *f, const struct sampler_options *o, const double *random, int32_t *ids,
                  struct err *e) {
  return f->backend->ops->pick(f->backend, &f->step, o, random, ids, e);
}

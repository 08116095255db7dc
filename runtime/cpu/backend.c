#include "runtime/cpu/cpu.h"
#include "runtime/base/mem.h"
#include <string.h>

static bool alloc_rows(struct rows *b, int64_t rows, int64_t width, bool fp64, const char *what, struct err *e) {
  *b = (struct rows){.width = width, .ld = (width + CPU_PAD - 1) / CPU_PAD * CPU_PAD};
  b->data = mem_alloc((size_t)rows, (size_t)b->ld * (fp64 ? sizeof(double) : sizeof(float)), what, e);
  return b->data != NULL;
}

static bool alloc_activations(struct cpu *c, struct err *e) {
  const struct config *m = &c->base.model->config;
  const struct backend_options *o = &c->base.options;
  int64_t rows = o->max_rows, norm_rows = rows > o->max_logits ? rows : o->max_logits;
  return alloc_rows(&c->x, rows, m->hidden_size, o->fp64, "the residual stream", e) &&
         alloc_rows(&c->norm, norm_rows, m->hidden_size, o->fp64, "the norms", e) &&
         alloc_rows(&c->qkv, rows, c->q_width + 2 * c->kv_width, o->fp64, "queries, keys and values", e) &&
         alloc_rows(&c->mixed, rows, c->q_width, o->fp64, "attention's output", e) &&
         alloc_rows(&c->mlp, rows, m->intermediate_size, o->fp64, "the MLP", e) &&
         alloc_rows(&c->logits, o->max_logits, m->vocab_size, o->fp64, "the logits", e);
}

static bool alloc_linear(struct cpu *c, struct err *e) {
  const struct model *m = c->base.model;
  int64_t rows = c->base.options.max_rows;
  for (int32_t i = 0; i < m->config.num_layers; i++) {
    const struct layer_weights *l = &m->layers[i];
    if (!linear_alloc(c, &l->qkv, rows, e) || !linear_alloc(c, &l->o, rows, e) ||
        !linear_alloc(c, &l->gate_up, rows, e) || !linear_alloc(c, &l->down, rows, e))
      return false;
  }
  return linear_alloc(c, &m->head, c->base.options.max_logits, e);
}

static bool alloc_scratch(struct cpu *c, struct err *e) {
  const struct config *m = &c->base.model->config;
  size_t threads = (size_t)pool_threads(c->pool);
  if (!c->base.options.fp64) {
    c->scratch = mem_alloc(threads, sizeof *c->scratch, "the threads' scratch", e);
    return c->scratch && alloc_linear(c, e);
  }
  int64_t widest = m->hidden_size;
  if (widest < m->intermediate_size) widest = m->intermediate_size;
  if (widest < c->q_width) widest = c->q_width;
  c->row = mem_alloc(threads * (size_t)widest, sizeof *c->row, "a row of weights", e);
  return c->row != NULL;
}

static bool alloc_rope(struct cpu *c, struct err *e) {
  const struct config *m = &c->base.model->config;
  size_t half = (size_t)m->rotary_dim / 2, rows = (size_t)c->base.options.max_rows;
  for (int i = 0; i < 2; i++)
    if (!(c->inv_freq[i] = mem_alloc(half, sizeof(double), "the rotary frequencies", e))) return false;
  if (!(c->cos = mem_alloc(rows * half, sizeof *c->cos, "the rotary angles", e)) ||
      !(c->sin = mem_alloc(rows * half, sizeof *c->sin, "the rotary angles", e)) ||
      !(c->rope_position = mem_alloc(rows, sizeof *c->rope_position, "the rotary angles", e)) ||
      !(c->rope_long = mem_alloc(rows, sizeof *c->rope_long, "the rotary angles", e)))
    return false;
  for (size_t r = 0; r < rows; r++) c->rope_position[r] = -1;
  rope_inv_freq(m, c->base.options.fp64, false, c->inv_freq[0]);
  rope_inv_freq(m, c->base.options.fp64, true, c->inv_freq[1]);
  return true;
}

static bool alloc_gains(struct cpu *c, struct err *e) {
  const struct model *m = c->base.model;
  size_t norms = 2 * (size_t)m->config.num_layers + 1;
  c->gains = mem_alloc(norms, (size_t)m->config.hidden_size * sizeof *c->gains, "the norms' gains", e);
  if (!c->gains) return false;
  for (int32_t i = 0; i < m->config.num_layers; i++) {
    tensor_to_f32(m->layers[i].input_norm, (float *)cpu_gain(c, 2ll * i));
    tensor_to_f32(m->layers[i].post_attention_norm, (float *)cpu_gain(c, 2ll * i + 1));
  }
  tensor_to_f32(m->norm, (float *)cpu_gain(c, 2ll * m->config.num_layers));
  return true;
}

static bool alloc_pages(struct cpu *c, struct err *e) {
  const struct config *m = &c->base.model->config;
  const struct backend_options *o = &c->base.options;
  int64_t per_token = 2ll * m->num_layers * m->num_kv_heads * m->head_dim, total;
  c->element_bytes = o->fp64 ? 8 : o->page_type == PAGE_F16 ? 2 : 4;
  if (__builtin_mul_overflow(per_token * c->element_bytes, (int64_t)o->page_size, &total) ||
      __builtin_mul_overflow(total, (int64_t)o->num_pages, &total))
    return err_set(e, "a cache of %d pages of %d tokens is too large to address", o->num_pages, o->page_size);
  c->page_bytes = backend_page_bytes(m, o);
  c->pages = mem_alloc((size_t)total, 1, "the key-value cache", e);
  return c->pages != NULL;
}

static bool check_options(const struct model *m, const struct backend_options *o, struct err *e) {
  if (o->threads < 0) return err_set(e, "%d threads: expected 0 (one per processor) or more", o->threads);
  if (o->page_size < 1 || o->num_pages < 1)
    return err_set(e, "a cache of %d pages of %d tokens: expected at least one of each", o->num_pages, o->page_size);
  if (o->max_rows < 1 || o->max_logits < 0)
    return err_set(e, "steps of %d tokens with %d rows of logits: expected at least one token", o->max_rows,
                   o->max_logits);
  if (!o->fp64 && o->page_type != PAGE_F32 && o->page_type != PAGE_F16)
    return err_set(e, "unknown page type %d", (int)o->page_type);
  return config_check(&m->config, m->path ? m->path : "the model", e);
}

static bool open_parts(struct cpu *c, struct err *e) {
  c->kernels = cpu_kernels_select(e);
  if (!c->kernels) return false;
  c->pool = pool_open(c->base.options.threads, e);
  return c->pool && alloc_gains(c, e) && alloc_activations(c, e) && alloc_scratch(c, e) && alloc_rope(c, e) &&
         alloc_pages(c, e);
}

struct backend *cpu_backend_open(const struct model *m, const struct backend_options *o, struct err *e) {
  if (!check_options(m, o, e)) return NULL;
  struct cpu *c = mem_alloc(1, sizeof *c, "the backend", e);
  if (!c) return NULL;
  c->base = (struct backend){.ops = o->fp64 ? &cpu_ops_f64 : &cpu_ops_f32, .model = m, .options = *o};
  c->q_width = (int64_t)m->config.num_heads * m->config.head_dim;
  c->kv_width = (int64_t)m->config.num_kv_heads * m->config.head_dim;
  if (!open_parts(c, e)) return cpu_close(&c->base), NULL;
  c->base.options.threads = pool_threads(c->pool);
  return &c->base;
}

void cpu_close(struct backend *b) {
  if (!b) return;
  struct cpu *c = cpu_of(b);
  pool_close(c->pool);
  void *owned[] = {c->x.data,  c->norm.data, c->qkv.data,      c->mixed.data, c->mlp.data,    c->logits.data,
                   c->scratch, c->fixed,     c->row,           c->gains,      c->inv_freq[0], c->inv_freq[1],
                   c->cos,     c->sin,       c->rope_position, c->rope_long,  c->pages,       c};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) mem_free(owned[i]);
}

bool cpu_read(struct backend *b, const struct step *s, enum stage stage, float *dst, struct err *e) {
  struct cpu *c = cpu_of(b);
  const struct rows *from;
  int64_t width, count = stage == STAGE_NORM || stage == STAGE_LOGITS ? s->num_logits : s->num_rows;
  switch (stage) {
  case STAGE_HIDDEN: from = &c->x; break;
  case STAGE_QUERY: from = &c->qkv; break;
  case STAGE_MIXED: from = &c->mixed; break;
  case STAGE_MLP: from = &c->mlp; break;
  case STAGE_NORM: from = &c->norm; break;
  case STAGE_LOGITS: from = &c->logits; break;
  default: return err_set(e, "there is no stage %d to read", (int)stage);
  }
  width = stage == STAGE_QUERY ? c->q_width : from->width;
  for (int64_t r = 0; r < count; r++, dst += width) {
    if (!b->options.fp64) memcpy(dst, row_f32(from, r), (size_t)width * sizeof *dst);
    else
      for (int64_t i = 0; i < width; i++) dst[i] = (float)row_f64(from, r)[i];
  }
  return true;
}

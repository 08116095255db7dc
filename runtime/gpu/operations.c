// The operations of the forward pass as launches. While a graph is replayed they do nothing: the graph holds the launches.
#include "runtime/gpu/gpu.h"
#include "runtime/sampler.h"
#include <limits.h>

static const struct config *config_of(const struct gpu *g) { return &g->base.model->config; }

static int32_t window_of(const struct config *c) { return c->sliding_window ? c->sliding_window : INT32_MAX; }

static struct phi3_cache cache_of(const struct gpu *g, int32_t layer) {
  uint64_t bytes = (uint64_t)layer * (uint64_t)g->base.options.num_pages * (uint64_t)g->page_halfs * sizeof(uint16_t);
  return (struct phi3_cache){g->keys + bytes, g->values + bytes, g->tables, g->table_stride, g->base.options.page_size};
}

// y = norm(x): inside the projection for few rows, by a kernel of its own for more. The bits are the same.
static bool norm_for(struct gpu *g, struct phi3_linear *p, cu_pointer gain, struct err *e) {
  const struct config *c = config_of(g);
  if (gpu_norm_fits(&p->w, p->rows)) {
    p->residual = g->x;
    p->gain = gain;
    p->hidden = c->hidden_size;
    p->eps = (float)c->rms_eps;
    return true;
  }
  struct phi3_rmsnorm n = {.x = g->x, .gain = gain, .y = g->normed, .rows = p->rows, .hidden = c->hidden_size, .ldy = g->hidden_ld, .eps = (float)c->rms_eps};
  p->x = g->normed;
  p->ldx = g->hidden_ld;
  return gpu_rmsnorm(&g->d, &n, e);
}

static bool embed(struct backend *b, const struct step *s, struct err *e) {
  struct gpu *g = gpu_of(b);
  if (g->recording == RECORD_REPLAY) return true;
  struct phi3_embed p = {g->embed, gpu_array(g, g->at.ids), g->x, s->num_rows, config_of(g)->hidden_size};
  gpu_range_push(g, "embed");
  bool ok = gpu_launch(&g->d, KERNEL_embed_rows, (unsigned[]){(unsigned)s->num_rows, 1, 1}, 128, 0, &p, e);
  gpu_range_pop(g);
  return ok;
}

static bool attention_in(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct gpu *g = gpu_of(b);
  const struct config *c = config_of(g);
  if (g->recording == RECORD_REPLAY) return true;
  struct phi3_linear p = {.w = g->layers[layer].qkv,
                          .rows = s->num_rows,
                          .half_out = g->q,
                          .ld_out = g->heads_ld,
                          .parts = g->parts,
                          .row_info = gpu_array(g, g->at.row_info),
                          .rope = g->rope,
                          .rope_positions = g->max_positions,
                          .rotary_half = c->rotary_dim / 2,
                          .head_dim = c->head_dim,
                          .kv_heads = c->num_kv_heads,
                          .cache = cache_of(g, layer)};
  gpu_range_push(g, "layer %d", layer); // until mlp_out
  g->layer_range = true;
  gpu_range_push(g, "attention_in");
  bool ok = norm_for(g, &p, g->layers[layer].input_norm, e) && gpu_linear(&g->d, EPILOGUE_QKV, &p, e);
  gpu_range_pop(g);
  return ok;
}

// log2(e) / sqrt(head_dim): the kernel's exponentials are powers of two.
static float score_scale(int32_t head_dim) { return (float)(1.4426950408889634 / __builtin_sqrt(head_dim)); }

static bool attention(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct gpu *g = gpu_of(b);
  const struct config *c = config_of(g);
  if (g->recording == RECORD_REPLAY) return true;
  struct phi3_attention p = {.q = g->q,
                             .out = g->mixed,
                             .rows = s->num_rows,
                             .ld = g->heads_ld,
                             .heads = c->num_heads,
                             .kv_heads = c->num_kv_heads,
                             .head_dim = c->head_dim,
                             .window = window_of(c),
                             .scale = score_scale(c->head_dim),
                             .row_info = gpu_array(g, g->at.row_info),
                             .cache = cache_of(g, layer),
                             .queries = gpu_array(g, g->at.queries),
                             .partial = g->partial,
                             .max_spans = g->max_spans};
  gpu_range_push(g, "attention");
  bool ok = gpu_attention(&g->d, &p, g->split, g->split ? g->spans : g->num_queries, e);
  gpu_range_pop(g);
  return ok;
}

// x += W y
static bool add_projection(struct gpu *g, const struct step *s, const struct phi3_weights *w, cu_pointer y, int32_t ld, const char *name, struct err *e) {
  int32_t hidden = config_of(g)->hidden_size;
  if (g->recording == RECORD_REPLAY) return true;
  struct phi3_linear p = {.w = *w, .x = y, .rows = s->num_rows, .ldx = ld, .out = g->x, .ld_out = hidden, .features = hidden};
  gpu_range_push(g, "%s", name);
  bool ok = gpu_linear(&g->d, EPILOGUE_ADD, &p, e);
  gpu_range_pop(g);
  return ok;
}

static bool attention_out(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct gpu *g = gpu_of(b);
  return add_projection(g, s, &g->layers[layer].o, g->mixed, g->heads_ld, "attention_out", e);
}

static bool mlp_in(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct gpu *g = gpu_of(b);
  if (g->recording == RECORD_REPLAY) return true;
  struct phi3_linear p = {.w = g->layers[layer].gate_up, .rows = s->num_rows, .half_out = g->mlp, .ld_out = g->mlp_ld, .features = config_of(g)->intermediate_size};
  gpu_range_push(g, "mlp_in");
  bool ok = norm_for(g, &p, g->layers[layer].post_attention_norm, e) && gpu_linear(&g->d, EPILOGUE_SILU, &p, e);
  gpu_range_pop(g);
  return ok;
}

static bool mlp_out(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct gpu *g = gpu_of(b);
  bool ok = add_projection(g, s, &g->layers[layer].down, g->mlp, g->mlp_ld, "mlp_out", e);
  if (g->layer_range) gpu_range_pop(g); // not where the operation is run by itself
  g->layer_range = false;
  return ok;
}

bool gpu_norm_logit_rows(struct gpu *g, const struct step *s, struct err *e) {
  const struct config *c = config_of(g);
  struct phi3_rmsnorm n = {.x = g->x, .gain = g->norm, .y = g->normed, .from = gpu_array(g, g->at.logit_rows), .rows = s->num_logits, .hidden = c->hidden_size,
                           .ldy = g->hidden_ld, .eps = (float)c->rms_eps};
  return gpu_rmsnorm(&g->d, &n, e);
}

static bool logits(struct backend *b, const struct step *s, struct err *e) {
  struct gpu *g = gpu_of(b);
  int32_t vocab = config_of(g)->vocab_size;
  if (g->recording == RECORD_REPLAY) return true;
  struct phi3_linear p = {.w = g->head, .x = g->normed, .rows = s->num_logits, .ldx = g->hidden_ld, .out = g->logits, .ld_out = vocab, .features = vocab};
  gpu_range_push(g, "logits");
  bool all = s->num_logits == s->num_rows && gpu_norm_fits(&p.w, p.rows); // then the residual's rows are the logits', in order
  bool ok = (all ? norm_for(g, &p, g->norm, e) : gpu_norm_logit_rows(g, s, e)) && gpu_linear(&g->d, EPILOGUE_STORE, &p, e);
  gpu_range_pop(g);
  return ok;
}

static bool copy_page(struct backend *b, int32_t from, int32_t to, struct err *e) {
  struct gpu *g = gpu_of(b);
  int32_t n = b->options.num_pages;
  if (from < 0 || from >= n || to < 0 || to >= n) return err_set(e, "cannot copy page %d to page %d: the cache has pages 0..%d", from, to, n - 1);
  if (from == to) return true;
  struct phi3_copy_page p = {g->keys, g->values, n * g->page_halfs, g->page_halfs, from, to};
  int64_t chunks = (g->page_halfs / 8 + 255) / 256;
  gpu_range_push(g, "copy_page");
  bool ok = gpu_launch(&g->d, KERNEL_copy_pages, (unsigned[]){(unsigned)chunks, (unsigned)config_of(g)->num_layers, 2}, 256, 0, &p, e);
  gpu_range_pop(g);
  return ok;
}

static bool pick(struct backend *b, const struct step *s, const struct sampler_options *o, const double *random, int32_t *ids, struct err *e) {
  struct gpu *g = gpu_of(b);
  const struct cuda *c = &g->d.cuda;
  uint64_t *shares = (uint64_t *)(g->host_arrays + g->at.random);
  for (int32_t i = 0; i < s->num_logits && random; i++) shares[i] = (uint64_t)(random[i] * 0x1p53) << 11;
  if (random && !cuda_check(c, c->to_device_async(gpu_array(g, g->at.random), shares, (size_t)s->num_logits * sizeof *shares, g->d.stream), "sending random numbers", e))
    return false;
  struct phi3_sample p = {.logits = g->logits, .random = gpu_array(g, g->at.random), .ids = g->picked, .rows = s->num_logits, .vocab = config_of(g)->vocab_size,
                          .top_k = o->top_k, .temperature = random ? o->temperature : 0, .top_p = o->top_p, .min_p = o->min_p};
  gpu_range_push(g, "sample");
  bool ok = gpu_launch(&g->d, KERNEL_sample_rows, (unsigned[]){(unsigned)s->num_logits, 1, 1}, 1024, 0, &p, e) && gpu_wait(&g->d, "computing the step", e) &&
            cuda_check(c, c->to_host(ids, g->picked, (size_t)s->num_logits * sizeof *ids), "reading the chosen ids", e);
  gpu_range_pop(g);
  if (!ok) return false;
  for (int32_t i = 0; i < s->num_logits; i++)
    if (ids[i] < 0) return err_set(e, "a logit is not a number or infinite: the model's weights or this backend are broken; run phi3 trace to see where");
  return true;
}

#define GPU_OPS(word)                                                                                                                                     \
  {                                                                                                                                                       \
    .name = word, .begin_step = gpu_begin_step, .end_step = gpu_end_step, .embed = embed, .attention_in = attention_in, .attention = attention,             \
    .attention_out = attention_out, .mlp_in = mlp_in, .mlp_out = mlp_out, .logits = logits, .copy_page = copy_page, .read = gpu_read, .pick = pick,         \
    .write = gpu_write, .read_cache = gpu_read_cache, .write_cache = gpu_write_cache,                                                                     \
    .close = gpu_close                                                                                                                                    \
  }
const struct backend_ops gpu_cuda_ops = GPU_OPS("cuda"), gpu_virtual_ops = GPU_OPS("vgpu");

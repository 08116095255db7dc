// The model's weights on the device: tensor by tensor through one host buffer, converted, fused and packed on the way.
#include "runtime/gpu/gpu.h"
#include "runtime/base/mem.h"

// What a layer's matrices have in common.
struct orders {
  struct row_order qkv, o, gate_up, down, head;
  struct phi3_qkv_part *parts;
};

static void orders_free(struct orders *o) {
  row_order_free(&o->qkv);
  row_order_free(&o->o);
  row_order_free(&o->gate_up);
  row_order_free(&o->down);
  row_order_free(&o->head);
  mem_free(o->parts);
}

static bool orders_init(struct orders *o, const struct config *c, struct err *e) {
  *o = (struct orders){0};
  return row_order_qkv(&o->qkv, &o->parts, c, e) && row_order_plain(&o->o, c->hidden_size, e) && row_order_gate_up(&o->gate_up, c->intermediate_size, e) &&
         row_order_plain(&o->down, c->hidden_size, e) && row_order_plain(&o->head, c->vocab_size, e);
}

static size_t aligned(int64_t bytes) { return ((size_t)bytes + 255) / 256 * 256; }

static size_t weight_bytes(const struct config *c, const struct orders *o) {
  size_t norm = aligned(4 * (int64_t)c->hidden_size), heads = (size_t)c->num_heads * (size_t)c->head_dim;
  size_t layer = 2 * norm + aligned(2 * packed_halfs(&o->qkv, c->hidden_size)) + aligned(2 * packed_halfs(&o->o, (int64_t)heads)) +
                 aligned(2 * packed_halfs(&o->gate_up, c->hidden_size)) + aligned(2 * packed_halfs(&o->down, c->intermediate_size));
  return layer * (size_t)c->num_layers + norm + aligned(2 * (int64_t)c->vocab_size * c->hidden_size) + aligned(2 * packed_halfs(&o->head, c->hidden_size)) +
         aligned(2 * (int64_t)o->qkv.tiles * (int64_t)sizeof(struct phi3_qkv_part));
}

struct loader {
  struct gpu *g;
  struct pool *pool;
  uint16_t *staging; // the largest matrix
};

static bool send(struct loader *l, cu_pointer *where, const void *data, size_t bytes, const char *what, struct err *e) {
  *where = gpu_carve(&l->g->weights, bytes);
  return cuda_check(&l->g->d.cuda, l->g->d.cuda.to_device(*where, data, bytes), what, e);
}

static bool send_matrix(struct loader *l, struct phi3_weights *w, const struct matrix *m, const struct row_order *o, struct err *e) {
  if (!pack_matrix(m, o, l->staging, l->pool, &l->g->report, e)) return false;
  w->tiles = o->tiles;
  w->groups = (int32_t)((m->cols + PHI3_GROUP_K - 1) / PHI3_GROUP_K);
  return send(l, &w->data, l->staging, 2 * (size_t)packed_halfs(o, m->cols), m->parts[0].tensor->name, e);
}

static bool send_norm(struct loader *l, cu_pointer *where, const struct tensor *t, struct err *e) {
  tensor_to_f32(t, (float *)l->staging);
  return send(l, where, l->staging, 4 * (size_t)t->cols, t->name, e);
}

static bool send_layer(struct loader *l, const struct layer_weights *from, struct gpu_layer *to, const struct orders *o, struct err *e) {
  return send_norm(l, &to->input_norm, from->input_norm, e) && send_norm(l, &to->post_attention_norm, from->post_attention_norm, e) &&
         send_matrix(l, &to->qkv, &from->qkv, &o->qkv, e) && send_matrix(l, &to->o, &from->o, &o->o, e) &&
         send_matrix(l, &to->gate_up, &from->gate_up, &o->gate_up, e) && send_matrix(l, &to->down, &from->down, &o->down, e);
}

static bool send_all(struct loader *l, const struct orders *o, struct err *e) {
  struct gpu *g = l->g;
  const struct model *m = g->base.model;
  if (!send(l, &g->parts, o->parts, 2 * (size_t)o->qkv.tiles * sizeof *o->parts, "the parts of q, k and v", e)) return false;
  if (!pack_rows(&m->embed, l->staging, l->pool, &g->report, e)) return false;
  if (!send(l, &g->embed, l->staging, 2 * (size_t)(m->embed.rows * m->embed.cols), "the embedding", e)) return false;
  for (int32_t i = 0; i < m->config.num_layers; i++)
    if (!send_layer(l, &m->layers[i], &g->layers[i], o, e)) return err_context(e, "layer %d", i);
  return send_norm(l, &g->norm, m->norm, e) && send_matrix(l, &g->head, &m->head, &o->head, e);
}

bool gpu_weight_bytes(const struct config *c, size_t *bytes, struct err *e) {
  struct orders o;
  bool ok = orders_init(&o, c, e);
  if (ok) *bytes = weight_bytes(c, &o);
  orders_free(&o);
  return ok;
}

// Halfs of the largest matrix.
static int64_t largest(const struct config *c, const struct orders *o) {
  int64_t sizes[] = {packed_halfs(&o->qkv, c->hidden_size), packed_halfs(&o->o, (int64_t)c->num_heads * c->head_dim), packed_halfs(&o->gate_up, c->hidden_size),
                     packed_halfs(&o->down, c->intermediate_size), packed_halfs(&o->head, c->hidden_size), (int64_t)c->vocab_size * c->hidden_size}, most = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) most = sizes[i] > most ? sizes[i] : most;
  return most;
}

bool gpu_largest_matrix(const struct config *c, size_t *halfs, size_t *packed_rows, struct err *e) {
  struct orders o;
  bool ok = orders_init(&o, c, e);
  if (ok) *halfs = (size_t)largest(c, &o), *packed_rows = PHI3_TILE_ROWS * (size_t)(o.qkv.tiles > o.gate_up.tiles ? o.qkv.tiles : o.gate_up.tiles);
  orders_free(&o);
  return ok;
}

bool gpu_load_weights(struct gpu *g, struct err *e) {
  const struct config *c = &g->base.model->config;
  struct orders o;
  struct loader l = {.g = g};
  bool ok = orders_init(&o, c, e) && (g->layers = mem_alloc((size_t)c->num_layers, sizeof *g->layers, "the layers", e)) != NULL;
  if (ok) ok = (l.pool = pool_open(g->base.options.threads, e)) != NULL;
  if (ok) ok = (l.staging = mem_alloc((size_t)largest(c, &o) + 2 * (size_t)c->hidden_size, sizeof *l.staging, "a matrix on its way to the device", e)) != NULL;
  if (ok) ok = send_all(&l, &o, e);
  mem_free(l.staging);
  if (l.pool) pool_close(l.pool);
  orders_free(&o);
  return ok;
}

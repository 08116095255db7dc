#include "runtime/model/model.h"
#include "runtime/base/mem.h"
#include "runtime/model/tensors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 128 };

// What a kind of file calls the tensors; those of a layer are "LAYERS.number.name".
struct naming {
  const char *embed, *norm, *head;
  const char *layers;
  const char *input_norm, *post_attention_norm, *o, *down;
  const char *qkv[MATRIX_MAX_PARTS], *gate_up[MATRIX_MAX_PARTS]; // one fused tensor, or its parts
  bool paired;                                                   // the rotated rows of q and k are neighbouring pairs
};

static const struct naming hf_names = {.embed = "model.embed_tokens.weight",
                                       .norm = "model.norm.weight",
                                       .head = "lm_head.weight",
                                       .layers = "model.layers",
                                       .input_norm = "input_layernorm.weight",
                                       .post_attention_norm = "post_attention_layernorm.weight",
                                       .o = "self_attn.o_proj.weight",
                                       .down = "mlp.down_proj.weight",
                                       .qkv = {"self_attn.qkv_proj.weight"},
                                       .gate_up = {"mlp.gate_up_proj.weight"}};

#define GGUF_NAMES                                                                                                     \
  .embed = "token_embd.weight", .norm = "output_norm.weight", .head = "output.weight", .layers = "blk",                \
  .input_norm = "attn_norm.weight", .post_attention_norm = "ffn_norm.weight", .o = "attn_output.weight",               \
  .down = "ffn_down.weight"
static const struct naming phi3_gguf_names = {GGUF_NAMES, .qkv = {"attn_qkv.weight"}, .gate_up = {"ffn_up.weight"}};
static const struct naming llama_gguf_names = {GGUF_NAMES, .qkv = {"attn_q.weight", "attn_k.weight", "attn_v.weight"},
                                               .gate_up = {"ffn_gate.weight", "ffn_up.weight"}, .paired = true};

// The model while its tensors are given their places.
struct binding {
  struct model *m;
  const struct naming *names;
  bool *used; // [num_tensors]
};

static int compare_name(const void *key, const void *item) {
  return strverscmp(key, ((const struct tensor *)item)->name);
}

static const struct tensor *find_tensor(const struct model *m, const char *name) {
  return bsearch(name, m->tensors, (size_t)m->num_tensors, sizeof *m->tensors, compare_name);
}

static bool wrong_shape(const struct model *m, const struct tensor *t, const char *expected, struct err *e) {
  char found[64];
  if (t->dims == 1) snprintf(found, sizeof found, "[%lld]", (long long)t->cols);
  else snprintf(found, sizeof found, "[%lld, %lld]", (long long)t->rows, (long long)t->cols);
  return err_set(e, "%s: tensor '%s': shape %s, expected %s", tensor_file(m, t), t->name, found, expected);
}

// The tensor of that name and shape, marked as used. rows = 0 stands for a vector.
static const struct tensor *take(struct binding *b, const char *name, int64_t rows, int64_t cols, struct err *e) {
  struct model *m = b->m;
  const struct tensor *t = find_tensor(m, name);
  char expected[64];
  if (rows) snprintf(expected, sizeof expected, "[%lld, %lld]", (long long)rows, (long long)cols);
  else snprintf(expected, sizeof expected, "[%lld]", (long long)cols);
  if (!t) err_set(e, "%s: tensor '%s' of shape %s is missing", m->path, name, expected);
  else if (t->dims != (rows ? 2 : 1) || t->rows != (rows ? rows : 1) || t->cols != cols) {
    wrong_shape(m, t, expected, e);
    t = NULL;
  } else if (!rows && dtype_info(t->type)->block != 1) {
    err_set(e, "%s: tensor '%s': type %s, expected F32, F16 or BF16 for a norm", tensor_file(m, t), name,
            dtype_info(t->type)->name);
    t = NULL;
  } else {
    b->used[t - m->tensors] = true;
    m->num_params += t->rows * t->cols;
    m->weight_bytes += t->bytes;
  }
  return t;
}

static bool bind_whole(struct binding *b, struct matrix *x, const char *name, int64_t rows, int64_t cols,
                       struct err *e) {
  const struct tensor *t = take(b, name, rows, cols, e);
  *x = (struct matrix){.rows = rows, .cols = cols, .num_parts = 1, .parts = {{.tensor = t}}};
  return t != NULL;
}

static const char *layer_name(const struct binding *b, int32_t layer, const char *suffix, char name[NAME_BYTES]) {
  snprintf(name, NAME_BYTES, "%s.%d.%s", b->names->layers, layer, suffix);
  return name;
}

// A matrix whose tensors have the names `suffix` and so many rows; fused to one when there is one name.
static bool bind_parts(struct binding *b, struct matrix *x, int32_t layer, const char *const suffix[MATRIX_MAX_PARTS],
                       const int64_t rows[MATRIX_MAX_PARTS], int64_t cols, struct err *e) {
  char name[NAME_BYTES];
  int64_t total = rows[0] + rows[1] + rows[2], next = 0;
  if (!suffix[1]) return bind_whole(b, x, layer_name(b, layer, suffix[0], name), total, cols, e);
  *x = (struct matrix){.rows = total, .cols = cols};
  for (int i = 0; i < MATRIX_MAX_PARTS && suffix[i]; i++) {
    x->parts[i].tensor = take(b, layer_name(b, layer, suffix[i], name), rows[i], cols, e);
    if (!x->parts[i].tensor) return false;
    x->parts[i].first_row = next;
    x->num_parts = i + 1;
    next += rows[i];
  }
  return true;
}

static bool bind_layer(struct binding *b, int32_t layer, struct err *e) {
  const struct config *c = &b->m->config;
  const struct naming *n = b->names;
  struct layer_weights *w = &b->m->layers[layer];
  char name[NAME_BYTES];
  int64_t q = (int64_t)c->num_heads * c->head_dim, kv = (int64_t)c->num_kv_heads * c->head_dim;
  const int64_t qkv_rows[MATRIX_MAX_PARTS] = {q, kv, kv},
                gate_up_rows[MATRIX_MAX_PARTS] = {c->intermediate_size, c->intermediate_size, 0};
  w->input_norm = take(b, layer_name(b, layer, n->input_norm, name), 0, c->hidden_size, e);
  if (!w->input_norm) return false;
  w->post_attention_norm = take(b, layer_name(b, layer, n->post_attention_norm, name), 0, c->hidden_size, e);
  if (!w->post_attention_norm || !bind_parts(b, &w->qkv, layer, n->qkv, qkv_rows, c->hidden_size, e) ||
      !bind_whole(b, &w->o, layer_name(b, layer, n->o, name), c->hidden_size, q, e) ||
      !bind_parts(b, &w->gate_up, layer, n->gate_up, gate_up_rows, c->hidden_size, e) ||
      !bind_whole(b, &w->down, layer_name(b, layer, n->down, name), c->hidden_size, c->intermediate_size, e))
    return false;
  for (int i = 0; n->paired && i < 2; i++) { // q and k
    w->qkv.parts[i].pair_head_dim = c->head_dim;
    w->qkv.parts[i].pair_rotary = c->rotary_dim;
  }
  return true;
}

static bool bind_head(struct binding *b, struct err *e) {
  struct model *m = b->m;
  struct config *c = &m->config;
  const struct tensor *t = find_tensor(m, b->names->head);
  if (b->names != &hf_names) c->tied_embeddings = !t; // GGUF says it by leaving the tensor out
  if (!c->tied_embeddings) return bind_whole(b, &m->head, b->names->head, c->vocab_size, c->hidden_size, e);
  if (t) b->used[t - m->tensors] = true; // stored, but config.json says that the embedding takes its place
  m->head = m->embed;
  return true;
}

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), k = strlen(end);
  return n >= k && strcmp(s + n - k, end) == 0;
}

// A tensor without a place would change the result if it were known: it is refused, but for tables that follow from the
// configuration.
static bool check_unused(const struct binding *b, struct err *e) {
  const struct model *m = b->m;
  for (int64_t i = 0; i < m->num_tensors; i++) {
    const char *name = m->tensors[i].name;
    if (b->used[i] || ends_with(name, "rotary_emb.inv_freq")) continue;
    if (m->config.rope == ROPE_LONGROPE && strncmp(name, "rope_factors_", strlen("rope_factors_")) == 0) continue;
    return err_set(e, "%s: tensor '%s' is not supported; a model of %s with %d layers has none of that name",
                   tensor_file(m, &m->tensors[i]), name, m->config.architecture, m->config.num_layers);
  }
  return true;
}

static bool bind(struct model *m, struct err *e) {
  const struct config *c = &m->config;
  const struct naming *n = strcmp(c->architecture, "phi3") == 0    ? &phi3_gguf_names
                           : strcmp(c->architecture, "llama") == 0 ? &llama_gguf_names
                                                                   : &hf_names;
  struct binding b = {m, n, mem_alloc((size_t)m->num_tensors, sizeof *b.used, "marks of tensors", e)};
  m->layers = mem_alloc((size_t)c->num_layers, sizeof *m->layers, "the layers", e);
  bool ok = b.used && m->layers && bind_whole(&b, &m->embed, n->embed, c->vocab_size, c->hidden_size, e);
  for (int32_t i = 0; ok && i < c->num_layers; i++) ok = bind_layer(&b, i, e);
  ok = ok && (m->norm = take(&b, n->norm, 0, c->hidden_size, e)) && bind_head(&b, e) && check_unused(&b, e);
  mem_free(b.used);
  return ok;
}

bool model_open(struct model *m, const char *path, struct err *e) {
  *m = (struct model){0};
  struct tensor_list list = {0};
  m->path = mem_strdup(path, e);
  bool ok = m->path != NULL;
  if (ok && file_is_dir(path)) ok = config_read_json(&m->config, path, e) && safetensors_read_folder(m, path, &list, e);
  else if (ok) ok = gguf_read_model(m, path, &list, e);
  ok = ok && tensor_list_finish(&list, m, e) && bind(m, e);
  tensor_list_free(&list);
  if (!ok) model_close(m);
  return ok;
}

void model_close(struct model *m) {
  for (int32_t i = 0; i < m->num_files; i++) file_unmap(&m->files[i]);
  mem_free(m->files);
  mem_free(m->tensors);
  mem_free(m->names);
  mem_free(m->layers);
  mem_free(m->path);
  config_free(&m->config);
  *m = (struct model){0};
}

// The part that row `row` lies in.
static const struct matrix_part *part_of(const struct matrix *m, int64_t row) {
  const struct matrix_part *p = m->parts + m->num_parts - 1;
  while (row < p->first_row) p--;
  return p;
}

int64_t matrix_stored_rows(const struct matrix *m, int64_t row, int64_t count, const void **data, enum dtype *type) {
  const struct matrix_part *p = part_of(m, row);
  int64_t left = p + 1 < m->parts + m->num_parts ? p[1].first_row - row : m->rows - row;
  *type = p->tensor->type;
  *data = (const uint8_t *)p->tensor->data + (row - p->first_row) * dtype_row_bytes(*type, m->cols);
  return left < count ? left : count;
}

bool matrix_stored_in_order(const struct matrix *m) {
  for (int i = 0; i < m->num_parts; i++)
    if (m->parts[i].pair_head_dim) return false;
  return true;
}

int64_t matrix_row_stored_at(const struct matrix *m, int64_t stored) {
  const struct matrix_part *p = part_of(m, stored);
  if (!p->pair_head_dim) return stored;
  int64_t i = (stored - p->first_row) % p->pair_head_dim;
  return i < p->pair_rotary ? stored - i + i / 2 + i % 2 * (p->pair_rotary / 2) : stored;
}

const void *matrix_row(const struct matrix *m, int64_t row, enum dtype *type) {
  const struct matrix_part *p = part_of(m, row);
  if (p->pair_head_dim) {
    int64_t i = (row - p->first_row) % p->pair_head_dim, half = p->pair_rotary / 2;
    if (i < p->pair_rotary) row += (i < half ? 2 * i : 2 * (i - half) + 1) - i;
  }
  const void *data;
  matrix_stored_rows(m, row, 1, &data, type);
  return data;
}

void matrix_row_f32(const struct matrix *m, int64_t row, float *dst) {
  enum dtype type;
  const void *src = matrix_row(m, row, &type);
  dtype_to_f32(type, src, dst, m->cols);
}

int64_t matrix_bytes(const struct matrix *m) {
  int64_t bytes = 0;
  for (int i = 0; i < m->num_parts; i++) bytes += m->parts[i].tensor->bytes;
  return bytes;
}

void tensor_to_f32(const struct tensor *t, float *dst) { dtype_to_f32(t->type, t->data, dst, t->rows * t->cols); }

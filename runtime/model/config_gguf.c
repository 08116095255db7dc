// The model's numbers from GGUF metadata. Keys: llama.cpp's gguf-py/gguf/constants.py.
#include "runtime/model/config.h"
#include "runtime/model/gguf.h"
#include "runtime/model/name.h"
#include <stdio.h>
#include <string.h>

enum { KEY_BYTES = 96 };

// "ARCH.name"
static const char *key_of(const struct config *c, const char *name, char key[KEY_BYTES]) {
  snprintf(key, KEY_BYTES, "%.8s.%s", c->architecture, name);
  return key;
}

static bool to_i32(const struct gguf *g, const char *key, int64_t v, int32_t *out, struct err *e) {
  if (v < INT32_MIN || v > INT32_MAX)
    return err_set(e, "%s: key '%s' is %lld: out of range", g->file.path, key, (long long)v);
  *out = (int32_t)v;
  return true;
}

static bool read_i32(const struct config *c, const struct gguf *g, const char *name, int32_t *out, struct err *e) {
  char key[KEY_BYTES];
  int64_t v;
  return gguf_get_i64(g, key_of(c, name, key), &v, e) && to_i32(g, key, v, out, e);
}

static bool read_i32_or(const struct config *c, const struct gguf *g, const char *name, int32_t missing, int32_t *out,
                        struct err *e) {
  char key[KEY_BYTES];
  *out = missing;
  return gguf_find(g, key_of(c, name, key)) ? read_i32(c, g, name, out, e) : true;
}

static bool read_f64_or(const struct config *c, const struct gguf *g, const char *name, double missing, double *out,
                        struct err *e) {
  char key[KEY_BYTES];
  *out = missing;
  return gguf_find(g, key_of(c, name, key)) ? gguf_get_f64(g, key, out, e) : true;
}

// One number, or an array with one for each layer, which must then be equal.
static bool read_heads(const struct config *c, const struct gguf *g, const char *name, int32_t *out, struct err *e) {
  char key[KEY_BYTES];
  const struct gguf_value *v = gguf_find(g, key_of(c, name, key));
  if (!v || v->type != GGUF_ARRAY) return read_i32(c, g, name, out, e);
  if (v->count != (uint64_t)c->num_layers)
    return err_set(e, "%s: key '%s' has %llu values, expected one for each of %d layers", g->file.path, key,
                   (unsigned long long)v->count, c->num_layers);
  int64_t first = 0, n;
  for (uint64_t i = 0; i < v->count; i++) {
    if (!gguf_element_i64(v, i, &n))
      return err_set(e, "%s: key '%s' holds %s, expected integers", g->file.path, key, gguf_type_name(v->element));
    if (i == 0) first = n;
    if (n != first)
      return err_set(
          e, "%s: key '%s' is %lld for layer 0 and %lld for layer %llu; layers of different shapes are not supported",
          g->file.path, key, (long long)first, (long long)n, (unsigned long long)i);
  }
  return to_i32(g, key, first, out, e);
}

static bool read_architecture(struct config *c, const struct gguf *g, struct err *e) {
  struct gguf_string s;
  if (!gguf_get_string(g, "general.architecture", &s, e)) return false;
  name_copy(c->architecture, sizeof c->architecture, s.data, s.len);
  if (strcmp(c->architecture, "phi3") != 0 && strcmp(c->architecture, "llama") != 0)
    return err_set(e, "%s: architecture '%s' is not supported; this program runs phi3 and llama", g->file.path,
                   c->architecture);
  if (!gguf_find(g, "general.name")) return true;
  if (!gguf_get_string(g, "general.name", &s, e)) return false;
  name_copy(c->name, sizeof c->name, s.data, s.len);
  return true;
}

// Keys whose presence with a value other than zero changes the computation in a way this program does not know.
static bool refuse_features(const struct config *c, const struct gguf *g, struct err *e) {
  static const char *const names[] = {
      "expert_count",   "attention.scale", "attention.clamp_kqv",    "attention.max_alibi_bias",   "logit_scale",
      "residual_scale", "embedding_scale", "attn_logit_softcapping", "attention.logit_softcapping"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    double v;
    if (!read_f64_or(c, g, names[i], 0, &v, e)) return false;
    if (v != 0) return err_set(e, "%s: key '%s.%s' (%g) is not supported", g->file.path, c->architecture, names[i], v);
  }
  return true;
}

static bool read_sizes(struct config *c, const struct gguf *g, struct err *e) {
  int32_t value_dim;
  double eps;
  char key[KEY_BYTES];
  if (!read_i32(c, g, "block_count", &c->num_layers, e) || !read_i32(c, g, "embedding_length", &c->hidden_size, e) ||
      !read_i32(c, g, "feed_forward_length", &c->intermediate_size, e) ||
      !read_i32(c, g, "context_length", &c->max_positions, e) ||
      !read_heads(c, g, "attention.head_count", &c->num_heads, e))
    return false;
  if (c->num_heads < 1)
    return err_set(e, "%s: key '%s.attention.head_count' is %d, expected at least 1", g->file.path, c->architecture,
                   c->num_heads);
  c->num_kv_heads = c->num_heads;
  if (gguf_find(g, key_of(c, "attention.head_count_kv", key)) &&
      !read_heads(c, g, "attention.head_count_kv", &c->num_kv_heads, e))
    return false;
  if (!read_i32_or(c, g, "attention.key_length", c->hidden_size / c->num_heads, &c->head_dim, e) ||
      !read_i32_or(c, g, "attention.value_length", c->head_dim, &value_dim, e) ||
      !gguf_get_f64(g, key_of(c, "attention.layer_norm_rms_epsilon", key), &eps, e))
    return false;
  if (value_dim != c->head_dim)
    return err_set(e, "%s: keys have %d channels a head and values %d; different sizes are not supported", g->file.path,
                   c->head_dim, value_dim);
  c->rms_eps = eps;
  return true;
}

// Phi-3's first GGUF files do not say their window; the two 4k models (mini 32 layers, medium 40) have one of 2047.
static int32_t window_when_missing(const struct config *c) {
  bool phi3_4k =
      strcmp(c->architecture, "phi3") == 0 && (c->num_layers == 32 || c->num_layers == 40) && c->max_positions == 4096;
  return phi3_4k ? 2047 : 0;
}

static bool read_rope(struct config *c, const struct gguf *g, struct err *e) {
  char key[KEY_BYTES];
  double theta, linear, factor;
  struct gguf_string type = {"none", 4};
  if (!read_f64_or(c, g, "rope.freq_base", 10000, &theta, e) ||
      !read_i32_or(c, g, "rope.dimension_count", c->head_dim, &c->rotary_dim, e) ||
      !read_i32_or(c, g, "rope.scaling.original_context_length", c->max_positions, &c->original_max_positions, e) ||
      !read_f64_or(c, g, "rope.scale_linear", 1, &linear, e) ||
      !read_f64_or(c, g, "rope.scaling.factor", 1, &factor, e))
    return false;
  if (gguf_find(g, key_of(c, "rope.scaling.type", key)) && !gguf_get_string(g, key, &type, e)) return false;
  bool none = (type.len == 4 && memcmp(type.data, "none", 4) == 0) ||
              (type.len == 6 && memcmp(type.data, "linear", 6) == 0 && factor == 1); // scaling by one
  bool longrope = type.len == 8 && memcmp(type.data, "longrope", 8) == 0;
  if (linear != 1 || (!none && !longrope)) {
    char text[32] = "linear";
    if (linear == 1) name_copy(text, sizeof text, type.data, type.len);
    return err_set(e, "%s: rope scaling '%s' is not supported, expected none or longrope", g->file.path, text);
  }
  c->rope_theta = theta;
  c->rope_scale = 1;
  return true;
}

static bool read_id(const struct config *c, const struct gguf *g, const char *key, int32_t *out, struct err *e) {
  int64_t v = -1;
  if (gguf_find(g, key) && !gguf_get_i64(g, key, &v, e)) return false;
  *out = v >= 0 && v < c->vocab_size ? (int32_t)v : -1;
  return true;
}

static bool read_ids(struct config *c, const struct gguf *g, struct err *e) {
  static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                     "tokenizer.ggml.eom_token_id"};
  if (!read_id(c, g, "tokenizer.ggml.bos_token_id", &c->bos_id, e) ||
      !read_id(c, g, "tokenizer.ggml.padding_token_id", &c->pad_id, e))
    return false;
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    int32_t id;
    if (!read_id(c, g, ends[i], &id, e) || !config_add_end_id(c, id, g->file.path, e)) return false;
  }
  return true;
}

// The embedding has a row for each piece; there may be more rows (padding), never fewer.
static bool read_vocab(struct config *c, const struct gguf *g, struct err *e) {
  const struct gguf_value *tokens = gguf_find(g, "tokenizer.ggml.tokens");
  for (uint64_t i = 0; i < g->num_tensors; i++) {
    const struct gguf_tensor *t = &g->tensors[i];
    if (t->name.len != strlen("token_embd.weight") || memcmp(t->name.data, "token_embd.weight", t->name.len) != 0)
      continue;
    if (t->shape[1] > INT32_MAX) return err_set(e, "%s: tensor 'token_embd.weight' has too many rows", g->file.path);
    c->vocab_size = (int32_t)t->shape[1];
    if (tokens && tokens->count > t->shape[1])
      return err_set(
          e,
          "%s: tensor 'token_embd.weight' has %d rows, expected at least one for each of the tokenizer's %llu tokens",
          g->file.path, c->vocab_size, (unsigned long long)tokens->count);
    return true;
  }
  return err_set(e, "%s: tensor 'token_embd.weight' is missing%s", g->file.path,
                 g->num_tensors ? "" : "; the file has a vocabulary but no weights");
}

bool config_read_gguf(struct config *c, const struct gguf *g, struct err *e) {
  *c = (struct config){0};
  if (!read_architecture(c, g, e) || !refuse_features(c, g, e) || !read_sizes(c, g, e) || !read_rope(c, g, e) ||
      !read_vocab(c, g, e) || !read_ids(c, g, e))
    return false;
  return read_i32_or(c, g, "attention.sliding_window", window_when_missing(c), &c->sliding_window, e);
}

// config.json and generation_config.json of a Hugging Face folder, with the defaults of transformers' Phi3Config.
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include "runtime/model/config.h"
#include "runtime/model/name.h"
#include <stdio.h>
#include <string.h>

static const char supported[] = "Phi3ForCausalLM";

// An object of a JSON file. A key that is missing or null has its default.
struct source {
  const char *file;
  const json_t *object;
};

static const json_t *find(const struct source *s, const char *key) {
  const json_t *v = s->object ? json_object_get(s->object, key) : NULL;
  return json_is_null(v) ? NULL : v;
}

static const char *type_name(const json_t *v) {
  static const char *const names[] = {"an object", "an array", "a string", "an integer",
                                      "a number",  "true",     "false",    "null"};
  return names[json_typeof(v)];
}

static bool wrong_type(const struct source *s, const char *key, const json_t *v, const char *expected, struct err *e) {
  return err_set(e, "%s: %s is %s, expected %s", s->file, key, type_name(v), expected);
}

static bool read_i32(const struct source *s, const char *key, int32_t missing, int32_t *out, struct err *e) {
  const json_t *v = find(s, key);
  *out = missing;
  if (!v) return true;
  if (!json_is_integer(v)) return wrong_type(s, key, v, "an integer", e);
  json_int_t n = json_integer_value(v);
  if (n < INT32_MIN || n > INT32_MAX) return err_set(e, "%s: %s is %lld: out of range", s->file, key, (long long)n);
  *out = (int32_t)n;
  return true;
}

static bool read_number(const struct source *s, const char *key, double missing, double *out, struct err *e) {
  const json_t *v = find(s, key);
  *out = missing;
  if (!v) return true;
  if (!json_is_number(v)) return wrong_type(s, key, v, "a number", e);
  *out = json_number_value(v);
  return true;
}

static bool read_bool(const struct source *s, const char *key, bool *out, struct err *e) {
  const json_t *v = find(s, key);
  *out = false; // the default of every bool that matters here
  if (!v) return true;
  if (!json_is_boolean(v)) return wrong_type(s, key, v, "true or false", e);
  *out = json_is_true(v);
  return true;
}

// A token id: -1 when it is null, negative or outside the vocabulary.
static bool read_id(const struct source *s, const char *key, int32_t missing, int32_t vocab, int32_t *out,
                    struct err *e) {
  const json_t *v = json_object_get(s->object, key);
  if (json_is_null(v)) missing = -1;
  if (!read_i32(s, key, missing, out, e)) return false;
  if (*out < 0 || *out >= vocab) *out = -1;
  return true;
}

static bool read_string(const struct source *s, const char *key, char *out, size_t size, struct err *e) {
  const json_t *v = find(s, key);
  if (!v) return true;
  if (!json_is_string(v)) return wrong_type(s, key, v, "a string", e);
  name_copy(out, size, json_string_value(v), json_string_length(v));
  return true;
}

static bool check_architecture(const struct source *s, struct config *c, struct err *e) {
  const json_t *list = find(s, "architectures"), *type = find(s, "model_type");
  if (!list) { // a configuration saved without a model
    if (!json_is_string(type)) return err_set(e, "%s: names no architecture; this program runs %s", s->file, supported);
    if (strcmp(json_string_value(type), "phi3") != 0)
      return err_set(e, "%s: model type %s is not supported; this program runs %s", s->file,
                     name_show(json_string_value(type)).text, supported);
  }
  const char *first = NULL;
  size_t i;
  json_t *v;
  if (list && !json_is_array(list)) return wrong_type(s, "architectures", list, "an array", e);
  json_array_foreach(list, i, v) {
    if (!json_is_string(v)) return wrong_type(s, "architectures", v, "an array of strings", e);
    if (!first || strcmp(json_string_value(v), supported) == 0) first = json_string_value(v);
  }
  if (list && (!first || strcmp(first, supported) != 0))
    return err_set(e, "%s: architecture %s is not supported; this program runs %s", s->file,
                   name_show(first ? first : "(none)").text, supported);
  snprintf(c->architecture, sizeof c->architecture, "%s", supported);
  return true;
}

// Features that other programs' Phi-3-like files may have and this program does not compute.
static bool refuse_features(const struct source *s, struct err *e) {
  static const char *const biases[] = {"attention_bias", "mlp_bias", "lm_head_bias"};
  for (size_t i = 0; i < sizeof biases / sizeof *biases; i++) {
    bool on;
    if (!read_bool(s, biases[i], &on, e)) return false;
    if (on) return err_set(e, "%s: %s true is not supported; the block has no biases", s->file, biases[i]);
  }
  char act[64] = "silu";
  if (!read_string(s, "hidden_act", act, sizeof act, e)) return false;
  if (strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0) // two names of one function
    return err_set(e, "%s: hidden_act '%s' is not supported, expected 'silu'", s->file, act);
  const json_t *q = find(s, "quantization_config");
  if (!q) return true;
  const json_t *method = json_object_get(q, "quant_method");
  return err_set(
      e, "%s: quantization_config (%s) is not supported in a Hugging Face folder; use float weights or a GGUF file",
      s->file, name_show(json_is_string(method) ? json_string_value(method) : "unknown method").text);
}

static bool read_sizes(const struct source *s, struct config *c, struct err *e) {
  if (!read_i32(s, "vocab_size", 32064, &c->vocab_size, e) || !read_i32(s, "hidden_size", 3072, &c->hidden_size, e) ||
      !read_i32(s, "intermediate_size", 8192, &c->intermediate_size, e) ||
      !read_i32(s, "num_hidden_layers", 32, &c->num_layers, e) ||
      !read_i32(s, "num_attention_heads", 32, &c->num_heads, e) ||
      !read_i32(s, "num_key_value_heads", c->num_heads, &c->num_kv_heads, e))
    return false;
  if (c->num_heads < 1) return err_set(e, "%s: num_attention_heads is %d, expected at least 1", s->file, c->num_heads);
  double eps;
  if (!read_i32(s, "head_dim", c->hidden_size / c->num_heads, &c->head_dim, e) ||
      !read_i32(s, "max_position_embeddings", 4096, &c->max_positions, e) ||
      !read_number(s, "rms_norm_eps", 1e-5, &eps, e) || !read_bool(s, "tie_word_embeddings", &c->tied_embeddings, e) ||
      !read_i32(s, "sliding_window", 0, &c->sliding_window, e))
    return false;
  c->rms_eps = eps;
  if (find(s, "sliding_window") && c->sliding_window < 1)
    return err_set(e, "%s: sliding_window is %d, expected null or at least 1", s->file, c->sliding_window);
  return true;
}

static double *read_factors(const struct source *s, const char *key, int32_t count, struct err *e) {
  const json_t *v = find(s, key);
  if (!v || !json_is_array(v)) {
    err_set(e, "%s: rope_scaling: %s is missing, expected an array of %d numbers", s->file, key, count);
    return NULL;
  }
  if (json_array_size(v) != (size_t)count) {
    err_set(e, "%s: rope_scaling: %s has %zu numbers, expected %d, half the rotated channels", s->file, key,
            json_array_size(v), count);
    return NULL;
  }
  double *f = mem_alloc((size_t)count, sizeof *f, "rotary factors", e);
  for (int32_t i = 0; f && i < count; i++) {
    const json_t *n = json_array_get(v, (size_t)i);
    if (!json_is_number(n)) {
      wrong_type(s, key, n, "an array of numbers", e);
      mem_free(f);
      return NULL;
    }
    f[i] = json_number_value(n);
  }
  return f;
}

// As Phi3Config: "su" and "yarn" are old names of longrope; original_max_position_embeddings is read beside
// rope_scaling, not in it; a factor or attention_factor given there replaces the derived one; other keys (short_mscale
// among them) mean nothing.
static bool read_longrope(const struct source *rope, struct config *c, const char *type, struct err *e) {
  if (strcmp(type, "yarn") == 0 && !find(rope, "short_factor"))
    return err_set(e, "%s: rope_scaling type 'yarn' is not supported, expected 'longrope' or 'su'", rope->file);
  if (c->rotary_dim < 2 || c->rotary_dim > CONFIG_MAX_HEAD_DIM || c->original_max_positions < 2)
    return err_set(e,
                   "%s: longrope with %d rotated channels and %d original positions; expected 2 to %d and at least 2",
                   rope->file, c->rotary_dim, c->original_max_positions, CONFIG_MAX_HEAD_DIM);
  double factor, attention_factor;
  if (!read_number(rope, "factor", 0, &factor, e) || !read_number(rope, "attention_factor", 0, &attention_factor, e))
    return false;
  double *s = read_factors(rope, "short_factor", c->rotary_dim / 2, e);
  double *l = s ? read_factors(rope, "long_factor", c->rotary_dim / 2, e) : NULL;
  bool ok = l && config_set_longrope(c, s, l, factor, attention_factor, e);
  mem_free(s);
  mem_free(l);
  return ok;
}

// rope_theta, partial_rotary_factor and rope_scaling, or the newer rope_parameters that holds all three.
static bool read_rope(const struct source *s, struct config *c, struct err *e) {
  const char *key = "rope_scaling";
  struct source rope = {s->file, find(s, key)};
  if (!rope.object || (json_is_object(rope.object) && json_object_size(rope.object) == 0))
    rope.object = find(s, key = "rope_parameters");
  if (rope.object && !json_is_object(rope.object)) return wrong_type(s, key, rope.object, "null or an object", e);
  char type[64] = "default";
  double theta, partial;
  if (!read_string(&rope, "type", type, sizeof type, e) || !read_string(&rope, "rope_type", type, sizeof type, e) ||
      !read_number(s, "rope_theta", 10000, &theta, e) || !read_number(&rope, "rope_theta", theta, &theta, e) ||
      !read_number(s, "partial_rotary_factor", 1, &partial, e) ||
      !read_number(&rope, "partial_rotary_factor", partial, &partial, e) ||
      !read_i32(s, "original_max_position_embeddings", 4096, &c->original_max_positions, e))
    return false;
  if (!(partial > 0 && partial <= 1))
    return err_set(e, "%s: partial_rotary_factor is %g, expected above 0 and up to 1", s->file, partial);
  c->rope_theta = theta;
  c->rotary_dim = (int32_t)(c->head_dim * partial);
  c->rope_scale = 1;
  if (strcmp(type, "su") == 0 || strcmp(type, "longrope") == 0 || strcmp(type, "yarn") == 0)
    return read_longrope(&rope, c, type, e);
  if (strcmp(type, "default") != 0)
    return err_set(e, "%s: %s type '%s' is not supported, expected 'longrope' or 'su'", s->file, key, type);
  c->original_max_positions = c->max_positions;
  return true;
}

// eos_token_id: one id or a list.
static bool read_end_ids(const struct source *s, struct config *c, struct err *e) {
  const json_t *v = find(s, "eos_token_id"), *item;
  if (!v) return true;
  if (json_is_integer(v)) return config_add_end_id(c, json_integer_value(v), s->file, e);
  if (!json_is_array(v)) return wrong_type(s, "eos_token_id", v, "an integer or an array of integers", e);
  for (size_t i = 0; i < json_array_size(v); i++) {
    item = json_array_get(v, i);
    if (!json_is_integer(item)) return wrong_type(s, "eos_token_id", item, "an array of integers", e);
    if (!config_add_end_id(c, json_integer_value(item), s->file, e)) return false;
  }
  return true;
}

static bool read_ids(const struct source *s, struct config *c, struct err *e) {
  if (!read_id(s, "bos_token_id", 1, c->vocab_size, &c->bos_id, e)) return false;
  if (!read_id(s, "pad_token_id", 32000, c->vocab_size, &c->pad_id, e)) return false;
  if (!json_object_get(s->object, "eos_token_id")) return config_add_end_id(c, 32000, s->file, e);
  return read_end_ids(s, c, e);
}

static json_t *read_object(const char *path, struct err *e) {
  json_t *root = json_read_file(path, e);
  if (!root || json_is_object(root)) return root;
  err_set(e, "%s: is %s, expected an object", path, type_name(root));
  json_decref(root);
  return NULL;
}

static bool read_generation_config(struct config *c, const char *dir, struct err *e) {
  char *path = file_join(dir, "generation_config.json", e);
  if (!path) return false;
  bool ok = true;
  if (file_exists(path)) {
    struct source s = {path, NULL};
    json_t *root = read_object(path, e);
    s.object = root;
    ok = root && read_end_ids(&s, c, e);
    json_decref(root);
  }
  mem_free(path);
  return ok;
}

bool config_read_json(struct config *c, const char *dir, struct err *e) {
  *c = (struct config){0};
  char *path = file_join(dir, "config.json", e);
  if (!path) return false;
  json_t *root = read_object(path, e);
  struct source s = {path, root};
  bool ok = root && check_architecture(&s, c, e) && refuse_features(&s, e) && read_sizes(&s, c, e) &&
            read_rope(&s, c, e) && read_ids(&s, c, e) && read_string(&s, "_name_or_path", c->name, sizeof c->name, e) &&
            config_check(c, path, e) && read_generation_config(c, dir, e);
  json_decref(root);
  mem_free(path);
  if (!ok) config_free(c);
  return ok;
}

// The shapes that checkpoints can be made of, and their config.json.
#include "driver/synth.h"
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <string.h>

struct preset {
  const char *name;
  int32_t layers, hidden, heads, kv_heads, head_dim, intermediate, vocab, positions, original, window;
  double partial, theta;
  bool tied, longrope;
  int32_t bos, end;
};

static const struct preset presets[] = {
    {"phi-3-mini-4k", 32, 3072, 32, 32, 96, 8192, 32064, 4096, 4096, 2047, 1, 1e4, false, false, 1, 32000},
    {"phi-3-mini-128k", 32, 3072, 32, 32, 96, 8192, 32064, 131072, 4096, 262144, 1, 1e4, false, true, 1, 32000},
    {"phi-3-medium-4k", 40, 5120, 40, 10, 128, 17920, 32064, 4096, 4096, 2047, 1, 1e4, false, false, 1, 32000},
    {"phi-4-mini", 32, 3072, 24, 8, 128, 8192, 200064, 131072, 4096, 262144, .75, 1e4, true, true, 199999, 199999},
    {"tinyllama-1.1b", 22, 2048, 32, 4, 64, 5632, 32000, 2048, 2048, 0, 1, 1e4, false, false, 1, 2},
    {"smollm2-360m", 32, 960, 15, 5, 64, 2560, 49152, 8192, 8192, 0, 1, 1e5, true, false, 1, 2},
    {"smollm2-135m", 30, 576, 9, 3, 64, 1536, 49152, 8192, 8192, 0, 1, 1e5, true, false, 1, 2},
};

enum { NUM_PRESETS = sizeof presets / sizeof *presets };

const char *synth_presets(const char *between) {
  static char text[1024];
  size_t at = 0;
  for (int i = 0; i < NUM_PRESETS && at < sizeof text; i++)
    at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i ? between : "", presets[i].name);
  return text;
}

// Factors that rise from 1 to the models' own largest one: longrope's way of computing, not a checkpoint's own numbers.
static bool set_longrope(struct config *c, struct err *e) {
  double s[CONFIG_MAX_HEAD_DIM / 2], l[CONFIG_MAX_HEAD_DIM / 2],
      most = (double)c->max_positions / c->original_max_positions * 2;
  int32_t n = c->rotary_dim / 2;
  for (int32_t i = 0; i < n; i++) {
    double at = n > 1 ? (double)i / (n - 1) : 1;
    s[i] = 1 + at;
    l[i] = 1 + (most - 1) * at;
  }
  mem_free(c->short_factor);
  mem_free(c->long_factor);
  return config_set_longrope(c, s, l, 0, 0, e);
}

static bool use_preset(struct config *c, const struct preset *p, struct err *e) {
  *c = (struct config){.architecture = "Phi3ForCausalLM",
                       .hidden_size = p->hidden,
                       .num_layers = p->layers,
                       .num_heads = p->heads,
                       .num_kv_heads = p->kv_heads,
                       .head_dim = p->head_dim,
                       .intermediate_size = p->intermediate,
                       .vocab_size = p->vocab,
                       .max_positions = p->positions,
                       .original_max_positions = p->original,
                       .sliding_window = p->window,
                       .rms_eps = 1e-5,
                       .rope_theta = p->theta,
                       .rotary_dim = (int32_t)(p->head_dim * p->partial),
                       .rope_scale = 1,
                       .tied_embeddings = p->tied,
                       .bos_id = p->bos,
                       .pad_id = -1,
                       .end_ids = {p->end},
                       .num_end_ids = 1};
  return !p->longrope || set_longrope(c, e);
}

static bool read_folder(struct config *c, const char *path, bool *is_one, struct err *e) {
  size_t n = strlen(path), k = strlen("config.json");
  char *dir = mem_strdup(path, e), *file = NULL;
  if (!dir) return false;
  if (n >= k && strcmp(path + n - k, "config.json") == 0 && (n == k || path[n - k - 1] == '/'))
    dir[n > k ? n - k - 1 : 0] = 0;
  file = file_join(dir[0] ? dir : n > k ? "/" : ".", "config.json", e);
  *is_one = file && file_exists(file);
  bool ok = file && (!*is_one || config_read_json(c, dir[0] ? dir : n > k ? "/" : ".", e));
  mem_free(file);
  mem_free(dir);
  return ok;
}

// The configuration of a model that is there, weights or not.
static bool read_model(struct config *c, const char *like, struct err *e) {
  bool is_folder;
  struct model m;
  if (!read_folder(c, like, &is_folder, e)) return false;
  if (is_folder) return true;
  char *path = model_find(like, e);
  bool ok = path && model_open(&m, path, e);
  mem_free(path);
  if (!ok) return err_context(e, "--like takes one of %s, or a model to copy the shape of", synth_presets(", "));
  *c = m.config;
  m.config.short_factor = m.config.long_factor = NULL; // now c's
  model_close(&m);
  return true;
}

bool synth_like(struct config *c, const char *like, struct err *e) {
  *c = (struct config){0};
  for (int i = 0; i < NUM_PRESETS; i++)
    if (strcmp(presets[i].name, like) == 0) {
      if (!use_preset(c, &presets[i], e)) return config_free(c), false;
      snprintf(c->name, sizeof c->name, "%s", like);
      return true;
    }
  if (!read_model(c, like, e)) return false;
  snprintf(c->architecture, sizeof c->architecture,
           "Phi3ForCausalLM"); // a GGUF file's block under the folder's name for it
  snprintf(c->name, sizeof c->name, "%s", like);
  return true;
}

static void change(int32_t *to, int64_t given) {
  if (given >= 0) *to = (int32_t)given;
}

bool synth_change(struct config *c, const struct synth_changes *x, const char *like, struct err *e) {
  double partial = (double)c->rotary_dim / c->head_dim;
  bool all_heads = c->num_kv_heads == c->num_heads;
  int32_t rotary = c->rotary_dim;
  change(&c->num_layers, x->layers);
  change(&c->hidden_size, x->hidden);
  change(&c->num_heads, x->heads);
  if (all_heads) c->num_kv_heads = c->num_heads;
  change(&c->num_kv_heads, x->kv_heads);
  if (x->hidden >= 0 || x->heads >= 0) c->head_dim = c->hidden_size / c->num_heads;
  change(&c->head_dim, x->head_dim);
  change(&c->intermediate_size, x->intermediate);
  change(&c->vocab_size, x->vocab);
  change(&c->max_positions, x->positions);
  change(&c->sliding_window, x->window);
  if (x->tied) c->tied_embeddings = x->tied == 1;
  c->rotary_dim = (int32_t)(c->head_dim * partial) / 2 * 2;
  if (c->rope == ROPE_PLAIN) c->original_max_positions = c->max_positions;
  else if (c->rotary_dim >= 2 && c->rotary_dim <= CONFIG_MAX_HEAD_DIM &&
           (c->rotary_dim != rotary || x->positions >= 0) && !set_longrope(c, e))
    return false;
  if (c->bos_id >= c->vocab_size) c->bos_id = -1;
  if (c->pad_id >= c->vocab_size) c->pad_id = -1;
  int32_t kept = 0;
  for (int32_t i = 0; i < c->num_end_ids; i++)
    if (c->end_ids[i] < c->vocab_size) c->end_ids[kept++] = c->end_ids[i];
  c->num_end_ids = kept;
  return config_check(c, like, e);
}

static json_t *id_json(int32_t id) { return id < 0 ? json_null() : json_integer(id); }

static json_t *longrope_json(const struct config *c) {
  json_t *s = json_array(), *l = json_array();
  for (int32_t i = 0; i < c->rotary_dim / 2; i++) {
    json_array_append_new(s, json_real(c->short_factor[i]));
    json_array_append_new(l, json_real(c->long_factor[i]));
  }
  return json_pack("{s:s, s:o, s:o, s:f}", "type", "longrope", "short_factor", s, "long_factor", l, "attention_factor",
                   c->rope_scale);
}

bool synth_write_config(const struct config *c, enum dtype type, const char *path, struct err *e) {
  json_use_mem();
  static const char *const torch[] = {[DTYPE_F32] = "float32", [DTYPE_F16] = "float16", [DTYPE_BF16] = "bfloat16"};
  json_t *ends = json_array();
  for (int32_t i = 0; i < c->num_end_ids; i++) json_array_append_new(ends, json_integer(c->end_ids[i]));
  json_t *root = json_pack(
      "{s:[s], s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "architectures", "Phi3ForCausalLM",
      "model_type", "phi3", "_name_or_path", c->name, "hidden_act", "silu", "hidden_size", c->hidden_size,
      "num_hidden_layers", c->num_layers, "num_attention_heads", c->num_heads, "num_key_value_heads", c->num_kv_heads,
      "head_dim", c->head_dim, "intermediate_size", c->intermediate_size, "vocab_size", c->vocab_size,
      "max_position_embeddings", c->max_positions, "original_max_position_embeddings", c->original_max_positions);
  json_t *rest =
      json_pack("{s:o, s:f, s:f, s:f, s:o, s:b, s:o, s:o, s:o, s:s, s:b}", "sliding_window",
                c->sliding_window ? json_integer(c->sliding_window) : json_null(), "rms_norm_eps", c->rms_eps,
                "rope_theta", c->rope_theta, "partial_rotary_factor", (double)c->rotary_dim / c->head_dim,
                "rope_scaling", c->rope == ROPE_LONGROPE ? longrope_json(c) : json_null(), "tie_word_embeddings",
                c->tied_embeddings, "bos_token_id", id_json(c->bos_id), "pad_token_id", id_json(c->pad_id),
                "eos_token_id", ends, "torch_dtype", torch[type], "use_cache", 1);
  bool ok = root && rest && json_object_update(root, rest) == 0;
  ok = ok ? json_write_file(path, root, e) : err_no_memory(e, 0, "config.json");
  json_decref(root);
  json_decref(rest);
  return ok;
}

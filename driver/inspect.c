// phi3 inspect: the module tree of a model from its file's own shapes, its tensors, and the memory it takes.
#include "driver/driver.h"
#include "driver/text.h"
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include <inttypes.h>
#include <string.h>

struct settings {
  const char *model;
  int64_t tokens; // 0: all positions
  bool tensors, json;
};

// Memory of a cache: what is behind the window is not kept.
struct cache_size {
  int64_t tokens, kept, fp16_bytes, fp32_bytes;
};

static struct command inspect_command(struct settings *s) {
  static struct option_spec own[5];
  static const struct option_spec *groups[2];
  const struct option_spec fresh[] = {
      {'m', "model", OPTION_TEXT, &s->model, "MODEL", "a Hugging Face folder, a .gguf file, or a name; default nano", 0,
       0},
      {0, "tensors", OPTION_FLAG, &s->tensors, NULL, "list every tensor: name, type, shape, bytes", 0, 0},
      {0, "tokens", OPTION_INT, &s->tokens, "N", "length for the cache's size; default all positions of the model", 1,
       1e9},
      {0, "json", OPTION_FLAG, &s->json, NULL, "print one JSON object", 0, 0},
      {0, NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
  };
  OPTIONS_FILL(own, fresh);
  groups[0] = own;
  return (struct command){
      .name = "inspect",
      .usage = "[options] [MODEL]",
      .summary = "Prints the module tree of a model in Hugging Face's notation, from the shapes in its file, with its "
                 "parameters and\n"
                 "the memory of its weights and its cache. Opens the largest model at once: weights are not read.",
      .groups = groups,
      .examples = "  phi3 inspect\n"
                  "  phi3 inspect -m smollm2 --tensors\n"
                  "  phi3 inspect -m phi-3-mini-4k-instruct --tokens 1000\n"
                  "  phi3 inspect model.gguf --json\n",
      .max_args = 1};
}

static void print_linear(int indent, const char *name, const struct matrix *m) {
  printf("%*s(%s): Linear(in_features=%" PRId64 ", out_features=%" PRId64 ", bias=False)\n", indent, "", name, m->cols,
         m->rows);
}

static void print_layers(const struct model *m) {
  const struct layer_weights *w = &m->layers[0]; // all layers have the same shapes: model_open checks that
  int32_t n = m->config.num_layers;
  printf("    (layers): ModuleList(\n");
  if (n == 1) printf("      (0): Phi3DecoderLayer(\n");
  else printf("      (0-%d): %d x Phi3DecoderLayer(\n", n - 1, n);
  printf("        (self_attn): Phi3Attention(\n");
  print_linear(10, "o_proj", &w->o);
  print_linear(10, "qkv_proj", &w->qkv);
  printf("          (rotary_emb): Phi3RotaryEmbedding()\n"
         "        )\n"
         "        (mlp): Phi3MLP(\n");
  print_linear(10, "gate_up_proj", &w->gate_up);
  print_linear(10, "down_proj", &w->down);
  printf("          (activation_fn): SiLU()\n"
         "        )\n"
         "        (input_layernorm): Phi3RMSNorm()\n"
         "        (post_attention_layernorm): Phi3RMSNorm()\n"
         "      )\n"
         "    )\n");
}

static void print_tree(const struct model *m) {
  printf("Phi3ForCausalLM(\n"
         "  (model): Phi3Model(\n"
         "    (embed_tokens): Embedding(%" PRId64 ", %" PRId64,
         m->embed.rows, m->embed.cols);
  if (m->config.pad_id >= 0) printf(", padding_idx=%d", m->config.pad_id);
  printf(")\n");
  print_layers(m);
  printf("    (norm): Phi3RMSNorm()\n"
         "  )\n");
  print_linear(2, "lm_head", &m->head);
  printf(")\n");
}

static void shape_text(const struct tensor *t, char *text, size_t size) {
  if (t->dims == 1) snprintf(text, size, "[%" PRId64 "]", t->cols);
  else snprintf(text, size, "[%" PRId64 ", %" PRId64 "]", t->rows, t->cols);
}

static void print_tensors(const struct model *m) {
  int width = 0;
  char shape[64];
  for (int64_t i = 0; i < m->num_tensors; i++) {
    int n = (int)strlen(m->tensors[i].name);
    if (n > width) width = n;
  }
  printf("\n");
  for (int64_t i = 0; i < m->num_tensors; i++) {
    const struct tensor *t = &m->tensors[i];
    shape_text(t, shape, sizeof shape);
    printf("%-*s  %-4s  %-16s  %12" PRId64 "\n", width, t->name, dtype_info(t->type)->name, shape, t->bytes);
  }
}

// Tensors and bytes of each type.
struct type_sum {
  int64_t tensors, bytes;
};

static void sum_types(const struct model *m, struct type_sum sums[DTYPE_COUNT]) {
  memset(sums, 0, DTYPE_COUNT * sizeof *sums);
  for (int64_t i = 0; i < m->num_tensors; i++) {
    sums[m->tensors[i].type].tensors++;
    sums[m->tensors[i].type].bytes += m->tensors[i].bytes;
  }
}

static void print_totals(const struct model *m, const struct cache_size *cache) {
  const struct config *c = &m->config;
  struct type_sum sums[DTYPE_COUNT];
  const char *comma = "";
  char size[TEXT_QUANTITY];
  sum_types(m, sums);
  printf("\nfile        %s (%s%s%s)\n", m->path, c->architecture, *c->name ? ", " : "", c->name);
  printf("attention   %d heads on %d key-value heads of %d channels, %d of them rotated; ", c->num_heads,
         c->num_kv_heads, c->head_dim, c->rotary_dim);
  if (c->sliding_window) printf("window of %d tokens\n", c->sliding_window);
  else printf("no window\n");
  if (c->rope == ROPE_LONGROPE)
    printf("positions   %d, longrope from %d, scale %.6f\n", c->max_positions, c->original_max_positions,
           c->rope_scale);
  else printf("positions   %d\n", c->max_positions);
  printf("parameters  %" PRId64 "%s\n", m->num_params,
         c->tied_embeddings ? ", the embedding being the LM head too" : "");
  printf("weights     %" PRId64 " bytes (%s): ", m->weight_bytes, text_bytes(m->weight_bytes, size));
  for (int t = 0; t < DTYPE_COUNT; t++) {
    if (!sums[t].tensors) continue;
    printf("%s%" PRId64 " tensor%s of %s", comma, sums[t].tensors, sums[t].tensors == 1 ? "" : "s",
           dtype_info((enum dtype)t)->name);
    comma = ", ";
  }
  printf("\ncache       %" PRId64 " bytes (%s) in fp16, %" PRId64 " in fp32, at %" PRId64 " tokens", cache->fp16_bytes,
         text_bytes(cache->fp16_bytes, size), cache->fp32_bytes, cache->tokens);
  if (cache->kept < cache->tokens) printf(", of which the last %" PRId64 " are kept", cache->kept);
  printf("\n");
}

// An id or a window, or null where the model has none.
static json_t *json_id(int32_t id) { return id < 0 ? json_null() : json_integer(id); }

static json_t *json_config(const struct config *c) {
  json_t *ends = json_array();
  for (int32_t i = 0; i < c->num_end_ids; i++) json_array_append_new(ends, json_integer(c->end_ids[i]));
  return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:f, s:f, s:i, s:s, s:f, s:b, s:o, s:o, s:o}",
                   "hidden_size", c->hidden_size, "num_layers", c->num_layers, "num_heads", c->num_heads,
                   "num_kv_heads", c->num_kv_heads, "head_dim", c->head_dim, "intermediate_size", c->intermediate_size,
                   "vocab_size", c->vocab_size, "max_positions", c->max_positions, "original_max_positions",
                   c->original_max_positions, "sliding_window", json_id(c->sliding_window ? c->sliding_window : -1),
                   "rms_eps", c->rms_eps, "rope_theta", c->rope_theta, "rotary_dim", c->rotary_dim, "rope",
                   c->rope == ROPE_LONGROPE ? "longrope" : "plain", "rope_scale", c->rope_scale, "tied_embeddings",
                   c->tied_embeddings, "bos_id", json_id(c->bos_id), "pad_id", json_id(c->pad_id), "end_ids", ends);
}

static json_t *json_types(const struct model *m) {
  struct type_sum sums[DTYPE_COUNT];
  json_t *o = json_object();
  sum_types(m, sums);
  for (int t = 0; t < DTYPE_COUNT; t++)
    if (sums[t].tensors)
      json_object_set_new(
          o, dtype_info((enum dtype)t)->name,
          json_pack("{s:I, s:I}", "tensors", (json_int_t)sums[t].tensors, "bytes", (json_int_t)sums[t].bytes));
  return o;
}

static json_t *json_tensors(const struct model *m) {
  json_t *a = json_array();
  for (int64_t i = 0; i < m->num_tensors; i++) {
    const struct tensor *t = &m->tensors[i];
    json_t *shape = t->dims == 1 ? json_pack("[I]", (json_int_t)t->cols)
                                 : json_pack("[I, I]", (json_int_t)t->rows, (json_int_t)t->cols);
    json_array_append_new(a, json_pack("{s:s, s:s, s:o, s:I}", "name", t->name, "type", dtype_info(t->type)->name,
                                       "shape", shape, "bytes", (json_int_t)t->bytes));
  }
  return a;
}

static bool print_json(const struct model *m, const struct cache_size *cache, bool tensors, struct err *e) {
  json_use_mem();
  json_t *root =
      json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:o, s:{s:I, s:I, s:I, s:I}}", "model", m->path, "architecture",
                m->config.architecture, "name", m->config.name, "config", json_config(&m->config), "parameters",
                (json_int_t)m->num_params, "weight_bytes", (json_int_t)m->weight_bytes, "types", json_types(m), "cache",
                "tokens", (json_int_t)cache->tokens, "kept", (json_int_t)cache->kept, "fp16_bytes",
                (json_int_t)cache->fp16_bytes, "fp32_bytes", (json_int_t)cache->fp32_bytes);
  if (root && tensors && json_object_set_new(root, "tensors", json_tensors(m)) != 0) {
    json_decref(root);
    root = NULL;
  }
  return json_print(root, e);
}

static bool cache_of(const struct config *c, int64_t tokens, struct cache_size *cache, struct err *e) {
  int64_t per_token = (int64_t)c->num_layers * 2 * c->num_kv_heads * c->head_dim; // keys and values
  if (tokens > c->max_positions)
    return err_set(e, "--tokens %" PRId64 " is more than the model's %d positions", tokens, c->max_positions);
  cache->tokens = tokens ? tokens : c->max_positions;
  cache->kept = c->sliding_window && c->sliding_window < cache->tokens ? c->sliding_window : cache->tokens;
  if (__builtin_mul_overflow(per_token * 2, cache->kept, &cache->fp16_bytes) ||
      __builtin_mul_overflow(per_token * 4, cache->kept, &cache->fp32_bytes))
    return err_set(e, "a cache of %" PRId64 " tokens is too large to count", cache->tokens);
  return true;
}

static bool run(const struct settings *s, struct model *m, struct err *e) {
  struct cache_size cache;
  char *path = model_find(s->model, e);
  bool ok = path && model_open(m, path, e) && cache_of(&m->config, s->tokens, &cache, e);
  mem_free(path);
  if (!ok) return false;
  if (s->json) return print_json(m, &cache, s->tensors, e);
  print_tree(m);
  if (s->tensors) print_tensors(m);
  print_totals(m, &cache);
  return true;
}

int cmd_inspect(int argc, char **argv) {
  struct settings s = {0};
  struct command c = inspect_command(&s);
  struct arguments args;
  int code = options_parse(&c, argc, argv, &args);
  if (code >= 0) return code;
  if (s.model && args.count) return usage_error(&c, "give the model once, as --model or as an argument");
  if (!s.model) s.model = args.count ? args.data[0] : "nano";
  struct model m = {0};
  struct err e = {0};
  bool ok = run(&s, &m, &e);
  model_close(&m);
  return ok ? EXIT_OK : failure(&c, &e);
}

// The random model of make_files.h in its formats.
#include "runtime/base/half.h"
#include "tests/model/make_files.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sample sample_default(void) {
  return (struct sample){.hidden = 24,
                         .layers = 2,
                         .heads = 4,
                         .kv_heads = 2,
                         .head_dim = 8,
                         .intermediate = 40,
                         .vocab = 40,
                         .max_positions = 64,
                         .window = 6,
                         .partial_rotary = 1,
                         .type = DTYPE_F32,
                         .shards = 1,
                         .seed = 1};
}

float sample_value(const struct sample *s, const char *name, int64_t row, int64_t col) {
  uint64_t h = s->seed * 0x9e3779b97f4a7c15u;
  for (const char *p = name; *p; p++) h = (h ^ (unsigned char)*p) * 0x100000001b3u; // FNV-1a
  h ^= (uint64_t)row * 0xbf58476d1ce4e5b9u + (uint64_t)col * 0x94d049bb133111ebu;
  h = (h ^ h >> 31) * 0xd6e8feb86659fd93u;
  h ^= h >> 32;
  return (float)((int64_t)(h % 255) - 127) / 128;
}

float sample_factor(const struct sample *s, bool is_long, int64_t i) {
  (void)s;
  return is_long ? 2.0f + (float)i / 4 : 1.0f + (float)i / 16;
}

static int32_t rotary_dim(const struct sample *s) { return (int32_t)((float)s->head_dim * s->partial_rotary); }

// Where row `row` of q or k is stored in a llama file: the rotated channels of a head as neighbouring pairs. Written
// from llama.cpp's description: halves [2, n/2] of a head are transposed to [n/2, 2].
static int64_t paired_row(const struct sample *s, int64_t row) {
  int64_t head = row / s->head_dim, i = row % s->head_dim, n = rotary_dim(s);
  if (i >= n) return row;
  int64_t half = i / (n / 2), j = i % (n / 2);
  return head * s->head_dim + j * 2 + half;
}

// Rows [first, first + rows) of the tensor `name` in stored form; `paired` puts them in a llama file's order.
static size_t make_rows(const struct sample *s, const char *name, int64_t first, int64_t rows, int64_t cols,
                        enum dtype type, bool paired, uint8_t **out) {
  size_t width = type == DTYPE_F32 ? 4 : 2, bytes = (size_t)(rows * cols) * width;
  *out = malloc(bytes);
  if (!*out) abort();
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) {
      float f = sample_value(s, name, first + r, c);
      uint16_t h = type == DTYPE_F16 ? f32_to_f16(f) : f32_to_bf16(f);
      int64_t at = (paired ? paired_row(s, r) : r) * cols + c;
      memcpy(*out + (size_t)at * width, type == DTYPE_F32 ? (void *)&f : (void *)&h, width);
    }
  return bytes;
}

static void put_hf(const struct sample *s, struct safetensors_maker *f, const char *name, int64_t rows, int64_t cols) {
  uint8_t *data;
  size_t bytes = make_rows(s, name, 0, rows ? rows : 1, cols, s->type, false, &data);
  safetensors_put(f, name, dtype_info(s->type)->name, rows, cols, data, bytes);
  free(data);
}

struct shard_list {
  struct safetensors_maker *makers;
  int count, next;
  struct bytes index; // entries of weight_map
};

static void shard_name(char *text, size_t size, int i, int n) {
  if (n == 1) snprintf(text, size, "model.safetensors");
  else snprintf(text, size, "model-%05d-of-%05d.safetensors", i + 1, n);
}

// Tensors go to the shards in turn.
static void put_sharded(const struct sample *s, struct shard_list *l, const char *name, int64_t rows, int64_t cols) {
  int i = l->next++ % l->count;
  char file[64], entry[256];
  put_hf(s, &l->makers[i], name, rows, cols);
  shard_name(file, sizeof file, i, l->count);
  int n = snprintf(entry, sizeof entry, "%s\"%s\": \"%s\"", l->index.size ? ", " : "", name, file);
  bytes_put(&l->index, entry, (size_t)n);
}

static void put_hf_layer(const struct sample *s, struct shard_list *l, int layer) {
  char name[128];
  int64_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
  const struct {
    const char *name;
    int64_t rows, cols;
  } tensors[] = {{"input_layernorm", 0, s->hidden},
                 {"self_attn.qkv_proj", q + 2 * kv, s->hidden},
                 {"self_attn.o_proj", s->hidden, q},
                 {"post_attention_layernorm", 0, s->hidden},
                 {"mlp.gate_up_proj", 2 * s->intermediate, s->hidden},
                 {"mlp.down_proj", s->hidden, s->intermediate}};
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
    snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, tensors[i].name);
    put_sharded(s, l, name, tensors[i].rows, tensors[i].cols);
  }
}

static void put_factor_list(const struct sample *s, struct bytes *b, bool is_long) {
  char text[64];
  for (int i = 0; i < rotary_dim(s) / 2; i++) {
    int n = snprintf(text, sizeof text, "%s%.9g", i ? ", " : "", (double)sample_factor(s, is_long, i));
    bytes_put(b, text, (size_t)n);
  }
}

static void put_text(struct bytes *b, const char *text) { bytes_put(b, text, strlen(text)); }

static void write_config(const struct sample *s, const char *dir, const char *more) {
  struct bytes b = {0};
  char text[1024];
  snprintf(
      text, sizeof text,
      "{%s\"architectures\": [\"Phi3ForCausalLM\"], \"model_type\": \"phi3\", \"hidden_size\": %d, "
      "\"num_hidden_layers\": %d,\n"
      " \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"head_dim\": %d, \"intermediate_size\": %d, "
      "\"vocab_size\": %d,\n"
      " \"max_position_embeddings\": %d, \"original_max_position_embeddings\": %d, \"partial_rotary_factor\": %.9g,\n"
      " \"tie_word_embeddings\": %s, \"bos_token_id\": 1, \"eos_token_id\": 2, \"pad_token_id\": null",
      more, s->hidden, s->layers, s->heads, s->kv_heads, s->head_dim, s->intermediate, s->vocab, s->max_positions,
      s->longrope ? s->max_positions / 2 : s->max_positions, (double)s->partial_rotary, s->tied ? "true" : "false");
  put_text(&b, text);
  snprintf(text, sizeof text, ", \"sliding_window\": %d", s->window);
  if (s->window) put_text(&b, text);
  if (s->longrope) {
    put_text(&b, ",\n \"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [");
    put_factor_list(s, &b, false);
    put_text(&b, "], \"long_factor\": [");
    put_factor_list(s, &b, true);
    put_text(&b, "]}");
  }
  put_text(&b, "}\n");
  char *path = path_in(dir, "config.json");
  write_bytes(path, b.data, b.size);
  free(path);
  bytes_free(&b);
}

static void write_index(struct shard_list *l, const char *dir) {
  struct bytes b = {0};
  put_text(&b, "{\"metadata\": {}, \"weight_map\": {");
  bytes_put(&b, l->index.data, l->index.size);
  put_text(&b, "}}\n");
  char *path = path_in(dir, "model.safetensors.index.json");
  write_bytes(path, b.data, b.size);
  free(path);
  bytes_free(&b);
}

void sample_write_hf(const struct sample *s, const char *dir, const char *more_config) {
  struct shard_list l = {.makers = calloc((size_t)s->shards, sizeof *l.makers), .count = s->shards};
  if (!l.makers) abort();
  put_sharded(s, &l, "model.embed_tokens.weight", s->vocab, s->hidden);
  for (int i = 0; i < s->layers; i++) put_hf_layer(s, &l, i);
  put_sharded(s, &l, "model.norm.weight", 0, s->hidden);
  if (!s->tied) put_sharded(s, &l, "lm_head.weight", s->vocab, s->hidden);
  for (int i = 0; i < s->shards; i++) {
    char file[64];
    shard_name(file, sizeof file, i, s->shards);
    char *path = path_in(dir, file);
    safetensors_write(&l.makers[i], path);
    free(path);
  }
  if (s->shards > 1) write_index(&l, dir);
  write_config(s, dir, more_config);
  free(l.makers);
  bytes_free(&l.index);
}

static uint32_t ggml_number(enum dtype t) { return t == DTYPE_F32 ? 0 : t == DTYPE_F16 ? 1 : 30; }

// Rows [first, first + rows) of the Hugging Face tensor `hf` under the name `name`. rows = 0: a vector, always F32.
static void put_gguf(const struct sample *s, struct gguf_maker *g, const char *name, const char *hf, int64_t first,
                     int64_t rows, int64_t cols, bool paired) {
  uint8_t *data;
  enum dtype type = rows ? s->type : DTYPE_F32;
  size_t bytes = make_rows(s, hf, first, rows ? rows : 1, cols, type, paired, &data);
  gguf_put_tensor(g, name, ggml_number(type), rows, cols, data, bytes);
  free(data);
}

static void put_gguf_layer(const struct sample *s, struct gguf_maker *g, int layer, bool llama) {
  int64_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim, h = s->hidden, n = s->intermediate;
  const struct {
    const char *name, *hf;
    int64_t first, rows, cols;
    bool in_phi3, in_llama, paired;
  } tensors[] = {{"attn_norm", "input_layernorm", 0, 0, h, true, true, false},
                 {"attn_qkv", "self_attn.qkv_proj", 0, q + 2 * kv, h, true, false, false},
                 {"attn_q", "self_attn.qkv_proj", 0, q, h, false, true, true},
                 {"attn_k", "self_attn.qkv_proj", q, kv, h, false, true, true},
                 {"attn_v", "self_attn.qkv_proj", q + kv, kv, h, false, true, false},
                 {"attn_output", "self_attn.o_proj", 0, h, q, true, true, false},
                 {"ffn_norm", "post_attention_layernorm", 0, 0, h, true, true, false},
                 {"ffn_gate", "mlp.gate_up_proj", 0, n, h, false, true, false},
                 {"ffn_up", "mlp.gate_up_proj", llama ? n : 0, llama ? n : 2 * n, h, true, true, false},
                 {"ffn_down", "mlp.down_proj", 0, h, n, true, true, false}};
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
    char name[128], hf[128];
    if (llama ? !tensors[i].in_llama : !tensors[i].in_phi3) continue;
    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, tensors[i].name);
    snprintf(hf, sizeof hf, "model.layers.%d.%s.weight", layer, tensors[i].hf);
    put_gguf(s, g, name, hf, tensors[i].first, tensors[i].rows, tensors[i].cols, tensors[i].paired);
  }
}

static void put_gguf_keys(const struct sample *s, struct gguf_maker *g, const char *arch) {
  const struct {
    const char *name;
    int32_t value;
  } keys[] = {{"block_count", s->layers},
              {"embedding_length", s->hidden},
              {"feed_forward_length", s->intermediate},
              {"context_length", s->max_positions},
              {"attention.head_count", s->heads},
              {"attention.head_count_kv", s->kv_heads},
              {"attention.key_length", s->head_dim},
              {"attention.value_length", s->head_dim},
              {"rope.dimension_count", rotary_dim(s)},
              {"attention.sliding_window", s->window},
              {"rope.scaling.original_context_length", s->longrope ? s->max_positions / 2 : s->max_positions}};
  char key[128];
  gguf_put_string(g, "general.architecture", arch);
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    snprintf(key, sizeof key, "%s.%s", arch, keys[i].name);
    gguf_put_u32(g, key, (uint32_t)keys[i].value);
  }
  snprintf(key, sizeof key, "%s.rope.freq_base", arch);
  gguf_put_f32(g, key, 10000);
  snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
  gguf_put_f32(g, key, 1e-5f);
  gguf_put_u32(g, "tokenizer.ggml.bos_token_id", 1);
  gguf_put_u32(g, "tokenizer.ggml.eos_token_id", 2);
}

void sample_put_gguf(const struct sample *s, struct gguf_maker *g, const char *architecture) {
  float factors[64];
  put_gguf_keys(s, g, architecture);
  put_gguf(s, g, "token_embd.weight", "model.embed_tokens.weight", 0, s->vocab, s->hidden, false);
  for (int i = 0; i < s->layers; i++) put_gguf_layer(s, g, i, strcmp(architecture, "llama") == 0);
  put_gguf(s, g, "output_norm.weight", "model.norm.weight", 0, 0, s->hidden, false);
  if (!s->tied) put_gguf(s, g, "output.weight", "lm_head.weight", 0, s->vocab, s->hidden, false);
  int n = rotary_dim(s) / 2;
  for (int is_long = 0; is_long < 2 && s->longrope; is_long++) {
    for (int i = 0; i < n; i++) factors[i] = sample_factor(s, is_long, i);
    gguf_put_tensor(g, is_long ? "rope_factors_long.weight" : "rope_factors_short.weight", 0, 0, n, factors,
                    (size_t)n * sizeof *factors);
  }
}

void sample_write_gguf(const struct sample *s, const char *path, const char *architecture) {
  struct gguf_maker g = {0};
  sample_put_gguf(s, &g, architecture);
  gguf_write(&g, path);
}

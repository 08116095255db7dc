// What a random tensor holds, and the tensors of a shape.
#include "driver/synth.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <string.h>

// A matrix of uniform values of deviation 1 / sqrt(cols) hands on what it is given at its own size, as a freshly
// initialized model's do: sums of products stay near 1 through any number of norms, and logits spread by about 1.
static struct synth_tensor matrix_of(int64_t rows, int64_t cols) {
  return (struct synth_tensor){.rows = rows, .cols = cols, .reach = (float)sqrt(3.0 / (double)cols)};
}

static struct synth_tensor norm_of(int64_t cols) {
  return (struct synth_tensor){.cols = cols, .centre = 1, .reach = 0.125f};
}

static struct synth_tensor *put(struct synth_tensor *t, struct synth_tensor what, const char *name, int32_t layer) {
  *t = what;
  if (layer < 0) snprintf(t->name, sizeof t->name, "%s.weight", name);
  else snprintf(t->name, sizeof t->name, "model.layers.%d.%s.weight", layer, name);
  return t + 1;
}

struct synth_tensor *synth_tensors(const struct config *c, int64_t *count, struct err *e) {
  int64_t hidden = c->hidden_size, q = (int64_t)c->num_heads * c->head_dim, kv = (int64_t)c->num_kv_heads * c->head_dim,
          wide = c->intermediate_size;
  struct synth_tensor *all = mem_alloc(6 * (size_t)c->num_layers + 3, sizeof *all, "the list of tensors", e), *t = all;
  if (!all) return NULL;
  struct synth_tensor embed = matrix_of(c->vocab_size, hidden);
  if (!c->tied_embeddings) embed.reach = (float)sqrt(3.0); // rows of deviation 1; a tied one is the head too
  t = put(t, embed, "model.embed_tokens", -1);
  for (int32_t i = 0; i < c->num_layers; i++) {
    t = put(t, norm_of(hidden), "input_layernorm", i);
    t = put(t, matrix_of(q + 2 * kv, hidden), "self_attn.qkv_proj", i);
    t = put(t, matrix_of(hidden, q), "self_attn.o_proj", i);
    t = put(t, norm_of(hidden), "post_attention_layernorm", i);
    t = put(t, matrix_of(2 * wide, hidden), "mlp.gate_up_proj", i);
    t = put(t, matrix_of(hidden, wide), "mlp.down_proj", i);
  }
  t = put(t, norm_of(hidden), "model.norm", -1);
  if (!c->tied_embeddings) t = put(t, matrix_of(c->vocab_size, hidden), "lm_head", -1);
  *count = t - all;
  return all;
}

int64_t synth_elements(const struct synth_tensor *t) { return (t->rows ? t->rows : 1) * t->cols; }

// The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
static inline uint64_t mix(uint64_t z) {
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);

void synth_values_init(struct synth_values *v, const struct synth_tensor *t, enum dtype type, uint64_t seed) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325); // FNV-1a of the name
  for (const char *p = t->name; *p; p++) hash = (hash ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
  v->key = mix(seed * golden + hash);
  v->type = type;
  for (int i = 0; i < SYNTH_LEVELS; i++) { // levels in equal steps, none of them the centre
    float x = t->centre + t->reach * ((float)(2 * i + 1) / SYNTH_LEVELS - 1);
    if (type == DTYPE_F32) v->levels.wide[i] = f32_to_bits(x);
    else v->levels.narrow[i] = type == DTYPE_F16 ? f32_to_f16(x) : f32_to_bf16(x);
  }
}

void synth_values_fill(const struct synth_values *v, int64_t begin, int64_t end, void *dst) {
  enum { SHIFT = 4, LANES = 4, LANE_BITS = 16 }; // the upper 12 bits of each 16 of a random word
  uint32_t *wide = dst;
  uint16_t *narrow = dst;
  for (int64_t i = begin; i < end; i += LANES) {
    uint64_t word = mix(v->key + (uint64_t)(i / LANES) * golden);
    int n = end - i < LANES ? (int)(end - i) : LANES;
    for (int j = 0; j < n; j++, word >>= LANE_BITS) {
      uint16_t level = (uint16_t)word >> SHIFT;
      if (v->type == DTYPE_F32) *wide++ = v->levels.wide[level];
      else *narrow++ = v->levels.narrow[level];
    }
  }
}

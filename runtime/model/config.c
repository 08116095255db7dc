#include "runtime/model/config.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <string.h>

enum { MAX_WIDTH = 1 << 24, MAX_LAYERS = 4096, MAX_HEADS = 1 << 16, MAX_POSITIONS = 1 << 30 };

static bool in_range(const char *file, const char *what, int64_t v, int64_t low, int64_t high, struct err *e) {
  if (v >= low && v <= high) return true;
  return err_set(e, "%s: %s is %lld, expected %lld to %lld", file, what, (long long)v, (long long)low, (long long)high);
}

static bool is_positive(const char *file, const char *what, double v, struct err *e) {
  if (v > 0 && isfinite(v)) return true;
  return err_set(e, "%s: %s is %g, expected a positive number", file, what, v);
}

static bool check_heads(const struct config *c, const char *file, struct err *e) {
  if (!in_range(file, "the number of attention heads", c->num_heads, 1, MAX_HEADS, e)) return false;
  if (!in_range(file, "the number of key-value heads", c->num_kv_heads, 1, c->num_heads, e)) return false;
  if (c->num_heads % c->num_kv_heads)
    return err_set(e, "%s: %d attention heads are not a multiple of %d key-value heads", file, c->num_heads,
                   c->num_kv_heads);
  if (!in_range(file, "the head size", c->head_dim, 2, CONFIG_MAX_HEAD_DIM, e)) return false;
  if (c->head_dim % 2) return err_set(e, "%s: the head size is %d, expected an even number", file, c->head_dim);
  if (!in_range(file, "the number of rotated channels", c->rotary_dim, 2, c->head_dim, e)) return false;
  if (c->rotary_dim % 2)
    return err_set(e, "%s: the number of rotated channels is %d, expected an even number", file, c->rotary_dim);
  return true;
}

static bool check_rope(const struct config *c, const char *file, struct err *e) {
  if (!is_positive(file, "the rotary base", c->rope_theta, e) ||
      !is_positive(file, "the rotary scale", c->rope_scale, e))
    return false;
  if (c->rope == ROPE_PLAIN) return true;
  if (!in_range(file, "the original maximum of positions", c->original_max_positions, 2, MAX_POSITIONS, e))
    return false;
  for (int i = 0; i < c->rotary_dim / 2; i++) {
    if (!is_positive(file, "a short_factor", c->short_factor[i], e)) return false;
    if (!is_positive(file, "a long_factor", c->long_factor[i], e)) return false;
  }
  return true;
}

bool config_check(const struct config *c, const char *file, struct err *e) {
  return in_range(file, "the hidden size", c->hidden_size, 1, MAX_WIDTH, e) &&
         in_range(file, "the number of layers", c->num_layers, 1, MAX_LAYERS, e) &&
         in_range(file, "the MLP width", c->intermediate_size, 1, MAX_WIDTH, e) &&
         in_range(file, "the vocabulary size", c->vocab_size, 1, MAX_WIDTH, e) &&
         in_range(file, "the maximum of positions", c->max_positions, 1, MAX_POSITIONS, e) &&
         in_range(file, "the sliding window", c->sliding_window, 0, INT32_MAX, e) &&
         is_positive(file, "the norm's epsilon", c->rms_eps, e) && check_heads(c, file, e) && check_rope(c, file, e);
}

static double *copy_factors(const double *src, int32_t n, struct err *e) {
  double *p = mem_alloc((size_t)n, sizeof *p, "rotary factors", e);
  return p ? memcpy(p, src, (size_t)n * sizeof *p) : NULL;
}

bool config_set_longrope(struct config *c, const double *short_factor, const double *long_factor, double factor,
                         double attention_factor, struct err *e) {
  c->short_factor = copy_factors(short_factor, c->rotary_dim / 2, e);
  c->long_factor = copy_factors(long_factor, c->rotary_dim / 2, e);
  if (!c->short_factor || !c->long_factor) return false;
  c->rope = ROPE_LONGROPE;
  if (factor <= 0) factor = (double)c->max_positions / c->original_max_positions;
  if (attention_factor > 0) c->rope_scale = attention_factor;
  else c->rope_scale = factor <= 1 ? 1 : sqrt(1 + log(factor) / log(c->original_max_positions));
  return true;
}

bool config_add_end_id(struct config *c, int64_t id, const char *file, struct err *e) {
  if (id < 0 || id >= c->vocab_size) return true;
  for (int i = 0; i < c->num_end_ids; i++)
    if (c->end_ids[i] == id) return true;
  if (c->num_end_ids == CONFIG_MAX_END_IDS) return err_set(e, "%s: more than %d end ids", file, CONFIG_MAX_END_IDS);
  c->end_ids[c->num_end_ids++] = (int32_t)id;
  return true;
}

void config_free(struct config *c) {
  mem_free(c->short_factor);
  mem_free(c->long_factor);
  *c = (struct config){0};
}

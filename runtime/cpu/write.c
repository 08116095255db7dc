// Stages and pages from outside: for a run in lockstep with another backend, whose values take this one's place.
#include "runtime/cpu/cpu.h"
#include "runtime/base/half.h"
#include <string.h>

bool cpu_write(struct backend *b, const struct step *s, enum stage stage, const float *src, struct err *e) {
  struct cpu *c = cpu_of(b);
  const struct rows *to;
  switch (stage) {
  case STAGE_HIDDEN: to = &c->x; break;
  case STAGE_QUERY: to = &c->qkv; break;
  case STAGE_MIXED: to = &c->mixed; break;
  case STAGE_MLP: to = &c->mlp; break;
  default: return err_set(e, "stage %d is no operation's input, so it cannot be written", (int)stage);
  }
  int64_t width = stage == STAGE_QUERY ? c->q_width : to->width;
  for (int64_t r = 0; r < s->num_rows; r++, src += width) {
    if (!b->options.fp64) memcpy(row_f32(to, r), src, (size_t)width * sizeof *src);
    else
      for (int64_t i = 0; i < width; i++) row_f64(to, r)[i] = (double)src[i];
  }
  return true;
}

static float get(const struct cpu *c, const char *elements, int64_t i) {
  if (c->base.options.fp64) return (float)((const double *)elements)[i];
  if (c->base.options.page_type == PAGE_F16) return f16_to_f32(((const uint16_t *)elements)[i]);
  return ((const float *)elements)[i];
}

static void put(const struct cpu *c, char *elements, int64_t i, float v) {
  if (c->base.options.fp64) ((double *)elements)[i] = (double)v;
  else if (c->base.options.page_type == PAGE_F16) ((uint16_t *)elements)[i] = f32_to_f16(v);
  else ((float *)elements)[i] = v;
}

// Where the pages hold a row's keys and values of one head, and the distance of its channels there.
struct place {
  char *keys, *values;
  int64_t first_key, key_step, first_value;
};

// Of the i-th of the step's rows and heads, row after row.
static struct place place_of(const struct cpu *c, const struct step *s, int32_t layer, int64_t i) {
  const struct config *m = &c->base.model->config;
  int32_t row = (int32_t)(i / m->num_kv_heads), head = (int32_t)(i % m->num_kv_heads);
  const struct step_seq *q = step_seq_of(s, row);
  int64_t position = q->position + row - q->first_row, size = c->base.options.page_size;
  int64_t page = q->block_table[position / size], index = position % size;
  return (struct place){cache_keys(c, page, layer, head), cache_values(c, page, layer, head), index, size,
                        index * m->head_dim};
}

static int64_t num_places(const struct cpu *c, const struct step *s) {
  return (int64_t)s->num_rows * c->base.model->config.num_kv_heads;
}

bool cpu_read_cache(struct backend *b, const struct step *s, int32_t layer, float *keys, float *values, struct err *e) {
  const struct cpu *c = cpu_of(b);
  (void)e;
  for (int64_t i = 0; i < num_places(c, s); i++) {
    struct place p = place_of(c, s, layer, i);
    for (int32_t d = 0; d < b->model->config.head_dim; d++) {
      *keys++ = get(c, p.keys, p.first_key + d * p.key_step);
      *values++ = get(c, p.values, p.first_value + d);
    }
  }
  return true;
}

bool cpu_write_cache(struct backend *b, const struct step *s, int32_t layer, const float *keys, const float *values,
                     struct err *e) {
  const struct cpu *c = cpu_of(b);
  (void)e;
  for (int64_t i = 0; i < num_places(c, s); i++) {
    struct place p = place_of(c, s, layer, i);
    for (int32_t d = 0; d < b->model->config.head_dim; d++) {
      put(c, p.keys, p.first_key + d * p.key_step, *keys++);
      put(c, p.values, p.first_value + d, *values++);
    }
  }
  return true;
}

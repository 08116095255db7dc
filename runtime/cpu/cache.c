// A page holds its tokens' keys and values of all layers: [layer][keys, values][kv_head]. Keys lie as [head_dim,
// page_size], so that a vector of attention's scores takes neighbouring tokens; values lie as [page_size, head_dim].
#include "runtime/cpu/cpu.h"
#include <string.h>

int64_t backend_page_bytes(const struct config *c, const struct backend_options *o) {
  int64_t element = o->fp64 ? 8 : o->page_type == PAGE_F16 ? 2 : 4;
  return 2 * element * c->num_layers * c->num_kv_heads * c->head_dim * o->page_size;
}

static int64_t head_bytes(const struct cpu *c) {
  return (int64_t)c->base.options.page_size * c->base.model->config.head_dim * c->element_bytes;
}

char *cache_keys(const struct cpu *c, int64_t page, int32_t layer, int32_t kv_head) {
  return c->pages + page * c->page_bytes + (2ll * layer * c->base.model->config.num_kv_heads + kv_head) * head_bytes(c);
}

char *cache_values(const struct cpu *c, int64_t page, int32_t layer, int32_t kv_head) {
  return cache_keys(c, page, layer, kv_head) + c->base.model->config.num_kv_heads * head_bytes(c);
}

bool cpu_copy_page(struct backend *b, int32_t from, int32_t to, struct err *e) {
  struct cpu *c = cpu_of(b);
  int32_t n = b->options.num_pages;
  if (from < 0 || from >= n || to < 0 || to >= n)
    return err_set(e, "cannot copy page %d to page %d: the cache has pages 0..%d", from, to, n - 1);
  if (from != to) memcpy(c->pages + to * c->page_bytes, c->pages + from * c->page_bytes, (size_t)c->page_bytes);
  return true;
}

struct append_work {
  struct cpu *c;
  const struct step *s;
  int32_t layer;
};

// Where a row's token goes.
struct slot {
  int64_t page, index;
};

static struct slot slot_of(const struct append_work *w, int32_t row) {
  const struct step_seq *q = step_seq_of(w->s, row);
  int64_t position = q->position + row - q->first_row, size = w->c->base.options.page_size;
  return (struct slot){q->block_table[position / size], position % size};
}

static void append_f64(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct append_work *w = ctx;
  struct cpu *c = w->c;
  const struct config *m = &c->base.model->config;
  int64_t size = c->base.options.page_size, half = m->rotary_dim / 2;
  (void)thread;
  for (int64_t r = begin; r < end; r++) {
    double *row = row_f64(&c->qkv, r), *k = row + c->q_width, *v = k + c->kv_width;
    struct slot slot = slot_of(w, (int32_t)r);
    for (int32_t h = 0; h < m->num_heads + m->num_kv_heads; h++) // the heads of k follow those of q
      rope_f64(row + (int64_t)h * m->head_dim, c->cos + r * half, c->sin + r * half, m->rotary_dim);
    for (int32_t h = 0; h < m->num_kv_heads; h++, k += m->head_dim, v += m->head_dim) {
      double *keys = (double *)cache_keys(c, slot.page, w->layer, h),
             *values = (double *)cache_values(c, slot.page, w->layer, h);
      for (int32_t d = 0; d < m->head_dim; d++) {
        keys[d * size + slot.index] = k[d];
        values[slot.index * m->head_dim + d] = v[d];
      }
    }
  }
}

static void append_f32(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct append_work *w = ctx;
  struct cpu *c = w->c;
  const struct config *m = &c->base.model->config;
  int64_t size = c->base.options.page_size, dim = m->head_dim, half = m->rotary_dim / 2;
  bool f16 = c->base.options.page_type == PAGE_F16;
  (void)thread;
  for (int64_t r = begin; r < end; r++) {
    float *row = row_f32(&c->qkv, r), *k = row + c->q_width, *v = k + c->kv_width;
    struct slot slot = slot_of(w, (int32_t)r);
    for (int32_t h = 0; h < m->num_heads + m->num_kv_heads; h++)
      rope_f32(row + h * dim, c->cos + r * half, c->sin + r * half, m->rotary_dim);
    for (int32_t h = 0; h < m->num_kv_heads; h++, k += dim, v += dim) {
      char *keys = cache_keys(c, slot.page, w->layer, h), *values = cache_values(c, slot.page, w->layer, h);
      if (f16) {
        uint16_t key[CONFIG_MAX_HEAD_DIM];
        c->kernels->to_f16(k, key, dim);
        for (int64_t d = 0; d < dim; d++) ((uint16_t *)keys)[d * size + slot.index] = key[d];
        c->kernels->to_f16(v, (uint16_t *)values + slot.index * dim, dim);
      } else {
        for (int64_t d = 0; d < dim; d++) ((float *)keys)[d * size + slot.index] = k[d];
        memcpy((float *)values + slot.index * dim, v, (size_t)dim * sizeof *v);
      }
    }
  }
}

void cache_append_f64(struct cpu *c, const struct step *s, int32_t layer) {
  rope_angles(c, s);
  pool_for(c->pool, s->num_rows, 16, append_f64, &(struct append_work){c, s, layer});
}

void cache_append_f32(struct cpu *c, const struct step *s, int32_t layer) {
  rope_angles(c, s);
  pool_for(c->pool, s->num_rows, 16, append_f32, &(struct append_work){c, s, layer});
}

// Stages and pages from the host, and pages to it: for a run in lockstep with another backend, whose values take this one's place. Written for clarity; whole
// pages travel.
#include "runtime/gpu/gpu.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"

// The kernels' rule: what passes fp16's range becomes its largest value.
static uint16_t to_half(float v) { return f32_to_f16(v > 65504 ? 65504 : v < -65504 ? -65504 : v); }

// On the stream, so that what was launched before reads the old values and what comes later the new ones.
static bool send(struct gpu *g, cu_pointer to, const void *from, size_t bytes, struct err *e) {
  return cuda_check(&g->d.cuda, g->d.cuda.to_device_async(to, from, bytes, g->d.stream), "writing a stage", e) && gpu_wait(&g->d, "writing a stage", e);
}

// Rows of `width` values to halfs `ld` apart, zeros in between.
static bool write_f16(struct gpu *g, cu_pointer to, int64_t rows, int64_t width, int64_t ld, const float *src, struct err *e) {
  uint16_t *halfs = mem_alloc((size_t)(rows * ld), sizeof *halfs, "a stage", e);
  if (!halfs) return false;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < width; i++) halfs[r * ld + i] = to_half(src[r * width + i]);
  bool ok = send(g, to, halfs, (size_t)(rows * ld) * sizeof *halfs, e);
  mem_free(halfs);
  return ok;
}

bool gpu_write(struct backend *b, const struct step *s, enum stage stage, const float *src, struct err *e) {
  struct gpu *g = gpu_of(b);
  const struct config *c = &b->model->config;
  int64_t heads = (int64_t)c->num_heads * c->head_dim;
  switch (stage) {
  case STAGE_HIDDEN: return send(g, g->x, src, (size_t)s->num_rows * (size_t)c->hidden_size * sizeof *src, e);
  case STAGE_QUERY: return write_f16(g, g->q, s->num_rows, heads, g->heads_ld, src, e);
  case STAGE_MIXED: return write_f16(g, g->mixed, s->num_rows, heads, g->heads_ld, src, e);
  case STAGE_MLP: return write_f16(g, g->mlp, s->num_rows, c->intermediate_size, g->mlp_ld, src, e);
  default: return err_set(e, "stage %d is no operation's input, so it cannot be written", (int)stage);
  }
}

// One layer's keys and values of one page, on the host.
struct page {
  uint16_t *keys, *values;
  cu_pointer device_keys, device_values;
};

// The step's rows [row, row + count) lie in it, the first at index `index`. Their keys and values: [count, kv_heads head_dim].
typedef void (*page_rows)(const struct gpu *g, const struct page *p, int64_t index, int32_t count, float *keys, float *values);

static void take_rows(const struct gpu *g, const struct page *p, int64_t index, int32_t count, float *keys, float *values) {
  int64_t dim = g->base.model->config.head_dim, size = g->base.options.page_size;
  for (int32_t r = 0; r < count; r++)
    for (int32_t h = 0; h < g->base.model->config.num_kv_heads; h++)
      for (int64_t d = 0; d < dim; d++) {
        *keys++ = f16_to_f32(p->keys[(h * size + index + r) * dim + d]);
        *values++ = f16_to_f32(p->values[(h * dim + d) * size + index + r]);
      }
}

static void put_rows(const struct gpu *g, const struct page *p, int64_t index, int32_t count, float *keys, float *values) {
  int64_t dim = g->base.model->config.head_dim, size = g->base.options.page_size;
  for (int32_t r = 0; r < count; r++)
    for (int32_t h = 0; h < g->base.model->config.num_kv_heads; h++)
      for (int64_t d = 0; d < dim; d++) {
        p->keys[(h * size + index + r) * dim + d] = to_half(*keys++);
        p->values[(h * dim + d) * size + index + r] = to_half(*values++);
      }
}

static bool fetch(struct gpu *g, const struct page *p, struct err *e) {
  size_t bytes = (size_t)g->page_halfs * sizeof *p->keys;
  return cuda_check(&g->d.cuda, g->d.cuda.to_host(p->keys, p->device_keys, bytes), "reading keys", e) &&
         cuda_check(&g->d.cuda, g->d.cuda.to_host(p->values, p->device_values, bytes), "reading values", e);
}

static bool store(struct gpu *g, const struct page *p, struct err *e) {
  size_t bytes = (size_t)g->page_halfs * sizeof *p->keys;
  return send(g, p->device_keys, p->keys, bytes, e) && send(g, p->device_values, p->values, bytes, e);
}

// Every page that holds rows of the step, one after the other.
static bool each_page(struct gpu *g, const struct step *s, int32_t layer, float *keys, float *values, page_rows fn, bool write, struct err *e) {
  const struct config *c = &g->base.model->config;
  int64_t size = g->base.options.page_size, width = (int64_t)c->num_kv_heads * c->head_dim;
  uint16_t *halfs = mem_alloc(2 * (size_t)g->page_halfs, sizeof *halfs, "a page", e);
  bool ok = halfs && gpu_wait(&g->d, "computing the step", e);
  for (int32_t i = 0; i < s->num_seqs && ok; i++) {
    const struct step_seq *q = &s->seqs[i];
    for (int32_t r = 0, n; r < q->num_rows && ok; r += n) {
      int64_t index = (q->position + r) % size, at = ((int64_t)layer * g->base.options.num_pages + q->block_table[(q->position + r) / size]) * g->page_halfs;
      n = (int32_t)(size - index < q->num_rows - r ? size - index : q->num_rows - r);
      struct page p = {halfs, halfs + g->page_halfs, g->keys + (uint64_t)at * sizeof *halfs, g->values + (uint64_t)at * sizeof *halfs};
      if (!(ok = fetch(g, &p, e))) break;
      fn(g, &p, index, n, keys + (q->first_row + r) * width, values + (q->first_row + r) * width);
      if (write) ok = store(g, &p, e);
    }
  }
  mem_free(halfs);
  return ok;
}

bool gpu_read_cache(struct backend *b, const struct step *s, int32_t layer, float *keys, float *values, struct err *e) {
  return each_page(gpu_of(b), s, layer, keys, values, take_rows, false, e);
}

bool gpu_write_cache(struct backend *b, const struct step *s, int32_t layer, const float *keys, const float *values, struct err *e) {
  return each_page(gpu_of(b), s, layer, (float *)keys, (float *)values, put_rows, true, e); // put_rows reads them only
}

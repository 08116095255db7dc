// Opening the GPU backend: what the model needs on the device, whether it fits, and getting it there.
#include "runtime/gpu/gpu.h"
#include "runtime/base/mem.h"
#include <stdio.h>

enum { PAGE_MULTIPLE = 16 }; // tokens: the kernels read eight keys of a channel at once, in groups of 16

static bool check_options(const struct model *m, const struct backend_options *o, struct err *e) {
  const struct config *c = &m->config;
  if (o->fp64) return err_set(e, "fp64 arithmetic is the CPU's; use --device cpu, or --precision fp32");
  if (!gpu_head_size(c->head_dim)) return err_set(e, "the head size is %d; the GPU kernels serve multiples of 8 up to %d; use --device cpu", c->head_dim, PHI3_MAX_HEAD_DIM);
  if (c->hidden_size % 8) return err_set(e, "the hidden size is %d; the GPU kernels serve multiples of 8; use --device cpu", c->hidden_size);
  if (o->page_size < 1 || o->page_size % PAGE_MULTIPLE) return err_set(e, "pages of %d tokens; a GPU's are a multiple of %d, so use --page-size %d", o->page_size, PAGE_MULTIPLE, PAGE_MULTIPLE);
  if (o->num_pages < 1) return err_set(e, "a cache of %d pages; expected at least one", o->num_pages);
  if (o->max_rows < 1 || o->max_logits < 0)
    return err_set(e, "steps of %d tokens with %d rows of logits: expected at least one token", o->max_rows, o->max_logits);
  return config_check(c, m->path ? m->path : "the model", e);
}

static int32_t padded(int64_t n) { return (int32_t)((n + PHI3_GROUP_K - 1) / PHI3_GROUP_K * PHI3_GROUP_K); }

static void set_shapes(struct gpu *g) {
  const struct config *c = &g->base.model->config;
  const struct backend_options *o = &g->base.options;
  g->max_positions = o->max_positions > 0 && o->max_positions < c->max_positions ? (int32_t)o->max_positions : c->max_positions;
  g->page_halfs = (int64_t)c->num_kv_heads * c->head_dim * o->page_size;
  g->hidden_ld = padded(c->hidden_size);
  g->heads_ld = padded((int64_t)c->num_heads * c->head_dim);
  g->mlp_ld = padded(c->intermediate_size);
  g->table_stride = (g->max_positions + o->page_size - 1) / o->page_size;
  int32_t keys = c->sliding_window && c->sliding_window < g->max_positions ? c->sliding_window + PHI3_SPAN_KEYS - 1 : g->max_positions;
  g->max_spans = (keys + PHI3_SPAN_KEYS - 1) / PHI3_SPAN_KEYS;
  g->at = gpu_step_layout(o);
}

// Also run without an allocation, to add up.
static void carve_scratch(struct gpu *g) {
  const struct config *c = &g->base.model->config;
  const struct backend_options *o = &g->base.options;
  size_t rows = (size_t)o->max_rows, logits = (size_t)o->max_logits, norms = rows > logits ? rows : logits, half = sizeof(uint16_t);
  struct gpu_slab *s = &g->scratch;
  s->used = 0;
  // Columns of padding stay zero, so these begin as zeros.
  g->normed = gpu_carve(s, norms * (size_t)g->hidden_ld * half);
  g->q = gpu_carve(s, rows * (size_t)g->heads_ld * half);
  g->mixed = gpu_carve(s, rows * (size_t)g->heads_ld * half);
  g->mlp = gpu_carve(s, rows * (size_t)g->mlp_ld * half);
  g->x = gpu_carve(s, rows * (size_t)c->hidden_size * sizeof(float));
  g->logits = gpu_carve(s, logits * (size_t)c->vocab_size * sizeof(float));
  g->partial = gpu_carve(s, (size_t)GPU_SPLIT_ROWS * (size_t)c->num_heads * (size_t)g->max_spans * ((size_t)c->head_dim + 2) * sizeof(float));
  g->picked = gpu_carve(s, logits * sizeof(int32_t));
  g->arrays = gpu_carve(s, g->at.bytes + logits * sizeof(uint64_t) + 16);
  g->tables = gpu_carve(s, rows * (size_t)g->table_stride * sizeof(int32_t));
  g->rope = gpu_carve(s, gpu_rope_bytes(c, g->max_positions));
  g->own_scratch = s->used;
  if (!g->d.cublas.handle) return;
  g->d.plain = gpu_carve(s, g->plain_halfs * half);
  g->d.sums = gpu_carve(s, rows * g->packed_rows * sizeof(float));
}

enum { SIZE_TEXT = 32 };
static const char *size_text(size_t bytes, char out[SIZE_TEXT]) {
  if (bytes >= 1000000000) snprintf(out, SIZE_TEXT, "%.2f GB", (double)bytes * 1e-9);
  else snprintf(out, SIZE_TEXT, "%.2f MB", (double)bytes * 1e-6);
  return out;
}

// What would fit into `left` bytes beside the weights; negative: the weights do not.
static void advise(char *out, size_t size, const struct gpu *g, int64_t left, size_t page) {
  const struct backend_options *o = &g->base.options;
  int64_t scratch = (int64_t)g->scratch.used, own = (int64_t)g->own_scratch + (int64_t)page * o->num_pages;
  long long tokens = left > scratch ? (left - scratch) / (int64_t)page * o->page_size : 0;
  if (own <= left) snprintf(out, size, "--gemm own needs %.2f MB less and would fit", (double)(scratch - (int64_t)g->own_scratch) * 1e-6);
  else if (tokens > 0) snprintf(out, size, "%lld tokens would fit: --max-tokens %lld", tokens, tokens);
  else if (left > (int64_t)page) snprintf(out, size, "the weights would fit, so use a --chunk smaller than %d, or --device cpu", o->max_rows);
  else snprintf(out, size, "the weights do not fit with any context; use a smaller model, a GPU with more memory, or --device cpu");
}

// Says how much is missing, and what would fit.
static bool check_memory(struct gpu *g, size_t weights, size_t page, size_t scratch, struct err *e) {
  const struct backend_options *o = &g->base.options;
  size_t free_bytes, total, pages = page * (size_t)o->num_pages, need = weights + pages + scratch;
  if (!cuda_check(&g->d.cuda, g->d.cuda.mem_info(&free_bytes, &total), "asking for the device's memory", e)) return false;
  if (need <= free_bytes) return true;
  char fits[160], text[6][SIZE_TEXT];
  advise(fits, sizeof fits, g, (int64_t)free_bytes - (int64_t)weights, page);
  err_set(e, "%s has %s of memory free and %s are needed (weights %s, %d pages of %d tokens %s, work space %s): %s are missing; %s", g->d.name,
          size_text(free_bytes, text[0]), size_text(need, text[1]), size_text(weights, text[2]), o->num_pages, o->page_size, size_text(pages, text[3]),
          size_text(scratch, text[4]), size_text(need - free_bytes, text[5]), fits);
  e->no_memory = true;
  return false;
}

static bool open_memory(struct gpu *g, struct err *e) {
  const struct config *c = &g->base.model->config;
  size_t weights, pages = 2 * (size_t)g->page_halfs * sizeof(uint16_t) * (size_t)c->num_layers;
  if (!gpu_weight_bytes(c, &weights, e) || !gpu_largest_matrix(c, &g->plain_halfs, &g->packed_rows, e)) return false;
  carve_scratch(g);
  size_t scratch = g->scratch.used, all_pages;
  if (__builtin_mul_overflow(pages, (size_t)g->base.options.num_pages, &all_pages))
    return err_set(e, "a cache of %d pages of %d tokens is too large to address", g->base.options.num_pages, g->base.options.page_size);
  if (!check_memory(g, weights, pages, scratch, e) || !gpu_slab_open(g, &g->weights, weights, "allocating the weights", e) ||
      !gpu_slab_open(g, &g->pages, all_pages, "allocating the key-value pages", e) || !gpu_slab_open(g, &g->scratch, scratch, "allocating the work space", e))
    return false;
  carve_scratch(g);
  g->keys = g->pages.base;
  g->values = g->pages.base + all_pages / 2;
  const struct cuda *cu = &g->d.cuda;
  // Kernels read whole pieces of pages and mask what no token has filled.
  return cuda_check(cu, cu->set_words(g->pages.base, 0, all_pages / 4, g->d.stream), "clearing the pages", e) &&
         cuda_check(cu, cu->set_words(g->scratch.base, 0, (size_t)(g->x - g->scratch.base) / 4, g->d.stream), "clearing the work space", e) &&
         gpu_wait(&g->d, "clearing the memory", e);
}

static bool open_cublas(struct gpu *g, bool virtual_gpu, struct err *e) {
  return g->base.options.gemm != GEMM_CUBLAS || cublas_open(&g->d.cublas, g->d.stream, virtual_gpu, e);
}

struct backend *gpu_backend_open(const struct model *m, const struct backend_options *o, bool virtual_gpu, struct err *e) {
  if (!check_options(m, o, e)) return NULL;
  struct gpu *g = mem_alloc(1, sizeof *g, "the backend", e);
  if (!g) return NULL;
  g->base = (struct backend){.ops = virtual_gpu ? &gpu_virtual_ops : &gpu_cuda_ops, .model = m, .options = *o};
  g->base.options.page_type = PAGE_F16;
  set_shapes(g);
  if (gpu_device_open(&g->d, virtual_gpu, e) && open_cublas(g, virtual_gpu, e) && open_memory(g, e) && gpu_open_step(g, e) && gpu_load_rope(g, e) && gpu_load_weights(g, e)) return &g->base;
  gpu_close(&g->base);
  return NULL;
}

void gpu_close(struct backend *b) {
  if (!b) return;
  struct gpu *g = gpu_of(b);
  gpu_end_abandoned(g);
  if (g->d.stream) g->d.cuda.stream_wait(g->d.stream);
  gpu_drop_graphs(g);
  gpu_range_pop_all(g);
  gpu_slab_close(g, &g->weights);
  gpu_slab_close(g, &g->pages);
  gpu_slab_close(g, &g->scratch);
  gpu_device_close(&g->d);
  mem_free(g->layers);
  mem_free(g->host_arrays);
  mem_free(g->host_tables);
  mem_free(g);
}

// Two transfers a clock.
static double memory_speed(const struct gpu_device *d) {
  int khz = 0, bits = 0;
  if (d->cuda.device_attribute(&khz, CU_ATTRIBUTE_MEMORY_CLOCK, d->device) || d->cuda.device_attribute(&bits, CU_ATTRIBUTE_MEMORY_BUS, d->device)) return 0;
  return 2e3 * khz * bits / 8;
}

struct gpu_report gpu_backend_report(const struct backend *b) {
  const struct gpu *g = (const struct gpu *)b;
  struct gpu_report r = {.weights = g->report.values, .overflows = g->report.overflows, .largest = g->report.largest};
  struct err no_id;
  snprintf(r.device, sizeof r.device, "%s", g->d.name);
  if (!gpu_device_pci(&g->d, r.pci, &no_id)) r.pci[0] = 0;
  r.memory_bytes_per_second = memory_speed(&g->d);
  return r;
}

#include "runtime/gpu/registry.h"

static struct gpu_cost cost_phi3_embed(const void *parameters, struct gpu_extent x) {
  const struct phi3_embed *p = parameters;
  (void)x;
  return (struct gpu_cost){.bytes = 6.0 * p->rows * p->hidden};
}

static struct gpu_cost cost_phi3_rmsnorm(const void *parameters, struct gpu_extent x) {
  const struct phi3_rmsnorm *p = parameters;
  (void)x;
  return (struct gpu_cost){(p->add ? 14.0 : 6.0) * p->rows * p->hidden + 4.0 * p->hidden, 4.0 * p->rows * p->hidden};
}

static struct gpu_cost cost_phi3_rope(const void *parameters, struct gpu_extent x) {
  const struct phi3_rope *p = parameters;
  double rotated = 2.0 * p->rows * p->heads * p->rotary_half;
  (void)x;
  return (struct gpu_cost){4 * rotated + 8.0 * p->rows * p->rotary_half, 3 * rotated};
}

static struct gpu_cost cost_phi3_append(const void *parameters, struct gpu_extent x) {
  const struct phi3_append *p = parameters;
  (void)x;
  return (struct gpu_cost){.bytes = 8.0 * p->rows * p->kv_heads * p->head_dim};
}

static struct gpu_cost cost_phi3_copy_page(const void *parameters, struct gpu_extent x) {
  const struct phi3_copy_page *p = parameters;
  (void)x;
  return (struct gpu_cost){.bytes = 8.0 * (double)p->page_halfs}; // keys and values, read and written; of one layer
}

static struct gpu_cost cost_phi3_unpack(const void *parameters, struct gpu_extent x) {
  const struct phi3_unpack *p = parameters;
  (void)x;
  return (struct gpu_cost){.bytes = 4.0 * p->w.tiles * PHI3_TILE_ROWS * p->w.groups * PHI3_GROUP_K};
}

// Sums that are there already are read instead of weights and rows. Else the weights once; the rows once, as fp32 where the kernel norms them; the outputs, read too where they are added to.
static struct gpu_cost cost_phi3_linear(const void *parameters, struct gpu_extent x) {
  const struct phi3_linear *p = parameters;
  double k = (double)p->w.groups * PHI3_GROUP_K, packed = (double)p->w.tiles * PHI3_TILE_ROWS, rows = p->rows;
  double in = p->residual ? 4 * rows * p->hidden + 4.0 * p->hidden : 2 * rows * k;
  double out = p->parts ? 2 * rows * packed : p->half_out ? 2 * rows * p->features : 4 * rows * p->features;
  (void)x;
  if (p->sums) return (struct gpu_cost){4 * rows * packed + out, 0};
  return (struct gpu_cost){2 * packed * k + in + out, 2 * packed * k * rows};
}

static struct gpu_cost cost_phi3_attention(const void *parameters, struct gpu_extent x) {
  const struct phi3_attention *p = parameters;
  double vectors = 4.0 * p->rows * p->heads * p->head_dim; // queries and outputs
  return (struct gpu_cost){vectors + 4.0 * (double)x.keys * p->kv_heads * p->head_dim, 4.0 * (double)x.pairs * p->heads * p->head_dim};
}

static struct gpu_cost cost_phi3_sample(const void *parameters, struct gpu_extent x) {
  const struct phi3_sample *p = parameters;
  (void)x;
  return (struct gpu_cost){.bytes = 4.0 * p->rows * p->vocab};
}

const struct gpu_kernel_info gpu_registry[KERNEL_COUNT] = {
#define INFO(name, parameters, threads, registers) {"phi3_" #name, "struct " #parameters, sizeof(struct parameters), threads, registers, cost_##parameters},
    PHI3_KERNELS(INFO)
#undef INFO
};

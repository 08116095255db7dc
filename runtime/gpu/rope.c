// cos and sin of every position, in the layout of struct phi3_linear: [sets][positions][rotary_dim / 2][2], fp32. The angles are those of
// runtime/cpu/rope.c: Hugging Face's own fp32 roundings.
#include "runtime/gpu/gpu.h"
#include "runtime/base/mem.h"
#include "runtime/rope.h"

static int32_t sets_of(const struct config *c) { return c->rope == ROPE_LONGROPE ? 2 : 1; }

size_t gpu_rope_bytes(const struct config *c, int32_t positions) { return (size_t)sets_of(c) * (size_t)positions * (size_t)c->rotary_dim * sizeof(float); }

bool gpu_load_rope(struct gpu *g, struct err *e) {
  const struct config *c = &g->base.model->config;
  size_t bytes = gpu_rope_bytes(c, g->rope_positions);
  g->rope = gpu_carve(&g->scratch, bytes);
  float *table = mem_alloc(bytes, 1, "the rotation table", e);
  if (!table) return false;
  float *at = table;
  for (int32_t set = 0; set < sets_of(c); set++)
    for (int32_t p = 0; p < g->rope_positions; p++, at += c->rotary_dim) rope_pairs_f32(c, set == 1, p, at);
  bool ok = cuda_check(&g->cuda, g->cuda.to_device(g->rope, table, bytes), "sending the rotation table", e);
  mem_free(table);
  return ok;
}

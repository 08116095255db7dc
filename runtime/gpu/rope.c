// cos and sin of every position, in the layout of struct phi3_linear: [sets][positions][rotary_dim / 2][2], fp32.
#include "runtime/gpu/gpu.h"
#include "runtime/base/mem.h"
#include "runtime/model/rope.h"

static int32_t sets_of(const struct config *c) { return c->rope == ROPE_LONGROPE ? 2 : 1; }

size_t gpu_rope_bytes(const struct config *c, int32_t positions) { return (size_t)sets_of(c) * (size_t)positions * (size_t)c->rotary_dim * sizeof(float); }

static void fill(const struct config *c, int32_t positions, float *table) {
  double inv_freq[CONFIG_MAX_HEAD_DIM / 2], cosines[CONFIG_MAX_HEAD_DIM / 2], sines[CONFIG_MAX_HEAD_DIM / 2];
  for (int32_t set = 0; set < sets_of(c); set++) {
    rope_inv_freq(c, false, set == 1, inv_freq);
    for (int32_t p = 0; p < positions; p++) {
      rope_cos_sin(c, false, inv_freq, p, cosines, sines);
      for (int32_t i = 0; i < c->rotary_dim / 2; i++) {
        *table++ = (float)cosines[i]; // exact
        *table++ = (float)sines[i];
      }
    }
  }
}

bool gpu_load_rope(struct gpu *g, struct err *e) {
  const struct config *c = &g->base.model->config;
  size_t bytes = gpu_rope_bytes(c, g->max_positions);
  float *table = mem_alloc(bytes, 1, "the rotation table", e);
  if (!table) return false;
  fill(c, g->max_positions, table);
  bool ok = cuda_check(&g->d.cuda, g->d.cuda.to_device(g->rope, table, bytes), "sending the rotation table", e);
  mem_free(table);
  return ok;
}

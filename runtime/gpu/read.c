// A stage of the last step, from the device to the host as fp32.
#include "runtime/gpu/gpu.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"

static bool read_f32(struct gpu *g, cu_pointer from, int64_t count, float *dst, struct err *e) {
  return cuda_check(&g->d.cuda, g->d.cuda.to_host(dst, from, (size_t)count * sizeof *dst), "reading a stage", e);
}

// Rows of `width` halfs, `ld` apart.
static bool read_f16(struct gpu *g, cu_pointer from, int64_t rows, int64_t width, int64_t ld, float *dst, struct err *e) {
  uint16_t *halfs = mem_alloc((size_t)(rows * ld), sizeof *halfs, "a stage", e);
  if (!halfs) return false;
  bool ok = cuda_check(&g->d.cuda, g->d.cuda.to_host(halfs, from, (size_t)(rows * ld) * sizeof *halfs), "reading a stage", e);
  for (int64_t r = 0; r < rows && ok; r++)
    for (int64_t i = 0; i < width; i++) dst[r * width + i] = f16_to_f32(halfs[r * ld + i]);
  mem_free(halfs);
  return ok;
}

bool gpu_read(struct backend *b, const struct step *s, enum stage stage, float *dst, struct err *e) {
  struct gpu *g = gpu_of(b);
  const struct config *c = &b->model->config;
  int64_t heads = (int64_t)c->num_heads * c->head_dim;
  // A decode kernel may have normed the rows itself; the residual stream is still there.
  if (stage == STAGE_NORM && !gpu_norm_logit_rows(g, s, e)) return false;
  if (!gpu_wait(&g->d, "computing the step", e)) return false;
  switch (stage) {
  case STAGE_HIDDEN: return read_f32(g, g->x, (int64_t)s->num_rows * c->hidden_size, dst, e);
  case STAGE_QUERY: return read_f16(g, g->q, s->num_rows, heads, g->heads_ld, dst, e);
  case STAGE_MIXED: return read_f16(g, g->mixed, s->num_rows, heads, g->heads_ld, dst, e);
  case STAGE_MLP: return read_f16(g, g->mlp, s->num_rows, c->intermediate_size, g->mlp_ld, dst, e);
  case STAGE_NORM: return read_f16(g, g->normed, s->num_logits, c->hidden_size, g->hidden_ld, dst, e);
  case STAGE_LOGITS: return read_f32(g, g->logits, (int64_t)s->num_logits * c->vocab_size, dst, e);
  }
  return err_set(e, "there is no stage %d to read", (int)stage);
}

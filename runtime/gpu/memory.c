#include "runtime/gpu/gpu.h"

enum { ALIGN = 256 };

bool gpu_slab_open(struct gpu *g, struct gpu_slab *s, size_t bytes, const char *what, struct err *e) {
  *s = (struct gpu_slab){0};
  if (!cuda_check(&g->d.cuda, g->d.cuda.mem_alloc(&s->base, bytes ? bytes : ALIGN), what, e)) return false;
  s->size = bytes;
  return true;
}

void gpu_slab_close(struct gpu *g, struct gpu_slab *s) {
  if (s->base) g->d.cuda.mem_free(s->base);
  *s = (struct gpu_slab){0};
}

cu_pointer gpu_carve(struct gpu_slab *s, size_t bytes) {
  cu_pointer p = s->base + s->used;
  s->used += (bytes + ALIGN - 1) / ALIGN * ALIGN;
  return p;
}

#include "runtime/gpu/gpu.h"

enum { ALIGN = 256 };

static size_t rounded(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

bool gpu_slab_open(struct gpu *g, struct gpu_slab *s, size_t bytes, const char *what, struct err *e) {
  *s = (struct gpu_slab){0};
  size_t free_bytes, total;
  if (!cuda_check(&g->cuda, g->cuda.mem_info(&free_bytes, &total), "asking for the device's memory", e)) return false;
  if (bytes > free_bytes) {
    err_set(e, "the device has %.2f GB free and %s take %.2f GB, %.2f GB more; use a shorter context (--max-tokens) or a smaller model",
            (double)free_bytes * 1e-9, what, (double)bytes * 1e-9, (double)(bytes - free_bytes) * 1e-9);
    e->no_memory = true;
    return false;
  }
  if (!cuda_check(&g->cuda, g->cuda.mem_alloc(&s->base, bytes), what, e)) return false;
  s->size = bytes;
  return true;
}

void gpu_slab_close(struct gpu *g, struct gpu_slab *s) {
  if (s->base) g->cuda.mem_free(s->base);
  *s = (struct gpu_slab){0};
}

cu_pointer gpu_carve(struct gpu_slab *s, size_t bytes) {
  cu_pointer p = s->base + s->used;
  s->used += rounded(bytes);
  return p;
}

#include "runtime/vgpu/t4_trace.h"
#include <stdlib.h>

// Room for one more in a growing array.
static bool grow(void **p, uint32_t num, uint32_t *cap, size_t size) {
  if (num < *cap) return true;
  uint32_t want = *cap ? *cap * 2 : 16;
  if (want <= *cap) return false;
  void *q = realloc(*p, want * size);
  if (!q) return false;
  *p = q, *cap = want;
  return true;
}

bool t4_trace_visit(struct t4_warp_trace *w, uint32_t pc, bool new_run) {
  w->instructions++;
  if (!new_run && w->num_visits) {
    w->visits[w->num_visits - 1].num++;
    return true;
  }
  if (!grow((void **)&w->visits, w->num_visits, &w->cap_visits, sizeof *w->visits)) return false;
  w->visits[w->num_visits++] = (struct t4_visit){pc, 1, w->num_accesses};
  return true;
}

struct t4_access *t4_trace_access(struct t4_warp_trace *w) {
  if (!grow((void **)&w->accesses, w->num_accesses, &w->cap_accesses, sizeof *w->accesses)) return NULL;
  struct t4_access *a = &w->accesses[w->num_accesses++];
  *a = (struct t4_access){.run = w->num_runs};
  return a;
}

bool t4_trace_sector(struct t4_warp_trace *w, struct t4_access *a, uint64_t sector, uint32_t mask, unsigned repeat) {
  if (a->num_runs) {
    struct t4_run *r = &w->runs[w->num_runs - 1];
    if (r->sector + r->count == (uint32_t)sector && r->repeat == repeat && r->mask == mask && r->count < UINT16_MAX) {
      r->count++;
      return true;
    }
  }
  if (!grow((void **)&w->runs, w->num_runs, &w->cap_runs, sizeof *w->runs)) return false;
  w->runs[w->num_runs++] = (struct t4_run){(uint32_t)sector, 1, (uint16_t)repeat, mask};
  a->num_runs++;
  return true;
}

size_t t4_trace_bytes(const struct t4_block_trace *b) {
  size_t n = 0;
  for (uint32_t i = 0; b->warps && i < b->num_warps; i++) {
    const struct t4_warp_trace *w = &b->warps[i];
    n += sizeof *w + w->cap_visits * sizeof *w->visits + w->cap_accesses * sizeof *w->accesses +
         w->cap_runs * sizeof *w->runs;
  }
  return n;
}

uint64_t t4_trace_instructions(const struct t4_block_trace *b) {
  uint64_t n = 0;
  for (uint32_t i = 0; b->warps && i < b->num_warps; i++) n += b->warps[i].instructions;
  return n;
}

void t4_block_trace_free(struct t4_block_trace *b) {
  for (uint32_t i = 0; b->warps && i < b->num_warps; i++) {
    free(b->warps[i].visits);
    free(b->warps[i].accesses);
    free(b->warps[i].runs);
  }
  free(b->warps);
  b->warps = NULL;
  b->num_warps = 0;
}

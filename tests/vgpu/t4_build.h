// Small programs and their traces made by hand, for tests of the timing model.
#ifndef TESTS_VGPU_T4_BUILD_H
#define TESTS_VGPU_T4_BUILD_H

#include "runtime/vgpu/t4.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct program {
  struct t4_code code;
  struct t4_trace trace;
  struct t4_warp_trace *warp; // the one being written
};

static inline void *must(void *p) {
  if (!p) abort();
  return p;
}

// Appends an instruction; registers follow, destinations first.
static inline void emit(struct program *p, enum t4_kind kind, struct t4_timing t, int num_dst, int num_src, ...) {
  struct t4_code *c = &p->code;
  c->ops = must(realloc(c->ops, (c->num_ops + 1) * sizeof *c->ops));
  struct t4_op *op = &c->ops[c->num_ops++];
  *op = (struct t4_op){.unit = t.unit, .kind = (uint8_t)kind, .num_dst = (uint8_t)num_dst, .num_src = (uint8_t)num_src,
                       .latency = t.latency, .interval = t.interval, .slots = c->num_list};
  op->traced = kind == T4_BARRIER || (kind >= T4_SHARED_LOAD && kind <= T4_GLOBAL_ATOM);
  c->slots = must(realloc(c->slots, (c->num_list + 16) * sizeof *c->slots));
  va_list ap;
  va_start(ap, num_src);
  for (int i = 0; i < num_dst + num_src; i++) {
    unsigned r = va_arg(ap, unsigned);
    c->slots[c->num_list++] = (uint16_t)r;
    if (r >= c->num_slots) c->num_slots = r + 1;
  }
  va_end(ap);
}

#define T_INT t4_timing_of(VGPU_CLASS_INT)
#define T_FP t4_timing_of(VGPU_CLASS_FP32)
#define T_SFU t4_timing_of(VGPU_CLASS_SFU)
#define T_MEM t4_timing_of(VGPU_CLASS_LOAD)
#define T_BRA t4_timing_of(VGPU_CLASS_BRANCH)
#define T_BAR t4_timing_of(VGPU_CLASS_BAR)
#define T_EXIT t4_timing_of(VGPU_CLASS_EXIT)

// Cuts the program into basic blocks and schedules them.
static inline void finish(struct program *p) {
  struct t4_code *c = &p->code;
  c->blocks = must(calloc(c->num_ops, sizeof *c->blocks));
  c->order = must(calloc(c->num_ops, sizeof *c->order));
  for (uint32_t i = 0; i < c->num_ops; i++) {
    if (!i || c->ops[i - 1].kind >= T4_BARRIER) c->blocks[c->num_blocks++] = (struct t4_block){.first = i, .order = i};
    struct t4_block *b = &c->blocks[c->num_blocks - 1];
    c->ops[i].block = c->num_blocks - 1;
    c->ops[i].mem_ordinal = b->num ? (uint16_t)(c->ops[i - 1].mem_ordinal + c->ops[i - 1].traced) : 0;
    b->num++;
    c->order[i] = i;
  }
  if (!t4_schedule(c)) abort();
}

static inline void grid(struct program *p, uint64_t blocks, uint32_t warps) {
  p->trace.num_blocks = p->trace.num_traced = blocks;
  p->trace.blocks = must(calloc(blocks, sizeof *p->trace.blocks));
  for (uint64_t i = 0; i < blocks; i++) {
    p->trace.blocks[i].num_warps = warps;
    p->trace.blocks[i].warps = must(calloc(warps, sizeof(struct t4_warp_trace)));
  }
}

static inline void on(struct program *p, uint64_t block, uint32_t warp) { p->warp = &p->trace.blocks[block].warps[warp]; }

// The warp runs num instructions from pc on.
static inline void visit(struct program *p, uint32_t pc, uint32_t num) {
  for (uint32_t i = 0; i < num; i++)
    if (!t4_trace_visit(p->warp, pc + i, !i)) abort();
}

// The access of the next traced instruction: n sectors from a byte address on, each requested repeat times.
static inline void touch(struct program *p, uint64_t address, unsigned n, unsigned step, unsigned repeat, uint32_t mask) {
  struct t4_access *a = must(t4_trace_access(p->warp));
  for (unsigned i = 0; i < n; i++)
    if (!t4_trace_sector(p->warp, a, address / 32 + (uint64_t)i * step, mask, repeat)) abort();
}

static inline void shared(struct program *p, unsigned wavefronts) {
  struct t4_access *a = must(t4_trace_access(p->warp));
  a->cost = (uint16_t)wavefronts;
}

static inline void barrier(struct program *p) {
  struct t4_access *a = must(t4_trace_access(p->warp));
  a->waits = 1;
}

static inline void release(struct program *p) {
  for (uint64_t i = 0; i < p->trace.num_blocks; i++) t4_block_trace_free(&p->trace.blocks[i]);
  free(p->trace.blocks);
  t4_code_free(&p->code);
  memset(p, 0, sizeof *p);
}

#endif

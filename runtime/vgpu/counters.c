#include "runtime/vgpu/counters.h"
#include "runtime/vgpu/t4_code.h"
#include "runtime/vgpu/t4_trace.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WARPS = 32 };

struct vgpu_counters {
  struct vgpu_observer observer;
  const struct vgpu_code *code;
  struct vgpu_counts counts;
  struct t4_code t4;
  struct t4_trace trace;
  bool tracing;
  uint64_t trace_limit; // blocks from this number on are not kept
  struct vgpu_sample sample;
  size_t bytes;
  uint64_t traced;      // warp instructions
  uint64_t origin;      // sector that device memory is counted from
  pthread_mutex_t lock; // of all above that blocks change
};

// One block while it runs.
struct block {
  struct vgpu_counters *c;
  uint64_t number;
  unsigned num_warps;
  struct vgpu_counts counts;
  struct t4_block_trace trace;
  bool tracing;
  uint32_t last_pc[MAX_WARPS], last_active[MAX_WARPS];
};

static void *block_begin(void *ctx, unsigned worker, uint64_t number, unsigned num_warps) {
  (void)worker;
  struct vgpu_counters *c = ctx;
  struct block *b = calloc(1, sizeof *b);
  if (!b) return NULL;
  b->c = c, b->number = number, b->num_warps = num_warps;
  pthread_mutex_lock(&c->lock);
  b->tracing = c->tracing && number < c->trace_limit && num_warps <= MAX_WARPS;
  pthread_mutex_unlock(&c->lock);
  b->trace.num_warps = num_warps;
  if (b->tracing) b->trace.warps = calloc(num_warps, sizeof *b->trace.warps);
  if (!b->trace.warps) b->tracing = false;
  memset(b->last_pc, 0xff, sizeof b->last_pc);
  return b;
}

// What of an instruction's accesses goes to global memory (or to local memory, which lies there).
static void count_global(struct block *b, struct t4_warp_trace *w, struct t4_access *a, enum vgpu_class cls, bool local,
                         uint32_t mask, const uint64_t *addr, unsigned bytes) {
  uint64_t sectors[VGPU_MAX_SECTORS];
  uint32_t extra[VGPU_MAX_SECTORS];
  struct vgpu_counts *k = &b->counts;
  bool atomic = cls == VGPU_CLASS_ATOM || cls == VGPU_CLASS_RED, store = cls == VGPU_CLASS_STORE;
  unsigned n = atomic ? vgpu_atomic_transactions(mask, addr, bytes, sectors, extra)
                      : vgpu_sectors(mask, addr, bytes, sectors, extra);
  unsigned lanes = (unsigned)__builtin_popcount(mask), ideal = (lanes * bytes + 31) / 32;
  if (atomic) {
    k->atomic_requests++;
    k->atomic_lanes += lanes;
    for (unsigned i = 0; i < n; i++) k->atomic_transactions += extra[i];
  } else if (local) {
    k->local_requests[store]++;
    k->local_sectors[store] += n;
  } else {
    k->global_requests[store]++;
    k->global_sectors[store] += n;
    k->global_ideal[store] += ideal < n ? ideal : n;
  }
  uint64_t origin = local ? 0 : b->c->origin;
  for (unsigned i = 0; a && i < n; i++)
    if (!t4_trace_sector(w, a, sectors[i] - origin, atomic ? UINT32_MAX : store ? extra[i] : 0, atomic ? extra[i] : 1)) {
      b->tracing = false;
      return;
    }
}

// Local memory is interleaved by 4-byte words, so that lanes at the same offset lie side by side. It gets addresses of its own,
// above all of device memory, reused by later blocks as the hardware does.
static void local_addresses(const struct block *b, unsigned warp, uint32_t mask, const uint64_t *addr, uint64_t *out) {
  uint64_t place = (b->number % 640 * MAX_WARPS + warp) << 20; // 32 KiB a thread before places overlap
  for (unsigned i = 0; i < 32; i++)
    out[i] = mask >> i & 1 ? (UINT64_C(1) << 36) + place + (addr[i] / 4 * 32 + i) * 4 + addr[i] % 4 : 0;
}

static void count_local(struct block *b, struct t4_warp_trace *w, struct t4_access *a, const struct vgpu_ins *d,
                        unsigned warp, uint32_t mask, const uint64_t *addr, unsigned bytes) {
  uint64_t moved[32], at[32];
  for (unsigned done = 0; done < bytes; done += 4) {
    unsigned take = bytes - done < 4 ? bytes - done : 4;
    for (unsigned i = 0; i < 32; i++) at[i] = addr[i] + done;
    local_addresses(b, warp, mask, at, moved);
    count_global(b, w, a, (enum vgpu_class)d->cls, true, mask, moved, take);
  }
}

static unsigned matrices_of(const struct vgpu_code *code, uint32_t pc) {
  const struct ptx_ins *p = code->meta[pc].ptx;
  for (int i = 0; p && i < p->num_mods; i++)
    if (p->mod[i][0] == 'x' && p->mod[i][1] >= '1' && p->mod[i][1] <= '4') return (unsigned)(p->mod[i][1] - '0');
  return 1;
}

static void count_shared(struct block *b, struct t4_access *a, const struct vgpu_ins *d, uint32_t pc, uint32_t mask,
                         const uint64_t *addr, unsigned bytes) {
  struct vgpu_counts *k = &b->counts;
  bool store = d->cls == VGPU_CLASS_STORE, atomic = d->cls == VGPU_CLASS_ATOM || d->cls == VGPU_CLASS_RED;
  unsigned passes, ideal;
  if (d->cls == VGPU_CLASS_LDMATRIX) {
    unsigned n = matrices_of(b->c->code, pc);
    passes = vgpu_ldmatrix_wavefronts(mask, addr, n);
    ideal = n;
  } else if (atomic) { // lanes that update one word take turns
    uint64_t sectors[VGPU_MAX_SECTORS];
    uint32_t repeat[VGPU_MAX_SECTORS];
    unsigned n = vgpu_atomic_transactions(mask, addr, bytes, sectors, repeat), most = 1;
    for (unsigned i = 0; i < n; i++)
      if (repeat[i] > most) most = repeat[i];
    passes = vgpu_shared_wavefronts(mask, addr, bytes) * most;
    ideal = 1;
    k->shared_atomics++;
  } else {
    passes = vgpu_shared_wavefronts(mask, addr, bytes);
    ideal = vgpu_shared_ideal(mask, addr, bytes);
  }
  k->shared_requests[store]++;
  k->shared_wavefronts[store] += passes;
  k->shared_ideal[store] += ideal < passes ? ideal : passes;
  if (a) a->cost = (uint16_t)passes;
}

static void count_memory(struct block *b, unsigned warp, uint32_t pc, uint32_t mask, enum vgpu_space space,
                         const uint64_t *addr, struct t4_access *a) {
  const struct vgpu_ins *d = &b->c->code->ins[pc];
  struct t4_warp_trace *w = b->tracing ? &b->trace.warps[warp] : NULL;
  unsigned bytes = d->width * (d->vec ? d->vec : 1u);
  if (a) a->space = (uint8_t)space;
  if (!mask || !addr) return;
  if (space == VGPU_SPACE_SHARED) count_shared(b, a, d, pc, mask, addr, bytes);
  else if (space == VGPU_SPACE_LOCAL) count_local(b, w, a, d, warp, mask, addr, bytes);
  else if (space == VGPU_SPACE_GLOBAL && d->cls != VGPU_CLASS_PREFETCH)
    count_global(b, w, a, (enum vgpu_class)d->cls, false, mask, addr, bytes);
}

// Multiply-adds of an mma, from its shape.
static uint64_t mma_fma(const struct vgpu_code *code, uint32_t pc) {
  const struct ptx_ins *p = code->meta[pc].ptx;
  for (int i = 0; p && i < p->num_mods; i++) {
    unsigned m, n, k;
    char *e = (char *)p->mod[i];
    if (*e != 'm') continue;
    m = (unsigned)strtoul(e + 1, &e, 10);
    n = *e == 'n' ? (unsigned)strtoul(e + 1, &e, 10) : 0;
    k = *e == 'k' ? (unsigned)strtoul(e + 1, &e, 10) : 0;
    if (m && n && k) return (uint64_t)m * n * k;
  }
  return 0;
}

static bool is_memory(enum vgpu_class c) { return c >= VGPU_CLASS_LOAD && c <= VGPU_CLASS_PREFETCH; }

// The trace's part of an instruction; its access record, if it has one.
static struct t4_access *trace(struct block *b, unsigned warp, uint32_t pc, uint32_t active, const uint64_t *addr) {
  struct t4_warp_trace *w = &b->trace.warps[warp];
  const struct t4_op *ops = b->c->t4.ops;
  bool fresh = pc != b->last_pc[warp] + 1 || active != b->last_active[warp] || ops[pc].block != ops[pc - 1].block;
  b->last_pc[warp] = pc, b->last_active[warp] = active;
  struct t4_access *a = NULL;
  bool ok = t4_trace_visit(w, pc, fresh);
  if (ok && ops[pc].traced) ok = (a = t4_trace_access(w)) != NULL;
  if (!ok) b->tracing = false;
  if (a && ops[pc].kind == T4_BARRIER) {
    const struct ptx_ins *p = b->c->code->meta[pc].ptx;
    bool arrive = false;
    for (int i = 0; p && i < p->num_mods; i++) arrive = arrive || !strcmp(p->mod[i], "arrive");
    a->barrier = addr ? (uint8_t)addr[0] : 0;
    a->cost = addr ? (uint16_t)addr[1] : 0;
    a->waits = !arrive;
  }
  return a;
}

static void issue(void *block, unsigned warp, uint32_t pc, uint32_t active, uint32_t mask, enum vgpu_space space,
                  const uint64_t *addr) {
  struct block *b = block;
  if (!b || warp >= MAX_WARPS) return;
  const struct vgpu_ins *d = &b->c->code->ins[pc];
  struct vgpu_counts *k = &b->counts;
  unsigned lanes = (unsigned)__builtin_popcount(mask);
  struct t4_access *a = b->tracing ? trace(b, warp, pc, active, addr) : NULL;
  if (d->flags & VGPU_INS_FREE) return;
  k->warp_instructions++;
  k->by_class[d->cls]++;
  if (d->cls == VGPU_CLASS_BRANCH) {
    lanes = (unsigned)__builtin_popcount(active);
    k->branches++;
    k->divergent_branches += mask && mask != active;
  }
  k->lane_instructions += lanes;
  if (is_memory((enum vgpu_class)d->cls)) count_memory(b, warp, pc, mask, space, addr, b->tracing ? a : NULL);
  else if (d->cls == VGPU_CLASS_SFU) k->sfu_lanes += lanes;
  else if (d->cls == VGPU_CLASS_TENSOR) k->tensor_fma += mask ? mma_fma(b->c->code, pc) : 0;
  else if (d->cls == VGPU_CLASS_BAR) k->barriers++;
}

static void add_counts(struct vgpu_counts *sum, const struct vgpu_counts *one) {
  uint64_t *to = (uint64_t *)sum;
  const uint64_t *from = (const uint64_t *)one;
  for (size_t i = 0; i < sizeof *sum / sizeof *to; i++) to[i] += from[i];
}

// Fewer waves tell too little of the pace: a row kernel of 2.6 waves was 7 % off by the first 1.6.
#define LEAST_WAVES 3

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

// Up to `most` of the grid's blocks, whole waves of which are left out; `most` itself where that would leave no more than one.
static uint64_t sample_blocks(const struct vgpu_counters *c, uint64_t most) {
  uint64_t all = c->trace.num_blocks, wave = c->sample.wave ? c->sample.wave : 1;
  if (most >= all) return all;
  uint64_t without = (all - most + wave - 1) / wave * wave;
  return without + wave < all ? all - without : most;
}

// Keeps the trace within its bytes and its time: a quarter or so of the block numbers goes, from above.
static void shrink(struct vgpu_counters *c) {
  while ((c->bytes > c->sample.bytes || c->traced > c->sample.instructions) && c->trace_limit > 1) {
    uint64_t limit = sample_blocks(c, c->trace_limit - (c->trace_limit + 3) / 4);
    for (uint64_t i = limit; i < c->trace_limit; i++) {
      c->bytes -= t4_trace_bytes(&c->trace.blocks[i]);
      c->traced -= t4_trace_instructions(&c->trace.blocks[i]);
      t4_block_trace_free(&c->trace.blocks[i]);
    }
    c->trace_limit = c->trace.num_traced = limit;
  }
}

static void block_end(void *block) {
  struct block *b = block;
  if (!b) return;
  struct vgpu_counters *c = b->c;
  b->counts.blocks = 1;
  b->counts.warps = b->num_warps;
  pthread_mutex_lock(&c->lock);
  add_counts(&c->counts, &b->counts);
  if (b->tracing && b->number < c->trace_limit) {
    c->trace.blocks[b->number] = b->trace;
    c->bytes += t4_trace_bytes(&b->trace);
    c->traced += t4_trace_instructions(&b->trace);
    b->trace.warps = NULL;
    shrink(c);
  }
  pthread_mutex_unlock(&c->lock);
  t4_block_trace_free(&b->trace);
  free(b);
}

struct vgpu_counters *vgpu_counters_open(const struct vgpu_code *code, const struct vgpu_func *kernel, uint64_t num_blocks,
                                         const struct vgpu_sample *sample, uint64_t origin) {
  struct vgpu_counters *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->code = code;
  c->observer = (struct vgpu_observer){c, block_begin, issue, block_end};
  c->origin = origin / 32;
  pthread_mutex_init(&c->lock, NULL);
  if (sample && t4_code_build(&c->t4, code, kernel)) {
    c->sample = *sample;
    c->trace.num_blocks = num_blocks;
    uint64_t most = sample_blocks(c, sample->blocks ? larger(sample->blocks, LEAST_WAVES * sample->wave) : UINT64_C(1) << 20);
    c->trace_limit = c->trace.num_traced = most;
    c->trace.blocks = calloc(most, sizeof *c->trace.blocks);
    c->tracing = c->trace.blocks != NULL;
  }
  return c;
}

void vgpu_counters_close(struct vgpu_counters *c) {
  if (!c) return;
  for (uint64_t i = 0; c->trace.blocks && i < c->trace_limit; i++) t4_block_trace_free(&c->trace.blocks[i]);
  free(c->trace.blocks);
  t4_code_free(&c->t4);
  pthread_mutex_destroy(&c->lock);
  free(c);
}

const struct vgpu_observer *vgpu_counters_observer(struct vgpu_counters *c) { return &c->observer; }
const struct vgpu_counts *vgpu_counters_get(const struct vgpu_counters *c) { return &c->counts; }
const struct t4_trace *vgpu_counters_trace(const struct vgpu_counters *c) { return c->tracing ? &c->trace : NULL; }
const struct t4_code *vgpu_counters_code(const struct vgpu_counters *c) { return &c->t4; }

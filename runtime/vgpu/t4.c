#include "runtime/vgpu/t4.h"
#include "runtime/vgpu/t4_sm.h"
#include <stdlib.h>
#include <string.h>

const char *const t4_limit_name[T4_NUM_LIMITS] = {"dram", "l2",   "shared", "lsu",    "issue",  "fp32",
                                                  "int",  "sfu", "fp64",   "tensor", "atomic", "latency"};

static unsigned round_up(unsigned a, unsigned to) { return (a + to - 1) / to * to; }

struct t4_occupancy t4_occupancy_of(const struct t4_table *t, unsigned threads, unsigned registers, unsigned shared) {
  unsigned warps = threads ? (threads + 31) / 32 : 1;
  unsigned per_warp = round_up((registers ? registers : 1) * 32, t->register_unit);
  unsigned by_threads = t->max_warps / warps;
  // Each scheduler has a quarter of the registers, and a block's warps are dealt to all four.
  unsigned by_registers = t->registers / t->schedulers / per_warp * t->schedulers / round_up(warps, t->warp_allocation);
  unsigned by_shared = shared ? t->shared_max / round_up(shared, t->shared_unit) : t->max_blocks;
  struct t4_occupancy o = {by_threads, 0, "threads"};
  if (t->max_blocks < o.blocks) o.blocks = t->max_blocks, o.limited_by = "blocks";
  if (by_registers < o.blocks) o.blocks = by_registers, o.limited_by = "registers";
  if (by_shared < o.blocks) o.blocks = by_shared, o.limited_by = "shared memory";
  o.warps = o.blocks * warps;
  return o;
}

// The whole chip in replay.
struct chip {
  const struct t4_table *t;
  struct t4_mem *mem;
  struct t4_sm **sms;
  struct t4_queue *out, *in;
  uint64_t *next;      // by SM: when it has to be looked at
  const struct t4_trace *trace;
  uint64_t started, count; // blocks
  uint64_t *start;     // by block: the cycle it was started in
  unsigned per_sm;
};

static void chip_close(struct chip *c) {
  for (unsigned i = 0; c->sms && i < c->t->num_sms; i++) t4_sm_close(c->sms[i]);
  free(c->sms);
  free(c->out);
  free(c->in);
  free(c->next);
  free(c->start);
  t4_mem_close(c->mem);
}

static bool chip_open(struct chip *c, const struct t4_launch *l) {
  unsigned n = c->t->num_sms;
  c->mem = t4_mem_open(c->t);
  c->sms = calloc(n, sizeof *c->sms);
  c->out = calloc(n, sizeof *c->out);
  c->in = calloc(n, sizeof *c->in);
  c->next = calloc(n, sizeof *c->next);
  c->start = calloc(c->count, sizeof *c->start);
  bool ok = c->mem && c->sms && c->out && c->in && c->next && c->start;
  // The driver gives shared memory 32 KiB where the resident blocks fit in it, else 64; L1 has the rest.
  unsigned l1 = c->t->l1_shared_total - (l->shared * c->per_sm <= 32768 ? 32768 : 65536);
  for (unsigned i = 0; ok && i < n; i++) {
    c->sms[i] = t4_sm_open(c->t, l->code, c->mem, i, l1);
    c->next[i] = UINT64_MAX;
    ok = c->sms[i] != NULL;
  }
  return ok;
}

// One block a cycle to each SM that has room.
static void start_blocks(struct chip *c, uint64_t now) {
  for (unsigned i = 0; i < c->t->num_sms && c->started < c->count; i++) {
    if (t4_sm_blocks(c->sms[i]) >= c->per_sm) continue;
    c->start[c->started] = now;
    t4_sm_start_block(c->sms[i], &c->trace->blocks[c->started++], now);
    c->next[i] = now;
  }
}

static bool room(const struct chip *c) {
  for (unsigned i = 0; i < c->t->num_sms; i++)
    if (t4_sm_blocks(c->sms[i]) < c->per_sm) return true;
  return false;
}

// Steps all SMs that are due; the next cycle in which any is.
static uint64_t step_sms(struct chip *c, uint64_t now, bool *busy) {
  uint64_t next = UINT64_MAX;
  for (unsigned i = 0; i < c->t->num_sms; i++) {
    if (c->next[i] <= now || c->in[i].head) c->next[i] = t4_sm_step(c->sms[i], now, &c->out[i], &c->in[i]);
    if (c->next[i] < next) next = c->next[i];
    if (c->out[i].head || c->in[i].head) next = now + 1;
    *busy = *busy || t4_sm_blocks(c->sms[i]);
  }
  return next;
}

// Runs all blocks to their end: the cycles that took. 0: it came to a standstill, which a sound trace cannot.
static uint64_t run(struct chip *c) {
  uint64_t now = 0;
  for (;;) {
    bool busy = false;
    if (c->started < c->count) start_blocks(c, now);
    t4_mem_step(c->mem, now, c->out, c->in);
    uint64_t next = step_sms(c, now, &busy);
    if (!busy && c->started == c->count) return now;
    if (c->started < c->count && room(c)) next = now + 1;
    uint64_t memory = t4_mem_next(c->mem, now + 1);
    if (memory < next) next = memory;
    if (next == UINT64_MAX) return 0;
    now = next > now ? next : now + 1;
  }
}

// Sums over the SMs, and what the busiest of them did.
struct totals {
  struct t4_sm_stats sum;
  double busiest[T4_NUM_LIMITS]; // cycles, of one SM
};

static void add_sm(struct totals *x, const struct t4_sm_stats *s, const struct t4_table *t) {
  x->sum.issued += s->issued;
  x->sum.shared_cycles += s->shared_cycles;
  x->sum.shared_extra += s->shared_extra;
  x->sum.resident_warps += s->resident_warps;
  x->sum.active_cycles += s->active_cycles;
  x->sum.l1_accesses += s->l1_accesses;
  x->sum.l1_misses += s->l1_misses;
  for (int u = 0; u < T4_NUM_UNITS; u++) x->sum.unit_busy[u] += s->unit_busy[u];
  double k = t->schedulers, one[T4_NUM_LIMITS] = {0};
  one[T4_LIMIT_ISSUE] = (double)s->issued / k;
  one[T4_LIMIT_FP32] = (double)s->unit_busy[T4_FP] / k;
  one[T4_LIMIT_INT] = (double)s->unit_busy[T4_INT] / k;
  one[T4_LIMIT_SFU] = (double)s->unit_busy[T4_SFU] / k;
  one[T4_LIMIT_FP64] = (double)s->unit_busy[T4_DP] / k;
  one[T4_LIMIT_TENSOR] = (double)s->unit_busy[T4_TENSOR] / k;
  one[T4_LIMIT_SHARED] = (double)s->shared_cycles;
  one[T4_LIMIT_LSU] = (double)(s->unit_busy[T4_MEM] - s->shared_cycles);
  for (int i = 0; i < T4_NUM_LIMITS; i++)
    if (one[i] > x->busiest[i]) x->busiest[i] = one[i];
}

// Cycles that each ceiling alone asks for, all SMs sharing the work evenly.
static void limit_cycles(const struct t4_table *t, const struct totals *x, const struct t4_mem_stats *m, double *cycles) {
  double n = t->num_sms, k = n * t->schedulers;
  double sectors = (double)(m->dram_read_sectors + m->dram_write_sectors);
  cycles[T4_LIMIT_DRAM] = sectors * t->burst / t->channels * t->clock_mhz / t->dram_mhz;
  cycles[T4_LIMIT_L2] = (double)m->l2_accesses / t->slices;
  cycles[T4_LIMIT_ATOMIC] = (double)m->busiest_atomics;
  cycles[T4_LIMIT_SHARED] = (double)x->sum.shared_cycles / n;
  cycles[T4_LIMIT_LSU] = (double)(x->sum.unit_busy[T4_MEM] - x->sum.shared_cycles) / n;
  cycles[T4_LIMIT_ISSUE] = (double)x->sum.issued / k;
  cycles[T4_LIMIT_FP32] = (double)x->sum.unit_busy[T4_FP] / k;
  cycles[T4_LIMIT_INT] = (double)x->sum.unit_busy[T4_INT] / k;
  cycles[T4_LIMIT_SFU] = (double)x->sum.unit_busy[T4_SFU] / k;
  cycles[T4_LIMIT_FP64] = (double)x->sum.unit_busy[T4_DP] / k;
  cycles[T4_LIMIT_TENSOR] = (double)x->sum.unit_busy[T4_TENSOR] / k;
}

// A ceiling that is in use for this share of the time is the bound; with none, what counts is how long things take.
#define BOUND_SHARE 0.5
// Conflicts of shared memory this near to the largest ceiling come first: they hold up the same unit that has to send the loads
// and stores which would fill the other.
#define CONFLICT_SHARE 0.8

static enum t4_limit largest(const double *cycles, double total, double *share) {
  enum t4_limit best = T4_LIMIT_DRAM;
  for (int i = 0; i < T4_LIMIT_LATENCY; i++)
    if (cycles[i] > cycles[best]) best = (enum t4_limit)i;
  *share = total > 0 ? cycles[best] / total : 0;
  return best;
}

// The next ceiling, when it is nearly as high as the bound's.
static enum t4_limit second(const double *cycles, enum t4_limit bound) {
  enum t4_limit best = bound;
  for (int i = 0; i < T4_LIMIT_LATENCY; i++)
    if (i != (int)bound && cycles[i] >= CONFLICT_SHARE * cycles[bound] && (best == bound || cycles[i] > cycles[best])) best = (enum t4_limit)i;
  return best;
}

// The bound: the ceiling the chip as a whole runs at; else the one its busiest SM runs at (a last partial wave, a small grid);
// else latency.
static void find_bound(struct t4_estimate *e, const double *cycles, const struct totals *x, double replayed) {
  e->bound = largest(cycles, replayed, &e->share);
  bool conflicts = x->sum.shared_extra * 2 > x->sum.shared_cycles;
  if (conflicts && cycles[T4_LIMIT_SHARED] >= CONFLICT_SHARE * cycles[e->bound] &&
      cycles[T4_LIMIT_SHARED] >= BOUND_SHARE * replayed) {
    e->bound = T4_LIMIT_SHARED;
    e->share = cycles[T4_LIMIT_SHARED] / replayed;
  }
  e->close = second(cycles, e->bound);
  if (e->share >= BOUND_SHARE) return;
  double share;
  e->close = e->bound = largest(x->busiest, replayed, &share);
  if (share >= BOUND_SHARE && e->bound != T4_LIMIT_LSU) {
    e->share = share;
    return;
  }
  e->close = e->bound = T4_LIMIT_LATENCY;
  e->share = 1;
}

// Cycles that a further block adds once the chip is full: whole waves apart, so that a wave's rhythm does not matter; without
// the first wave, which fills the pipelines, where there are enough.
static double pace(const struct chip *c, uint64_t cycles) {
  uint64_t wave = (uint64_t)c->per_sm * c->t->num_sms, last = c->count - 1;
  if (c->count <= wave) return (double)cycles / (double)wave;
  uint64_t waves = last / wave > 1 ? last / wave - 1 : 1;
  return (double)(c->start[last] - c->start[last - waves * wave]) / (double)(waves * wave);
}

// Integer, compare and move instructions are what issuing is about: their pipe counts as it. So does any pipe of arithmetic whose
// instructions run with most lanes idle: both ways of a branch, one after the other.
#define DIVERGENT_LANES 0.7

static void name_bound(struct t4_estimate *e, const double *cycles, const struct totals *x, double replayed, double lanes) {
  find_bound(e, cycles, x, replayed);
  bool pipe = e->bound == T4_LIMIT_FP32 || e->bound == T4_LIMIT_SFU || e->bound == T4_LIMIT_FP64;
  if (e->bound == T4_LIMIT_INT || (pipe && lanes > 0 && lanes < DIVERGENT_LANES)) e->bound = T4_LIMIT_ISSUE;
  if (e->close == T4_LIMIT_INT) e->close = T4_LIMIT_ISSUE;
}

static void fill_estimate(struct t4_estimate *e, const struct t4_table *t, const struct chip *c, const struct totals *x,
                          uint64_t cycles, double lanes) {
  const struct t4_mem_stats *m = t4_mem_stats(c->mem);
  double limit[T4_NUM_LIMITS] = {0}, scale = (double)e->blocks / (double)c->count;
  limit_cycles(t, x, m, limit);
  name_bound(e, limit, x, (double)cycles, lanes);
  e->cycles = (double)cycles + (double)(e->blocks - c->count) * pace(c, cycles);
  e->us = e->cycles / t->clock_mhz;
  for (int i = 0; i < T4_NUM_LIMITS; i++) e->limit_us[i] = limit[i] * scale / t->clock_mhz;
  if (e->bound == T4_LIMIT_LATENCY) e->limit_us[T4_LIMIT_LATENCY] = e->us;
  e->dram_read = (double)m->dram_read_sectors * 32 * scale;
  e->dram_write = (double)m->dram_write_sectors * 32 * scale;
  e->l2_accesses = (double)m->l2_accesses * scale;
  e->l2_misses = (double)m->l2_misses * scale;
  e->l1_accesses = (double)x->sum.l1_accesses * scale;
  e->l1_misses = (double)x->sum.l1_misses * scale;
  e->warps_resident = x->sum.active_cycles ? (double)x->sum.resident_warps / (double)x->sum.active_cycles : 0;
}

bool t4_estimate_launch(const struct t4_table *t, const struct t4_launch *l, struct t4_estimate *e) {
  memset(e, 0, sizeof *e);
  e->occupancy = t4_occupancy_of(t, l->threads, l->registers, l->shared);
  e->blocks = l->trace->num_blocks;
  e->launch_us = t->launch_us;
  struct chip c = {.t = t, .trace = l->trace, .per_sm = e->occupancy.blocks};
  while (c.count < l->trace->num_traced && l->trace->blocks[c.count].warps) c.count++;
  if (!c.count || !c.per_sm) return false;
  e->replayed = c.count;
  e->waves = (double)e->blocks / ((double)c.per_sm * t->num_sms);
  uint64_t cycles = chip_open(&c, l) ? run(&c) : 0;
  struct totals x = {0};
  bool ok = cycles && t4_mem_stats(c.mem);
  for (unsigned i = 0; ok && i < t->num_sms; i++) {
    const struct t4_sm_stats *s = t4_sm_stats(c.sms[i]);
    ok = s != NULL;
    if (ok) add_sm(&x, s, t);
  }
  if (ok) fill_estimate(e, t, &c, &x, cycles, l->lanes);
  chip_close(&c);
  return ok;
}

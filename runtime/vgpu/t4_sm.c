#include "runtime/vgpu/t4_sm.h"
#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX

enum { MAX_WARPS = 32, MAX_BLOCKS = 16, SCHEDULERS = 4, BARRIERS = 16, MEM_SLOTS = 4, MSHR_BUCKETS = 512 };

struct warp {
  const struct t4_warp_trace *trace; // NULL: the place is free
  uint32_t visit, step;   // what it issues next: the step-th instruction of the visit, in scheduled order
  uint32_t pc, num;       // of the visit
  const uint32_t *order;  // scheduled, where the visit is a whole basic block; NULL: as it stands
  uint32_t access;        // of the first access of the visit's block, were it all visited
  const struct t4_op *op; // that, once its registers have been found ready; NULL: not looked at yet
  uint64_t wake;          // not before; NEVER: until memory or a barrier calls
  uint64_t age;
  uint32_t block, pending; // memory instructions under way
  bool ended, at_barrier;
  uint64_t *ready;        // by register slot
};

struct block {
  bool resident;
  uint32_t warps, ended;
  uint32_t arrived[BARRIERS]; // warps
};

// A memory instruction under way.
struct flight {
  struct flight *next; // free list, or those that wait for one sector
  uint32_t warp, left; // sectors still to come
  const struct t4_op *op;
  bool sent;           // all its sectors have left
};

struct wait {
  struct wait *next;
  struct flight *flight;
};

struct mshr {
  struct mshr *next;
  uint32_t sector;
  struct wait *waits;
};

struct mem_entry {
  uint64_t ready;
  uint32_t warp;
  const struct t4_op *op;
  const struct t4_access *access; // NULL: constant space
};

struct scheduler {
  uint32_t order[MAX_WARPS], num;  // resident warps, oldest first
  uint32_t last;                   // issued last
  uint64_t collector_free[2], bank_next[4]; // bank_next in half cycles
  uint64_t slot_free[T4_NUM_UNITS], stage_free[T4_NUM_UNITS], unit_free[T4_NUM_UNITS]; // unit_free in eighths of a cycle
  struct mem_entry mem[MEM_SLOTS]; // waiting for the load/store unit
  uint32_t num_mem;
};

struct t4_sm {
  const struct t4_table *t;
  const struct t4_code *code;
  struct t4_mem *memory;
  struct t4_l1 *l1;
  uint16_t index;
  struct warp warps[MAX_WARPS];
  struct block blocks[MAX_BLOCKS];
  struct scheduler sched[SCHEDULERS];
  uint64_t look[SCHEDULERS]; // the cycle that each is to be looked at again
  uint64_t *ready_pool, ages;
  uint32_t num_blocks, num_warps;
  // the load/store unit
  struct mem_entry current;
  struct flight *flight;
  bool busy;
  uint64_t until;           // shared: the cycle it is done
  uint32_t run, sector, repeat; // where in the access
  uint32_t turn;
  uint64_t fill_free;       // quarter cycles: the register file takes replies again
  struct mshr *mshrs[MSHR_BUCKETS];
  uint32_t num_mshr;
  struct flight *free_flights;
  struct wait *free_waits;
  struct mshr *free_mshrs;
  struct slab *slabs;
  struct t4_sm_stats stats;
  uint64_t last_step;
  bool failed;
};

struct slab {
  struct slab *next;
};

// A free list that refills itself.
#define TAKE(s, list, type, into) \
  do { \
    if (!(s)->list) { \
      struct slab *slab = malloc(sizeof *slab + 256 * sizeof(type)); \
      if (!slab) { \
        (s)->failed = true; \
        break; \
      } \
      slab->next = (s)->slabs; \
      (s)->slabs = slab; \
      type *some = (type *)(slab + 1); \
      for (int k = 0; k < 256; k++) some[k].next = k < 255 ? &some[k + 1] : NULL; \
      (s)->list = some; \
    } \
    (into) = (s)->list; \
    (s)->list = (into)->next; \
    memset(into, 0, sizeof *(into)); \
  } while (0)

#define GIVE(s, list, one) ((one)->next = (s)->list, (s)->list = (one))

static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }

// A warp that waited can go on in cycle `at`; its scheduler has to see it then.
static void rouse(struct t4_sm *s, uint32_t warp, uint64_t at) {
  uint64_t *look = &s->look[warp % SCHEDULERS];
  s->warps[warp].wake = at;
  if (at < *look) *look = at;
}

struct t4_sm *t4_sm_open(const struct t4_table *t, const struct t4_code *c, struct t4_mem *m, unsigned index,
                         unsigned l1_bytes) {
  struct t4_sm *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->t = t, s->code = c, s->memory = m, s->index = (uint16_t)index;
  size_t slots = c->num_slots ? c->num_slots : 1;
  s->ready_pool = calloc(MAX_WARPS * slots, sizeof *s->ready_pool);
  s->l1 = t4_l1_open(t, l1_bytes);
  if (!s->ready_pool || !s->l1) {
    t4_sm_close(s);
    return NULL;
  }
  for (unsigned i = 0; i < MAX_WARPS; i++) s->warps[i].ready = s->ready_pool + i * slots;
  for (unsigned i = 0; i < SCHEDULERS; i++) s->sched[i].last = MAX_WARPS;
  return s;
}

void t4_sm_close(struct t4_sm *s) {
  if (!s) return;
  while (s->slabs) {
    struct slab *x = s->slabs;
    s->slabs = x->next;
    free(x);
  }
  t4_l1_close(s->l1);
  free(s->ready_pool);
  free(s);
}

unsigned t4_sm_blocks(const struct t4_sm *s) { return s->num_blocks; }
const struct t4_sm_stats *t4_sm_stats(const struct t4_sm *s) { return s->failed ? NULL : &s->stats; }

static void end_block(struct t4_sm *s, struct block *b) {
  b->resident = false;
  s->num_blocks--;
}

// A warp without instructions and without memory under way is gone, the block with its last one.
static void end_warp(struct t4_sm *s, uint32_t i) {
  struct warp *w = &s->warps[i];
  struct scheduler *q = &s->sched[i % SCHEDULERS];
  for (uint32_t k = 0; k < q->num; k++)
    if (q->order[k] == i) {
      memmove(&q->order[k], &q->order[k + 1], (q->num - k - 1) * sizeof q->order[0]);
      q->num--;
      break;
    }
  if (q->last == i) q->last = MAX_WARPS;
  w->trace = NULL;
  s->num_warps--;
  struct block *b = &s->blocks[w->block];
  if (++b->ended == b->warps) end_block(s, b);
}

static void release_barriers(struct t4_sm *s, uint32_t block, uint64_t now);

static void after_last(struct t4_sm *s, uint32_t i, uint64_t now) {
  struct warp *w = &s->warps[i];
  if (!w->ended) {
    w->ended = true;
    w->wake = NEVER;
    release_barriers(s, w->block, now);
  }
  if (!w->pending) end_warp(s, i);
}

static void begin_visit(const struct t4_sm *s, struct warp *w) {
  const struct t4_visit *v = &w->trace->visits[w->visit];
  const struct t4_op *first = &s->code->ops[v->pc];
  const struct t4_block *b = &s->code->blocks[first->block];
  w->step = 0;
  w->pc = v->pc, w->num = v->num;
  w->order = v->pc == b->first && v->num == b->num ? s->code->order + b->order : NULL;
  w->access = v->access - first->mem_ordinal; // modulo 2^32: never used below the visit's own first
}

// The instruction that a warp issues next.
static const struct t4_op *next_op(const struct t4_sm *s, const struct warp *w) {
  return &s->code->ops[w->order ? w->order[w->step] : w->pc + w->step];
}

static const struct t4_access *access_of(const struct warp *w, const struct t4_op *op) {
  return &w->trace->accesses[(uint32_t)(w->access + op->mem_ordinal)];
}

static bool advance(const struct t4_sm *s, struct warp *w) {
  if (++w->step < w->num) return true;
  if (++w->visit == w->trace->num_visits) return false;
  begin_visit(s, w);
  return true;
}

void t4_sm_start_block(struct t4_sm *s, const struct t4_block_trace *b, uint64_t now) {
  uint32_t at = 0, slot = 0;
  while (s->blocks[slot].resident) slot++;
  // Neighbouring places for its warps where there are some, else whatever is free.
  uint32_t span = 0;
  for (uint32_t i = 0; i < MAX_WARPS && span < b->num_warps; i++) {
    if (s->warps[i].trace) span = 0, at = i + 1;
    else span++;
  }
  if (span < b->num_warps) at = 0;
  s->blocks[slot] = (struct block){.resident = true, .warps = b->num_warps};
  s->num_blocks++;
  for (uint32_t k = 0, i = at; k < b->num_warps; i = (i + 1) % MAX_WARPS) {
    struct warp *w = &s->warps[i];
    if (w->trace) continue;
    uint64_t *ready = w->ready;
    *w = (struct warp){.trace = &b->warps[k++], .age = s->ages++, .block = slot, .ready = ready};
    rouse(s, i, now + 1);
    memset(ready, 0, s->code->num_slots * sizeof *ready);
    struct scheduler *q = &s->sched[i % SCHEDULERS];
    q->order[q->num++] = i;
    s->num_warps++;
    if (w->trace->num_visits) begin_visit(s, w);
    else after_last(s, i, now);
  }
}

static void release_barriers(struct t4_sm *s, uint32_t block, uint64_t now) {
  struct block *b = &s->blocks[block];
  uint32_t live = 0;
  for (uint32_t i = 0; i < MAX_WARPS; i++) live += s->warps[i].trace && s->warps[i].block == block && !s->warps[i].ended;
  for (uint32_t i = 0; i < MAX_WARPS; i++) {
    struct warp *w = &s->warps[i];
    if (!w->trace || w->block != block || !w->at_barrier) continue;
    const struct t4_access *a = access_of(w, next_op(s, w));
    uint32_t want = a->cost ? (a->cost + 31u) / 32 : live;
    if (b->arrived[a->barrier % BARRIERS] < want) continue;
    uint32_t id = a->barrier % BARRIERS;
    for (uint32_t k = 0; k < MAX_WARPS; k++) {
      struct warp *o = &s->warps[k];
      if (!o->trace || o->block != block || !o->at_barrier) continue;
      if (access_of(o, next_op(s, o))->barrier % BARRIERS != id) continue;
      o->at_barrier = false;
      rouse(s, k, now + 1);
      if (!advance(s, o)) after_last(s, k, now);
    }
    b->arrived[id] = 0;
  }
}

// Registers of a finished memory instruction; the warp is looked at again.
static void land(struct t4_sm *s, struct flight *f, uint64_t now) {
  struct warp *w = &s->warps[f->warp];
  for (unsigned i = 0; i < f->op->num_dst; i++) w->ready[s->code->slots[f->op->slots + i]] = now + s->t->result_delay;
  w->pending--;
  uint32_t i = f->warp;
  if (w->wake == NEVER && !w->at_barrier && !w->ended) rouse(s, i, now + 1);
  GIVE(s, free_flights, f);
  if (w->ended && !w->pending) end_warp(s, i);
}

static void arrive(struct t4_sm *s, struct flight *f, uint64_t now) {
  if (!--f->left && f->sent) land(s, f, now);
}

static struct mshr **mshr_at(struct t4_sm *s, uint32_t sector) {
  struct mshr **p = &s->mshrs[(sector ^ sector >> 9 ^ sector >> 18) % MSHR_BUCKETS];
  while (*p && (*p)->sector != sector) p = &(*p)->next;
  return p;
}

// Replies: each writes its lanes' registers through the two banks' write ports.
static void take_replies(struct t4_sm *s, struct t4_queue *in, uint64_t now) {
  while (in->head && in->head->ready <= now && s->fill_free < 4 * now + 4) {
    struct t4_request *r = t4_queue_pop(in);
    s->fill_free = later(s->fill_free, 4 * now);
    if (r->bypass || r->kind == T4_WRITE) {
      struct flight *f = r->owner;
      if (r->kind != T4_WRITE) s->fill_free += 4;
      arrive(s, f, now);
      t4_request_done(s->memory, r);
      continue;
    }
    t4_l1_fill(s->l1, r->sector);
    struct mshr **at = mshr_at(s, r->sector), *m = *at;
    t4_request_done(s->memory, r);
    if (!m) continue;
    *at = m->next;
    s->num_mshr--;
    while (m->waits) {
      struct wait *x = m->waits;
      m->waits = x->next;
      unsigned regs = x->flight->op->num_dst, ports = s->t->fill_regs_per_cycle;
      s->fill_free += regs > ports ? 4 * ((regs + ports - 1) / ports) + s->t->fill_gap : 4;
      arrive(s, x->flight, now);
      GIVE(s, free_waits, x);
    }
    GIVE(s, free_mshrs, m);
  }
}

// One sector of the access in hand. false: it has to wait.
static bool send_sector(struct t4_sm *s, uint32_t sector, const struct t4_run *run, struct t4_queue *out, uint64_t now) {
  const struct t4_op *op = s->current.op;
  struct flight *f = s->flight;
  if (out->length >= s->t->l1_queue) return false;
  struct t4_request *r = NULL;
  if (op->kind == T4_GLOBAL_LOAD) {
    s->stats.l1_accesses++;
    if (t4_l1_hit(s->l1, sector)) return true; // its data come with the latency of the access (see finish_global)
    struct mshr **at = mshr_at(s, sector);
    bool fresh = !*at;
    if (fresh && s->num_mshr >= s->t->l1_mshr) {
      s->stats.l1_accesses--;
      return false;
    }
    s->stats.l1_misses++;
    struct wait *x = NULL;
    TAKE(s, free_waits, struct wait, x);
    if (fresh) TAKE(s, free_mshrs, struct mshr, *at);
    if (!x || !*at) return true;
    x->flight = f;
    f->left++;
    x->next = (*at)->waits;
    (*at)->waits = x;
    if (!fresh) return true;
    (*at)->sector = sector;
    s->num_mshr++;
    if (!(r = t4_request_new(s->memory))) return true;
    r->kind = T4_READ;
  } else {
    if (!(r = t4_request_new(s->memory))) return true;
    f->left++;
    r->kind = op->kind == T4_GLOBAL_STORE ? T4_WRITE : T4_ATOMIC;
    r->bypass = true;
    if (r->kind == T4_WRITE) {
      s->stats.l1_accesses++;
      s->stats.l1_misses++;
      t4_l1_store(s->l1, sector, run->mask);
    }
  }
  r->sector = sector, r->mask = run->mask, r->sm = s->index, r->owner = f;
  r->ready = now + (r->kind == T4_ATOMIC ? 1 : s->t->l1_latency + 1);
  t4_queue_push(out, r);
  return true;
}

static void finish_global(struct t4_sm *s, uint64_t now) {
  struct flight *f = s->flight;
  s->busy = false;
  f->sent = true;
  if (f->left) return;
  // All hits: the registers are there after L1's latency.
  land(s, f, now + s->t->l1_latency);
}

// The sectors of this cycle: as many as L1 has banks, no two of one bank; atomics one.
static void global_cycle(struct t4_sm *s, struct t4_queue *out, uint64_t now) {
  const struct t4_access *a = s->current.access;
  const struct t4_run *runs = s->warps[s->current.warp].trace->runs + a->run;
  uint32_t banks = 0;
  unsigned width = s->current.op->kind == T4_GLOBAL_ATOM ? 1 : s->t->l1_sectors_per_cycle;
  for (unsigned n = 0; n < width; n++) {
    if (s->run == a->num_runs) break;
    const struct t4_run *r = &runs[s->run];
    uint32_t sector = r->sector + s->sector, bank = 1u << sector % s->t->l1_sectors_per_cycle;
    if (banks & bank) return;
    if (!send_sector(s, sector, r, out, now)) return;
    if (!banks) s->stats.unit_busy[T4_MEM]++; // a cycle in which something went out
    banks |= bank;
    if (++s->repeat < r->repeat) continue;
    s->repeat = 0;
    if (++s->sector < r->count) continue;
    s->sector = 0;
    s->run++;
  }
  if (s->run == a->num_runs) finish_global(s, now);
}

static void start_access(struct t4_sm *s, uint64_t now) {
  const struct t4_op *op = s->current.op;
  TAKE(s, free_flights, struct flight, s->flight);
  if (!s->flight) return;
  s->flight->warp = s->current.warp;
  s->flight->op = op;
  s->busy = true;
  s->run = s->sector = s->repeat = 0;
  const struct t4_access *a = s->current.access;
  bool shared = a && (op->kind == T4_SHARED_LOAD || op->kind == T4_SHARED_STORE);
  s->until = now + (shared && a->cost > 1 ? a->cost : 1);
  if (!shared) return;
  s->stats.unit_busy[T4_MEM] += s->until - now;
  s->stats.shared_cycles += s->until - now;
  if (a->cost > 1) s->stats.shared_extra += a->cost - 1u;
}

static bool is_global(const struct mem_entry *e) {
  return e->op->kind >= T4_GLOBAL_LOAD && e->op->kind <= T4_GLOBAL_ATOM && e->access && e->access->num_runs;
}

// The load/store unit: goes on with its access, or takes the next from the schedulers in turn.
static void mem_cycle(struct t4_sm *s, struct t4_queue *out, uint64_t now) {
  if (s->busy && is_global(&s->current)) global_cycle(s, out, now);
  else if (s->busy && now >= s->until) {
    s->busy = false;
    land(s, s->flight, now + (s->current.op->kind == T4_SHARED_LOAD ? s->t->shared_latency : 0));
  }
  if (s->busy) return;
  for (unsigned k = 0; k < SCHEDULERS; k++) {
    unsigned i = (k + s->turn) % SCHEDULERS;
    struct scheduler *q = &s->sched[i];
    if (!q->num_mem || q->mem[0].ready > now) continue;
    s->current = q->mem[0];
    memmove(&q->mem[0], &q->mem[1], --q->num_mem * sizeof q->mem[0]);
    s->look[i] = now; // there is room again
    s->turn = (k + s->turn + 1) % SCHEDULERS;
    start_access(s, now);
    return;
  }
}

// Operand collection from cycle `start` on: the cycle in which the last source has been read.
static uint64_t collect(struct t4_sm *s, struct scheduler *q, const struct t4_op *op, uint32_t warp, uint64_t start) {
  uint64_t half = 2 * start + 1, last = half;
  for (unsigned i = 0; i < op->num_src; i++) {
    uint64_t *bank = &q->bank_next[(s->code->slots[op->slots + op->num_dst + i] + warp) % s->t->banks];
    *bank = later(*bank, half) + 1;
    last = later(last, *bank);
  }
  // The result takes a turn of its bank too.
  for (unsigned i = 0; i < op->num_dst; i++) {
    uint64_t *bank = &q->bank_next[(s->code->slots[op->slots + i] + warp) % s->t->banks];
    *bank = later(*bank, half) + 1;
  }
  return last / 2; // handed on in the half cycle after the last read
}

static void issue_alu(struct t4_sm *s, struct scheduler *q, const struct t4_op *op, uint32_t warp, uint64_t now) {
  unsigned u = op->unit, c = q->collector_free[0] <= q->collector_free[1] || q->num_mem > 1 ? 0 : 1;
  uint64_t start = later(now + 1, q->collector_free[c]);
  uint64_t read = collect(s, q, op, warp, start);
  uint64_t stage = later(read, q->stage_free[u]); // operands complete, the pipe's input register free
  uint64_t enter = later(stage + 1, (q->unit_free[u] + 7) / 8);
  q->slot_free[u] = start;
  q->collector_free[c] = stage;
  q->stage_free[u] = enter;
  unsigned lost = u == T4_FP ? s->t->fp_lost : u == T4_INT ? s->t->int_lost : 0;
  q->unit_free[u] = later(8 * (stage + 1), q->unit_free[u]) + 8u * op->interval + (op->interval > 1 ? lost : 0);
  s->stats.unit_busy[u] += op->interval;
  struct warp *w = &s->warps[warp];
  for (unsigned i = 0; i < op->num_dst; i++)
    w->ready[s->code->slots[op->slots + i]] = enter + op->latency + s->t->result_delay;
}

static void issue_mem(struct t4_sm *s, struct scheduler *q, const struct t4_op *op, uint32_t warp, uint64_t now) {
  struct warp *w = &s->warps[warp];
  uint64_t read = collect(s, q, op, warp, now + 1);
  q->mem[q->num_mem++] = (struct mem_entry){read + 1, warp, op, op->traced ? access_of(w, op) : NULL};
  w->pending++;
  for (unsigned i = 0; i < op->num_dst; i++) w->ready[s->code->slots[op->slots + i]] = NEVER;
}

static void reach_barrier(struct t4_sm *s, uint32_t i, const struct t4_op *op) {
  struct warp *w = &s->warps[i];
  const struct t4_access *a = access_of(w, op);
  s->blocks[w->block].arrived[a->barrier % BARRIERS]++;
  if (a->waits) {
    w->at_barrier = true;
    w->wake = NEVER;
  }
}

// The next instruction of a warp when its registers are ready, which they then stay; NULL: not yet, or the warp has ended.
static const struct t4_op *ready_op(struct t4_sm *s, uint32_t i, uint64_t now) {
  struct warp *w = &s->warps[i];
  if (w->op) return w->op;
  const struct t4_op *op = next_op(s, w);
  while (op->kind == T4_SKIP) {
    if (!advance(s, w)) {
      after_last(s, i, now);
      return NULL;
    }
    op = next_op(s, w);
  }
  uint64_t ready = 0;
  for (unsigned k = 0; k < op->num_dst + op->num_src; k++) ready = later(ready, w->ready[s->code->slots[op->slots + k]]);
  if (op->kind == T4_FENCE && w->pending) ready = NEVER;
  if (ready > now) {
    w->wake = ready;
    return NULL;
  }
  return w->op = op;
}

// Issues the next instruction of a warp if it can go. *hold: the cycle before which it cannot for want of a pipe.
static bool try_issue(struct t4_sm *s, struct scheduler *q, uint32_t i, uint64_t now, uint64_t *hold) {
  struct warp *w = &s->warps[i];
  const struct t4_op *op = ready_op(s, i, now);
  if (!op) return false;
  bool memory = op->unit == T4_MEM && op->kind != T4_FENCE;
  if (memory ? q->num_mem == MEM_SLOTS : q->num_mem >= 3) return false; // mem_cycle calls when there is room
  if (!memory && q->slot_free[op->unit] > now) {
    if (q->slot_free[op->unit] < *hold) *hold = q->slot_free[op->unit];
    return false;
  }
  s->stats.issued++;
  w->op = NULL;
  w->wake = now + 1;
  q->last = i;
  if (memory) issue_mem(s, q, op, i, now);
  if (op->kind == T4_GLOBAL_ATOM) w->wake = NEVER; // until it has been done, as the simulator has it
  if (!memory) issue_alu(s, q, op, i, now);
  if (op->kind == T4_BARRIER) reach_barrier(s, i, op);
  if (w->at_barrier) release_barriers(s, w->block, now);
  else {
    bool arrived = op->kind == T4_BARRIER;
    if (!advance(s, w)) after_last(s, i, now);
    if (arrived) release_barriers(s, w->block, now);
  }
  return true;
}

// Greedy, then oldest. Returns the next cycle in which the scheduler can do something by itself.
static uint64_t schedule(struct t4_sm *s, struct scheduler *q, uint64_t now) {
  uint64_t hold = NEVER, wake = NEVER;
  if (q->num_mem == MEM_SLOTS) return NEVER; // collectors are full of what waits for the load/store unit; mem_cycle calls
  if (q->last < MAX_WARPS && s->warps[q->last].wake <= now && try_issue(s, q, q->last, now, &hold)) return now + 1;
  for (uint32_t k = 0; k < q->num; k++) {
    uint32_t i = q->order[k];
    if (s->warps[i].wake <= now) {
      uint32_t before = q->num;
      if (try_issue(s, q, i, now, &hold)) return now + 1;
      if (q->num < before) {
        k--;
        continue;
      }
    }
    if (s->warps[i].wake > now && s->warps[i].wake < wake) wake = s->warps[i].wake;
  }
  return hold < wake ? hold : wake;
}

uint64_t t4_sm_step(struct t4_sm *s, uint64_t now, struct t4_queue *out, struct t4_queue *in) {
  uint64_t passed = now - s->last_step, next = NEVER;
  s->last_step = now;
  if (s->num_blocks) {
    s->stats.active_cycles += passed;
    s->stats.resident_warps += passed * s->num_warps;
  }
  take_replies(s, in, now);
  mem_cycle(s, out, now);
  for (unsigned i = 0; i < SCHEDULERS; i++) {
    struct scheduler *q = &s->sched[i];
    if (s->look[i] <= now) {
      s->look[i] = NEVER; // unless a barrier's release within says otherwise
      uint64_t n = q->num ? schedule(s, q, now) : NEVER;
      if (n < s->look[i]) s->look[i] = n;
    }
    if (s->look[i] < next) next = s->look[i];
    if (q->num_mem) next = now + 1;
  }
  if (s->busy || (in->head && in->head->ready <= now + 1)) next = now + 1;
  return next > now ? next : now + 1;
}

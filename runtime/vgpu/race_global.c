// Races between the blocks of a launch. See race.h.
#include "runtime/vgpu/race.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCK_BITS 18 // blocks are told apart modulo 2^18: a clash can hide a race, never invent one
#define BLOCK_MASK ((1u << BLOCK_BITS) - 1)
#define EPOCHS     2047u // launches between two clearings of all cells
#define PHASES     16
#define BIG_ALLOC  (UINT64_C(128) << 20) // larger ones are tracked from their first kernel store on: weights never are

struct vg_order {
  _Atomic uint64_t clock; // counts publications
  _Atomic uint32_t waits;
  uint32_t num_blocks;
  // When block b published its phase p: [b * PHASES + p], 0 not yet. NULL until the first publication.
  _Atomic(_Atomic uint64_t *) published;
};

struct cell { // unpacked; in memory it is the fields' 64 bits in this order
  uint32_t epoch;  // 11 bits
  uint32_t wblock; // 18
  uint32_t wphase; // 4
  uint32_t wmask;  // 4: bytes of the word
  uint32_t rblock; // 18
  uint32_t rphase; // 4
  uint32_t rmask;  // 4
  uint32_t rmany;  // 1: other blocks read too
};

static struct cell unpack(uint64_t v) {
  return (struct cell){.epoch = v >> 53, .wblock = (uint32_t)(v >> 35) & BLOCK_MASK, .wphase = v >> 31 & 15, .wmask = v >> 27 & 15,
                       .rblock = (uint32_t)(v >> 9) & BLOCK_MASK, .rphase = v >> 5 & 15, .rmask = v >> 1 & 15, .rmany = v & 1};
}

static uint64_t pack(const struct cell *c) {
  return (uint64_t)c->epoch << 53 | (uint64_t)c->wblock << 35 | (uint64_t)c->wphase << 31 | (uint64_t)c->wmask << 27 |
         (uint64_t)c->rblock << 9 | (uint64_t)c->rphase << 5 | (uint64_t)c->rmask << 1 | c->rmany;
}

bool vg_order_begin(struct vg_launch *l) {
  static uint32_t launches; // launches come one at a time
  uint64_t blocks = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
  l->order = NULL;
  l->races = blocks > 1 && vg_check_mode();
  if (!l->races) return true;
  l->epoch = 1 + launches++ % EPOCHS;
  if (l->epoch == 1 && launches > 1) vg_mem_clear_cells();
  l->order = calloc(1, sizeof *l->order);
  if (!l->order) return false;
  l->order->num_blocks = blocks > BLOCK_MASK ? BLOCK_MASK + 1 : (uint32_t)blocks;
  return true;
}

void vg_order_end(struct vg_launch *l) {
  if (l->order) free((void *)atomic_load(&l->order->published));
  free(l->order);
  l->order = NULL;
}

static _Atomic uint64_t *published(struct vg_order *o, bool make) {
  _Atomic uint64_t *p = atomic_load_explicit(&o->published, memory_order_acquire);
  if (p || !make) return p;
  _Atomic uint64_t *fresh = calloc((size_t)o->num_blocks * PHASES, sizeof *fresh);
  if (fresh && !atomic_compare_exchange_strong(&o->published, &p, fresh)) free((void *)fresh);
  else p = fresh;
  return p;
}

static uint32_t my_block(const struct vg_worker *w) { return (uint32_t)w->block_id & BLOCK_MASK; }

static void publish(struct vg_worker *w) {
  struct vg_order *o = w->launch->order;
  _Atomic uint64_t *p = published(o, true);
  uint64_t now = atomic_fetch_add(&o->clock, 1) + 1, none = 0;
  if (p) atomic_compare_exchange_strong(&p[(size_t)my_block(w) * PHASES + w->phase], &none, now);
  if (w->phase < PHASES - 1) w->phase++;
  w->fenced = false;
}

void vg_order_before(struct vg_worker *w) {
  if (!w->acquiring) return;
  w->acquired = atomic_load(&w->launch->order->clock);
  w->acquiring = false;
}

void vg_order_after(struct vg_worker *w, const struct vg_access *a) {
  if (a->op == VG_LOAD || a->op == VG_STORE) return;
  if (w->fenced && a->op != VG_LOAD_STRONG) publish(w);
  // What the access reads is known once it has taken place: the clock is read at the next access.
  if (a->op != VG_STORE_STRONG) w->acquiring = true;
}

void vg_fence(struct vg_worker *w, unsigned warp, bool scope_block) {
  (void)warp;
  if (!scope_block && w->launch->races) w->fenced = true;
}

// Did `block` publish its phase before this block last acquired?
static bool ordered(const struct vg_worker *w, uint32_t block, uint32_t phase) {
  _Atomic uint64_t *p = published(w->launch->order, false);
  if (!p) return false;
  uint64_t t = atomic_load_explicit(&p[(size_t)block * PHASES + phase], memory_order_relaxed);
  return t && w->acquired >= t;
}

enum race { NO_RACE, READ_AFTER_WRITE, WRITE_AFTER_WRITE, WRITE_AFTER_READ };

static enum race judge_read(const struct vg_worker *w, struct cell *c, uint32_t me, uint32_t mask, uint32_t *other) {
  enum race found = NO_RACE;
  if ((c->wmask & mask) && c->wblock != me && !ordered(w, c->wblock, c->wphase)) {
    found = READ_AFTER_WRITE;
    *other = c->wblock;
  }
  if (!c->rmask || c->rblock == me || (!c->rmany && ordered(w, c->rblock, c->rphase))) {
    c->rmask = c->rmask && c->rblock == me ? c->rmask | mask : mask;
    c->rblock = me, c->rphase = w->phase;
  } else {
    c->rmany = 1;
    c->rmask |= mask;
  }
  return found;
}

static enum race judge_write(const struct vg_worker *w, struct cell *c, uint32_t me, uint32_t mask, uint32_t *other) {
  enum race found = NO_RACE;
  if ((c->wmask & mask) && c->wblock != me && !ordered(w, c->wblock, c->wphase)) {
    found = WRITE_AFTER_WRITE;
    *other = c->wblock;
  } else if (c->rmask & mask) {
    bool first = c->rblock != me && !ordered(w, c->rblock, c->rphase);
    if (first || (c->rmany && !w->acquired)) { // of many readers one is known; an acquire is taken to cover the rest
      found = WRITE_AFTER_READ;
      *other = c->rblock;
    }
  }
  c->wmask = c->wmask && c->wblock == me ? c->wmask | mask : mask;
  c->wblock = me, c->wphase = w->phase;
  c->rmask &= ~mask;
  if (!c->rmask) c->rmany = 0;
  return found;
}

struct judge {
  struct vg_worker *w;
  uint32_t me, other;
  bool write;
  enum race found;
  uint64_t fresh; // the cell of a word that only this block has read, or written, all of, in this launch and phase
};

#define EPOCH_BITS (UINT64_C(2047) << 53)
#define WMASK_BITS (UINT64_C(15) << 27)
#define READ_BITS  (UINT64_C(0x7ffffff)) // rblock, rphase, rmask, rmany

static struct judge judge_of(struct vg_worker *w, bool write) {
  struct judge j = {.w = w, .me = my_block(w), .write = write};
  struct cell c = {.epoch = w->launch->epoch};
  if (write) c.wblock = j.me, c.wphase = w->phase, c.wmask = 15;
  else c.rblock = j.me, c.rphase = w->phase, c.rmask = 15;
  j.fresh = pack(&c);
  return j;
}

static void judge_word(struct judge *j, _Atomic uint64_t *cell, uint64_t old, uint32_t mask) {
  uint32_t epoch = j->w->launch->epoch;
  struct cell c = unpack(old);
  if (c.epoch != epoch) c = (struct cell){.epoch = epoch};
  enum race r = j->write ? judge_write(j->w, &c, j->me, mask, &j->other) : judge_read(j->w, &c, j->me, mask, &j->other);
  if (r) j->found = r;
  uint64_t now = pack(&c);
  if (now != old) atomic_store_explicit(cell, now, memory_order_relaxed);
}

// Judges whole words. Nearly always a word was not touched before in this launch, or by this block alone: `fresh` then says all.
static void judge_words(struct judge *j, _Atomic uint64_t *cells, uint64_t first, uint64_t end) {
  const uint64_t fresh = j->fresh, same = j->write ? ~UINT64_C(0) : EPOCH_BITS | WMASK_BITS | READ_BITS;
  for (uint64_t i = first; i < end; i++) {
    uint64_t old = atomic_load_explicit(&cells[i], memory_order_relaxed);
    if ((old & same) == fresh) continue;
    if ((old ^ fresh) & EPOCH_BITS) atomic_store_explicit(&cells[i], fresh, memory_order_relaxed);
    else judge_word(j, &cells[i], old, 15);
  }
}

// Judges the bytes [lo, hi) of an allocation, offsets from its start.
static void judge_bytes(struct judge *j, _Atomic uint64_t *cells, uint64_t lo, uint64_t hi) {
  if (!((lo | hi) & 3)) {
    judge_words(j, cells, lo / 4, hi / 4);
    return;
  }
  for (uint64_t word = lo / 4; word <= (hi - 1) / 4; word++) {
    uint32_t mask = 15;
    if (word * 4 < lo) mask &= 15u << (lo - word * 4);
    if (word * 4 + 4 > hi) mask &= 15u >> (word * 4 + 4 - hi);
    judge_word(j, &cells[word], atomic_load_explicit(&cells[word], memory_order_relaxed), mask);
  }
}

#define LONG_WAITS 16 // conflicts of a launch for which the other block is waited for with patience

// A program's race is also ours, here: the bytes compared may be written at this moment.
__attribute__((no_sanitize("thread"))) static bool differs(const volatile uint8_t *a, const uint8_t *b, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (a[i] != b[i]) return true;
  return false;
}

// Is it a store of what is there already? The other block's store may have been judged but not done yet, by a thread that
// runs at this moment or was interrupted: give it time.
static bool leaves_bytes(const struct vg_worker *w, const struct vg_access *a, unsigned lane, bool after_write) {
  if (!a->data) return false;
  const uint8_t *mine = a->data + (size_t)lane * a->width;
  bool patient = false;
  for (int i = 0; differs(a->ptr[lane], mine, a->width); i++) {
    if (!i && after_write) patient = atomic_fetch_add_explicit(&w->launch->order->waits, 1, memory_order_relaxed) < LONG_WAITS;
    if (!after_write || i == (patient ? 400 : 20)) return false;
    if (i > 40) nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    else if (i > 10) sched_yield();
  }
  return true;
}

static bool report(struct vg_worker *w, unsigned warp, unsigned lane, const struct vg_access *a, const struct vg_alloc *alloc,
                   const struct judge *j) {
  static const char *const said[] = {"", "reads what block %u wrote", "writes what block %u wrote too", "writes what block %u read"};
  static const char *const sides[] = {"", "read", "write", "write"};
  const uint32_t *g = w->launch->grid;
  char what[80];
  snprintf(what, sizeof what, said[j->found], j->other);
  bool big = (uint64_t)g[0] * g[1] * g[2] > BLOCK_MASK + 1;
  return vg_report(w, warp, lane, a->pc, VG_RACE_GLOBAL,
                   "%s of %u bytes at 0x%llx (allocation #%llu%s%s, offset %llu) %s%s in the same launch, with no fence and atomic between",
                   a->op == VG_ATOMIC ? "atomic" : sides[j->found], a->width, (unsigned long long)a->addr[lane],
                   (unsigned long long)alloc->serial, alloc->name ? " " : "", alloc->name ? alloc->name : "",
                   (unsigned long long)(a->addr[lane] - alloc->base), what, big ? " (modulo 2^18)" : "");
}

// The cells are brought up to date already; the race is told of the first lane whose store changes something.
static bool report_contiguous(struct vg_worker *w, unsigned warp, const struct vg_access *a, const struct vg_alloc *alloc, struct judge *j) {
  for (unsigned lane = 0; lane < VG_LANES; lane++)
    if (!j->write || !leaves_bytes(w, a, lane, j->found == WRITE_AFTER_WRITE)) return report(w, warp, lane, a, alloc, j);
  return true;
}

bool vg_global_judge(struct vg_worker *w, unsigned warp, const struct vg_access *a, struct vg_alloc *alloc, uint32_t lanes) {
  if (!alloc->cells || a->op == VG_LOAD_STRONG || a->op == VG_STORE_STRONG) return true;
  bool write = a->op == VG_STORE;
  if (write && !atomic_load_explicit(&alloc->kernel_written, memory_order_relaxed)) atomic_store(&alloc->kernel_written, true);
  if (!write && alloc->size > BIG_ALLOC && !atomic_load_explicit(&alloc->kernel_written, memory_order_relaxed)) return true;
  struct judge j = judge_of(w, write);
  if (a->base && lanes == UINT32_MAX) { // all at once; a race is looked for lane by lane
    judge_bytes(&j, alloc->cells, a->addr[0] - alloc->base, a->addr[0] - alloc->base + (uint64_t)a->width * VG_LANES);
    if (!j.found) return true;
    return report_contiguous(w, warp, a, alloc, &j);
  }
  for (; lanes; lanes &= lanes - 1) {
    unsigned lane = (unsigned)__builtin_ctz(lanes);
    uint64_t off = a->addr[lane] - alloc->base;
    judge_bytes(&j, alloc->cells, off, off + a->width);
    if (!j.found) continue;
    if (write && leaves_bytes(w, a, lane, j.found == WRITE_AFTER_WRITE)) {
      j.found = NO_RACE;
      continue;
    }
    return report(w, warp, lane, a, alloc, &j);
  }
  return true;
}

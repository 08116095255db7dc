// Shared memory of a block: written bits and races between its threads. See race.h.
#include "runtime/vgpu/race.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WARPS 32
#define MAX_CLOCK ((1u << 28) - 2)

// Stamps are clock << 4 | bytes of the word.
struct cell {
  uint32_t write, read1, read2;
  uint32_t threads; // writer | reader 1 << 10 | reader 2 << 20 | the write was atomic << 30
};

#define BY_ATOMIC (1u << 30)

struct vg_shared_state {
  uint8_t *memory;
  uint64_t *written;   // bit per byte
  struct cell *cells;  // per 4 bytes
  uint32_t cap;        // bytes that there is room for
  uint32_t now;        // counts synchronisations; never falls, so that old cells need no clearing
  uint32_t limit;      // stamps below were made before the last barrier of all warps: ordered before everything now
  uint32_t all;        // the block's warps
  uint32_t seen[MAX_WARPS][MAX_WARPS]; // seen[w][v]: what v did up to this time comes before what w does now
};

struct vg_shared_state *vg_shared_open(void) { return calloc(1, sizeof(struct vg_shared_state)); }

static void drop(struct vg_shared_state *s) {
  free(s->memory), free(s->written), free(s->cells);
  s->memory = NULL, s->written = NULL, s->cells = NULL, s->cap = 0;
}

void vg_shared_close(struct vg_shared_state *s) {
  if (s) drop(s);
  free(s);
}

static bool grow(struct vg_shared_state *s, uint32_t bytes) {
  if (bytes <= s->cap && s->memory) return true;
  drop(s);
  uint32_t cap = 4096;
  while (cap < bytes) cap *= 2;
  void *memory = NULL;
  if (posix_memalign(&memory, 256, cap)) memory = NULL;
  s->memory = memory;
  s->written = calloc(cap / 64, sizeof *s->written);
  s->cells = calloc(cap / 4, sizeof *s->cells);
  if (!s->memory || !s->written || !s->cells) {
    drop(s);
    return false;
  }
  s->cap = cap;
  return true;
}

// The clock is about to run out: start over with empty cells.
static void restart(struct vg_shared_state *s) {
  if (s->cells) memset(s->cells, 0, s->cap / 4 * sizeof *s->cells);
  memset(s->seen, 0, sizeof s->seen);
  s->now = 1;
  s->limit = 16;
}

bool vg_shared_begin(struct vg_shared_state *s, uint32_t bytes, uint32_t num_warps, bool checks, uint8_t **memory) {
  if (!grow(s, bytes)) return false;
  *memory = s->memory;
  if (!checks) return true;
  if (s->now >= MAX_CLOCK) restart(s);
  memset(s->memory, 0xff, bytes); // garbage that shows: NaN as a float, -1 as an integer
  memset(s->written, 0, (bytes + 63) / 64 * 8);
  for (int w = 0; w < MAX_WARPS; w++)
    for (int v = 0; v < MAX_WARPS; v++) s->seen[w][v] = s->now;
  s->now++;
  s->limit = s->now << 4;
  s->all = num_warps >= MAX_WARPS ? UINT32_MAX : (1u << num_warps) - 1;
  return true;
}

static void tick(struct vg_shared_state *s) {
  if (++s->now >= MAX_CLOCK) restart(s);
}

void vg_shared_tick(struct vg_shared_state *s, unsigned warp) {
  s->seen[warp][warp] = s->now;
  tick(s);
}

void vg_shared_join(struct vg_shared_state *s, uint32_t warps) {
  uint32_t all[MAX_WARPS] = {0};
  for (uint32_t m = warps; m; m &= m - 1) {
    unsigned w = (unsigned)__builtin_ctz(m);
    for (int v = 0; v < MAX_WARPS; v++) all[v] = s->seen[w][v] > all[v] ? s->seen[w][v] : all[v];
  }
  for (uint32_t m = warps; m; m &= m - 1) all[__builtin_ctz(m)] = s->now;
  for (uint32_t m = warps; m; m &= m - 1) memcpy(s->seen[__builtin_ctz(m)], all, sizeof all);
  bool everyone = warps == s->all;
  tick(s);
  if (everyone) s->limit = s->now << 4;
}

struct judge {
  const struct vg_access *a;
  const uint32_t *seen; // of the warp that accesses
  uint32_t warp, now, limit;
  bool strong;
  const char *past; // what the other thread did; NULL: no race
  uint32_t other;
};

// Is an earlier access with this stamp, by `thread`, ordered before ours by thread `me`?
static bool ordered(const struct judge *j, uint32_t stamp, uint32_t thread, uint32_t me) {
  if (thread == me || (stamp >> 4) <= j->seen[thread >> 5]) return true;
  return j->strong && thread >> 5 == j->warp; // warp-synchronous code of the old school
}

static void judge_read(struct judge *j, struct cell *c, uint32_t me, uint32_t mask) {
  uint32_t stamp = j->now << 4 | mask, writer = c->threads & 1023, r1 = c->threads >> 10 & 1023;
  if ((c->write & mask) && !ordered(j, c->write, writer, me)) j->past = "written", j->other = writer;
  if (!(c->read1 & 15) || ordered(j, c->read1, r1, me)) {
    if (r1 == me && c->read1 >> 4 == j->now) stamp |= c->read1 & 15;
    c->read1 = stamp;
    c->threads = (c->threads & ~(1023u << 10)) | me << 10;
    if ((c->read2 & 15) && ordered(j, c->read2, c->threads >> 20 & 1023, me)) c->read2 = 0;
  } else if (!(c->read2 & 15) || r1 >> 5 != me >> 5 || ordered(j, c->read2, c->threads >> 20 & 1023, me)) { // of two warps, if there are two
    c->read2 = stamp;
    c->threads = (c->threads & ~(1023u << 20)) | me << 20;
  }
}

// Whole words that nobody touched since the last barrier of all, or that two warps have read already: nothing to find out.
// false: judge it in full.
static bool judge_fast(const struct judge *j, struct cell *c, uint32_t me, bool write) {
  uint32_t stamp = j->now << 4 | 15, limit = j->limit;
  if (c->write >= limit) return false;
  if (c->read1 < limit && c->read2 < limit) {
    if (write) {
      c->write = stamp;
      c->threads = (c->threads & ~(1023u | BY_ATOMIC)) | me;
    } else {
      c->read1 = stamp;
      c->threads = (c->threads & ~(1023u << 10)) | me << 10;
    }
    return true;
  }
  uint32_t r1 = c->threads >> 10 & 1023, r2 = c->threads >> 20 & 1023;
  if (write) return false;
  if (c->read1 == stamp && r1 == me) return true;
  return c->read1 >= limit && c->read2 >= limit && (c->read1 & c->read2 & 15) == 15 && r1 >> 5 != r2 >> 5;
}

static void judge_write(struct judge *j, struct cell *c, uint32_t me, uint32_t mask) {
  uint32_t stamp = j->now << 4 | mask, writer = c->threads & 1023;
  uint32_t r1 = c->threads >> 10 & 1023, r2 = c->threads >> 20 & 1023;
  if ((c->write & mask) && !ordered(j, c->write, writer, me)) j->past = "written", j->other = writer;
  else if ((c->read1 & mask) && !ordered(j, c->read1, r1, me)) j->past = "read", j->other = r1;
  else if ((c->read2 & mask) && !ordered(j, c->read2, r2, me)) j->past = "read", j->other = r2;
  if (writer == me && c->write >> 4 == j->now) stamp |= c->write & 15;
  c->write = stamp;
  c->read1 &= ~mask, c->read2 &= ~mask;
  c->threads = (c->threads & ~(1023u | BY_ATOMIC)) | me;
}

// Atomics race with plain stores before and with plain reads and stores after them, but not with each other. A plain read before is
// let pass: "is it worth an atomic?" is asked so.
static void judge_atomic(struct judge *j, struct cell *c, uint32_t me, uint32_t mask) {
  uint32_t writer = c->threads & 1023;
  if ((c->write & mask) && !(c->threads & BY_ATOMIC) && !ordered(j, c->write, writer, me)) j->past = "written", j->other = writer;
  c->write = j->now << 4 | mask;
  c->threads = (c->threads & ~1023u) | me | BY_ATOMIC;
}

static void judge_lane(struct judge *j, struct cell *cells, unsigned lane, bool write) {
  uint32_t me = j->warp * VG_LANES + lane;
  uint64_t lo = j->a->addr[lane], hi = lo + j->a->width;
  bool whole = j->a->width >= 4 && j->a->op != VG_ATOMIC;
  for (uint64_t word = lo / 4; word <= (hi - 1) / 4; word++) {
    uint32_t mask = 15;
    if (whole && judge_fast(j, &cells[word], me, write)) continue;
    if (word * 4 < lo) mask &= 15u << (lo - word * 4);
    if (word * 4 + 4 > hi) mask &= 15u >> (word * 4 + 4 - hi);
    if (j->a->op == VG_ATOMIC) judge_atomic(j, &cells[word], me, mask);
    else if (write) judge_write(j, &cells[word], me, mask);
    else judge_read(j, &cells[word], me, mask);
  }
}

// Two stores of one value to one place are harmless. The other store may be of this very instruction, its bytes not yet in memory.
static bool same_bytes(const struct judge *j, unsigned lane) {
  const struct vg_access *a = j->a;
  const uint8_t *mine = a->data + (size_t)lane * a->width;
  unsigned other = j->other & 31;
  if (j->other >> 5 == j->warp && (a->active >> other & 1) && a->addr[other] == a->addr[lane])
    return !memcmp(mine, a->data + (size_t)other * a->width, a->width);
  return !memcmp(mine, a->ptr[lane], a->width);
}

static bool report(struct vg_worker *w, unsigned warp, unsigned lane, const struct judge *j, bool write) {
  const struct vg_access *a = j->a;
  const uint32_t *b = w->launch->block;
  uint32_t t = j->other;
  const char *verb = a->op == VG_ATOMIC ? "atomic on" : write ? "write to" : "read of";
  return vg_report(w, warp, lane, a->pc, VG_RACE_SHARED,
                   "%s shared bytes %llu to %llu, %s by thread (%u,%u,%u) with no barrier between", verb,
                   (unsigned long long)a->addr[lane], (unsigned long long)a->addr[lane] + a->width - 1, j->past, t % b[0],
                   t / b[0] % b[1], t / b[0] / b[1]);
}

static bool judge_races(struct vg_worker *w, unsigned warp, const struct vg_access *a) {
  struct vg_shared_state *s = w->state;
  bool write = a->op == VG_STORE || a->op == VG_STORE_STRONG;
  struct judge j = {.a = a, .seen = s->seen[warp], .warp = warp, .now = s->now, .limit = s->limit,
                    .strong = a->op == VG_LOAD_STRONG || a->op == VG_STORE_STRONG};
  uint64_t before = UINT64_MAX, before2 = UINT64_MAX;
  for (uint32_t m = a->active; m; m &= m - 1) {
    unsigned lane = (unsigned)__builtin_ctz(m);
    uint64_t addr = a->addr[lane];
    if (!write && addr == before && addr == before2) continue; // a broadcast: two readers stand for all
    before2 = before, before = addr;
    j.past = NULL;
    judge_lane(&j, s->cells, lane, write);
    if (!j.past) continue;
    if (write && a->data && j.past[0] == 'w' && same_bytes(&j, lane)) continue;
    if (write && a->data && j.past[0] == 'r' && !memcmp(a->data + (size_t)lane * a->width, a->ptr[lane], a->width)) continue;
    return report(w, warp, lane, &j, write);
  }
  return true;
}

static uint64_t bits_at(const uint64_t *bits, uint64_t at, unsigned n) { // n <= 16 and at a multiple of n: within one word
  return bits[at / 64] >> (at % 64) & ((UINT64_C(1) << n) - 1);
}

static bool judge_written(struct vg_worker *w, unsigned warp, const struct vg_access *a) {
  struct vg_shared_state *s = w->state;
  uint64_t full = (UINT64_C(1) << a->width) - 1;
  if (a->op == VG_STORE || a->op == VG_STORE_STRONG) {
    for (uint32_t m = a->active; m; m &= m - 1) {
      uint64_t at = a->addr[__builtin_ctz(m)];
      s->written[at / 64] |= full << (at % 64);
    }
    return true;
  }
  uint64_t missing = 0;
  for (uint32_t m = a->active; m; m &= m - 1) {
    unsigned lane = (unsigned)__builtin_ctz(m);
    missing |= bits_at(s->written, a->addr[lane], a->width) ^ full;
  }
  if (!missing) return true;
  for (uint32_t m = a->active; m; m &= m - 1) {
    unsigned lane = (unsigned)__builtin_ctz(m);
    if (bits_at(s->written, a->addr[lane], a->width) == full) continue;
    if (a->op == VG_ATOMIC) s->written[a->addr[lane] / 64] |= full << (a->addr[lane] % 64);
    return vg_report(w, warp, lane, a->pc, VG_UNINIT_SHARED, "%s of %u bytes at shared offset %llu, which this block has not written",
                     a->op == VG_ATOMIC ? "atomic" : "read", a->width, (unsigned long long)a->addr[lane]);
  }
  return true;
}

bool vg_shared_judge(struct vg_worker *w, unsigned warp, const struct vg_access *a) {
  return judge_written(w, warp, a) && (w->num_threads <= 1 || judge_races(w, warp, a));
}

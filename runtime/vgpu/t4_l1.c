// L1: 128-byte lines of four sectors, least recently used out, stores written through (a store of a whole sector leaves it
// readable, one of a part leaves it as it was), nothing kept between launches.
#include "runtime/vgpu/t4_sm.h"
#include <stdlib.h>

enum { BUCKETS = 1024, NONE = 0xffff };

struct entry {
  uint32_t line;
  uint16_t chain;        // next of its hash bucket
  uint16_t older, newer; // in its set
  uint8_t valid;         // bits of sectors
};

struct t4_l1 {
  uint32_t sets, ways;
  struct entry *entries;  // [sets * ways]
  uint16_t *oldest, *newest, *used; // by set
  uint16_t bucket[BUCKETS];
};

struct t4_l1 *t4_l1_open(const struct t4_table *t, unsigned bytes) {
  struct t4_l1 *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->sets = t->l1_sets;
  c->ways = bytes / 128 / t->l1_sets;
  c->entries = calloc((size_t)c->sets * c->ways, sizeof *c->entries);
  c->oldest = calloc(c->sets, 3 * sizeof *c->oldest);
  if (!c->entries || !c->oldest) {
    t4_l1_close(c);
    return NULL;
  }
  c->newest = c->oldest + c->sets;
  c->used = c->newest + c->sets;
  for (uint32_t i = 0; i < c->sets; i++) c->oldest[i] = c->newest[i] = NONE;
  for (uint32_t i = 0; i < BUCKETS; i++) c->bucket[i] = NONE;
  return c;
}

void t4_l1_close(struct t4_l1 *c) {
  if (!c) return;
  free(c->entries);
  free(c->oldest);
  free(c);
}

static uint16_t *bucket_of(struct t4_l1 *c, uint32_t line) { return &c->bucket[(line ^ line >> 10 ^ line >> 20) % BUCKETS]; }

static void unlink_age(struct t4_l1 *c, uint16_t i, uint32_t set) {
  struct entry *e = &c->entries[i];
  if (e->older == NONE) c->oldest[set] = e->newer;
  else c->entries[e->older].newer = e->newer;
  if (e->newer == NONE) c->newest[set] = e->older;
  else c->entries[e->newer].older = e->older;
}

static void make_newest(struct t4_l1 *c, uint16_t i, uint32_t set) {
  struct entry *e = &c->entries[i];
  e->older = c->newest[set], e->newer = NONE;
  if (e->older == NONE) c->oldest[set] = i;
  else c->entries[e->older].newer = i;
  c->newest[set] = i;
}

// A line's entry, now the newest; NULL if it is not there. `bring` puts out the oldest of its set for it.
static struct entry *place(struct t4_l1 *c, uint32_t line, bool bring) {
  uint32_t set = line % c->sets;
  uint16_t *at = bucket_of(c, line), i = *at;
  while (i != NONE && c->entries[i].line != line) i = c->entries[i].chain;
  if (i != NONE) {
    unlink_age(c, i, set);
    make_newest(c, i, set);
    return &c->entries[i];
  }
  if (!bring) return NULL;
  if (c->used[set] < c->ways) i = (uint16_t)(set * c->ways + c->used[set]++);
  else {
    i = c->oldest[set];
    unlink_age(c, i, set);
    uint16_t *p = bucket_of(c, c->entries[i].line);
    while (*p != i) p = &c->entries[*p].chain;
    *p = c->entries[i].chain;
  }
  c->entries[i] = (struct entry){.line = line, .chain = *at};
  *at = i;
  make_newest(c, i, set);
  return &c->entries[i];
}

bool t4_l1_hit(struct t4_l1 *c, uint32_t sector) {
  const struct entry *e = place(c, sector / 4, false);
  return e && e->valid >> sector % 4 & 1;
}

void t4_l1_fill(struct t4_l1 *c, uint32_t sector) { place(c, sector / 4, true)->valid |= (uint8_t)(1u << sector % 4); }

void t4_l1_store(struct t4_l1 *c, uint32_t sector, uint32_t mask) {
  struct entry *e = place(c, sector / 4, true);
  if (mask == UINT32_MAX) e->valid |= (uint8_t)(1u << sector % 4);
}

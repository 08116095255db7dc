#include "runtime/vgpu/t4_mem.h"
#include <stdlib.h>
#include <string.h>

enum { SECTORS = 4, MSHR_BUCKETS = 256, CHUNK = 1024 };

struct line {
  uint32_t tag;             // line address / slices; meaningless while !used
  uint32_t stamp;           // last use
  bool used;
  uint8_t valid, readable, dirty; // bits of sectors
  uint32_t bytes[SECTORS];  // written, of dirty sectors not yet read
};

// Sectors a slice waits for, with those that wait for each.
struct miss {
  struct miss *next;
  uint32_t sector;
  struct t4_request *waiters;
};

struct slice {
  struct line *lines;       // [l2_sets][l2_ways]
  struct t4_queue in, out;  // requests past the network (ready: the L2's latency), replies
  struct miss *misses[MSHR_BUCKETS];
  uint32_t num_misses;
  uint32_t stamp;
  uint64_t atomics;         // served
  struct t4_dram_request *to_dram, *to_dram_tail; // ready: core cycle
  uint32_t num_to_dram;
};

struct chunk {
  struct chunk *next;
};

struct t4_mem {
  const struct t4_table *t;
  struct slice *slices;
  struct t4_channel *channels;
  struct t4_mem_stats stats;
  struct t4_request *free_requests;
  struct t4_dram_request *free_dram;
  struct miss *free_misses;
  struct chunk *chunks;
  uint64_t *taken;          // by SM: the cycle in which it last got a reply
  unsigned first_sm, first_slice;
  double clocks;            // DRAM clocks owed
  uint64_t clock;
  uint32_t busy_in, busy_out, busy_dram; // requests in slices' in and out queues, in and on the way to DRAM
  bool failed;              // no memory
};

static void *carve(struct t4_mem *m, size_t size) {
  struct chunk *c = malloc(sizeof *c + size);
  if (!c) return NULL;
  c->next = m->chunks;
  m->chunks = c;
  return c + 1;
}

// A free list refilled by the thousand.
#define POOL_GET(m, list, type) \
  do { \
    if (!(m)->list) { \
      type *some = carve(m, CHUNK * sizeof(type)); \
      if (!some) { \
        (m)->failed = true; \
        return NULL; \
      } \
      for (int i = 0; i < CHUNK; i++) some[i].next = i + 1 < CHUNK ? &some[i + 1] : NULL; \
      (m)->list = some; \
    } \
    type *one = (m)->list; \
    (m)->list = one->next; \
    memset(one, 0, sizeof *one); \
    return one; \
  } while (0)

struct t4_request *t4_request_new(struct t4_mem *m) { POOL_GET(m, free_requests, struct t4_request); }
static struct t4_dram_request *dram_new(struct t4_mem *m) { POOL_GET(m, free_dram, struct t4_dram_request); }
static struct miss *miss_new(struct t4_mem *m) { POOL_GET(m, free_misses, struct miss); }

void t4_request_done(struct t4_mem *m, struct t4_request *r) {
  r->next = m->free_requests;
  m->free_requests = r;
}

void t4_queue_push(struct t4_queue *q, struct t4_request *r) {
  r->next = NULL;
  if (q->tail) q->tail->next = r;
  else q->head = r;
  q->tail = r;
  q->length++;
}

struct t4_request *t4_queue_pop(struct t4_queue *q) {
  struct t4_request *r = q->head;
  q->head = r->next;
  if (!q->head) q->tail = NULL;
  q->length--;
  return r;
}

struct t4_mem *t4_mem_open(const struct t4_table *t) {
  struct t4_mem *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->t = t;
  m->slices = calloc(t->slices, sizeof *m->slices);
  m->channels = calloc(t->channels, sizeof *m->channels);
  m->taken = calloc(t->num_sms, sizeof *m->taken);
  bool ok = m->slices && m->channels && m->taken;
  for (unsigned i = 0; ok && i < t->slices; i++)
    ok = (m->slices[i].lines = calloc((size_t)t->l2_sets * t->l2_ways, sizeof(struct line))) != NULL;
  if (ok) return m;
  t4_mem_close(m);
  return NULL;
}

void t4_mem_close(struct t4_mem *m) {
  if (!m) return;
  for (unsigned i = 0; m->slices && i < m->t->slices; i++) free(m->slices[i].lines);
  while (m->chunks) {
    struct chunk *c = m->chunks;
    m->chunks = c->next;
    free(c);
  }
  free(m->slices);
  free(m->channels);
  free(m->taken);
  free(m);
}

const struct t4_mem_stats *t4_mem_stats(const struct t4_mem *m) { return m->failed ? NULL : &m->stats; }

// Lines go round the slices, hashed with the higher bits so that powers of two spread (as the hardware's hash does).
static unsigned slice_of(const struct t4_mem *m, uint32_t sector) {
  uint32_t line = sector / SECTORS, h = line;
  for (uint32_t up = line / m->t->slices; up; up /= m->t->slices) h ^= up;
  return h % m->t->slices;
}

static struct line *set_of(const struct t4_mem *m, struct slice *s, uint32_t tag) {
  uint32_t h = tag ^ tag / m->t->l2_sets ^ tag / (m->t->l2_sets * m->t->l2_sets);
  return s->lines + (size_t)(h % m->t->l2_sets) * m->t->l2_ways;
}

// Queues a sector for the slice's memory channel.
static void send_dram(struct t4_mem *m, unsigned slice, uint32_t sector, bool write, uint64_t now) {
  struct slice *s = &m->slices[slice];
  struct t4_dram_request *r = dram_new(m);
  if (!r) return;
  uint32_t group = sector / SECTORS / m->t->slices;
  r->sector = sector;
  r->write = write;
  r->bank = (uint8_t)((slice & 1) | (group / 16 % 8) << 1); // a row of a bank: 16 lines, 2 KiB
  r->row = group / 128;
  r->ready = now + m->t->dram_path_latency;
  if (s->to_dram) s->to_dram_tail->next = r;
  else s->to_dram = r;
  s->to_dram_tail = r;
  s->num_to_dram++;
  m->busy_dram++;
}

// The line of a tag in its slice, brought in (without data) by putting out the least recently used.
static struct line *find(struct t4_mem *m, unsigned slice, uint32_t tag, bool bring, uint64_t now) {
  struct slice *s = &m->slices[slice];
  struct line *set = set_of(m, s, tag), *victim = set;
  for (unsigned i = 0; i < m->t->l2_ways; i++) {
    if (set[i].used && set[i].tag == tag) {
      set[i].stamp = ++s->stamp;
      return &set[i];
    }
    if (victim->used && (!set[i].used || set[i].stamp < victim->stamp)) victim = &set[i];
  }
  if (!bring) return NULL;
  if (victim->used && victim->dirty) {
    // The sector's address from tag and slice: undo the hash.
    uint32_t fold = 0;
    for (uint32_t up = victim->tag; up; up /= m->t->slices) fold ^= up;
    uint32_t line = victim->tag * m->t->slices + ((slice ^ fold) % m->t->slices);
    for (unsigned i = 0; i < SECTORS; i++)
      if (victim->dirty >> i & 1) send_dram(m, slice, line * SECTORS + i, true, now);
  }
  *victim = (struct line){.tag = tag, .used = true, .stamp = ++s->stamp};
  return victim;
}

static struct miss **miss_at(struct slice *s, uint32_t sector) {
  struct miss **p = &s->misses[(sector ^ sector >> 7 ^ sector >> 15) % MSHR_BUCKETS];
  while (*p && (*p)->sector != sector) p = &(*p)->next;
  return p;
}

static void reply(struct t4_mem *m, struct slice *s, struct t4_request *r) {
  t4_queue_push(&s->out, r);
  m->busy_out++;
}

// A store: takes a place in the line, no data is fetched.
static void serve_write(struct t4_mem *m, unsigned slice, struct t4_request *r, uint64_t now) {
  struct slice *s = &m->slices[slice];
  uint32_t tag = r->sector / SECTORS / m->t->slices, bit = 1u << r->sector % SECTORS;
  struct line *l = find(m, slice, tag, true, now);
  uint32_t *bytes = &l->bytes[r->sector % SECTORS];
  m->stats.l2_misses += !(l->valid & bit);
  l->valid |= (uint8_t)bit;
  l->dirty |= (uint8_t)bit;
  *bytes |= r->mask;
  if (*bytes == UINT32_MAX) l->readable |= (uint8_t)bit;
  reply(m, s, r);
}

// A load or an atomic. false: no room to wait for memory, try again.
static bool serve_read(struct t4_mem *m, unsigned slice, struct t4_request *r, uint64_t now) {
  struct slice *s = &m->slices[slice];
  uint32_t tag = r->sector / SECTORS / m->t->slices, bit = 1u << r->sector % SECTORS;
  struct line *l = find(m, slice, tag, false, now);
  if (l && l->readable & bit) {
    m->stats.l2_read_hits++;
    if (r->kind == T4_ATOMIC) l->dirty |= (uint8_t)bit;
    reply(m, s, r);
    return true;
  }
  struct miss **at = miss_at(s, r->sector);
  if (!*at) {
    if (s->num_misses >= m->t->l2_mshr || s->num_to_dram >= m->t->l2_to_dram_queue) return false;
    if (!(*at = miss_new(m))) return true;
    (*at)->sector = r->sector;
    s->num_misses++;
    m->stats.l2_misses++;
    find(m, slice, tag, true, now);
    send_dram(m, slice, r->sector, false, now);
  }
  r->next = (*at)->waiters;
  (*at)->waiters = r;
  return true;
}

// Data has come from memory: those that wait get it, oldest first.
static void fill(struct t4_mem *m, unsigned slice, uint32_t sector, uint64_t now) {
  struct slice *s = &m->slices[slice];
  struct miss **at = miss_at(s, sector), *done = *at;
  if (!done) return;
  *at = done->next;
  uint32_t bit = 1u << sector % SECTORS;
  struct line *l = find(m, slice, sector / SECTORS / m->t->slices, true, now);
  l->valid |= (uint8_t)bit;
  l->readable |= (uint8_t)bit;
  struct t4_request *order = NULL;
  while (done->waiters) {
    struct t4_request *r = done->waiters;
    done->waiters = r->next;
    r->next = order;
    order = r;
  }
  while (order) {
    struct t4_request *r = order;
    order = r->next;
    if (r->kind == T4_ATOMIC) l->dirty |= (uint8_t)bit;
    reply(m, s, r);
  }
  s->num_misses--;
  done->next = m->free_misses;
  m->free_misses = done;
}

static void slice_step(struct t4_mem *m, unsigned i, uint64_t now) {
  struct slice *s = &m->slices[i];
  struct t4_request *r = s->in.head;
  if (!r || r->ready > now) return;
  // The request is unlinked first: serving may link it elsewhere.
  t4_queue_pop(&s->in);
  bool served = true;
  uint8_t kind = r->kind;
  if (r->kind == T4_WRITE) {
    if (s->num_to_dram >= m->t->l2_to_dram_queue) served = false;
    else serve_write(m, i, r, now);
  } else served = serve_read(m, i, r, now);
  if (!served) { // back to the front
    r->next = s->in.head;
    s->in.head = r;
    if (!s->in.tail) s->in.tail = r;
    s->in.length++;
    return;
  }
  m->busy_in--;
  m->stats.l2_accesses++;
  m->stats.l2_reads += kind != T4_WRITE;
  if (kind == T4_ATOMIC && ++s->atomics > m->stats.busiest_atomics) m->stats.busiest_atomics = s->atomics;
}

// Moves what is due from the two slices of a channel into its window.
static void feed_channel(struct t4_mem *m, unsigned c, uint64_t now) {
  unsigned per = m->t->slices / m->t->channels;
  for (unsigned k = 0; k < per; k++) {
    struct slice *s = &m->slices[c * per + (k + now) % per];
    struct t4_dram_request *r = s->to_dram;
    if (!r || r->ready > now || m->channels[c].waiting >= m->t->dram_queue) continue;
    s->to_dram = r->next;
    s->num_to_dram--;
    t4_dram_push(&m->channels[c], r);
  }
}

static void dram_free(struct t4_mem *m, struct t4_dram_request *r) {
  r->next = m->free_dram;
  m->free_dram = r;
  m->busy_dram--;
}

static void dram_step(struct t4_mem *m, uint64_t now) {
  for (unsigned c = 0; c < m->t->channels; c++) {
    struct t4_channel *ch = &m->channels[c];
    if (ch->waiting) {
      struct t4_dram_request *finished = NULL;
      t4_dram_step(ch, m->t, m->clock, &m->stats, &finished);
      if (finished) dram_free(m, finished);
    }
    if (ch->done && ch->done->ready <= m->clock) {
      struct t4_dram_request *r = ch->done;
      ch->done = r->next;
      fill(m, slice_of(m, r->sector), r->sector, now);
      dram_free(m, r);
    }
  }
  m->clock++;
}

// One packet a cycle into each slice and out of each SM, and back; who goes first turns.
static void network_step(struct t4_mem *m, uint64_t now, struct t4_queue *out, struct t4_queue *in) {
  const struct t4_table *t = m->t;
  uint64_t used = 0;
  for (unsigned k = 0; k < t->num_sms; k++) {
    unsigned i = k + m->first_sm < t->num_sms ? k + m->first_sm : k + m->first_sm - t->num_sms;
    if (!out[i].head || out[i].head->ready > now) continue;
    unsigned to = slice_of(m, out[i].head->sector);
    if (used >> to & 1) continue;
    used |= UINT64_C(1) << to;
    struct t4_request *r = t4_queue_pop(&out[i]);
    r->ready = now + t->l2_latency;
    t4_queue_push(&m->slices[to].in, r);
    m->busy_in++;
  }
  if (++m->first_sm == t->num_sms) m->first_sm = 0;
  if (!m->busy_out) return;
  for (unsigned k = 0; k < t->slices; k++) {
    struct slice *s = &m->slices[(k + m->first_slice) % t->slices];
    if (!s->out.head || m->taken[s->out.head->sm] == now + 1) continue;
    struct t4_request *r = t4_queue_pop(&s->out);
    m->busy_out--;
    m->taken[r->sm] = now + 1;
    r->ready = now + 1;
    t4_queue_push(&in[r->sm], r);
  }
  m->first_slice = (m->first_slice + 1) % t->slices;
}

void t4_mem_step(struct t4_mem *m, uint64_t now, struct t4_queue *out, struct t4_queue *in) {
  const struct t4_table *t = m->t;
  if (m->busy_dram) {
    for (unsigned c = 0; c < t->channels; c++) feed_channel(m, c, now);
    for (m->clocks += t->dram_mhz / t->clock_mhz; m->clocks >= 1; m->clocks--) dram_step(m, now);
  }
  if (m->busy_in)
    for (unsigned i = 0; i < t->slices; i++) slice_step(m, i, now);
  network_step(m, now, out, in);
}

uint64_t t4_mem_next(const struct t4_mem *m, uint64_t now) {
  if (m->busy_dram || m->busy_out) return now;
  uint64_t next = UINT64_MAX;
  if (m->busy_in)
    for (unsigned i = 0; i < m->t->slices; i++)
      if (m->slices[i].in.head && m->slices[i].in.head->ready < next) next = m->slices[i].in.head->ready;
  return next > now || next == UINT64_MAX ? next : now;
}

// A channel of GDDR6: banks with one open row each, a bus that turns round at a price, and a scheduler that serves what hits an
// open row first and the oldest otherwise.
#include "runtime/vgpu/t4_mem.h"

static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }

void t4_dram_push(struct t4_channel *c, struct t4_dram_request *r) {
  struct t4_dram_bank *b = &c->banks[r->bank];
  r->next = NULL;
  if (b->tail) b->tail->next = r;
  else b->head = r;
  b->tail = r;
  c->queued |= 1u << r->bank;
  c->waiting++;
}

// Takes the next request of a bank: the oldest that hits the open row, else the oldest.
static void choose(struct t4_dram_bank *b) {
  struct t4_dram_request **at = &b->head, *before = NULL, *r = b->head;
  if (b->open)
    for (struct t4_dram_request *p = NULL, *q = b->head; q; p = q, q = q->next)
      if (q->row == b->row) {
        r = q, before = p;
        break;
      }
  if (before) before->next = r->next;
  else *at = r->next;
  if (b->tail == r) b->tail = before;
  r->next = NULL;
  b->current = r;
}

// Sends the data of a bank's request if everything allows it.
static bool column(struct t4_channel *c, const struct t4_table *t, unsigned i, uint64_t clock, struct t4_mem_stats *s,
                   struct t4_dram_request **finished) {
  struct t4_dram_bank *b = &c->banks[i];
  struct t4_dram_request *r = b->current;
  if (!b->open || b->row != r->row || clock < b->column_ok || clock < c->bus_ok) return false;
  if (clock < c->group_ok[i % t->dram_groups] || clock < (r->write ? c->write_ok : c->read_ok)) return false;
  b->current = NULL;
  c->waiting--;
  c->bus_ok = clock + t->burst;
  c->group_ok[i % t->dram_groups] = clock + t->ccd_long;
  s->dram_busy += t->burst;
  if (r->write) {
    s->dram_write_sectors++;
    c->read_ok = clock + t->wtr;
    b->precharge_ok = later(b->precharge_ok, clock + t->burst + t->wtr);
    *finished = r;
  } else {
    s->dram_read_sectors++;
    c->write_ok = clock + t->rtw;
    b->precharge_ok = later(b->precharge_ok, clock + t->burst);
    r->ready = clock + t->cl + t->burst;
    if (c->done) c->done_tail->next = r;
    else c->done = r;
    c->done_tail = r;
  }
  c->writing = r->write;
  return true;
}

// Closes or opens the row that a bank's request needs.
static bool row(struct t4_channel *c, const struct t4_table *t, unsigned i, uint64_t clock, struct t4_mem_stats *s) {
  struct t4_dram_bank *b = &c->banks[i];
  if (b->open && b->row == b->current->row) return false;
  if (b->open) {
    if (clock < b->precharge_ok) return false;
    b->open = false;
    b->activate_ok = later(b->activate_ok, clock + t->rp);
    return true;
  }
  if (clock < b->activate_ok || clock < c->activate_ok) return false;
  b->open = true;
  b->row = b->current->row;
  b->column_ok = clock + t->rcd;
  b->precharge_ok = clock + t->ras;
  b->activate_ok = clock + t->ras + t->rp;
  c->activate_ok = clock + t->rrd;
  s->row_misses++;
  return true;
}

void t4_dram_step(struct t4_channel *c, const struct t4_table *t, uint64_t clock, struct t4_mem_stats *s,
                  struct t4_dram_request **finished) {
  bool sent = false, opened = false;
  for (uint32_t todo = c->queued & ~c->chosen; todo; todo &= todo - 1) {
    unsigned i = (unsigned)__builtin_ctz(todo);
    choose(&c->banks[i]);
    c->chosen |= 1u << i;
    if (!c->banks[i].head) c->queued &= ~(1u << i);
  }
  // Banks in turn; the direction of the bus is kept while any bank can go on in it.
  uint32_t turned = (c->chosen >> c->turn | c->chosen << (t->dram_banks - c->turn)) & ((1u << t->dram_banks) - 1);
  for (unsigned pass = 0; clock >= c->bus_ok && pass < 2 && !sent; pass++)
    for (uint32_t todo = turned; todo && !sent; todo &= todo - 1) {
      unsigned i = ((unsigned)__builtin_ctz(todo) + c->turn) % t->dram_banks;
      if (c->banks[i].current->write != (pass ? !c->writing : c->writing)) continue;
      sent = column(c, t, i, clock, s, finished);
      if (sent) c->chosen &= ~(1u << i), turned &= ~(1u << (i + t->dram_banks - c->turn) % t->dram_banks);
    }
  for (uint32_t todo = turned; todo && !opened; todo &= todo - 1)
    opened = row(c, t, ((unsigned)__builtin_ctz(todo) + c->turn) % t->dram_banks, clock, s);
  if (sent || opened) c->turn = (c->turn + 1) % t->dram_banks;
}

// A list scheduler: within each basic block the instruction with the longest path of memory latencies to the block's end goes
// first, others in PTX order. So loads, and the addresses that they need, are hoisted above arithmetic as a compiler's back end does;
// arithmetic alone is left as it is. In a block with tensor instructions a load takes several turns, and the next load waits for a
// tensor instruction that can go: ptxas (13.0, for sm_75) puts the first HMMA after five loads or so, and then one between each two.
#include "runtime/vgpu/t4_code.h"
#include <stdlib.h>
#include <string.h>

enum {
  MAX_REGION = 4096, // longer blocks stay in PTX order
  LOAD_TURNS = 8     // of a load among tensor instructions
};

struct edge {
  uint32_t to, next; // next: index + 1 in the list, 0: the last
};

struct node {
  uint32_t edges;    // first + 1
  uint32_t waits;    // predecessors not yet placed
  uint32_t path;     // latencies to the end of the block
  uint32_t earliest; // cycle
  bool placed;
};

struct region {
  const struct t4_code *c;
  uint32_t first, num;
  struct node *nodes;
  struct edge *edges;
  uint32_t num_edges, cap_edges;
  uint32_t *writer, *reader; // by slot: last writer + 1; head of a list of readers since
};

// Cycles from an instruction's issue to that of one that needs its result: of memory only. Warps hide the few cycles of arithmetic.
static uint32_t latency(const struct t4_op *op) {
  switch ((enum t4_kind)op->kind) {
  case T4_GLOBAL_LOAD: case T4_GLOBAL_ATOM: return 300;
  case T4_SHARED_LOAD: return 35;
  case T4_CONST: return 8;
  default: return 0;
  }
}

static bool link_to(struct region *r, uint32_t from, uint32_t to) {
  if (from == to) return true;
  if (r->num_edges == r->cap_edges) {
    uint32_t cap = r->cap_edges ? r->cap_edges * 2 : 256;
    struct edge *e = realloc(r->edges, cap * sizeof *e);
    if (!e) return false;
    r->edges = e, r->cap_edges = cap;
  }
  r->edges[r->num_edges] = (struct edge){to, r->nodes[from].edges};
  r->nodes[from].edges = ++r->num_edges;
  r->nodes[to].waits++;
  return true;
}

// Does b have to stay behind a for what they do to memory? Loads may pass loads; spaces are apart.
static bool memory_order(const struct t4_op *a, const struct t4_op *b) {
  bool sa = a->kind == T4_SHARED_LOAD || a->kind == T4_SHARED_STORE, sb = b->kind == T4_SHARED_LOAD || b->kind == T4_SHARED_STORE;
  bool ga = a->kind >= T4_GLOBAL_LOAD && a->kind <= T4_GLOBAL_ATOM, gb = b->kind >= T4_GLOBAL_LOAD && b->kind <= T4_GLOBAL_ATOM;
  if (sa && sb) return a->kind == T4_SHARED_STORE || b->kind == T4_SHARED_STORE;
  if (ga && gb) return a->kind != T4_GLOBAL_LOAD || b->kind != T4_GLOBAL_LOAD;
  return false;
}

// Edges by a plain comparison of each pair's registers would be square; last writers and readers are kept instead.
static bool register_edges(struct region *r, uint32_t *list, uint32_t *list_next) {
  uint32_t used = 0;
  for (uint32_t i = 0; i < r->num; i++) {
    const struct t4_op *op = &r->c->ops[r->first + i];
    const uint16_t *slots = r->c->slots + op->slots;
    for (unsigned k = op->num_dst; k < op->num_dst + op->num_src; k++)
      if (r->writer[slots[k]] && !link_to(r, r->writer[slots[k]] - 1, i)) return false;
    for (unsigned k = 0; k < op->num_dst; k++) {
      if (r->writer[slots[k]] && !link_to(r, r->writer[slots[k]] - 1, i)) return false;
      for (uint32_t e = r->reader[slots[k]]; e; e = list_next[e - 1])
        if (!link_to(r, list[e - 1], i)) return false;
    }
    for (unsigned k = op->num_dst; k < op->num_dst + op->num_src; k++) {
      list[used] = i, list_next[used] = r->reader[slots[k]];
      r->reader[slots[k]] = ++used;
    }
    for (unsigned k = 0; k < op->num_dst; k++) r->writer[slots[k]] = i + 1, r->reader[slots[k]] = 0;
  }
  for (uint32_t i = 0; i < r->num; i++) { // leave the tables clean for the next region
    const struct t4_op *op = &r->c->ops[r->first + i];
    for (unsigned k = 0; k < op->num_dst + op->num_src; k++)
      r->writer[r->c->slots[op->slots + k]] = r->reader[r->c->slots[op->slots + k]] = 0;
  }
  return true;
}

static bool other_edges(struct region *r) {
  const struct t4_op *ops = r->c->ops + r->first;
  for (uint32_t i = 0; i < r->num; i++) {
    if (!ops[i].traced && i + 1 < r->num) continue;
    for (uint32_t k = 0; k < i; k++)
      // The last instruction of a block (a branch, a barrier) stays the last.
      if ((i + 1 == r->num && ops[i].kind >= T4_BARRIER) || memory_order(&ops[k], &ops[i]))
        if (!link_to(r, k, i)) return false;
  }
  return true;
}

static bool is_load(const struct t4_op *op) { return op->kind == T4_SHARED_LOAD || op->kind == T4_GLOBAL_LOAD; }

// The first tensor instruction that can go now; UINT32_MAX: none.
static uint32_t ready_tensor(const struct region *r, uint32_t now) {
  for (uint32_t i = 0; i < r->num; i++) {
    const struct node *n = &r->nodes[i];
    if (!n->placed && !n->waits && n->earliest <= now && r->c->ops[r->first + i].unit == T4_TENSOR) return i;
  }
  return UINT32_MAX;
}

static void place(struct region *r, uint32_t *order) {
  const struct t4_op *ops = r->c->ops + r->first;
  for (uint32_t i = r->num; i-- > 0;) {
    struct node *n = &r->nodes[i];
    n->path = latency(&ops[i]);
    for (uint32_t e = n->edges; e; e = r->edges[e - 1].next) {
      uint32_t path = r->nodes[r->edges[e - 1].to].path + latency(&ops[i]);
      if (path > n->path) n->path = path;
    }
  }
  uint32_t now = 0;
  bool tensors = false, loaded = false; // in the block; the last one was a load
  for (uint32_t i = 0; i < r->num; i++) tensors |= ops[i].unit == T4_TENSOR;
  for (uint32_t done = 0; done < r->num; done++, now += loaded && tensors ? LOAD_TURNS : 1) {
    uint32_t best = UINT32_MAX, soon = UINT32_MAX;
    for (uint32_t i = 0; i < r->num; i++) {
      const struct node *n = &r->nodes[i];
      if (n->placed || n->waits) continue;
      if (n->earliest <= now && (best == UINT32_MAX || n->path > r->nodes[best].path)) best = i;
      if (soon == UINT32_MAX || n->earliest < r->nodes[soon].earliest) soon = i;
    }
    if (best == UINT32_MAX) best = soon, now = r->nodes[soon].earliest;
    uint32_t tensor = loaded && is_load(&ops[best]) ? ready_tensor(r, now) : UINT32_MAX;
    if (tensor != UINT32_MAX) best = tensor;
    loaded = is_load(&ops[best]);
    order[done] = r->first + best;
    r->nodes[best].placed = true;
    for (uint32_t e = r->nodes[best].edges; e; e = r->edges[e - 1].next) {
      struct node *to = &r->nodes[r->edges[e - 1].to];
      to->waits--;
      if (now + latency(&ops[best]) > to->earliest) to->earliest = now + latency(&ops[best]);
    }
  }
}

bool t4_schedule(struct t4_code *c) {
  uint32_t slots = c->num_slots ? c->num_slots : 1;
  uint32_t *writer = calloc(slots, sizeof *writer), *reader = calloc(slots, sizeof *reader);
  bool ok = writer && reader;
  for (uint32_t i = 0; ok && i < c->num_blocks; i++) {
    const struct t4_block *b = &c->blocks[i];
    if (b->num < 3 || b->num > MAX_REGION) continue;
    struct region r = {.c = c, .first = b->first, .num = b->num, .writer = writer, .reader = reader};
    uint32_t sources = 1;
    for (uint32_t k = 0; k < b->num; k++) sources += c->ops[b->first + k].num_src;
    r.nodes = calloc(b->num, sizeof *r.nodes);
    uint32_t *list = calloc(sources, sizeof *list), *list_next = calloc(sources, sizeof *list_next);
    ok = r.nodes && list && list_next && register_edges(&r, list, list_next) && other_edges(&r);
    if (ok) place(&r, c->order + b->order);
    free(r.nodes);
    free(r.edges);
    free(list);
    free(list_next);
  }
  free(writer);
  free(reader);
  return ok;
}

// Control flow of a function: basic blocks and immediate post-dominators, so that each divergent branch knows where its lanes meet
// again. Post-dominators by the iteration of Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm" (2001), on the
// reversed graph.
#include "runtime/vgpu/decode_internal.h"

struct flow {
  const struct ptx_func *f;
  int n;          // instructions
  int num;        // blocks; block `num` is the exit
  int *first;     // by block, and one more
  int *block_of;  // by instruction
  int *succ_at, *succ; // successors of block b: succ[succ_at[b] .. succ_at[b + 1])
  int *pred_at, *pred;
  int *order;     // reverse post-order number on the reversed graph, -1: cannot reach the exit
  int *sequence;  // blocks in that order
  int reached;
  int *ipdom;
};

static bool named(const struct ptx_ins *in, const char *op) { return !strcmp(in->op, op); }

static const struct ptx_table *targets(const struct ptx_func *f, const struct ptx_ins *in) {
  if (!named(in, "brx") || in->num_ops != 2 || in->ops[1].kind != PTX_OP_TABLE) return NULL;
  for (const struct ptx_table *t = f->tables; t; t = t->next)
    if (!strcmp(t->name, in->ops[1].name)) return t;
  return NULL;
}

static bool is_branch(const struct ptx_ins *in) { return named(in, "bra") && in->num_ops == 1 && in->ops[0].kind == PTX_OP_LABEL; }
static bool is_leave(const struct ptx_ins *in) { return named(in, "ret") || named(in, "exit") || named(in, "trap"); }
static bool ends_block(const struct ptx_ins *in) { return is_branch(in) || named(in, "brx") || is_leave(in); }

// Calls f(ctx, successor) for every instruction that may follow i; n stands for the exit.
static void each_successor(const struct flow *w, int i, void (*fn)(void *ctx, int next), void *ctx) {
  const struct ptx_ins *in = &w->f->ins[i];
  const struct ptx_table *t;
  if (is_branch(in)) fn(ctx, w->f->label_at[in->ops[0].label]);
  else if ((t = targets(w->f, in)))
    for (int k = 0; k < t->num; k++) fn(ctx, w->f->label_at[t->labels[k]]);
  else if (is_leave(in)) fn(ctx, w->n);
  if (!ends_block(in) || in->pred >= 0) fn(ctx, i + 1);
}

static void mark_leader(void *ctx, int next) { ((uint8_t *)ctx)[next] = 1; }

static void find_blocks(struct dec *d, struct flow *w) {
  uint8_t *leader = dec_alloc(d, (size_t)w->n + 1);
  leader[0] = 1;
  for (int i = 0; i < w->n; i++)
    if (ends_block(&w->f->ins[i])) {
      leader[i + 1] = 1;
      each_successor(w, i, mark_leader, leader);
    }
  w->block_of = dec_alloc(d, ((size_t)w->n + 1) * sizeof(int));
  for (int i = 0; i < w->n; i++) {
    w->num += leader[i];
    w->block_of[i] = w->num - 1;
  }
  w->block_of[w->n] = w->num;
  w->first = dec_alloc(d, ((size_t)w->num + 2) * sizeof(int));
  for (int i = w->n; i >= 0; i--) w->first[w->block_of[i]] = i;
}

struct edges {
  struct flow *w;
  int from, count, *to;
};

static void add_edge(void *ctx, int next) {
  struct edges *e = ctx;
  if (e->to) e->to[e->count] = e->w->block_of[next];
  e->count++;
}

static void find_edges(struct dec *d, struct flow *w) {
  size_t nodes = (size_t)w->num + 2;
  w->succ_at = dec_alloc(d, nodes * sizeof(int));
  w->pred_at = dec_alloc(d, nodes * sizeof(int));
  struct edges e = {.w = w};
  for (int b = 0; b < w->num; b++) {
    w->succ_at[b] = e.count;
    each_successor(w, (b + 1 < w->num ? w->first[b + 1] : w->n) - 1, add_edge, &e);
  }
  w->succ_at[w->num] = w->succ_at[w->num + 1] = e.count;
  w->succ = dec_alloc(d, ((size_t)e.count + 1) * sizeof(int));
  w->pred = dec_alloc(d, ((size_t)e.count + 1) * sizeof(int));
  e.to = w->succ;
  e.count = 0;
  for (int b = 0; b < w->num; b++) each_successor(w, (b + 1 < w->num ? w->first[b + 1] : w->n) - 1, add_edge, &e);
  int *fill = dec_alloc(d, nodes * sizeof(int));
  for (int k = 0; k < e.count; k++) w->pred_at[w->succ[k] + 1]++;
  for (int b = 0; b <= w->num; b++) w->pred_at[b + 1] += w->pred_at[b];
  for (int b = 0; b < w->num; b++)
    for (int k = w->succ_at[b]; k < w->succ_at[b + 1]; k++) w->pred[w->pred_at[w->succ[k]] + fill[w->succ[k]]++] = b;
}

// Reverse post-order of the reversed graph from the exit, without recursion.
static void find_order(struct dec *d, struct flow *w) {
  size_t nodes = (size_t)w->num + 1;
  int *stack = dec_alloc(d, nodes * sizeof(int)), *next = dec_alloc(d, nodes * sizeof(int)), depth = 0, done = (int)nodes;
  uint8_t *seen = dec_alloc(d, nodes);
  w->order = dec_alloc(d, nodes * sizeof(int));
  w->sequence = dec_alloc(d, nodes * sizeof(int));
  for (size_t b = 0; b < nodes; b++) w->order[b] = -1;
  stack[depth++] = w->num;
  seen[w->num] = 1;
  while (depth) {
    int b = stack[depth - 1];
    if (w->pred_at[b] + next[b] < w->pred_at[b + 1]) {
      int p = w->pred[w->pred_at[b] + next[b]++];
      if (!seen[p]) seen[p] = 1, stack[depth++] = p;
      continue;
    }
    depth--;
    w->sequence[--done] = b;
  }
  w->reached = (int)nodes - done;
  memmove(w->sequence, w->sequence + done, (size_t)w->reached * sizeof(int));
  for (int k = 0; k < w->reached; k++) w->order[w->sequence[k]] = k;
}

static int meet(const struct flow *w, int a, int b) {
  while (a != b) {
    while (w->order[a] > w->order[b]) a = w->ipdom[a];
    while (w->order[b] > w->order[a]) b = w->ipdom[b];
  }
  return a;
}

static void find_ipdom(struct dec *d, struct flow *w) {
  w->ipdom = dec_alloc(d, ((size_t)w->num + 1) * sizeof(int));
  for (int b = 0; b <= w->num; b++) w->ipdom[b] = -1;
  w->ipdom[w->num] = w->num;
  for (bool changed = true; changed;) {
    changed = false;
    for (int k = 1; k < w->reached; k++) {
      int b = w->sequence[k], best = -1;
      for (int s = w->succ_at[b]; s < w->succ_at[b + 1]; s++) {
        int t = w->succ[s];
        if (w->order[t] < 0 || w->ipdom[t] < 0) continue;
        best = best < 0 ? t : meet(w, t, best);
      }
      if (best >= 0 && w->ipdom[b] != best) w->ipdom[b] = best, changed = true;
    }
  }
}

// In a kernel, lanes that come to an unguarded ret or exit end there one by one: nobody waits.
static int join_index(const struct flow *w, int block) {
  int j = w->ipdom[block];
  if (j < 0) return -1;
  int at = w->first[j];
  if (!w->f->is_entry) return at;
  if (at == w->n) return -1;
  const struct ptx_ins *in = &w->f->ins[at];
  return (named(in, "ret") || named(in, "exit")) && in->pred < 0 ? -1 : at;
}

// ---- registers live at once ----
struct live {
  const struct flow *w;
  size_t words;
  uint64_t *in; // by block: live at its start
  uint64_t *now; // while walking a block backwards
  uint32_t count, most;
};

static uint32_t weight(const struct ptx_var *v) {
  return v->type == PTX_PRED ? 0 : (ptx_type_size(v->type) == 8 ? 2u : 1u) * (uint32_t)(v->vec ? v->vec : 1);
}

static void set_live(struct live *l, const struct ptx_operand *o, bool on) {
  for (int k = 0; k < o->num_sub; k++) set_live(l, &o->sub[k], on);
  if (o->kind != PTX_OP_REG) return;
  uint64_t *word = &l->now[o->reg / 64], bit = UINT64_C(1) << o->reg % 64;
  if (!!(*word & bit) == on) return;
  if (!on && o->component >= 0 && o->var->vec) return; // a part of a vector register
  *word ^= bit;
  l->count += on ? weight(o->var) : 0u - weight(o->var);
}

static void walk_block(struct live *l, int b) {
  const struct ptx_func *f = l->w->f;
  int end = b + 1 < l->w->num ? l->w->first[b + 1] : l->w->n;
  for (int i = end - 1; i >= l->w->first[b]; i--) {
    const struct ptx_ins *in = &f->ins[i];
    int results = dec_num_results(in);
    for (int k = 0; k < results; k++) {
      bool is_register = in->ops[k].kind != PTX_OP_ADDR;
      if (in->pred < 0 || !is_register) set_live(l, &in->ops[k], !is_register);
    }
    for (int k = results; k < in->num_ops; k++) set_live(l, &in->ops[k], true);
    if (in->pred >= 0) l->now[in->pred / 64] |= UINT64_C(1) << in->pred % 64;
    if (l->count > l->most) l->most = l->count;
  }
}

// Live at the end of b: what is live at the start of any successor.
static void start_block(struct live *l, int b) {
  const struct flow *w = l->w;
  memset(l->now, 0, l->words * 8);
  l->count = 0;
  for (int s = w->succ_at[b]; s < w->succ_at[b + 1]; s++)
    for (size_t k = 0; w->succ[s] < w->num && k < l->words; k++) l->now[k] |= l->in[(size_t)w->succ[s] * l->words + k];
  for (size_t k = 0; k < l->words; k++)
    for (uint64_t left = l->now[k]; left; left &= left - 1) l->count += weight(w->f->regs[k * 64 + (size_t)__builtin_ctzll(left)]);
}

// Backwards to a fixed point. Giant functions are left out: what they need is more than there is.
static uint32_t live_registers(struct dec *d, const struct flow *w) {
  struct live l = {.w = w, .words = ((size_t)w->f->num_regs + 63) / 64};
  if (!l.words) return 0;
  if ((size_t)w->num > (UINT64_C(1) << 24) / 8 / l.words) return 255;
  l.in = dec_alloc(d, (size_t)w->num * l.words * 8);
  l.now = dec_alloc(d, l.words * 8);
  for (bool changed = true; changed;) {
    changed = false;
    for (int b = w->num - 1; b >= 0; b--) {
      start_block(&l, b);
      walk_block(&l, b);
      if (!memcmp(l.in + (size_t)b * l.words, l.now, l.words * 8)) continue;
      memcpy(l.in + (size_t)b * l.words, l.now, l.words * 8);
      changed = true;
    }
  }
  return l.most;
}

void dec_flow(struct dec *d) {
  struct flow w = {.f = d->f, .n = d->f->num_ins};
  d->join_of = dec_alloc(d, ((size_t)w.n + 1) * sizeof(int));
  d->join_at = dec_alloc(d, (size_t)w.n + 2);
  d->at = dec_alloc(d, ((size_t)w.n + 2) * sizeof *d->at);
  if (!w.n) return;
  find_blocks(d, &w);
  find_edges(d, &w);
  find_order(d, &w);
  find_ipdom(d, &w);
  d->vf->max_live_regs = live_registers(d, &w);
  for (int i = 0; i < w.n; i++) {
    const struct ptx_ins *in = &w.f->ins[i];
    bool splits = named(in, "brx") || ((is_branch(in) || named(in, "ret")) && in->pred >= 0);
    d->join_of[i] = splits ? join_index(&w, w.block_of[i]) : -1;
    if (d->join_of[i] >= 0) d->join_at[d->join_of[i]] = 1;
    bool wrapped = in->pred >= 0 && (named(in, "call") || named(in, "bar") || named(in, "barrier") || named(in, "brx"));
    if (wrapped || named(in, "call")) d->join_at[i + 1] = 1;
  }
}

// Where a module's .shared and .local variables lie, and what each kernel needs of them, by the call graph. A .shared variable of the
// module gets one offset that suits every kernel that uses it; variables that no kernel uses together may overlap.
#include "runtime/vgpu/decode_internal.h"

static uint64_t align_up(uint64_t v, uint64_t a) { return (v + a - 1) / a * a; }

struct use {
  const struct ptx_var *var;
  uint64_t *kernels; // bit set of functions (after closure: of kernels) that use it
};

// refs[f * words + g / 64]: f names or may call g. Indirect calls reach every function whose address is taken: all of them.
struct graph {
  uint32_t n, words;
  uint64_t *reach;
  bool *indirect;
};

static bool bit(const uint64_t *set, uint32_t k) { return set[k / 64] >> (k % 64) & 1; }
static void set_bit(uint64_t *set, uint32_t k) { set[k / 64] |= UINT64_C(1) << (k % 64); }

static void find_calls(struct dec *d, struct graph *g) {
  for (const struct ptx_func *f = d->m->funcs; f; f = f->next)
    for (int i = 0; i < f->num_ins; i++) {
      const struct ptx_ins *in = &f->ins[i];
      bool direct = false;
      if (strcmp(in->op, "call")) continue;
      for (int k = 0; k < in->num_ops; k++)
        if (in->ops[k].kind == PTX_OP_FUNC) set_bit(g->reach + (size_t)f->index * g->words, (uint32_t)in->ops[k].func->index), direct = true;
      if (!direct) g->indirect[f->index] = true;
    }
  for (const struct ptx_func *f = d->m->funcs; f; f = f->next)
    for (const struct ptx_func *t = g->indirect[f->index] ? d->m->funcs : NULL; t; t = t->next)
      if (!t->is_entry && t->has_body) set_bit(g->reach + (size_t)f->index * g->words, (uint32_t)t->index);
}

// Warshall's closure by rows of bits.
static void close_graph(struct graph *g) {
  for (uint32_t k = 0; k < g->n; k++)
    for (uint32_t i = 0; i < g->n; i++)
      if (bit(g->reach + (size_t)i * g->words, k))
        for (uint32_t w = 0; w < g->words; w++) g->reach[(size_t)i * g->words + w] |= g->reach[(size_t)k * g->words + w];
}

// Local bytes of the deepest chain below f; functions on a cycle count once.
static uint32_t depth(struct dec *d, const struct graph *g, const uint64_t *direct, uint32_t f, uint32_t *memo, uint8_t *open) {
  if (open[f]) return 0;
  if (memo[f]) return memo[f] - 1;
  open[f] = 1;
  uint32_t own = (uint32_t)align_up(d->c->funcs[f].local_bytes + 32u, 16), below = 0;
  for (uint32_t k = 0; k < g->n; k++)
    if (bit(direct + (size_t)f * g->words, k)) {
      uint32_t v = depth(d, g, direct, k, memo, open);
      below = v > below ? v : below;
    }
  open[f] = 0;
  uint32_t sum = own + below;
  memo[f] = sum + 1;
  return sum;
}

void dec_call_graph(struct dec *d) {
  struct graph g = {.n = d->c->num_funcs, .words = (d->c->num_funcs + 63) / 64};
  if (!g.n) return;
  if (g.n > 20000) dec_fail(d, PTX_FEATURE, "more than 20000 functions");
  size_t bytes = (size_t)g.n * g.words * sizeof *g.reach;
  g.reach = dec_alloc(d, bytes);
  g.indirect = dec_alloc(d, g.n);
  find_calls(d, &g);
  uint64_t *direct = dec_alloc(d, bytes);
  memcpy(direct, g.reach, bytes);
  close_graph(&g);
  uint32_t *memo = dec_alloc(d, g.n * sizeof *memo);
  uint8_t *open = dec_alloc(d, g.n);
  for (uint32_t f = 0; f < g.n; f++) {
    struct vgpu_func *v = &d->c->funcs[f];
    uint32_t sum = depth(d, &g, direct, f, memo, open);
    bool calls = false;
    for (uint32_t k = 0; k < g.n; k++) {
      if (!bit(g.reach + (size_t)f * g.words, k)) continue;
      calls = true;
      v->recursive |= bit(g.reach + (size_t)k * g.words, k) || g.indirect[k];
      v->uses_barrier |= d->c->funcs[k].uses_barrier;
    }
    v->recursive |= g.indirect[f];
    v->stack_bytes = calls ? sum : v->local_bytes;
  }
  d->c->reach = g.reach;
  d->c->reach_words = g.words;
}

static void visit_operand(const struct ptx_operand *o, const struct ptx_func *f, struct use *uses, int num) {
  for (int k = 0; k < o->num_sub; k++) visit_operand(&o->sub[k], f, uses, num);
  if (o->kind != PTX_OP_VAR || o->var->space != PTX_SHARED) return;
  for (int k = 0; k < num; k++)
    if (uses[k].var == o->var) set_bit(uses[k].kernels, (uint32_t)f->index);
}

static int collect(const struct ptx_var *v, struct use *uses, int n) {
  for (; v; v = v->next)
    if (v->space == PTX_SHARED) {
      if (uses) uses[n].var = v;
      n++;
    }
  return n;
}

// From functions that name the variable to kernels that reach them.
static void to_kernels(struct dec *d, struct use *u) {
  uint32_t words = d->c->reach_words;
  uint64_t *by = dec_alloc(d, words * sizeof *by);
  for (const struct ptx_func *k = d->m->funcs; k; k = k->next) {
    if (!k->is_entry) continue;
    bool uses = bit(u->kernels, (uint32_t)k->index);
    for (uint32_t w = 0; w < words; w++) uses |= (d->c->reach[(size_t)k->index * words + w] & u->kernels[w]) != 0;
    if (uses) set_bit(by, (uint32_t)k->index);
  }
  u->kernels = by;
}

static bool overlap(const struct use *a, const struct use *b, uint32_t words) {
  for (uint32_t w = 0; w < words; w++)
    if (a->kernels[w] & b->kernels[w]) return true;
  return false;
}

static void place(struct dec *d, struct use *uses, int k) {
  struct ptx_var *v = (struct ptx_var *)(uintptr_t)uses[k].var;
  uint64_t at = 0;
  for (bool moved = true; moved;) { // the lowest place beside those it must not touch
    moved = false;
    at = align_up(at, v->align ? v->align : 1);
    for (int j = 0; j < k; j++) {
      const struct ptx_var *o = uses[j].var;
      if (o->unsized || !overlap(&uses[k], &uses[j], d->c->reach_words)) continue;
      if (at < o->address + o->size && o->address < at + v->size) at = o->address + o->size, moved = true;
    }
  }
  if (at + v->size > UINT32_C(1) << 30) dec_fail(d, PTX_SYNTAX, "shared variable '%.60s' is too large", v->name);
  v->address = at;
}

void dec_layout_shared(struct dec *d) {
  int n = collect(d->m->vars, NULL, 0);
  for (const struct ptx_func *f = d->m->funcs; f; f = f->next) n = collect(f->vars, NULL, n);
  if (!n) return;
  struct use *uses = dec_alloc(d, (size_t)n * sizeof *uses);
  n = collect(d->m->vars, uses, 0);
  for (const struct ptx_func *f = d->m->funcs; f; f = f->next) n = collect(f->vars, uses, n);
  for (int k = 0; k < n; k++) uses[k].kernels = dec_alloc(d, d->c->reach_words * sizeof(uint64_t));
  for (const struct ptx_func *f = d->m->funcs; f; f = f->next)
    for (int i = 0; i < f->num_ins; i++)
      for (int o = 0; o < f->ins[i].num_ops; o++) visit_operand(&f->ins[i].ops[o], f, uses, n);
  for (int k = 0; k < n; k++) {
    to_kernels(d, &uses[k]);
    if (!uses[k].var->unsized) place(d, uses, k);
    for (uint32_t f = 0; f < d->c->num_funcs; f++) {
      if (!bit(uses[k].kernels, f)) continue;
      struct vgpu_func *v = &d->c->funcs[f];
      uint64_t end = uses[k].var->address + uses[k].var->size;
      if (uses[k].var->unsized) v->dynamic_align = uses[k].var->align > v->dynamic_align ? uses[k].var->align : v->dynamic_align;
      else if (end > v->static_shared) v->static_shared = (uint32_t)end;
    }
  }
}

void dec_layout_local(struct dec *d) {
  uint64_t at = 0;
  for (struct ptx_var *v = d->f->vars; v; v = v->next) {
    if (v->space != PTX_LOCAL) continue;
    at = align_up(at, v->align ? v->align : 1);
    v->address = at;
    at += v->size;
    if (at > 512 << 10) dec_fail(d, PTX_FEATURE, "local variable '%.60s': a thread has 512 KiB at most", v->name);
  }
  d->vf->local_bytes = (uint32_t)align_up(at, 16);
}

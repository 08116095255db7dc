// Syntax tree -> code. See decode.h. Functions are decoded one after the other into the module's one array: flow analysis, places for
// registers, then every instruction by the first family that knows it.
#include "runtime/vgpu/decode_internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int squeeze(char *out, size_t size, const char *text, int n) { // the instruction on one line
  size_t k = 0;
  for (int i = 0; i < n && k + 1 < size; i++) {
    char ch = text[i] == '\n' || text[i] == '\t' || text[i] == '\r' ? ' ' : text[i];
    if (ch != ' ' || (k && out[k - 1] != ' ')) out[k++] = ch;
  }
  out[k] = 0;
  return (int)k;
}

void dec_fail(struct dec *d, enum ptx_status status, const char *fmt, ...) {
  struct ptx_error *e = d->error;
  char why[256], text[160];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(why, sizeof why, fmt, ap);
  va_end(ap);
  e->status = status;
  e->line = d->in ? d->in->line : d->f ? d->f->line : 0;
  if (d->in) {
    squeeze(text, sizeof text, d->in->text, d->in->text_size);
    snprintf(e->text, sizeof e->text, "PTX line %d: '%s': %s", e->line, text, why);
  } else snprintf(e->text, sizeof e->text, "PTX line %d: %s", e->line, why);
  longjmp(d->on_error, 1);
}

void dec_no_memory(struct dec *d) {
  d->error->status = PTX_NO_MEMORY;
  snprintf(d->error->text, sizeof d->error->text, "no memory for the module's code");
  longjmp(d->on_error, 1);
}

void *dec_alloc(struct dec *d, size_t bytes) {
  void *p = ptx_alloc(d->m->arena, bytes ? bytes : 1);
  if (!p) dec_no_memory(d);
  return p;
}

static const struct {
  const char *op, *why;
} lacking[] = {{"cp", "needs sm_80"}, {"mbarrier", "needs sm_80"}, {"redux", "needs sm_80"}, {"tex", "textures are not modelled"},
               {"tld4", "textures are not modelled"}, {"txq", "textures are not modelled"}, {"suld", "surfaces are not modelled"},
               {"sust", "surfaces are not modelled"}, {"sured", "surfaces are not modelled"}, {"suq", "surfaces are not modelled"},
               {"createpolicy", "needs sm_80"}, {"discard", "needs sm_80"}, {"applypriority", "needs sm_80"}, {"stmatrix", "needs sm_90"},
               {"wgmma", "needs sm_90a"}, {"tcgen05", "needs sm_100a"}, {"elect", "needs sm_90"}, {"mapa", "needs sm_90"},
               {"getctarank", "needs sm_90"}, {"griddepcontrol", "needs sm_90"}, {"setmaxnreg", "needs sm_90a"},
               {"multimem", "needs sm_90"}, {"tensormap", "needs sm_90"}, {"clusterlaunchcontrol", "needs sm_100"},
               {"alloca", "stack allocation of a size unknown to the compiler is not modelled"}, {"stacksave", "is not modelled"},
               {"stackrestore", "is not modelled"}};

static void instruction(struct dec *d) {
  d->used = 0;
  for (int i = 0; i < d->in->num_mods; i++)
    if (!strncmp(d->in->mod[i], "bf16", 4) || !strcmp(d->in->mod[i], "tf32")) dec_fail(d, PTX_FEATURE, ".%s needs sm_80", d->in->mod[i]);
  bool known = dec_int(d) || dec_logic(d) || dec_compare(d) || dec_float(d) || dec_convert(d) || dec_memory(d) || dec_warp(d) || dec_tensor(d) ||
               dec_control(d);
  if (!known) {
    for (size_t i = 0; i < sizeof lacking / sizeof *lacking; i++)
      if (!strcmp(lacking[i].op, d->in->op)) dec_fail(d, PTX_FEATURE, "%s", lacking[i].why);
    dec_fail(d, PTX_SYNTAX, "unknown instruction");
  }
  for (int i = 0; i < d->in->num_mods; i++)
    if (!(d->used >> i & 1)) dec_fail(d, PTX_FEATURE, "modifier '.%.30s' is unknown here on sm_75", d->in->mod[i]);
}

static void join(struct dec *d, int index) {
  d->at[index] = d->c->num_ins;
  if (!d->join_at[index]) return;
  const struct ptx_ins *in = d->in;
  d->in = NULL;
  dec_emit(d, OP_JOIN, VGPU_CLASS_NONE);
  d->in = in;
}

// Indices become pcs.
static void fix_targets(struct dec *d) {
  struct vgpu_code *c = d->c;
  for (uint32_t k = d->vf->first; k < c->num_ins; k++) {
    struct vgpu_ins *i = &c->ins[k];
    if (i->op == OP_BRA || i->op == OP_BRA_PRED) i->target = d->at[i->target];
    if (i->op == OP_BRX)
      for (unsigned t = 0; t < i->num_list; t++) c->list[i->list + t] = d->at[c->list[i->list + t]];
    if (i->op == OP_BRA_PRED || i->op == OP_BRX || i->op == OP_CALL_INDIRECT) i->imm = i->imm < 0 ? -1 : (int64_t)d->at[i->imm];
  }
}

// The names of the functions that a driver supplies.
static uint32_t builtin(const char *name) {
  static const struct {
    const char *name;
    enum vgpu_builtin id;
  } names[] = {{"vprintf", BUILTIN_VPRINTF}, {"__assertfail", BUILTIN_ASSERTFAIL}, {"malloc", BUILTIN_MALLOC}, {"free", BUILTIN_FREE},
               {"__trap", BUILTIN_TRAP}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(names[i].name, name)) return names[i].id;
  return BUILTIN_NONE;
}

static void body(struct dec *d) {
  const struct ptx_func *f = d->f;
  dec_flow(d);
  for (d->index = 0; d->index < f->num_ins; d->index++) {
    d->in = &f->ins[d->index];
    join(d, d->index);
    uint32_t first = d->c->num_ins;
    instruction(d);
    for (uint32_t k = first; k < d->c->num_ins; k++) // the one that stands for it carries its registers
      if (d->c->ins[k].cls != VGPU_CLASS_NONE) dec_meta_regs(d, d->in, &d->c->meta[k]);
  }
  d->in = NULL;
  join(d, f->num_ins);
  dec_emit(d, f->is_entry ? OP_EXIT : OP_RET, f->is_entry ? VGPU_CLASS_EXIT : VGPU_CLASS_RET);
  d->c->meta[d->c->num_ins - 1].line = f->num_ins ? f->ins[f->num_ins - 1].line : f->line;
  d->vf->exit = d->c->num_ins - 1;
}

static void function(struct dec *d, const struct ptx_func *f) {
  d->f = f;
  d->in = NULL;
  d->vf = &d->c->funcs[f->index];
  d->vf->first = d->c->num_ins;
  dec_registers(d);
  dec_layout_local(d);
  if (f->has_body) {
    body(d);
    fix_targets(d);
  } else {
    d->vf->builtin = builtin(f->name);
    if (!d->vf->builtin && f->linkage != PTX_EXTERN && !f->is_entry) d->vf->builtin = BUILTIN_NONE;
    static const uint8_t least[] = {[BUILTIN_VPRINTF] = 2, [BUILTIN_ASSERTFAIL] = 4, [BUILTIN_MALLOC] = 1, [BUILTIN_FREE] = 1, [BUILTIN_TRAP] = 0};
    if (d->vf->builtin && d->vf->num_params < least[d->vf->builtin]) dec_fail(d, PTX_SYNTAX, "'%s' has too few parameters", f->name);
  }
  d->vf->num = d->c->num_ins - d->vf->first;
  d->vf->frame_bytes = d->frame;
  if (d->frame > d->c->max_frame) d->c->max_frame = d->frame;
}

// A call of a function that has no body and is no builtin cannot be linked.
static void check_externs(struct dec *d) {
  d->f = NULL;
  for (uint32_t k = 0; k < d->c->num_ins; k++) {
    const struct vgpu_ins *i = &d->c->ins[k];
    if (i->op != OP_CALL) continue;
    const struct vgpu_func *f = &d->c->funcs[i->target];
    d->in = d->c->meta[k].ptx;
    if (!f->num && !f->builtin) dec_fail(d, PTX_FEATURE, "unresolved function '%.60s'", f->name);
  }
  d->in = NULL;
  for (const struct ptx_var *v = d->m->vars; v; v = v->next)
    if (v->linkage == PTX_EXTERN && v->space != PTX_SHARED && v->unsized) dec_fail(d, PTX_FEATURE, "unresolved variable '%.60s'", v->name);
}

static void prepare(struct dec *d) {
  struct vgpu_code *c = d->c;
  c->num_funcs = (uint32_t)d->m->num_funcs;
  c->funcs = dec_alloc(d, (c->num_funcs + 1) * sizeof *c->funcs);
  dec_list(d, (const vgpu_loc[]){0}, 1); // the handlers take the address of an instruction's list, whether it has one or not
  for (struct ptx_func *f = d->m->funcs; f; f = f->next) {
    struct vgpu_func *v = &c->funcs[f->index];
    v->ptx = f;
    v->name = f->name;
    const uint32_t *n = f->reqntid[0] ? f->reqntid : f->maxntid;
    uint64_t most = n[0] ? (uint64_t)n[0] * n[1] * n[2] : 1024;
    v->max_threads = most < 1024 ? (uint32_t)most : 1024;
    f->decoded = v;
  }
}

static bool run(struct dec *d) {
  if (setjmp(d->on_error)) return false;
  prepare(d);
  dec_call_graph(d); // for the layout of shared memory
  dec_layout_shared(d);
  for (const struct ptx_func *f = d->m->funcs; f; f = f->next) function(d, f);
  check_externs(d);
  dec_call_graph(d); // again, for stack sizes and barriers
  d->c->links = d->links;
  return true;
}

struct vgpu_code *vgpu_decode(struct ptx_module *m, struct ptx_error *e) {
  *e = (struct ptx_error){0};
  struct dec *d = calloc(1, sizeof *d);
  struct vgpu_code *c = calloc(1, sizeof *c);
  if (!d || !c) {
    free(d);
    free(c);
    ptx_free(m);
    e->status = PTX_NO_MEMORY;
    snprintf(e->text, sizeof e->text, "no memory for the module's code");
    return NULL;
  }
  c->ptx = m;
  d->c = c;
  d->m = m;
  d->error = e;
  d->handlers = vgpu_op_handlers();
  bool ok = run(d);
  free(d);
  if (ok) return c;
  vgpu_code_free(c);
  return NULL;
}

void vgpu_code_free(struct vgpu_code *c) {
  if (!c) return;
  free(c->ins);
  free(c->meta);
  free(c->constants);
  free(c->list);
  free(c->regs);
  ptx_free(c->ptx);
  free(c);
}

struct vgpu_func *vgpu_find_func(const struct vgpu_code *c, const char *name) {
  for (uint32_t k = 0; k < c->num_funcs; k++)
    if (!strcmp(c->funcs[k].name, name)) return &c->funcs[k];
  return NULL;
}

struct ptx_var *vgpu_find_var(const struct vgpu_code *c, const char *name) {
  for (struct ptx_var *v = c->ptx->vars; v; v = v->next)
    if (!strcmp(v->name, name)) return v;
  return NULL;
}

static bool is_placed(const struct ptx_var *v) { return v->space == PTX_GLOBAL || v->space == PTX_CONST; }

// Module scope first, then the functions' own, in order.
struct ptx_var *vgpu_next_var(const struct vgpu_code *c, const struct ptx_var *previous) {
  bool found = !previous;
  for (struct ptx_var *v = c->ptx->vars; v; v = v->next) {
    if (found && is_placed(v)) return v;
    found |= v == previous;
  }
  for (const struct ptx_func *f = c->ptx->funcs; f; f = f->next)
    for (struct ptx_var *v = f->vars; v; v = v->next) {
      if (found && is_placed(v)) return v;
      found |= v == previous;
    }
  return NULL;
}

void vgpu_var_bytes(const struct vgpu_code *c, const struct ptx_var *var, uint8_t *out) {
  (void)c;
  if (var->init) memcpy(out, var->init, var->size);
  else memset(out, 0, var->size);
  for (const struct ptx_reloc *r = var->relocs; r; r = r->next) {
    uint64_t v = r->func ? VGPU_FUNC_WINDOW + 16 * (1 + (uint64_t)r->func->index) : r->var->address;
    if (r->var && r->generic && r->var->space == PTX_SHARED) v += VG_SHARED_WINDOW;
    v = (v + (uint64_t)r->addend) >> r->shift;
    for (int i = 0; i < r->width && r->offset + (uint64_t)i < var->size; i++) out[r->offset + (uint64_t)i] = (uint8_t)(v >> 8 * i);
  }
}

void vgpu_link(struct vgpu_code *c) {
  for (const struct link_entry *e = c->links; e; e = e->next) {
    uint64_t v = e->var->address + (uint64_t)e->addend;
    uint8_t *row = c->constants + (e->loc & ~3u);
    for (int i = 0; i < 32; i++) memcpy(row + (unsigned)i * e->width, &v, e->width);
  }
}

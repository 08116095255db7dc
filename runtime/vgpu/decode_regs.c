// Registers to places in the frame, parameters of functions and calls too; and the register numbers that counters and the timing model
// use for dependences.
#include "runtime/vgpu/decode_internal.h"
#include <stdlib.h>

static unsigned row_bytes(enum ptx_type t) {
  unsigned n = ptx_type_size(t);
  return n < 2 ? 64 : n * 32;
}

static void param_rows(struct dec *d, struct ptx_var *v) {
  if (v->size > 4096) dec_fail(d, PTX_FEATURE, "parameter '%.60s' has more than 4096 bytes", v->name);
  v->slot = (int)dec_frame(d, (uint32_t)((v->size + 3) / 4 * 128 + 128)); // and one for an 8-byte part at the end
}

static void func_params(struct dec *d, struct ptx_var *list, vgpu_loc **locs, uint32_t **sizes, uint32_t *num) {
  uint32_t n = 0;
  for (struct ptx_var *v = list; v; v = v->next) n++;
  *locs = dec_alloc(d, (n + 1) * sizeof **locs);
  *sizes = dec_alloc(d, (n + 1) * sizeof **sizes);
  *num = n;
  n = 0;
  for (struct ptx_var *v = list; v; v = v->next, n++) {
    if (v->space == PTX_REG) {
      (*locs)[n] = d->reg_loc[v->slot];
      (*sizes)[n] = ptx_type_size(v->type) < 4 ? 2 : ptx_type_size(v->type);
      if (v->type == PTX_PRED || ptx_type_size(v->type) > 4) dec_fail(d, PTX_FEATURE, "a .reg parameter of this type");
    } else {
      param_rows(d, v);
      (*locs)[n] = (vgpu_loc)v->slot;
      (*sizes)[n] = (uint32_t)v->size;
    }
  }
}

static void entry_params(struct dec *d) {
  uint64_t at = 0;
  for (struct ptx_var *v = d->f->params; v; v = v->next) {
    uint64_t a = v->align ? v->align : 1;
    at = (at + a - 1) / a * a;
    v->address = at;
    at += v->size;
    d->vf->num_params++;
    if (at > 4096) dec_fail(d, PTX_FEATURE, "kernel '%.60s' has more than 4096 bytes of parameters", d->f->name);
  }
  d->vf->param_bytes = (uint32_t)at;
}

// Predicates first (a guard's locator must fit 31 bits), then rows by size.
static void place_registers(struct dec *d) {
  const struct ptx_func *f = d->f;
  d->reg_loc = dec_alloc(d, ((size_t)f->num_regs + 1) * sizeof *d->reg_loc);
  uint32_t preds = 4; // the carry flag is the first
  for (int i = 0; i < f->num_regs; i++)
    if (f->regs[i]->type == PTX_PRED) d->reg_loc[i] = preds, preds += 4;
  d->frame = 0;
  dec_frame(d, preds);
  d->carry = 0;
  d->temp = dec_frame(d, 256);
  for (int i = 0; i < f->num_regs; i++) {
    const struct ptx_var *v = f->regs[i];
    if (v->type != PTX_PRED) d->reg_loc[i] = dec_frame(d, row_bytes(v->type) * (uint32_t)(v->vec ? v->vec : 1));
  }
}

void dec_registers(struct dec *d) {
  place_registers(d);
  if (d->f->is_entry) entry_params(d);
  else {
    func_params(d, d->f->params, &d->vf->param_locs, &d->vf->param_sizes, &d->vf->num_params);
    func_params(d, d->f->rets, &d->vf->ret_locs, &d->vf->ret_sizes, &d->vf->num_rets);
  }
  for (struct ptx_var *v = d->f->vars; v; v = v->next)
    if (v->space == PTX_PARAM) param_rows(d, v);
}

static void push(struct dec *d, uint32_t reg) {
  struct vgpu_code *c = d->c;
  if (d->num_regs == d->cap_regs) {
    uint32_t cap = d->cap_regs ? d->cap_regs * 2 : 1024;
    uint32_t *p = realloc(c->regs, cap * sizeof *p);
    if (!p) dec_no_memory(d);
    c->regs = p;
    d->cap_regs = cap;
  }
  c->regs[d->num_regs++] = reg;
}

// Numbers: a register takes two, so that 64-bit ones have a pair. The units of a vector register follow each other.
static void push_operand(struct dec *d, const struct ptx_operand *o) {
  for (int k = 0; k < o->num_sub; k++) push_operand(d, &o->sub[k]);
  if (o->kind != PTX_OP_REG) return;
  uint32_t n = (uint32_t)o->reg * 8;
  if (o->var->type == PTX_PRED) {
    push(d, VGPU_REG_PRED + (uint32_t)o->reg);
    return;
  }
  if (o->component > 0) n += (uint32_t)o->component * 2;
  push(d, n);
  if (ptx_type_size(o->var->type) == 8) push(d, n + 1);
}

int dec_num_results(const struct ptx_ins *in) {
  static const char *const none[] = {"st", "red", "bra", "brx", "bar", "barrier", "membar", "fence", "prefetch", "prefetchu", "ret", "exit",
                                     "trap", "brkpt", "nanosleep", "pmevent", "call"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    if (!strcmp(none[i], in->op)) return (in->op[0] == 'b' && in->num_mods > 0 && in->num_ops > 2 && !strcmp(in->mod[0], "red")) ||
                                         (!strcmp(in->op, "barrier") && in->num_mods > 1 && !strcmp(in->mod[1], "red"));
  if (!strcmp(in->op, "wmma") && in->num_mods && !strcmp(in->mod[0], "store")) return 0;
  return in->num_ops > 0;
}

void dec_meta_regs(struct dec *d, const struct ptx_ins *in, struct vgpu_meta *m) {
  uint32_t first = d->num_regs;
  int results = dec_num_results(in);
  for (int k = 0; k < results; k++) push_operand(d, &in->ops[k]);
  m->num_dst = (uint16_t)(d->num_regs - first);
  for (int k = results; k < in->num_ops; k++) push_operand(d, &in->ops[k]);
  if (in->pred >= 0) push(d, VGPU_REG_PRED + (uint32_t)in->pred);
  m->num_src = (uint16_t)(d->num_regs - first - m->num_dst);
  m->regs = first;
}

// Operands and modifiers of one instruction, and the growing arrays of the module. See decode_internal.h.
#include "runtime/vgpu/decode_internal.h"
#include "runtime/vgpu/half.h"
#include <stdlib.h>

static void *grow(struct dec *d, void *old, uint32_t need, uint32_t *cap, size_t size) {
  if (need <= *cap) return old;
  uint32_t cap2 = *cap ? *cap : 256;
  while (cap2 < need) {
    if (cap2 > UINT32_MAX / 4) dec_no_memory(d);
    cap2 *= 2;
  }
  void *p = realloc(old, cap2 * size);
  if (!p) dec_no_memory(d);
  memset((char *)p + *cap * size, 0, (cap2 - *cap) * size);
  *cap = cap2;
  return p;
}

struct vgpu_ins *dec_emit(struct dec *d, enum vgpu_op op, enum vgpu_class cls) {
  struct vgpu_code *c = d->c;
  uint32_t cap = d->cap_ins;
  c->ins = grow(d, c->ins, c->num_ins + 1, &d->cap_ins, sizeof *c->ins);
  c->meta = grow(d, c->meta, c->num_ins + 1, &cap, sizeof *c->meta);
  struct vgpu_ins *i = &c->ins[c->num_ins];
  struct vgpu_meta *m = &c->meta[c->num_ins++];
  *i = (struct vgpu_ins){.op = (uint16_t)op, .cls = (uint8_t)cls, .fn = d->handlers[op], .e = NO_LOC, .dst = NO_LOC};
  *m = (struct vgpu_meta){0};
  if (!d->in) return i;
  m->line = d->in->line;
  m->src_line = d->in->src_line;
  m->file = (uint16_t)d->in->file;
  m->ptx = d->in;
  if (d->in->pred >= 0) i->guard = (1 + d->reg_loc[d->in->pred]) | (uint32_t)d->in->pred_neg << 31;
  return i;
}

uint32_t dec_list(struct dec *d, const vgpu_loc *locs, unsigned n) {
  d->c->list = grow(d, d->c->list, d->num_list + n, &d->cap_list, sizeof *d->c->list);
  for (unsigned i = 0; i < n; i++) d->c->list[d->num_list + i] = locs[i];
  d->num_list += n;
  return d->num_list - n;
}

static void fill_row(uint8_t *row, uint64_t value, unsigned width) {
  for (int i = 0; i < 32; i++) {
    if (width == 8) memcpy(row + i * 8, &value, 8);
    else if (width == 4) memcpy(row + i * 4, &(uint32_t){(uint32_t)value}, 4);
    else memcpy(row + i * 2, &(uint16_t){(uint16_t)value}, 2);
  }
}

static vgpu_loc new_const(struct dec *d, uint64_t value, unsigned width) {
  uint32_t at = d->c->const_bytes, bytes = width * 32;
  if (at > UINT32_MAX / 4) dec_no_memory(d);
  if (at + bytes > d->cap_const) { // rows are aligned to 64 bytes, as the frame's are
    uint32_t cap = d->cap_const ? d->cap_const * 2 : 65536;
    uint8_t *p = aligned_alloc(64, cap);
    if (!p) dec_no_memory(d);
    memset(p, 0, cap);
    if (at) memcpy(p, d->c->constants, at);
    free(d->c->constants);
    d->c->constants = p;
    d->cap_const = cap;
  }
  fill_row(d->c->constants + at, value, width);
  d->c->const_bytes = at + bytes;
  return at | 1;
}

vgpu_loc dec_const(struct dec *d, uint64_t value, unsigned width) {
  if (width < 8) value &= (UINT64_C(1) << 8 * width) - 1;
  uint64_t h = (value ^ value >> 29) * UINT64_C(0x9e3779b97f4a7c15) + width;
  struct const_entry **b = &d->consts[h >> 54];
  for (struct const_entry *e = *b; e; e = e->next)
    if (e->value == value && e->width == width) return e->loc;
  struct const_entry *e = dec_alloc(d, sizeof *e);
  e->value = value;
  e->width = width;
  e->loc = new_const(d, value, width);
  e->next = *b;
  *b = e;
  return e->loc;
}

vgpu_loc dec_frame(struct dec *d, uint32_t bytes) {
  uint32_t at = d->frame;
  if (at > UINT32_C(1) << 28) dec_fail(d, PTX_FEATURE, "function '%.60s' has too many registers", d->f->name);
  d->frame = at + ((bytes + 63) & ~63u);
  return at;
}

bool dec_mod(struct dec *d, const char *name) {
  for (int i = 0; i < d->in->num_mods; i++)
    if (!(d->used >> i & 1) && !strcmp(d->in->mod[i], name)) {
      d->used |= 1u << i;
      return true;
    }
  return false;
}

bool dec_try_type(struct dec *d, enum ptx_type *t) {
  for (int i = 0; i < d->in->num_mods; i++)
    if (!(d->used >> i & 1) && ptx_type_from(d->in->mod[i], t)) {
      d->used |= 1u << i;
      return true;
    }
  return false;
}

enum ptx_type dec_type(struct dec *d) {
  enum ptx_type t;
  if (!dec_try_type(d, &t)) dec_fail(d, PTX_SYNTAX, "a type is missing");
  return t;
}

int dec_one_of(struct dec *d, const char *const *names, int n, int otherwise) {
  for (int i = 0; i < n; i++)
    if (dec_mod(d, names[i])) return i;
  return otherwise;
}

const struct ptx_operand *dec_op_or_null(struct dec *d, int k) { return k < d->in->num_ops ? &d->in->ops[k] : NULL; }

const struct ptx_operand *dec_op(struct dec *d, int k) {
  if (k >= d->in->num_ops) dec_fail(d, PTX_SYNTAX, "operand %d is missing", k + 1);
  return &d->in->ops[k];
}

void dec_num_ops(struct dec *d, int least, int most) {
  if (d->in->num_ops < least || d->in->num_ops > most) dec_fail(d, PTX_SYNTAX, "%d operands where %d to %d belong", d->in->num_ops, least, most);
}

static unsigned row_width(enum ptx_type t) {
  unsigned n = ptx_type_size(t);
  return n < 2 ? 2 : n;
}

unsigned dec_reg_width(struct dec *d, const struct ptx_operand *o) {
  if (o->kind != PTX_OP_REG) dec_fail(d, PTX_SYNTAX, "a register is expected");
  if (o->var->type == PTX_PRED || o->var->type == PTX_B128) dec_fail(d, PTX_SYNTAX, "register '%.40s' does not fit here", o->var->name);
  return row_width(o->var->type);
}

static vgpu_loc reg_row(struct dec *d, const struct ptx_operand *o) {
  vgpu_loc loc = d->reg_loc[o->reg];
  if (o->neg) dec_fail(d, PTX_SYNTAX, "a sign or negation before register '%.40s'", o->var->name);
  if (o->var->vec > 1) {
    if (o->component < 0 || o->component >= o->var->vec) dec_fail(d, PTX_SYNTAX, "vector register '%.40s' needs a component", o->var->name);
    loc += (uint32_t)o->component * ((row_width(o->var->type) * 32 + 63) & ~63u);
  }
  return loc;
}

static const struct {
  const char *name;
  int component, row; // component -1: none; row -1: emitted as CLOCK with `clock`
  int clock, width;
} sregs[] = {
    {"%tid", 0, SP_TID_X, 0, 4}, {"%tid", 1, SP_TID_Y, 0, 4}, {"%tid", 2, SP_TID_Z, 0, 4}, {"%ntid", 0, SP_NTID_X, 0, 4},
    {"%ntid", 1, SP_NTID_Y, 0, 4}, {"%ntid", 2, SP_NTID_Z, 0, 4}, {"%ctaid", 0, SP_CTAID_X, 0, 4}, {"%ctaid", 1, SP_CTAID_Y, 0, 4},
    {"%ctaid", 2, SP_CTAID_Z, 0, 4}, {"%nctaid", 0, SP_NCTAID_X, 0, 4}, {"%nctaid", 1, SP_NCTAID_Y, 0, 4},
    {"%nctaid", 2, SP_NCTAID_Z, 0, 4}, {"%laneid", -1, SP_LANEID, 0, 4}, {"%warpid", -1, SP_WARPID, 0, 4},
    {"%nwarpid", -1, SP_NWARPID, 0, 4}, {"%smid", -1, SP_SMID, 0, 4}, {"%nsmid", -1, SP_NSMID, 0, 4},
    {"%lanemask_eq", -1, SP_LANEMASK_EQ, 0, 4}, {"%lanemask_le", -1, SP_LANEMASK_LE, 0, 4}, {"%lanemask_lt", -1, SP_LANEMASK_LT, 0, 4},
    {"%lanemask_ge", -1, SP_LANEMASK_GE, 0, 4}, {"%lanemask_gt", -1, SP_LANEMASK_GT, 0, 4},
    {"%dynamic_smem_size", -1, SP_DYNAMIC_SMEM, 0, 4}, {"%total_smem_size", -1, SP_TOTAL_SMEM, 0, 4},
    {"%aggr_smem_size", -1, SP_TOTAL_SMEM, 0, 4}, {"%tid", 3, SP_ZERO, 0, 4}, {"%ntid", 3, SP_ZERO, 0, 4}, {"%ctaid", 3, SP_ZERO, 0, 4},
    {"%nctaid", 3, SP_ZERO, 0, 4}, {"%reserved_smem_offset_begin", -1, SP_ZERO, 0, 4}, {"%reserved_smem_offset_end", -1, SP_ZERO, 0, 4},
    {"%reserved_smem_offset_cap", -1, SP_ZERO, 0, 4}, {"%clock", -1, -1, 0, 4}, {"%clock_hi", -1, -1, 1, 4}, {"%clock64", -1, -1, 2, 8},
    {"%globaltimer", -1, -1, 3, 8}, {"%globaltimer_lo", -1, -1, 4, 4}, {"%globaltimer_hi", -1, -1, 5, 4}, {"%gridid", -1, -1, 6, 8},
    {"%current_graph_exec", -1, -1, 6, 8}};

static vgpu_loc special(struct dec *d, const struct ptx_operand *o, unsigned *width) {
  for (size_t i = 0; i < sizeof sregs / sizeof *sregs; i++) {
    if (strcmp(sregs[i].name, o->name) || sregs[i].component != o->component) continue;
    if (sregs[i].row >= 0) {
      *width = 4;
      return (uint32_t)(sregs[i].row * 128) | 2;
    }
    struct vgpu_ins *n = dec_emit(d, OP_CLOCK, VGPU_CLASS_NONE);
    n->dst = d->temp;
    n->sub = (uint8_t)sregs[i].clock;
    *width = n->width = (uint8_t)sregs[i].width;
    return d->temp;
  }
  bool pm = !strncmp(o->name, "%pm", 3) || !strncmp(o->name, "%envreg", 7);
  if (!pm) dec_fail(d, PTX_FEATURE, "'%.40s' is not declared, or a special register that sm_75 lacks", o->name);
  *width = strstr(o->name, "_64") ? 8 : 4;
  return dec_const(d, 0, *width);
}

// The address of a variable as a value.
static vgpu_loc var_value(struct dec *d, const struct ptx_operand *o, unsigned width) {
  const struct ptx_var *v = o->var;
  if (width < 4) dec_fail(d, PTX_SYNTAX, "the address of '%.40s' in %u bytes", v->name, width);
  if (v->space == PTX_GLOBAL || v->space == PTX_CONST) {
    struct link_entry *e = dec_alloc(d, sizeof *e);
    *e = (struct link_entry){.next = d->links, .var = v, .addend = o->ival, .width = width, .loc = new_const(d, 0, width)};
    d->links = e;
    return e->loc;
  }
  if (v->space == PTX_LOCAL) {
    if (d->f->is_entry) return dec_const(d, v->address + (uint64_t)o->ival, width);
    struct vgpu_ins *n = dec_emit(d, OP_MOV_LOCAL, VGPU_CLASS_NONE);
    n->dst = d->temp;
    n->imm = (int64_t)v->address + o->ival;
    n->width = (uint8_t)width;
    return d->temp;
  }
  if (v->space == PTX_SHARED && v->unsized) {
    if (width == 4 && !o->ival) return SP_DYNAMIC_BASE * 128 | 2;
    struct vgpu_ins *n = dec_emit(d, OP_ADD_B32, VGPU_CLASS_NONE);
    n->dst = d->temp;
    n->a = SP_DYNAMIC_BASE * 128 | 2;
    n->b = dec_const(d, (uint64_t)o->ival, 4);
    if (width == 4) return d->temp;
    vgpu_loc wide = dec_frame(d, 256);
    n = dec_emit(d, OP_CVT_U64_U32, VGPU_CLASS_NONE);
    n->dst = wide;
    n->a = d->temp;
    n->width = 8;
    return wide;
  }
  if (v->space == PTX_SHARED) return dec_const(d, v->address + (uint64_t)o->ival, width);
  if (v->space == PTX_PARAM && d->f->is_entry) {
    for (const struct ptx_var *p = d->f->params; p; p = p->next)
      if (p == v) return dec_const(d, v->address + (uint64_t)o->ival, width);
  }
  dec_fail(d, PTX_FEATURE, "the address of parameter '%.40s' is taken", v->name);
}

static uint64_t float_literal(struct dec *d, const struct ptx_operand *o, enum ptx_type t) {
  unsigned size = ptx_type_size(t);
  if (size == 8 && o->kind == PTX_OP_F32) return vgpu_bits64((double)vgpu_as_float((uint32_t)o->ival));
  if (size == 4 && o->kind == PTX_OP_F64) return vgpu_bits((float)vgpu_as_double((uint64_t)o->ival));
  if (size == 2) return vgpu_double_to_half(o->kind == PTX_OP_F64 ? vgpu_as_double((uint64_t)o->ival) : (double)vgpu_as_float((uint32_t)o->ival), ROUND_N);
  if (size < 4) dec_fail(d, PTX_SYNTAX, "a float where a small integer belongs");
  return (uint64_t)o->ival;
}

vgpu_loc dec_src_any(struct dec *d, const struct ptx_operand *o, enum ptx_type t, unsigned *width) {
  *width = row_width(t);
  switch (o->kind) {
  case PTX_OP_REG: *width = dec_reg_width(d, o); return reg_row(d, o);
  case PTX_OP_INT:
    if (dec_is_float(t)) dec_fail(d, PTX_SYNTAX, "an integer where a float belongs");
    return dec_const(d, (uint64_t)o->ival, *width);
  case PTX_OP_F32:
  case PTX_OP_F64: return dec_const(d, float_literal(d, o, t), *width);
  case PTX_OP_SREG: return special(d, o, width);
  case PTX_OP_VAR: return var_value(d, o, *width);
  case PTX_OP_FUNC: return dec_const(d, VGPU_FUNC_WINDOW + 16 * (1 + (uint64_t)o->func->index), *width);
  default: dec_fail(d, PTX_SYNTAX, "an operand of the wrong kind");
  }
}

vgpu_loc dec_src(struct dec *d, const struct ptx_operand *o, enum ptx_type t) {
  unsigned width;
  vgpu_loc loc = dec_src_any(d, o, t, &width);
  if (width != row_width(t)) dec_fail(d, PTX_SYNTAX, "an operand of %u bits where %u belong", width * 8, row_width(t) * 8);
  return loc;
}

vgpu_loc dec_dst_any(struct dec *d, const struct ptx_operand *o, enum ptx_type t, unsigned *width) {
  *width = row_width(t);
  if (o->kind == PTX_OP_SINK) return NO_LOC;
  *width = dec_reg_width(d, o);
  return reg_row(d, o);
}

vgpu_loc dec_dst(struct dec *d, const struct ptx_operand *o, enum ptx_type t) {
  unsigned width;
  vgpu_loc loc = dec_dst_any(d, o, t, &width);
  if (width != row_width(t)) dec_fail(d, PTX_SYNTAX, "a result register of %u bits where %u belong", width * 8, row_width(t) * 8);
  return loc == NO_LOC ? d->temp : loc;
}

vgpu_loc dec_pred(struct dec *d, const struct ptx_operand *o, bool *neg) {
  *neg = o->neg;
  if (o->kind == PTX_OP_INT) { // a constant predicate: any non-zero is true
    *neg = false;
    return dec_const(d, o->ival ? ~UINT64_C(0) : 0, 4);
  }
  if (o->kind != PTX_OP_REG || o->var->type != PTX_PRED) dec_fail(d, PTX_SYNTAX, "a predicate is expected");
  return d->reg_loc[o->reg];
}

vgpu_loc dec_pred_dst(struct dec *d, const struct ptx_operand *o) {
  bool neg;
  if (o->kind == PTX_OP_SINK) return NO_LOC;
  if (o->kind != PTX_OP_REG) dec_fail(d, PTX_SYNTAX, "a predicate register is expected");
  vgpu_loc loc = dec_pred(d, o, &neg);
  if (neg) dec_fail(d, PTX_SYNTAX, "a result cannot be negated");
  return loc;
}

enum ptx_space dec_space(struct dec *d) {
  static const struct {
    const char *name;
    enum ptx_space space;
  } names[] = {{"global", PTX_GLOBAL}, {"shared", PTX_SHARED}, {"shared::cta", PTX_SHARED}, {"local", PTX_LOCAL}, {"const", PTX_CONST},
               {"param", PTX_PARAM}, {"param::entry", PTX_PARAM}, {"param::func", PTX_PARAM}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (dec_mod(d, names[i].name)) return names[i].space;
  return PTX_GENERIC;
}

bool dec_is_slot(const struct dec *d, const struct ptx_operand *o) {
  if (o->kind != PTX_OP_ADDR || o->sub[0].kind != PTX_OP_VAR || o->sub[0].var->space != PTX_PARAM) return false;
  for (const struct ptx_var *p = d->f->is_entry ? d->f->params : NULL; p; p = p->next)
    if (p == o->sub[0].var) return false;
  return true;
}

void dec_address(struct dec *d, const struct ptx_operand *o, enum ptx_space space, vgpu_loc *loc, uint8_t *width, int64_t *imm) {
  if (o->kind != PTX_OP_ADDR) dec_fail(d, PTX_SYNTAX, "an address in [ ] is expected");
  const struct ptx_operand *base = o->sub;
  unsigned w;
  *imm = o->ival;
  if (base->kind == PTX_OP_VAR) {
    const struct ptx_var *v = base->var;
    bool same = v->space == space || (space == PTX_GENERIC && (v->space == PTX_GLOBAL || v->space == PTX_CONST));
    if (!same) dec_fail(d, PTX_SYNTAX, "variable '%.40s' is not in the space of the access", v->name);
    *loc = var_value(d, base, v->space == PTX_SHARED && v->unsized ? 4 : 8);
    *width = v->space == PTX_SHARED && v->unsized ? 4 : 8;
    return;
  }
  *loc = dec_src_any(d, base, PTX_U64, &w);
  if (w < 4) dec_fail(d, PTX_SYNTAX, "an address of 16 bits");
  *width = (uint8_t)w;
}

unsigned dec_round(struct dec *d) {
  static const char *const names[] = {"rn", "rz", "rm", "rp"};
  return (unsigned)dec_one_of(d, names, 4, ROUND_N);
}

unsigned dec_idx6(struct dec *d, enum ptx_type t) {
  switch (t) {
  case PTX_U16: case PTX_B16: return 0;
  case PTX_S16: return 1;
  case PTX_U32: case PTX_B32: return 2;
  case PTX_S32: return 3;
  case PTX_U64: case PTX_B64: return 4;
  case PTX_S64: return 5;
  default: dec_fail(d, PTX_FEATURE, "a type that this instruction does not take on sm_75");
  }
}

unsigned dec_idx3(struct dec *d, enum ptx_type t) { return dec_idx6(d, t) / 2; }
bool dec_is_float(enum ptx_type t) { return t == PTX_F16 || t == PTX_F16X2 || t == PTX_F32 || t == PTX_F64; }
bool dec_is_signed(enum ptx_type t) { return t >= PTX_S8 && t <= PTX_S64; }

// @p X; -> @!p bra behind; X; behind: (a JOIN stands there)
void dec_guard_branch(struct dec *d) {
  if (d->in->pred < 0) return;
  struct vgpu_ins *i = dec_emit(d, OP_BRA_PRED, VGPU_CLASS_BRANCH);
  i->guard = 0;
  i->a = d->reg_loc[d->in->pred];
  i->sub = !d->in->pred_neg;
  i->target = (uint32_t)d->index + 1;
  i->imm = d->index + 1;
}

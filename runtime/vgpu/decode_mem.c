// Decoding of loads, stores, atomics, address conversions and fences. PTX ISA 9.7.9, 9.7.13.
#include "runtime/vgpu/decode_internal.h"

#define IS(n) (!strcmp(d->in->op, n))

// Cache hints and the memory model's words. true: others may see or change the bytes meanwhile.
static bool hints(struct dec *d) {
  static const char *const quiet[] = {"ca", "cg", "cs", "lu", "cv", "wb", "wt", "L1::evict_normal", "L1::evict_unchanged", "L1::evict_first",
                                      "L1::evict_last", "L1::no_allocate", "L2::evict_last", "L2::evict_normal", "L2::evict_first",
                                      "L2::64B", "L2::128B", "L2::256B", "weak", "cta", "gpu", "sys", "noftz"};
  static const char *const strong[] = {"volatile", "relaxed", "acquire", "release", "acq_rel", "mmio", "seq_cst"};
  bool is_strong = false;
  for (size_t i = 0; i < sizeof strong / sizeof *strong; i++) is_strong |= dec_mod(d, strong[i]);
  for (size_t i = 0; i < sizeof quiet / sizeof *quiet; i++) dec_mod(d, quiet[i]);
  if (dec_mod(d, "L2::cache_hint") || dec_mod(d, "cluster")) dec_fail(d, PTX_FEATURE, "cache policies and clusters are not on sm_75");
  return is_strong;
}

static unsigned vector_length(struct dec *d) {
  if (dec_mod(d, "v2")) return 2;
  if (dec_mod(d, "v4")) return 4;
  if (dec_mod(d, "v8")) dec_fail(d, PTX_FEATURE, "vectors of 8 are not on sm_75");
  return 1;
}

struct access {
  enum ptx_space space;
  enum ptx_type type;
  unsigned vec;
  uint8_t flags;
  vgpu_loc regs[8];
  unsigned reg_width; // bytes, the same for all
};

static struct access access_head(struct dec *d) {
  struct access a = {0};
  if (hints(d)) a.flags |= VGPU_INS_VOLATILE;
  a.space = dec_space(d);
  if (dec_mod(d, "nc") || IS("ldu")) a.flags |= VGPU_INS_NC;
  a.vec = vector_length(d);
  if (a.vec > 1) a.flags |= VGPU_INS_VECTOR;
  a.type = dec_type(d);
  if (a.type == PTX_PRED || a.type == PTX_B128) dec_fail(d, PTX_FEATURE, "an access of this type is not on sm_75");
  if (a.vec * ptx_type_size(a.type) > 16) dec_fail(d, PTX_SYNTAX, "an access of more than 16 bytes");
  return a;
}

static vgpu_loc one_register(struct dec *d, const struct ptx_operand *o, const struct access *a, bool load, unsigned *width) {
  enum ptx_type t = a->type;
  if (load) return dec_dst_any(d, o, t, width);
  return dec_src_any(d, o, t, width);
}

static void registers(struct dec *d, const struct ptx_operand *o, struct access *a, bool load) {
  unsigned n = a->vec;
  const struct ptx_operand *list = o;
  if (n > 1 && o->kind == PTX_OP_REG && o->var->vec == (int)n && o->component < 0) { // ld.v4.u32 %v of a .v4 register
    struct ptx_operand part = *o;
    for (unsigned k = 0; k < n; k++) {
      part.component = (int8_t)k;
      a->regs[k] = one_register(d, &part, a, load, &a->reg_width);
    }
    return;
  }
  if (n > 1 || o->kind == PTX_OP_VEC) {
    if (o->kind != PTX_OP_VEC || o->num_sub != (int)n) dec_fail(d, PTX_SYNTAX, "a vector of %u registers is expected", n);
    list = o->sub;
  }
  a->reg_width = 0;
  for (unsigned k = 0; k < n; k++) {
    unsigned w;
    a->regs[k] = one_register(d, &list[k], a, load, &w);
    if (list[k].kind == PTX_OP_SINK && load) continue;
    if (w < ptx_type_size(a->type) || (a->reg_width && a->reg_width != w)) dec_fail(d, PTX_SYNTAX, "a register does not fit the access");
    a->reg_width = w;
  }
  if (!a->reg_width) a->reg_width = ptx_type_size(a->type) < 2 ? 2 : ptx_type_size(a->type);
}

static struct vgpu_ins *emit_access(struct dec *d, const struct access *a, enum vgpu_op op, enum vgpu_class cls, bool load) {
  uint32_t list = a->vec > 1 ? dec_list(d, a->regs, a->vec) : 0;
  struct vgpu_ins *i = dec_emit(d, op, cls);
  i->space = (uint8_t)a->space;
  i->type = (uint8_t)a->type;
  i->vec = (uint8_t)a->vec;
  i->width = (uint8_t)ptx_type_size(a->type);
  i->sub = (uint8_t)a->reg_width;
  i->flags = a->flags;
  i->list = list;
  i->num_list = (uint16_t)(a->vec > 1 ? a->vec : 0);
  if (load) i->dst = a->regs[0];
  else i->b = a->regs[0];
  return i;
}

static const struct ptx_var *slot_var(struct dec *d, const struct ptx_operand *o, const struct access *a) {
  const struct ptx_var *v = o->sub[0].var;
  int64_t end = o->ival + (int64_t)(a->vec * ptx_type_size(a->type));
  if (o->ival < 0 || end > (int64_t)v->size || o->ival % (int64_t)ptx_type_size(a->type))
    dec_fail(d, PTX_SYNTAX, "bytes %lld to %lld of parameter '%.40s', which has %llu", (long long)o->ival, (long long)end, v->name,
             (unsigned long long)v->size);
  return v;
}

static bool is_param_constant(const struct dec *d, const struct ptx_operand *o) {
  return d->f->is_entry && o->kind == PTX_OP_ADDR && o->sub[0].kind == PTX_OP_VAR && o->sub[0].var->space == PTX_PARAM;
}

static void load_or_store(struct dec *d, bool load) {
  struct access a = access_head(d);
  dec_num_ops(d, 2, 2);
  const struct ptx_operand *addr = dec_op(d, load ? 1 : 0);
  registers(d, dec_op(d, load ? 0 : 1), &a, load);
  struct vgpu_ins *i;
  if (a.space == PTX_PARAM && dec_is_slot(d, addr)) {
    const struct ptx_var *v = slot_var(d, addr, &a);
    i = emit_access(d, &a, load ? OP_LD_SLOT : OP_ST_SLOT, VGPU_CLASS_MOVE, load);
    i->a = (vgpu_loc)v->slot;
    i->imm = addr->ival;
    return;
  }
  if (a.space == PTX_PARAM && load && is_param_constant(d, addr)) {
    int64_t at = (int64_t)addr->sub[0].var->address + addr->ival, end = at + (int64_t)(a.vec * ptx_type_size(a.type));
    if (at < 0 || end > d->vf->param_bytes) dec_fail(d, PTX_SYNTAX, "a load beyond the kernel's parameters");
    i = emit_access(d, &a, OP_LD_PARAM, VGPU_CLASS_MOVE, load);
    i->imm = at;
    return;
  }
  vgpu_loc base;
  uint8_t width;
  int64_t imm;
  if (a.space == PTX_PARAM && (!load || !d->f->is_entry)) dec_fail(d, PTX_FEATURE, "a parameter of a function by computed address");
  if ((a.space == PTX_CONST || a.space == PTX_PARAM) && !load) dec_fail(d, PTX_SYNTAX, "a store to constant memory");
  dec_address(d, addr, a.space, &base, &width, &imm);
  i = emit_access(d, &a, load ? OP_LD : OP_ST, load ? VGPU_CLASS_LOAD : VGPU_CLASS_STORE, load);
  i->a = base;
  i->sub2 = width;
  i->imm = imm;
}

static void atom_operands(struct dec *d, struct vgpu_ins proto, bool red) {
  int first = red ? 0 : 1, sources = proto.sub == ATOM_CAS ? 2 : 1;
  enum ptx_type t = (enum ptx_type)proto.type;
  dec_num_ops(d, first + 1 + sources, first + 1 + sources);
  vgpu_loc base, b = dec_src(d, dec_op(d, first + 1), t), c = sources > 1 ? dec_src(d, dec_op(d, first + 2), t) : 0;
  uint8_t width;
  int64_t imm;
  dec_address(d, dec_op(d, first), (enum ptx_space)proto.space, &base, &width, &imm);
  vgpu_loc dst = red || dec_op(d, 0)->kind == PTX_OP_SINK ? NO_LOC : dec_dst(d, dec_op(d, 0), t);
  struct vgpu_ins *i = dec_emit(d, OP_ATOM, red ? VGPU_CLASS_RED : VGPU_CLASS_ATOM);
  i->dst = dst;
  i->a = base;
  i->b = b;
  i->c = c;
  i->imm = imm;
  i->sub2 = width;
  i->sub = proto.sub;
  i->space = proto.space;
  i->type = proto.type;
  i->width = (uint8_t)ptx_type_size(t);
  i->vec = 1;
  i->flags = VGPU_INS_VOLATILE;
}

static bool atom_allowed(unsigned op, enum ptx_type t) {
  switch (op) {
  case ATOM_ADD: return t == PTX_U32 || t == PTX_S32 || t == PTX_U64 || t == PTX_S64 || dec_is_float(t);
  case ATOM_MIN: case ATOM_MAX: return t == PTX_U32 || t == PTX_S32 || t == PTX_U64 || t == PTX_S64;
  case ATOM_INC: case ATOM_DEC: return t == PTX_U32;
  case ATOM_EXCH: return t == PTX_B32 || t == PTX_B64 || t == PTX_U32 || t == PTX_S32 || t == PTX_F32 || t == PTX_U64;
  case ATOM_CAS: return t == PTX_B16 || t == PTX_B32 || t == PTX_B64 || t == PTX_U32 || t == PTX_S32 || t == PTX_U64;
  default: return t == PTX_B32 || t == PTX_B64 || t == PTX_U32 || t == PTX_S32 || t == PTX_U64;
  }
}

static bool atomics(struct dec *d) {
  static const char *const ops[] = {"add", "min", "max", "inc", "dec", "and", "or", "xor", "exch", "cas"};
  bool red = IS("red");
  if (dec_mod(d, "async")) dec_fail(d, PTX_FEATURE, "red.async needs sm_90");
  hints(d);
  struct vgpu_ins proto = {0};
  proto.space = (uint8_t)dec_space(d);
  int op = dec_one_of(d, ops, 10, -1);
  if (op < 0) dec_fail(d, PTX_SYNTAX, "the atomic operation is missing");
  enum ptx_type t = dec_type(d);
  if (!atom_allowed((unsigned)op, t)) dec_fail(d, PTX_FEATURE, "this atomic operation on this type is not on sm_75");
  if (proto.space != PTX_GLOBAL && proto.space != PTX_SHARED && proto.space != PTX_GENERIC) dec_fail(d, PTX_SYNTAX, "atomics of this space");
  proto.sub = (uint8_t)op;
  proto.type = (uint8_t)t;
  atom_operands(d, proto, red);
  return true;
}

static uint64_t window(enum ptx_space s) {
  return s == PTX_SHARED ? VG_SHARED_WINDOW : s == PTX_LOCAL ? VG_LOCAL_WINDOW : s == PTX_PARAM ? VGPU_PARAM_WINDOW : 0;
}

static bool convert_address(struct dec *d) {
  bool to = dec_mod(d, "to");
  enum ptx_space s = dec_space(d);
  enum ptx_type t = dec_type(d);
  if (s == PTX_GENERIC) dec_fail(d, PTX_SYNTAX, "cvta needs a space");
  if (ptx_type_size(t) != 8) dec_fail(d, PTX_SYNTAX, "generic addresses have 64 bits");
  dec_num_ops(d, 2, 2);
  vgpu_loc a = dec_src(d, dec_op(d, 1), t), r = dec_dst(d, dec_op(d, 0), t), off = dec_const(d, window(s), 8);
  struct vgpu_ins *i = dec_emit(d, !window(s) ? OP_MOV_B64 : to ? OP_SUB_B64 : OP_ADD_B64, VGPU_CLASS_MOVE);
  i->dst = r;
  i->a = a;
  i->b = off;
  i->width = 8;
  i->flags = VGPU_INS_FREE;
  return true;
}

static bool in_space(struct dec *d) {
  enum ptx_space s = dec_space(d);
  dec_num_ops(d, 2, 2);
  unsigned w;
  vgpu_loc p = dec_pred_dst(d, dec_op(d, 0)), a = dec_src_any(d, dec_op(d, 1), PTX_U64, &w);
  if (p == NO_LOC) return true;
  struct vgpu_ins *i = dec_emit(d, OP_ISSPACEP, VGPU_CLASS_INT);
  i->dst = p;
  i->a = a;
  i->sub2 = (uint8_t)w;
  i->space = (uint8_t)s;
  return true;
}

static bool prefetch(struct dec *d) {
  hints(d);
  enum ptx_space s = dec_space(d);
  if (dec_mod(d, "tensormap")) dec_fail(d, PTX_FEATURE, "tensor maps need sm_90");
  if (!dec_mod(d, "L1")) dec_mod(d, "L2");
  dec_num_ops(d, 1, 1);
  vgpu_loc base;
  uint8_t width;
  int64_t imm;
  dec_address(d, dec_op(d, 0), s, &base, &width, &imm);
  struct vgpu_ins *i = dec_emit(d, OP_PREFETCH, VGPU_CLASS_PREFETCH);
  i->a = base;
  i->sub2 = width;
  i->imm = imm;
  i->space = (uint8_t)s;
  i->width = 1;
  i->vec = 1;
  return true;
}

static bool fence(struct dec *d) {
  static const char *const words[] = {"sc", "acq_rel", "acquire", "release", "proxy", "alias", "gl", "sys", "gpu"};
  bool block = dec_mod(d, "cta");
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) dec_mod(d, words[i]);
  dec_num_ops(d, 0, 0);
  dec_emit(d, OP_FENCE, VGPU_CLASS_FENCE)->sub = block;
  return true;
}

bool dec_memory(struct dec *d) {
  if (IS("ld") || IS("ldu")) return load_or_store(d, true), true;
  if (IS("st")) {
    if (dec_mod(d, "async") || dec_mod(d, "bulk")) dec_fail(d, PTX_FEATURE, "st.async needs sm_90");
    return load_or_store(d, false), true;
  }
  if (IS("atom") || IS("red")) return atomics(d);
  if (IS("cvta")) return convert_address(d);
  if (IS("isspacep")) return in_space(d);
  if (IS("prefetch") || IS("prefetchu")) return prefetch(d);
  if (IS("membar") || IS("fence")) return fence(d);
  return false;
}

// Decoding of integer arithmetic, bit fields, logic, shifts, moves and selections. PTX ISA 9.7.1, 9.7.2, 9.7.8, 9.7.9.
#include "runtime/vgpu/decode_internal.h"

#define IS(n) (!strcmp(d->in->op, n))

// dst and up to three sources of one type.
static struct vgpu_ins *plain(struct dec *d, unsigned op, enum vgpu_class cls, enum ptx_type td, const enum ptx_type *ts, int n) {
  vgpu_loc s[4] = {0};
  dec_num_ops(d, n + 1, n + 1);
  for (int k = 0; k < n; k++) s[k] = dec_src(d, dec_op(d, k + 1), ts[k]);
  vgpu_loc dst = dec_dst(d, dec_op(d, 0), td);
  struct vgpu_ins *i = dec_emit(d, (enum vgpu_op)op, cls);
  i->dst = dst;
  i->a = s[0];
  i->b = s[1];
  i->c = s[2];
  if (n == 4) i->e = s[3];
  i->type = (uint8_t)td;
  i->width = (uint8_t)ptx_type_size(td);
  return i;
}

static struct vgpu_ins *same(struct dec *d, unsigned op, enum vgpu_class cls, enum ptx_type t, int n) {
  const enum ptx_type ts[4] = {t, t, t, t};
  return plain(d, op, cls, t, ts, n);
}

static enum ptx_type wide_of(struct dec *d, enum ptx_type t) {
  switch (t) {
  case PTX_U16: return PTX_U32;
  case PTX_S16: return PTX_S32;
  case PTX_U32: return PTX_U64;
  case PTX_S32: return PTX_S64;
  default: dec_fail(d, PTX_SYNTAX, ".wide of this type");
  }
}

// add sub mad madc addc subc with the carry flag.
static bool carry(struct dec *d) {
  bool takes = IS("addc") || IS("subc") || IS("madc"), sets = dec_mod(d, "cc");
  if (!takes && !sets) return false;
  bool mad = d->in->op[0] == 'm', hi = mad && dec_mod(d, "hi");
  if (mad && !hi && !dec_mod(d, "lo")) dec_fail(d, PTX_SYNTAX, ".hi or .lo is missing");
  enum ptx_type t = dec_type(d);
  unsigned k = dec_idx3(d, t);
  if (!k) dec_fail(d, PTX_SYNTAX, "the carry flag with 16 bits");
  unsigned op = (mad ? OP_MADC_B32 : d->in->op[0] == 'a' ? OP_ADDC_B32 : OP_SUBC_B32) + k - 1;
  struct vgpu_ins *i = same(d, op, mad ? VGPU_CLASS_IMUL : VGPU_CLASS_INT, t, mad ? 3 : 2);
  i->e = d->carry;
  i->sub = (uint8_t)(takes | sets << 1 | hi << 2 | dec_is_signed(t) << 3);
  return true;
}

static bool multiply(struct dec *d) {
  bool mad = IS("mad"), hi = dec_mod(d, "hi"), wide = !hi && dec_mod(d, "wide");
  if (!hi && !wide && !dec_mod(d, "lo")) return false; // floating point
  bool sat = mad && hi && dec_mod(d, "sat");
  enum ptx_type t = dec_type(d);
  unsigned k = dec_idx6(d, t);
  if (sat) {
    if (t != PTX_S32) dec_fail(d, PTX_SYNTAX, ".sat is for .s32");
    same(d, OP_MADHISAT_S32, VGPU_CLASS_IMUL, t, 3);
  } else if (wide) {
    enum ptx_type w = wide_of(d, t), ts[3] = {t, t, w};
    plain(d, (mad ? OP_MADWIDE_U16 : OP_MULWIDE_U16) + k, VGPU_CLASS_IMUL, w, ts, mad ? 3 : 2);
  } else if (hi) {
    same(d, (mad ? OP_MADHI_U16 : OP_MULHI_U16) + k, VGPU_CLASS_IMUL, t, mad ? 3 : 2);
  } else {
    same(d, (mad ? OP_MADLO_B16 : OP_MULLO_B16) + k / 2, VGPU_CLASS_IMUL, t, mad ? 3 : 2);
  }
  return true;
}

static bool multiply24(struct dec *d) {
  bool mad = IS("mad24"), hi = dec_mod(d, "hi");
  if (!hi && !dec_mod(d, "lo")) dec_fail(d, PTX_SYNTAX, ".hi or .lo is missing");
  bool sat = dec_mod(d, "sat");
  enum ptx_type t = dec_type(d);
  if (t != PTX_U32 && t != PTX_S32) dec_fail(d, PTX_SYNTAX, "24-bit products of this type");
  unsigned op = (mad ? (hi ? OP_MAD24HI_U32 : OP_MAD24LO_U32) : hi ? OP_MUL24HI_U32 : OP_MUL24LO_U32) + (t == PTX_S32);
  if (sat) op = OP_MAD24HISAT_S32;
  if (sat && (!mad || !hi || t != PTX_S32)) dec_fail(d, PTX_SYNTAX, ".sat is for mad24.hi.s32");
  same(d, op, VGPU_CLASS_IMUL, t, mad ? 3 : 2);
  return true;
}

// add sub min max div rem abs neg sad: integers here, floating point elsewhere.
static bool arithmetic(struct dec *d) {
  static const struct {
    const char *name;
    unsigned op3, op6;
    int n;
    enum vgpu_class cls;
  } table[] = {{"add", OP_ADD_B16, 0, 2, VGPU_CLASS_INT}, {"sub", OP_SUB_B16, 0, 2, VGPU_CLASS_INT}, {"div", 0, OP_DIV_U16, 2, VGPU_CLASS_IDIV},
               {"rem", 0, OP_REM_U16, 2, VGPU_CLASS_IDIV}, {"min", 0, OP_MIN_U16, 2, VGPU_CLASS_INT}, {"max", 0, OP_MAX_U16, 2, VGPU_CLASS_INT},
               {"sad", 0, OP_SAD_U16, 3, VGPU_CLASS_IMUL}, {"abs", OP_ABS_B16, 0, 1, VGPU_CLASS_INT}, {"neg", OP_NEG_B16, 0, 1, VGPU_CLASS_INT}};
  for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
    if (strcmp(table[k].name, d->in->op)) continue;
    bool sat = k < 2 && dec_mod(d, "sat");
    enum ptx_type t = dec_type(d);
    unsigned i = dec_idx6(d, t);
    if (sat && t != PTX_S32) dec_fail(d, PTX_SYNTAX, ".sat is for .s32");
    if (sat) same(d, k ? OP_SUBSAT_S32 : OP_ADDSAT_S32, VGPU_CLASS_INT, t, 2);
    else same(d, table[k].op6 ? table[k].op6 + i : table[k].op3 + i / 2, table[k].cls, t, table[k].n);
    return true;
  }
  return false;
}

static bool is_float_instruction(const struct dec *d) {
  for (int i = 0; i < d->in->num_mods; i++) {
    enum ptx_type t;
    if (ptx_type_from(d->in->mod[i], &t) && dec_is_float(t)) return true;
    if (!strcmp(d->in->mod[i], "bf16") || !strcmp(d->in->mod[i], "bf16x2")) return true;
  }
  return false;
}

static bool bits(struct dec *d) {
  enum ptx_type t = PTX_U32;
  if (IS("popc") || IS("clz") || IS("brev") || IS("bfind")) {
    bool shift = IS("bfind") && dec_mod(d, "shiftamt");
    t = dec_type(d);
    unsigned k = dec_idx6(d, t);
    if (k < 2) dec_fail(d, PTX_SYNTAX, "16 bits");
    const enum ptx_type ts[1] = {t};
    unsigned op = IS("popc") ? OP_POPC_B32 + k / 2 - 1 : IS("clz") ? OP_CLZ_B32 + k / 2 - 1 : IS("brev") ? OP_BREV_B32 + k / 2 - 1 : OP_BFIND_U32 + k - 2;
    plain(d, op, VGPU_CLASS_CVT, IS("brev") ? t : PTX_U32, ts, 1)->sub = shift;
    return true;
  }
  if (IS("bfe") || IS("bfi")) {
    bool in = IS("bfi");
    t = dec_type(d);
    unsigned k = dec_idx6(d, t);
    if (k < 2) dec_fail(d, PTX_SYNTAX, "16 bits");
    const enum ptx_type ts[4] = {t, in ? t : PTX_U32, PTX_U32, PTX_U32};
    plain(d, in ? OP_BFI_B32 + k / 2 - 1 : OP_BFE_U32 + k - 2, VGPU_CLASS_INT, t, ts, in ? 4 : 3);
    return true;
  }
  if (IS("fns")) {
    dec_type(d);
    const enum ptx_type ts[3] = {PTX_B32, PTX_B32, PTX_S32};
    plain(d, OP_FNS_B32, VGPU_CLASS_INT, PTX_B32, ts, 3);
    return true;
  }
  if (IS("bmsk") || IS("szext")) {
    bool wrap = dec_mod(d, "wrap");
    if (!wrap && !dec_mod(d, "clamp")) dec_fail(d, PTX_SYNTAX, ".wrap or .clamp is missing");
    t = dec_type(d);
    const enum ptx_type ts[2] = {t, PTX_U32};
    plain(d, IS("bmsk") ? OP_BMSK_B32 : t == PTX_S32 ? OP_SZEXT_S32 : OP_SZEXT_U32, VGPU_CLASS_INT, t, ts, 2)->sub = wrap;
    return true;
  }
  if (IS("dp4a") || IS("dp2a")) {
    bool two = IS("dp2a"), hi = two && dec_mod(d, "hi");
    if (two && !hi && !dec_mod(d, "lo")) dec_fail(d, PTX_SYNTAX, ".hi or .lo is missing");
    enum ptx_type ta = dec_type(d), tb = dec_type(d);
    same(d, two ? OP_DP2A : OP_DP4A, VGPU_CLASS_IMUL, PTX_B32, 3)->sub = (uint8_t)((ta == PTX_S32) | (tb == PTX_S32) << 1 | hi << 2);
    return true;
  }
  return false;
}

static bool shifts(struct dec *d) {
  enum ptx_type t;
  if (IS("shl") || IS("shr")) {
    t = dec_type(d);
    unsigned k = dec_idx6(d, t);
    const enum ptx_type ts[2] = {t, PTX_U32};
    plain(d, IS("shl") ? OP_SHL_B16 + k / 2 : OP_SHR_U16 + k, VGPU_CLASS_INT, t, ts, 2);
    return true;
  }
  if (IS("shf")) {
    bool left = dec_mod(d, "l");
    if (!left && !dec_mod(d, "r")) dec_fail(d, PTX_SYNTAX, ".l or .r is missing");
    bool wrap = dec_mod(d, "wrap");
    if (!wrap && !dec_mod(d, "clamp")) dec_fail(d, PTX_SYNTAX, ".wrap or .clamp is missing");
    dec_type(d);
    same(d, left ? (wrap ? OP_SHF_L_WRAP : OP_SHF_L_CLAMP) : wrap ? OP_SHF_R_WRAP : OP_SHF_R_CLAMP, VGPU_CLASS_INT, PTX_B32, 3);
    return true;
  }
  if (IS("prmt")) {
    static const char *const modes[] = {"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"};
    dec_type(d);
    int mode = dec_one_of(d, modes, 6, -1) + 1;
    same(d, OP_PRMT_B32, VGPU_CLASS_INT, PTX_B32, 3)->sub = (uint8_t)mode;
    return true;
  }
  return false;
}

bool dec_int(struct dec *d) {
  if (IS("addc") || IS("subc") || IS("madc")) return carry(d);
  if (is_float_instruction(d)) return false;
  if ((IS("add") || IS("sub") || IS("mad")) && carry(d)) return true;
  if (IS("mul") || IS("mad")) return multiply(d);
  if (IS("mul24") || IS("mad24")) return multiply24(d);
  return arithmetic(d) || bits(d) || shifts(d);
}

static void predicate_logic(struct dec *d, enum vgpu_op op, int n) {
  bool neg[2] = {false, false};
  dec_num_ops(d, n + 1, n + 1);
  vgpu_loc a = dec_pred(d, dec_op(d, 1), &neg[0]), b = n > 1 ? dec_pred(d, dec_op(d, 2), &neg[1]) : a, dst = dec_pred_dst(d, dec_op(d, 0));
  if (dst == NO_LOC) return;
  struct vgpu_ins *i = dec_emit(d, op, op == OP_MOV_PRED ? VGPU_CLASS_MOVE : VGPU_CLASS_INT);
  i->dst = dst;
  i->a = a;
  i->b = b;
  i->sub = (uint8_t)(neg[0] | neg[1] << 1);
}

// lop3.b32 d, a, b, c, table; or lop3.and/or.b32 d|p, a, b, c, table, q: p = (d != 0) op q
static bool lop3(struct dec *d) {
  bool with_and = dec_mod(d, "and"), with_or = !with_and && dec_mod(d, "or");
  dec_type(d);
  dec_num_ops(d, 5, 6);
  const struct ptx_operand *dst = dec_op(d, 0), *pair = NULL;
  if (dst->kind == PTX_OP_PAIR) pair = &dst->sub[1], dst = &dst->sub[0];
  if (dec_op(d, 4)->kind != PTX_OP_INT) dec_fail(d, PTX_SYNTAX, "lop3 needs a constant table");
  if (!pair != !(with_and || with_or)) dec_fail(d, PTX_SYNTAX, "lop3 with a predicate needs .and or .or");
  vgpu_loc s[3], r = dec_dst(d, dst, PTX_B32);
  for (int k = 0; k < 3; k++) s[k] = dec_src(d, dec_op(d, k + 1), PTX_B32);
  struct vgpu_ins *i = dec_emit(d, OP_LOP3_B32, VGPU_CLASS_INT);
  i->dst = r;
  i->a = s[0];
  i->b = s[1];
  i->c = s[2];
  i->imm = dec_op(d, 4)->ival & 255;
  i->width = 4;
  if (!pair) return true;
  bool neg;
  vgpu_loc q = dec_pred(d, dec_op(d, 5), &neg), p = dec_pred_dst(d, pair), zero = dec_const(d, 0, 4);
  i = dec_emit(d, OP_SETP_NE_U32, VGPU_CLASS_NONE);
  i->dst = p;
  i->a = r;
  i->b = zero;
  i->c = q;
  i->sub = with_and ? BOOL_AND : BOOL_OR;
  i->sub2 = neg;
  return true;
}

// mov of a vector: packs or unpacks.
static void move_vector(struct dec *d, enum ptx_type t, const struct ptx_operand *dst, const struct ptx_operand *src) {
  const struct ptx_operand *v = dst->kind == PTX_OP_VEC ? dst : src;
  unsigned n = (unsigned)v->num_sub, width = ptx_type_size(t);
  if (!n || n > 8 || width % n || (width / n != 1 && width / n != 2 && width / n != 4)) dec_fail(d, PTX_SYNTAX, "a vector of %u parts for %u bytes", n, width);
  enum ptx_type part = width / n == 4 ? PTX_B32 : width / n == 2 ? PTX_B16 : PTX_B8;
  vgpu_loc list[8], whole = v == dst ? dec_src(d, src, t) : dec_dst(d, dst, t);
  for (unsigned k = 0; k < n; k++) {
    if (v == dst) list[k] = v->sub[k].kind == PTX_OP_SINK ? NO_LOC : dec_dst(d, &v->sub[k], part);
    else list[k] = dec_src(d, &v->sub[k], part);
  }
  uint32_t first = dec_list(d, list, n);
  struct vgpu_ins *i = dec_emit(d, v == dst ? OP_UNPACK : OP_PACK, VGPU_CLASS_MOVE);
  i->list = first;
  i->num_list = (uint16_t)n;
  i->width = (uint8_t)width;
  i->sub = (uint8_t)(width / n); // bytes are held in 16-bit rows: the handler masks them
  if (v == dst) i->a = whole;
  else i->dst = whole;
}

static bool move(struct dec *d) {
  dec_mod(d, "v2"), dec_mod(d, "v4");
  enum ptx_type t = dec_type(d);
  dec_num_ops(d, 2, 2);
  const struct ptx_operand *dst = dec_op(d, 0), *src = dec_op(d, 1);
  if (t == PTX_PRED) {
    predicate_logic(d, OP_MOV_PRED, 1);
    return true;
  }
  if (dst->kind == PTX_OP_VEC || src->kind == PTX_OP_VEC) {
    if (dst->kind == PTX_OP_VEC && src->kind == PTX_OP_VEC) dec_fail(d, PTX_FEATURE, "mov of a vector to a vector");
    move_vector(d, t, dst, src);
    return true;
  }
  unsigned k = dec_idx3(d, t == PTX_F16 ? PTX_B16 : t == PTX_F32 || t == PTX_F16X2 ? PTX_B32 : t == PTX_F64 ? PTX_B64 : t), width;
  vgpu_loc a = dec_src_any(d, src, t, &width), r = dec_dst(d, dst, t);
  if (src->kind == PTX_OP_SREG && width != ptx_type_size(t)) { // %tid in a 16- or 64-bit register
    struct vgpu_ins *i = dec_emit(d, OP_CVT_INT, VGPU_CLASS_MOVE);
    i->dst = r;
    i->a = a;
    i->width = (uint8_t)ptx_type_size(t);
    i->vec = (uint8_t)width;
    i->sub = width == 8 ? PTX_U64 : PTX_U32;
    i->type = t == PTX_U64 || t == PTX_B64 || t == PTX_S64 ? PTX_U64 : k ? PTX_U32 : PTX_U16;
    return true;
  }
  if (width != (ptx_type_size(t) < 2 ? 2 : ptx_type_size(t))) dec_fail(d, PTX_SYNTAX, "mov between registers of different sizes");
  struct vgpu_ins *i = dec_emit(d, (enum vgpu_op)(OP_MOV_B16 + k), VGPU_CLASS_MOVE);
  i->dst = r;
  i->a = a;
  i->width = (uint8_t)width;
  i->type = (uint8_t)t;
  return true;
}

static unsigned size3(struct dec *d, enum ptx_type t) {
  switch (ptx_type_size(t)) {
  case 2: return 0;
  case 4: return 1;
  case 8: return 2;
  default: dec_fail(d, PTX_SYNTAX, "a type that this instruction does not take");
  }
}

static bool select_value(struct dec *d) {
  enum ptx_type t;
  if (IS("selp")) {
    t = dec_type(d);
    dec_num_ops(d, 4, 4);
    bool neg;
    vgpu_loc a = dec_src(d, dec_op(d, 1), t), b = dec_src(d, dec_op(d, 2), t), c = dec_pred(d, dec_op(d, 3), &neg), r = dec_dst(d, dec_op(d, 0), t);
    struct vgpu_ins *i = dec_emit(d, (enum vgpu_op)(OP_SELP_B16 + size3(d, t)), VGPU_CLASS_INT);
    i->dst = r;
    i->a = a;
    i->b = b;
    i->c = c;
    i->sub = neg;
    i->width = (uint8_t)ptx_type_size(t);
    return true;
  }
  if (!IS("slct")) return false;
  dec_mod(d, "ftz"); // a subnormal keeps its sign: the comparison is the same but for negative ones
  t = dec_type(d);
  enum ptx_type tc = dec_type(d);
  const enum ptx_type ts[3] = {t, t, tc};
  if (tc != PTX_S32 && tc != PTX_F32) dec_fail(d, PTX_SYNTAX, "slct by .s32 or .f32");
  plain(d, (tc == PTX_S32 ? OP_SLCT_S32_B16 : OP_SLCT_F32_B16) + size3(d, t), VGPU_CLASS_INT, t, ts, 3);
  return true;
}

bool dec_logic(struct dec *d) {
  static const struct {
    const char *name;
    enum vgpu_op op, pred;
    int n;
  } table[] = {{"and", OP_AND_B16, OP_AND_PRED, 2}, {"or", OP_OR_B16, OP_OR_PRED, 2}, {"xor", OP_XOR_B16, OP_XOR_PRED, 2},
               {"not", OP_NOT_B16, OP_NOT_PRED, 1}, {"cnot", OP_CNOT_B16, OP_NOP, 1}};
  for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
    if (strcmp(table[k].name, d->in->op)) continue;
    enum ptx_type t = dec_type(d);
    if (t == PTX_PRED && table[k].pred != OP_NOP) predicate_logic(d, table[k].pred, table[k].n);
    else same(d, table[k].op + dec_idx3(d, t), VGPU_CLASS_INT, t, table[k].n);
    return true;
  }
  if (IS("lop3")) return lop3(d);
  if (IS("mov")) return move(d);
  return select_value(d);
}

// Decoding of floating point, comparisons and conversions. PTX ISA 9.7.3 to 9.7.6, 9.7.9.
#include "runtime/vgpu/cvt.h"
#include "runtime/vgpu/decode_internal.h"

#define IS(n) (!strcmp(d->in->op, n))

static struct vgpu_ins *plain(struct dec *d, unsigned op, enum vgpu_class cls, enum ptx_type t, int n) {
  vgpu_loc s[3] = {0};
  dec_num_ops(d, n + 1, n + 1);
  for (int k = 0; k < n; k++) s[k] = dec_src(d, dec_op(d, k + 1), t);
  vgpu_loc dst = dec_dst(d, dec_op(d, 0), t);
  struct vgpu_ins *i = dec_emit(d, (enum vgpu_op)op, cls);
  i->dst = dst;
  i->a = s[0];
  i->b = s[1];
  i->c = s[2];
  i->type = (uint8_t)t;
  i->width = (uint8_t)ptx_type_size(t);
  return i;
}

static uint8_t flags(struct dec *d, enum ptx_type t) {
  uint8_t f = 0;
  if (t != PTX_F64 && dec_mod(d, "ftz")) f |= FP_FTZ;
  if (t != PTX_F64 && dec_mod(d, "sat")) f |= FP_SAT;
  return f;
}

static enum ptx_type float_type(struct dec *d) {
  enum ptx_type t = dec_type(d);
  if (!dec_is_float(t)) dec_fail(d, PTX_SYNTAX, "a floating-point type is expected");
  return t;
}

// add sub mul fma mad
static bool arithmetic(struct dec *d) {
  static const char *const names[] = {"add", "sub", "mul", "fma", "mad"};
  int k = 0;
  while (k < 5 && strcmp(names[k], d->in->op)) k++;
  if (k == 5) return false;
  int n = k < 3 ? 2 : 3;
  k = k < 3 ? k : 3;
  enum ptx_type t = float_type(d);
  unsigned round = dec_round(d);
  uint8_t f = flags(d, t);
  struct vgpu_ins *i;
  if (t == PTX_F32) {
    bool slow = round || f & FP_SAT;
    i = plain(d, (unsigned)k + (slow ? OP_ADD_F32_X : f ? OP_ADD_F32_FTZ : OP_ADD_F32), VGPU_CLASS_FP32, t, n);
  } else if (t == PTX_F64) {
    i = plain(d, (unsigned)k + (round ? OP_ADD_F64_X : OP_ADD_F64), VGPU_CLASS_FP64, t, n);
  } else {
    if (round || IS("mad")) dec_fail(d, PTX_SYNTAX, "halves are rounded to nearest only");
    i = plain(d, (unsigned)k + (t == PTX_F16 ? OP_ADD_F16 : OP_ADD_F16X2), VGPU_CLASS_FP16, t, n);
  }
  i->sub = f;
  i->sub2 = (uint8_t)round;
  return true;
}

// div sqrt rcp rsqrt: .approx, .full or rounded
static bool division(struct dec *d) {
  bool div = IS("div"), sqrt = IS("sqrt"), rcp = IS("rcp"), rsqrt = IS("rsqrt");
  if (!div && !sqrt && !rcp && !rsqrt) return false;
  bool approx = dec_mod(d, "approx"), full = !approx && div && dec_mod(d, "full");
  enum ptx_type t = float_type(d);
  unsigned round = dec_round(d);
  bool ftz = dec_mod(d, "ftz");
  if (t != PTX_F32 && t != PTX_F64) dec_fail(d, PTX_FEATURE, "this function of halves");
  bool wide = t == PTX_F64;
  enum vgpu_class exact = wide ? VGPU_CLASS_FP64DIV : VGPU_CLASS_FP32DIV, cls = approx || full ? VGPU_CLASS_SFU : exact;
  unsigned op = div ? (wide ? OP_DIV_F64 : OP_DIV_F32) : sqrt ? (wide ? OP_SQRT_F64 : OP_SQRT_F32) : rcp ? (wide ? OP_RCP_F64 : OP_RCP_F32)
                                                                                                       : wide ? OP_RSQRT_F64 : OP_RSQRT_F32;
  if (wide && approx && ftz && (rcp || rsqrt)) op = rcp ? OP_RCP_FTZ_F64 : OP_RSQRT_FTZ_F64;
  struct vgpu_ins *i = plain(d, op, cls, t, div ? 2 : 1);
  i->sub = ftz ? FP_FTZ : 0;
  i->sub2 = (uint8_t)round;
  return true;
}

static bool function(struct dec *d) {
  static const struct {
    const char *name;
    enum vgpu_op op, half;
  } table[] = {{"ex2", OP_EX2_F32, OP_EX2_F16}, {"tanh", OP_TANH_F32, OP_TANH_F16}, {"lg2", OP_LG2_F32, OP_NOP}, {"sin", OP_SIN_F32, OP_NOP},
               {"cos", OP_COS_F32, OP_NOP}};
  for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
    if (strcmp(table[k].name, d->in->op)) continue;
    if (!dec_mod(d, "approx")) dec_fail(d, PTX_SYNTAX, ".approx is missing");
    enum ptx_type t = float_type(d);
    uint8_t f = flags(d, t);
    bool half = t == PTX_F16 || t == PTX_F16X2;
    if (t == PTX_F64 || (half && table[k].half == OP_NOP)) dec_fail(d, PTX_SYNTAX, "a type that this function does not take");
    unsigned op = t == PTX_F32 ? table[k].op : table[k].half + (t == PTX_F16X2 ? OP_EX2_F16X2 - OP_EX2_F16 : 0);
    plain(d, op, VGPU_CLASS_SFU, t, 1)->sub = f;
    return true;
  }
  return false;
}

static bool simple(struct dec *d) {
  bool min = IS("min"), max = IS("max"), abs = IS("abs"), neg = IS("neg");
  if (IS("copysign")) {
    enum ptx_type t = float_type(d);
    plain(d, t == PTX_F64 ? OP_COPYSIGN_F64 : OP_COPYSIGN_F32, VGPU_CLASS_INT, t, 2);
    return true;
  }
  if (!min && !max && !abs && !neg) return false;
  enum ptx_type t = float_type(d);
  uint8_t f = flags(d, t) & FP_FTZ;
  if ((min || max) && (t == PTX_F16 || t == PTX_F16X2)) dec_fail(d, PTX_FEATURE, "min and max of halves need sm_80");
  enum vgpu_class cls = t == PTX_F64 ? VGPU_CLASS_FP64 : t == PTX_F32 ? VGPU_CLASS_FP32 : VGPU_CLASS_FP16;
  unsigned op;
  if (min || max) op = t == PTX_F64 ? (min ? OP_MIN_F64 : OP_MAX_F64) : min ? OP_MIN_F32 : OP_MAX_F32;
  else if (t == PTX_F32) op = abs ? OP_ABS_F32 : OP_NEG_F32;
  else if (t == PTX_F64) op = abs ? OP_ABS_F64 : OP_NEG_F64;
  else if (t == PTX_F16) op = abs ? OP_ABS_F16 : OP_NEG_F16;
  else op = abs ? OP_ABS_F16X2 : OP_NEG_F16X2;
  plain(d, op, cls, t, min || max ? 2 : 1)->sub = f;
  return true;
}

bool dec_float(struct dec *d) { return arithmetic(d) || division(d) || function(d) || simple(d); }

static const char *const cmp_names[] = {"eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", "lo", "ls", "hi", "hs"};

static int comparison(struct dec *d, enum ptx_type *t) {
  int cmp = dec_one_of(d, cmp_names, 18, -1);
  *t = dec_type(d);
  bool is_float = dec_is_float(*t), is_bits = *t == PTX_B16 || *t == PTX_B32 || *t == PTX_B64;
  if (cmp < 0) dec_fail(d, PTX_SYNTAX, "the comparison is missing");
  if (cmp >= 14) {
    if (is_float || dec_is_signed(*t) || is_bits) dec_fail(d, PTX_SYNTAX, "lo, ls, hi and hs compare unsigned integers");
    cmp -= 12; // lt le gt ge
  }
  if (!is_float && cmp > CMP_GE) dec_fail(d, PTX_SYNTAX, "an unordered comparison of integers");
  if (is_bits && cmp > CMP_NE) dec_fail(d, PTX_SYNTAX, "bits are only equal or not");
  return cmp;
}

static unsigned setp_op(struct dec *d, enum ptx_type t, int cmp) {
  switch (t) {
  case PTX_F32: return OP_SETP_EQ_F32 + (unsigned)cmp;
  case PTX_F64: return OP_SETP_EQ_F64 + (unsigned)cmp;
  case PTX_F16: return OP_SETP_EQ_F16 + (unsigned)cmp;
  case PTX_F16X2: return OP_SETP_F16X2;
  default: return OP_SETP_EQ_U16 + dec_idx6(d, t) * 6 + (unsigned)cmp;
  }
}

static enum vgpu_class compare_class(enum ptx_type t) {
  return t == PTX_F64 ? VGPU_CLASS_FP64 : t == PTX_F16 || t == PTX_F16X2 ? VGPU_CLASS_FP16 : VGPU_CLASS_INT;
}

// The comparison itself; operands from `first` on, then perhaps the predicate of .and .or .xor.
static struct vgpu_ins *emit_compare(struct dec *d, int cmp, enum ptx_type t, int boolean, bool ftz, vgpu_loc p, vgpu_loc q) {
  bool neg = false;
  dec_num_ops(d, boolean ? 4 : 3, boolean ? 4 : 3);
  vgpu_loc a = dec_src(d, dec_op(d, 1), t), b = dec_src(d, dec_op(d, 2), t), c = boolean ? dec_pred(d, dec_op(d, 3), &neg) : 0;
  struct vgpu_ins *i = dec_emit(d, (enum vgpu_op)setp_op(d, t, cmp), compare_class(t));
  i->dst = p;
  i->e = q;
  i->a = a;
  i->b = b;
  i->c = c;
  i->sub = (uint8_t)boolean;
  i->sub2 = neg;
  i->type = (uint8_t)t;
  i->imm = (ftz ? FP_FTZ : 0) | (t == PTX_F16X2 ? cmp << 8 : 0);
  return i;
}

static const char *const bools[] = {"and", "or", "xor"};

static bool setp(struct dec *d) {
  int boolean = dec_one_of(d, bools, 3, -1) + 1;
  bool ftz = dec_mod(d, "ftz");
  enum ptx_type t;
  int cmp = comparison(d, &t);
  const struct ptx_operand *dst = dec_op(d, 0);
  vgpu_loc p, q = NO_LOC;
  if (dst->kind == PTX_OP_PAIR) {
    p = dec_pred_dst(d, &dst->sub[0]);
    q = dec_pred_dst(d, &dst->sub[1]);
  } else p = dec_pred_dst(d, dst);
  emit_compare(d, cmp, t, boolean, ftz, p, q);
  return true;
}

static bool set(struct dec *d) {
  int boolean = dec_one_of(d, bools, 3, -1) + 1;
  bool ftz = dec_mod(d, "ftz");
  int cmp = dec_one_of(d, cmp_names, 18, -1);
  enum ptx_type td = dec_type(d), ts;
  if (cmp < 0) dec_fail(d, PTX_SYNTAX, "the comparison is missing");
  ts = dec_type(d);
  if (cmp >= 14) cmp -= 12;
  vgpu_loc dst = dec_dst(d, dec_op(d, 0), td);
  if (ts == PTX_F16X2) {
    struct vgpu_ins *i = emit_compare(d, cmp, ts, boolean, ftz, NO_LOC, NO_LOC);
    if (boolean) dec_fail(d, PTX_FEATURE, "set of f16x2 with a predicate");
    i->op = OP_SET_F16X2;
    i->fn = d->handlers[OP_SET_F16X2];
    i->dst = dst;
    i->imm = (ftz ? FP_FTZ : 0) | cmp << 8;
    i->sub = td == PTX_F16X2;
    return true;
  }
  if (!dec_is_float(ts) && cmp > CMP_GE) dec_fail(d, PTX_SYNTAX, "an unordered comparison of integers");
  vgpu_loc p = dec_frame(d, 4);
  emit_compare(d, cmp, ts, boolean, ftz, p, NO_LOC);
  struct vgpu_ins *i = dec_emit(d, OP_SETP_COMBINE, VGPU_CLASS_NONE);
  i->dst = dst;
  i->a = p;
  i->width = (uint8_t)ptx_type_size(td);
  i->imm = td == PTX_F32 ? 0x3f800000 : td == PTX_F16 ? 0x3c00 : -1;
  return true;
}

static bool testp(struct dec *d) {
  static const char *const names[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal"};
  int what = dec_one_of(d, names, 6, -1);
  enum ptx_type t = float_type(d);
  if (what < 0 || (t != PTX_F32 && t != PTX_F64)) dec_fail(d, PTX_SYNTAX, "what testp tests");
  dec_num_ops(d, 2, 2);
  vgpu_loc a = dec_src(d, dec_op(d, 1), t), p = dec_pred_dst(d, dec_op(d, 0));
  if (p == NO_LOC) return true;
  struct vgpu_ins *i = dec_emit(d, t == PTX_F32 ? OP_TESTP_F32 : OP_TESTP_F64, VGPU_CLASS_FP32);
  i->dst = p;
  i->a = a;
  i->sub = (uint8_t)what;
  return true;
}

bool dec_compare(struct dec *d) {
  if (IS("setp")) return setp(d);
  if (IS("set")) return set(d);
  if (IS("testp")) return testp(d);
  return false;
}

static unsigned int_size(enum ptx_type t) { return ptx_type_size(t) < 2 ? 2 : ptx_type_size(t); }

// A loop for the common pairs, else CVT_INT or CVT_ANY.
static unsigned cvt_op(enum ptx_type td, enum ptx_type ts, unsigned wd, unsigned ws, unsigned round, unsigned flag, bool fd, bool fs) {
  if (!fd && !fs) {
    if (flag || wd != int_size(td) || ws != int_size(ts)) return OP_CVT_INT;
    unsigned sd = ptx_type_size(td), ss = ptx_type_size(ts);
    if (ss == 4 && sd == 8) return dec_is_signed(ts) ? OP_CVT_S64_S32 : OP_CVT_U64_U32;
    if (ss == 8 && sd == 4) return OP_CVT_U32_U64;
    if (ss == 2 && sd == 4) return dec_is_signed(ts) ? OP_CVT_S32_S16 : OP_CVT_U32_U16;
    if (ss == 4 && sd == 2) return OP_CVT_U16_U32;
    return OP_CVT_INT;
  }
  bool exact = wd == ptx_type_size(td) && ws == ptx_type_size(ts);
  if (!exact || flag) return OP_CVT_ANY;
  if (td == PTX_F32 && ts == PTX_F16) return OP_CVT_F32_F16;
  if (td == PTX_F64 && ts == PTX_F32) return OP_CVT_F64_F32;
  if (td == PTX_F64 && ts == PTX_S32) return OP_CVT_F64_S32;
  if (round == ROUND_Z && ts == PTX_F32 && td == PTX_S32) return OP_CVT_S32_F32_RZ;
  if (round == ROUND_Z && ts == PTX_F32 && td == PTX_U32) return OP_CVT_U32_F32_RZ;
  if (round != ROUND_N) return OP_CVT_ANY;
  if (td == PTX_F16 && ts == PTX_F32) return OP_CVT_F16_F32;
  if (td == PTX_F32 && ts == PTX_F64) return OP_CVT_F32_F64;
  if (td == PTX_F32 && ts == PTX_S32) return OP_CVT_F32_S32;
  if (td == PTX_F32 && ts == PTX_U32) return OP_CVT_F32_U32;
  return OP_CVT_ANY;
}

static bool pack(struct dec *d) {
  static const struct {
    const char *name;
    uint8_t bits, is_signed;
  } parts[] = {{"u16", 16, 0}, {"s16", 16, 1}, {"u8", 8, 0}, {"s8", 8, 1}, {"u4", 4, 0}, {"s4", 4, 1}, {"u2", 2, 0}, {"s2", 2, 1}};
  if (!dec_mod(d, "sat")) dec_fail(d, PTX_SYNTAX, "cvt.pack needs .sat");
  size_t k = 0;
  while (k < 8 && !dec_mod(d, parts[k].name)) k++;
  if (k == 8) dec_fail(d, PTX_SYNTAX, "the part's type is missing");
  enum ptx_type ts = dec_type(d);
  bool third = k > 1 && dec_mod(d, "b32");
  dec_num_ops(d, third ? 4 : 3, third ? 4 : 3);
  vgpu_loc a = dec_src(d, dec_op(d, 1), ts), b = dec_src(d, dec_op(d, 2), ts), c = third ? dec_src(d, dec_op(d, 3), PTX_B32) : dec_const(d, 0, 4),
           r = dec_dst(d, dec_op(d, 0), PTX_B32);
  struct vgpu_ins *i = dec_emit(d, OP_CVT_PACK, VGPU_CLASS_CVT);
  i->dst = r;
  i->a = a;
  i->b = b;
  i->c = c;
  i->sub = parts[k].bits;
  i->vec = parts[k].is_signed;
  i->sub2 = dec_is_signed(ts);
  return true;
}

bool dec_convert(struct dec *d) {
  static const char *const integral[] = {"rni", "rzi", "rmi", "rpi"};
  if (!IS("cvt")) return false;
  if (dec_mod(d, "pack")) return pack(d);
  int ri = dec_one_of(d, integral, 4, -1);
  unsigned round = ri >= 0 ? (unsigned)ri : dec_round(d), flag = 0;
  if (dec_mod(d, "ftz")) flag |= CVT_FTZ;
  if (dec_mod(d, "sat")) flag |= CVT_SAT;
  enum ptx_type td = dec_type(d), ts = dec_type(d);
  bool fd = dec_is_float(td), fs = dec_is_float(ts);
  if (td == PTX_F16X2 || ts == PTX_F16X2) dec_fail(d, PTX_FEATURE, "cvt of f16x2 needs sm_80");
  if (fd && fs && ri >= 0) flag |= CVT_INTEGRAL;
  if (fs && !fd && ri < 0) dec_fail(d, PTX_SYNTAX, "a conversion to an integer needs .rni, .rzi, .rmi or .rpi");
  dec_num_ops(d, 2, 2);
  unsigned ws, wd;
  vgpu_loc a = dec_src_any(d, dec_op(d, 1), ts, &ws), r = dec_dst_any(d, dec_op(d, 0), td, &wd);
  if (r == NO_LOC) r = d->temp;
  if (ws < int_size(ts) || wd < int_size(td)) dec_fail(d, PTX_SYNTAX, "a register is too small for the type");
  unsigned op = cvt_op(td, ts, wd, ws, round, flag, fd, fs);
  enum vgpu_class cls = fd || fs ? VGPU_CLASS_CVT : VGPU_CLASS_INT;
  if (op == OP_CVT_F32_F16 || op == OP_CVT_F16_F32) cls = VGPU_CLASS_FP16;
  struct vgpu_ins *i = dec_emit(d, (enum vgpu_op)op, cls);
  i->dst = r;
  i->a = a;
  i->type = (uint8_t)td;
  i->sub = (uint8_t)ts;
  i->sub2 = (uint8_t)round;
  i->width = (uint8_t)wd;
  i->vec = (uint8_t)ws;
  i->imm = flag;
  return true;
}

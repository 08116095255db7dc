// Decoding of ldmatrix, movmatrix, mma and wmma: the shapes and types that sm_75 has. PTX ISA 9.7.14.
#include "runtime/vgpu/decode_internal.h"

#define IS(n) (!strcmp(d->in->op, n))

// Registers of a {..} operand (or a single register), all 32 bits.
static unsigned vector(struct dec *d, const struct ptx_operand *o, bool dst, vgpu_loc *out, unsigned want) {
  unsigned n = o->kind == PTX_OP_VEC ? (unsigned)o->num_sub : 1;
  const struct ptx_operand *list = o->kind == PTX_OP_VEC ? o->sub : o;
  if (n != want) dec_fail(d, PTX_SYNTAX, "%u registers where a fragment has %u", n, want);
  for (unsigned k = 0; k < n; k++) out[k] = dst ? dec_dst(d, &list[k], PTX_B32) : dec_src(d, &list[k], PTX_B32);
  return n;
}

static void aligned_sync(struct dec *d) {
  if (!dec_mod(d, "sync")) dec_fail(d, PTX_SYNTAX, ".sync is missing");
  dec_mod(d, "aligned");
}

static bool ldmatrix(struct dec *d) {
  aligned_sync(d);
  if (!dec_mod(d, "m8n8")) dec_fail(d, PTX_FEATURE, "sm_75 loads matrices of m8n8 only");
  unsigned n = dec_mod(d, "x1") ? 1 : dec_mod(d, "x2") ? 2 : dec_mod(d, "x4") ? 4 : 0;
  bool trans = dec_mod(d, "trans");
  enum ptx_space s = dec_space(d);
  if (!n || dec_type(d) != PTX_B16) dec_fail(d, PTX_SYNTAX, ".x1, .x2 or .x4 of .b16 is expected");
  if (s != PTX_SHARED && s != PTX_GENERIC) dec_fail(d, PTX_SYNTAX, "ldmatrix loads from shared memory");
  dec_num_ops(d, 2, 2);
  vgpu_loc list[4], base;
  uint8_t width;
  int64_t imm;
  vector(d, dec_op(d, 0), true, list, n);
  dec_address(d, dec_op(d, 1), s, &base, &width, &imm);
  uint32_t first = dec_list(d, list, n);
  struct vgpu_ins *i = dec_emit(d, OP_LDMATRIX, VGPU_CLASS_LDMATRIX);
  i->list = first;
  i->num_list = (uint16_t)n;
  i->vec = (uint8_t)n;
  i->a = base;
  i->sub2 = width;
  i->imm = imm;
  i->sub = trans;
  i->width = 16;
  i->space = (uint8_t)s;
  i->flags = VGPU_INS_VECTOR;
  return true;
}

static bool movmatrix(struct dec *d) {
  aligned_sync(d);
  if (!dec_mod(d, "m8n8") || !dec_mod(d, "trans") || dec_type(d) != PTX_B16) dec_fail(d, PTX_SYNTAX, "movmatrix.m8n8.trans.b16 is meant");
  dec_num_ops(d, 2, 2);
  vgpu_loc a = dec_src(d, dec_op(d, 1), PTX_B32), r = dec_dst(d, dec_op(d, 0), PTX_B32);
  struct vgpu_ins *i = dec_emit(d, OP_MOVMATRIX, VGPU_CLASS_SHFL);
  i->dst = r;
  i->a = a;
  return true;
}

// The element type among the modifiers, sub-byte ones included. bits 16: half, 32: fp32 or s32, 8, 4, 1.
struct element {
  unsigned bits;
  bool is_float, is_signed;
};

static struct element element(struct dec *d) {
  static const struct {
    const char *name;
    struct element e;
  } names[] = {{"f16", {16, true, true}}, {"f32", {32, true, true}}, {"s32", {32, false, true}}, {"s8", {8, false, true}}, {"u8", {8, false, false}},
               {"s4", {4, false, true}}, {"u4", {4, false, false}}, {"b1", {1, false, false}}};
  for (int i = 0; i < d->in->num_mods; i++) {
    if (d->used >> i & 1) continue;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
      if (!strcmp(names[k].name, d->in->mod[i])) {
        d->used |= 1u << i;
        return names[k].e;
      }
    dec_fail(d, PTX_FEATURE, "'.%.20s' is not on sm_75's tensor cores", d->in->mod[i]);
  }
  dec_fail(d, PTX_SYNTAX, "an element type is missing");
}

static bool layout(struct dec *d, bool *column) {
  for (int i = 0; i < d->in->num_mods; i++) {
    if (d->used >> i & 1) continue;
    *column = !strcmp(d->in->mod[i], "col");
    if (!*column && strcmp(d->in->mod[i], "row")) continue;
    d->used |= 1u << i;
    return true;
  }
  return false;
}

static const struct shape {
  const char *name;
  unsigned m, n, k, bits; // of an element of A and B
  enum vgpu_op op;        // of mma; NOP: only wmma has it
} shapes[] = {{"m16n8k8", 16, 8, 8, 16, OP_MMA_F16}, {"m8n8k4", 8, 8, 4, 16, OP_MMA_M8N8K4}, {"m8n8k16", 8, 8, 16, 8, OP_MMA_INT},
              {"m8n8k32", 8, 8, 32, 4, OP_MMA_INT}, {"m8n8k128", 8, 8, 128, 1, OP_MMA_B1}, {"m16n16k16", 16, 16, 16, 0, OP_NOP},
              {"m32n8k16", 32, 8, 16, 0, OP_NOP}, {"m8n32k16", 8, 32, 16, 0, OP_NOP}};

static const struct shape *shape(struct dec *d, bool wmma) {
  for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
    bool fits = wmma ? k >= 3 : shapes[k].op != OP_NOP;
    if (fits && dec_mod(d, shapes[k].name)) return &shapes[k];
  }
  dec_fail(d, PTX_FEATURE, "the shape is not on sm_75's tensor cores");
}

static void bit_operation(struct dec *d, unsigned bits) {
  if (bits != 1) return;
  if (dec_mod(d, "and")) dec_fail(d, PTX_FEATURE, ".and.popc needs sm_80");
  if (!dec_mod(d, "xor") || !dec_mod(d, "popc")) dec_fail(d, PTX_SYNTAX, ".xor.popc is missing");
}

static bool mma(struct dec *d) {
  if (dec_mod(d, "sp") || dec_mod(d, "sp::ordered_metadata")) dec_fail(d, PTX_FEATURE, "sparse mma needs sm_80");
  aligned_sync(d);
  const struct shape *s = shape(d, false);
  bool ca = false, cb = true, given = layout(d, &ca);
  if (given && !layout(d, &cb)) dec_fail(d, PTX_SYNTAX, "the second layout is missing");
  if (s->op != OP_MMA_M8N8K4 && (ca || !cb)) dec_fail(d, PTX_SYNTAX, "this shape takes .row.col");
  bool clamp = dec_mod(d, "satfinite");
  struct element ed = element(d), ea = element(d), eb = element(d), ec = element(d);
  bit_operation(d, s->bits);
  if (ea.bits != s->bits || eb.bits != s->bits || ea.is_float != (s->bits == 16) || eb.is_float != ea.is_float || ed.is_float != ea.is_float ||
      ec.is_float != ea.is_float || ed.bits < 16 || ec.bits < 16)
    dec_fail(d, PTX_FEATURE, "these types do not go with the shape on sm_75");
  dec_num_ops(d, 4, 4);
  unsigned wd, wa, wb, wc;
  if (s->op == OP_MMA_F16) wd = ed.bits / 8, wa = 2, wb = 1, wc = ec.bits / 8;
  else if (s->op == OP_MMA_M8N8K4) wd = ed.bits / 4, wa = 2, wb = 2, wc = ec.bits / 4;
  else wd = 2, wa = 1, wb = 1, wc = 2;
  vgpu_loc list[32];
  unsigned n = vector(d, dec_op(d, 0), true, list, wd);
  n += vector(d, dec_op(d, 1), false, list + n, wa);
  n += vector(d, dec_op(d, 2), false, list + n, wb);
  n += vector(d, dec_op(d, 3), false, list + n, wc);
  uint32_t first = dec_list(d, list, n);
  struct vgpu_ins *i = dec_emit(d, s->op, VGPU_CLASS_TENSOR);
  i->list = first;
  i->num_list = (uint16_t)n;
  i->width = (uint8_t)s->bits;
  i->e = s->m << 16 | s->n << 8 | s->k;
  i->sub = ea.is_float ? (uint8_t)((ed.bits == 32) | (ec.bits == 32) << 1) : (uint8_t)(ea.is_signed | eb.is_signed << 1);
  i->sub2 = ea.is_float ? (uint8_t)(ca | cb << 1) : clamp;
  if (s->op == OP_MMA_B1) i->sub = i->sub2 = 0;
  return true;
}

static unsigned fragment_regs(const struct element *e, unsigned elements) {
  if (e->is_float) return e->bits == 32 ? 8 : elements == 0 ? 8 : 4;
  return elements * e->bits / 1024;
}

static bool wmma_access(struct dec *d, bool load) {
  aligned_sync(d);
  bool a = dec_mod(d, "a"), b = !a && dec_mod(d, "b"), cd = !a && !b && (dec_mod(d, "c") || dec_mod(d, "d")), column;
  if (!a && !b && !cd) dec_fail(d, PTX_SYNTAX, "the matrix is missing");
  if (!layout(d, &column)) dec_fail(d, PTX_SYNTAX, "the layout is missing");
  const struct shape *s = shape(d, true);
  enum ptx_space space = dec_space(d);
  struct element e = element(d);
  unsigned rows = b ? s->k : s->m, cols = a ? s->k : s->n, bits = e.bits;
  if (!cd && bits == 32) dec_fail(d, PTX_SYNTAX, "an element type that A and B do not have");
  unsigned regs = cd ? fragment_regs(&e, rows * cols) : e.is_float ? 8 : rows * cols * bits / 1024;
  dec_num_ops(d, 2, 3);
  vgpu_loc list[8], base, stride = d->in->num_ops == 3 ? dec_src(d, dec_op(d, 2), PTX_U32) : NO_LOC;
  uint8_t width;
  int64_t imm;
  vector(d, dec_op(d, load ? 0 : 1), load, list, regs);
  dec_address(d, dec_op(d, load ? 1 : 0), space, &base, &width, &imm);
  uint32_t first = dec_list(d, list, regs);
  struct vgpu_ins *i = dec_emit(d, load ? OP_WMMA_LOAD : OP_WMMA_STORE, load ? VGPU_CLASS_LOAD : VGPU_CLASS_STORE);
  i->list = first;
  i->num_list = (uint16_t)regs;
  i->a = base;
  i->sub2 = width;
  i->imm = imm;
  i->c = stride;
  i->space = (uint8_t)space;
  i->width = (uint8_t)bits;
  i->e = rows << 16 | cols << 8 | rows * cols / 32;
  i->sub = column;
  i->vec = !cd;
  return true;
}

static bool wmma_mma(struct dec *d) {
  if (dec_mod(d, "and")) dec_fail(d, PTX_FEATURE, ".and.popc needs sm_80");
  if (dec_mod(d, "xor") && !dec_mod(d, "popc")) dec_fail(d, PTX_SYNTAX, ".popc is missing");
  aligned_sync(d);
  bool ca, cb;
  if (!layout(d, &ca) || !layout(d, &cb)) dec_fail(d, PTX_SYNTAX, "the layouts are missing");
  const struct shape *s = shape(d, true);
  bool clamp = dec_mod(d, "satfinite");
  struct element e[4] = {{0}};
  int n = 0;
  while (n < 4 && __builtin_popcount(d->used) < d->in->num_mods) e[n++] = element(d);
  bool half = e[0].is_float; // .dtype.ctype alone: A and B are halves
  struct element ed = e[0], ec = n == 2 ? e[1] : e[3], ea = n == 2 ? (struct element){16, true, true} : e[1], eb = n == 2 ? ea : e[2];
  if (n != 4 && !(half && n == 2)) dec_fail(d, PTX_SYNTAX, "the element types are missing");
  unsigned na = half ? 8 : s->m * s->k * ea.bits / 1024, nb = half ? 8 : s->k * s->n * eb.bits / 1024;
  if (ea.bits != eb.bits || (s->bits && s->bits != ea.bits)) dec_fail(d, PTX_FEATURE, "these types do not go with the shape on sm_75");
  dec_num_ops(d, 4, 4);
  vgpu_loc list[32];
  unsigned k = vector(d, dec_op(d, 0), true, list, fragment_regs(&ed, s->m * s->n));
  k += vector(d, dec_op(d, 1), false, list + k, na);
  k += vector(d, dec_op(d, 2), false, list + k, nb);
  k += vector(d, dec_op(d, 3), false, list + k, fragment_regs(&ec, s->m * s->n));
  uint32_t first = dec_list(d, list, k);
  struct vgpu_ins *i = dec_emit(d, OP_WMMA_MMA, VGPU_CLASS_TENSOR);
  i->list = first;
  i->num_list = (uint16_t)k;
  i->type = half ? PTX_F16 : PTX_S32;
  i->width = (uint8_t)ea.bits;
  i->e = s->m << 16 | s->n << 8 | s->k;
  i->sub = (uint8_t)(half ? (ed.bits == 32) | (ec.bits == 32) << 1 : 0);
  i->sub2 = (uint8_t)(ca | cb << 1);
  i->imm = ea.is_signed | eb.is_signed << 1 | (clamp ? 4 : 0);
  return true;
}

bool dec_tensor(struct dec *d) {
  if (IS("ldmatrix")) return ldmatrix(d);
  if (IS("movmatrix")) return movmatrix(d);
  if (IS("mma")) return mma(d);
  if (!IS("wmma")) return false;
  if (dec_mod(d, "load")) return wmma_access(d, true);
  if (dec_mod(d, "store")) return wmma_access(d, false);
  if (dec_mod(d, "mma")) return wmma_mma(d);
  return false;
}

#include "runtime/vgpu/t4_code.h"
#include <stdlib.h>
#include <string.h>

// A kernel's functions while its registers are renumbered.
struct builder {
  struct t4_code *c;
  const struct vgpu_code *code;
  uint32_t *names;  // hash: register number + 1 of the function in hand
  uint16_t *slot;
  uint32_t size, num;
};

static void forget_names(struct builder *b) {
  memset(b->names, 0, b->size * sizeof *b->names);
  b->num = 0;
}

// The slot of a register of the function in hand.
static bool slot_of(struct builder *b, uint32_t reg, uint16_t *slot) {
  if (b->num * 2 >= b->size) {
    uint32_t old = b->size, *names = b->names;
    uint16_t *slots = b->slot;
    b->size = old * 2;
    b->names = calloc(b->size, sizeof *b->names);
    b->slot = calloc(b->size, sizeof *b->slot);
    bool ok = b->names && b->slot;
    for (uint32_t i = 0; ok && i < old; i++) {
      if (!names[i]) continue;
      uint32_t k = names[i] * 2654435761u % b->size;
      while (b->names[k]) k = (k + 1) % b->size;
      b->names[k] = names[i], b->slot[k] = slots[i];
    }
    free(names);
    free(slots);
    if (!ok) return false;
  }
  uint32_t k = (reg + 1) * 2654435761u % b->size;
  while (b->names[k] && b->names[k] != reg + 1) k = (k + 1) % b->size;
  if (!b->names[k]) {
    if (b->c->num_slots >= UINT16_MAX) b->c->num_slots = 0; // a monster: slots are shared, dependences become stricter
    b->names[k] = reg + 1;
    b->slot[k] = (uint16_t)b->c->num_slots++;
    b->num++;
  }
  *slot = b->slot[k];
  return true;
}

static bool add_slot(struct t4_code *c, uint16_t slot) {
  if (c->num_list == c->cap_list) {
    uint32_t cap = c->cap_list ? c->cap_list * 2 : 1024;
    uint16_t *p = realloc(c->slots, cap * sizeof *p);
    if (!p) return false;
    c->slots = p, c->cap_list = cap;
  }
  c->slots[c->num_list++] = slot;
  return true;
}

static enum t4_kind memory_kind(const struct vgpu_ins *d) {
  bool shared = d->space == PTX_SHARED, load = d->cls == VGPU_CLASS_LOAD || d->cls == VGPU_CLASS_LDMATRIX;
  if (d->space == PTX_CONST || d->space == PTX_PARAM) return T4_CONST;
  if (shared) return d->cls == VGPU_CLASS_STORE ? T4_SHARED_STORE : T4_SHARED_LOAD;
  if (load) return T4_GLOBAL_LOAD;
  return d->cls == VGPU_CLASS_STORE ? T4_GLOBAL_STORE : d->cls == VGPU_CLASS_PREFETCH ? T4_SKIP : T4_GLOBAL_ATOM;
}

static enum t4_kind kind_of(const struct vgpu_ins *d, const struct ptx_ins *p) {
  switch ((enum vgpu_class)d->cls) {
  case VGPU_CLASS_NONE: return T4_SKIP;
  case VGPU_CLASS_LOAD: case VGPU_CLASS_STORE: case VGPU_CLASS_ATOM: case VGPU_CLASS_RED: case VGPU_CLASS_LDMATRIX:
  case VGPU_CLASS_PREFETCH: return memory_kind(d);
  case VGPU_CLASS_BAR: return T4_BARRIER;
  case VGPU_CLASS_FENCE: return T4_FENCE;
  case VGPU_CLASS_BRANCH: case VGPU_CLASS_CALL: case VGPU_CLASS_RET: return T4_CONTROL;
  case VGPU_CLASS_EXIT: return T4_EXIT;
  case VGPU_CLASS_MOVE:
    if (p && !strcmp(p->op, "cvta")) return T4_SKIP; // windows are known to the machine: no instruction is left
    return p && !strcmp(p->op, "ld") ? T4_CONST : T4_ALU;
  default: return T4_ALU;
  }
}

// mma.m16n8k8 and wmma's m16n16k16 from the modifiers; bits from the type of A.
static struct t4_timing mma_timing(const struct ptx_ins *p) {
  unsigned m = 16, n = 8, k = 8, bits = 16;
  bool f32 = false;
  for (int i = 0; i < p->num_mods; i++) {
    const char *s = p->mod[i];
    if (s[0] == 'm' && s[1] >= '0' && s[1] <= '9') {
      char *e;
      m = (unsigned)strtoul(s + 1, &e, 10);
      if (*e == 'n') n = (unsigned)strtoul(e + 1, &e, 10);
      if (*e == 'k') k = (unsigned)strtoul(e + 1, &e, 10);
    } else if (!strcmp(s, "f32")) f32 = true;
    else if (!strcmp(s, "s8") || !strcmp(s, "u8")) bits = 8;
    else if (!strcmp(s, "s4") || !strcmp(s, "u4")) bits = 4;
    else if (!strcmp(s, "b1")) bits = 1;
  }
  return t4_timing_mma(m, n, k, bits, f32);
}

static struct t4_timing timing_of(const struct vgpu_ins *d, const struct ptx_ins *p, enum t4_kind kind) {
  struct t4_timing t = t4_timing_of((enum vgpu_class)d->cls);
  if (kind == T4_CONST) return (struct t4_timing){T4_MEM, 0, 1};
  if (!p) return t;
  if (d->cls == VGPU_CLASS_TENSOR) return mma_timing(p);
  // Comparisons and selections of floats are done by the integer pipe.
  if (t.unit == T4_FP && (!strcmp(p->op, "setp") || !strcmp(p->op, "selp") || !strcmp(p->op, "set"))) t.unit = T4_INT;
  return t;
}

// One instruction: pipe, kind, registers (a guard is among the sources).
static bool decode(struct builder *b, uint32_t pc) {
  const struct vgpu_ins *d = &b->code->ins[pc];
  const struct vgpu_meta *meta = &b->code->meta[pc];
  const struct ptx_ins *p = meta->ptx;
  struct t4_op *op = &b->c->ops[pc];
  enum t4_kind kind = kind_of(d, p);
  struct t4_timing t = timing_of(d, p, kind);
  *op = (struct t4_op){.unit = t.unit, .kind = (uint8_t)kind, .latency = t.latency, .interval = t.interval,
                       .slots = b->c->num_list};
  op->traced = kind == T4_BARRIER || (kind >= T4_SHARED_LOAD && kind <= T4_GLOBAL_ATOM);
  if (kind == T4_SKIP) return true;
  const uint32_t *regs = b->code->regs + meta->regs;
  unsigned total = meta->num_dst + meta->num_src;
  for (unsigned i = 0; i < total && i < 64; i++) {
    uint16_t slot;
    if (regs[i] < VGPU_REG_PRED && regs[i] % 2) continue; // the second half of a 64-bit register goes with the first
    if (!slot_of(b, regs[i], &slot) || !add_slot(b->c, slot)) return false;
    if (i < meta->num_dst) op->num_dst++;
    else op->num_src++;
  }
  return true;
}

static bool ends_block(const struct t4_op *op) { return op->kind >= T4_BARRIER; }

// Cuts a function into basic blocks: at targets of branches and after what can leave.
static bool cut(struct builder *b, uint32_t first, uint32_t num, uint8_t *leader) {
  struct t4_code *c = b->c;
  leader[first] = 1;
  for (uint32_t pc = first; pc < first + num; pc++) {
    const struct vgpu_ins *d = &b->code->ins[pc];
    bool leaves = ends_block(&c->ops[pc]) || d->cls == VGPU_CLASS_NONE;
    if (leaves && pc + 1 < first + num) leader[pc + 1] = 1;
    if (d->cls == VGPU_CLASS_NONE) leader[pc] = 1;
    if (d->cls == VGPU_CLASS_BRANCH && d->target >= first && d->target < first + num) leader[d->target] = 1;
  }
  for (uint32_t pc = first; pc < first + num; pc++) {
    if (leader[pc]) c->blocks[c->num_blocks++] = (struct t4_block){.first = pc, .order = pc};
    struct t4_block *k = &c->blocks[c->num_blocks - 1];
    struct t4_op *op = &c->ops[pc];
    op->block = c->num_blocks - 1;
    op->mem_ordinal = 0;
    if (k->num) op->mem_ordinal = (uint16_t)(c->ops[pc - 1].mem_ordinal + c->ops[pc - 1].traced);
    k->num++;
    c->order[pc] = pc;
  }
  return true;
}

bool t4_code_build(struct t4_code *c, const struct vgpu_code *code, const struct vgpu_func *kernel) {
  memset(c, 0, sizeof *c);
  uint32_t n = code->num_ins ? code->num_ins : 1;
  uint8_t *leader = calloc(n, 1);
  struct builder b = {.c = c, .code = code, .size = 256};
  b.names = calloc(b.size, sizeof *b.names);
  b.slot = calloc(b.size, sizeof *b.slot);
  c->ops = calloc(n, sizeof *c->ops);
  c->blocks = calloc(n, sizeof *c->blocks);
  c->order = calloc(n, sizeof *c->order);
  c->num_ops = code->num_ins;
  bool ok = leader && b.names && b.slot && c->ops && c->blocks && c->order;
  for (uint32_t i = 0; ok && i < code->num_funcs; i++) {
    const struct vgpu_func *f = &code->funcs[i];
    if (!f->num || (f != kernel && f->ptx->is_entry)) continue;
    forget_names(&b);
    for (uint32_t pc = f->first; ok && pc < f->first + f->num; pc++) ok = decode(&b, pc);
    ok = ok && cut(&b, f->first, f->num, leader);
  }
  ok = ok && t4_schedule(c);
  free(leader);
  free(b.names);
  free(b.slot);
  if (!ok) t4_code_free(c);
  return ok;
}

void t4_code_free(struct t4_code *c) {
  free(c->ops);
  free(c->slots);
  free(c->blocks);
  free(c->order);
  memset(c, 0, sizeof *c);
}

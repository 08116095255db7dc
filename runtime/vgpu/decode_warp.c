// Decoding of warp exchange, tensor cores and control flow. PTX ISA 9.7.9, 9.7.12 to 9.7.14, 9.7.19.
#include "runtime/vgpu/decode_internal.h"

#define IS(n) (!strcmp(d->in->op, n))

static bool shuffle(struct dec *d) {
  static const char *const modes[] = {"up", "down", "bfly", "idx"};
  if (!dec_mod(d, "sync")) dec_fail(d, PTX_FEATURE, "shfl without .sync is not on sm_70 and later");
  int mode = dec_one_of(d, modes, 4, -1);
  if (mode < 0) dec_fail(d, PTX_SYNTAX, "the mode is missing");
  dec_type(d);
  dec_num_ops(d, 5, 5);
  const struct ptx_operand *dst = dec_op(d, 0);
  vgpu_loc p = NO_LOC;
  if (dst->kind == PTX_OP_PAIR) p = dec_pred_dst(d, &dst->sub[1]), dst = &dst->sub[0];
  vgpu_loc s[4], r = dec_dst(d, dst, PTX_B32);
  for (int k = 0; k < 4; k++) s[k] = dec_src(d, dec_op(d, k + 1), PTX_B32);
  struct vgpu_ins *i = dec_emit(d, OP_SHFL, VGPU_CLASS_SHFL);
  i->dst = r;
  i->a = s[0];
  i->b = s[1];
  i->c = s[2];
  i->imm = s[3];
  i->e = p;
  i->sub = (uint8_t)mode;
  i->width = 4;
  return true;
}

static bool vote(struct dec *d) {
  static const char *const modes[] = {"all", "any", "uni", "ballot"};
  if (!dec_mod(d, "sync")) dec_fail(d, PTX_FEATURE, "vote without .sync is not on sm_70 and later");
  int mode = dec_one_of(d, modes, 4, -1);
  if (mode < 0) dec_fail(d, PTX_SYNTAX, "the mode is missing");
  enum ptx_type t = dec_type(d);
  dec_num_ops(d, 3, 3);
  bool neg;
  if ((mode == VOTE_BALLOT) != (t == PTX_B32)) dec_fail(d, PTX_SYNTAX, "ballot gives .b32, the others .pred");
  vgpu_loc a = dec_pred(d, dec_op(d, 1), &neg), memb = dec_src(d, dec_op(d, 2), PTX_B32);
  vgpu_loc r = mode == VOTE_BALLOT ? dec_dst(d, dec_op(d, 0), t) : dec_pred_dst(d, dec_op(d, 0));
  if (r == NO_LOC) r = d->temp;
  struct vgpu_ins *i = dec_emit(d, OP_VOTE, VGPU_CLASS_VOTE);
  i->dst = r;
  i->a = a;
  i->imm = memb;
  i->sub = (uint8_t)mode;
  i->sub2 = neg;
  return true;
}

static bool match(struct dec *d) {
  bool all = dec_mod(d, "all");
  if (!all && !dec_mod(d, "any")) dec_fail(d, PTX_SYNTAX, ".any or .all is missing");
  if (!dec_mod(d, "sync")) dec_fail(d, PTX_SYNTAX, ".sync is missing");
  enum ptx_type t = dec_type(d);
  dec_num_ops(d, 3, 3);
  const struct ptx_operand *dst = dec_op(d, 0);
  vgpu_loc p = NO_LOC;
  if (dst->kind == PTX_OP_PAIR) p = dec_pred_dst(d, &dst->sub[1]), dst = &dst->sub[0];
  vgpu_loc a = dec_src(d, dec_op(d, 1), t), memb = dec_src(d, dec_op(d, 2), PTX_B32), r = dec_dst(d, dst, PTX_B32);
  struct vgpu_ins *i = dec_emit(d, all ? OP_MATCH_ALL : OP_MATCH_ANY, VGPU_CLASS_MATCH);
  i->dst = r;
  i->a = a;
  i->imm = memb;
  i->e = p;
  i->width = (uint8_t)ptx_type_size(t);
  return true;
}

static bool barrier(struct dec *d) {
  if (dec_mod(d, "warp")) {
    if (!dec_mod(d, "sync")) dec_fail(d, PTX_SYNTAX, "bar.warp.sync is meant");
    dec_num_ops(d, 1, 1);
    vgpu_loc memb = dec_src(d, dec_op(d, 0), PTX_B32);
    dec_emit(d, OP_WARPSYNC, VGPU_CLASS_WARPSYNC)->imm = memb;
    return true;
  }
  dec_mod(d, "cta");
  if (dec_mod(d, "cluster")) dec_fail(d, PTX_FEATURE, "clusters need sm_90");
  bool arrive = dec_mod(d, "arrive"), red = !arrive && dec_mod(d, "red");
  if (!arrive && !red && !dec_mod(d, "sync")) dec_fail(d, PTX_SYNTAX, ".sync, .arrive or .red is missing");
  bool aligned = dec_mod(d, "aligned") || IS("bar");
  unsigned sub = (arrive ? BAR_ARRIVE : 0) | (aligned ? BAR_ALIGNED : 0);
  enum ptx_type t;
  bool neg = false;
  vgpu_loc dst = NO_LOC, pred = 0, count = 0;
  int first = red, last = d->in->num_ops - red;
  if (red) {
    sub |= dec_mod(d, "popc") ? BAR_RED_POPC : dec_mod(d, "and") ? BAR_RED_AND : dec_mod(d, "or") ? BAR_RED_OR : 0;
    t = dec_type(d);
    if (!(sub & (BAR_RED_POPC | BAR_RED_AND | BAR_RED_OR))) dec_fail(d, PTX_SYNTAX, "the reduction is missing");
    dst = sub & BAR_RED_POPC ? dec_dst(d, dec_op(d, 0), t) : dec_pred_dst(d, dec_op(d, 0));
    pred = dec_pred(d, dec_op(d, last), &neg);
  }
  if (last - first < 1 || last - first > 2) dec_fail(d, PTX_SYNTAX, "a barrier and perhaps a count are expected");
  vgpu_loc id = dec_src(d, dec_op(d, first), PTX_U32);
  if (last - first == 2) count = dec_src(d, dec_op(d, first + 1), PTX_U32), sub |= BAR_HAS_COUNT;
  dec_guard_branch(d);
  struct vgpu_ins *i = dec_emit(d, OP_BAR, VGPU_CLASS_BAR);
  i->guard = 0;
  i->dst = dst;
  i->a = id;
  i->b = count;
  i->c = pred;
  i->sub = (uint8_t)sub;
  i->sub2 = neg;
  d->vf->uses_barrier = true;
  return true;
}

bool dec_warp(struct dec *d) {
  if (IS("shfl")) return shuffle(d);
  if (IS("vote")) return vote(d);
  if (IS("match")) return match(d);
  if (IS("bar") || IS("barrier")) return barrier(d);
  if (IS("activemask")) {
    dec_type(d);
    dec_num_ops(d, 1, 1);
    vgpu_loc r = dec_dst(d, dec_op(d, 0), PTX_B32);
    dec_emit(d, OP_ACTIVEMASK, VGPU_CLASS_VOTE)->dst = r;
    return true;
  }
  return false;
}

static void jump_to(struct dec *d, int index) { // the pc is put in when all are known
  struct vgpu_ins *i = dec_emit(d, OP_BRA, VGPU_CLASS_BRANCH);
  i->target = (uint32_t)index;
  if (d->in->pred < 0) return;
  i->guard = 0;
  i->op = OP_BRA_PRED;
  i->fn = d->handlers[OP_BRA_PRED];
  i->a = d->reg_loc[d->in->pred];
  i->sub = d->in->pred_neg;
  i->imm = d->join_of[d->index];
}

static bool branch(struct dec *d) {
  dec_mod(d, "uni");
  dec_num_ops(d, 1, 1);
  jump_to(d, d->f->label_at[dec_op(d, 0)->label]);
  return true;
}

static const struct ptx_table *find_table(struct dec *d, const struct ptx_operand *o) {
  for (const struct ptx_table *t = d->f->tables; t; t = t->next)
    if (o->kind == PTX_OP_TABLE && !strcmp(t->name, o->name)) return t;
  dec_fail(d, PTX_SYNTAX, "the name of a table is expected");
}

static bool branch_indexed(struct dec *d) {
  if (!dec_mod(d, "idx")) dec_fail(d, PTX_SYNTAX, "brx.idx is meant");
  dec_mod(d, "uni");
  dec_num_ops(d, 2, 2);
  const struct ptx_table *t = find_table(d, dec_op(d, 1));
  if (t->kind != PTX_BRANCH_TARGETS || t->num > 65535) dec_fail(d, PTX_SYNTAX, "brx.idx needs .branchtargets");
  vgpu_loc index = dec_src(d, dec_op(d, 0), PTX_U32);
  vgpu_loc *list = dec_alloc(d, (size_t)(t->num ? t->num : 1) * sizeof *list);
  for (int k = 0; k < t->num; k++) list[k] = (vgpu_loc)d->f->label_at[t->labels[k]];
  uint32_t first = dec_list(d, list, (unsigned)t->num);
  dec_guard_branch(d);
  struct vgpu_ins *i = dec_emit(d, OP_BRX, VGPU_CLASS_BRANCH);
  i->guard = 0;
  i->a = index;
  i->list = first;
  i->num_list = (uint16_t)t->num;
  i->imm = d->join_of[d->index];
  return true;
}

// A parameter or register row that holds an argument.
static vgpu_loc argument(struct dec *d, const struct ptx_operand *o, const struct ptx_var *formal) {
  if (o->kind == PTX_OP_SINK) return NO_LOC;
  if (o->kind == PTX_OP_VAR && o->var->space == PTX_PARAM) {
    if (formal && o->var->size != formal->size && formal->space == PTX_PARAM)
      dec_fail(d, PTX_SYNTAX, "argument '%.40s' has %llu bytes, the parameter %llu", o->var->name, (unsigned long long)o->var->size, (unsigned long long)formal->size);
    return (vgpu_loc)o->var->slot;
  }
  if (!formal) dec_fail(d, PTX_SYNTAX, "an argument of the wrong kind");
  return dec_src(d, o, formal->type);
}

static unsigned arguments(struct dec *d, const struct ptx_operand *list, const struct ptx_var *formal, vgpu_loc *out, unsigned n) {
  if (!list) {
    if (formal) dec_fail(d, PTX_SYNTAX, "arguments are missing");
    return n;
  }
  for (int k = 0; k < list->num_sub; k++) {
    if (n >= 60) dec_fail(d, PTX_FEATURE, "more than 60 arguments");
    if (!formal) dec_fail(d, PTX_SYNTAX, "more arguments than parameters");
    out[n++] = argument(d, &list->sub[k], formal);
    formal = formal->next;
  }
  if (formal) dec_fail(d, PTX_SYNTAX, "fewer arguments than parameters");
  return n;
}

static bool call(struct dec *d) {
  dec_mod(d, "uni");
  int k = 0;
  const struct ptx_operand *rets = NULL, *args = NULL, *fn, *proto;
  if (dec_op(d, 0)->kind == PTX_OP_LIST) rets = dec_op(d, k++);
  fn = dec_op(d, k++);
  if (k < d->in->num_ops && dec_op(d, k)->kind == PTX_OP_LIST) args = dec_op(d, k++);
  proto = dec_op_or_null(d, k);
  const struct ptx_var *formal_params, *formal_rets;
  vgpu_loc list[128], to = 0;
  if (fn->kind == PTX_OP_FUNC) {
    formal_params = fn->func->params;
    formal_rets = fn->func->rets;
    if (fn->func->is_entry) dec_fail(d, PTX_FEATURE, "a kernel is called");
  } else {
    if (!proto) dec_fail(d, PTX_SYNTAX, "an indirect call needs a prototype");
    const struct ptx_table *t = find_table(d, proto);
    if (t->kind == PTX_BRANCH_TARGETS || (t->kind == PTX_CALL_TARGETS && !t->num)) dec_fail(d, PTX_SYNTAX, "an indirect call needs a prototype");
    formal_params = t->kind == PTX_CALL_PROTOTYPE ? t->params : t->funcs[0]->params;
    formal_rets = t->kind == PTX_CALL_PROTOTYPE ? t->rets : t->funcs[0]->rets;
    to = dec_src(d, fn, PTX_U64);
  }
  unsigned num_rets = arguments(d, rets, formal_rets, list, 0), n = arguments(d, args, formal_params, list, num_rets);
  uint32_t first = dec_list(d, list, n);
  dec_guard_branch(d);
  struct vgpu_ins *i = dec_emit(d, fn->kind == PTX_OP_FUNC ? OP_CALL : OP_CALL_INDIRECT, VGPU_CLASS_CALL);
  i->guard = 0;
  i->a = to;
  i->target = fn->kind == PTX_OP_FUNC ? (uint32_t)fn->func->index : 0;
  i->list = first;
  i->num_list = (uint16_t)n;
  i->sub = (uint8_t)num_rets;
  i->imm = d->index + 1; // where callers of different functions meet again
  return true;
}

static bool leave(struct dec *d) {
  dec_mod(d, "uni");
  dec_num_ops(d, 0, 0);
  if (IS("ret") && !d->f->is_entry) jump_to(d, d->f->num_ins);
  else dec_emit(d, OP_EXIT, VGPU_CLASS_EXIT);
  return true;
}

bool dec_control(struct dec *d) {
  if (IS("bra")) return branch(d);
  if (IS("brx")) return branch_indexed(d);
  if (IS("call")) return call(d);
  if (IS("ret") || IS("exit")) return leave(d);
  if (IS("trap")) return dec_emit(d, OP_TRAP, VGPU_CLASS_MISC), true;
  if (IS("brkpt")) return dec_emit(d, OP_BRKPT, VGPU_CLASS_MISC), true;
  if (IS("pmevent")) {
    dec_mod(d, "mask");
    return dec_emit(d, OP_NOP, VGPU_CLASS_MISC), true;
  }
  if (IS("nanosleep")) {
    dec_type(d);
    dec_src(d, dec_op(d, 0), PTX_U32);
    return dec_emit(d, OP_NANOSLEEP, VGPU_CLASS_MISC), true;
  }
  return false;
}

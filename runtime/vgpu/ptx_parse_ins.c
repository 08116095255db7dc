// Function bodies of the PTX reader: scopes, labels, .loc, instructions and their operands. PTX ISA, "Instruction statements",
// "Instruction operands". Which operands an instruction takes is decode.c's matter; only bra, brx and call, whose
// names are labels, tables and functions, are told apart here.
#include "runtime/vgpu/ptx_internal.h"
#include <string.h>

static void operand(struct ptx_parser *p, struct ptx_operand *o);

static bool is_sreg(const char *name) {
  return name[0] == '%' || !strcmp(name, "WARP_SZ");
}

static int component(struct ptx_parser *p) {
  static const char names[] = "xyzwrgba";
  if (p->token != T_DOT || strlen(p->word) != 1 || !strchr(names, p->word[0])) return -1;
  int c = (int)(strchr(names, p->word[0]) - names) & 3;
  ptx_next(p);
  return c;
}

static void named(struct ptx_parser *p, struct ptx_operand *o) {
  const char *name = ptx_expect_ident(p);
  o->component = -1;
  if (!strcmp(name, "_")) {
    o->kind = PTX_OP_SINK;
    return;
  }
  struct ptx_var *reg = ptx_find_reg(p, name);
  if (reg && reg->space == PTX_REG) {
    o->kind = PTX_OP_REG;
    o->var = reg;
    o->reg = reg->slot;
    o->component = (int8_t)component(p);
    return;
  }
  struct ptx_symbol *s = ptx_lookup(p, name);
  if (s && (s->kind == SYM_VAR || s->kind == SYM_FUNC)) {
    o->kind = s->kind == SYM_VAR ? PTX_OP_VAR : PTX_OP_FUNC;
    o->var = s->var;
    o->func = s->func;
    if (s->kind == SYM_VAR && (ptx_is(p, '+') || ptx_is(p, '-'))) o->ival = ptx_const_expr(p);
    return;
  }
  if (s && s->kind == SYM_TABLE) {
    o->kind = PTX_OP_TABLE;
    o->name = name;
    return;
  }
  if (!strcmp(name, "WARP_SZ")) {
    o->kind = PTX_OP_INT;
    o->ival = 32;
    return;
  }
  if (!is_sreg(name)) ptx_fail(p, PTX_SYNTAX, "'%.60s' is not declared", name);
  o->kind = PTX_OP_SREG;
  o->name = name;
  o->component = (int8_t)component(p);
}

// [base], [base+offset], [base-offset], [offset]; base<offset> and textures' [t, {..}] are refused
static void address(struct ptx_parser *p, struct ptx_operand *o) {
  ptx_expect(p, '[');
  o->kind = PTX_OP_ADDR;
  o->num_sub = 1;
  o->sub = ptx_need(p, sizeof *o->sub);
  if (p->token == T_IDENT && strcmp(p->word, "WARP_SZ")) {
    named(p, o->sub);
    if (o->sub->kind != PTX_OP_REG && o->sub->kind != PTX_OP_VAR) ptx_fail(p, PTX_SYNTAX, "an address of neither register nor variable");
    if (o->sub->kind == PTX_OP_VAR) {
      o->ival = o->sub->ival;
      o->sub->ival = 0;
    } else if (ptx_accept(p, '+')) o->ival = ptx_const_expr(p);
    else if (ptx_is(p, '-')) o->ival = ptx_const_expr(p);
  } else {
    o->sub->kind = PTX_OP_INT;
    o->ival = ptx_const_expr(p);
  }
  if (ptx_is(p, ',')) ptx_fail(p, PTX_FEATURE, "textures, surfaces and tensors are not modelled");
  ptx_expect(p, ']');
}

// A list of operands up to `close`.
static void group(struct ptx_parser *p, struct ptx_operand *o, int close) {
  struct ptx_operand *list = NULL;
  int cap = 0;
  if (++p->nesting > 20) ptx_fail(p, PTX_SYNTAX, "operands nest too deeply");
  ptx_next(p);
  while (!ptx_is(p, close)) {
    list = ptx_grow(p, list, o->num_sub, &cap, sizeof *list);
    operand(p, &list[o->num_sub++]);
    if (!ptx_accept(p, ',')) break;
  }
  ptx_expect(p, close);
  p->nesting--;
  o->sub = list;
}

static void operand(struct ptx_parser *p, struct ptx_operand *o) {
  o->component = -1;
  if (ptx_is(p, '{')) {
    o->kind = PTX_OP_VEC;
    group(p, o, '}');
  } else if (ptx_is(p, '(')) {
    const char *q = p->p;
    while (q < p->end && strchr(" \t\r\n", *q) && *q) q++;
    if (q < p->end && (*q == ')' || *q == '%' || *q == '_' || *q == '$' || (*q | 32) >= 'a')) {
      o->kind = PTX_OP_LIST;
      group(p, o, ')');
    } else ptx_literal(p, o);
  } else if (ptx_is(p, '[')) {
    address(p, o);
  } else if (ptx_is(p, '!')) {
    ptx_next(p);
    if (p->token != T_IDENT) {
      o->kind = PTX_OP_INT;
      o->ival = !ptx_const_expr(p);
      return;
    }
    named(p, o);
    o->neg = true;
  } else if (p->token == T_IDENT) {
    named(p, o);
  } else if (ptx_is(p, '-') && p->p < p->end && *p->p == '%') {
    ptx_next(p);
    named(p, o);
    o->neg = true;
  } else {
    ptx_literal(p, o);
  }
  if (ptx_is(p, '|')) { // d|p
    struct ptx_operand *pair = ptx_need(p, 2 * sizeof *pair);
    pair[0] = *o;
    ptx_next(p);
    operand(p, &pair[1]);
    *o = (struct ptx_operand){.kind = PTX_OP_PAIR, .num_sub = 2, .sub = pair, .component = -1};
  }
}

static void label_operand(struct ptx_parser *p, struct ptx_operand *o) {
  o->kind = PTX_OP_LABEL;
  o->component = -1;
  o->name = ptx_expect_ident(p);
  o->label = ptx_label_ref(p, o->name);
}

// The arguments of a call may be "( a, b )" of literals too, which operand() takes for expressions.
static void call_operand(struct ptx_parser *p, struct ptx_operand *o) {
  o->component = -1;
  if (ptx_is(p, '(')) {
    o->kind = PTX_OP_LIST;
    group(p, o, ')');
  } else operand(p, o);
}

static void operands(struct ptx_parser *p, struct ptx_ins *ins) {
  int cap = 0;
  bool branch = !strcmp(ins->op, "bra"), call = !strcmp(ins->op, "call");
  while (!ptx_is(p, ';')) {
    if (ins->num_ops >= 64) ptx_fail(p, PTX_SYNTAX, "more than 64 operands");
    ins->ops = ptx_grow(p, ins->ops, ins->num_ops, &cap, sizeof *ins->ops);
    struct ptx_operand *o = &ins->ops[ins->num_ops++];
    if (branch) label_operand(p, o);
    else if (call) call_operand(p, o);
    else operand(p, o);
    if (!ptx_accept(p, ',')) break;
  }
}

static void guard(struct ptx_parser *p, struct ptx_ins *ins) {
  ins->pred = -1;
  if (!ptx_accept(p, '@')) return;
  ins->pred_neg = ptx_accept(p, '!');
  const char *name = ptx_expect_ident(p);
  struct ptx_var *v = ptx_find_reg(p, name);
  if (!v || v->space != PTX_REG || v->type != PTX_PRED) ptx_fail(p, PTX_SYNTAX, "guard '%.60s' is no predicate register", name);
  ins->pred = v->slot;
}

static void instruction(struct ptx_parser *p, const char *start) {
  struct ptx_func *f = p->func;
  f->ins = ptx_grow(p, f->ins, f->num_ins, &p->cap_ins, sizeof *f->ins);
  struct ptx_ins *ins = &f->ins[f->num_ins];
  memset(ins, 0, sizeof *ins);
  ins->line = p->token_line;
  ins->file = p->file;
  ins->src_line = p->src_line;
  ins->scope = p->num_scopes;
  ins->text = start;
  guard(p, ins);
  ins->line = p->token_line;
  ins->op = ptx_expect_ident(p);
  while (p->token == T_DOT) {
    if (ins->num_mods >= PTX_MAX_MODS) ptx_fail(p, PTX_SYNTAX, "more than %d modifiers", PTX_MAX_MODS);
    ins->mod[ins->num_mods++] = p->word;
    ptx_next(p);
  }
  operands(p, ins);
  if (!ptx_is(p, ';')) ptx_expect(p, ';');
  ins->text_size = (int)(p->p - start < 400 ? p->p - start : 400);
  f->num_ins++;
  ptx_next(p);
}

static void table(struct ptx_parser *p, const char *name) {
  struct ptx_table *t = ptx_need(p, sizeof *t);
  t->name = name;
  int cap = 0;
  if (ptx_accept_dot(p, "branchtargets")) {
    t->kind = PTX_BRANCH_TARGETS;
    do {
      t->labels = ptx_grow(p, t->labels, t->num, &cap, sizeof *t->labels);
      t->labels[t->num++] = ptx_label_ref(p, ptx_expect_ident(p));
    } while (ptx_accept(p, ','));
  } else if (ptx_accept_dot(p, "calltargets")) {
    t->kind = PTX_CALL_TARGETS;
    do {
      struct ptx_symbol *s = ptx_lookup(p, ptx_expect_ident(p));
      if (!s || s->kind != SYM_FUNC) ptx_fail(p, PTX_SYNTAX, ".calltargets names no function");
      t->funcs = ptx_grow(p, t->funcs, t->num, &cap, sizeof *t->funcs);
      t->funcs[t->num++] = s->func;
    } while (ptx_accept(p, ','));
  } else {
    ptx_next(p);
    t->kind = PTX_CALL_PROTOTYPE;
    if (ptx_is(p, '(')) t->rets = ptx_param_list(p, false);
    ptx_expect_ident(p);
    if (ptx_is(p, '(')) t->params = ptx_param_list(p, false);
    ptx_accept_dot(p, "noreturn");
  }
  ptx_expect(p, ';');
  t->next = p->func->tables;
  p->func->tables = t;
  struct ptx_symbol *s = ptx_lookup(p, name);
  if (!s || s->kind != SYM_TABLE || s->depth != p->depth) s = ptx_define(p, name, SYM_TABLE);
  s->table = t;
}

// .loc file line column {, function_name x {+ n}, inlined_at file line column}
static void loc(struct ptx_parser *p) {
  int64_t f = ptx_const_expr(p), line = ptx_const_expr(p);
  if (p->token == T_INT) ptx_const_expr(p);
  p->file = f > 0 && f < 65536 ? (int)f : 0;
  p->src_line = line > 0 && line < INT32_MAX ? (int)line : 0;
  while (ptx_accept(p, ',')) {
    const char *word = ptx_expect_ident(p);
    if (!strcmp(word, "function_name")) {
      ptx_expect_ident(p);
      if (ptx_accept(p, '+')) ptx_const_expr(p);
    } else {
      for (int i = 0; i < 3 && p->token == T_INT; i++) ptx_const_expr(p);
    }
  }
}

static void directive(struct ptx_parser *p) {
  if (ptx_accept_dot(p, "loc")) loc(p);
  else if (ptx_accept_dot(p, "pragma")) {
    if (p->token != T_STRING) ptx_fail(p, PTX_SYNTAX, ".pragma needs a string");
    ptx_next(p);
    ptx_expect(p, ';');
  } else if (ptx_at_declaration(p)) ptx_declaration(p, PTX_STATIC);
  else if (ptx_accept_dot(p, "extern")) ptx_declaration(p, PTX_EXTERN);
  else if (ptx_accept_dot(p, "file")) ptx_fail(p, PTX_SYNTAX, ".file inside a function");
  else ptx_fail(p, PTX_SYNTAX, "unknown directive '.%.60s' in a function", p->word);
}

static bool is_label(const struct ptx_parser *p) {
  const char *q = p->p;
  while (q < p->end && (*q == ' ' || *q == '\t' || *q == '\n' || *q == '\r')) q++;
  return q < p->end && *q == ':';
}

static void statement(struct ptx_parser *p) {
  const char *start = p->start;
  if (p->token == T_DOT) {
    directive(p);
  } else if (p->token == T_IDENT && is_label(p)) {
    const char *name = p->word;
    ptx_next(p);
    ptx_expect(p, ':');
    if (ptx_is_dot(p, "branchtargets") || ptx_is_dot(p, "calltargets") || ptx_is_dot(p, "callprototype")) table(p, name);
    else ptx_label_define(p, name);
  } else if (p->token == T_IDENT || ptx_is(p, '@')) {
    instruction(p, start);
  } else if (!ptx_accept(p, ';')) {
    ptx_fail(p, PTX_SYNTAX, "expected an instruction, not '%.*s'", (int)(p->p - p->start) % 60, p->start);
  }
}

void ptx_body(struct ptx_parser *p) {
  ptx_expect(p, '{');
  for (int depth = 1; depth;) {
    if (p->token == T_END) ptx_fail(p, PTX_SYNTAX, "function '%.60s' has no end", p->func->name);
    if (ptx_accept(p, '{')) {
      ptx_open_scope(p);
      depth++;
    } else if (ptx_is(p, '}')) {
      if (--depth) ptx_close_scope(p);
      ptx_next(p);
    } else {
      statement(p);
    }
  }
}

// Declarations of the PTX reader: variables in every space, registers, parameters, functions and their directives.
#include "runtime/vgpu/ptx_internal.h"
#include <stdio.h>
#include <string.h>

static const struct {
  const char *name;
  enum ptx_space space;
} spaces[] = {{"reg", PTX_REG}, {"sreg", PTX_SREG}, {"const", PTX_CONST}, {"global", PTX_GLOBAL}, {"local", PTX_LOCAL},
              {"param", PTX_PARAM}, {"shared", PTX_SHARED}};

static bool space_from(const char *word, enum ptx_space *space) {
  for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
    if (!strcmp(word, spaces[i].name)) {
      *space = spaces[i].space;
      return true;
    }
  return false;
}

bool ptx_at_declaration(const struct ptx_parser *p) {
  enum ptx_space s;
  return p->token == T_DOT && space_from(p->word, &s);
}

static struct ptx_var *append(struct ptx_parser *p, struct ptx_var *v) {
  struct ptx_var ***tail = p->func ? &p->var_tail : &p->module_tail;
  **tail = v;
  *tail = &v->next;
  return v;
}

static struct ptx_var *new_reg(struct ptx_parser *p, struct ptx_var *v, const char *name) {
  struct ptx_func *f = p->func;
  if (f->num_regs >= 1 << 20) ptx_fail(p, PTX_SYNTAX, "more than a million registers");
  f->regs = ptx_grow(p, f->regs, f->num_regs, &p->cap_regs, sizeof *f->regs);
  v->name = name;
  v->slot = f->num_regs;
  f->regs[f->num_regs++] = v;
  return v;
}

static void declare_range(struct ptx_parser *p, const struct ptx_var *kind, const char *name) {
  int64_t n = p->ival; // a plain number: '>' is no operator here
  if (p->token != T_INT) ptx_fail(p, PTX_SYNTAX, "expected the number of registers");
  ptx_next(p);
  ptx_expect(p, '>');
  if (n < 0 || n > 1 << 20) ptx_fail(p, PTX_SYNTAX, "%lld registers in one range", (long long)n);
  struct ptx_var *v = ptx_need(p, (size_t)(n + 1) * sizeof *v);
  struct ptx_symbol *s = ptx_define(p, name, SYM_RANGE);
  s->var = v;
  s->count = (int)n;
  for (int64_t i = 0; i < n; i++) {
    char buf[200];
    int len = snprintf(buf, sizeof buf, "%.180s%lld", name, (long long)i);
    v[i] = *kind;
    new_reg(p, &v[i], ptx_intern(p, buf, (size_t)len));
  }
}

static uint64_t array_dims(struct ptx_parser *p, struct ptx_var *v) {
  uint64_t n = 1;
  while (ptx_accept(p, '[')) {
    v->is_array = true;
    if (ptx_accept(p, ']')) {
      v->unsized = true;
      continue;
    }
    int64_t k = ptx_const_expr(p);
    ptx_expect(p, ']');
    if (k < 0 || __builtin_mul_overflow(n, (uint64_t)k, &n) || n > UINT64_C(1) << 40)
      ptx_fail(p, PTX_SYNTAX, "'%.60s' has an impossible size", v->name);
  }
  return v->unsized ? 0 : n;
}

// .align n, .v2, .ptr .global .align n, .u32, in any order; the space has been read.
static void type_words(struct ptx_parser *p, struct ptx_var *v) {
  v->vec = 1;
  while (p->token == T_DOT) {
    enum ptx_space pointee;
    if (ptx_accept_dot(p, "align")) {
      int64_t a = ptx_const_expr(p);
      if (a <= 0 || a > 1 << 20 || (a & (a - 1))) ptx_fail(p, PTX_SYNTAX, "alignment %lld is no power of two", (long long)a);
      v->align = (uint32_t)a;
      continue;
    }
    if (ptx_accept_dot(p, "ptr")) { // facts about the pointee, of no use here
      while (p->token == T_DOT && (space_from(p->word, &pointee))) ptx_next(p);
      if (ptx_accept_dot(p, "align")) ptx_const_expr(p);
      continue;
    }
    if (ptx_accept_dot(p, "attribute")) {
      ptx_expect(p, '(');
      while (!ptx_is(p, ')') && p->token != T_END) ptx_next(p);
      ptx_expect(p, ')');
      continue;
    }
    if (ptx_is_dot(p, "v2") || ptx_is_dot(p, "v4")) v->vec = p->word[1] - '0';
    else if (!strcmp(p->word, "texref") || !strcmp(p->word, "samplerref") || !strcmp(p->word, "surfref")) {
      ptx_fail(p, PTX_FEATURE, "textures and surfaces are not modelled (.%s)", p->word);
    } else if (!ptx_type_from(p->word, &v->type)) {
      ptx_fail(p, PTX_SYNTAX, "'.%.40s' in a declaration", p->word);
    }
    ptx_next(p);
  }
  if (v->type == PTX_NOTYPE) ptx_fail(p, PTX_SYNTAX, "a declaration without type");
}

static void set_size(struct ptx_parser *p, struct ptx_var *v) {
  uint64_t n = array_dims(p, v), unit = ptx_type_size(v->type) * (uint64_t)v->vec;
  if (__builtin_mul_overflow(n, unit, &v->size)) ptx_fail(p, PTX_SYNTAX, "'%.60s' has an impossible size", v->name);
  if (v->align < unit && !v->align) v->align = (uint32_t)unit;
}

static struct ptx_var *redeclared(struct ptx_parser *p, const struct ptx_var *v) {
  struct ptx_symbol *s = ptx_lookup(p, v->name);
  if (!s || s->kind != SYM_VAR || s->depth != p->depth || s->var->linkage != PTX_EXTERN) return NULL;
  return s->var;
}

// name[dims] = init of the kind read into `kind`
static void declare_one(struct ptx_parser *p, const struct ptx_var *kind) {
  const char *name = ptx_expect_ident(p);
  if (kind->space == PTX_REG && ptx_accept(p, '<')) {
    declare_range(p, kind, name);
    return;
  }
  struct ptx_var *v = ptx_need(p, sizeof *v);
  *v = *kind;
  v->name = name;
  v->line = p->token_line;
  set_size(p, v);
  struct ptx_var *old = redeclared(p, v);
  if (old) { // extern first, defined later: references already point at the first
    old->linkage = v->linkage;
    old->size = v->size > old->size ? v->size : old->size;
    old->unsized = v->unsized;
    v = old;
  } else {
    ptx_define(p, name, SYM_VAR)->var = v;
    if (v->space == PTX_REG) new_reg(p, v, name);
    else append(p, v);
  }
  if (v->space != PTX_REG && ptx_accept(p, '=')) {
    if (v->unsized) ptx_fail(p, PTX_SYNTAX, "'%.60s' is initialized but has no size", name);
    ptx_initializer(p, v);
  }
}

void ptx_declaration(struct ptx_parser *p, enum ptx_linkage linkage) {
  struct ptx_var kind = {.linkage = linkage};
  space_from(p->word, &kind.space);
  if (kind.space == PTX_REG && !p->func) ptx_fail(p, PTX_SYNTAX, "a register outside a function");
  ptx_next(p);
  if (kind.space == PTX_CONST && ptx_accept(p, '[')) { // .const[bank], PTX 1: one bank is all there is
    ptx_const_expr(p);
    ptx_expect(p, ']');
  }
  type_words(p, &kind);
  do declare_one(p, &kind);
  while (ptx_accept(p, ','));
  ptx_expect(p, ';');
}

struct ptx_var *ptx_param_list(struct ptx_parser *p, bool define) {
  struct ptx_var *first = NULL, **tail = &first;
  ptx_expect(p, '(');
  while (!ptx_is(p, ')')) {
    struct ptx_var *v = ptx_need(p, sizeof *v);
    if (p->token != T_DOT || !space_from(p->word, &v->space) || (v->space != PTX_PARAM && v->space != PTX_REG))
      ptx_fail(p, PTX_SYNTAX, "expected .param");
    ptx_next(p);
    type_words(p, v);
    v->name = ptx_expect_ident(p);
    v->line = p->token_line;
    set_size(p, v);
    if (define && strcmp(v->name, "_")) {
      ptx_define(p, v->name, SYM_VAR)->var = v;
      if (v->space == PTX_REG) new_reg(p, v, v->name);
    }
    *tail = v;
    tail = &v->next;
    if (!ptx_accept(p, ',')) break;
  }
  ptx_expect(p, ')');
  return first;
}

static void three(struct ptx_parser *p, uint32_t out[3]) {
  for (int i = 0; i < 3; i++) out[i] = 1;
  for (int i = 0; i < 3; i++) {
    int64_t v = ptx_const_expr(p);
    if (v < 0 || v > INT32_MAX) ptx_fail(p, PTX_SYNTAX, "%lld as a block size", (long long)v);
    out[i] = (uint32_t)v;
    if (!ptx_accept(p, ',')) return;
  }
}

static void function_directives(struct ptx_parser *p, struct ptx_func *f) {
  while (p->token == T_DOT) {
    uint32_t unused[3];
    if (ptx_accept_dot(p, "maxntid")) three(p, f->maxntid);
    else if (ptx_accept_dot(p, "reqntid")) three(p, f->reqntid);
    else if (ptx_accept_dot(p, "minnctapersm")) f->minnctapersm = (uint32_t)ptx_const_expr(p);
    else if (ptx_accept_dot(p, "maxnctapersm")) ptx_const_expr(p);
    else if (ptx_accept_dot(p, "maxnreg")) f->maxnreg = (uint32_t)ptx_const_expr(p);
    else if (ptx_accept_dot(p, "noreturn")) f->noreturn = true;
    else if (ptx_accept_dot(p, "abi_preserve") || ptx_accept_dot(p, "abi_preserve_control")) three(p, unused);
    else if (ptx_accept_dot(p, "unified")) { // .unified(hash, hash)
      ptx_expect(p, '(');
      while (!ptx_is(p, ')') && p->token != T_END) ptx_next(p);
      ptx_expect(p, ')');
    } else if (ptx_accept_dot(p, "pragma")) {
      if (p->token != T_STRING) ptx_fail(p, PTX_SYNTAX, ".pragma needs a string");
      ptx_next(p);
      ptx_expect(p, ';');
    } else ptx_fail(p, PTX_FEATURE, "directive '.%.40s' is unknown on sm_75", p->word);
  }
}

static struct ptx_func *function_named(struct ptx_parser *p, const char *name, bool is_entry) {
  struct ptx_symbol *s = ptx_lookup(p, name);
  if (s && s->kind != SYM_FUNC) ptx_fail(p, PTX_SYNTAX, "'%.60s' is declared twice", name);
  if (s) return s->func;
  struct ptx_func *f = ptx_need(p, sizeof *f);
  f->name = name;
  f->is_entry = is_entry;
  f->index = p->m->num_funcs++;
  *p->func_tail = f;
  p->func_tail = &f->next;
  ptx_define(p, name, SYM_FUNC)->func = f;
  return f;
}

// After .entry or .func, up to the end of its body or the ; of a prototype.
void ptx_function(struct ptx_parser *p, bool is_entry, enum ptx_linkage linkage) {
  struct ptx_var *rets = NULL, *params = NULL;
  if (p->token == T_DOT && !is_entry) function_directives(p, ptx_need(p, sizeof(struct ptx_func))); // .attribute-like words
  struct ptx_func *f = ptx_need(p, sizeof *f), *scratch = f;
  ptx_open_scope(p); // the parameters' and the body's
  p->func = scratch; // collects the registers of .reg parameters
  p->cap_regs = p->cap_ins = p->cap_labels = 0;
  p->file = p->src_line = 0;
  p->var_tail = &scratch->vars;
  if (!is_entry && ptx_is(p, '(')) rets = ptx_param_list(p, true);
  int line = p->token_line;
  const char *name = ptx_expect_ident(p);
  if (ptx_is(p, '(')) params = ptx_param_list(p, true);
  function_directives(p, scratch);
  bool body = ptx_is(p, '{');
  int depth = p->depth;
  p->depth = 0;
  f = function_named(p, name, is_entry);
  p->depth = depth;
  if (f->has_body && body) ptx_fail(p, PTX_SYNTAX, "function '%.60s' is defined twice", name);
  if (f->is_entry != is_entry) ptx_fail(p, PTX_SYNTAX, "'%.60s' is both .entry and .func", name);
  if (!f->has_body) { // what was gathered belongs to it
    struct ptx_func *next = f->next;
    int index = f->index;
    bool tail = p->func_tail == &f->next;
    *f = *scratch;
    f->name = name;
    f->is_entry = is_entry;
    f->index = index;
    f->next = next;
    f->line = line;
    f->linkage = linkage;
    f->params = params;
    f->rets = rets;
    p->func = f;
    p->var_tail = &f->vars;
    if (tail) p->func_tail = &f->next;
  }
  if (body) {
    f->has_body = true;
    ptx_body(p);
    ptx_labels_finish(p);
  } else ptx_accept(p, ';');
  p->func = NULL;
  ptx_close_scope(p);
}

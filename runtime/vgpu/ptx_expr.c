// Constant expressions and initializers of the PTX reader. PTX ISA, "Constant expressions": C's operators on 64-bit integers.
#include "runtime/vgpu/ptx_internal.h"
#include <string.h>

static int64_t conditional(struct ptx_parser *p);

static void deeper(struct ptx_parser *p) {
  if (++p->nesting > 100) ptx_fail(p, PTX_SYNTAX, "an expression nests too deeply");
}

static int64_t primary(struct ptx_parser *p) {
  if (ptx_accept(p, '(')) {
    deeper(p);
    if (p->token == T_DOT) { // a cast: (.s64) (.u64)
      if (strcmp(p->word, "s64") && strcmp(p->word, "u64")) ptx_fail(p, PTX_SYNTAX, "a cast to .%.20s", p->word);
      ptx_next(p);
      ptx_expect(p, ')');
      p->nesting--;
      return primary(p);
    }
    int64_t v = conditional(p);
    ptx_expect(p, ')');
    p->nesting--;
    return v;
  }
  int c = p->token == T_PUNCT ? (int)p->ival : 0;
  if (c == '-' || c == '+' || c == '!' || c == '~') {
    ptx_next(p);
    deeper(p);
    int64_t v = primary(p);
    p->nesting--;
    return c == '-' ? (int64_t)(0 - (uint64_t)v) : c == '!' ? !v : c == '~' ? ~v : v;
  }
  if (p->token == T_IDENT && !strcmp(p->word, "WARP_SZ")) {
    ptx_next(p);
    return 32;
  }
  if (p->token != T_INT) ptx_fail(p, PTX_SYNTAX, "expected an integer constant");
  int64_t v = p->ival;
  ptx_next(p);
  return v;
}

static int precedence(const struct ptx_parser *p) {
  if (p->token != T_PUNCT) return 0;
  switch (p->ival) {
  case '*': case '/': case '%': return 10;
  case '+': case '-': return 9;
  case '<' << 8 | '<': case '>' << 8 | '>': return 8;
  case '<': case '>': case '<' << 8 | '=': case '>' << 8 | '=': return 7;
  case '=' << 8 | '=': case '!' << 8 | '=': return 6;
  case '&': return 5;
  case '^': return 4;
  case '|': return 3;
  case '&' << 8 | '&': return 2;
  case '|' << 8 | '|': return 1;
  default: return 0;
  }
}

static int64_t divide(struct ptx_parser *p, int64_t a, int64_t b, bool remainder) {
  if (!b) ptx_fail(p, PTX_SYNTAX, "a constant is divided by zero");
  if (b == -1) return remainder ? 0 : (int64_t)(0 - (uint64_t)a);
  return remainder ? a % b : a / b;
}

static int64_t apply(struct ptx_parser *p, int op, int64_t a, int64_t b) {
  uint64_t x = (uint64_t)a, y = (uint64_t)b;
  switch (op) {
  case '*': return (int64_t)(x * y);
  case '/': return divide(p, a, b, false);
  case '%': return divide(p, a, b, true);
  case '+': return (int64_t)(x + y);
  case '-': return (int64_t)(x - y);
  case '<' << 8 | '<': return y > 63 ? 0 : (int64_t)(x << y);
  case '>' << 8 | '>': return y > 63 ? -(a < 0) : a >> y;
  case '<': return a < b;
  case '>': return a > b;
  case '<' << 8 | '=': return a <= b;
  case '>' << 8 | '=': return a >= b;
  case '=' << 8 | '=': return a == b;
  case '!' << 8 | '=': return a != b;
  case '&': return a & b;
  case '^': return a ^ b;
  case '|': return a | b;
  case '&' << 8 | '&': return a && b;
  default: return a || b;
  }
}

static int64_t binary(struct ptx_parser *p, int least) {
  int64_t a = primary(p);
  for (int level; (level = precedence(p)) >= least && level;) {
    int op = (int)p->ival;
    ptx_next(p);
    deeper(p);
    int64_t b = binary(p, level + 1);
    p->nesting--;
    a = apply(p, op, a, b);
  }
  return a;
}

static int64_t conditional(struct ptx_parser *p) {
  int64_t c = binary(p, 1);
  if (!ptx_accept(p, '?')) return c;
  deeper(p);
  int64_t a = conditional(p);
  ptx_expect(p, ':');
  int64_t b = conditional(p);
  p->nesting--;
  return c ? a : b;
}

int64_t ptx_const_expr(struct ptx_parser *p) { return conditional(p); }

bool ptx_literal(struct ptx_parser *p, struct ptx_operand *o) {
  bool minus = ptx_is(p, '-');
  if (minus || ptx_is(p, '+')) {
    const char *s = p->p;
    while (s < p->end && *s == ' ') s++;
    bool is_float = false; // look one token ahead: -1.5, -0f3F800000
    for (const char *q = s; q < p->end && (*q == '.' || (*q >= '0' && *q <= '9')); q++)
      is_float |= *q == '.' || (q == s && q + 1 < p->end && *q == '0' && strchr("fFdD", q[1]));
    if (is_float) ptx_next(p);
    else minus = false;
    if (is_float && p->token == T_INT) ptx_fail(p, PTX_SYNTAX, "expected a float");
  }
  if (p->token == T_FLOAT32 || p->token == T_FLOAT64) {
    o->kind = p->token == T_FLOAT32 ? PTX_OP_F32 : PTX_OP_F64;
    uint64_t sign = minus ? (o->kind == PTX_OP_F32 ? UINT64_C(1) << 31 : UINT64_C(1) << 63) : 0;
    o->ival = (int64_t)((uint64_t)p->ival ^ sign);
    ptx_next(p);
    return true;
  }
  o->kind = PTX_OP_INT;
  o->ival = ptx_const_expr(p);
  return true;
}

static void store(struct ptx_var *v, uint64_t offset, uint64_t bits, unsigned width) {
  for (unsigned i = 0; i < width; i++) v->init[offset + i] = (uint8_t)(bits >> 8 * i);
}

static uint64_t float_to_bits(const struct ptx_operand *o, enum ptx_type type) {
  if (type == PTX_F64 || type == PTX_B64 || type == PTX_U64 || type == PTX_S64) {
    if (o->kind == PTX_OP_F64) return (uint64_t)o->ival;
    uint32_t u = (uint32_t)o->ival;
    float f;
    memcpy(&f, &u, 4);
    double d = (double)f;
    uint64_t r;
    memcpy(&r, &d, 8);
    return r;
  }
  if (o->kind == PTX_OP_F32) return (uint64_t)o->ival;
  double d;
  memcpy(&d, &o->ival, 8);
  float f = (float)d;
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}

// name, generic(name), mask(name), perhaps + constant
static void address(struct ptx_parser *p, struct ptx_var *v, uint64_t offset, unsigned width, int shift) {
  bool generic = false, parens = false;
  const char *name = ptx_expect_ident(p);
  if (!strcmp(name, "generic") && ptx_accept(p, '(')) {
    generic = parens = true;
    name = ptx_expect_ident(p);
  }
  struct ptx_symbol *s = ptx_lookup(p, name);
  if (!s || (s->kind != SYM_VAR && s->kind != SYM_FUNC)) ptx_fail(p, PTX_SYNTAX, "'%.60s' is not declared", name);
  if (s->kind == SYM_VAR && s->var->space == PTX_REG) ptx_fail(p, PTX_SYNTAX, "register '%.60s' as initializer", name);
  struct ptx_reloc *r = ptx_need(p, sizeof *r);
  r->offset = offset;
  r->width = (int)width;
  r->shift = shift;
  r->generic = generic;
  if (s->kind == SYM_VAR) r->var = s->var;
  else r->func = s->func;
  if (parens) ptx_expect(p, ')');
  if (ptx_is(p, '+') || ptx_is(p, '-')) r->addend = ptx_const_expr(p);
  r->next = v->relocs;
  v->relocs = r;
}

static void scalar(struct ptx_parser *p, struct ptx_var *v, uint64_t offset, unsigned width) {
  if (p->token == T_IDENT && strcmp(p->word, "WARP_SZ")) {
    address(p, v, offset, width, 0);
    return;
  }
  if (p->token == T_INT) { // mask(): 0xFF0000(name)
    uint64_t mask = (uint64_t)p->ival;
    const char *q = p->p;
    while (q < p->end && *q == ' ') q++;
    if (q < p->end && *q == '(' && mask) {
      ptx_next(p);
      ptx_expect(p, '(');
      address(p, v, offset, width, __builtin_ctzll(mask) & ~7);
      ptx_expect(p, ')');
      return;
    }
  }
  struct ptx_operand o = {0};
  ptx_literal(p, &o);
  store(v, offset, o.kind == PTX_OP_INT ? (uint64_t)o.ival : float_to_bits(&o, v->type), width);
}

// { .. } nested as the array's dimensions are; missing values are zero. `size` bytes from `offset`.
static uint64_t braces(struct ptx_parser *p, struct ptx_var *v, uint64_t offset, uint64_t end, unsigned width) {
  ptx_expect(p, '{');
  deeper(p);
  while (!ptx_is(p, '}')) {
    if (ptx_is(p, '{')) {
      offset = braces(p, v, offset, end, width);
    } else {
      if (offset + width > end) ptx_fail(p, PTX_SYNTAX, "more initializers than '%.60s' has elements", v->name);
      scalar(p, v, offset, width);
      offset += width;
    }
    if (!ptx_accept(p, ',')) break;
  }
  ptx_expect(p, '}');
  p->nesting--;
  return offset;
}

void ptx_initializer(struct ptx_parser *p, struct ptx_var *v) {
  if (v->space != PTX_GLOBAL && v->space != PTX_CONST) ptx_fail(p, PTX_SYNTAX, "'%.60s': only .global and .const variables are initialized", v->name);
  unsigned width = ptx_type_size(v->type);
  if (!v->size || !width) ptx_fail(p, PTX_SYNTAX, "'%.60s' has no size to initialize", v->name);
  v->init = ptx_need(p, v->size);
  if (ptx_is(p, '{')) braces(p, v, 0, v->size, width);
  else scalar(p, v, 0, width);
}

// The module level of the PTX reader: PTX ISA, "Directives". See ptx.h.
#include "runtime/vgpu/ptx_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
  const char *name;
  enum ptx_type type;
  unsigned size;
} types[] = {{"pred", PTX_PRED, 1}, {"b8", PTX_B8, 1}, {"b16", PTX_B16, 2}, {"b32", PTX_B32, 4}, {"b64", PTX_B64, 8},
             {"b128", PTX_B128, 16}, {"u8", PTX_U8, 1}, {"u16", PTX_U16, 2}, {"u32", PTX_U32, 4}, {"u64", PTX_U64, 8},
             {"s8", PTX_S8, 1}, {"s16", PTX_S16, 2}, {"s32", PTX_S32, 4}, {"s64", PTX_S64, 8}, {"f16", PTX_F16, 2},
             {"f16x2", PTX_F16X2, 4}, {"f32", PTX_F32, 4}, {"f64", PTX_F64, 8}};

bool ptx_type_from(const char *name, enum ptx_type *t) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (!strcmp(types[i].name, name)) {
      *t = types[i].type;
      return true;
    }
  return false;
}

unsigned ptx_type_size(enum ptx_type t) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].type == t) return types[i].size;
  return 0;
}

static void version(struct ptx_parser *p) {
  if (p->token != T_FLOAT64) ptx_fail(p, PTX_SYNTAX, ".version needs major.minor");
  int major = 0, minor = 0;
  if (sscanf(p->start, "%2d.%2d", &major, &minor) != 2) ptx_fail(p, PTX_SYNTAX, ".version needs major.minor");
  if (major < 1 || major > 9 || (major == 9 && minor > 9))
    ptx_fail(p, PTX_VERSION, "PTX version %d.%d is unknown here (6.4 to 9.x are read)", major, minor);
  p->m->version = major * 10 + minor;
  ptx_next(p);
}

static void target(struct ptx_parser *p) {
  do {
    const char *name = ptx_expect_ident(p);
    if (!strncmp(name, "sm_", 3)) {
      char *rest;
      long sm = strtol(name + 3, &rest, 10);
      if (sm > 75 || *rest) ptx_fail(p, PTX_TARGET, "the module is for %.20s, which is newer than this device (sm_75)", name);
      p->m->sm = (int)sm;
      snprintf(p->m->target, sizeof p->m->target, "%s", name);
    } else if (!strcmp(name, "debug")) {
      p->m->debug = true;
    } else if (strcmp(name, "texmode_independent") && strcmp(name, "texmode_unified") && strcmp(name, "map_f64_to_f32")) {
      ptx_fail(p, PTX_TARGET, "unknown target '%.40s'", name);
    }
  } while (ptx_accept(p, ','));
}

// .file number "name" {, time, size}
static void file(struct ptx_parser *p) {
  int64_t n = ptx_const_expr(p);
  if (p->token != T_STRING || n < 0 || n > 65535) ptx_fail(p, PTX_SYNTAX, ".file needs a number up to 65535 and a name");
  struct ptx_module *m = p->m;
  if (n >= m->num_files) {
    const char **grown = ptx_need(p, ((size_t)n + 16) * sizeof *grown);
    if (m->num_files) memcpy(grown, m->files, (size_t)m->num_files * sizeof *grown);
    m->files = grown;
    m->num_files = (int)n + 16;
  }
  m->files[n] = p->word;
  ptx_next(p);
  while (ptx_accept(p, ',')) ptx_const_expr(p);
}

// .section name { data }: debug information, skipped. Braces in it do not nest, but be safe.
static void section(struct ptx_parser *p) {
  ptx_next(p); // .name or name
  while (p->token == T_DOT) ptx_next(p);
  ptx_expect(p, '{');
  for (int depth = 1; depth;) {
    if (p->token == T_END) ptx_fail(p, PTX_SYNTAX, "a .section without end");
    depth += ptx_is(p, '{') - ptx_is(p, '}');
    if (depth) ptx_next(p);
  }
  ptx_expect(p, '}');
}

static void alias(struct ptx_parser *p) {
  const char *name = ptx_expect_ident(p);
  ptx_expect(p, ',');
  struct ptx_symbol *to = ptx_lookup(p, ptx_expect_ident(p)), *from = ptx_lookup(p, name);
  ptx_expect(p, ';');
  if (!to || to->kind != SYM_FUNC) ptx_fail(p, PTX_SYNTAX, ".alias of '%.60s' to no function", name);
  if (from && from->kind == SYM_FUNC) from->func = to->func;
  else ptx_define(p, name, SYM_FUNC)->func = to->func;
}

static enum ptx_linkage linkage(struct ptx_parser *p) {
  if (ptx_accept_dot(p, "visible")) return PTX_VISIBLE;
  if (ptx_accept_dot(p, "weak")) return PTX_WEAK;
  if (ptx_accept_dot(p, "extern")) return PTX_EXTERN;
  if (ptx_accept_dot(p, "common")) return PTX_COMMON;
  return PTX_STATIC;
}

static void top_level(struct ptx_parser *p) {
  if (ptx_accept_dot(p, "version")) version(p);
  else if (ptx_accept_dot(p, "target")) target(p);
  else if (ptx_accept_dot(p, "address_size")) {
    p->m->address_size = (int)ptx_const_expr(p);
    if (p->m->address_size != 64) ptx_fail(p, PTX_TARGET, "addresses of %d bits; only 64 are run", p->m->address_size);
  } else if (ptx_accept_dot(p, "file")) file(p);
  else if (ptx_accept_dot(p, "section")) section(p);
  else if (ptx_accept_dot(p, "alias")) alias(p);
  else if (ptx_accept_dot(p, "pragma")) {
    if (p->token != T_STRING) ptx_fail(p, PTX_SYNTAX, ".pragma needs a string");
    ptx_next(p);
    ptx_expect(p, ';');
  } else if (ptx_accept(p, ';')) {
  } else {
    enum ptx_linkage l = linkage(p);
    if (ptx_accept_dot(p, "entry")) ptx_function(p, true, l);
    else if (ptx_accept_dot(p, "func")) ptx_function(p, false, l);
    else if (ptx_at_declaration(p)) ptx_declaration(p, l);
    else if (p->token == T_DOT) ptx_fail(p, PTX_SYNTAX, "unknown directive '.%.60s'", p->word);
    else ptx_fail(p, PTX_SYNTAX, "expected a directive");
  }
}

static bool run(struct ptx_parser *p) {
  if (setjmp(p->on_error)) return false;
  p->strings = ptx_need(p, PTX_BUCKETS * sizeof *p->strings);
  p->symbols = ptx_need(p, PTX_BUCKETS * sizeof *p->symbols);
  ptx_next(p);
  if (!ptx_is_dot(p, "version")) ptx_fail(p, PTX_SYNTAX, "a PTX module begins with .version");
  while (p->token != T_END) top_level(p);
  if (!p->m->sm) ptx_fail(p, PTX_SYNTAX, "the module has no .target");
  return true;
}

static struct ptx_module *new_module(const char *text, size_t size) {
  struct ptx_arena *a = ptx_arena_open();
  struct ptx_module *m = a ? ptx_alloc(a, sizeof *m) : NULL;
  char *copy = m ? ptx_alloc(a, size + 1) : NULL;
  if (!copy) {
    ptx_arena_close(a);
    return NULL;
  }
  memcpy(copy, text, size);
  m->arena = a;
  m->text = copy;
  m->text_size = size;
  m->address_size = 64;
  return m;
}

struct ptx_module *ptx_parse(const char *text, size_t size, struct ptx_error *e) {
  *e = (struct ptx_error){0};
  const char *nul = size ? memchr(text, 0, size) : NULL;
  if (nul) size = (size_t)(nul - text);
  struct ptx_module *m = new_module(text, size);
  struct ptx_parser *p = m ? ptx_alloc(m->arena, sizeof *p) : NULL;
  if (!p) {
    e->status = PTX_NO_MEMORY;
    snprintf(e->text, sizeof e->text, "no memory for a module of %zu bytes", size);
    ptx_free(m);
    return NULL;
  }
  p->m = m;
  p->error = e;
  p->p = m->text;
  p->end = m->text + size;
  p->line = 1;
  p->module_tail = &m->vars;
  p->func_tail = &m->funcs;
  if (run(p)) return m;
  ptx_free(m);
  return NULL;
}

void ptx_free(struct ptx_module *m) {
  if (m) ptx_arena_close(m->arena);
}

// Names and scopes of the PTX reader. Scopes nest with {}; labels too: a label may be used before it is defined, in its own
// scope or in one inside it, and the same name may stand in two scopes (inline assembly, unrolled).
#include "runtime/vgpu/ptx_internal.h"
#include <ctype.h>
#include <string.h>

static struct ptx_symbol **bucket(struct ptx_parser *p, const char *name) {
  return &p->symbols[((uintptr_t)name >> 4) % PTX_BUCKETS]; // names are interned: the pointer is the key
}

struct ptx_symbol *ptx_lookup(struct ptx_parser *p, const char *name) {
  for (struct ptx_symbol *s = *bucket(p, name); s; s = s->next)
    if (s->name == name) return s;
  return NULL;
}

static struct ptx_symbol *add_symbol(struct ptx_parser *p, const char *name, int kind) {
  struct ptx_symbol **b = bucket(p, name), *s = ptx_need(p, sizeof *s);
  s->name = name;
  s->kind = kind;
  s->depth = p->depth;
  s->next = *b;
  *b = s;
  s->same_scope = p->scope[p->depth];
  p->scope[p->depth] = s;
  return s;
}

struct ptx_symbol *ptx_define(struct ptx_parser *p, const char *name, int kind) {
  for (struct ptx_symbol *s = *bucket(p, name); s; s = s->next)
    if (s->name == name && s->depth == p->depth && s->kind == (unsigned)kind)
      ptx_fail(p, PTX_SYNTAX, "'%.60s' is declared twice", name);
  return add_symbol(p, name, kind);
}

struct ptx_var *ptx_find_reg(struct ptx_parser *p, const char *name) {
  for (struct ptx_symbol *s = *bucket(p, name); s; s = s->next)
    if (s->name == name && s->kind == SYM_VAR) return s->var;
  size_t n = strlen(name), k = n;
  while (k && isdigit((unsigned char)name[k - 1])) k--;
  if (k == n || !k || n - k > 9 || (name[k] == '0' && n - k > 1)) return NULL;
  long i = 0;
  for (size_t j = k; j < n; j++) i = i * 10 + (name[j] - '0');
  const char *prefix = ptx_intern(p, name, k);
  for (struct ptx_symbol *s = *bucket(p, prefix); s; s = s->next)
    if (s->name == prefix && s->kind == SYM_RANGE) return i < s->count ? s->var + i : NULL;
  return NULL;
}

void ptx_open_scope(struct ptx_parser *p) {
  if (p->depth >= PTX_MAX_DEPTH) ptx_fail(p, PTX_SYNTAX, "braces nest deeper than %d", PTX_MAX_DEPTH);
  p->scope[++p->depth] = NULL;
  p->num_scopes++;
}

static void remove_symbol(struct ptx_parser *p, struct ptx_symbol *s) {
  struct ptx_symbol **b = bucket(p, s->name);
  while (*b != s) b = &(*b)->next;
  *b = s->next;
}

// A label used in the scope that ends but not defined there is one of the scope around it.
static void hand_up(struct ptx_parser *p, struct ptx_symbol *label) {
  for (struct ptx_symbol *s = *bucket(p, label->name); s; s = s->next)
    if (s->name == label->name && s->kind == SYM_LABEL && s->depth == p->depth) {
      p->label_alias[label->label] = s->label;
      return;
    }
  add_symbol(p, label->name, SYM_LABEL)->label = label->label;
}

void ptx_close_scope(struct ptx_parser *p) {
  struct ptx_symbol *first = p->scope[p->depth--];
  for (struct ptx_symbol *s = first; s; s = s->same_scope) remove_symbol(p, s);
  if (!p->func || !p->depth) return; // the outermost: ptx_labels_finish has seen to it
  for (struct ptx_symbol *s = first, *n; s; s = n) {
    n = s->same_scope;
    if (s->kind == SYM_LABEL && p->func->label_at[s->label] < 0) hand_up(p, s);
  }
}

static int new_label(struct ptx_parser *p, const char *name) {
  struct ptx_func *f = p->func;
  int cap = p->cap_labels, cap2 = cap, cap3 = cap;
  f->label_at = ptx_grow(p, f->label_at, f->num_labels, &cap, sizeof *f->label_at);
  f->label_name = ptx_grow(p, f->label_name, f->num_labels, &cap2, sizeof *f->label_name);
  p->label_alias = ptx_grow(p, p->label_alias, f->num_labels, &cap3, sizeof *p->label_alias);
  p->cap_labels = cap;
  f->label_at[f->num_labels] = -1;
  f->label_name[f->num_labels] = name;
  p->label_alias[f->num_labels] = -1;
  return f->num_labels++;
}

int ptx_label_ref(struct ptx_parser *p, const char *name) {
  for (struct ptx_symbol *s = *bucket(p, name); s; s = s->next)
    if (s->name == name && s->kind == SYM_LABEL && s->depth == p->depth) return s->label;
  struct ptx_symbol *s = add_symbol(p, name, SYM_LABEL);
  return s->label = new_label(p, name);
}

void ptx_label_define(struct ptx_parser *p, const char *name) {
  int l = ptx_label_ref(p, name);
  if (p->func->label_at[l] >= 0) ptx_fail(p, PTX_SYNTAX, "label '%.60s' is defined twice", name);
  p->func->label_at[l] = p->func->num_ins;
}

void ptx_labels_finish(struct ptx_parser *p) {
  struct ptx_func *f = p->func;
  for (int i = 0; i < f->num_labels; i++) {
    int j = i;
    while (p->label_alias[j] >= 0) j = p->label_alias[j];
    if (f->label_at[j] < 0) ptx_fail(p, PTX_SYNTAX, "label '%.60s' is not defined in function '%.60s'", f->label_name[i], f->name);
    f->label_at[i] = f->label_at[j];
  }
}

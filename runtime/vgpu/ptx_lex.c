// Memory, strings and tokens of the PTX reader. PTX ISA, "Source format", "Identifiers", "Constants".
#include "runtime/vgpu/ptx_internal.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ptx_chunk {
  struct ptx_chunk *next;
  size_t used, size;
  _Alignas(16) unsigned char data[];
};

struct ptx_arena {
  struct ptx_chunk *first;
};

struct ptx_arena *ptx_arena_open(void) { return calloc(1, sizeof(struct ptx_arena)); }

void ptx_arena_close(struct ptx_arena *a) {
  if (!a) return;
  for (struct ptx_chunk *c = a->first, *n; c; c = n) {
    n = c->next;
    free(c);
  }
  free(a);
}

void *ptx_alloc(struct ptx_arena *a, size_t bytes) {
  enum { CHUNK = 256 << 10 };
  if (bytes > SIZE_MAX / 2) return NULL;
  bytes = (bytes + 15) & ~(size_t)15;
  struct ptx_chunk *c = a->first;
  if (!c || c->size - c->used < bytes) {
    size_t size = bytes > CHUNK ? bytes : CHUNK;
    c = calloc(1, sizeof *c + size);
    if (!c) return NULL;
    c->size = size;
    if (a->first && bytes > CHUNK) { // a large piece goes behind the chunk in use
      c->next = a->first->next;
      a->first->next = c;
    } else {
      c->next = a->first;
      a->first = c;
    }
  }
  void *p = c->data + c->used;
  c->used += bytes;
  return p;
}

void ptx_fail(struct ptx_parser *p, enum ptx_status status, const char *fmt, ...) {
  struct ptx_error *e = p->error;
  e->status = status;
  e->line = p->token_line;
  int n = snprintf(e->text, sizeof e->text, "PTX line %d: ", e->line);
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(e->text + n, sizeof e->text - (size_t)n, fmt, ap);
  va_end(ap);
  longjmp(p->on_error, 1);
}

void *ptx_need(struct ptx_parser *p, size_t bytes) {
  void *q = ptx_alloc(p->m->arena, bytes);
  if (!q) ptx_fail(p, PTX_NO_MEMORY, "no memory for %zu bytes of syntax tree", bytes);
  return q;
}

void *ptx_grow(struct ptx_parser *p, void *old, int used, int *cap, size_t size) {
  if (used < *cap) return old;
  if (*cap > 1 << 26) ptx_fail(p, PTX_SYNTAX, "the function is too large");
  int cap2 = *cap ? *cap * 2 : 64;
  void *q = ptx_need(p, (size_t)cap2 * size);
  if (used) memcpy(q, old, (size_t)used * size);
  *cap = cap2;
  return q;
}

const char *ptx_intern(struct ptx_parser *p, const char *s, size_t n) {
  uint32_t h = 2166136261u;
  for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 16777619u;
  struct ptx_string **b = &p->strings[h % PTX_BUCKETS];
  for (struct ptx_string *q = *b; q; q = q->next)
    if (q->hash == h && !strncmp(q->text, s, n) && !q->text[n]) return q->text;
  struct ptx_string *q = ptx_need(p, sizeof *q + n + 1);
  memcpy(q->text, s, n);
  q->hash = h;
  q->next = *b;
  *b = q;
  return q->text;
}

static bool ident_char(int c) { return isalnum(c) || c == '_' || c == '$'; }

static void skip_line(struct ptx_parser *p) {
  while (p->p < p->end && *p->p != '\n') p->p++;
}

static void skip_space(struct ptx_parser *p) {
  while (p->p < p->end) {
    const char *s = p->p;
    size_t left = (size_t)(p->end - s);
    if (*s == '\n') {
      p->line++;
      p->p++;
    } else if (isspace((unsigned char)*s)) {
      p->p++;
    } else if (left > 1 && s[0] == '/' && s[1] == '/') {
      skip_line(p);
    } else if (*s == '#' || (left > 1 && s[0] == '@' && s[1] == '@')) { // a preprocessor's line mark; @@DWARF
      skip_line(p);
    } else if (left > 1 && s[0] == '/' && s[1] == '*') {
      for (p->p += 2; p->p < p->end && !(p->p[0] == '*' && p->end - p->p > 1 && p->p[1] == '/'); p->p++)
        p->line += *p->p == '\n';
      p->p = p->end - p->p > 2 ? p->p + 2 : p->end;
    } else {
      return;
    }
  }
}

static int digit_value(int c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = tolower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

// Digits of `base` from s; returns where they end.
static const char *read_digits(const char *s, const char *end, int base, uint64_t *v) {
  for (*v = 0; s < end && digit_value((unsigned char)*s) < base; s++) *v = *v * (unsigned)base + (unsigned)digit_value((unsigned char)*s);
  return s;
}

static const char *read_decimal_float(struct ptx_parser *p, const char *s) {
  char buf[64];
  size_t n = 0;
  const char *q = s;
  while (q < p->end && n + 1 < sizeof buf &&
         (isdigit((unsigned char)*q) || *q == '.' || ((*q == 'e' || *q == 'E')) ||
          ((*q == '+' || *q == '-') && q > s && (q[-1] == 'e' || q[-1] == 'E'))))
    buf[n++] = *q++;
  buf[n] = 0;
  char *stop;
  double d = strtod(buf, &stop);
  if (stop == buf) ptx_fail(p, PTX_SYNTAX, "'%s' is not a number", buf);
  memcpy(&p->ival, &d, 8);
  p->token = T_FLOAT64;
  return s + (stop - buf);
}

static bool is_float_text(const char *s, const char *end) {
  while (s < end && isdigit((unsigned char)*s)) s++;
  return s < end && (*s == '.' || *s == 'e' || *s == 'E');
}

static void read_number(struct ptx_parser *p) {
  const char *s = p->p, *end = p->end;
  int kind = end - s > 1 && s[0] == '0' ? tolower((unsigned char)s[1]) : 0;
  uint64_t v = 0;
  p->token = T_INT;
  if (kind == 'f' || kind == 'd') {
    const char *q = read_digits(s + 2, end, 16, &v);
    if (q - s != (kind == 'f' ? 10 : 18)) ptx_fail(p, PTX_SYNTAX, "a hexadecimal float needs %d digits", kind == 'f' ? 8 : 16);
    p->token = kind == 'f' ? T_FLOAT32 : T_FLOAT64;
    p->ival = (int64_t)v;
    p->p = q;
    return;
  }
  if (kind == 'x') s = read_digits(s + 2, end, 16, &v);
  else if (kind == 'b') s = read_digits(s + 2, end, 2, &v);
  else if (is_float_text(s, end)) {
    p->p = read_decimal_float(p, s);
    return;
  } else s = read_digits(s, end, kind && isdigit(kind) ? 8 : 10, &v);
  p->is_unsigned = v >> 63;
  if (s < end && *s == 'U') {
    p->is_unsigned = true;
    s++;
  }
  if (s < end && ident_char((unsigned char)*s)) ptx_fail(p, PTX_SYNTAX, "a number followed by '%c'", *s);
  p->ival = (int64_t)v;
  p->p = s;
}

static void read_string(struct ptx_parser *p) {
  const char *s = ++p->p;
  while (p->p < p->end && *p->p != '"' && *p->p != '\n') p->p++;
  if (p->p >= p->end || *p->p != '"') ptx_fail(p, PTX_SYNTAX, "a string without end");
  p->word = ptx_intern(p, s, (size_t)(p->p - s));
  p->token = T_STRING;
  p->p++;
}

// .word; "::" belongs to it (.shared::cta, .L2::128B).
static void read_dot(struct ptx_parser *p) {
  const char *s = ++p->p;
  while (p->p < p->end) {
    if (ident_char((unsigned char)*p->p)) p->p++;
    else if (p->end - p->p > 2 && p->p[0] == ':' && p->p[1] == ':' && ident_char((unsigned char)p->p[2])) p->p += 2;
    else break;
  }
  if (p->p == s) ptx_fail(p, PTX_SYNTAX, "a lone '.'");
  p->word = ptx_intern(p, s, (size_t)(p->p - s));
  p->token = T_DOT;
}

static void read_punct(struct ptx_parser *p) {
  static const char pairs[][3] = {"<<", ">>", "&&", "||", "==", "!=", "<=", ">="};
  p->token = T_PUNCT;
  int c = (unsigned char)*p->p;
  if (!strchr(",;:[]{}()<>+-!|=@&*/~?%^", c)) {
    if (isprint(c)) ptx_fail(p, PTX_SYNTAX, "unexpected character '%c'", c);
    ptx_fail(p, PTX_SYNTAX, "unexpected byte 0x%02x", (unsigned)c);
  }
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    if (p->end - p->p > 1 && p->p[0] == pairs[i][0] && p->p[1] == pairs[i][1]) {
      p->ival = c << 8 | (unsigned char)p->p[1];
      p->p += 2;
      return;
    }
  p->ival = c;
  p->p++;
}

void ptx_next(struct ptx_parser *p) {
  p->last_end = p->p;
  skip_space(p);
  p->start = p->p;
  p->token_line = p->line;
  p->is_unsigned = false;
  if (p->p >= p->end) {
    p->token = T_END;
    return;
  }
  int c = (unsigned char)*p->p, d = p->end - p->p > 1 ? (unsigned char)p->p[1] : 0;
  if (isdigit(c)) {
    read_number(p);
  } else if (isalpha(c) || c == '_' || c == '$' || (c == '%' && ident_char(d))) {
    const char *s = p->p++;
    while (p->p < p->end && ident_char((unsigned char)*p->p)) p->p++;
    p->word = ptx_intern(p, s, (size_t)(p->p - s));
    p->token = T_IDENT;
  } else if (c == '.') {
    read_dot(p);
  } else if (c == '"') {
    read_string(p);
  } else {
    read_punct(p);
  }
}

bool ptx_is(const struct ptx_parser *p, int punct) { return p->token == T_PUNCT && p->ival == punct; }
bool ptx_is_dot(const struct ptx_parser *p, const char *word) { return p->token == T_DOT && !strcmp(p->word, word); }

bool ptx_accept(struct ptx_parser *p, int punct) {
  if (!ptx_is(p, punct)) return false;
  ptx_next(p);
  return true;
}

bool ptx_accept_dot(struct ptx_parser *p, const char *word) {
  if (!ptx_is_dot(p, word)) return false;
  ptx_next(p);
  return true;
}

void ptx_expect(struct ptx_parser *p, int punct) {
  if (ptx_accept(p, punct)) return;
  int n = (int)(p->p - p->start);
  ptx_fail(p, PTX_SYNTAX, "expected '%c' before '%.*s'", punct, n < 60 ? n : 60, p->token == T_END ? "the end" : p->start);
}

const char *ptx_expect_ident(struct ptx_parser *p) {
  if (p->token != T_IDENT) ptx_fail(p, PTX_SYNTAX, "expected a name before '%.*s'", (int)(p->p - p->start) % 60, p->start);
  const char *s = p->word;
  ptx_next(p);
  return s;
}

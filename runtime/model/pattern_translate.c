// Oniguruma's Ruby syntax to PCRE2's, as far as tokenizer files use it. Both engines agree on literals, alternatives,
// groups, classes, general categories, quantifiers, look-around and (?i:...). What they read differently is rewritten
// here or refused by name:
//   \s \S       White_Space in both (U+180E has a stand-in)
//   \w          PCRE2's has no marks: spelled out
//   \p{Han}     PCRE2 takes scripts by their extensions: \p{sc:Han}; before 10.40 it did not
//   \uHHHH      \x{HHHH}
//   X{n,m}+     a repeated interval, not a possessive one: (?:X{n,m})+
#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/model/pattern.h"
#include <pcre2.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

#if PCRE2_MAJOR > 10 || PCRE2_MINOR >= 40
static const char script[] = "sc:";
#else
static const char script[] = "";
#endif

// Oniguruma's \w: letters, marks, decimal and letter-like digits, connectors, superscript digits and fractions, circled
// letters.
static const char word_set[] =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}"
    "\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}";

struct translation {
  const char *text;
  size_t len, at;
  struct buffer *out;
  struct err *e;
  size_t atom;              // where the last atom starts in `out`
  size_t groups[MAX_DEPTH]; // where the open groups start
  int depth;
};

static bool put(struct translation *t, const char *s, size_t n) { return buffer_append(t->out, s, n, t->e); }

static bool puts_out(struct translation *t, const char *s) { return put(t, s, strlen(s)); }

static bool refuse(struct translation *t, const char *what) {
  return err_set(t->e, "the regular expression uses %s at character %zu, which is not supported", what, t->at);
}

static bool put_property(struct translation *t) {
  const char *s = t->text + t->at, *close = memchr(s, '}', t->len - t->at);
  if (t->len - t->at < 4 || s[2] != '{' || !close) return refuse(t, "\\p without a name in braces");
  const char *name = s + 3;
  bool inverted = *name == '^';
  name += inverted;
  size_t n = (size_t)(close - name);
  char negation = inverted != (s[1] == 'P') ? 'P' : 'p';
  t->at = (size_t)(close - t->text) + 1;
  const char start[] = {'\\', negation, '{'};
  return put(t, start, 3) && (n <= 2 || puts_out(t, script)) && put(t, name, n) && puts_out(t, "}");
}

static bool put_code_point(struct translation *t) {
  if (t->len - t->at < 6) return refuse(t, "\\u without four digits");
  const char *digits = t->text + t->at + 2;
  for (int i = 0; i < 4; i++)
    if (!memchr("0123456789abcdefABCDEF", digits[i], 22)) return refuse(t, "\\u without four digits");
  t->at += 6;
  return puts_out(t, "\\x{") && put(t, digits, 4) && puts_out(t, "}");
}

static bool put_word(struct translation *t, bool in_class) {
  bool negated = t->text[t->at + 1] == 'W';
  if (negated && in_class) return refuse(t, "\\W in a class");
  t->at += 2;
  return (in_class || puts_out(t, negated ? "[^" : "[")) && puts_out(t, word_set) && (in_class || puts_out(t, "]"));
}

static bool put_escape(struct translation *t, bool in_class) {
  if (t->len - t->at < 2) return refuse(t, "a lone backslash");
  char c = t->text[t->at + 1];
  if (c == 'p' || c == 'P') return put_property(t);
  if (c == 'u') return put_code_point(t);
  if (c == 'w' || c == 'W') return put_word(t, in_class);
  bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  if (letter && !memchr("sSdDnrtfvaex", c, 12)) {
    char name[] = {'\\', c, 0};
    return refuse(t, name);
  }
  // Oniguruma's \v is one character, PCRE2's a class.
  size_t n = 1 + (size_t)utf8_length(c);
  bool ok = c == 'v' ? puts_out(t, "\\x{B}") : put(t, t->text + t->at, n);
  t->at += n;
  return ok;
}

static bool put_class(struct translation *t) {
  size_t start = t->at;
  if (!put(t, "[", 1)) return false;
  t->at++;
  if (t->at < t->len && t->text[t->at] == '^') {
    if (!put(t, "^", 1)) return false;
    t->at++;
  }
  for (bool first = true; t->at < t->len; first = false) {
    char c = t->text[t->at];
    if (c == ']' && !first) return t->at++, put(t, "]", 1);
    if (c == ']') return refuse(t, "an empty class");
    if (c == '[') return refuse(t, "a class within a class");
    if (c == '&' && t->at + 1 < t->len && t->text[t->at + 1] == '&') return refuse(t, "an intersection of classes");
    if (c == '\\') {
      if (!put_escape(t, true)) return false;
    } else {
      if (!put(t, &c, 1)) return false;
      t->at++;
    }
  }
  t->at = start;
  return refuse(t, "a class without an end");
}

static bool starts_with(const struct translation *t, const char *s) {
  size_t n = strlen(s);
  return t->len - t->at >= n && memcmp(t->text + t->at, s, n) == 0;
}

static bool open_group(struct translation *t) {
  static const char *const kinds[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?i)", "(?-i:", "(?-i)"};
  if (t->depth == MAX_DEPTH) return refuse(t, "groups nested too deep");
  const char *kind = "(";
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (starts_with(t, kinds[i])) kind = kinds[i];
  if (strcmp(kind, "(") == 0 && starts_with(t, "(?")) return refuse(t, "a group of this kind");
  if (kind[strlen(kind) - 1] == ')' && t->at) return refuse(t, "an option that is not at the start");
  size_t n = strlen(kind);
  // Groups are not referred to.
  if (kind[n - 1] != ')') t->groups[t->depth++] = t->out->len;
  t->at += n;
  return puts_out(t, strcmp(kind, "(") == 0 ? "(?:" : kind);
}

// Length of "{n}", "{n,}", "{,m}" or "{n,m}" at the current place; 0: a literal brace.
static size_t interval(const struct translation *t) {
  size_t i = t->at + 1, digits = 0, commas = 0;
  for (; i < t->len; i++) {
    char c = t->text[i];
    if (c >= '0' && c <= '9') digits++;
    else if (c != ',' || commas++) break;
  }
  return i < t->len && t->text[i] == '}' && digits ? i + 1 - t->at : 0;
}

static bool put_interval(struct translation *t, size_t n) {
  const char *s = t->text + t->at;
  bool from_zero = s[1] == ',', repeated = t->at + n < t->len && s[n] == '+';
  t->at += n;
  if (repeated) {
    if (!puts_out(t, "(?:")) return false;
    char *atom = t->out->data + t->atom;
    memmove(atom + 3, atom, t->out->len - t->atom - 3);
    memcpy(atom, "(?:", 3);
  }
  return put(t, "{", 1) && (!from_zero || put(t, "0", 1)) && put(t, s + 1, n - 1) && (!repeated || put(t, ")", 1));
}

static bool put_next(struct translation *t) {
  char c = t->text[t->at];
  if (c == '*' || c == '+' || c == '?') return t->at++, put(t, &c, 1);
  size_t n = c == '{' ? interval(t) : 0;
  if (n) return put_interval(t, n);
  t->atom = t->out->len;
  if (c == '\\') return put_escape(t, false);
  if (c == '[') return put_class(t);
  if (c == '(') return open_group(t);
  if (c == ')') {
    if (!t->depth) return refuse(t, "a closing parenthesis without an opening one");
    t->atom = t->groups[--t->depth];
  }
  if (c == '{' && !put(t, "\\", 1)) return false;
  size_t bytes = (size_t)utf8_length(c);
  if (!put(t, t->text + t->at, bytes)) return false;
  t->at += bytes;
  return true;
}

bool regex_translate(const char *text, size_t len, struct buffer *out, struct err *e) {
  struct translation t = {.text = text, .len = len, .out = out, .e = e};
  if (utf8_valid(text, len) != len || memchr(text, 0, len)) return err_set(e, "the regular expression is not text");
  if (!buffer_reserve(out, len, e)) return false;
  while (t.at < t.len)
    if (!put_next(&t)) return false;
  return !t.depth || refuse(&t, "a group without an end");
}

#include "runtime/model/added.h"
#include "runtime/base/mem.h"
#include <stdlib.h>
#include <string.h>

// \w of the engine that judges single_word (Rust's regex crate).
static const char word_class[] =
    "[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}"
    "\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}]";

static char *copy(const char *s, size_t len, struct err *e) {
  char *p = mem_alloc(len + 1, 1, "an added token", e);
  return p && len ? memcpy(p, s, len) : p;
}

static void free_token(struct added_token *t) {
  mem_free(t->content);
  mem_free(t->pattern);
}

const struct added_token *added_find(const struct added *a, const char *content, size_t len) {
  for (int32_t i = 0; i < a->count; i++)
    if (a->tokens[i].content_len == len && memcmp(a->tokens[i].content, content, len) == 0) return &a->tokens[i];
  return NULL;
}

bool added_put(struct added *a, const struct added_token *token, struct err *e) {
  struct added_token t = *token;
  t.content = copy(token->content, token->content_len, e);
  t.pattern = t.content ? copy(token->pattern, token->pattern_len, e) : NULL;
  struct added_token *old = (struct added_token *)added_find(a, token->content, token->content_len);
  bool ok = t.pattern != NULL;
  if (ok && !old && a->count == a->capacity) {
    int32_t capacity = a->capacity ? 2 * a->capacity : 16;
    struct added_token *p = mem_grow(a->tokens, (size_t)a->count, (size_t)capacity, sizeof *p, "the added tokens", e);
    if ((ok = p != NULL)) {
      a->tokens = p;
      a->capacity = capacity;
    }
  }
  if (!ok) return free_token(&t), false;
  if (old) free_token(old);
  else old = &a->tokens[a->count++];
  *old = t;
  return true;
}

static int compare_patterns(const void *x, const void *y, void *tokens) {
  const struct added_token *a = (const struct added_token *)tokens + *(const int32_t *)x;
  const struct added_token *b = (const struct added_token *)tokens + *(const int32_t *)y;
  int c = memcmp(a->pattern, b->pattern, a->pattern_len < b->pattern_len ? a->pattern_len : b->pattern_len);
  return c ? c : (a->pattern_len > b->pattern_len) - (a->pattern_len < b->pattern_len);
}

bool added_finish(struct added *a, struct err *e) {
  bool single = false;
  for (int s = 0; s < ADDED_SETS; s++) {
    if (!(a->sets[s] = mem_alloc((size_t)a->count, sizeof *a->sets[s], "the added tokens", e))) return false;
    for (int32_t i = 0; i < a->count; i++) {
      single = single || a->tokens[i].single_word;
      if (a->tokens[i].normalized == (s == ADDED_NORMALIZED) && a->tokens[i].pattern_len)
        a->sets[s][a->set_counts[s]++] = i;
    }
    qsort_r(a->sets[s], (size_t)a->set_counts[s], sizeof *a->sets[s], compare_patterns, a->tokens);
  }
  return !single || pattern_regex(&a->word, word_class, sizeof word_class - 1, e);
}

void added_free(struct added *a) {
  for (int32_t i = 0; i < a->count; i++) free_token(&a->tokens[i]);
  mem_free(a->tokens);
  for (int s = 0; s < ADDED_SETS; s++) mem_free(a->sets[s]);
  pattern_free(&a->word);
  *a = (struct added){0};
}

void added_scan_init(struct added_scan *s, const struct added *a, int set, const char *text, size_t len) {
  *s = (struct added_scan){.added = a, .set = set, .text = text, .len = len};
  matcher_init(&s->word, &a->word);
}

void added_scan_free(struct added_scan *s) { matcher_free(&s->word); }

// First of set[lo, hi) whose byte at `depth` is not below `byte`; patterns that end there come first.
static int32_t lower_bound(const struct added_scan *s, int32_t lo, int32_t hi, size_t depth, int byte) {
  const int32_t *set = s->added->sets[s->set];
  while (lo < hi) {
    int32_t mid = (lo + hi) / 2;
    const struct added_token *t = &s->added->tokens[set[mid]];
    int b = t->pattern_len > depth ? (uint8_t)t->pattern[depth] : -1;
    if (b < byte) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

// The longest token at text[at]; NULL: none. The sorted patterns that agree so far are a range, narrowed byte by byte.
static const struct added_token *longest_at(const struct added_scan *s, size_t at) {
  const int32_t *set = s->added->sets[s->set];
  const struct added_token *found = NULL;
  int32_t lo = 0, hi = s->added->set_counts[s->set];
  for (size_t depth = 0; lo < hi && at + depth < s->len; depth++) {
    int byte = (uint8_t)s->text[at + depth];
    lo = lower_bound(s, lo, hi, depth, byte);
    hi = lower_bound(s, lo, hi, depth, byte + 1);
    if (lo < hi && s->added->tokens[set[lo]].pattern_len == depth + 1) found = &s->added->tokens[set[lo]];
  }
  return found;
}

// 1: a word character starts (or ends) at this place; 0: none; -1: an error.
static int is_word(struct added_scan *s, size_t at, bool before, struct err *e) {
  size_t n = 1, start, end;
  if (before) {
    if (!at) return 0;
    while (n < at && ((uint8_t)s->text[at - n] & 0xC0) == 0x80) n++;
    at -= n;
  } else {
    if (at == s->len) return 0;
    n = (size_t)utf8_length(s->text[at]);
  }
  return matcher_start(&s->word, s->text + at, n, e) ? matcher_next(&s->word, &start, &end, e) : -1;
}

static size_t strip_left(const struct added_scan *s, size_t at) {
  while (at > 0) {
    size_t i = at - 1;
    uint32_t cp = 0;
    while (i > 0 && ((uint8_t)s->text[i] & 0xC0) == 0x80) i--;
    if (utf8_decode(s->text + i, at - i, &cp) < 0 || !unicode_is_space(cp)) break;
    at = i;
  }
  return at > s->done ? at : s->done;
}

static size_t strip_right(const struct added_scan *s, size_t at) {
  while (at < s->len) {
    uint32_t cp = 0;
    int n = utf8_decode(s->text + at, s->len - at, &cp);
    if (n < 0 || !unicode_is_space(cp)) break;
    at += (size_t)n;
  }
  return at;
}

// The next token that may stand where it was found; 0 when there is none.
static int find_token(struct added_scan *s, const struct added_token **token, size_t *at, struct err *e) {
  if (!s->added->set_counts[s->set]) return 0;
  while (s->at < s->len) {
    const struct added_token *t = longest_at(s, s->at);
    if (!t) {
      s->at++;
      continue;
    }
    *at = s->at;
    s->at += t->pattern_len;
    int touched = t->single_word ? is_word(s, *at, true, e) : 0;
    if (t->single_word && !touched) touched = is_word(s, s->at, false, e);
    if (touched < 0) return -1;
    if (!touched) return *token = t, 1;
  }
  return 0;
}

// The next token with the white space that it takes along. The search goes on behind the token itself, so what one
// token took on its right may hold another: it counts as well, except when its own stripping on the left leaves nothing
// of it.
static int find_segment(struct added_scan *s, struct segment *out, struct err *e) {
  const struct added_token *t;
  size_t start;
  int found;
  while ((found = find_token(s, &t, &start, e)) == 1) {
    size_t stop = t->rstrip ? strip_right(s, s->at) : s->at;
    if (t->lstrip) start = strip_left(s, start);
    if (start >= stop) continue;
    *out = (struct segment){s->text + start, stop - start, t->id};
    break;
  }
  return found;
}

int added_scan_next(struct added_scan *s, struct segment *out, struct err *e) {
  if (s->has_next) {
    s->has_next = false;
    *out = s->next;
    return 1;
  }
  int found = find_segment(s, &s->next, e);
  if (found < 0) return -1;
  size_t done = s->done, start = found ? (size_t)(s->next.text - s->text) : s->len;
  s->done = found ? start + s->next.len : s->len;
  s->has_next = found && done < start;
  if (done >= start) return *out = s->next, found;
  *out = (struct segment){s->text + done, start - done, -1};
  return 1;
}

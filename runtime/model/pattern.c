#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/model/pattern.h"
#include "runtime/base/mem.h"
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

struct stand_in {
  uint32_t first, last, as;
};

static const struct stand_in stand_ins[] = {
#include "runtime/model/unicode_standins.inc"
};

enum { NUM_STAND_INS = sizeof stand_ins / sizeof *stand_ins, JIT_STACK_START = 32 << 10, JIT_STACK_MAX = 16 << 20 };
// Steps of a match for each byte of the text, and besides.
enum { MATCH_RATE = 16, MATCH_FREE = 100000 };
// The stand-ins for characters that Unicode 16 does not know; a PCRE2 that does not either needs none.
enum { UNASSIGNED_3 = 0xFDD0, UNASSIGNED_4 = 0x1FFFE, ENGINE_UNICODE = 16 };

static bool knows_more(void) {
  char version[32] = "";
  return pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version) > 0 && atoi(version) > ENGINE_UNICODE;
}

static void *pcre_malloc(size_t size, void *user) {
  (void)user;
  return mem_raw_alloc(size);
}

static void pcre_free(void *p, void *user) {
  (void)user;
  mem_raw_free(p);
}

bool pattern_literal(struct pattern *p, const char *text, size_t len, struct err *e) {
  *p = (struct pattern){0};
  if (!len) return err_set(e, "the pattern is an empty string, which matches nowhere; give it a text");
  if (!(p->literal = mem_alloc(len + 1, 1, "a pattern", e))) return false;
  memcpy(p->literal, text, len);
  p->literal_len = len;
  return true;
}

static bool compile(struct pattern *p, const struct buffer *regex, struct err *e) {
  pcre2_general_context *memory = pcre2_general_context_create(pcre_malloc, pcre_free, NULL);
  pcre2_compile_context *context = memory ? pcre2_compile_context_create(memory) : NULL;
  int code = PCRE2_ERROR_NOMEMORY;
  PCRE2_SIZE at = 0;
  // In Oniguruma's Ruby syntax ^ and $ stand at every line.
  if (context && pcre2_set_newline(context, PCRE2_NEWLINE_LF) == 0)
    p->code = pcre2_compile((PCRE2_SPTR)regex->data, regex->len, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &at,
                            context);
  pcre2_compile_context_free(context);
  pcre2_general_context_free(memory);
  if (!p->code && code == PCRE2_ERROR_HEAP_FAILED) code = PCRE2_ERROR_NOMEMORY;
  if (!p->code && code == PCRE2_ERROR_NOMEMORY) return err_no_memory(e, regex->len, "a regular expression");
  if (!p->code) {
    char why[160] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
    return err_set(e, "the regular expression is not valid near character %zu: %s", (size_t)at, why);
  }
  pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); // where it cannot be had, matching interprets
  return true;
}

bool pattern_regex(struct pattern *p, const char *text, size_t len, struct err *e) {
  *p = (struct pattern){0};
  struct buffer regex = {0};
  bool ok = regex_translate(text, len, &regex, e) && compile(p, &regex, e);
  buffer_free(&regex);
  return ok;
}

void pattern_free(struct pattern *p) {
  mem_free(p->literal);
  pcre2_code_free(p->code);
  *p = (struct pattern){0};
}

void matcher_init(struct matcher *m, const struct pattern *p) { *m = (struct matcher){.pattern = p}; }

void matcher_free(struct matcher *m) {
  buffer_free(&m->stand_in);
  pcre2_match_data_free(m->match_data);
  pcre2_match_context_free(m->context);
  pcre2_jit_stack_free(m->stack);
}

static bool open_pcre(struct matcher *m, struct err *e) {
  pcre2_general_context *memory = pcre2_general_context_create(pcre_malloc, pcre_free, NULL);
  if (memory) {
    m->match_data = pcre2_match_data_create(1, memory);
    m->context = pcre2_match_context_create(memory);
    m->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, memory);
  }
  pcre2_general_context_free(memory);
  if (!m->match_data || !m->context || !m->stack)
    return err_no_memory(e, JIT_STACK_START, "matching a regular expression");
  m->unassigned = knows_more();
  pcre2_jit_stack_assign(m->context, NULL, m->stack);
  // A megabyte of spaces is a lawful text: the limits are memory and (matcher_start) the text's own length.
  pcre2_set_depth_limit(m->context, UINT32_MAX);
  pcre2_set_heap_limit(m->context, UINT32_MAX);
  return true;
}

// What stands in for `cp`; 0 for itself.
static uint32_t find_stand_in(const struct matcher *m, uint32_t cp) {
  size_t lo = 0, hi = NUM_STAND_INS;
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (cp > stand_ins[mid].last) lo = mid + 1;
    else hi = mid;
  }
  uint32_t as = lo < NUM_STAND_INS && cp >= stand_ins[lo].first ? stand_ins[lo].as : 0;
  return (as == UNASSIGNED_3 || as == UNASSIGNED_4) && !m->unassigned ? 0 : as;
}

// Characters that this machine's PCRE2 may class otherwise are exchanged, byte for byte in the same place, in a copy.
static bool substitute(struct matcher *m, struct err *e) {
  bool copied = false;
  for (size_t i = 0; i < m->len;) {
    if ((uint8_t)m->text[i] < 0xE0) { // no stand-ins below U+0800
      i++;
      continue;
    }
    uint32_t cp = 0;
    int n = utf8_decode(m->text + i, m->len - i, &cp);
    uint32_t as = find_stand_in(m, cp);
    if (as && !copied) {
      m->stand_in.len = 0;
      if (!buffer_append(&m->stand_in, m->text, m->len, e)) return false;
      copied = true;
    }
    if (as) utf8_encode(as, m->stand_in.data + i);
    i += n > 0 ? (size_t)n : 1;
  }
  if (copied) m->text = m->stand_in.data;
  return true;
}

bool matcher_start(struct matcher *m, const char *text, size_t len, struct err *e) {
  m->text = text;
  m->len = len;
  m->at = m->last_end = 0;
  m->any = false;
  if (m->pattern->literal) return true;
  if (!m->match_data && !open_pcre(m, e)) return false;
  // Lawful expressions try a position a few times; some could try one for ever.
  pcre2_set_match_limit(m->context, len < UINT32_MAX / MATCH_RATE / 2 ? (uint32_t)(MATCH_FREE + MATCH_RATE * len) : UINT32_MAX);
  return substitute(m, e);
}

static int next_literal(struct matcher *m, size_t *start, size_t *end) {
  const struct pattern *p = m->pattern;
  const char *found = m->len ? memmem(m->text + m->at, m->len - m->at, p->literal, p->literal_len) : NULL;
  if (!found) return 0;
  *start = (size_t)(found - m->text);
  m->at = *end = *start + p->literal_len;
  return 1;
}

static int next_regex(struct matcher *m, struct err *e) {
  PCRE2_SPTR text = (PCRE2_SPTR)m->text;
  int rc = pcre2_match(m->pattern->code, text, m->len, m->at, PCRE2_NO_UTF_CHECK, m->match_data, m->context);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
    rc = pcre2_match(m->pattern->code, text, m->len, m->at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->match_data,
                     m->context);
  if (rc >= 0) return 1;
  if (rc == PCRE2_ERROR_NOMATCH) return 0;
  if (rc == PCRE2_ERROR_NOMEMORY) return err_no_memory(e, m->len, "matching a regular expression"), -1;
  if (rc == PCRE2_ERROR_MATCHLIMIT)
    return err_set(e, "the tokenizer's regular expression does not come to an end at byte %zu of %zu; the file is not a useful one", m->at, m->len), -1;
  char why[160] = "";
  pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
  return err_set(e, "matching a regular expression failed at byte %zu of %zu: %s", m->at, m->len, why), -1;
}

int matcher_next(struct matcher *m, size_t *start, size_t *end, struct err *e) {
  if (m->pattern->literal) return next_literal(m, start, end);
  while (m->at <= m->len) {
    int rc = next_regex(m, e);
    if (rc != 1) return rc;
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(m->match_data);
    *start = found[0];
    *end = found[1];
    if (*start < *end || !m->any || m->last_end != *end) {
      m->at = m->last_end = *end;
      m->any = true;
      return 1;
    }
    m->at += m->at < m->len ? (size_t)utf8_length(m->text[m->at]) : 1;
  }
  return 0;
}

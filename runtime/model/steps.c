#include "runtime/model/steps.h"
#include "runtime/base/mem.h"
#include <string.h>

static const char gpt2_regex[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static bool add_step(struct steps *s, struct step *step, const char *text, size_t len, struct err *e) {
  bool ok = s->count < MAX_STEPS || err_set(e, "there are more than %d steps", MAX_STEPS);
  if (ok && !(step->text = mem_alloc(len + 1, 1, "a step's text", e))) ok = false;
  if (!ok) return pattern_free(&step->pattern), false;
  if (len) memcpy(step->text, text, len);
  step->text_len = len;
  s->data[s->count++] = *step;
  return true;
}

bool steps_prepend(struct steps *s, const char *text, size_t len, bool unless_there, bool only_first, struct err *e) {
  struct step step = {.kind = STEP_PREPEND, .unless_there = unless_there, .only_first = only_first};
  return add_step(s, &step, text, len, e);
}

bool steps_replace(struct steps *s, struct pattern *pattern, const char *text, size_t len, struct err *e) {
  struct step step = {.kind = STEP_REPLACE, .pattern = *pattern};
  return add_step(s, &step, text, len, e);
}

bool steps_split(struct steps *s, struct pattern *pattern, enum split_behavior b, bool invert, struct err *e) {
  struct step step = {.kind = STEP_SPLIT, .pattern = *pattern, .behavior = b, .invert = invert};
  return add_step(s, &step, "", 0, e);
}

bool steps_bytes(struct steps *s, struct err *e) {
  struct step step = {.kind = STEP_BYTES};
  return add_step(s, &step, "", 0, e);
}

bool steps_byte_level(struct steps *s, bool add_prefix_space, bool use_regex, struct err *e) {
  struct pattern p;
  if (add_prefix_space && !steps_prepend(s, " ", 1, true, false, e)) return false;
  if (use_regex &&
      (!pattern_regex(&p, gpt2_regex, sizeof gpt2_regex - 1, e) || !steps_split(s, &p, SPLIT_ISOLATED, false, e)))
    return false;
  return steps_bytes(s, e);
}

bool steps_digits(struct steps *s, bool individual, struct err *e) {
  struct pattern p;
  return pattern_regex(&p, "\\p{N}", 5, e) &&
         steps_split(s, &p, individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS, false, e);
}

void steps_free(struct steps *s) {
  for (int i = 0; i < s->count; i++) {
    mem_free(s->data[i].text);
    pattern_free(&s->data[i].pattern);
  }
  s->count = 0;
}

// The bytes that stand for themselves: printable ASCII and Latin-1. The other 68 follow at U+0100 in their order.
static bool is_printable(uint32_t c) { return (c > 0x20 && c < 0x7F) || (c > 0xA0 && c < 0x100 && c != 0xAD); }

uint32_t byte_level_char(uint8_t byte) {
  if (is_printable(byte)) return byte;
  return 0x100u + (byte <= 0x20 ? byte : byte <= 0xA0 ? byte - 0x7Fu + 0x21u : 0x43u);
}

int byte_level_byte(uint32_t cp) {
  if (is_printable(cp)) return (int)cp;
  if (cp < 0x100 || cp > 0x143) return -1;
  uint32_t n = cp - 0x100;
  return (int)(n <= 0x20 ? n : n < 0x43 ? n - 0x21 + 0x7F : 0xAD);
}

void steps_run_init(struct steps_run *r, const struct steps *s,
                    bool (*sink)(void *, const char *, size_t, bool, struct err *), void *user) {
  *r = (struct steps_run){.steps = s, .sink = sink, .user = user};
  for (int i = 0; i < s->count; i++) matcher_init(&r->states[i].matcher, &s->data[i].pattern);
}

void steps_run_free(struct steps_run *r) {
  for (int i = 0; i < r->steps->count; i++) {
    buffer_free(&r->states[i].text);
    matcher_free(&r->states[i].matcher);
  }
}

static bool run_from(struct steps_run *r, int k, const char *text, size_t len, bool at_start, struct err *e);

static bool run_prepend(struct steps_run *r, int k, const char *text, size_t len, bool at_start, struct err *e) {
  const struct step *s = &r->steps->data[k];
  bool there = s->unless_there && len >= s->text_len && memcmp(text, s->text, s->text_len) == 0;
  if (there || (s->only_first && !at_start)) return run_from(r, k + 1, text, len, at_start, e);
  struct buffer *b = &r->states[k].text;
  b->len = 0;
  return buffer_append(b, s->text, s->text_len, e) && buffer_append(b, text, len, e) &&
         run_from(r, k + 1, b->data, b->len, at_start, e);
}

static bool run_replace(struct steps_run *r, int k, const char *text, size_t len, bool at_start, struct err *e) {
  const struct step *s = &r->steps->data[k];
  struct buffer *b = &r->states[k].text;
  struct matcher *m = &r->states[k].matcher;
  size_t done = 0, start, end;
  int found;
  b->len = 0;
  if (!buffer_reserve(b, len, e) || !matcher_start(m, text, len, e)) return false;
  while ((found = matcher_next(m, &start, &end, e)) == 1) {
    if (!buffer_append(b, text + done, start - done, e) || !buffer_append(b, s->text, s->text_len, e)) return false;
    done = end;
  }
  return found == 0 && buffer_append(b, text + done, len - done, e) && run_from(r, k + 1, b->data, b->len, at_start, e);
}

static bool run_bytes(struct steps_run *r, int k, const char *text, size_t len, bool at_start, struct err *e) {
  struct buffer *b = &r->states[k].text;
  b->len = 0;
  if (len > SIZE_MAX / 4 || !buffer_reserve(b, 2 * len, e)) return false; // each becomes one or two bytes
  for (size_t i = 0; i < len; i++) b->len += (size_t)utf8_encode(byte_level_char((uint8_t)text[i]), b->data + b->len);
  return run_from(r, k + 1, b->data, b->len, at_start, e);
}

// The pieces of a split as they come, with the last one held back while what follows may still join it.
struct cutter {
  struct steps_run *run;
  int step;
  const char *text;
  bool at_start;
  size_t start, end; // held back
  bool held, last_is_match;
};

static bool flush(struct cutter *c, struct err *e) {
  if (!c->held) return true;
  c->held = false;
  return run_from(c->run, c->step + 1, c->text + c->start, c->end - c->start, c->at_start && c->start == 0, e);
}

static bool cut(struct cutter *c, size_t start, size_t end, bool is_match, struct err *e) {
  bool last = c->last_is_match, join = false;
  c->last_is_match = is_match;
  switch (c->run->steps->data[c->step].behavior) {
  case SPLIT_REMOVED:
    if (is_match) return true;
    break;
  case SPLIT_ISOLATED: break;
  case SPLIT_MERGED_WITH_PREVIOUS: join = is_match && !last; break;
  case SPLIT_MERGED_WITH_NEXT: join = !is_match && last; break;
  case SPLIT_CONTIGUOUS: join = is_match == last; break;
  }
  if (join && c->held) return c->end = end, true;
  if (!flush(c, e)) return false;
  c->start = start;
  c->end = end;
  c->held = true;
  return true;
}

static bool run_split(struct steps_run *r, int k, const char *text, size_t len, bool at_start, struct err *e) {
  bool invert = r->steps->data[k].invert;
  struct cutter c = {.run = r, .step = k, .text = text, .at_start = at_start};
  struct matcher *m = &r->states[k].matcher;
  size_t done = 0, start, end;
  int found;
  if (!matcher_start(m, text, len, e)) return false;
  while ((found = matcher_next(m, &start, &end, e)) == 1) {
    if (start > done && !cut(&c, done, start, invert, e)) return false;
    if (!cut(&c, start, end, !invert, e)) return false;
    done = end;
  }
  return found == 0 && (done == len || cut(&c, done, len, invert, e)) && flush(&c, e);
}

static bool run_from(struct steps_run *r, int k, const char *text, size_t len, bool at_start, struct err *e) {
  if (!len) return true;
  if (k == r->steps->count) return r->sink(r->user, text, len, at_start, e);
  if ((r->work += len) > r->most_work)
    return err_set(e, "the tokenizer's steps make more than %zu bytes of a text; the file is not a useful one", r->most_work);
  switch (r->steps->data[k].kind) {
  case STEP_PREPEND: return run_prepend(r, k, text, len, at_start, e);
  case STEP_REPLACE: return run_replace(r, k, text, len, at_start, e);
  case STEP_SPLIT: return run_split(r, k, text, len, at_start, e);
  case STEP_BYTES: return run_bytes(r, k, text, len, at_start, e);
  }
  return false;
}

bool steps_run(struct steps_run *r, const char *text, size_t len, bool at_start, struct err *e) {
  r->work = 0;
  r->most_work = len > SIZE_MAX / MAX_WORK_RATE / 2 ? SIZE_MAX : MAX_WORK_FREE + MAX_WORK_RATE * len;
  return run_from(r, 0, text, len, at_start, e);
}

// Ids to text, id by id, through the file's decoders.
#include "runtime/base/mem.h"
#include "runtime/model/tokenizer_impl.h"
#include <string.h>

enum { BYTE_PIECE = 6 }; // "<0x0A>"

struct decode_state {
  struct buffer text; // a step's output, or what it holds back
  int64_t tokens;     // seen so far
  int64_t stripped;   // DECODE_STRIP behind a fusing step: characters taken off
  bool ended;         // and: the text's start is over
};

struct decoder {
  const struct tokenizer *t;
  bool skip_special, finished;
  struct decode_state states[MAX_DECODE_STEPS];
  struct buffer out;
  size_t work, most_work; // bytes handled so far, as in steps.h
};

bool tokenizer_add_decoder(struct tokenizer *t, struct decode_step step, const char *text, size_t len,
                           struct pattern *pattern, struct err *e) {
  if (pattern) step.pattern = *pattern;
  bool ok = t->num_decoders < MAX_DECODE_STEPS || err_set(e, "there are more than %d decoders", MAX_DECODE_STEPS);
  if (ok && !(step.text = mem_alloc(len + 1, 1, "a decoder", e))) ok = false;
  if (!ok) return pattern_free(&step.pattern), false;
  if (len) memcpy(step.text, text, len);
  step.text_len = len;
  t->decoders[t->num_decoders++] = step;
  return true;
}

bool tokenizer_spm_decoder(struct tokenizer *t, bool strip, struct err *e) {
  struct pattern p;
  return pattern_literal(&p, METASPACE, METASPACE_LEN, e) &&
         tokenizer_add_decoder(t, (struct decode_step){.kind = DECODE_REPLACE}, " ", 1, &p, e) &&
         tokenizer_add_decoder(t, (struct decode_step){.kind = DECODE_BYTE_FALLBACK}, "", 0, NULL, e) &&
         tokenizer_add_decoder(t, (struct decode_step){.kind = DECODE_FUSE}, "", 0, NULL, e) &&
         (!strip || tokenizer_add_decoder(t, (struct decode_step){.kind = DECODE_STRIP, .count = 1}, " ", 1, NULL, e));
}

struct decoder *decoder_open(const struct tokenizer *t, bool skip_special, struct err *e) {
  struct decoder *d = mem_alloc(1, sizeof *d, "a decoder", e);
  if (!d) return NULL;
  d->t = t;
  d->skip_special = skip_special;
  return d;
}

void decoder_close(struct decoder *d) {
  if (!d) return;
  for (int i = 0; i < MAX_DECODE_STEPS; i++) buffer_free(&d->states[i].text);
  buffer_free(&d->out);
  mem_free(d);
}

static bool pass(struct decoder *d, int k, const char *s, size_t len, struct err *e);

static bool too_much(size_t most, struct err *e) {
  return err_set(e, "the tokenizer's decoders make more than %zu bytes of a text; the file is not a useful one", most);
}

static bool replace(struct decoder *d, int k, const char *s, size_t len, struct err *e) {
  const struct decode_step *step = &d->t->decoders[k];
  struct buffer *b = &d->states[k].text;
  struct matcher m;
  size_t done = 0, start, end;
  b->len = 0;
  matcher_init(&m, &step->pattern); // a literal: nothing to free
  if (!matcher_start(&m, s, len, e)) return false;
  while (matcher_next(&m, &start, &end, e) == 1) {
    if (!buffer_append(b, s + done, start - done, e) || !buffer_append(b, step->text, step->text_len, e)) return false;
    done = end;
  }
  return buffer_append(b, s + done, len - done, e) && pass(d, k + 1, b->data, b->len, e);
}

static bool metaspace(struct decoder *d, int k, const char *s, size_t len, struct err *e) {
  const struct decode_step *step = &d->t->decoders[k];
  struct buffer *b = &d->states[k].text;
  bool drop = step->strip_first && d->states[k].tokens++ == 0;
  b->len = 0;
  if (!buffer_reserve(b, len, e)) return false;
  for (size_t i = 0; i < len;) {
    size_t n = (size_t)utf8_length(s[i]);
    bool space = n == step->text_len && memcmp(s + i, step->text, n) == 0;
    if (!space && !buffer_append(b, s + i, n, e)) return false;
    if (space && !drop && !buffer_append(b, " ", 1, e)) return false;
    i += n;
  }
  return pass(d, k + 1, b->data, b->len, e);
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The byte that a piece like "<0x0A>" spells; -1 for other pieces. Rust's number parser, which decides, takes "+A" as
// well.
static int byte_of_piece(const char *s, size_t len) {
  if (len != BYTE_PIECE || memcmp(s, "<0x", 3) != 0 || s[5] != '>') return -1;
  int hi = s[3] == '+' ? 0 : hex_digit(s[3]), lo = hex_digit(s[4]);
  return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

// A run of bytes is text when all of it is; else each byte is one U+FFFD. So it is held back until it ends.
static bool flush_bytes(struct decoder *d, int k, struct err *e) {
  struct buffer *b = &d->states[k].text;
  size_t n = b->len;
  b->len = 0;
  if (utf8_valid(b->data, n) == n) return !n || pass(d, k + 1, b->data, n, e);
  for (size_t i = 0; i < n; i++)
    if (!pass(d, k + 1, REPLACEMENT, REPLACEMENT_LEN, e)) return false;
  return true;
}

static bool byte_fallback(struct decoder *d, int k, const char *s, size_t len, struct err *e) {
  int byte = byte_of_piece(s, len);
  char c = (char)byte;
  if (byte >= 0) return buffer_append(&d->states[k].text, &c, 1, e);
  return flush_bytes(d, k, e) && pass(d, k + 1, s, len, e);
}

// Whether the tokens of step k come as parts of one.
static bool is_fused(const struct decoder *d, int k) {
  while (k-- > 0)
    if (d->t->decoders[k].kind == DECODE_FUSE || d->t->decoders[k].kind == DECODE_BYTES) return true;
  return false;
}

static bool strip(struct decoder *d, int k, const char *s, size_t len, struct err *e) {
  const struct decode_step *step = &d->t->decoders[k];
  struct decode_state *state = &d->states[k];
  size_t i = 0;
  if (!is_fused(d, k)) {
    state->stripped = 0;
    state->ended = false;
  }
  while (!state->ended && i < len) {
    size_t n = (size_t)utf8_length(s[i]);
    state->ended = state->stripped == step->count || n != step->text_len || memcmp(s + i, step->text, n) != 0;
    if (state->ended) break;
    state->stripped++;
    i += n;
  }
  return pass(d, k + 1, s + i, len - i, e);
}

// Bytes become text as far as no byte to come can change it.
static bool byte_level(struct decoder *d, int k, const char *s, size_t len, struct err *e) {
  struct buffer *b = &d->states[k].text;
  size_t held = b->len, i = 0;
  for (; i < len; i += (size_t)utf8_length(s[i])) {
    uint32_t cp = 0;
    utf8_decode(s + i, len - i, &cp);
    int byte = byte_level_byte(cp);
    char c = (char)byte;
    if (byte < 0) break;
    if (!buffer_append(b, &c, 1, e)) return false;
  }
  if (i < len) { // not in the byte alphabet: an added token, as it stands
    b->len = held;
    if (!buffer_append(b, s, len, e)) return false;
  }
  size_t whole = b->len;
  for (size_t tail = 1; tail < UTF8_MAX && tail <= b->len; tail++)
    if (utf8_is_partial(b->data + b->len - tail, tail)) whole = b->len - tail;
  struct buffer text = {0};
  bool ok = buffer_append_lossy(&text, b->data, whole, e) && pass(d, k + 1, text.data, text.len, e);
  buffer_free(&text);
  memmove(b->data, b->data + whole, b->len - whole);
  b->len -= whole;
  return ok;
}

static bool join(struct decoder *d, int k, const char *s, size_t len, struct err *e) {
  bool first = d->states[k].tokens++ == 0;
  return (first || pass(d, k + 1, " ", 1, e)) && pass(d, k + 1, s, len, e);
}

// Gives a token, or a part of the fused text, to decoder k.
static bool pass(struct decoder *d, int k, const char *s, size_t len, struct err *e) {
  if (k == d->t->num_decoders) return !len || buffer_append(&d->out, s, len, e);
  if ((d->work += len + 1) > d->most_work) return too_much(d->most_work, e);
  switch (d->t->decoders[k].kind) {
  case DECODE_JOIN: return join(d, k, s, len, e);
  case DECODE_REPLACE: return replace(d, k, s, len, e);
  case DECODE_METASPACE: return metaspace(d, k, s, len, e);
  case DECODE_BYTE_FALLBACK: return byte_fallback(d, k, s, len, e);
  case DECODE_FUSE: return pass(d, k + 1, s, len, e);
  case DECODE_STRIP: return strip(d, k, s, len, e);
  case DECODE_BYTES: return byte_level(d, k, s, len, e);
  }
  return false;
}

static const char *result(struct decoder *d, size_t *len) {
  *len = d->out.len;
  return d->out.len ? d->out.data : "";
}

const char *decoder_push(struct decoder *d, int32_t id, size_t *len, struct err *e) {
  size_t n;
  if (d->finished) return err_set(e, "the decoder is finished; open another for more ids"), NULL;
  if (id < 0) return err_set(e, "id %d is negative; ids start at 0", id), NULL;
  d->out.len = 0;
  const char *piece = vocab_get(&d->t->vocab, id, &n);
  if (piece) d->most_work += MAX_WORK_FREE + MAX_WORK_RATE * n;
  if (piece && !(d->skip_special && d->t->special[id]) && !pass(d, 0, piece, n, e)) return NULL;
  return result(d, len);
}

// An unfinished character at the very end.
static bool flush_partial(struct decoder *d, int k, struct err *e) {
  struct buffer *b = &d->states[k].text;
  bool any = b->len > 0;
  b->len = 0;
  return !any || pass(d, k + 1, REPLACEMENT, REPLACEMENT_LEN, e);
}

const char *decoder_finish(struct decoder *d, size_t *len, struct err *e) {
  d->out.len = 0;
  d->most_work += MAX_WORK_FREE;
  for (int k = 0; !d->finished && k < d->t->num_decoders; k++) {
    enum decode_kind kind = d->t->decoders[k].kind;
    if (kind == DECODE_BYTE_FALLBACK && !flush_bytes(d, k, e)) return NULL;
    if (kind == DECODE_BYTES && !flush_partial(d, k, e)) return NULL;
  }
  d->finished = true;
  return result(d, len);
}

// One step on one token: what it stands for wherever it stands.
static bool decode_alone(const struct decode_step *step, const char *s, size_t len, struct buffer *out, struct err *e) {
  const char *find = step->kind == DECODE_REPLACE ? step->pattern.literal : step->text;
  size_t find_len = step->kind == DECODE_REPLACE ? step->pattern.literal_len : step->text_len;
  bool replaces = step->kind == DECODE_REPLACE || step->kind == DECODE_METASPACE;
  int byte = step->kind == DECODE_BYTE_FALLBACK ? byte_of_piece(s, len) : -1;
  char c = (char)byte;
  if (byte >= 0) return buffer_append(out, &c, 1, e);
  for (size_t i = 0, n; i < len; i += n) {
    uint32_t cp = 0;
    n = (size_t)utf8_decode(s + i, len - i, &cp);
    byte = step->kind == DECODE_BYTES ? byte_level_byte(cp) : -1;
    c = (char)byte;
    bool hit = replaces && len - i >= find_len && memcmp(s + i, find, find_len) == 0, ok;
    if (hit) {
      n = find_len;
      ok = step->kind == DECODE_REPLACE ? buffer_append(out, step->text, step->text_len, e)
                                        : buffer_append(out, " ", 1, e);
    } else {
      ok = byte >= 0 ? buffer_append(out, &c, 1, e) : buffer_append(out, s + i, n, e);
    }
    if (!ok) return false;
  }
  return true;
}

char *tokenizer_token_text(const struct tokenizer *t, int32_t id, size_t *len, struct err *e) {
  struct buffer text = {0}, next = {0};
  const char *piece = vocab_get(&t->vocab, id, len);
  bool ok = piece ? buffer_append(&text, piece, *len, e)
                  : err_set(e, "id %d has no piece; ids go from 0 to %d", id, t->vocab.size - 1);
  size_t most = MAX_WORK_FREE + MAX_WORK_RATE * text.len;
  for (int k = 0; ok && k < t->num_decoders && utf8_valid(text.data, text.len) == text.len; k++) {
    next.len = 0;
    ok = decode_alone(&t->decoders[k], text.data, text.len, &next, e) && buffer_append(&next, "", 0, e);
    if (ok && next.len > most) ok = too_much(most, e);
    struct buffer old = text;
    text = next;
    next = old;
  }
  buffer_free(&next);
  ok = ok && buffer_append(&text, "", 1, e);
  if (!ok) return buffer_free(&text), NULL;
  *len = text.len - 1;
  return text.data;
}

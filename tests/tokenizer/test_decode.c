// The streaming decoder against whole-text decoding written plainly, on random ids; and its edges.
#include "tests/test.h"
#include "runtime/base/mem.h"
#include "runtime/model/utf8.h"
#include "tests/tokenizer/tokenizer_files.h"

// A list of texts, as Hugging Face's decoders hand it on.
struct list {
  char *text[512];
  size_t len[512];
  int count;
};

static void add(struct list *l, const char *s, size_t n) {
  assert_true(l->count < 512);
  char *copy = malloc(n + 1);
  memcpy(copy, s, n);
  copy[n] = 0;
  l->text[l->count] = copy;
  l->len[l->count++] = n;
}

static void drop(struct list *l) {
  for (int i = 0; i < l->count; i++) free(l->text[i]);
  l->count = 0;
}

static char *joined(const struct list *l, size_t *len) {
  char *all = calloc(1, 1 + 512 * 64);
  *len = 0;
  for (int i = 0; i < l->count; i++) memcpy(all + *len, l->text[i], l->len[i]), *len += l->len[i];
  return all;
}

static void tokens_of(const struct tokenizer *t, const int32_t *ids, int n, bool skip, struct list *out) {
  for (int i = 0; i < n; i++) {
    size_t len;
    const char *piece = tokenizer_piece(t, ids[i], &len);
    if (piece && !(skip && tokenizer_is_special(t, ids[i]))) add(out, piece, len);
  }
}

static void flush_run(struct list *out, char *run, size_t *n) {
  if (utf8_valid(run, *n) == *n && *n) add(out, run, *n);
  else
    for (size_t i = 0; i < *n; i++) add(out, REPLACEMENT, 3);
  *n = 0;
}

// Replace, ByteFallback, Fuse, Strip, one after the other over the whole list.
static char *decode_spm(const struct tokenizer *t, const int32_t *ids, int n, bool skip, size_t *len) {
  struct list tokens = {.count = 0}, bytes = {.count = 0};
  char run[512];
  size_t held = 0;
  tokens_of(t, ids, n, skip, &tokens);
  for (int i = 0; i < tokens.count; i++) {
    unsigned byte;
    char s[256];
    size_t n_s = 0;
    for (size_t k = 0; k < tokens.len[i];) {
      bool space = strncmp(tokens.text[i] + k, "\xE2\x96\x81", 3) == 0;
      s[n_s++] = space ? ' ' : tokens.text[i][k];
      k += space ? 3 : 1;
    }
    s[n_s] = 0;
    if (strlen(s) == 6 && sscanf(s, "<0x%2X>", &byte) == 1) {
      run[held++] = (char)byte;
      continue;
    }
    flush_run(&bytes, run, &held);
    add(&bytes, s, strlen(s));
  }
  flush_run(&bytes, run, &held);
  char *all = joined(&bytes, len);
  if (*len && all[0] == ' ') memmove(all, all + 1, (*len)--);
  drop(&tokens);
  drop(&bytes);
  return all;
}

// All bytes, then the text they are.
static char *decode_bytes(const struct tokenizer *t, const int32_t *ids, int n, bool skip, size_t *len) {
  struct err e;
  struct list tokens = {.count = 0};
  struct buffer raw = {0}, text = {0};
  tokens_of(t, ids, n, skip, &tokens);
  for (int i = 0; i < tokens.count; i++) {
    char bytes[256];
    size_t count = 0;
    bool ok = true;
    for (size_t k = 0; k < tokens.len[i] && ok;) {
      uint32_t cp = 0;
      k += (size_t)utf8_decode(tokens.text[i] + k, tokens.len[i] - k, &cp);
      int byte = -1, extra = 0;
      // GPT-2's table: printable bytes are themselves, the others count on from 256.
      for (int b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        uint32_t at = printable ? (uint32_t)b : 256u + (uint32_t)extra++;
        if (at == cp) byte = b;
      }
      ok = byte >= 0;
      bytes[count++] = (char)byte;
    }
    assert_ok(ok ? buffer_append(&raw, bytes, count, &e) : buffer_append(&raw, tokens.text[i], tokens.len[i], &e));
  }
  assert_ok(buffer_append_lossy(&text, raw.data, raw.len, &e) && buffer_append(&text, "", 1, &e));
  char *all = malloc(text.len);
  memcpy(all, text.data, text.len);
  *len = text.len - 1;
  buffer_free(&raw);
  buffer_free(&text);
  drop(&tokens);
  return all;
}

static int random_ids(const struct tokenizer *t, uint64_t *seed, int32_t *ids) {
  int n = (int)(test_random(seed) % 40), size = tokenizer_vocab_size(t);
  for (int i = 0; i < n; i++) {
    bool low = test_random(seed) % 2;
    ids[i] = (int32_t)(test_random(seed) % (uint64_t)(low ? 262 : size + 4)); // bytes and special tokens come first
  }
  return n;
}

static void check_random(const char *path,
                         char *(*plain)(const struct tokenizer *, const int32_t *, int, bool, size_t *)) {
  struct err e;
  uint64_t seed = test_seed();
  struct tokenizer *t;
  assert_ok(t = tokenizer_open(path, &e));
  for (int round = 0; round < 3000; round++) {
    int32_t ids[40];
    int n = random_ids(t, &seed, ids);
    bool skip = round % 2;
    size_t want_len, got_len;
    char *want = plain(t, ids, n, skip, &want_len), *got = decode_all(t, ids, (size_t)n, skip, &got_len);
    if (want_len != got_len || memcmp(want, got, want_len) != 0) fail_msg("round %d: '%s', not '%s'", round, got, want);
    free(want);
    free(got);
  }
  tokenizer_close(t);
}

static void spm(void **state) { (void)state, check_random(NANO, decode_spm); }
static void byte_level(void **state) { (void)state, check_random(BYTE_LEVEL, decode_bytes); }

// What is out so far is always whole characters.
static void whole_characters(void **state) {
  (void)state;
  static const char *const paths[] = {NANO, BYTE_LEVEL};
  struct err e;
  uint64_t seed = test_seed();
  for (int i = 0; i < 2; i++) {
    struct tokenizer *t;
    assert_ok(t = tokenizer_open(paths[i], &e));
    for (int round = 0; round < 500; round++) {
      int32_t ids[40];
      int n = random_ids(t, &seed, ids);
      struct decoder *d = decoder_open(t, false, &e);
      for (int k = 0; k <= n; k++) {
        size_t len;
        const char *s;
        assert_ok(s = k < n ? decoder_push(d, ids[k], &len, &e) : decoder_finish(d, &len, &e));
        assert_int_equal(utf8_valid(s, len), len);
      }
      decoder_close(d);
    }
    tokenizer_close(t);
  }
}

static void streams_early(void **state) {
  (void)state;
  struct err e;
  struct ids ids = {0};
  struct tokenizer *t;
  size_t len;
  const char *s;
  assert_ok(t = tokenizer_open(NANO, &e));
  assert_ok(tokenizer_encode(t, "The capital of France is Paris", 30, false, &ids, &e));
  struct decoder *d = decoder_open(t, true, &e);
  for (int64_t i = 0; i < ids.count; i++) {
    assert_ok(s = decoder_push(d, ids.data[i], &len, &e));
    assert_true(len > 0); // every ordinary token gives its text at once
  }
  assert_ok(s = decoder_finish(d, &len, &e));
  assert_int_equal(len, 0);
  assert_ok(s = decoder_finish(d, &len, &e)); // again: nothing
  assert_int_equal(len, 0);
  assert_fails(decoder_push(d, ids.data[0], &len, &e), "finished");
  decoder_close(d);
  decoder_close(NULL);
  d = decoder_open(t, true, &e);
  assert_fails(decoder_push(d, -1, &len, &e), "negative");
  assert_ok(s = decoder_push(d, 1 << 30, &len, &e)); // padding of the embedding: no text
  assert_int_equal(len, 0);
  decoder_close(d);
  ids_free(&ids);
  tokenizer_close(t);
}

static void token_text(void **state) {
  (void)state;
  struct err e;
  struct tokenizer *t;
  size_t len;
  char *s;
  assert_ok(t = tokenizer_open(NANO, &e));
  assert_ok(s = tokenizer_token_text(t, tokenizer_find(t, "\xE2\x96\x81the"), &len, &e));
  assert_string_equal(s, " the");
  mem_free(s);
  assert_ok(s = tokenizer_token_text(t, tokenizer_find(t, "<0xE2>"), &len, &e));
  assert_int_equal(len, 1);
  assert_int_equal((uint8_t)s[0], 0xE2);
  mem_free(s);
  assert_fails(tokenizer_token_text(t, 1 << 20, &len, &e), "has no piece");
  tokenizer_close(t);
  assert_ok(t = tokenizer_open(BYTE_LEVEL, &e));
  assert_ok(s = tokenizer_token_text(t, tokenizer_find(t, "\xC4\xA0the"), &len, &e));
  assert_string_equal(s, " the");
  mem_free(s);
  assert_ok(s = tokenizer_token_text(t, tokenizer_find(t, "<|im_end|>"), &len, &e));
  assert_string_equal(s, "<|im_end|>");
  mem_free(s);
  tokenizer_close(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(spm), cmocka_unit_test(byte_level),
                                     cmocka_unit_test(whole_characters), cmocka_unit_test(streams_early),
                                     cmocka_unit_test(token_text)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

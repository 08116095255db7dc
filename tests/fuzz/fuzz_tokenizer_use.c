#include "runtime/base/mem.h"
#include "runtime/model/utf8.h"
#include "tests/fuzz/fuzz_tokenizer.h"
#include <string.h>

char *fuzz_round_trip(const struct tokenizer *t, const char *text, size_t size, bool special, size_t *len) {
  struct ids ids = {0};
  struct buffer out = {0};
  struct err e = {0};
  size_t n;
  if (!tokenizer_encode(t, text, size, special, &ids, &e)) {
    fuzz_check(e.text[0] && ids.count == 0);
    ids_free(&ids);
    return NULL;
  }
  struct decoder *d = decoder_open(t, false, &e);
  fuzz_check(d);
  const char *s = NULL;
  for (int64_t i = 0; i < ids.count; i++) {
    fuzz_check(ids.data[i] >= 0 && ids.data[i] < tokenizer_vocab_size(t) && tokenizer_piece(t, ids.data[i], NULL));
    if (!(s = decoder_push(d, ids.data[i], &n, &e))) break; // a step may refuse: its text would grow without bound
    fuzz_check(buffer_append(&out, s, n, &e));
  }
  if (s || !ids.count) s = decoder_finish(d, &n, &e);
  bool whole = s && buffer_append(&out, s, n, &e);
  decoder_close(d);
  ids_free(&ids);
  if (!whole) {
    fuzz_check(e.text[0]);
    buffer_free(&out);
    return NULL;
  }
  fuzz_check(utf8_valid(out.data ? out.data : "", out.len) == out.len);
  fuzz_check(buffer_append(&out, "", 1, &e));
  *len = out.len - 1;
  return out.data;
}

static void use(const struct tokenizer *t, const char *text, size_t size) {
  size_t n;
  for (int special = 0; special < 2; special++) mem_free(fuzz_round_trip(t, text, size, special, &n));
}

void fuzz_tokenizer(const char *path, struct fuzz_part text) {
  static const char ours[] = "Ab  12 <|end|>\n \xE2\x96\x81\xC3\xA9 aaaaaaaaaaaaaaaa\xFF";
  static const struct chat_message chat[] = {{"system", "s"}, {"user", "u"}};
  struct err e = {0};
  size_t n;
  struct tokenizer *t = tokenizer_open(path, &e);
  if (!t) {
    fuzz_check_error(e.text, path);
    return;
  }
  use(t, ours, sizeof ours - 1);
  use(t, text.size ? (const char *)text.data : "", text.size);
  char *rendered = tokenizer_chat_render(t, chat, 2, &e);
  fuzz_check(rendered ? tokenizer_chat_format(t) != CHAT_NONE : tokenizer_chat_format(t) == CHAT_NONE);
  mem_free(rendered);
  for (int32_t id = 0; id < tokenizer_vocab_size(t) && id < 64; id++) {
    char *s = tokenizer_token_text(t, id, &n, &e);
    fuzz_check(s || e.text[0]);
    mem_free(s);
  }
  tokenizer_close(t);
}

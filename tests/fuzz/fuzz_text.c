// Any bytes through two real tokenizers, of either kind; the same bytes as ids to be decoded.
#include "runtime/base/mem.h"
#include "runtime/model/utf8.h"
#include "tests/fuzz/fuzz_tokenizer.h"
#include <stdio.h>
#include <string.h>

static struct tokenizer *spm, *byte_level;

static struct tokenizer *open_or_exit(const char *path) {
  struct err e;
  struct tokenizer *t = tokenizer_open(path, &e);
  if (!t) {
    fprintf(stderr, "%s\n", e.text);
    exit(1);
  }
  return t;
}

static void close_all(void) {
  tokenizer_close(spm);
  tokenizer_close(byte_level);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  spm = open_or_exit("runtime/model/nano");
  byte_level = open_or_exit("tests/goldens/tokenizer/smollm");
  atexit(close_all);
  return 0;
}

static void decode(const struct tokenizer *t, const uint8_t *data, size_t size) {
  struct err e;
  size_t n;
  struct decoder *d = decoder_open(t, size & 1, &e);
  fuzz_check(d);
  for (size_t i = 0; i + 1 < size; i += 2) {
    const char *s = decoder_push(d, data[i] | data[i + 1] << 8, &n, &e);
    fuzz_check(s && utf8_valid(s, n) == n);
  }
  fuzz_check(decoder_finish(d, &n, &e));
  decoder_close(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *text = size ? (const char *)data : "";
  size_t n;
  bool valid = utf8_valid(text, size) == size;
  char *s = fuzz_round_trip(byte_level, text, size, false, &n);
  fuzz_check(s);
  // Byte-level pieces lose nothing.
  if (valid) fuzz_check(n == size && memcmp(s, text, n) == 0);
  mem_free(s);
  s = fuzz_round_trip(spm, text, size, false, &n);
  fuzz_check(s);
  // SentencePiece's lose only what an added token swallows, and the difference between a space and U+2581.
  if (valid && !memmem(text, size, "<", 1) && !memmem(text, size, "\xE2\x96\x81", 3)) fuzz_check(n == size && memcmp(s, text, n) == 0);
  mem_free(s);
  decode(byte_level, data, size);
  decode(spm, data, size);
  return 0;
}

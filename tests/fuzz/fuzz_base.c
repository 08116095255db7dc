// A base file of phi3 perplexity; its checksum is put right, else nothing behind it would be reached. One that opens is compared with, and gives numbers.
#include "driver/perplexity.h"
#include "tests/fuzz/fuzz.h"
#include <math.h>
#include <string.h>

enum { CHECKSUM = 8, MOST_VOCAB = 4096 };

static uint64_t checksum(const uint8_t *p, size_t n) {
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
  return h;
}

static void use(const struct base_reader *r) {
  int64_t vocab = r->head.vocab;
  for (int64_t i = 0; i < r->head.tokens; i++) (void)base_id(r, i);
  for (int64_t row = 0; vocab <= MOST_VOCAB && row < r->head.rows; row++) {
    struct score s = {0};
    float *logits = malloc((size_t)vocab * sizeof *logits);
    fuzz_check(logits);
    for (int64_t i = 0; i < vocab; i++) logits[i] = (float)(i % 7) - 3;
    base_compare(r, row, logits, vocab, &s);
    fuzz_check(isfinite(s.divergence) && isfinite(s.bound) && s.bound > -1e-5);
    free(logits);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t *all = malloc(size + CHECKSUM);
  uint64_t sum = checksum(data, size);
  struct base_reader r;
  struct err e = {0};
  fuzz_check(all);
  if (size) memcpy(all, data, size);
  memcpy(all + size, &sum, CHECKSUM);
  const struct memory_file file = {"a.base", all, size + CHECKSUM};
  memory_files(&file, 1);
  if (base_open(&r, "a.base", &e)) use(&r);
  else fuzz_check_error(e.text, "a.base");
  base_close(&r);
  free(all);
  return 0;
}

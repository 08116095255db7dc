#include "tests/fuzz/fuzz.h"
#include <string.h>

void fuzz_check_error(const char *text, const char *begins) {
  fuzz_check(text[0] && strncmp(text, begins, strlen(begins)) == 0);
  for (; *text; text++) fuzz_check((unsigned char)*text >= 0x20 && *text != 0x7f);
}

struct fuzz_part fuzz_take(const uint8_t **data, size_t *size) {
  const uint8_t *end = *size ? memchr(*data, 0, *size) : NULL;
  struct fuzz_part p = {*data, end ? (size_t)(end - *data) : *size};
  size_t used = p.size + (end != NULL);
  *data += used;
  *size -= used;
  return p;
}

#include "runtime/model/name.h"
#include "runtime/model/utf8.h"
#include <string.h>

// Bytes of the character at s; 0 for what is not UTF-8 and for control characters.
static int shown_length(const char *s, uint64_t left) {
  uint32_t cp;
  int n = utf8_decode(s, left, &cp);
  bool control = n > 0 && (cp < 0x20 || (cp >= 0x7f && cp < 0xa0));
  return n > 0 && !control ? n : 0;
}

bool name_is_valid(const char *s, uint64_t len) {
  if (len == 0 || len > NAME_MAX_BYTES) return false;
  for (uint64_t i = 0; i < len;) {
    int n = shown_length(s + i, len - i);
    if (n == 0) return false;
    i += (uint64_t)n;
  }
  return true;
}

void name_copy(char *dst, size_t size, const char *src, uint64_t len) {
  size_t used = 0;
  for (uint64_t i = 0; i < len;) {
    int n = shown_length(src + i, len - i);
    size_t bytes = n ? (size_t)n : 1;
    if (used + bytes >= size) break;
    memcpy(dst + used, n ? src + i : "?", bytes);
    used += bytes;
    i += bytes;
  }
  dst[used] = 0;
}

struct shown name_show(const char *s) {
  struct shown t;
  name_copy(t.text, sizeof t.text, s, strlen(s));
  return t;
}

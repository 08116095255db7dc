#include "runtime/model/name.h"
#include <string.h>

// Length of the well-formed sequence at s, 0 if there is none: RFC 3629, section 4.
static int sequence_length(const uint8_t *s, uint64_t left) {
  if (s[0] < 0x80) return 1;
  int n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
  if (n == 0 || left < (uint64_t)n) return 0;
  for (int i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  // overlong forms, surrogates, and what lies above U+10FFFF
  if (s[0] == 0xe0 && s[1] < 0xa0) return 0;
  if (s[0] == 0xed && s[1] >= 0xa0) return 0;
  if (s[0] == 0xf0 && s[1] < 0x90) return 0;
  if (s[0] == 0xf4 && s[1] >= 0x90) return 0;
  return n;
}

bool name_is_valid(const char *s, uint64_t len) {
  if (len == 0 || len > NAME_MAX_BYTES) return false;
  const uint8_t *p = (const uint8_t *)s;
  for (uint64_t i = 0; i < len;) {
    int n = sequence_length(p + i, len - i);
    if (n == 0 || p[i] < 0x20 || p[i] == 0x7f) return false;
    i += (uint64_t)n;
  }
  return true;
}

void name_copy(char *dst, size_t size, const char *src, uint64_t len) {
  const uint8_t *p = (const uint8_t *)src;
  size_t used = 0;
  for (uint64_t i = 0; i < len;) {
    int n = sequence_length(p + i, len - i);
    bool good = n > 0 && p[i] >= 0x20 && p[i] != 0x7f;
    size_t bytes = good ? (size_t)n : 1;
    if (used + bytes >= size) break;
    memcpy(dst + used, good ? src + i : "?", bytes);
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

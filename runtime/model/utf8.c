#include "runtime/model/utf8.h"
#include "runtime/base/mem.h"
#include <string.h>

// Bounds of the second byte, which keep out overlong forms, surrogates and what lies above U+10FFFF.
static void second_byte(uint8_t lead, uint8_t *lo, uint8_t *hi) {
  *lo = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  *hi = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
}

// 0 for what can start no character.
static int sequence_length(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;
  return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
}

int utf8_length(char lead) { return sequence_length((uint8_t)lead); }

// Bytes from s that agree with a character of `n` bytes: n when it is whole.
static int agreeing(const char *s, size_t len, int n) {
  uint8_t lo, hi;
  second_byte((uint8_t)s[0], &lo, &hi);
  int i = 1;
  for (; i < n && (size_t)i < len; i++) {
    uint8_t b = (uint8_t)s[i];
    if (i == 1 ? b < lo || b > hi : (b & 0xC0) != 0x80) break;
  }
  return i;
}

int utf8_decode(const char *s, size_t len, uint32_t *cp) {
  uint8_t lead = (uint8_t)s[0];
  if (lead < 0x80) return *cp = lead, 1;
  int n = sequence_length(lead);
  if (!n) return -1;
  int have = agreeing(s, len, n);
  if (have < n) return -have;
  uint32_t c = lead & (0x7Fu >> n);
  for (int i = 1; i < n; i++) c = c << 6 | ((uint8_t)s[i] & 0x3F);
  return *cp = c, n;
}

bool utf8_is_partial(const char *s, size_t len) {
  if (!len) return false;
  int n = sequence_length((uint8_t)s[0]);
  return n > 1 && len < (size_t)n && (size_t)agreeing(s, len, n) == len;
}

size_t utf8_valid(const char *s, size_t len) {
  size_t i = 0;
  while (i < len) {
    uint64_t eight;
    if (len - i >= sizeof eight && (memcpy(&eight, s + i, sizeof eight), !(eight & 0x8080808080808080u))) {
      i += sizeof eight;
      continue;
    }
    uint32_t cp;
    int n = utf8_decode(s + i, len - i, &cp);
    if (n < 0) break;
    i += (size_t)n;
  }
  return i;
}

int utf8_encode(uint32_t cp, char out[UTF8_MAX]) {
  if (cp < 0x80) return out[0] = (char)cp, 1;
  int n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
  for (int i = n - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3F));
  out[0] = (char)((0xF00u >> n & 0xFF) | cp);
  return n;
}

bool unicode_is_space(uint32_t cp) {
  return (cp >= 9 && cp <= 13) || cp == 0x20 || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
         (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool buffer_reserve(struct buffer *b, size_t more, struct err *e) {
  size_t need;
  if (__builtin_add_overflow(b->len, more, &need) || __builtin_add_overflow(need, 1, &need) || need > SIZE_MAX / 2)
    return err_no_memory(e, SIZE_MAX, "text");
  if (need <= b->capacity) return true;
  size_t capacity = need < 128 ? 128 : need > 2 * b->capacity ? need : 2 * b->capacity;
  char *data = mem_grow(b->data, b->len, capacity, 1, "text", e);
  if (!data) return false;
  b->data = data;
  b->capacity = capacity;
  return true;
}

bool buffer_append(struct buffer *b, const char *s, size_t len, struct err *e) {
  if (!buffer_reserve(b, len, e)) return false;
  if (len) memcpy(b->data + b->len, s, len);
  b->len += len;
  return true;
}

bool buffer_append_lossy(struct buffer *b, const char *s, size_t len, struct err *e) {
  while (len) {
    size_t good = utf8_valid(s, len);
    if (!buffer_append(b, s, good, e)) return false;
    if (good == len) break;
    uint32_t cp;
    size_t broken = (size_t)-utf8_decode(s + good, len - good, &cp);
    if (!buffer_append(b, REPLACEMENT, REPLACEMENT_LEN, e)) return false;
    s += good + broken;
    len -= good + broken;
  }
  return true;
}

void buffer_free(struct buffer *b) {
  mem_free(b->data);
  *b = (struct buffer){0};
}

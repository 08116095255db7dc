// UTF-8, and text buffers that grow.
#pragma once
#include "runtime/base/err.h"
#include <stddef.h>
#include <stdint.h>

enum { UTF8_MAX = 4, REPLACEMENT_LEN = 3 };
#define REPLACEMENT "\xEF\xBF\xBD" // U+FFFD

// Reads the character at s[0]; `len` > 0 bytes are there. Returns its bytes, 1 to 4, and the code point in `cp`. For
// bytes that are no character: minus the length of the maximal broken sequence (what one U+FFFD stands for), 1 to 3.
int utf8_decode(const char *s, size_t len, uint32_t *cp);
// True when s[0, len) is a beginning of a character that more bytes could complete.
bool utf8_is_partial(const char *s, size_t len);
// Bytes of s[0, len) before the first that is not UTF-8; `len` when all is well.
size_t utf8_valid(const char *s, size_t len);
// Writes a code point that is no surrogate; returns its bytes.
int utf8_encode(uint32_t cp, char out[UTF8_MAX]);
// Bytes of the character that starts with `lead`, in valid UTF-8.
int utf8_length(char lead);
// Unicode's White_Space.
bool unicode_is_space(uint32_t cp);

// A string that is built piece by piece; always room for data[len].
struct buffer {
  char *data;
  size_t len, capacity;
};

bool buffer_reserve(struct buffer *b, size_t more, struct err *e);
bool buffer_append(struct buffer *b, const char *s, size_t len, struct err *e);
// Appends s with each broken sequence as U+FFFD.
bool buffer_append_lossy(struct buffer *b, const char *s, size_t len, struct err *e);
void buffer_free(struct buffer *b);

// Names of tensors and metadata keys, as files give them: what may be printed in an error and compared with ours.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NAME_MAX_BYTES = 1024 }; // far above any real tensor's name

// UTF-8 (RFC 3629), not empty, at most NAME_MAX_BYTES, no control characters: so no NUL and no terminal escapes either.
bool name_is_valid(const char *s, uint64_t len);

// For text that is shown to people: dst gets at most size - 1 bytes of src, cut between characters and NUL-terminated;
// control characters and bytes that are not UTF-8 become '?'.
void name_copy(char *dst, size_t size, const char *src, uint64_t len);
// The same for a short string in an error's text.
struct shown {
  char text[128];
};
struct shown name_show(const char *s);

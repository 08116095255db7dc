// Names of tensors and metadata keys, as files give them: what may be printed in an error and compared with ours.
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum { NAME_MAX_BYTES = 1024 }; // far above any real tensor's name

// UTF-8 (RFC 3629), not empty, at most NAME_MAX_BYTES, no control characters: so no NUL and no terminal escapes either.
bool name_is_valid(const char *s, uint64_t len);

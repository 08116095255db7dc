// A tokenizer is opened, and when that succeeds it encodes and decodes.
#pragma once
#include "runtime/model/tokenizer.h"
#include "tests/fuzz/fuzz.h"

// With texts of ours, and `text`.
void fuzz_tokenizer(const char *path, struct fuzz_part text);
// Encodes, then decodes id by id; the pieces together are what all at once gives. The text, to be freed with mem_free; NULL where the
// tokenizer has no id for a character.
char *fuzz_round_trip(const struct tokenizer *t, const char *text, size_t size, bool special, size_t *len);

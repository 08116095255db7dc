// Tokenizer files for tests: a small one of each kind, and what opens them.
#pragma once
#include "runtime/model/tokenizer.h"
#include "tests/model/make_files.h"

#define NANO       "runtime/model/nano"
#define BYTE_LEVEL "tests/goldens/tokenizer/smollm"

// A tokenizer.json with this text, opened.
struct tokenizer *open_text(const char *json, struct err *e);
// The same with `config` as tokenizer_config.json.
struct tokenizer *open_texts(const char *json, const char *config, struct err *e);
// All of the text that `ids` give, to be freed with free().
char *decode_all(const struct tokenizer *t, const int32_t *ids, size_t count, bool skip_special, size_t *len);
// The ids of a text, compared with what they should be.
void assert_ids(const struct tokenizer *t, const char *text, size_t len, bool special, const int32_t *ids,
                size_t count);

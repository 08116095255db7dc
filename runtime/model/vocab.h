// Pieces by id and ids by piece. Pieces are byte strings (valid UTF-8, NUL is an ordinary byte).
#pragma once
#include "runtime/model/utf8.h"

enum { VOCAB_MAX_ID = (1 << 22) - 1 }; // far above any vocabulary, far below what would eat the memory

struct vocab_piece {
  size_t start; // in text.data
  uint32_t len;
  bool used;  // false: a hole
  bool added; // only an added token: merging does not know it
};

struct vocab {
  struct buffer text;         // the pieces, each followed by a NUL
  struct vocab_piece *pieces; // by id
  int32_t size, capacity;     // the highest id + 1
  int32_t *slots;             // hash table: id + 1, 0 for free
  uint32_t num_slots;         // a power of two
  int32_t count;              // pieces in use
};

// Adds a piece; an error when the id is out of range or taken, or the piece is there already.
bool vocab_add(struct vocab *v, int64_t id, const char *piece, size_t len, struct err *e);
// Makes room for `size` ids, the new ones holes.
bool vocab_extend(struct vocab *v, int32_t size, struct err *e);
// -1: none.
int32_t vocab_find(const struct vocab *v, const char *piece, size_t len);
// NULL: none.
const char *vocab_get(const struct vocab *v, int32_t id, size_t *len);
void vocab_free(struct vocab *v);

// Byte pair encoding of one word: its characters' ids, merged pair by pair in the order of the merges' ranks, leftmost
// first.
#pragma once
#include "runtime/model/tokenizer.h"
#include "runtime/model/vocab.h"

struct bpe_merge {
  uint64_t pair; // left id and right id in the halves, plus 1; 0 is a free slot
  int32_t rank;
  int32_t id; // of the merged piece
};

enum { CHAR_PAGES = 0x110000 >> 8 };
enum { BPE_UNK_NONE = -1, BPE_UNK_MISSING = -2 };

struct bpe {
  struct bpe_merge *merges; // hash table
  uint32_t num_slots;       // a power of two
  int32_t num_merges;       // distinct pairs
  int32_t *merged;          // by rank: the merged piece's id
  int32_t num_ranks, max_ranks;
  int32_t *pages[CHAR_PAGES]; // by code point: the id of that single character + 1, 0 for none
  uint64_t *neighbours;       // hash set: two code points + 1 that stand side by side in some piece; 0 is a free slot
  uint32_t num_neighbour_slots, num_neighbours;
  int32_t byte_ids[256]; // of "<0xNN>", -1 for none
  const struct vocab *vocab;
  int32_t unk; // or BPE_UNK_NONE: unknown characters are dropped; or BPE_UNK_MISSING: they are an error
  bool fuse_unk, byte_fallback, ignore_merges;
};

// `vocab` must be complete and stay; room for `max_ranks` merges.
bool bpe_init(struct bpe *b, const struct vocab *vocab, int32_t max_ranks, struct err *e);
void bpe_free(struct bpe *b);
// The next rank: left and right give `id`. A pair given again takes the later rank.
bool bpe_add_merge(struct bpe *b, int32_t left, int32_t right, int32_t id, struct err *e);

struct bpe_symbol {
  int32_t id, prev, next; // id -1: merged into its left neighbour; prev, next -1: none that it could merge with
};

// Scratch of one encoder.
struct bpe_work {
  struct bpe_symbol *symbols;
  int64_t count, capacity;
  uint64_t *heap; // rank and position in the halves; the smallest first
  int64_t heap_count, heap_capacity;
};

// Appends the ids of a word, valid UTF-8. Time O(n log n).
bool bpe_encode(const struct bpe *b, struct bpe_work *w, const char *word, size_t len, struct ids *out, struct err *e);
void bpe_work_free(struct bpe_work *w);

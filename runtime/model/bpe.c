#include "runtime/model/bpe.h"
#include "runtime/base/mem.h"
#include <stdio.h>
#include <string.h>

enum { NO_CHARACTER = 0x110000, FIRST_SYMBOLS = 256, FIRST_NEIGHBOURS = 4096, BYTE_PIECE = 6 };
enum { HEAP_WAYS = 4 }; // children that share a cache line: a long word's heap is larger than the cache

static uint64_t pair_of(uint32_t left, uint32_t right) { return ((uint64_t)left << 32 | right) + 1; }

// The golden ratio spreads neighbouring numbers.
static uint32_t hash_of(uint64_t pair) { return (uint32_t)(pair * 0x9E3779B97F4A7C15u >> 32); }

static struct bpe_merge *find_merge(const struct bpe *b, int32_t left, int32_t right) {
  uint64_t pair = pair_of((uint32_t)left, (uint32_t)right);
  for (uint32_t i = hash_of(pair);; i++) {
    struct bpe_merge *m = &b->merges[i & (b->num_slots - 1)];
    if (!m->pair || m->pair == pair) return m;
  }
}

static uint64_t *find_neighbours(const struct bpe *b, uint64_t pair) {
  for (uint32_t i = hash_of(pair);; i++) {
    uint64_t *slot = &b->neighbours[i & (b->num_neighbour_slots - 1)];
    if (!*slot || *slot == pair) return slot;
  }
}

static bool grow_neighbours(struct bpe *b, struct err *e) {
  struct bpe old = *b;
  uint32_t n = old.num_neighbour_slots ? 2 * old.num_neighbour_slots : FIRST_NEIGHBOURS;
  uint64_t *slots = mem_alloc(n, sizeof *slots, "the vocabulary", e);
  if (!slots) return false;
  b->neighbours = slots;
  b->num_neighbour_slots = n;
  for (uint32_t i = 0; i < old.num_neighbour_slots; i++)
    if (old.neighbours[i]) *find_neighbours(b, old.neighbours[i]) = old.neighbours[i];
  mem_free(old.neighbours);
  return true;
}

// Notes which characters are neighbours in a piece.
static bool add_neighbours(struct bpe *b, const char *piece, size_t len, struct err *e) {
  uint32_t last = 0, cp = 0;
  for (size_t i = 0, n; i < len; i += n, last = cp) {
    n = (size_t)utf8_decode(piece + i, len - i, &cp); // pieces are valid UTF-8
    if (!i) continue;
    if (b->num_neighbours >= b->num_neighbour_slots / 2 && !grow_neighbours(b, e)) return false;
    uint64_t *slot = find_neighbours(b, pair_of(last, cp));
    b->num_neighbours += !*slot;
    *slot = pair_of(last, cp);
  }
  return true;
}

static bool add_character(struct bpe *b, uint32_t cp, int32_t id, struct err *e) {
  int32_t **page = &b->pages[cp >> 8];
  if (!*page && !(*page = mem_alloc(256, sizeof **page, "the vocabulary", e))) return false;
  (*page)[cp & 255] = id + 1;
  return true;
}

bool bpe_init(struct bpe *b, const struct vocab *vocab, int32_t max_ranks, struct err *e) {
  *b = (struct bpe){.vocab = vocab, .unk = BPE_UNK_NONE, .num_slots = 64, .max_ranks = max_ranks};
  while (b->num_slots / 2 <= (uint32_t)max_ranks) b->num_slots *= 2;
  b->merges = mem_alloc(b->num_slots, sizeof *b->merges, "the merges", e);
  b->merged = b->merges ? mem_alloc((size_t)max_ranks, sizeof *b->merged, "the merges", e) : NULL;
  bool ok = b->merged && grow_neighbours(b, e);
  for (int32_t id = 0; ok && id < vocab->size; id++) {
    size_t len;
    uint32_t cp;
    const char *piece = vocab_get(vocab, id, &len);
    if (!piece || !len) continue;
    ok = utf8_decode(piece, len, &cp) == (int)len ? add_character(b, cp, id, e) : add_neighbours(b, piece, len, e);
  }
  for (int i = 0; i < 256; i++) {
    char piece[BYTE_PIECE + 1];
    snprintf(piece, sizeof piece, "<0x%02X>", (unsigned)i);
    b->byte_ids[i] = vocab_find(vocab, piece, BYTE_PIECE);
  }
  return ok;
}

void bpe_free(struct bpe *b) {
  for (int i = 0; i < CHAR_PAGES; i++) mem_free(b->pages[i]);
  mem_free(b->merges);
  mem_free(b->merged);
  mem_free(b->neighbours);
  *b = (struct bpe){0};
}

bool bpe_add_merge(struct bpe *b, int32_t left, int32_t right, int32_t id, struct err *e) {
  if (b->num_ranks == b->max_ranks) return err_set(e, "there are more merges than the %d announced", b->max_ranks);
  struct bpe_merge *m = find_merge(b, left, right);
  b->num_merges += !m->pair;
  *m = (struct bpe_merge){pair_of((uint32_t)left, (uint32_t)right), b->num_ranks, id};
  b->merged[b->num_ranks++] = id;
  return true;
}

void bpe_work_free(struct bpe_work *w) {
  mem_free(w->symbols);
  mem_free(w->heap);
  *w = (struct bpe_work){0};
}

static bool push_symbol(struct bpe_work *w, int32_t id, struct err *e) {
  if (w->count == w->capacity) {
    if (w->count > INT32_MAX / 2)
      return err_set(e, "the text is too long: more than %d characters; split it", INT32_MAX / 2);
    int64_t capacity = w->capacity ? 2 * w->capacity : FIRST_SYMBOLS;
    struct bpe_symbol *s = mem_grow(w->symbols, (size_t)w->count, (size_t)capacity, sizeof *s, "the text's symbols", e);
    if (!s) return false;
    w->symbols = s;
    w->capacity = capacity;
  }
  w->symbols[w->count] = (struct bpe_symbol){id, (int32_t)w->count - 1, (int32_t)w->count + 1};
  w->count++;
  return true;
}

static bool push_heap(struct bpe_work *w, uint64_t key, struct err *e) {
  if (w->heap_count == w->heap_capacity) {
    int64_t capacity = w->heap_capacity ? 2 * w->heap_capacity : FIRST_SYMBOLS;
    uint64_t *heap = mem_grow(w->heap, (size_t)w->heap_count, (size_t)capacity, sizeof *heap, "the text's merges", e);
    if (!heap) return false;
    w->heap = heap;
    w->heap_capacity = capacity;
  }
  int64_t i = w->heap_count++;
  for (int64_t up; i > 0 && w->heap[up = (i - 1) / HEAP_WAYS] > key; i = up) w->heap[i] = w->heap[up];
  w->heap[i] = key;
  return true;
}

static uint64_t pop_heap(struct bpe_work *w) {
  uint64_t *heap = w->heap, top = heap[0], last = heap[--w->heap_count];
  int64_t i = 0, n = w->heap_count;
  for (int64_t child; (child = HEAP_WAYS * i + 1) < n; i = child) {
    int64_t end = child + HEAP_WAYS < n ? child + HEAP_WAYS : n;
    for (int64_t c = child + 1; c < end; c++)
      if (heap[c] < heap[child]) child = c;
    if (heap[child] >= last) break;
    heap[i] = heap[child];
  }
  if (n) heap[i] = last;
  return top;
}

// The bytes of a character without a piece, when every one of them has its own.
static bool has_bytes(const struct bpe *b, const char *s, int n) {
  for (int i = 0; i < n; i++)
    if (b->byte_ids[(uint8_t)s[i]] < 0) return false;
  return b->byte_fallback;
}

// Takes the last symbol off what stands before it when no piece could hold both characters: what comes after is merged
// by itself.
static void part(const struct bpe *b, struct bpe_work *w, uint32_t last, uint32_t cp) {
  if (*find_neighbours(b, pair_of(last, cp))) return;
  w->symbols[w->count - 1].prev = -1;
  w->symbols[w->count - 2].next = -1;
}

// The word's characters. A run of unknown ones becomes one <unk> each or, fused, one for all; as in Hugging Face's
// engine, an <unk> in waiting comes out at the next known character, behind bytes that stand between.
static bool split_word(const struct bpe *b, struct bpe_work *w, const char *s, size_t len, struct err *e) {
  bool waiting = false, ok = true;
  uint32_t last = NO_CHARACTER, cp = 0;
  w->count = w->heap_count = 0;
  for (size_t i = 0; ok && i < len;) {
    int n = utf8_decode(s + i, len - i, &cp);
    if (n < 0) return err_set(e, "the text has a broken character at byte %zu", i); // callers repair the text first
    const int32_t *page = b->pages[cp >> 8];
    int32_t id = page ? page[cp & 255] - 1 : -1;
    if (id >= 0) {
      ok = (!waiting || push_symbol(w, b->unk, e)) && push_symbol(w, id, e);
      if (ok && last != NO_CHARACTER) part(b, w, last, cp);
      waiting = false;
    } else if (has_bytes(b, s + i, n)) {
      for (int k = 0; ok && k < n; k++) ok = push_symbol(w, b->byte_ids[(uint8_t)s[i + (size_t)k]], e);
    } else if (b->unk == BPE_UNK_MISSING) {
      return err_set(e, "character U+%04X has no piece, and the vocabulary lacks the unk_token that would stand for it",
                     (unsigned)cp);
    } else if (b->unk >= 0) {
      ok = !waiting || b->fuse_unk || push_symbol(w, b->unk, e);
      waiting = true;
    }
    last = id >= 0 ? cp : NO_CHARACTER;
    i += (size_t)n;
  }
  if (ok && waiting) ok = push_symbol(w, b->unk, e);
  if (w->count) w->symbols[w->count - 1].next = -1;
  return ok;
}

// Puts the pair that starts at `at` in line, if it can be merged.
static bool offer(const struct bpe *b, struct bpe_work *w, int32_t at, struct err *e) {
  const struct bpe_symbol *left = &w->symbols[at];
  if (left->next < 0) return true;
  const struct bpe_merge *m = find_merge(b, left->id, w->symbols[left->next].id);
  return !m->pair || push_heap(w, (uint64_t)(uint32_t)m->rank << 32 | (uint32_t)at, e);
}

static bool merge_offered(const struct bpe *b, struct bpe_work *w, struct err *e) {
  while (w->heap_count) {
    uint64_t key = pop_heap(w);
    int32_t at = (int32_t)(uint32_t)key, id = b->merged[key >> 32];
    struct bpe_symbol *left = &w->symbols[at];
    if (left->id < 0 || left->next < 0) continue;
    struct bpe_symbol *right = &w->symbols[left->next];
    // An entry is out of date unless the pair that stands there now gives the same piece.
    const struct bpe_merge *m = find_merge(b, left->id, right->id);
    if (!m->pair || m->id != id) continue;
    left->id = id;
    left->next = right->next;
    right->id = -1;
    if (left->next >= 0) w->symbols[left->next].prev = at;
    if (left->prev >= 0 && !offer(b, w, left->prev, e)) return false;
    if (!offer(b, w, at, e)) return false;
  }
  return true;
}

bool bpe_encode(const struct bpe *b, struct bpe_work *w, const char *word, size_t len, struct ids *out, struct err *e) {
  if (b->ignore_merges) {
    int32_t id = vocab_find(b->vocab, word, len);
    if (id >= 0 && !b->vocab->pieces[id].added) return ids_push(out, id, e);
  }
  if (!split_word(b, w, word, len, e)) return false;
  for (int64_t i = 0; i < w->count; i++) {
    if (w->symbols[i].prev < 0 && !merge_offered(b, w, e)) return false; // the parts are small, and so is the heap
    if (!offer(b, w, (int32_t)i, e)) return false;
  }
  if (!merge_offered(b, w, e)) return false;
  for (int64_t i = 0; i < w->count; i++)
    if (w->symbols[i].id >= 0 && !ids_push(out, w->symbols[i].id, e)) return false;
  return true;
}

#include "runtime/model/vocab.h"
#include "runtime/base/mem.h"
#include <string.h>

enum { FIRST_SLOTS = 1024, FIRST_PIECES = 512 };

// FNV-1a with the high half folded in.
static uint32_t hash_of(const char *s, size_t len) {
  uint64_t h = 0xCBF29CE484222325u;
  for (size_t i = 0; i < len; i++) h = (h ^ (uint8_t)s[i]) * 0x100000001B3u;
  return (uint32_t)(h ^ h >> 32);
}

static int32_t *find_slot(const struct vocab *v, const char *s, size_t len) {
  for (uint32_t i = hash_of(s, len);; i++) {
    int32_t *slot = &v->slots[i & (v->num_slots - 1)];
    if (!*slot) return slot;
    const struct vocab_piece *p = &v->pieces[*slot - 1];
    if (p->len == len && memcmp(v->text.data + p->start, s, len) == 0) return slot;
  }
}

// Keeps the table at most half full.
static bool grow_slots(struct vocab *v, struct err *e) {
  if ((uint32_t)v->count + 1 <= v->num_slots / 2) return true;
  uint32_t n = v->num_slots ? 2 * v->num_slots : FIRST_SLOTS;
  int32_t *slots = mem_alloc(n, sizeof *slots, "the vocabulary", e);
  if (!slots) return false;
  mem_free(v->slots);
  v->slots = slots;
  v->num_slots = n;
  for (int32_t id = 0; id < v->size; id++)
    if (v->pieces[id].used) *find_slot(v, v->text.data + v->pieces[id].start, v->pieces[id].len) = id + 1;
  return true;
}

static bool grow_pieces(struct vocab *v, int32_t id, struct err *e) {
  if (id < v->capacity) return true;
  int32_t capacity = v->capacity ? v->capacity : FIRST_PIECES;
  while (capacity <= id) capacity *= 2;
  struct vocab_piece *p = mem_grow(v->pieces, (size_t)v->capacity, (size_t)capacity, sizeof *p, "the vocabulary", e);
  if (!p) return false;
  v->pieces = p;
  v->capacity = capacity;
  return true;
}

// Of a piece, for an error: it may be long, and has no end mark.
static int shown(size_t len) { return len < 64 ? (int)len : 64; }

bool vocab_add(struct vocab *v, int64_t id, const char *piece, size_t len, struct err *e) {
  if (id < 0 || id > VOCAB_MAX_ID)
    return err_set(e, "piece '%.*s' has id %lld; ids go from 0 to %d", shown(len), piece, (long long)id, VOCAB_MAX_ID);
  if (len > INT32_MAX) return err_set(e, "piece %lld is %zu bytes long; pieces are short texts", (long long)id, len);
  if (id < v->size && v->pieces[id].used)
    return err_set(e, "id %lld belongs to two pieces, '%.64s' and '%.*s'", (long long)id,
                   v->text.data + v->pieces[id].start, shown(len), piece);
  if (!grow_slots(v, e) || !grow_pieces(v, (int32_t)id, e)) return false;
  int32_t *slot = find_slot(v, piece, len);
  if (*slot) return err_set(e, "piece '%.*s' has two ids, %d and %lld", shown(len), piece, *slot - 1, (long long)id);
  size_t start = v->text.len;
  if (!buffer_append(&v->text, piece, len, e) || !buffer_append(&v->text, "", 1, e)) return false;
  v->pieces[id] = (struct vocab_piece){.start = start, .len = (uint32_t)len, .used = true};
  *slot = (int32_t)id + 1;
  if (id >= v->size) v->size = (int32_t)id + 1;
  v->count++;
  return true;
}

bool vocab_extend(struct vocab *v, int32_t size, struct err *e) {
  if (size <= v->size) return true;
  if (!grow_pieces(v, size - 1, e)) return false;
  v->size = size;
  return true;
}

int32_t vocab_find(const struct vocab *v, const char *piece, size_t len) {
  return v->num_slots ? *find_slot(v, piece, len) - 1 : -1;
}

const char *vocab_get(const struct vocab *v, int32_t id, size_t *len) {
  if (id < 0 || id >= v->size || !v->pieces[id].used) return NULL;
  if (len) *len = v->pieces[id].len;
  return v->text.data + v->pieces[id].start;
}

void vocab_free(struct vocab *v) {
  buffer_free(&v->text);
  mem_free(v->pieces);
  mem_free(v->slots);
  *v = (struct vocab){0};
}

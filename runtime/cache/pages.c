#include "runtime/cache/pages.h"
#include "runtime/base/mem.h"

bool pages_init(struct pages *p, int32_t num_pages, int32_t page_size, struct err *e) {
  *p = (struct pages){.page_size = page_size, .num_pages = num_pages};
  p->free_list = mem_alloc((size_t)num_pages, sizeof *p->free_list, "the list of free pages", e);
  if (p->free_list) p->refs = mem_alloc((size_t)num_pages, sizeof *p->refs, "the pages' counts", e);
  if (!p->refs) return pages_free(p), false;
  for (int32_t i = num_pages; i-- > 0;) p->free_list[p->num_free++] = i; // page 0 is taken first
  return true;
}

void pages_free(struct pages *p) {
  mem_free(p->free_list);
  mem_free(p->refs);
  *p = (struct pages){0};
}

static int64_t blocks_for(int64_t tokens, int32_t page_size) { return (tokens + page_size - 1) / page_size; }

int64_t pages_needed(int64_t tokens, int32_t page_size, int32_t window, int64_t chunk) {
  int64_t all = blocks_for(tokens, page_size);
  if (!window) return all;
  // A window and a chunk may each begin in the middle of a page.
  int64_t live = blocks_for(window + chunk, page_size) + 1;
  return live < all ? live : all;
}

static int32_t take(struct pages *p) {
  int32_t page = p->free_list[--p->num_free];
  p->refs[page] = 1;
  return page;
}

static void release(struct pages *p, int32_t page) {
  if (page != PAGE_NONE && --p->refs[page] == 0) p->free_list[p->num_free++] = page;
}

static bool grow_table(struct sequence *s, int64_t blocks, struct err *e) {
  if (blocks <= s->capacity) return true;
  if (blocks > INT32_MAX / 2) return err_set(e, "a sequence of %lld pages is too long", (long long)blocks);
  int32_t capacity = s->capacity ? s->capacity : 16;
  while (capacity < blocks) capacity *= 2;
  int32_t *table = mem_grow(s->block_table, (size_t)s->num_blocks, (size_t)capacity, sizeof *table, "a block table", e);
  if (!table) return false;
  s->block_table = table;
  s->capacity = capacity;
  return true;
}

bool sequence_reserve(struct sequence *s, struct pages *p, int64_t count, struct page_copy *copy, struct err *e) {
  *copy = (struct page_copy){PAGE_NONE, PAGE_NONE};
  int64_t blocks = blocks_for(s->length + count, p->page_size), extra = blocks - s->num_blocks;
  if (extra < 0) extra = 0;
  int32_t last = (int32_t)(s->length / p->page_size); // the block that the next token falls into
  bool own = count > 0 && last < s->num_blocks && p->refs[s->block_table[last]] > 1;
  if (extra + own > p->num_free)
    return err_set(e, "the cache is full: pages of %d tokens needed: %lld, free: %d of %d; allow more with --max-tokens",
                   p->page_size, (long long)extra + own, p->num_free, p->num_pages);
  if (!grow_table(s, blocks, e)) return false;
  if (own) {
    copy->from = s->block_table[last];
    copy->to = take(p);
    release(p, copy->from);
    s->block_table[last] = copy->to;
    if (s->length % p->page_size == 0) copy->from = PAGE_NONE; // no token of it is ours
  }
  while (s->num_blocks < blocks) s->block_table[s->num_blocks++] = take(p);
  return true;
}

void sequence_advance(struct sequence *s, int64_t count) { s->length += count; }

void sequence_evict(struct sequence *s, struct pages *p, int32_t window) {
  if (!window) return;
  int64_t first_seen = s->length - window + 1; // by a query at position s->length
  while (s->first_block < s->num_blocks && (int64_t)(s->first_block + 1) * p->page_size <= first_seen) {
    release(p, s->block_table[s->first_block]);
    s->block_table[s->first_block++] = PAGE_NONE;
  }
}

bool sequence_share(struct sequence *s, const struct sequence *from, int64_t length, struct pages *p, struct err *e) {
  if (length < 0 || length > from->length)
    return err_set(e, "cannot share %lld tokens of a sequence of %lld", (long long)length, (long long)from->length);
  int64_t blocks = blocks_for(length, p->page_size);
  if (!grow_table(s, blocks, e)) return false;
  for (int32_t i = 0; i < blocks; i++) {
    s->block_table[i] = from->block_table[i];
    if (s->block_table[i] != PAGE_NONE) p->refs[s->block_table[i]]++;
  }
  s->num_blocks = (int32_t)blocks;
  s->first_block = from->first_block < s->num_blocks ? from->first_block : s->num_blocks;
  s->length = length;
  return true;
}

bool sequence_truncate(struct sequence *s, struct pages *p, int64_t length, int32_t window, struct err *e) {
  if (length < 0 || length > s->length)
    return err_set(e, "cannot cut a sequence of %lld tokens to %lld", (long long)s->length, (long long)length);
  int64_t first_seen = window && length >= window ? length - window + 1 : 0;
  if (length > 0 && first_seen < (int64_t)s->first_block * p->page_size)
    return err_set(e, "cannot go back to token %lld: the keys that it sees have left the window of %d", (long long)length, window);
  int32_t blocks = (int32_t)blocks_for(length, p->page_size);
  while (s->num_blocks > blocks) release(p, s->block_table[--s->num_blocks]);
  if (s->first_block > s->num_blocks) s->first_block = s->num_blocks;
  if (length == 0) s->first_block = 0;
  s->length = length;
  return true;
}

void sequence_free(struct sequence *s, struct pages *p) {
  while (s->num_blocks > 0) release(p, s->block_table[--s->num_blocks]);
  mem_free(s->block_table);
  *s = (struct sequence){0};
}

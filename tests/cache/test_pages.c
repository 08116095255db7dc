// Page bookkeeping: what is held is counted, what is shared is copied before it is written, what no query sees is given back.
#include "tests/test.h"
#include "runtime/base/mem.h"
#include "runtime/cache/pages.h"

static struct err e;

enum { PAGE = 4, PAGES = 12 };

// Every page's count is the number of block tables that hold it, and the free list holds just the others.
static void check(const struct pages *p, const struct sequence *const *seqs, int n) {
  int32_t refs[PAGES] = {0}, used = 0;
  for (int i = 0; i < n; i++)
    for (int32_t b = 0; b < seqs[i]->num_blocks; b++)
      if (seqs[i]->block_table[b] != PAGE_NONE) refs[seqs[i]->block_table[b]]++;
  for (int i = 0; i < PAGES; i++) {
    assert_int_equal(p->refs[i], refs[i]);
    used += refs[i] > 0;
  }
  assert_int_equal(p->num_free, PAGES - used);
  bool seen[PAGES] = {0};
  for (int i = 0; i < p->num_free; i++) {
    assert_false(seen[p->free_list[i]]);
    seen[p->free_list[i]] = true;
    assert_int_equal(refs[p->free_list[i]], 0);
  }
}

static struct page_copy grow(struct sequence *s, struct pages *p, int64_t n) {
  struct page_copy copy;
  assert_ok(sequence_reserve(s, p, n, &copy, &e));
  sequence_advance(s, n);
  return copy;
}

static void sharing_copies_on_write(void **state) {
  (void)state;
  struct pages p;
  assert_ok(pages_init(&p, PAGES, PAGE, &e));
  struct sequence a = {0}, b = {0}, c = {0};
  const struct sequence *all[] = {&a, &b, &c};
  grow(&a, &p, 10);
  assert_int_equal(a.num_blocks, 3);
  assert_ok(sequence_share(&b, &a, 6, &p, &e));
  assert_ok(sequence_share(&c, &a, 8, &p, &e));
  check(&p, all, 3);
  struct page_copy copy = grow(&b, &p, 1); // writes into the second page, which three hold
  assert_int_equal(copy.from, a.block_table[1]);
  assert_int_equal(copy.to, b.block_table[1]);
  assert_int_not_equal(a.block_table[1], b.block_table[1]);
  assert_int_equal(a.block_table[0], b.block_table[0]);
  copy = grow(&c, &p, 1); // ends at a page's edge: a new page, no copy
  assert_int_equal(copy.from, PAGE_NONE);
  check(&p, all, 3);
  copy = grow(&b, &p, 1); // its own by now
  assert_int_equal(copy.from, PAGE_NONE);
  assert_fails(sequence_share(&c, &a, 99, &p, &e), "99");
  for (int i = 0; i < 3; i++) sequence_free((struct sequence *)(uintptr_t)all[i], &p);
  assert_int_equal(p.num_free, PAGES);
  pages_free(&p);
}

// Two are as shared as three are.
static void a_page_of_two_is_copied(void **state) {
  (void)state;
  struct pages p;
  struct sequence a = {0}, b = {0};
  assert_ok(pages_init(&p, PAGES, PAGE, &e));
  grow(&a, &p, PAGE - 1);
  assert_ok(sequence_share(&b, &a, PAGE - 2, &p, &e));
  struct page_copy copy = grow(&b, &p, 1);
  assert_int_equal(copy.from, a.block_table[0]);
  assert_int_not_equal(a.block_table[0], b.block_table[0]);
  sequence_free(&a, &p);
  sequence_free(&b, &p);
  pages_free(&p);
}

// With a window of 4 and pages of 4, a sequence cut to 7 tokens sees the keys from 4 on, one cut to 6 those from 3 on, whose page is gone.
static void going_back_ends_where_the_window_did(void **state) {
  (void)state;
  enum { WINDOW = 4 };
  struct pages p;
  struct sequence s = {0};
  assert_ok(pages_init(&p, PAGES, PAGE, &e));
  grow(&s, &p, 2 * PAGE + 1);
  sequence_evict(&s, &p, WINDOW);
  assert_int_equal(s.first_block, 1);
  assert_fails(sequence_truncate(&s, &p, 6, WINDOW, &e), "cannot go back");
  assert_ok(sequence_truncate(&s, &p, 7, WINDOW, &e));
  sequence_free(&s, &p);
  pages_free(&p);
}

static void a_full_cache_says_so_and_changes_nothing(void **state) {
  (void)state;
  struct pages p;
  assert_ok(pages_init(&p, PAGES, PAGE, &e));
  struct sequence a = {0};
  const struct sequence *all[] = {&a};
  struct page_copy copy;
  grow(&a, &p, PAGE * PAGES - 1);
  assert_fails(sequence_reserve(&a, &p, 2, &copy, &e), "--max-tokens");
  check(&p, all, 1);
  assert_int_equal(a.length, PAGE * PAGES - 1);
  assert_ok(sequence_reserve(&a, &p, 1, &copy, &e));
  sequence_free(&a, &p);
  pages_free(&p);
}

// For every window and length: the pages of all visible keys are there, and not one page more.
static void eviction_follows_the_window(void **state) {
  (void)state;
  for (int32_t window = 1; window <= 13; window++) {
    struct pages p;
    assert_ok(pages_init(&p, PAGES, PAGE, &e));
    struct sequence s = {0};
    const struct sequence *all[] = {&s};
    for (int64_t length = 0; length < 100; length++) {
      sequence_evict(&s, &p, window);
      grow(&s, &p, 1); // the query at position `length`
      for (int32_t b = 0; b < s.num_blocks; b++) {
        bool visible = false;
        for (int64_t key = (int64_t)b * PAGE; key < (int64_t)(b + 1) * PAGE; key++) visible |= key <= length && length - key < window;
        assert_int_equal(s.block_table[b] != PAGE_NONE, visible);
      }
      assert_true(PAGES - p.num_free <= pages_needed(length + 1, PAGE, window, 1));
      check(&p, all, 1);
    }
    sequence_free(&s, &p);
    pages_free(&p);
  }
}

static void truncation_never_resurrects(void **state) {
  (void)state;
  struct pages p;
  assert_ok(pages_init(&p, PAGES, PAGE, &e));
  struct sequence s = {0};
  const struct sequence *all[] = {&s};
  for (int i = 0; i < 30; i++) {
    sequence_evict(&s, &p, 6);
    grow(&s, &p, 1);
  }
  assert_fails(sequence_truncate(&s, &p, 20, 6, &e), "window of 6");
  assert_int_equal(s.length, 30);
  assert_ok(sequence_truncate(&s, &p, 29, 6, &e));
  check(&p, all, 1);
  assert_fails(sequence_truncate(&s, &p, 30, 6, &e), "30");
  assert_ok(sequence_truncate(&s, &p, 0, 6, &e));
  check(&p, all, 1);
  grow(&s, &p, 5);
  assert_int_not_equal(s.block_table[0], PAGE_NONE);
  sequence_free(&s, &p);
  pages_free(&p);
}

static void random_work_keeps_the_books(void **state) {
  (void)state;
  uint64_t seed = test_seed();
  struct pages p;
  assert_ok(pages_init(&p, PAGES, PAGE, &e));
  struct sequence s[3] = {0};
  const struct sequence *all[] = {&s[0], &s[1], &s[2]};
  for (int i = 0; i < 20000; i++) {
    struct sequence *a = &s[test_random(&seed) % 3], *b = &s[test_random(&seed) % 3];
    struct page_copy copy;
    int64_t n = (int64_t)(test_random(&seed) % 9);
    switch (test_random(&seed) % 5) {
    case 0:
    case 1:
      if (sequence_reserve(a, &p, n, &copy, &e)) sequence_advance(a, n);
      break;
    case 2: sequence_evict(a, &p, 7); break;
    case 3: sequence_truncate(a, &p, a->length - (n < a->length ? n : a->length), 7, &e); break;
    default:
      if (a == b) break;
      sequence_free(a, &p);
      assert_ok(sequence_share(a, b, b->length, &p, &e));
    }
    check(&p, all, 3);
  }
  for (int i = 0; i < 3; i++) sequence_free(&s[i], &p);
  assert_int_equal(p.num_free, PAGES);
  pages_free(&p);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (long k = 1;; k++) {
    struct pages p = {0};
    struct sequence s = {0};
    struct page_copy copy;
    mem_fail_from(k);
    bool ok = pages_init(&p, PAGES, PAGE, &e) && sequence_reserve(&s, &p, 5, &copy, &e);
    mem_fail_from(0);
    sequence_free(&s, &p);
    pages_free(&p);
    if (ok) return assert_int_equal(k, 4);
    assert_true(e.no_memory);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_page_of_two_is_copied),     cmocka_unit_test(going_back_ends_where_the_window_did),
      cmocka_unit_test(sharing_copies_on_write),     cmocka_unit_test(a_full_cache_says_so_and_changes_nothing),
      cmocka_unit_test(eviction_follows_the_window), cmocka_unit_test(truncation_never_resurrects),
      cmocka_unit_test(random_work_keeps_the_books), cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

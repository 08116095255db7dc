// Merging against the definition: again and again, of all pairs the one with the lowest rank, the leftmost of those.
#include "tests/test.h"
#include "runtime/model/bpe.h"

enum { MAX_PIECES = 64, MAX_PIECE = 32, MAX_WORD = 80 };

struct toy {
  struct vocab vocab;
  struct bpe bpe;
  char pieces[MAX_PIECES][MAX_PIECE];
  int count;
  int left[MAX_PIECES * 2], right[MAX_PIECES * 2], result[MAX_PIECES * 2], num_merges;
};

static int find_piece(const struct toy *t, const char *s) {
  for (int i = 0; i < t->count; i++)
    if (strcmp(t->pieces[i], s) == 0) return i;
  return -1;
}

static int find_rank(const struct toy *t, int left, int right) {
  for (int i = t->num_merges - 1; i >= 0; i--) // the later one counts
    if (t->left[i] == left && t->right[i] == right) return i;
  return -1;
}

// A vocabulary over a few characters: random pieces put together from those before, and merges in random order.
static void make_toy(struct toy *t, uint64_t *seed) {
  static const char *const letters[] = {"a", "b", "é", "漢"};
  struct err e;
  memset(t, 0, sizeof *t);
  for (int i = 0; i < 4; i++) strcpy(t->pieces[t->count++], letters[i]);
  int wanted = 8 + (int)(test_random(seed) % 40);
  for (int tries = 0; t->count < wanted && tries < 500; tries++) {
    char s[2 * MAX_PIECE];
    int a = (int)(test_random(seed) % (uint64_t)t->count), b = (int)(test_random(seed) % (uint64_t)t->count);
    snprintf(s, sizeof s, "%s%s", t->pieces[a], t->pieces[b]);
    if (strlen(s) < MAX_PIECE && find_piece(t, s) < 0) strcpy(t->pieces[t->count++], s);
  }
  for (int tries = 0; t->num_merges < 2 * t->count && tries < 3000; tries++) {
    char s[2 * MAX_PIECE];
    int a = (int)(test_random(seed) % (uint64_t)t->count), b = (int)(test_random(seed) % (uint64_t)t->count);
    snprintf(s, sizeof s, "%s%s", t->pieces[a], t->pieces[b]);
    int both = find_piece(t, s);
    if (both < 0 || (find_rank(t, a, b) >= 0 && test_random(seed) % 8)) continue;
    t->left[t->num_merges] = a;
    t->right[t->num_merges] = b;
    t->result[t->num_merges++] = both;
  }
  for (int i = 0; i < t->count; i++) assert_ok(vocab_add(&t->vocab, i, t->pieces[i], strlen(t->pieces[i]), &e));
  assert_ok(bpe_init(&t->bpe, &t->vocab, t->num_merges, &e));
  for (int i = 0; i < t->num_merges; i++) assert_ok(bpe_add_merge(&t->bpe, t->left[i], t->right[i], t->result[i], &e));
}

static int plain_merge(const struct toy *t, int *ids, int n) {
  for (;;) {
    int best = -1, at = -1;
    for (int i = 0; i + 1 < n; i++) {
      int rank = find_rank(t, ids[i], ids[i + 1]);
      if (rank >= 0 && (best < 0 || rank < best)) best = rank, at = i;
    }
    if (best < 0) return n;
    ids[at] = t->result[best];
    memmove(ids + at + 1, ids + at + 2, (size_t)(n - at - 2) * sizeof *ids);
    n--;
  }
}

static void against_definition(void **state) {
  (void)state;
  uint64_t seed = test_seed();
  struct err e;
  struct bpe_work work = {0};
  struct ids out = {0};
  int64_t merged = 0;
  for (int round = 0; round < 300; round++) {
    struct toy t;
    make_toy(&t, &seed);
    for (int w = 0; w < 40; w++) {
      int ids[MAX_WORD], n = 1 + (int)(test_random(&seed) % MAX_WORD), alphabet = 1 + (int)(test_random(&seed) % 4);
      char word[MAX_WORD * 4] = "";
      for (int i = 0; i < n; i++) strcat(word, t.pieces[ids[i] = (int)(test_random(&seed) % (uint64_t)alphabet)]);
      int want = plain_merge(&t, ids, n);
      merged += n - want;
      out.count = 0;
      assert_ok(bpe_encode(&t.bpe, &work, word, strlen(word), &out, &e));
      if (out.count != want || memcmp(out.data, ids, (size_t)want * sizeof *ids) != 0)
        fail_msg("round %d: '%s' is merged otherwise", round, word);
    }
    bpe_free(&t.bpe);
    vocab_free(&t.vocab);
  }
  assert_true(merged > 20000); // the test has seen work
  ids_free(&out);
  bpe_work_free(&work);
}

static void vocabulary(void **state) {
  (void)state;
  struct err e;
  struct vocab v = {0};
  char name[32];
  for (int i = 0; i < 5000; i++)
    assert_ok(vocab_add(&v, 3 * i, name, (size_t)snprintf(name, sizeof name, "piece %d", i), &e));
  for (int i = 0; i < 5000; i++) {
    size_t n = (size_t)snprintf(name, sizeof name, "piece %d", i), len;
    assert_int_equal(vocab_find(&v, name, n), 3 * i);
    assert_string_equal(vocab_get(&v, 3 * i, &len), name);
    assert_int_equal(len, n);
    assert_null(vocab_get(&v, 3 * i + 1, &len));
  }
  assert_int_equal(v.size, 3 * 4999 + 1);
  assert_int_equal(vocab_find(&v, "piece", 5), -1);
  assert_null(vocab_get(&v, -1, NULL));
  assert_null(vocab_get(&v, v.size, NULL));
  assert_fails(vocab_add(&v, 3, "other", 5, &e), "id 3 belongs to two pieces");
  assert_fails(vocab_add(&v, 4, "piece 7", 7, &e), "'piece 7' has two ids");
  assert_fails(vocab_add(&v, -1, "x", 1, &e), "id -1");
  assert_fails(vocab_add(&v, 1LL << 31, "x", 1, &e), "id 2147483648");
  assert_ok(vocab_add(&v, 4, "a\0b", 3, &e));
  assert_int_equal(vocab_find(&v, "a\0b", 3), 4);
  assert_int_equal(vocab_find(&v, "a\0c", 3), -1);
  vocab_free(&v);
  assert_int_equal(vocab_find(&v, "x", 1), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(against_definition), cmocka_unit_test(vocabulary)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

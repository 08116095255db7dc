// Windows, and base files: what they keep, what they lose, what they refuse.
#include "tests/test.h"
#include "driver/perplexity.h"
#include "runtime/base/mem.h"
#include "runtime/logits.h"
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static struct err e;
static uint64_t seed;
static char path[64];

enum { VOCAB = 50, ROWS = 40 };

// --- windows ---

static void windows_count_each_token_once(void **state) {
  (void)state;
  for (int round = 0; round < 5000; round++) {
    int64_t tokens = 2 + (int64_t)(test_random(&seed) % 60), window = 2 + (int64_t)(test_random(&seed) % 70),
            stride = 1 + (int64_t)(test_random(&seed) % (uint64_t)window);
    int counted[64] = {0};
    int64_t before = -1, last = 0;
    for (struct span s = {0}; next_span(&s, tokens, window, stride); before = s.begin, last = s.end) {
      assert_true(s.begin == (before < 0 ? 0 : before + stride));
      assert_true(s.end <= tokens && s.end - s.begin <= window && (s.end == tokens || s.end - s.begin == window));
      assert_true(s.first_target > s.begin); // a window's first token has nothing before it
      for (int64_t t = s.first_target; t < s.end; t++) counted[t]++;
    }
    assert_true(last == tokens && counted[0] == 0);
    for (int64_t t = 1; t < tokens; t++) {
      bool begins = stride == window && t % window == 0; // windows side by side: their first tokens are never predicted
      if (counted[t] != !begins)
        fail_msg("%lld tokens, window %lld, stride %lld: token %lld is counted %d times", (long long)tokens,
                 (long long)window, (long long)stride, (long long)t, counted[t]);
    }
  }
}

static void windows_by_hand(void **state) {
  (void)state;
  static const struct span expected[] = {{0, 4, 1}, {2, 6, 4}, {4, 7, 6}};
  struct span s = {0};
  for (int i = 0; i < 3; i++) {
    assert_true(next_span(&s, 7, 4, 2));
    assert_memory_equal(&s, &expected[i], sizeof s);
  }
  assert_false(next_span(&s, 7, 4, 2));
}

// --- files ---

static struct base_header head_of(uint32_t top) {
  return (struct base_header){.magic = "PHI3BAS",
                              .version = BASE_VERSION,
                              .vocab = VOCAB,
                              .layers = 2,
                              .hidden = 8,
                              .top = top,
                              .tokens = ROWS + 1,
                              .window = 100,
                              .stride = 50,
                              .rows = ROWS,
                              .model = "m",
                              .device = "cpu"};
}

static void random_rows(float *x, double spread) {
  for (int i = 0; i < ROWS * VOCAB; i++) x[i] = (float)(spread * (test_uniform(&seed) - 0.5));
}

static void save(uint32_t top, const float *logits) {
  struct base_header h = head_of(top);
  struct base_writer w;
  int32_t ids[ROWS + 1];
  memcpy(h.magic, "PHI3BASE", 8);
  for (int i = 0; i <= ROWS; i++) ids[i] = i % VOCAB;
  assert_ok(base_create(&w, path, &h, ids, ROWS, &e));
  for (int half = 0; half < 2; half++) {
    for (int i = 0; i < ROWS / 2; i++) {
      const float *x = logits + (half * ROWS / 2 + i) * VOCAB;
      double log_sum = logits_log_sum(x, VOCAB);
      base_fill(&h, w.records + i * w.record_bytes, x, log_sum, log_sum - (double)x[0]);
    }
    assert_ok(base_add(&w, ROWS / 2, &e));
  }
  assert_int_equal(access(path, F_OK), -1); // not there before it is complete
  assert_ok(base_finish(&w, &e));
  base_drop(&w);
}

// The divergence of whole rows lies between the estimate and the estimate with its bound, which is nothing when all is
// kept.
static void the_bound_holds(void **state) {
  (void)state;
  static const uint32_t tops[] = {1, 2, 5, 20, VOCAB - 1, VOCAB};
  for (int round = 0; round < 60; round++) {
    float p[ROWS * VOCAB], q[ROWS * VOCAB], copy[VOCAB];
    uint32_t top = tops[round % 6];
    random_rows(p, round % 4 ? 12 : 1);
    random_rows(q, 12);
    for (int i = 0; i < ROWS * VOCAB && round % 3; i++) q[i] = p[i] + q[i] * (round % 3 == 1 ? 1e-4f : 0.1f); // near
    if (round % 5 == 0)
      for (int i = 0; i < ROWS * VOCAB; i++) p[i] = roundf(p[i]); // ties at the edge
    save(top, p);
    struct base_reader r;
    assert_ok(base_open(&r, path, &e));
    assert_int_equal(base_id(&r, 7), 7);
    for (int i = 0; i < ROWS; i++) {
      struct score s = {0};
      int32_t a, b;
      double exact = logits_divergence(p + i * VOCAB, q + i * VOCAB, VOCAB), slack = 1e-12 * (1 + exact);
      logits_top(p + i * VOCAB, VOCAB, 1, &a);
      logits_top(q + i * VOCAB, VOCAB, 1, &b);
      memcpy(copy, q + i * VOCAB, sizeof copy);
      base_compare(&r, i, copy, VOCAB, &s);
      if (!(s.divergence <= exact + slack && exact <= s.divergence + s.bound + slack))
        fail_msg("top %u: %.12g is not between %.12g and that + %.12g", top, exact, s.divergence, s.bound);
      if (top >= VOCAB - 1) assert_true(fabs(s.divergence - exact) <= slack); // one left out is known by its mass
      if (top == VOCAB) assert_true(s.bound == 0);
      assert_int_equal(s.same_top, a == b);
      assert_true(fabs(s.base_loss - (logits_log_sum(p + i * VOCAB, VOCAB) - (double)p[i * VOCAB])) < 1e-12);
    }
    base_close(&r);
    unlink(path);
  }
}

// A bound that is never approached says nothing: with the left-out mass where the other model finds it least likely, it
// is.
static void the_bound_is_reached(void **state) {
  (void)state;
  float p[ROWS * VOCAB], q[VOCAB];
  for (int i = 0; i < ROWS * VOCAB; i++) p[i] = i % VOCAB < 2 ? 0 : -80;
  for (int i = 0; i < VOCAB; i++) q[i] = i == 1 ? -20 : 0;
  save(1, p); // keeps id 0; id 1 has as much
  struct base_reader r;
  struct score s = {0};
  assert_ok(base_open(&r, path, &e));
  double exact = logits_divergence(p, q, VOCAB);
  base_compare(&r, 0, q, VOCAB, &s);
  assert_true(s.bound > 5 && fabs(s.divergence + s.bound - exact) < 1e-9);
  base_close(&r);
  unlink(path);
}

static void write_file(const uint8_t *data, size_t size) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, size, f), size);
  assert_int_equal(fclose(f), 0);
}

// The checksum that makes a changed file whole again, so that what is behind it is reached.
static void sign(uint8_t *data, size_t size) {
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < size - 8; i++) h = (h ^ data[i]) * 0x100000001b3u;
  memcpy(data + size - 8, &h, 8);
}

static void refused(const uint8_t *data, size_t size, const char *says) {
  struct base_reader r;
  write_file(data, size);
  assert_fails(base_open(&r, path, &e), says);
  assert_null(strchr(e.text, '\n'));
  base_close(&r);
}

static void broken_files_are_refused(void **state) {
  (void)state;
  float p[ROWS * VOCAB];
  struct file f;
  random_rows(p, 10);
  for (int whole = 0; whole < 2; whole++) {
    save(whole ? VOCAB : 4, p);
    assert_ok(file_map(&f, path, &e));
    size_t size = f.size, records = sizeof(struct base_header) + 4 * (ROWS + 1);
    uint8_t *good = malloc(size), *bad = malloc(size + 1);
    assert_true(good && bad);
    memcpy(good, f.data, size);
    file_unmap(&f);
    for (size_t n = 0; n < size; n += 1 + n / 7) refused(good, n, path); // cut off anywhere
    memcpy(bad, good, size);
    bad[size] = 0;
    refused(bad, size + 1, "expected");
    for (int i = 0; i < 400; i++) { // any byte changed
      memcpy(bad, good, size);
      bad[test_random(&seed) % size] ^= (uint8_t)(1 + test_random(&seed) % 255);
      refused(bad, size, path);
    }
    const struct {
      size_t at;
      uint32_t value;
      const char *says;
    } changes[] = {
        {0, 0x20202020, "no base file"},
        {offsetof(struct base_header, version), BASE_VERSION + 1, "version 2"},
        {offsetof(struct base_header, vocab), 0, "header"},
        {offsetof(struct base_header, vocab), 0xffffffff, "header"},
        {offsetof(struct base_header, top), 0, "header"},
        {offsetof(struct base_header, top), VOCAB + 1, "header"},
        {offsetof(struct base_header, tokens) + 4, 0x7fffffff, "header"},
        {offsetof(struct base_header, rows) + 4, 0xffffffff, "header"},
        {offsetof(struct base_header, rows), ROWS - 1, "expected"},
        {offsetof(struct base_header, stride), 101, "header"},
        {records + 4, 0x7ff80000, "distribution of token 0"},                            // log of the sum: NaN
        {records + 12, 0x40000000, "distribution of token 0"},                           // mass 2
        {records + 4, 0xffe00000, "distribution of token 0"},                            // a log that leaves no mass a whole
        {records + 20, 0xbff00000, "distribution of token 0"},                           // loss -1
        {records + 24, whole ? 0x7fc00000 : VOCAB, "distribution of token 0"},           // a NaN; an id beyond
        {records + 24 + 4, whole ? 0x7f800000 : 0xffffffff, "distribution of token 0"}}; // infinite; a negative id
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
      memcpy(bad, good, size);
      memcpy(bad + changes[i].at, &changes[i].value, 4);
      sign(bad, size);
      refused(bad, size, changes[i].says);
    }
    for (int i = 0; i < 2 && !whole; i++) { // an id twice, the smallest first: each in the second token's record
      uint8_t *second = bad + records + (size - 8 - records) / ROWS, *ids = second + 24, *kept = ids + 16;
      memcpy(bad, good, size);
      if (i == 0) memcpy(ids + 4, ids, 4);
      else memcpy(kept, good + (kept - bad) + 12, 4), memcpy(kept + 12, good + (kept - bad), 4);
      sign(bad, size);
      refused(bad, size, "distribution of token 1");
    }
    write_file(good, size);
    struct base_reader r;
    assert_ok(base_open(&r, path, &e));
    base_close(&r);
    mem_fail_from(1);
    assert_false(base_open(&r, path, &e));
    mem_fail_from(0);
    assert_true(e.no_memory);
    base_close(&r);
    free(good);
    free(bad);
    unlink(path);
  }
  struct base_reader r;
  assert_fails(base_open(&r, path, &e), path);
  base_close(&r);
}

static void what_was_not_finished_leaves_nothing(void **state) {
  (void)state;
  struct base_header h = head_of(4);
  struct base_writer w;
  int32_t ids[ROWS + 1] = {0};
  char tmp[128];
  assert_ok(base_create(&w, path, &h, ids, ROWS, &e));
  snprintf(tmp, sizeof tmp, "%s", w.tmp);
  assert_int_equal(access(tmp, F_OK), 0);
  base_drop(&w);
  assert_int_equal(access(tmp, F_OK), -1);
  assert_int_equal(access(path, F_OK), -1);
  assert_fails(base_create(&w, "/dev/null/base", &h, ids, ROWS, &e), "cannot create");
  base_drop(&w);
  // A pipe is written to; it is never replaced by a file.
  assert_int_equal(mkfifo(path, 0600), 0);
  int reader = open(path, O_RDONLY | O_NONBLOCK);
  assert_true(reader >= 0);
  assert_ok(base_create(&w, path, &h, ids, ROWS, &e));
  assert_ok(base_finish(&w, &e));
  base_drop(&w);
  struct base_header got;
  assert_int_equal(read(reader, &got, sizeof got), sizeof got);
  assert_memory_equal(&got, &h, sizeof got);
  close(reader);
  assert_int_equal(access(path, F_OK), 0);
  unlink(path);
  for (long k = 1; k <= 4; k++) {
    mem_fail_from(k);
    bool ok = base_create(&w, path, &h, ids, ROWS, &e);
    mem_fail_from(0);
    assert_int_equal(ok, k == 4);
    if (!ok) assert_true(e.no_memory);
    base_drop(&w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(windows_count_each_token_once),
                                     cmocka_unit_test(windows_by_hand),
                                     cmocka_unit_test(the_bound_holds),
                                     cmocka_unit_test(the_bound_is_reached),
                                     cmocka_unit_test(broken_files_are_refused),
                                     cmocka_unit_test(what_was_not_finished_leaves_nothing)};
  seed = test_seed();
  snprintf(path, sizeof path, "/tmp/phi3-base-%ld", (long)getpid());
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// The same bits however the work is cut: with the key-value cache and without, in chunks, in pages of another size,
// with other sequences beside it, after a shared prefix, again, with more threads, in another schedule. Every cut
// computes the logits of every token of every golden case (random checkpoints of each feature, and the bundled model)
// and compares them with those of one undivided pass. Argument: the device (tests/runtime/device.h).
#include "tests/runtime/device.h"
#include "runtime/base/mem.h"
#include "runtime/generate.h"
#include <math.h>

static struct err e;
static uint64_t seed, schedule;

enum { MOST_TOKENS = 320, GPU_TOKENS = 70, FP64_TOKENS = 40, SMALL_PAGE = 16, LARGE_PAGE = 48 };

static const struct backend_options plain = {
    .threads = 2, .page_size = SMALL_PAGE, .num_pages = 160, .max_rows = MOST_TOKENS, .max_logits = MOST_TOKENS};

// One golden case on the device, and what every cut must give.
struct subject {
  const struct golden *golden;
  const int32_t *ids;
  int32_t count;
  int64_t vocab;
  bool long_rope;
  struct opened small, large; // pages of 16 and of 48 tokens
  float *whole, *rows;        // [count, vocab]; room for a step's logits
  int64_t compared;           // rows
};

// The first element whose bits differ; -1: none. A comparison by value would take the two zeros for one.
static int64_t first_difference(const float *a, const float *b, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (memcmp(&a[i], &b[i], sizeof *a) != 0) return i;
  return -1;
}

static void same(struct subject *s, const float *found, int64_t first, int64_t count, const char *cut) {
  const float *wanted = s->whole + first * s->vocab;
  int64_t i = first_difference(found, wanted, count * s->vocab);
  if (i >= 0)
    fail_msg("%s on %s: %s: position %lld, id %lld: %.9g, undivided %.9g", s->golden->name, device_name, cut,
             (long long)(first + i / s->vocab), (long long)(i % s->vocab), (double)found[i], (double)wanted[i]);
  s->compared += count;
}

// Adds tokens to a sequence and compares their logits; another schedule each time.
static void feed(struct subject *s, struct opened *o, struct sequence *q, int32_t first, int32_t count,
                 const char *cut) {
  struct forward_input in = {q, s->ids + first, count, s->long_rope, LOGITS_ALL};
  device_schedule(++schedule);
  assert_ok(forward_run(&o->forward, &in, 1, &e));
  assert_ok(forward_read(&o->forward, STAGE_LOGITS, s->rows, &e));
  same(s, s->rows, first, count, cut);
}

static void in_chunks(struct subject *s, struct opened *o, int32_t chunk, const char *what) {
  struct sequence q = {0};
  char cut[64];
  snprintf(cut, sizeof cut, "%s of %d", what, chunk);
  for (int32_t at = 0; at < s->count; at += chunk)
    feed(s, o, &q, at, s->count - at < chunk ? s->count - at : chunk, cut);
  sequence_free(&q, &o->forward.pages);
}

// --- the cuts ---

// Undivided, after everything else that ran on the same backend.
static void again(struct subject *s) {
  in_chunks(s, &s->small, s->count, "a second run, one chunk");
  in_chunks(s, &s->small, s->count, "a third run, one chunk");
}

// Around what makes a GPU choose other kernels, 1 and 2 (the norm fused in), 8 and 9, 16 and 17, and around pages and
// tiles.
static void chunks(struct subject *s) {
  static const int32_t sizes[] = {1, 2, 3, 5, 8, 9, 16, 17, 31, 33, 64};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (sizes[i] < s->count) in_chunks(s, &s->small, sizes[i], "chunks");
}

static void pages(struct subject *s) {
  static const int32_t sizes[] = {1, 7, 17, MOST_TOKENS};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    in_chunks(s, &s->large, sizes[i] < s->count ? sizes[i] : s->count, "larger pages, chunks");
  if (!device_is_cpu()) return; // a GPU's pages are multiples of 16
  static const int32_t tokens[] = {1, 5, 7, 32};
  for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
    struct opened o;
    struct backend_options options = plain;
    options.page_size = tokens[i];
    options.num_pages = 2 * MOST_TOKENS / tokens[i] + 2;
    device_open(&o, s->golden->model_path, &options);
    in_chunks(s, &o, 6, "odd pages, chunks");
    opened_close(&o);
  }
}

// The logits that generation goes on with: cached, and by passes over the whole sequence.
static void cache(struct subject *s) {
  struct session cached, uncached;
  session_init(&cached, &s->small.forward, true, 5);
  session_init(&uncached, &s->large.forward, false, 64);
  // A session's own length decides on longrope's factors, so it is compared where they are the whole text's.
  int32_t first = s->long_rope    ? s->small.model.config.original_max_positions + 1
                  : s->count > 60 ? s->count - 10
                                  : s->count / 2;
  if (first < 1) first = 1;
  for (int32_t at = 0; at < s->count;) {
    int32_t n = at == 0 ? (first < s->count ? first : s->count) : 1;
    device_schedule(++schedule);
    assert_ok(session_feed(&cached, s->ids + at, n, s->rows, &e));
    assert_ok(session_feed(&uncached, s->ids + at, n, s->rows + s->vocab, &e));
    at += n;
    same(s, s->rows, at - 1, 1, "with the cache");
    same(s, s->rows + s->vocab, at - 1, 1, "without the cache");
  }
  session_free(&cached);
  session_free(&uncached);
}

// A sequence that begins in another one's pages, at page edges and beside them; the pages it goes on in are copied
// first.
static void prefix(struct subject *s) {
  static const int32_t lengths[] = {1, SMALL_PAGE - 1, SMALL_PAGE, SMALL_PAGE + 1, 2 * SMALL_PAGE - 1, 2 * SMALL_PAGE};
  struct opened *o = &s->small;
  if (o->model.config.sliding_window) return; // what left the window is given back and cannot be shared
  struct sequence from = {0};
  feed(s, o, &from, 0, s->count, "the prefix's owner");
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths && lengths[i] < s->count; i++) {
    struct sequence q = {0};
    assert_ok(sequence_share(&q, &from, lengths[i], &o->forward.pages, &e));
    feed(s, o, &q, lengths[i], s->count - lengths[i], "after a shared prefix");
    sequence_free(&q, &o->forward.pages);
    assert_ok(sequence_share(&q, &from, lengths[i], &o->forward.pages, &e));
    for (int32_t at = lengths[i]; at < s->count && at < lengths[i] + 3; at++)
      feed(s, o, &q, at, 1, "token by token after a shared prefix");
    sequence_free(&q, &o->forward.pages);
  }
  sequence_free(&from, &o->forward.pages);
}

// Seven sequences of the same text at different places, in batches of random make-up; on every other step each gets one
// token.
static void batch(struct subject *s) {
  enum { SEQUENCES = 7 };
  struct opened *o = &s->small;
  struct sequence q[SEQUENCES] = {{0}};
  int32_t at[SEQUENCES] = {0};
  for (int step = 0;; step++) {
    struct forward_input in[SEQUENCES];
    int32_t from[SEQUENCES], count = 0;
    for (int i = 0; i < SEQUENCES; i++) {
      int32_t left = s->count - at[i], most = step % 2 ? 1 : 9;
      if (step < i || left == 0) continue; // one joins each step
      int32_t take = 1 + (int32_t)(test_random(&seed) % (uint64_t)(left < most ? left : most));
      in[count] = (struct forward_input){&q[i], s->ids + at[i], take, s->long_rope, LOGITS_ALL};
      from[count++] = at[i];
      at[i] += take;
    }
    if (count == 0) break;
    device_schedule(++schedule);
    assert_ok(forward_run(&o->forward, in, count, &e));
    assert_ok(forward_read(&o->forward, STAGE_LOGITS, s->rows, &e));
    const float *row = s->rows;
    for (int32_t i = 0; i < count; row += in[i++].count * s->vocab) same(s, row, from[i], in[i].count, "in a batch");
  }
  for (int i = 0; i < SEQUENCES; i++) sequence_free(&q[i], &o->forward.pages);
}

static void threads(struct subject *s) {
  if (!device_is_cpu()) return;
  for (int n = 1; n <= 5; n += 2) {
    struct opened o;
    struct backend_options options = plain;
    options.threads = n;
    device_open(&o, s->golden->model_path, &options);
    in_chunks(s, &o, s->count, "other threads, one chunk");
    in_chunks(s, &o, 1, "other threads, chunks");
    opened_close(&o);
  }
}

// The first pass runs in schedule 0, and every step above in another one; here the undivided pass.
static void schedules(struct subject *s) {
  if (!device_is_virtual()) return;
  for (int i = 0; i < 8; i++) in_chunks(s, &s->small, s->count, "another schedule, one chunk");
}

// --- walking them ---

static int32_t tokens_of(const struct golden *g) {
  int32_t n = (int32_t)g->ids.shape[0], most = strcmp(device_name, "cpu:fp64") == 0 ? FP64_TOKENS
                                               : device_is_cpu()                    ? MOST_TOKENS
                                                                                    : GPU_TOKENS;
  return n < most ? n : most;
}

static void open_subject(struct subject *s, const struct golden *g) {
  struct backend_options large = plain;
  large.page_size = LARGE_PAGE;
  *s = (struct subject){.golden = g, .ids = g->ids.data, .count = tokens_of(g), .vocab = g->logits.shape[1]};
  device_open(&s->small, g->model_path, &plain);
  device_open(&s->large, g->model_path, &large);
  s->long_rope = forward_long_rope(&s->small.model.config, s->count);
  s->whole = mem_alloc((size_t)(s->count * s->vocab), sizeof *s->whole, "logits", &e);
  s->rows = mem_alloc((size_t)(MOST_TOKENS * s->vocab), sizeof *s->rows, "logits", &e);
  struct sequence q = {0};
  struct forward_input in = {&q, s->ids, s->count, s->long_rope, LOGITS_ALL};
  device_schedule(0);
  assert_ok(forward_run(&s->small.forward, &in, 1, &e));
  assert_ok(forward_read(&s->small.forward, STAGE_LOGITS, s->whole, &e));
  sequence_free(&q, &s->small.forward.pages);
}

static void close_subject(struct subject *s) {
  assert_int_equal(s->small.forward.pages.num_free, plain.num_pages); // no cut keeps a page
  assert_int_equal(s->large.forward.pages.num_free, plain.num_pages);
  mem_free(s->whole);
  mem_free(s->rows);
  opened_close(&s->small);
  opened_close(&s->large);
}

static const struct {
  const char *name;
  void (*run)(struct subject *s);
} cuts[] = {{"again", again},   {"chunks", chunks}, {"pages", pages},     {"cache", cache},
            {"prefix", prefix}, {"batch", batch},   {"threads", threads}, {"schedules", schedules}};
enum { CUTS = sizeof cuts / sizeof *cuts };

static void walk(const struct golden *g, void *ctx) {
  int64_t *rows = ctx;
  struct subject s;
  open_subject(&s, g);
  for (int i = 0; i < CUTS; i++) {
    s.compared = 0;
    cuts[i].run(&s);
    rows[i] += s.compared;
  }
  close_subject(&s);
}

static void every_cut_gives_the_undivided_bits(void **state) {
  (void)state;
  int64_t rows[CUTS] = {0};
  int cases = goldens_each(walk, rows);
  for (int i = 0; i < CUTS; i++) {
    bool applies = (cuts[i].run != threads || device_is_cpu()) && (cuts[i].run != schedules || device_is_virtual());
    printf("%-10s %7lld rows of logits compared%s\n", cuts[i].name, (long long)rows[i],
           applies ? "" : " (not on this device)");
    assert_true(applies == (rows[i] > 0));
  }
  printf("%d cases on %s\n", cases, device_name);
  device_check_findings();
}

static void one_bit_is_seen(void **state) {
  (void)state;
  float a[] = {1, -2, 0, 4, NAN}, b[] = {1, -2, 0, 4, NAN};
  assert_int_equal(first_difference(a, b, 5), -1);
  b[3] = 4.0000005f;
  assert_int_equal(first_difference(a, b, 5), 3);
  b[2] = -0.0f;
  assert_int_equal(first_difference(a, b, 5), 2);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_bit_is_seen),
                                     cmocka_unit_test(every_cut_gives_the_undivided_bits)};
  device_choose(argc, argv);
  seed = test_seed();
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// What a step asks of the driver, and the ranges that a profiler sees: calls are counted on their way through the backend's own table of functions.
#include "tests/gpu/gpu_test.h"
#include "runtime/generate.h"
#include <dlfcn.h>
#include <math.h>

static struct err e;

// The calls since the last clear.
static struct {
  int launches, samples, graphs, graphs_made, to_device, allocations;
  size_t to_host; // bytes
  int fail_launch; // the n-th fails; 0: none
} calls;
static struct cuda real;
static cu_function sample_rows;

static cu_result count_launch(cu_function f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, cu_stream stream, void **p, void **x) {
  calls.samples += f == sample_rows;
  if (++calls.launches == calls.fail_launch) return 719;
  return real.launch(f, gx, gy, gz, bx, by, bz, shared, stream, p, x);
}
static cu_result count_graph(cu_graph_exec exec, cu_stream stream) { return calls.graphs++, real.graph_launch(exec, stream); }
static cu_result count_made(cu_graph_exec *exec, cu_graph graph, unsigned long long flags) { return calls.graphs_made++, real.graph_instantiate(exec, graph, flags); }
static cu_result count_to_device(cu_pointer to, const void *from, size_t bytes, cu_stream stream) { return calls.to_device++, real.to_device_async(to, from, bytes, stream); }
static cu_result count_allocation(cu_pointer *p, size_t bytes) { return calls.allocations++, real.mem_alloc(p, bytes); }
static cu_result count_to_host(void *to, cu_pointer from, size_t bytes) { return calls.to_host += bytes, real.to_host(to, from, bytes); }

enum { MAX_BATCH = 9, PAGES = 96 };

struct work {
  struct model model;
  struct forward forward;
  struct sequence s[MAX_BATCH];
};

static void open_work(struct work *w) {
  *w = (struct work){0};
  test_device(); // skips where there is none
  assert_ok(model_open(&w->model, "runtime/model/nano", &e));
  struct backend_options o = {.threads = 2, .page_size = 16, .num_pages = PAGES, .max_rows = 300, .max_logits = MAX_BATCH};
  struct backend *b = gpu_backend_open(&w->model, &o, test_device_is_virtual(), &e);
  if (!b) fail_msg("%s", e.text);
  struct gpu *g = gpu_of(b);
  real = g->d.cuda;
  sample_rows = g->d.kernels[KERNEL_sample_rows];
  g->d.cuda.launch = count_launch, g->d.cuda.graph_launch = count_graph, g->d.cuda.graph_instantiate = count_made;
  g->d.cuda.to_device_async = count_to_device, g->d.cuda.mem_alloc = count_allocation, g->d.cuda.to_host = count_to_host;
  assert_ok(forward_open(&w->forward, b, &e));
  memset(&calls, 0, sizeof calls);
}

static void close_work(struct work *w) {
  for (int i = 0; i < MAX_BATCH; i++) sequence_free(&w->s[i], &w->forward.pages);
  forward_close(&w->forward);
  model_close(&w->model);
}

// `count` tokens more of each of the first `batch` sequences, and the id that follows each.
static bool step(struct work *w, int batch, int32_t count, int32_t ids[MAX_BATCH]) {
  static const int32_t tokens[300] = {1, 2, 3};
  struct forward_input in[MAX_BATCH];
  struct sampler_options greedy = sampler_greedy();
  for (int i = 0; i < batch; i++) in[i] = (struct forward_input){&w->s[i], tokens, count, false, LOGITS_LAST};
  return forward_run(&w->forward, in, batch, &e) && forward_pick(&w->forward, &greedy, NULL, ids, &e);
}

// One decode step, and what it takes when its graph is there: one launch of the graph, two small copies, the sampler, and no more to the host than the ids.
static void replayed_step(struct work *w, int batch) {
  int32_t ids[MAX_BATCH];
  memset(&calls, 0, sizeof calls);
  assert_ok(step(w, batch, 1, ids));
  assert_int_equal(calls.graphs, 1);
  assert_int_equal(calls.graphs_made, 0);
  assert_int_equal(calls.launches, 1);
  assert_int_equal(calls.samples, 1);
  assert_int_equal(calls.to_device, 2);
  assert_int_equal(calls.allocations, 0);
  assert_int_equal(calls.to_host, (size_t)batch * sizeof *ids);
}

static void captured_step(struct work *w, int batch) {
  int32_t ids[MAX_BATCH];
  memset(&calls, 0, sizeof calls);
  assert_ok(step(w, batch, 1, ids));
  assert_int_equal(calls.graphs_made, 1);
  assert_int_equal(calls.graphs, 1); // what was captured has not run yet
  assert_int_equal(calls.samples, 1);
  int layers = w->model.config.num_layers, least = 1 + 5 * layers + 1 + 1; // embed, a kernel an operation, logits, sample
  if (calls.launches < least || calls.launches > least + 4 * layers + 1) fail_msg("a step of %d layers launches %d kernels", layers, calls.launches);
}

static void a_token_is_one_graph(void **state) {
  (void)state;
  struct work w;
  int32_t ids[MAX_BATCH];
  open_work(&w);
  assert_ok(step(&w, MAX_BATCH, 20, ids));
  assert_int_equal(calls.graphs, 0); // a prompt is no graph
  static const int batches[] = {1, 3, MAX_BATCH};
  for (int i = 0; i < 3; i++) {
    captured_step(&w, batches[i]);
    for (int t = 0; t < 3; t++) replayed_step(&w, batches[i]);
  }
  for (int i = 0; i < 3; i++) replayed_step(&w, batches[i]); // each shape's graph is kept
  close_work(&w);
}

// With the next span of keys there is one graph more, and no other.
static void a_longer_context_makes_few_graphs(void **state) {
  (void)state;
  struct work w;
  int32_t ids[MAX_BATCH];
  open_work(&w);
  assert_ok(step(&w, 1, PHI3_SPAN_KEYS - 4, ids));
  captured_step(&w, 1);
  for (int t = 0; t < 3; t++) replayed_step(&w, 1);
  captured_step(&w, 1); // the token at position PHI3_SPAN_KEYS
  for (int t = 0; t < 3; t++) replayed_step(&w, 1);
  close_work(&w);
}

// A decode step of `batch` sequences, with logits or without; whether a graph was made for it.
static bool made_a_graph(struct work *w, int batch, enum logits_of logits) {
  static const int32_t token = 1;
  struct forward_input in[MAX_BATCH];
  memset(&calls, 0, sizeof calls);
  for (int i = 0; i < batch; i++) in[i] = (struct forward_input){&w->s[i], &token, 1, false, logits};
  assert_ok(forward_run(&w->forward, in, batch, &e));
  assert_int_equal(calls.graphs, 1);
  return calls.graphs_made == 1;
}

// One decode step of each shape; how many graphs were made.
static int graphs_of_all_shapes(struct work *w) {
  int made = 0;
  for (int batch = 1; batch <= MAX_BATCH; batch++) made += made_a_graph(w, batch, LOGITS_NONE) + made_a_graph(w, batch, LOGITS_LAST);
  return made;
}

// Steps of other rows, logits or spans of keys have graphs of their own; where these are too many, the oldest goes.
static void each_shape_has_its_graph(void **state) {
  (void)state;
  enum { SHAPES = 2 * MAX_BATCH };
  _Static_assert((int)SHAPES <= (int)GPU_GRAPHS && 2 * SHAPES > (int)GPU_GRAPHS, "the second span's graphs drive out some of the first one's, not all");
  struct work w;
  int32_t ids[MAX_BATCH];
  open_work(&w);
  assert_ok(step(&w, MAX_BATCH, 20, ids));
  assert_int_equal(graphs_of_all_shapes(&w), SHAPES);
  assert_int_equal(graphs_of_all_shapes(&w), 0);
  assert_ok(step(&w, 1, PHI3_SPAN_KEYS - 20, ids)); // the first sequence is in all of them
  assert_int_equal(graphs_of_all_shapes(&w), SHAPES);
  assert_int_equal(graphs_of_all_shapes(&w), 0);
  sequence_free(&w.s[0], &w.forward.pages);
  assert_ok(step(&w, 1, 20, ids));
  for (int batch = MAX_BATCH; batch > 0; batch--) { // from the newest on
    bool gone = 2 * (batch - 1) < 2 * SHAPES - GPU_GRAPHS;
    assert_int_equal(made_a_graph(&w, batch, LOGITS_LAST), gone);
    if (gone) break; // what is made anew drives out the next
  }
  close_work(&w);
}

// What a token sees does not end with the first span of keys: the same bits as in one piece.
static void a_replayed_step_sees_all_spans(void **state) {
  (void)state;
  enum { TOKENS = PHI3_SPAN_KEYS + 4 };
  static float one_by_one[4096], whole[4096];
  int32_t tokens[TOKENS];
  struct work w;
  open_work(&w);
  int32_t vocab = w.model.config.vocab_size;
  assert_in_range(vocab, 300, 4096);
  for (int i = 0; i < TOKENS; i++) tokens[i] = 3 + i * 7 % 290;
  struct forward_input all = {&w.s[0], tokens, TOKENS, false, LOGITS_LAST}, most = {&w.s[1], tokens, TOKENS - 6, false, LOGITS_NONE};
  assert_ok(forward_run(&w.forward, &all, 1, &e) && forward_read(&w.forward, STAGE_LOGITS, whole, &e));
  assert_ok(forward_run(&w.forward, &most, 1, &e));
  for (int i = TOKENS - 6; i < TOKENS; i++) {
    struct forward_input next = {&w.s[1], &tokens[i], 1, false, LOGITS_LAST};
    assert_ok(forward_run(&w.forward, &next, 1, &e));
  }
  assert_ok(forward_read(&w.forward, STAGE_LOGITS, one_by_one, &e));
  assert_memory_equal(one_by_one, whole, (size_t)vocab * sizeof *whole);
  close_work(&w);
}

static void generation_replays(void **state) {
  (void)state;
  enum { NEW = 12 };
  static const int32_t prompt[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
  struct work w;
  struct session s;
  struct generated out;
  struct generate_options options = {.max_new = NEW, .ignore_end = true, .sampler = sampler_greedy()};
  open_work(&w);
  session_init(&s, &w.forward, true, 64);
  assert_ok(generate(&s, NULL, prompt, sizeof prompt / sizeof *prompt, &options, &out, &e));
  assert_int_equal(out.ids.count, NEW);
  assert_int_equal(calls.samples, NEW);
  assert_int_equal(calls.graphs, NEW - 1); // the first token is the prompt's
  assert_int_equal(calls.graphs_made, 1);
  generated_free(&out);
  session_free(&s);
  close_work(&w);
}

#ifdef FAKE_NVTX_FILE
static void *listener(const char *name) {
  void *library = dlopen(FAKE_NVTX_FILE, RTLD_NOW | RTLD_NOLOAD), *p = library ? dlsym(library, name) : NULL;
  if (!p) fail_msg("NVTX did not load the library that NVTX_INJECTION64_PATH names (%s)", name);
  return p;
}
static const char *ranges(void) { return (*(const char *(**)(void))&(void *){listener("fake_nvtx_text")})(); }
static int depth(void) { return (*(int (**)(void))&(void *){listener("fake_nvtx_depth")})(); }
static void clear_ranges(void) { (*(void (**)(void))&(void *){listener("fake_nvtx_clear")})(); }

static void add(char *to, const char *line, int layer) { sprintf(to + strlen(to), line, layer); }

// A step whose launches the host makes, operation by operation.
static void expect_operations(char *text, const struct config *c, const char *phase) {
  add(text, phase, 0);
  add(text, "  embed\n", 0);
  for (int i = 0; i < c->num_layers; i++) add(text, "  layer %d\n    attention_in\n    attention\n    attention_out\n    mlp_in\n    mlp_out\n", i);
  add(text, "  logits\n", 0);
}

static void ranges_nest(void **state) {
  (void)state;
  struct work w;
  int32_t ids[MAX_BATCH];
  char expected[8192] = "";
  open_work(&w);
  assert_ok(step(&w, 1, 20, ids));
  assert_ok(sequence_share(&w.s[1], &w.s[0], 20, &w.forward.pages, &e));
  for (int t = 0; t < 2; t++) assert_ok(step(&w, 2, 1, ids));
  expect_operations(expected, &w.model.config, "prefill 20\n");
  strcat(expected, "sample\ncopy_page\n"); // of the shared page that is written to
  expect_operations(expected, &w.model.config, "decode 2\n");
  strcat(expected, "  replay\nsample\ndecode 2\n  replay\nsample\n");
  assert_string_equal(ranges(), expected);
  assert_int_equal(depth(), 0);
  close_work(&w);
  assert_int_equal(depth(), 0);
}

// A step that fails at any launch leaves nothing open that the next one would lie in.
static void ranges_end_with_a_failed_step(void **state) {
  (void)state;
  struct work w;
  int32_t ids[MAX_BATCH];
  open_work(&w);
  assert_ok(step(&w, 1, 20, ids));
  for (int n = 1; n <= 8; n++) {
    memset(&calls, 0, sizeof calls);
    calls.fail_launch = n;
    assert_false(step(&w, 1, 20, ids));
    calls.fail_launch = 0;
    clear_ranges();
    assert_ok(step(&w, 1, 20, ids));
    if (strncmp(ranges(), "prefill 20\n  embed\n", 19)) fail_msg("after a failure at launch %d the ranges begin with: %.60s", n, ranges());
    assert_int_equal(depth(), 0);
  }
  close_work(&w);
}
#endif

// Where the drawn id stands among the logits, as a share of the vocabulary.
static double drawn_rank(struct work *w, const struct sampler_options *o, double random) {
  static float logits[4096];
  int32_t id, vocab = w->model.config.vocab_size, before = 0;
  assert_in_range(vocab, 1, 4096);
  assert_ok(forward_pick(&w->forward, o, &random, &id, &e) && forward_read(&w->forward, STAGE_LOGITS, logits, &e));
  assert_in_range(id, 0, vocab - 1);
  for (int32_t i = 0; i < vocab; i++) before += logits[i] > logits[id];
  return (double)before / vocab;
}

// After a replayed step: so hot that all tokens are about equally probable, the random number is the place; with min-p 1 there is only the best one.
static void replayed_logits_are_drawn_from(void **state) {
  (void)state;
  struct work w;
  int32_t ids[MAX_BATCH];
  open_work(&w);
  for (int t = 0; t < 3; t++) assert_ok(step(&w, 1, t ? 1 : 20, ids));
  assert_int_equal(calls.graphs, 2);
  struct sampler_options hot = sampler_greedy(), best = sampler_greedy();
  hot.temperature = 10000;
  best.temperature = 1;
  best.min_p = 1;
  for (int i = 0; i < 5; i++) {
    const double random[] = {0, 0.25, 0.5, 0.75, 0.999};
    double rank = drawn_rank(&w, &hot, random[i]);
    if (fabs(rank - random[i]) > 0.02) fail_msg("the random number %g draws the token at %g of the vocabulary", random[i], rank);
    assert_true(drawn_rank(&w, &best, random[i]) == 0);
  }
  close_work(&w);
}

int main(void) {
#ifdef FAKE_NVTX_FILE
  setenv("NVTX_INJECTION64_PATH", FAKE_NVTX_FILE, 1);
#endif
  const struct CMUnitTest tests[] = {
#ifdef FAKE_NVTX_FILE
      cmocka_unit_test(ranges_nest), cmocka_unit_test(ranges_end_with_a_failed_step), // first: the listener has heard nothing yet
#endif
      cmocka_unit_test(a_token_is_one_graph), cmocka_unit_test(a_longer_context_makes_few_graphs), cmocka_unit_test(each_shape_has_its_graph),
      cmocka_unit_test(a_replayed_step_sees_all_spans), cmocka_unit_test(generation_replays),
      cmocka_unit_test(replayed_logits_are_drawn_from)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  test_device_close();
  return failed;
}

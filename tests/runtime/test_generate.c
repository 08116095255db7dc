// Generation: longrope across its boundary, ends, rewinding. That the cache does not change a bit: tests/exactness.
#include "tests/test.h"
#include "tests/runtime/goldens.h"
#include "runtime/base/mem.h"
#include "runtime/generate.h"

static struct err e;

static const struct backend_options plain = {
    .threads = 2, .page_size = 16, .num_pages = 64, .max_rows = 320, .max_logits = 1};

static struct generate_options greedy(int64_t n) {
  return (struct generate_options){.max_new = n, .ignore_end = true, .sampler = sampler_greedy()};
}

static void check_greedy(const struct golden *g, void *ctx) {
  if (!g->num_greedy) return;
  struct opened o;
  opened_open(&o, g->model_path, &plain);
  for (int use_cache = 0; use_cache < 2; use_cache++) {
    struct session s;
    struct generated out;
    struct generate_options go = greedy(g->num_greedy);
    session_init(&s, &o.forward, use_cache, 512);
    assert_ok(generate(&s, NULL, g->ids.data, g->ids.shape[0], &go, &out, &e));
    assert_int_equal(out.ids.count, g->num_greedy);
    for (int32_t i = 0; i < g->num_greedy; i++)
      if (out.ids.data[i] != g->greedy[i])
        fail_msg("%s: cache %d: token %d is %d, expected %d", g->name, use_cache, i, out.ids.data[i], g->greedy[i]);
    generated_free(&out);
    session_free(&s);
  }
  opened_close(&o);
  ++*(int *)ctx;
}

static void greedy_ids_are_the_goldens(void **state) {
  (void)state;
  int checked = 0;
  goldens_each(check_greedy, &checked);
  assert_true(checked > 0);
}

// The bundled model's own words, over as many tokens as the runner-up is clearly behind.
static void the_bundled_model_writes_what_it_learnt(void **state) {
  (void)state;
  json_t *list = json_read_file("tests/goldens/nano/greedy.json", &e);
  if (!list) fail_msg("%s", e.text);
  struct opened o;
  opened_open(&o, "runtime/model/nano", &plain);
  size_t n = json_array_size(list), i;
  assert_true(n > 3);
  for (i = 0; i < n; i++) {
    const json_t *c = json_array_get(list, i), *prompt = json_object_get(c, "prompt_ids"),
                 *ids = json_object_get(c, "ids");
    struct ids from = {0};
    for (size_t j = 0; j < json_array_size(prompt); j++)
      assert_ok(ids_push(&from, (int32_t)json_integer_value(json_array_get(prompt, j)), &e));
    struct session s;
    struct generated out;
    struct generate_options go = greedy((int64_t)json_array_size(ids));
    session_init(&s, &o.forward, true, 512);
    assert_ok(generate(&s, NULL, from.data, from.count, &go, &out, &e));
    assert_true(json_number_value(json_object_get(c, "least_margin")) > 1e-3);
    for (size_t j = 0; j < json_array_size(ids); j++)
      if (out.ids.data[j] != json_integer_value(json_array_get(ids, j)))
        fail_msg("%s: token %zu is %d", json_string_value(json_object_get(c, "prompt")), j, out.ids.data[j]);
    generated_free(&out);
    session_free(&s);
    ids_free(&from);
  }
  opened_close(&o);
  json_decref(list);
}

static bool third_id(void *ctx, int32_t id) {
  (void)id;
  return ++*(int *)ctx < 3;
}

// All weights but the table of embeddings, of which a row is read.
static void a_pass_reads_every_weight(void **state) {
  (void)state;
  struct opened o;
  int64_t bytes = 0;
  opened_open(&o, "tests/goldens/models/mha", &plain);
  for (int64_t i = 0; i < o.model.num_tensors; i++)
    if (strcmp(o.model.tensors[i].name, "model.embed_tokens.weight") != 0) bytes += o.model.tensors[i].bytes;
  assert_true(bytes > 0 && weight_bytes_per_pass(&o.model) == bytes);
  opened_close(&o);
}

static void generation_ends_for_its_reasons(void **state) {
  (void)state;
  struct opened o;
  opened_open(&o, "tests/goldens/models/mha", &plain);
  int32_t prompt[4] = {5, 6, 7, 8};
  struct session s;
  struct generated out;
  struct generate_options go = greedy(6);
  session_init(&s, &o.forward, true, 512);
  assert_ok(generate(&s, NULL, prompt, 4, &go, &out, &e));
  assert_int_equal(out.finish, FINISH_LENGTH);
  assert_int_equal(out.ids.count, 6);
  assert_int_equal(s.tokens.count, 9); // the last id was not fed
  int32_t third = out.ids.data[2];
  bool repeated = out.ids.data[0] == third || out.ids.data[1] == third;
  generated_free(&out);
  session_free(&s);

  o.model.config.end_ids[0] = third;
  o.model.config.num_end_ids = 1;
  go.ignore_end = false;
  session_init(&s, &o.forward, true, 512);
  assert_ok(generate(&s, NULL, prompt, 4, &go, &out, &e));
  assert_int_equal(out.finish, FINISH_END_ID);
  if (!repeated) assert_int_equal(out.ids.count, 3);
  assert_int_equal(out.ids.data[out.ids.count - 1], third);
  generated_free(&out);
  session_free(&s);

  o.model.config.end_ids[0] = o.model.config.vocab_size; // one of two is enough
  o.model.config.end_ids[1] = third;
  o.model.config.num_end_ids = 2;
  session_init(&s, &o.forward, true, 512);
  assert_ok(generate(&s, NULL, prompt, 4, &go, &out, &e));
  assert_int_equal(out.finish, FINISH_END_ID);
  assert_int_equal(out.ids.data[out.ids.count - 1], third);
  generated_free(&out);
  session_free(&s);

  int calls = 0;
  go = greedy(6);
  go.on_id = third_id;
  go.ctx = &calls;
  session_init(&s, &o.forward, true, 512);
  assert_ok(generate(&s, NULL, prompt, 4, &go, &out, &e));
  assert_int_equal(out.finish, FINISH_CANCELLED);
  assert_int_equal(out.ids.count, 3);
  generated_free(&out);
  session_free(&s);

  go = greedy(100);
  o.model.config.max_positions = 10;
  session_init(&s, &o.forward, true, 512);
  assert_ok(generate(&s, NULL, prompt, 4, &go, &out, &e));
  assert_int_equal(out.finish, FINISH_POSITIONS);
  assert_int_equal(s.tokens.count, 10);
  generated_free(&out);
  float logits[4096];
  assert_fails(session_feed(&s, prompt, 1, logits, &e), "10 positions");
  assert_int_equal(s.tokens.count, 10);
  session_free(&s);
  session_init(&s, &o.forward, true, 512);
  assert_fails(session_feed(&s, prompt, 0, logits, &e), "prompt");
  session_free(&s);
  opened_close(&o);
}

// Going back and on again gives the bits of going straight, with a window too.
static void check_rewind(const struct golden *g, void *ctx) {
  (void)ctx;
  struct opened o;
  opened_open(&o, g->model_path, &plain);
  int64_t vocab = o.model.config.vocab_size, n = g->ids.shape[0];
  if (n < 6) return opened_close(&o);
  const int32_t *ids = g->ids.data;
  float *a = mem_alloc((size_t)vocab, sizeof *a, "logits", &e), *b = mem_alloc((size_t)vocab, sizeof *b, "logits", &e);
  struct session s, t;
  session_init(&s, &o.forward, true, 3);
  session_init(&t, &o.forward, true, 3);
  assert_ok(session_feed(&s, ids, n - 1, a, &e));
  assert_fails(session_rewind(&s, n, &e), "cut");
  assert_ok(session_rewind(&s, n / 3, &e));
  assert_ok(session_feed(&s, ids + n / 3, n / 2 - n / 3, a, &e));
  assert_ok(session_feed(&t, ids, n / 2, b, &e));
  if (memcmp(a, b, (size_t)vocab * sizeof *a) != 0) fail_msg("%s: logits differ after going back", g->name);
  session_free(&s);
  session_free(&t);
  mem_free(a);
  mem_free(b);
  opened_close(&o);
}

static void rewound_sessions_go_on_exactly(void **state) {
  (void)state;
  goldens_each(check_rewind, NULL);
}

static void a_full_cache_is_an_error_that_can_be_survived(void **state) {
  (void)state;
  struct opened o;
  struct backend_options small = plain;
  small.num_pages = 2;
  opened_open(&o, "tests/goldens/models/mha", &small);
  int32_t ids[40] = {0};
  float logits[4096];
  struct session s;
  session_init(&s, &o.forward, true, 8);
  assert_fails(session_feed(&s, ids, 40, logits, &e), "--max-tokens");
  assert_int_equal(s.tokens.count, 0);
  assert_ok(session_feed(&s, ids, 20, logits, &e));
  session_free(&s);
  assert_int_equal(o.forward.pages.num_free, 2);
  opened_close(&o);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  struct opened o;
  opened_open(&o, "tests/goldens/models/mha", &plain);
  int32_t prompt[2] = {1, 2};
  const char *stop[] = {"x"};
  for (long k = 1;; k++) {
    struct session s;
    struct generated out;
    struct generate_options go = greedy(40);
    go.stop = stop;
    go.num_stop = 1;
    session_init(&s, &o.forward, true, 8);
    mem_fail_from(k);
    bool ok = generate(&s, NULL, prompt, 2, &go, &out, &e);
    mem_fail_from(0);
    session_free(&s);
    if (ok) {
      generated_free(&out);
      assert_true(k > 3);
      break;
    }
    assert_true(e.no_memory);
  }
  opened_close(&o);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(greedy_ids_are_the_goldens),     cmocka_unit_test(the_bundled_model_writes_what_it_learnt),
      cmocka_unit_test(a_pass_reads_every_weight),      cmocka_unit_test(generation_ends_for_its_reasons),
      cmocka_unit_test(rewound_sessions_go_on_exactly), cmocka_unit_test(a_full_cache_is_an_error_that_can_be_survived),
      cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

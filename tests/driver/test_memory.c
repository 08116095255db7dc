// Every allocation of a trace, a comparison, a perplexity and a bench run fails once: each time there is one sentence,
// nothing leaks, and nothing is left on disk.
#include "driver/bench.h"
#include "driver/compare.h"
#include "driver/perplexity.h"
#include "driver/trace.h"
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include "tests/test.h"
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

enum { TOKENS = 3 };

static const char model[] = "tests/goldens/models/mha";

static bool open_model(struct engine *en, struct engine_options *o, struct ids *ids, struct err *e) {
  *o = engine_defaults();
  o->model = model;
  o->threads = 1;
  for (int32_t i = 0; i < TOKENS; i++)
    if (!ids_push(ids, 1 + i, e)) return false;
  return engine_open(en, o, e) && engine_start(en, o, 2 * TOKENS, 1, TOKENS, e);
}

static bool trace(const char *dir, struct err *e) {
  struct engine_options o;
  struct engine en = {0};
  struct trace t = {.engine = &en};
  bool ok = open_model(&en, &o, &t.ids, e) && trace_run(&t, &en.forward, 2, dir, e) && trace_rank(&t, 4, e) &&
            trace_print(&t, e) && trace_print_json(&t, e);
  trace_free(&t);
  engine_close(&en);
  return ok;
}

static bool bench(const char *dir, struct err *e) {
  struct bench_options o = {.new_tokens = TOKENS, .runs = 1, .sweep_runs = 1, .sweep_seconds = 1000, .no_roof = true};
  struct engine en = {0};
  struct bench b = {.options = &o, .engine = &en, .command_line = "phi3 bench", .subject.device = "cpu"};
  struct ids prompts = {0}, outputs = {0}, batches = {0};
  json_t *root = NULL;
  char path[128];
  snprintf(path, sizeof path, "%s/bench.json", dir);
  bool ok = open_model(&en, &o.engine, &b.prompt, e) && ids_push(&prompts, 2, e) && ids_push(&outputs, 2, e);
  if (ok) bench_subject(&b, &en.model.config, &en.model);
  ok = ok && bench_plan(&b, &prompts, &outputs, &batches, en.model.config.max_positions, e) && bench_main(&b, e) &&
       bench_sweep(&b, e);
  if (ok) ok = (root = bench_json(&b)) ? json_write_file(path, root, e) : err_no_memory(e, 0, "the JSON");
  json_decref(root);
  bench_free(&b);
  ids_free(&prompts);
  ids_free(&outputs);
  ids_free(&batches);
  engine_close(&en);
  return ok;
}

static bool compare(const char *dir, struct err *e) {
  struct compare_options o = {.a = engine_defaults(),
                              .b = engine_defaults(),
                              .model_b = model,
                              .feed = FEED_REFERENCE,
                              .top = 5,
                              .new_tokens = 2,
                              .max_nmse = -1,
                              .max_divergence = -1,
                              .min_same_top = -1};
  struct compare c = {.options = &o, .command_line = "phi3 compare"};
  char json[128], heatmap[128];
  snprintf(json, sizeof json, "%s/compare.json", dir);
  snprintf(heatmap, sizeof heatmap, "%s/compare.svg", dir);
  o.a.model = o.b.model = model;
  o.a.threads = o.b.threads = 1;
  o.a.precision = 1;
  bool ok = engine_open(&c.en, &o.a, e);
  for (int32_t i = 0; i < TOKENS && ok; i++) ok = ids_push(&c.ids, 1 + i, e);
  ok = ok && compare_run(&c, e);
  int64_t count;
  struct compare_line *lines = ok ? compare_lines(&c, &count, e) : NULL;
  ok = lines && compare_write_json(&c, lines, count, json, e) && compare_write_heatmap(&c, lines, count, heatmap, e) &&
       compare_print(&c, lines, count, e) && compare_verdict(&c, lines, count, e);
  mem_free(lines);
  compare_free(&c);
  return ok;
}

static bool perplexity(const char *dir, struct err *e) {
  struct perplexity_options o = {.engine = engine_defaults(), .top = 5, .max_divergence = -1, .min_same_top = -1};
  struct perplexity p = {.options = &o, .command_line = "phi3 perplexity", .window = 4, .stride = 2};
  struct perplexity_figures f;
  char base[128];
  snprintf(base, sizeof base, "%s/base", dir);
  o.engine.model = model;
  o.engine.threads = 1;
  o.save = base;
  bool ok = engine_open(&p.en, &o.engine, e);
  for (int32_t i = 0; i < 2 * TOKENS && ok; i++) ok = ids_push(&p.ids, 1 + i, e);
  for (struct span s = {0}; next_span(&s, p.ids.count, p.window, p.stride);) p.count += s.end - s.first_target;
  ok = ok && perplexity_run(&p, e) && perplexity_figures(&p, &f, e);
  if (ok) perplexity_print(&p, &f);
  perplexity_free(&p);
  return ok;
}

// Files in the folder, which are removed.
static int clear(const char *dir) {
  int n = 0;
  DIR *d = opendir(dir);
  assert_non_null(d);
  for (struct dirent *f; (f = readdir(d));)
    if (f->d_name[0] != '.') n += unlinkat(dirfd(d), f->d_name, 0) == 0;
  closedir(d);
  return n;
}

// `files` when it succeeds; while it fails all of them or none.
static void fail_everywhere(bool (*work)(const char *dir, struct err *e), int files) {
  char dir[] = "/tmp/phi3-memory-XXXXXX";
  assert_non_null(mkdtemp(dir));
  fflush(stdout);
  int out = dup(STDOUT_FILENO), null = open("/dev/null", O_WRONLY);
  dup2(null, STDOUT_FILENO);
  bool ok = false, told = true;
  int left = 0;
  long k = 0;
  while (!ok && told && (left == 0 || left == files)) {
    struct err e = {0};
    mem_fail_from(++k);
    ok = work(dir, &e);
    mem_fail_from(0);
    told = ok || e.text[0];
    left = clear(dir);
  }
  fflush(stdout);
  dup2(out, STDOUT_FILENO);
  close(out);
  close(null);
  rmdir(dir);
  if (!told) fail_msg("allocation %ld failed and no reason was given", k);
  if (!ok) fail_msg("allocation %ld failed and left %d files", k, left);
  assert_int_equal(left, files);
  assert_in_range(k, 50, 100000);
}

static void trace_without_memory(void **state) {
  (void)state;
  fail_everywhere(trace, 6);
}

static void bench_without_memory(void **state) {
  (void)state;
  fail_everywhere(bench, 1);
}

static void compare_without_memory(void **state) {
  (void)state;
  fail_everywhere(compare, 2);
}

static void perplexity_without_memory(void **state) {
  (void)state;
  fail_everywhere(perplexity, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(trace_without_memory), cmocka_unit_test(compare_without_memory),
                                     cmocka_unit_test(perplexity_without_memory),
                                     cmocka_unit_test(bench_without_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

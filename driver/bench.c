// phi3 bench: how long generation takes with the key-value cache and without it.
#include "driver/bench.h"
#include "driver/origin.h"
#include "driver/synth.h"
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include <string.h>

static const char default_prompt[] =
    "Write a very long email apologizing to Sarah for the tragic gardening mishap. Explain how it happened.";
enum { DEFAULT_PROMPT_TOKENS = 25 }; // of that text in Phi-3's own tokenizer, for models that have none

static struct command bench_command(struct bench_options *o) {
  static struct option_spec own[24];
  static const struct option_spec *groups[3];
  const struct option_spec fresh[] = {
      {'p', "prompt", OPTION_TEXT, &o->prompt.text, "TEXT",
       "of the experiment; default an email to Sarah; - reads standard input", 0, 0},
      {0, "ids", OPTION_TEXT, &o->prompt.ids, "\"1 2 3\"", "the prompt as ids, in place of --prompt", 0, 0},
      {'n', "new", OPTION_INT, &o->new_tokens, "N", "tokens to generate, end tokens or not; default 100", 1, 1e6},
      {0, "runs", OPTION_INT, &o->runs, "N", "runs after the warm-up; default 7", 1, MAX_ROUNDS},
      {0, "no-uncached", OPTION_FLAG, &o->no_uncached, NULL, "time generation with the cache only", 0, 0},
      {0, "no-sweep", OPTION_FLAG, &o->no_sweep, NULL, "leave out the sweep of lengths and batches", 0, 0},
      {0, "prompts", OPTION_TEXT, &o->prompts, "LIST", "prompt lengths of the sweep; default 16,64,256,1024,3968", 0,
       0},
      {0, "outputs", OPTION_TEXT, &o->outputs, "LIST", "new tokens of the sweep; default 32,128", 0, 0},
      {0, "batches", OPTION_TEXT, &o->batches, "LIST",
       "sequences at once, of the experiment's lengths; default 2,4,8,16", 0, 0},
      {0, "sweep-runs", OPTION_INT, &o->sweep_runs, "N", "runs for each point of the sweep; default 3", 1, MAX_ROUNDS},
      {0, "sweep-seconds", OPTION_INT, &o->sweep_seconds, "S",
       "the sweep leaves out what would make it longer; default 30", 0, 1e9},
      {0, "no-roof", OPTION_FLAG, &o->no_roof, NULL, "do not measure what the machine can do", 0, 0},
      {0, "roof", OPTION_FLAG, &o->roof, NULL, "instead, compare decode and prefill with what the processor can do", 0,
       0},
      {0, "like", OPTION_TEXT, &o->like, "SHAPE",
       "with --device vgpu: estimate a shape without its weights; see phi3 synth --help", 0, 0},
      {0, "sample", OPTION_INT, &o->blocks, "N",
       "with --device vgpu: blocks of a launch that are replayed at most; 0 as many as\n"
       "                                 memory allows; default attention in full, of projections some waves",
       0, 1e9},
      {0, "json", OPTION_OUT, &o->json, "FILE", "write every sample there, with machine, commit and command", 0, 0},
      {0, "csv", OPTION_OUT, &o->csv, "FILE", "write a row for each point and kind", 0, 0},
      {0, "markdown", OPTION_OUT, &o->markdown, "FILE", "write the tables", 0, 0},
      {0, "compare", OPTION_FILE, &o->compare, "FILE",
       "then compare with what --json wrote there; with another such FILE as\n"
       "                                 argument, compare the two and measure nothing",
       0, 0},
      {0, "max-regression", OPTION_FLOAT, &o->max_regression, "PERCENT",
       "exit with 1 when --compare finds something slower by more, and not by noise", 0, 1e6},
      {0, NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
  };
  OPTIONS_FILL(own, fresh);
  groups[0] = own;
  groups[1] = engine_option_table(&o->engine);
  return (struct command){.name = "bench",
                          .usage = "[options] [FILE]",
                          .summary = "Times generation with the key-value cache and without it, first to last token, "
                                     "and gives no time\nunless both give the same ids. Times are mean ± standard "
                                     "deviation (n - 1) of the runs.\n\nWith --device vgpu nothing is timed: the "
                                     "kernels of one layer run on the virtual GPU, and\n"
                                     "what the whole model would take on a Tesla T4 is estimated from them.",
                          .groups = groups,
                          .examples = "  phi3 bench\n"
                                      "  phi3 bench -m smollm2 --json results/smollm2.json --sweep-seconds 1800\n"
                                      "  phi3 bench -m smollm2 --roof\n"
                                      "  phi3 bench --prompts 8,16,32 --outputs 64 --batches 4 --sweep-runs 5\n"
                                      "  phi3 bench --device vgpu --like phi-3-mini-4k --no-sweep\n"
                                      "  phi3 bench -m smollm2 --compare before.json --max-regression 5\n"
                                      "  phi3 bench --compare before.json after.json\n",
                          .max_args = 1};
}

// A list of numbers from 1 on.
static bool parse_list(const char *name, const char *text, int32_t most, struct ids *out, struct err *e) {
  enum { MOST = 64 };
  bool ok = parse_ids(text, out, e) && out->count > 0 && out->count <= MOST;
  for (int64_t i = 0; ok && i < out->count; i++) ok = out->data[i] > 0 && out->data[i] <= most;
  if (ok || e->no_memory) return ok;
  if (most < INT32_MAX)
    return err_set(e, "--%s takes one to %d numbers from 1 to %d such as 2,4,8, not '%s'", name, MOST, most, text);
  return err_set(e, "--%s takes one to %d numbers of tokens such as 16,64,256, not '%s'", name, MOST, text);
}

struct lists {
  struct ids prompts, outputs, batches;
};

static bool parse_lists(const struct bench_options *o, struct lists *l, struct err *e) {
  return parse_list("prompts", o->prompts, INT32_MAX, &l->prompts, e) &&
         parse_list("outputs", o->outputs, INT32_MAX, &l->outputs, e) &&
         parse_list("batches", o->batches, MAX_BATCH, &l->batches, e);
}

static void free_lists(struct lists *l) {
  ids_free(&l->prompts);
  ids_free(&l->outputs);
  ids_free(&l->batches);
}

// The prompt that was asked for; without one the default, as text or, where there is no tokenizer, as ids of its
// number.
static bool read_prompt(struct bench *b, const struct config *c, bool tokenizer, struct err *e) {
  struct prompt_options p = b->options->prompt;
  b->prompt_text = p.text ? p.text : p.ids || !tokenizer ? NULL : default_prompt;
  if (p.text || p.ids) return prompt_read(&p, b->engine, &b->prompt, e);
  p.text = default_prompt;
  if (tokenizer) return prompt_read(&p, b->engine, &b->prompt, e);
  for (int64_t i = 0; i < DEFAULT_PROMPT_TOKENS; i++)
    if (!ids_push(&b->prompt, (int32_t)((i + 1) * 7919 % c->vocab_size), e)) return false;
  return true;
}

static bool plan(struct bench *b, const struct config *c, const struct lists *l, struct err *e) {
  const struct bench_options *o = b->options;
  if (!o->roof && b->prompt.count > c->max_positions - o->new_tokens)
    return err_set(e, "%lld tokens of prompt and %lld new ones, but the model has %d positions; use a smaller -n",
                   (long long)b->prompt.count, (long long)o->new_tokens, c->max_positions);
  return o->no_sweep || o->roof || bench_plan(b, &l->prompts, &l->outputs, &l->batches, c->max_positions, e);
}

// Room for the longest sequence and for the largest batch, whichever takes more pages.
static bool start(struct bench *b, struct err *e) {
  struct engine_options o = b->options->engine;
  int64_t one = b->prompt.count + b->options->new_tokens, longest = one, batch = 1;
  for (int64_t i = 0; i < b->num_sweep; i++) {
    const struct point *p = &b->sweep[i];
    if (p->skipped) continue;
    if (p->prompt_tokens + p->new_tokens > longest) longest = p->prompt_tokens + p->new_tokens;
    if (p->batch > batch) batch = p->batch;
  }
  if (b->options->roof) one = longest = ROOF_TOKENS;
  int64_t share = (longest + batch - 1) / batch;
  if (!o.max_tokens) o.max_tokens = share > one ? share : one;
  return engine_start(b->engine, &o, longest, (int32_t)batch, 1, e);
}

static void open_card(struct bench *b) {
  struct gpu_report r = gpu_backend_report(b->engine->forward.backend);
  struct err none;
  nvml_open(&b->nvml, r.pci[0] ? r.pci : NULL, &none); // without it power and clocks are left out
  snprintf(b->subject.card, sizeof b->subject.card, "%s", r.device);
  b->subject.roof = r.memory_bytes_per_second;
  snprintf(b->subject.roof_text, sizeof b->subject.roof_text, "of %.0f GB/s on paper", 1e-9 * b->subject.roof);
}

static bool open_all(struct bench *b, const struct lists *l, struct err *e) {
  struct engine *en = b->engine;
  const struct bench_options *o = b->options;
  if (!engine_open(en, &o->engine, e) || !read_prompt(b, &en->model.config, en->tokenizer != NULL, e) ||
      !plan(b, &en->model.config, l, e) || !start(b, e))
    return false;
  b->subject.device = en->forward.backend->ops->name;
  bench_subject(b, &en->model.config, &en->model);
  bool cpu = strcmp(b->subject.device, "cpu") == 0;
  if (!cpu) open_card(b);
  if (o->roof && !cpu) return err_set(e, "--roof measures the processor's ceilings; use --device cpu");
  progress_init(&b->progress, &en->forward, 0); // the bar would be of no use
  return true;
}

static bool measure(struct bench *b, const struct lists *l, struct err *e) {
  const struct bench_options *o = b->options;
  if (!open_all(b, l, e)) return false;
  bool cpu = strcmp(b->subject.device, "cpu") == 0;
  if (o->roof) return bench_roof(b, o->runs, true, e);
  if (cpu && !o->no_roof) {
    if (!bench_roof(b, 1, false, e)) return false;
    b->subject.roof = b->rounds[0].read_bytes;
    snprintf(b->subject.roof_text, sizeof b->subject.roof_text, "of the machine's");
  }
  return bench_main(b, e) && bench_sweep(b, e);
}

// The shape: of --like, or of the model, whose tokenizer reads the prompt.
static bool find_shape(struct bench *b, struct config *c, struct err *e) {
  const struct bench_options *o = b->options;
  struct engine *en = b->engine;
  if (o->like) {
    if (o->prompt.text) return err_set(e, "--like has no tokenizer; give the prompt as --ids, or a model with -m");
    if (!synth_like(c, o->like, e)) return false;
    en->model.config.vocab_size = c->vocab_size; // what the prompt's ids are held against
    en->model.config.max_positions = c->max_positions;
    return read_prompt(b, c, false, e);
  }
  if (!engine_open(en, &o->engine, e) || !read_prompt(b, &en->model.config, en->tokenizer != NULL, e)) return false;
  *c = en->model.config;
  snprintf(c->name, sizeof c->name, "%s", o->engine.model);
  en->model.config.short_factor = en->model.config.long_factor = NULL; // now c's
  engine_close(en);
  return true;
}

static bool estimate(struct bench *b, const struct lists *l, struct err *e) {
  struct config c = {0};
  b->subject.device = "vgpu";
  bool ok = find_shape(b, &c, e) && plan(b, &c, l, e);
  if (ok) {
    bench_subject(b, &c, NULL);
    ok = bench_estimate_open(b, &c, e) && bench_estimate(b, e);
  }
  config_free(&c);
  return ok;
}

static bool compare_files(const struct bench_options *o, const char *path, bool *regressed, struct err *e) {
  json_t *before = json_read_file(o->compare, e), *after = before ? json_read_file(path, e) : NULL;
  bool ok = after && bench_compare(before, o->compare, after, path, o->max_regression, regressed, e);
  json_decref(before);
  json_decref(after);
  return ok;
}

// Everything that was asked for, or with a failure none of it.
static bool write_files(struct bench *b, const json_t *before, bool *regressed, struct err *e) {
  const struct bench_options *o = b->options;
  json_t *root = o->json || o->compare ? bench_json(b) : NULL;
  if ((o->json || o->compare) && !root) return err_no_memory(e, 0, "the JSON");
  bool ok = (!o->csv || bench_write_csv(b, o->csv, e)) && (!o->markdown || bench_write_markdown(b, o->markdown, e)) &&
            (!o->json || json_write_file(o->json, root, e));
  if (ok && before) ok = bench_compare(before, o->compare, root, "this run", o->max_regression, regressed, e);
  json_decref(root);
  return ok;
}

static bool run_and_write(struct bench *b, const struct lists *l, const json_t *before, bool *regressed,
                          struct err *e) {
  machine_read(&b->machine);
  bool virtual = b->options->engine.device == DEVICE_VGPU;
  if (!(virtual ? estimate(b, l, e) : measure(b, l, e))) return false;
  if (b->options->roof) bench_print_roof(b);
  else bench_print(b);
  return write_files(b, before, regressed, e);
}

// What would fail in the end fails before the minutes of measuring; and the saved run is read before --json may replace it.
static bool run(struct bench *b, const struct lists *l, bool *regressed, struct err *e) {
  const struct bench_options *o = b->options;
  if (!file_can_write(o->json, e) || !file_can_write(o->csv, e) || !file_can_write(o->markdown, e)) return false;
  json_t *before = o->compare ? json_read_file(o->compare, e) : NULL;
  bool ok = (before || !o->compare) && run_and_write(b, l, before, regressed, e);
  json_decref(before);
  return ok;
}

static int check_usage(const struct command *c, const struct bench_options *o, const struct arguments *args) {
  bool virtual = o->engine.device == DEVICE_VGPU;
  if (o->prompt.text && o->prompt.ids) return usage_error(c, "give either --prompt or --ids, not both");
  if (o->roof && o->no_roof) return usage_error(c, "give either --roof or --no-roof, not both");
  if (o->roof && virtual) return usage_error(c, "--roof measures the processor; leave it out with --device vgpu");
  if (o->roof && (o->csv || o->markdown || o->compare))
    return usage_error(c, "--roof has no --csv, --markdown or --compare");
  if (o->like && !virtual)
    return usage_error(c, "--like estimates a shape with --device vgpu; to time one, write it with phi3 synth --like "
                          "and give that to -m");
  if (args->count && !o->compare)
    return usage_error(c, "'%s' is one argument too many; --compare takes a second file", args->data[0]);
  if (o->max_regression >= 0 && !o->compare) return usage_error(c, "--max-regression needs --compare FILE");
  return -1;
}

static int finish(const struct command *c, const struct bench_options *o, bool ok, bool regressed,
                  const struct err *e) {
  if (!ok) return failure(c, e);
  if (!regressed) return EXIT_OK;
  struct err slower;
  err_set_text(&slower, "slower than %s by more than %g %% and beyond noise; see the table", o->compare,
               (double)o->max_regression);
  return failure(c, &slower);
}

int cmd_bench(int argc, char **argv) {
  struct bench_options o = {.engine = engine_defaults(),
                            .new_tokens = 100,
                            .runs = 7,
                            .prompts = "16,64,256,1024,3968",
                            .outputs = "32,128",
                            .batches = "2,4,8,16",
                            .sweep_runs = 3,
                            .sweep_seconds = 30,
                            .blocks = -1,
                            .max_regression = -1};
  struct command c = bench_command(&o);
  struct arguments args;
  struct engine en = {0};
  struct err e = {0};
  struct lists lists = {0};
  bool regressed = false;
  int code = options_parse(&c, argc, argv, &args);
  if (o.roof) o.no_uncached = true;
  if (code < 0) code = check_usage(&c, &o, &args);
  if (code < 0 && !parse_lists(&o, &lists, &e)) code = e.no_memory ? failure(&c, &e) : usage_error(&c, "%s", e.text);
  if (code < 0 && args.count) {
    bool ok = compare_files(&o, args.data[0], &regressed, &e);
    code = finish(&c, &o, ok, regressed, &e);
  }
  if (code < 0) {
    catch_interrupts();
    char *line = origin_command_line("phi3", argc, argv, &e);
    struct bench b = {.options = &o, .engine = &en, .command_line = line};
    bool ok = line && run(&b, &lists, &regressed, &e);
    code = finish(&c, &o, ok, regressed, &e);
    bench_free(&b);
    mem_free(line);
    engine_close(&en);
  }
  free_lists(&lists);
  return code;
}

// phi3 bench: how long generation takes with the key-value cache and without it.
#include "driver/bench.h"
#include "runtime/base/mem.h"
#include <string.h>

static const char default_prompt[] =
    "Write a very long email apologizing to Sarah for the tragic gardening mishap. Explain how it happened.";

static struct command bench_command(struct bench_options *o) {
  static struct option_spec own[16];
  static const struct option_spec *groups[3];
  const struct option_spec fresh[] = {
      {'p', "prompt", OPTION_TEXT, &o->prompt.text, "TEXT",
       "of the experiment; default an email to Sarah; - reads standard input", 0, 0},
      {0, "ids", OPTION_TEXT, &o->prompt.ids, "\"1 2 3\"", "the prompt as ids, in place of --prompt", 0, 0},
      {'n', "new", OPTION_INT, &o->new_tokens, "N", "tokens to generate, end tokens or not; default 100", 1, 1e6},
      {0, "runs", OPTION_INT, &o->runs, "N", "runs after the warm-up; default 7", 1, MAX_ROUNDS},
      {0, "no-uncached", OPTION_FLAG, &o->no_uncached, NULL, "time generation with the cache only", 0, 0},
      {0, "no-sweep", OPTION_FLAG, &o->no_sweep, NULL, "leave out the sweep of lengths", 0, 0},
      {0, "prompts", OPTION_TEXT, &o->prompts, "LIST", "prompt lengths of the sweep; default 16,64,256", 0, 0},
      {0, "outputs", OPTION_TEXT, &o->outputs, "LIST", "new tokens of the sweep; default 32,128", 0, 0},
      {0, "sweep-runs", OPTION_INT, &o->sweep_runs, "N", "runs for each pair of lengths; default 3", 1, MAX_ROUNDS},
      {0, "sweep-seconds", OPTION_INT, &o->sweep_seconds, "S",
       "the sweep leaves out what would make it longer; default 30", 0, 1e9},
      {0, "no-roof", OPTION_FLAG, &o->no_roof, NULL, "do not measure what the machine can do", 0, 0},
      {0, "roof", OPTION_FLAG, &o->roof, NULL, "instead, compare decode and prefill with what the machine can do", 0,
       0},
      {0, "json", OPTION_TEXT, &o->json, "FILE", "write every sample there, with machine, commit and command", 0, 0},
      {0, NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
  };
  _Static_assert(sizeof fresh <= sizeof own, "the table holds all options");
  memcpy(own, fresh, sizeof fresh);
  groups[0] = own;
  groups[1] = engine_option_table(&o->engine);
  return (struct command){.name = "bench",
                          .usage = "[options]",
                          .summary = "Times generation with the key-value cache and without it, first to last token, "
                                     "and gives no time\nunless both give the same ids. Times are mean ± standard "
                                     "deviation (n - 1) of the runs.",
                          .groups = groups,
                          .examples = "  phi3 bench\n"
                                      "  phi3 bench -m smollm2 --json results/smollm2.json --sweep-seconds 1800\n"
                                      "  phi3 bench -m smollm2 --roof\n"
                                      "  phi3 bench --prompts 8,16,32 --outputs 64 --sweep-runs 5\n"};
}

// A list of lengths from 1 on.
static bool parse_lengths(const char *name, const char *text, struct ids *out, struct err *e) {
  enum { MOST = 64 };
  bool ok = parse_ids(text, out, e) && out->count > 0 && out->count <= MOST;
  for (int64_t i = 0; ok && i < out->count; i++) ok = out->data[i] > 0;
  return ok || err_set(e, "--%s takes one to %d numbers of tokens such as 16,64,256, not '%s'", name, MOST, text);
}

// Room for the longest sequence of experiment and sweep.
static int64_t longest(const struct bench *b, const struct ids *prompts, const struct ids *outputs) {
  int64_t most = b->prompt.count + b->options->new_tokens, prompt = 0, new_tokens = 0;
  if (b->options->roof) return ROOF_TOKENS;
  for (int64_t i = 0; i < prompts->count; i++) prompt = prompts->data[i] > prompt ? prompts->data[i] : prompt;
  for (int64_t i = 0; i < outputs->count; i++)
    new_tokens = outputs->data[i] > new_tokens ? outputs->data[i] : new_tokens;
  return prompt + new_tokens > most ? prompt + new_tokens : most;
}

static bool open_all(struct bench *b, const struct ids *prompts, const struct ids *outputs, struct err *e) {
  const struct bench_options *o = b->options;
  struct engine *en = b->engine;
  if (!engine_open(en, &o->engine, e) || !prompt_read(&o->prompt, en, &b->prompt, e)) return false;
  if (!o->roof && b->prompt.count > en->model.config.max_positions - o->new_tokens)
    return err_set(e, "%lld tokens of prompt and %lld new ones, but the model has %d positions; use a smaller -n",
                   (long long)b->prompt.count, (long long)o->new_tokens, en->model.config.max_positions);
  machine_read(&b->machine);
  return engine_start(en, &o->engine, longest(b, prompts, outputs), 1, 1, e);
}

static bool run(struct bench *b, const struct ids *prompts, const struct ids *outputs, struct err *e) {
  const struct bench_options *o = b->options;
  if (!open_all(b, prompts, outputs, e)) return false;
  struct progress progress; // for Ctrl-C within a pass; the bar would be of no use
  progress_init(&progress, &b->engine->forward, 0);
  if (o->roof) {
    if (!bench_roof(b, o->runs, true, e)) return false;
    bench_print_roof(b);
  } else {
    if ((!o->no_roof && !bench_roof(b, 1, false, e)) || !bench_main(b, e)) return false;
    if (!o->no_sweep && !bench_sweep(b, prompts, outputs, e)) return false;
    bench_print(b);
  }
  return !o->json || bench_write_json(b, o->json, e);
}

static char *join(int argc, char **argv, struct err *e) {
  size_t len = 5;
  for (int i = 0; i < argc; i++) len += strlen(argv[i]) + 3;
  char *text = mem_alloc(len + 1, 1, "the command line", e), *p = text;
  if (!text) return NULL;
  p = stpcpy(p, "phi3");
  for (int i = 0; i < argc; i++) {
    bool plain = argv[i][0] && !argv[i][strcspn(argv[i], " \t\n\"'$`\\*?<>|&;()")];
    p = stpcpy(stpcpy(stpcpy(stpcpy(p, " "), plain ? "" : "'"), argv[i]), plain ? "" : "'");
  }
  return text;
}

int cmd_bench(int argc, char **argv) {
  struct bench_options o = {.engine = engine_defaults(),
                            .new_tokens = 100,
                            .runs = 7,
                            .prompts = "16,64,256",
                            .outputs = "32,128",
                            .sweep_runs = 3,
                            .sweep_seconds = 30};
  struct command c = bench_command(&o);
  struct arguments args;
  struct engine en = {0};
  struct err e = {0};
  struct ids prompts = {0}, outputs = {0};
  int code = options_parse(&c, argc, argv, &args);
  if (o.roof) o.no_uncached = true;
  if (code < 0 && !o.prompt.text && !o.prompt.ids) o.prompt.text = default_prompt;
  if (code < 0) code = prompt_check(&c, &o.prompt);
  if (code < 0 && o.roof && o.no_roof) code = usage_error(&c, "give either --roof or --no-roof, not both");
  if (code < 0 &&
      !(parse_lengths("prompts", o.prompts, &prompts, &e) && parse_lengths("outputs", o.outputs, &outputs, &e)))
    code = usage_error(&c, "%s", e.text);
  if (code < 0) {
    catch_interrupts();
    char *line = join(argc, argv, &e);
    struct bench b = {.options = &o, .engine = &en, .command_line = line};
    code = line && run(&b, &prompts, &outputs, &e) ? EXIT_OK : failure(&c, &e);
    bench_free(&b);
    mem_free(line);
    engine_close(&en);
  }
  ids_free(&prompts);
  ids_free(&outputs);
  return code;
}

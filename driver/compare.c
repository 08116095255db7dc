// phi3 compare: two backends, two precisions or two model files in lockstep; or one of them against published logits.
#include "driver/compare.h"
#include "driver/origin.h"
#include "driver/prompt.h"
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include <string.h>

static const char default_text[] =
    "Write a very long email apologizing to Sarah for the tragic gardening mishap. Explain how it happened.";

struct settings {
  struct compare_options o;
  struct compare_golden_options golden;
  struct prompt_options prompt;
  const char *model, *a, *b;
  int64_t threads, page_size, chunk;
  int feed;
};

static struct command compare_command(struct settings *s) {
  static struct option_spec table[24];
  static const struct option_spec *groups[2];
  const struct option_spec fresh[] = {
      {'m', "model", OPTION_TEXT, &s->model, "MODEL", "a Hugging Face folder, a .gguf file, or a name; default nano", 0,
       0},
      {0, "model-b", OPTION_TEXT, &s->o.model_b, "MODEL",
       "another model of the same shape for b, such as a quantized one", 0, 0},
      {0, "a", OPTION_TEXT, &s->a, "DEVICE", "the reference: cpu, cpu:fp64, cpu:f16, cuda, vgpu; default cpu:fp64", 0,
       0},
      {0, "b", OPTION_TEXT, &s->b, "DEVICE", "what is compared with it; default cpu", 0, 0},
      {0, "feed", OPTION_CHOICE, &s->feed, "own|reference",
       "own: each goes on from its own values; reference: every operation of b starts from a's; default own", 0, 0},
      {0, "ids", OPTION_TEXT, &s->prompt.ids, "\"1 2 3\"", "ids in place of the text", 0, 0},
      {0, "no-special", OPTION_FLAG, &s->prompt.no_special, NULL,
       "without the tokens that the tokenizer puts around a text, such as BOS", 0, 0},
      {'n', "new", OPTION_INT, &s->o.new_tokens, "N", "greedy tokens after the text, until the two differ; default 16",
       0, 1e9},
      {0, "top", OPTION_INT, &s->o.top, "N", "lines of the table, worst first; default 20", 1, 1e9},
      {0, "json", OPTION_OUT, &s->o.json, "FILE", "write every figure there", 0, 0},
      {0, "heatmap", OPTION_OUT, &s->o.heatmap, "FILE.svg", "draw layers by operations there", 0, 0},
      {0, "max-nmse", OPTION_FLOAT, &s->o.max_nmse, "X", "gate of every operation in place of the built-in ones", 0,
       1e30},
      {0, "max-kl", OPTION_FLOAT, &s->o.max_divergence, "X", "gate of the logits' mean KL divergence", 0, 1e30},
      {0, "min-same-top", OPTION_FLOAT, &s->o.min_same_top, "X",
       "gate of the share of tokens with the same most probable next one, from 200 tokens on", 0, 1},
      {0, "golden", OPTION_FILE, &s->golden.path, "FILE.npy",
       "compare a (default cpu) with these logits [rows, columns] in place of b", 0, 0},
      {0, "golden-rows", OPTION_TEXT, &s->golden.rows, "\"0 5 9\"", "positions of its rows; default 0 1 2 ...", 0, 0},
      {0, "max-error", OPTION_FLOAT, &s->golden.max_error, "X",
       "gate of the relative error from --golden; default 1e-5, with fp16 1e-2", 0, 1e30},
      {'t', "threads", OPTION_INT, &s->threads, "N", "processor threads; default one for each processor", 1, 256},
      {0, "chunk", OPTION_INT, &s->chunk, "N", "tokens computed at once, 1 is the decode path; default 512", 1, 65536},
      {0, "page-size", OPTION_INT, &s->page_size, "N", "tokens in a page of the cache; default 16", 1, 4096},
      {0, NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
  };
  OPTIONS_FILL(table, fresh);
  groups[0] = table;
  return (struct command){
      .name = "compare",
      .usage = "[options] [TEXT]",
      .summary = "Runs a and b in lockstep over a text (- reads it from standard input) and compares what each "
                 "operation of each layer\n"
                 "makes of it, worst first: NMSE (squared error over squared reference), the largest error with its "
                 "position and\n"
                 "channel and both values, and the largest magnitude beside fp16's range. In the end: KL divergence, "
                 "the most\n"
                 "probable tokens, and the first greedy token that differs. Exit code 1 when an operation is past its "
                 "gate or a\n"
                 "value is NaN.",
      .groups = groups,
      .examples =
          "  phi3 compare --b vgpu --feed reference\n"
          "  phi3 compare --a cpu:fp64 --b cpu --chunk 1 --heatmap drift.svg \"The capital of France is\"\n"
          "  phi3 compare -m phi-3-mini-4k-instruct --model-b Phi-3-mini-4k-instruct-q4.gguf --a cpu --max-kl 0.1\n"
          "  phi3 compare -m phi-3-mini-4k-instruct --golden tests/goldens/published/phi-3-mini-4k-instruct/logits.npy "
          "--max-error 1e-4 \\\n"
          "      --ids \"1212 318 281 1672 2643 290 428 318 257 1332\"\n",
      .max_args = 1};
}

static struct engine_options device_options(const struct settings *s, const char *model) {
  struct engine_options o = engine_defaults();
  o.model = model;
  o.threads = s->threads;
  if (s->page_size) o.page_size = s->page_size;
  if (s->chunk) o.chunk = s->chunk;
  return o;
}

static int check(struct settings *s, const struct command *c, const struct arguments *args) {
  struct err e;
  if (args->count && s->prompt.ids) return usage_error(c, "give either a text or --ids, not both");
  if (s->golden.path && (s->b || s->o.model_b)) return usage_error(c, "--golden takes the place of --b and --model-b");
  if (s->golden.rows && !s->golden.path) return usage_error(c, "--golden-rows needs --golden");
  if (!s->prompt.ids) s->prompt.text = args->count ? args->data[0] : default_text;
  s->o.a = device_options(s, s->model);
  s->o.b = device_options(s, s->o.model_b ? s->o.model_b : s->model);
  s->o.feed = s->feed ? FEED_REFERENCE : FEED_OWN;
  if (!engine_device(&s->o.a, s->a ? s->a : s->golden.path ? "cpu" : "cpu:fp64", &e))
    return usage_error(c, "--a: %s", e.text);
  if (!engine_device(&s->o.b, s->b ? s->b : "cpu", &e)) return usage_error(c, "--b: %s", e.text);
  return -1;
}

static bool report(struct compare *c, struct err *e) {
  int64_t count;
  struct compare_line *lines = compare_lines(c, &count, e);
  if (!lines) return false;
  bool ok = !c->options->json || compare_write_json(c, lines, count, c->options->json, e);
  ok = ok && (!c->options->heatmap || compare_write_heatmap(c, lines, count, c->options->heatmap, e));
  ok = ok && compare_print(c, lines, count, e) && compare_verdict(c, lines, count, e);
  mem_free(lines);
  return ok;
}

static bool run(const struct settings *s, struct compare *c, struct err *e) {
  c->options = &s->o;
  if (!file_can_write(s->o.json, e) || !file_can_write(s->o.heatmap, e)) return false;
  if (!engine_open(&c->en, &s->o.a, e) || !prompt_read(&s->prompt, &c->en, &c->ids, e)) return false;
  if (s->golden.path) return compare_golden(c, &s->golden, e);
  return compare_run(c, e) && report(c, e);
}

int cmd_compare(int argc, char **argv) {
  struct settings s = {.model = "nano",
                       .o = {.top = 20, .new_tokens = 16, .max_nmse = -1, .max_divergence = -1, .min_same_top = -1},
                       .golden = {.max_error = -1}};
  struct command c = compare_command(&s);
  struct arguments args;
  int code = options_parse(&c, argc, argv, &args);
  if (code < 0) code = check(&s, &c, &args);
  if (code >= 0) return code;
  catch_interrupts();
  struct compare compare = {0};
  struct err e = {0};
  char *line = origin_command_line("phi3", argc, argv, &e);
  compare.command_line = line;
  bool ok = line && run(&s, &compare, &e);
  compare_free(&compare);
  mem_free(line);
  return ok ? EXIT_OK : failure(&c, &e);
}

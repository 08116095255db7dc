// phi3 profile: where the time of prefill and decode goes.
#include "driver/profile.h"
#include "driver/origin.h"
#include "driver/synth.h"
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include <string.h>

static const char default_prompt[] = "Write a very long email apologizing to Sarah for the tragic gardening mishap. Explain how it happened.";
enum { DEFAULT_TOKENS = 25 }; // where there is no tokenizer: about as many as that prompt has

static struct command profile_command(struct profile_options *o) {
  static struct option_spec own[16];
  static const struct option_spec *groups[3];
  const struct option_spec fresh[] = {
      {'p', "prompt", OPTION_TEXT, &o->prompt.text, "TEXT", "of the prefill; default an email to Sarah; - reads standard input", 0, 0},
      {0, "ids", OPTION_TEXT, &o->prompt.ids, "\"1 2 3\"", "the prompt as ids, in place of --prompt", 0, 0},
      {0, "prompt-tokens", OPTION_INT, &o->prompt_tokens, "N", "a prompt of so many made-up ids, in place of --prompt", 1, 1e6},
      {'n', "steps", OPTION_INT, &o->steps, "N", "decode steps after the prefill; the table shows their mean; default 1", 0, 10000},
      {0, "like", OPTION_TEXT, &o->like, "SHAPE", "on vgpu, in place of --model: one layer of this shape (as phi3 synth takes it) stands for all", 0, 0},
      {0, "memory", OPTION_CHOICE, &o->memory, "t4|t4_eff", "vgpu: the T4's memory at 320 GB/s on paper, or at 256; default t4", 0, 0},
      {0, "blocks", OPTION_INT, &o->blocks, "N", "vgpu: blocks of a grid that the model replays at most; default all that memory holds", 0, 1e9},
      {0, "json", OPTION_OUT, &o->json, "FILE", "write the table there, with all counters, machine, commit and command", 0, 0},
      {0, "roofline", OPTION_OUT, &o->roofline, "FILE.svg", "draw the kernels under a T4's roofs", 0, 0},
      {0, "timeline", OPTION_OUT, &o->timeline, "FILE.json", "prefill and first decode step for chrome://tracing and ui.perfetto.dev", 0, 0},
      {0, NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
  };
  OPTIONS_FILL(own, fresh);
  groups[0] = own;
  groups[1] = engine_option_table(&o->engine);
  return (struct command){.name = "profile",
                          .usage = "[options]",
                          .summary = "Shows, kernel by kernel, where the time of a prefill and of a decode step goes, and what bounds it. On a GPU\n"
                                     "(--device cuda) times lie between events, with every launch on its own; on the virtual GPU (--device vgpu, taken\n"
                                     "where there is no GPU) they are estimates for a Tesla T4, from counters, and never measurements.",
                          .groups = groups,
                          .examples = "  phi3 profile\n"
                                      "  phi3 profile --device vgpu --like phi-3-mini-4k --prompt-tokens 512 --memory t4_eff\n"
                                      "  phi3 profile -n 4 --roofline roofline.svg --timeline step.json\n"
                                      "  phi3 profile --device cuda -m phi-3-mini-4k-instruct -p \"Why is the sky blue?\"\n"};
}

// A GPU where there is one, else the virtual one.
static int choose_device(const struct command *c, struct profile_options *o) {
  struct err no_gpu;
  if (o->engine.device == DEVICE_CPU) return usage_error(c, "it looks at GPU kernels; give --device cuda or vgpu");
  if (o->engine.device == DEVICE_AUTO) o->engine.device = !o->like && gpu_available(&no_gpu) ? DEVICE_CUDA : DEVICE_VGPU;
  if (o->like && o->engine.device != DEVICE_VGPU) return usage_error(c, "--like needs --device vgpu");
  return -1;
}

static int check(const struct command *c, struct profile_options *o) {
  bool text = o->prompt.text || o->prompt.ids;
  if (text && o->prompt_tokens) return usage_error(c, "give either --prompt, --ids or --prompt-tokens");
  if (o->like && o->prompt.text) return usage_error(c, "--like has no tokenizer; give --prompt-tokens or --ids");
  if (text) {
    int code = prompt_check(c, &o->prompt);
    if (code >= 0) return code;
  }
  return choose_device(c, o);
}

// A model of one layer, which stands for all of the shape's.
static bool open_like(struct profile *p, struct err *e) {
  struct config c = {0};
  if (!synth_like(&c, p->options->like, e)) return false;
  p->layers = c.num_layers;
  c.num_layers = 1;
  bool ok = synth_model(&p->engine->model, &c, p->options->like, e);
  config_free(&c);
  return ok;
}

static bool made_up(const struct engine *en, int64_t count, struct ids *out, struct err *e) {
  for (int64_t i = 0; i < count; i++)
    if (!ids_push(out, (int32_t)(i * 7919 % en->model.config.vocab_size), e)) return false;
  return true;
}

// As asked for; else the default text, or as many made-up ids.
static bool read_prompt(const struct profile *p, struct ids *prompt, struct err *e) {
  struct prompt_options text = p->options->prompt;
  int64_t count = p->options->prompt_tokens;
  bool none = !text.text && !text.ids && !count;
  if (none && p->engine->tokenizer) text.text = default_prompt;
  else if (none) count = DEFAULT_TOKENS;
  return count ? made_up(p->engine, count, prompt, e) : prompt_read(&text, p->engine, prompt, e);
}

static bool open_all(struct profile *p, struct ids *prompt, struct err *e) {
  const struct profile_options *o = p->options;
  struct engine *en = p->engine;
  if (!(o->like ? open_like(p, e) : engine_open(en, &o->engine, e))) return false;
  const struct config *c = &en->model.config;
  if (!o->like) p->layers = c->num_layers;
  p->layers_run = c->num_layers;
  if (!read_prompt(p, prompt, e)) return false;
  if (prompt->count > c->max_positions - o->steps)
    return err_set(e, "%lld tokens of prompt and %lld steps, but the model has %d positions; give fewer", (long long)prompt->count, (long long)o->steps, c->max_positions);
  p->prompt_tokens = prompt->count;
  p->steps = o->steps;
  return engine_start(en, &o->engine, prompt->count + o->steps, 1, 1, e);
}

static bool run(struct profile *p, struct ids *prompt, struct err *e) {
  const struct profile_options *o = p->options;
  struct profile_rows rows = {0};
  struct progress progress; // for Ctrl-C within a pass
  if (!file_can_write(o->json, e) || !file_can_write(o->roofline, e) || !file_can_write(o->timeline, e)) return false;
  if (!open_all(p, prompt, e)) return false;
  struct gpu_report report = gpu_backend_report(p->engine->forward.backend);
  p->device = report.device;
  progress_init(&progress, &p->engine->forward, 0);
  bool ok = profile_run(p, prompt, e) && profile_rows(p, &rows, e);
  if (ok) profile_print(p, &rows);
  ok = ok && (!o->json || profile_write_json(p, &rows, o->json, e)) && (!o->timeline || profile_write_timeline(p, o->timeline, e)) &&
       (!o->roofline || profile_write_roofline(p, &rows, o->roofline, e));
  mem_free(rows.rows);
  return ok;
}

int cmd_profile(int argc, char **argv) {
  struct profile_options o = {.engine = engine_defaults(), .steps = 1};
  struct command c = profile_command(&o);
  struct arguments args;
  int code = options_parse(&c, argc, argv, &args);
  if (code < 0) code = check(&c, &o);
  if (code >= 0) return code;
  catch_interrupts();
  struct err e = {0};
  struct engine en = {0};
  struct ids prompt = {0};
  char *line = origin_command_line("phi3", argc, argv, &e);
  struct profile p = {.options = &o, .engine = &en, .command = line, .estimate = o.engine.device == DEVICE_VGPU};
  code = line && run(&p, &prompt, &e) ? EXIT_OK : failure(&c, &e);
  profile_free(&p);
  ids_free(&prompt);
  mem_free(line);
  engine_close(&en);
  return code;
}

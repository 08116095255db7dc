// phi3 trace: one token's way through the model, stage by stage, as text, as JSON, or as arrays in files.
#include "driver/trace.h"
#include "driver/prompt.h"
#include <string.h>

struct settings {
  struct engine_options engine;
  struct prompt_options prompt;
  const char *dump;
  int64_t top;
  bool json;
};

static struct command trace_command(struct settings *s) {
  static struct option_spec own[9];
  static const struct option_spec *groups[3];
  const struct option_spec fresh[] = {
      {'p', "prompt", OPTION_TEXT, &s->prompt.text, "TEXT", "the text before the token; - reads it from standard input",
       0, 0},
      {0, "ids", OPTION_TEXT, &s->prompt.ids, "\"1 2 3\"", "the prompt as ids, in place of --prompt", 0, 0},
      {0, "chat", OPTION_FLAG, &s->prompt.chat, NULL, "put the prompt into the model's chat form", 0, 0},
      {0, "chat-form", OPTION_CHOICE, &s->prompt.chat_form, CHAT_FORM_WORDS, CHAT_FORM_HELP, 0, 0},
      {0, "no-special", OPTION_FLAG, &s->prompt.no_special, NULL,
       "without the tokens that the tokenizer puts around a text, such as BOS", 0, 0},
      {0, "top", OPTION_INT, &s->top, "N", "candidates shown; default 10", 1, 1e9},
      {0, "dump", OPTION_TEXT, &s->dump, "DIR",
       "write ids.npy, embedding.npy, layer_NN.npy, norm.npy and logits.npy there", 0, 0},
      {0, "json", OPTION_FLAG, &s->json, NULL, "print one JSON object in place of text", 0, 0},
      {0, NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
  };
  OPTIONS_FILL(own, fresh);
  groups[0] = own;
  groups[1] = engine_option_table(&s->engine);
  return (struct command){.name = "trace",
                          .usage = "[options] -p TEXT",
                          .summary =
                              "Walks one token through the model: ids, embedding, each layer's output, final "
                              "norm, logits, the most probable\nnext tokens, and the text of the best. Each stage "
                              "is shown with its shape, its norm over all tokens and\nits first values. --chunk 1 "
                              "takes the decode path; the stages are the same to the bit.",
                          .groups = groups,
                          .examples = "  phi3 trace -p \"The capital of France is\"\n"
                                      "  phi3 trace -m smollm2 -p \"The capital of Germany is\" --top 5 --dump stages\n"
                                      "  phi3 trace --ids \"1 2 3\" --chunk 1 --json\n"};
}

static bool run(const struct settings *s, struct engine *en, struct trace *t, struct err *e) {
  if (!engine_open(en, &s->engine, e) || !prompt_read(&s->prompt, en, &t->ids, e)) return false;
  int64_t count = t->ids.count, chunk = s->engine.chunk < count ? s->engine.chunk : count;
  if (!engine_start(en, &s->engine, count, 1, (int32_t)chunk, e)) return false;
  struct progress progress;
  progress_init(&progress, &en->forward, count);
  t->engine = en;
  if (!trace_run(t, &en->forward, chunk, s->dump, e)) return false;
  bool ranked = trace_rank(t, s->top, e); // the stages are worth seeing all the more when a logit is no number
  bool printed = s->json ? trace_print_json(t, e) : trace_print(t, e);
  return ranked && printed;
}

int cmd_trace(int argc, char **argv) {
  struct settings s = {.engine = engine_defaults(), .top = 10};
  struct command c = trace_command(&s);
  struct arguments args;
  int code = options_parse(&c, argc, argv, &args);
  if (code < 0) code = prompt_check(&c, &s.prompt);
  if (code < 0 && s.dump && !s.dump[0]) code = usage_error(&c, "--dump needs a folder, not ''");
  if (code >= 0) return code;
  catch_interrupts();
  struct engine en = {0};
  struct trace t = {0};
  struct err e = {0};
  bool ok = run(&s, &en, &t, &e);
  trace_free(&t);
  engine_close(&en);
  return ok ? EXIT_OK : failure(&c, &e);
}

#include "driver/prompt.h"
#include "driver/text.h"
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct settings {
  struct engine_options engine;
  struct sampler_options sampler;
  struct prompt_options prompt;
  int64_t new_tokens, top_k;
  struct texts stop;
  bool no_cache, full_text, json, ignore_end;
};

static struct command generate_command(struct settings *s) {
  static struct option_spec own[20];
  static const struct option_spec *groups[3];
  const struct option_spec fresh[] = {
      {'p', "prompt", OPTION_TEXT, &s->prompt.text, "TEXT", "the text to continue; - reads it from standard input", 0,
       0},
      {0, "ids", OPTION_TEXT, &s->prompt.ids, "\"1 2 3\"", "the prompt as ids, in place of --prompt", 0, 0},
      {'n', "new", OPTION_INT, &s->new_tokens, "N", "tokens to generate at most; default 50", 1, 1e9},
      {0, "chat", OPTION_FLAG, &s->prompt.chat, NULL, "put the prompt into the model's chat form", 0, 0},
      {0, "chat-form", OPTION_CHOICE, &s->prompt.chat_form, CHAT_FORM_WORDS, CHAT_FORM_HELP, 0, 0},
      {0, "full-text", OPTION_FLAG, &s->full_text, NULL, "print the prompt too", 0, 0},
      {0, "no-cache", OPTION_FLAG, &s->no_cache, NULL, "compute the whole text anew for each token", 0, 0},
      {0, "temperature", OPTION_FLOAT, &s->sampler.temperature, "T", "0 takes the most probable token; default 0", 0,
       1000},
      {0, "top-k", OPTION_INT, &s->top_k, "K", "sample among the K most probable; 0 all; default 0", 0, 1e9},
      {0, "top-p", OPTION_FLOAT, &s->sampler.top_p, "P",
       "sample among the fewest that reach this probability; default 1", 0, 1},
      {0, "min-p", OPTION_FLOAT, &s->sampler.min_p, "P",
       "drop tokens below this share of the best one's probability; default 0", 0, 1},
      {0, "repetition-penalty", OPTION_FLOAT, &s->sampler.repetition_penalty, "R",
       "above 1 makes seen tokens less probable; default 1", 0.01, 100},
      {0, "seed", OPTION_U64, &s->sampler.seed, "S", "of the sampling; default 0", 0, 0},
      {0, "stop", OPTION_TEXTS, &s->stop, "TEXT", "end before this text; may be given several times", 0, 0},
      {0, "ignore-end", OPTION_FLAG, &s->ignore_end, NULL, "go on past the model's end tokens", 0, 0},
      {0, "json", OPTION_FLAG, &s->json, NULL, "print one JSON object in place of text", 0, 0},
      {0, NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
  };
  OPTIONS_FILL(own, fresh);
  groups[0] = own;
  groups[1] = engine_option_table(&s->engine);
  return (struct command){
      .name = "generate",
      .usage = "[options] -p TEXT",
      .summary = "Continues a text, greedily unless a temperature is given. The text goes to standard output as it "
                 "comes, statistics to standard error.",
      .groups = groups,
      .examples =
          "  phi3 generate -p \"The capital of France is\" -n 8\n"
          "  phi3 generate -m smollm2 --chat -p \"Why is the sky blue?\" --temperature 0.7 --top-p 0.9 --seed 1\n"
          "  phi3 generate --no-cache -p \"Once upon a time\" -n 100\n",
      .max_args = 0};
}

struct output {
  bool stream; // text goes to standard output
  bool begun;  // and some has gone there
  char *text;  // collected for --json
  size_t len, capacity;
  bool failed; // no memory for the text
};

static bool on_text(void *ctx, const char *text, size_t n) {
  struct output *out = ctx;
  if (interrupted()) return false;
  out->begun |= out->stream && n;
  if (out->stream) return fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0;
  if (out->len + n > out->capacity) {
    struct err e;
    char *p = mem_grow(out->text, out->len, (out->len + n) * 2, 1, "the text", &e);
    if (!p) return out->failed = true, false;
    out->text = p;
    out->capacity = (out->len + n) * 2;
  }
  memcpy(out->text + out->len, text, n);
  out->len += n;
  return true;
}

static bool on_id(void *ctx, int32_t id) {
  (void)ctx;
  (void)id;
  return !interrupted();
}

static bool cancelled(void *ctx) {
  (void)ctx;
  return interrupted();
}

static json_t *json_ids(const int32_t *ids, int64_t n) {
  json_t *a = json_array();
  for (int64_t i = 0; i < n; i++) json_array_append_new(a, json_integer(ids[i]));
  return a;
}

static double rate(int64_t tokens, double seconds) { return seconds > 0 ? (double)tokens / seconds : 0; }

static bool print_json(const struct settings *s, const struct engine *en, const struct ids *prompt,
                       const struct generated *g, const struct output *out, struct err *e) {
  json_use_mem();
  int64_t after = g->ids.count - 1;
  json_t *root = json_pack(
      "{s:s, s:o, s:o, s:o, s:s, s:b, s:f, s:f, s:f, s:f, s:I}", "model", en->model.path, "prompt_ids",
      json_ids(prompt->data, prompt->count), "ids", json_ids(g->ids.data, g->ids.count), "text",
      en->tokenizer ? json_stringn_nocheck(out->text ? out->text : "", out->len) : json_null(), "finish",
      finish_names[g->finish], "cache", !s->no_cache, "load_seconds", en->load_seconds, "first_token_seconds",
      g->first_seconds, "seconds", g->seconds, "tokens_per_second", rate(after, g->seconds - g->first_seconds),
      "weight_bytes_per_pass", (json_int_t)weight_bytes_per_pass(&en->model));
  return json_print(root, e);
}

static const char *plural(int64_t n) { return n == 1 ? "" : "s"; }

static void print_statistics(const struct engine *en, const struct ids *prompt, const struct generated *g) {
  static const char *const ends[] = {"the length asked for", "an end token", "a stop text", "the model's last position",
                                     "Ctrl-C"};
  char time[TEXT_QUANTITY];
  int64_t after = g->ids.count - 1; // tokens after the first
  double seconds = g->seconds - g->first_seconds, per_second = rate(after, seconds);
  fprintf(stderr, "prompt %lld token%s, time to first token %s (%.1f tokens/s), ", (long long)prompt->count,
          plural(prompt->count), text_seconds(g->first_seconds, time), rate(prompt->count, g->first_seconds));
  fprintf(stderr, "generated %lld token%s", (long long)g->ids.count, plural(g->ids.count));
  if (after > 0)
    fprintf(stderr, " at %.1f tokens/s, weights read at %.2f GB/s", per_second,
            per_second * 1e-9 * (double)weight_bytes_per_pass(&en->model));
  fprintf(stderr, ", load %s, ended by %s\n", text_seconds(en->load_seconds, time), ends[g->finish]);
}

// The end of the output: what was generated, and how fast.
static bool finish(const struct settings *s, const struct engine *en, const struct ids *prompt,
                   const struct generated *g, const struct output *out, struct err *e) {
  if (out->failed) return err_no_memory(e, out->capacity, "the generated text");
  if (g->finish == FINISH_CANCELLED && !interrupted()) return err_set(e, "cannot write to standard output");
  if (g->finish == FINISH_CANCELLED && g->ids.count == 0) return err_set(e, "interrupted");
  if (s->json) return print_json(s, en, prompt, g, out, e);
  for (int64_t i = 0; i < g->ids.count && !en->tokenizer; i++) printf("%s%d", i ? " " : "", g->ids.data[i]);
  putchar('\n');
  if (fflush(stdout) == 0) print_statistics(en, prompt, g);
  return true;
}

static bool run(const struct settings *s, struct engine *en, struct ids *prompt, struct err *e) {
  if (!engine_open(en, &s->engine, e) || !prompt_read(&s->prompt, en, prompt, e)) return false;
  if (!engine_start(en, &s->engine, prompt->count + s->new_tokens, 1, 1, e)) return false;
  struct output out = {.stream = !s->json};
  struct progress progress;
  progress_init(&progress, &en->forward, prompt->count);
  enum prompt_text shown = s->full_text ? PROMPT_SHOWN : s->prompt.chat ? PROMPT_APART : PROMPT_CONTINUED;
  struct generate_options o = {.max_new = s->new_tokens,
                               .ignore_end = s->ignore_end,
                               .prompt_text = shown,
                               .stop = s->stop.data,
                               .num_stop = s->stop.count,
                               .sampler = s->sampler,
                               .on_text = on_text,
                               .on_id = on_id,
                               .cancelled = cancelled,
                               .ctx = &out};
  struct session session;
  session_init(&session, &en->forward, !s->no_cache, (int32_t)s->engine.chunk);
  struct generated g = {0};
  bool ok =
      generate(&session, en->tokenizer, prompt->data, prompt->count, &o, &g, e) && finish(s, en, prompt, &g, &out, e);
  if (!ok && out.begun) putchar('\n'), fflush(stdout); // the error begins a line of its own
  generated_free(&g);
  session_free(&session);
  mem_free(out.text);
  return ok;
}

int cmd_generate(int argc, char **argv) {
  struct settings s = {.engine = engine_defaults(), .sampler = sampler_greedy(), .new_tokens = 50};
  struct command c = generate_command(&s);
  struct arguments args;
  int code = options_parse(&c, argc, argv, &args);
  if (code < 0) code = prompt_check(&c, &s.prompt);
  if (code >= 0) return code;
  s.sampler.top_k = (int32_t)(s.top_k > INT32_MAX ? INT32_MAX : s.top_k);
  tell_greedy(&c, &s.sampler);
  catch_interrupts();
  struct engine en = {0};
  struct ids prompt = {0};
  struct err e = {0};
  bool ok = run(&s, &en, &prompt, &e);
  ids_free(&prompt);
  engine_close(&en);
  return ok ? EXIT_OK : failure(&c, &e);
}

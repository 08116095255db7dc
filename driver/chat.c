#include "driver/driver.h"
#include "runtime/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
  struct engine_options engine;
  struct sampler_options sampler;
  const char *system;
  int form; // enum chat_format; CHAT_NONE: the one that the file holds
  int64_t new_tokens, top_k;
};

static struct command chat_command(struct settings *s) {
  static struct option_spec own[12];
  static const struct option_spec *groups[3];
  const struct option_spec fresh[] = {
      {0, "system", OPTION_TEXT, &s->system, "TEXT", "what the assistant is told first", 0, 0},
      {0, "chat-form", OPTION_CHOICE, &s->form, CHAT_FORM_WORDS, CHAT_FORM_HELP, 0, 0},
      {'n', "new", OPTION_INT, &s->new_tokens, "N", "tokens of an answer at most; default 500", 1, 1e9},
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
      {0, NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
  };
  OPTIONS_FILL(own, fresh);
  groups[0] = own;
  groups[1] = engine_option_table(&s->engine);
  return (struct command){
      .name = "chat",
      .usage = "[options]",
      .summary = "A dialogue in the model's chat form: a line of input is a message, an empty line or end of input "
                 "ends it. Ctrl-C ends an answer, or "
                 "at the prompt the dialogue.",
      .groups = groups,
      .examples =
          "  phi3 chat\n  phi3 chat -m smollm2 --system \"You answer in one sentence.\" --temperature 0.7 --top-p 0.9\n"
          "  echo \"What is the capital of Italy?\" | phi3 chat\n"};
}

struct dialogue {
  struct chat_message *messages;
  int32_t count, capacity;
};

// Takes the content over.
static bool add_message(struct dialogue *d, const char *role, char *content, struct err *e) {
  if (d->count == d->capacity) {
    int32_t capacity = d->capacity * 2 + 8;
    struct chat_message *m = mem_grow(d->messages, (size_t)d->count, (size_t)capacity, sizeof *m, "the dialogue", e);
    if (!m) return mem_free(content), false;
    d->messages = m;
    d->capacity = capacity;
  }
  d->messages[d->count++] = (struct chat_message){role, content};
  return content != NULL;
}

static void free_dialogue(struct dialogue *d) {
  for (int32_t i = 0; i < d->count; i++) mem_free((void *)(uintptr_t)d->messages[i].content);
  mem_free(d->messages);
}

struct answer {
  char *text;
  size_t len, capacity;
  bool failed;
};

static bool on_text(void *ctx, const char *text, size_t n) {
  struct answer *a = ctx;
  if (a->len + n + 1 > a->capacity) {
    struct err e;
    size_t capacity = (a->len + n + 1) * 2;
    char *p = mem_grow(a->text, a->len, capacity, 1, "the answer", &e);
    if (!p) return a->failed = true, false;
    a->text = p;
    a->capacity = capacity;
  }
  memcpy(a->text + a->len, text, n);
  a->len += n;
  return fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0 && !interrupted();
}

static bool cancelled(void *ctx) {
  (void)ctx;
  return interrupted();
}

// The whole dialogue as ids; what the session already holds of it is kept, the rest of the session is cut off. HF's
// chat template on all messages gives the same ids.
static bool next_prompt(const struct engine *en, const struct dialogue *d, struct session *s, struct ids *all,
                        int64_t *known, struct err *e) {
  char *text = tokenizer_chat_render(en->tokenizer, d->messages, d->count, e);
  bool ok = text && tokenizer_encode(en->tokenizer, text, strlen(text), true, all, e);
  mem_free(text);
  *known = 0;
  while (ok && *known < s->tokens.count && *known < all->count - 1 && s->tokens.data[*known] == all->data[*known])
    ++*known;
  return ok && session_rewind(s, *known, e);
}

static bool answer(const struct settings *o, struct engine *en, struct dialogue *d, struct session *s, struct err *e) {
  struct ids all = {0};
  struct answer a = {0};
  struct generated g = {0};
  int64_t known;
  bool ok = next_prompt(en, d, s, &all, &known, e);
  struct generate_options go = {.max_new = o->new_tokens,
                                .prompt_text = PROMPT_APART,
                                .sampler = o->sampler,
                                .on_text = on_text,
                                .cancelled = cancelled,
                                .ctx = &a};
  go.sampler.seed += (uint64_t)d->count; // another draw for each answer
  if (ok) ok = generate(s, en->tokenizer, all.data + known, all.count - known, &go, &g, e);
  if (ok && a.failed) ok = err_no_memory(e, a.len, "the answer");
  if (ok) {
    printf("\n");
    if (isatty(STDERR_FILENO))
      fprintf(stderr, "[%lld tokens, %.1f tokens/s, %lld of %d positions used]\n", (long long)g.ids.count,
              g.seconds > 0 ? (double)g.ids.count / g.seconds : 0, (long long)s->tokens.count,
              en->model.config.max_positions);
    ok = add_message(d, "assistant", mem_strdup(a.text ? a.text : "", e), e);
  }
  mem_free(a.text);
  generated_free(&g);
  ids_free(&all);
  return ok;
}

static bool talk(const struct settings *o, struct engine *en, struct dialogue *d, struct session *s, struct err *e) {
  char *line = NULL;
  size_t capacity = 0;
  bool ok = true, terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
  while (ok) {
    if (terminal) printf("> "), fflush(stdout);
    ssize_t n = getline(&line, &capacity, stdin);
    if (n < 0 && ferror(stdin) && !interrupted()) ok = err_set(e, "cannot read the input");
    if (n < 0 && terminal) printf("\n"); // what follows begins a line of its own
    if (n < 0) break;
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = 0;
    if (n == 0) break;
    if (strlen(line) != (size_t)n) ok = err_set(e, "a chat message cannot hold a zero byte");
    ok = ok && add_message(d, "user", mem_strdup(line, e), e) && answer(o, en, d, s, e);
    if (interrupted() && !terminal) break;
    forget_interrupt(); // at a terminal it was the answer that should end
  }
  free(line);
  return ok;
}

static bool run(const struct settings *o, struct engine *en, struct err *e) {
  if (!engine_open(en, &o->engine, e) || !engine_needs_text(en, e) || !engine_choose_chat(en, o->form, e)) return false;
  if (!engine_start(en, &o->engine, en->model.config.max_positions, 1, 1, e)) return false;
  struct dialogue d = {0};
  struct session s;
  struct progress progress;
  progress_init(&progress, &en->forward, 0);
  session_init(&s, &en->forward, true, (int32_t)o->engine.chunk);
  bool ok = !o->system || add_message(&d, "system", mem_strdup(o->system, e), e);
  if (ok) ok = talk(o, en, &d, &s, e);
  if (!ok && interrupted()) ok = true; // a clean end
  session_free(&s);
  free_dialogue(&d);
  return ok;
}

int cmd_chat(int argc, char **argv) {
  struct settings s = {.engine = engine_defaults(), .sampler = sampler_greedy(), .new_tokens = 500};
  struct command c = chat_command(&s);
  struct arguments args;
  int code = options_parse(&c, argc, argv, &args);
  if (code >= 0) return code;
  s.sampler.top_k = (int32_t)(s.top_k > INT32_MAX ? INT32_MAX : s.top_k);
  tell_greedy(&c, &s.sampler);
  catch_interrupts();
  struct engine en = {0};
  struct err e = {0};
  bool ok = run(&s, &en, &e);
  engine_close(&en);
  return ok ? EXIT_OK : failure(&c, &e);
}

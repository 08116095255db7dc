// phi3 perplexity: how well a model predicts a text, window by window, and how far its distributions are from a saved
// run's.
#include "driver/perplexity.h"
#include "driver/origin.h"
#include "runtime/base/mem.h"
#include <string.h>

enum { DEFAULT_WINDOW = 2048, DEFAULT_TOP = 256 };

static struct command perplexity_command(struct perplexity_options *o) {
  static struct option_spec own[14];
  static const struct option_spec *groups[3];
  const struct option_spec fresh[] = {
      {0, "ids", OPTION_TEXT, &o->ids, "\"1 2 3\"", "ids in place of a file", 0, 0},
      {0, "no-special", OPTION_FLAG, &o->no_special, NULL,
       "without the tokens that the tokenizer puts around a text, such as BOS", 0, 0},
      {0, "window", OPTION_INT, &o->window, "N",
       "tokens that are seen at once; default the model's positions, at most 2048", 2, 1e9},
      {0, "stride", OPTION_INT, &o->stride, "N", "tokens from window to window; default half a window", 1, 1e9},
      {0, "save-base", OPTION_OUT, &o->save, "FILE", "keep this run's distributions there", 0, 0},
      {0, "base-top", OPTION_INT, &o->top, "N", "of each token the N largest logits; 0 keeps all; default 256", 0, 1e9},
      {0, "against", OPTION_FILE, &o->against, "FILE", "compare with a saved run; its text is taken when none is given",
       0, 0},
      {0, "gate", OPTION_FLAG, &o->gate, NULL,
       "exit with 1 unless mean KL <= 1e-4 and same top >= 99.5 %, over 2000 tokens or more", 0, 0},
      {0, "max-kl", OPTION_FLOAT, &o->max_divergence, "X", "exit with 1 when the mean KL divergence is above", 0, 1e30},
      {0, "min-same-top", OPTION_FLOAT, &o->min_same_top, "X",
       "exit with 1 when the share of tokens with the same most probable one is below", 0, 1},
      {0, "json", OPTION_OUT, &o->json, "FILE", "write every figure there", 0, 0},
      {0, NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
  };
  OPTIONS_FILL(own, fresh);
  groups[0] = own;
  groups[1] = engine_option_table(&o->engine);
  return (struct command){
      .name = "perplexity",
      .usage = "[options] [FILE]",
      .summary = "Measures how well a model predicts a text (- reads it from standard input): the exponential of the "
                 "mean loss. Windows\n"
                 "overlap, and each token is counted once, where it has the most before it; the error bar is one "
                 "standard error, as\n"
                 "if tokens were independent. A saved run gives, later, the KL divergence of another backend, "
                 "precision or file.",
      .groups = groups,
      .examples =
          "  phi3 perplexity tests/goldens/perplexity/text.txt\n"
          "  phi3 perplexity --precision fp64 --save-base base.bin --base-top 0 tests/goldens/perplexity/text.txt\n"
          "  phi3 perplexity --device vgpu --against base.bin --gate\n"
          "  phi3 perplexity -m smollm2 --window 512 --stride 256 README.md\n",
      .max_args = 1};
}

static int check(struct perplexity_options *o, const struct command *c, const struct arguments *args) {
  o->file = args->count ? args->data[0] : NULL;
  if (o->file && o->ids) return usage_error(c, "give either a file or --ids, not both");
  if (!o->file && !o->ids && !o->against)
    return usage_error(c, "there is no text; give a file, - for standard input, or --ids");
  if ((o->gate || o->max_divergence >= 0 || o->min_same_top >= 0) && !o->against)
    return usage_error(c, "a gate needs a saved run to compare with: --against FILE");
  if (o->window && o->stride > o->window)
    return usage_error(c, "--stride %lld leaves tokens out between windows of %lld", (long long)o->stride,
                       (long long)o->window);
  return -1;
}

static bool encode(struct perplexity *p, const char *text, size_t len, struct err *e) {
  return engine_needs_text(&p->en, e) &&
         tokenizer_encode(p->en.tokenizer, text, len, !p->options->no_special, &p->ids, e);
}

static bool read_text(struct perplexity *p, struct err *e) {
  const struct perplexity_options *o = p->options;
  if (o->ids) return parse_ids(o->ids, &p->ids, e);
  if (!o->file) { // the base's own
    bool ok = true;
    for (int64_t i = 0; ok && i < p->base.head.tokens; i++) ok = ids_push(&p->ids, base_id(&p->base, i), e);
    return ok;
  }
  if (strcmp(o->file, "-") == 0) {
    size_t len;
    char *text = read_all(stdin, &len, e);
    bool ok = text && encode(p, text, len, e);
    mem_free(text);
    return ok;
  }
  struct file f;
  if (!file_map(&f, o->file, e)) return false;
  bool ok = encode(p, f.data ? (const char *)f.data : "", f.size, e);
  file_unmap(&f);
  return ok;
}

static bool check_ids(const struct perplexity *p, struct err *e) {
  int32_t vocab = p->en.model.config.vocab_size;
  if (p->ids.count < 2)
    return err_set(e, "the text has %lld tokens; a prediction needs at least 2", (long long)p->ids.count);
  for (int64_t i = 0; i < p->ids.count; i++)
    if (p->ids.data[i] >= vocab) return err_set(e, "id %d is not in the vocabulary of %d", p->ids.data[i], vocab);
  return true;
}

// From the command line, else from the base, else by default.
static bool set_windows(struct perplexity *p, struct err *e) {
  const struct perplexity_options *o = p->options;
  int64_t most = p->en.model.config.max_positions;
  const struct base_header *base = o->against ? &p->base.head : NULL;
  p->window = o->window ? o->window : base ? base->window : most < DEFAULT_WINDOW ? most : DEFAULT_WINDOW;
  p->stride = o->stride ? o->stride : base ? base->stride : p->window > 1 ? p->window / 2 : 1;
  if (p->window > most)
    return err_set(e, "a window of %lld tokens, but the model has %lld positions; give a smaller --window",
                   (long long)p->window, (long long)most);
  if (p->window < 2) return err_set(e, "the model has %lld positions; a prediction needs 2", (long long)most);
  return p->stride <= p->window || err_set(e, "a stride of %lld tokens leaves some out between windows of %lld",
                                           (long long)p->stride, (long long)p->window);
}

// The saved run is of this text, cut the same way, by a model of this shape.
static bool check_base(const struct perplexity *p, struct err *e) {
  const struct base_header *h = &p->base.head;
  const struct config *c = &p->en.model.config;
  const char *path = p->options->against;
  if (h->vocab != (uint32_t)c->vocab_size || h->layers != (uint32_t)c->num_layers ||
      h->hidden != (uint32_t)c->hidden_size)
    return err_set(
        e, "%s was saved by another model, %.63s: vocabulary %u, %u layers, hidden size %u; here they are %d, %d, %d",
        path, h->model, h->vocab, h->layers, h->hidden, c->vocab_size, c->num_layers, c->hidden_size);
  if (h->tokens != p->ids.count)
    return err_set(e,
                   "%s was saved from another text: %lld tokens, here %lld; leave the text out to take the saved one",
                   path, (long long)h->tokens, (long long)p->ids.count);
  for (int64_t i = 0; i < h->tokens; i++)
    if (base_id(&p->base, i) != p->ids.data[i])
      return err_set(
          e, "%s was saved from another text: token %lld is %d, here %d; leave the text out to take the saved one",
          path, (long long)i, base_id(&p->base, i), p->ids.data[i]);
  if (h->window != p->window || h->stride != p->stride)
    return err_set(e, "%s was saved with --window %lld --stride %lld; use the same, or leave both out", path,
                   (long long)h->window, (long long)h->stride);
  return h->rows == p->count || err_set(e, "%s holds %lld tokens' distributions, expected %lld", path,
                                        (long long)h->rows, (long long)p->count);
}

static bool run(struct perplexity *p, struct err *e) {
  const struct perplexity_options *o = p->options;
  if (!file_can_write(o->save, e) || !file_can_write(o->json, e)) return false;
  if (o->against && !base_open(&p->base, o->against, e)) return false;
  if (!engine_open(&p->en, &o->engine, e) || !read_text(p, e) || !check_ids(p, e) || !set_windows(p, e)) return false;
  for (struct span s = {0}; next_span(&s, p->ids.count, p->window, p->stride);) p->count += s.end - s.first_target;
  if (o->against && !check_base(p, e)) return false;
  struct perplexity_figures f;
  if (!perplexity_run(p, e) || !perplexity_figures(p, &f, e)) return false;
  if (o->json && !perplexity_write_json(p, &f, o->json, e)) return false;
  perplexity_print(p, &f);
  return perplexity_verdict(p, &f, e);
}

int cmd_perplexity(int argc, char **argv) {
  struct perplexity_options o = {
      .engine = engine_defaults(), .top = DEFAULT_TOP, .max_divergence = -1, .min_same_top = -1};
  struct command c = perplexity_command(&o);
  struct arguments args;
  int code = options_parse(&c, argc, argv, &args);
  if (code < 0) code = check(&o, &c, &args);
  if (code >= 0) return code;
  catch_interrupts();
  struct err e = {0};
  char *line = origin_command_line("phi3", argc, argv, &e);
  struct perplexity p = {.options = &o, .command_line = line};
  bool ok = line && run(&p, &e);
  perplexity_free(&p);
  mem_free(line);
  return ok ? EXIT_OK : failure(&c, &e);
}

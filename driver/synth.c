// phi3 synth: a random checkpoint of any shape.
#include "driver/synth.h"
#include "driver/text.h"
#include "runtime/base/mem.h"
#include <stdlib.h>
#include <string.h>

struct synth_options {
  const char *like, *tokenizer, *shard_size;
  struct synth_changes changes;
  int type;
  uint64_t seed;
  int64_t threads;
};

static const enum dtype types[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};

static struct command synth_command(struct synth_options *o) {
  static struct option_spec own[18];
  static const struct option_spec *groups[2];
  static char like[1024];
  struct synth_changes *x = &o->changes;
  snprintf(like, sizeof like, "the shape: a model, a config.json, or one of these; default phi-3-mini-4k\n%35s%s", "",
           synth_presets("\n                                   "));
  const struct option_spec fresh[] = {
      {0, "like", OPTION_TEXT, &o->like, "SHAPE", like, 0, 0},
      {0, "layers", OPTION_INT, &x->layers, "N", "decoder layers, in place of the shape's", 1, 4096},
      {0, "hidden", OPTION_INT, &x->hidden, "N", "width of the residual stream", 1, 1 << 24},
      {0, "heads", OPTION_INT, &x->heads, "N", "attention heads", 1, 1 << 16},
      {0, "kv-heads", OPTION_INT, &x->kv_heads, "N", "key-value heads; a divisor of the heads", 1, 1 << 16},
      {0, "head-dim", OPTION_INT, &x->head_dim, "N", "head size; default hidden / heads when one of them is given", 2,
       CONFIG_MAX_HEAD_DIM},
      {0, "intermediate", OPTION_INT, &x->intermediate, "N", "MLP width", 1, 1 << 24},
      {0, "vocab", OPTION_INT, &x->vocab, "N", "vocabulary", 1, 1 << 24},
      {0, "positions", OPTION_INT, &x->positions, "N", "longest sequence", 1, 1 << 30},
      {0, "window", OPTION_INT, &x->window, "N", "keys a query sees; 0: all", 0, INT32_MAX},
      {0, "tied", OPTION_CHOICE, &x->tied, "as-is|yes|no", "the LM head is the embedding", 0, 0},
      {0, "type", OPTION_CHOICE, &o->type, "bf16|f16|f32", "stored type; default bf16", 0, 0},
      {0, "seed", OPTION_U64, &o->seed, "N", "other numbers; default 1. The same seed gives the same bytes everywhere",
       0, 0},
      {0, "shard-size", OPTION_TEXT, &o->shard_size, "SIZE", "tensors of a file at most, such as 500MB; default 5GB", 0,
       0},
      {0, "tokenizer", OPTION_TEXT, &o->tokenizer, "PATH",
       "copy this tokenizer.json, or the one in this folder; without it the model takes --ids", 0, 0},
      {'t', "threads", OPTION_INT, &o->threads, "N", "processor threads; default one for each processor", 1, 256},
      {0, NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
  };
  OPTIONS_FILL(own, fresh);
  groups[0] = own;
  return (struct command){
      .name = "synth",
      .usage = "[options] OUT",
      .summary = "Writes the folder OUT: a checkpoint of random weights of any shape, for throughput where the real "
                 "weights are\n"
                 "not at hand. What it generates is noise; activations and logits have an untrained model's size.",
      .groups = groups,
      .examples = "  phi3 synth --like phi-3-mini-4k phi3-random\n"
                  "  phi3 synth --like phi-3-mini-4k --layers 4 --tokenizer phi-3-mini/ phi3-four-layers\n"
                  "  phi3 synth --like nano --hidden 256 --heads 8 --kv-heads 2 --type f32 --seed 7 small\n"
                  "  phi3 bench -m phi3-random\n",
      .min_args = 1,
      .max_args = 1};
}

// "5GB", "500 MB", "1000000".
static bool parse_size(const char *text, int64_t *out) {
  static const struct {
    const char *name;
    double bytes;
  } units[] = {{"", 1}, {"B", 1}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}};
  char *end;
  double v = strtod(text, &end);
  if (end == text) return false;
  end += strspn(end, " ");
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if (strcmp(end, units[i].name) == 0 && v * units[i].bytes >= 1 && v * units[i].bytes < 9e18)
      return *out = (int64_t)(v * units[i].bytes), true;
  return false;
}

static void print_result(const struct synth_options *o, const struct config *c, const char *out,
                         const struct synth_result *r) {
  char bytes[TEXT_QUANTITY], seconds[TEXT_QUANTITY], rate[TEXT_QUANTITY];
  printf("%s: the shape of %s, %d layer%s of width %d, %.4g M parameters, %s in %d file%s; %s, %s/s\n", out, o->like,
         c->num_layers, c->num_layers == 1 ? "" : "s", c->hidden_size, 1e-6 * (double)r->parameters, text_bytes(r->bytes, bytes), r->files,
         r->files == 1 ? "" : "s", text_seconds(r->seconds, seconds),
         text_bytes((int64_t)((double)r->bytes / r->seconds), rate));
}

static bool run(const struct synth_options *o, int64_t shard_bytes, const char *out, struct err *e) {
  struct config c = {0};
  struct synth_result r;
  bool ok = synth_like(&c, o->like, e) && synth_change(&c, &o->changes, o->like, e);
  if (ok) {
    snprintf(c.name, sizeof c.name, "random, like %.80s, seed %llu", o->like, (unsigned long long)o->seed);
    struct synth_job job = {&c, types[o->type], o->seed, shard_bytes, (int)o->threads, o->tokenizer, out};
    ok = synth_write(&job, &r, e);
  }
  if (ok) print_result(o, &c, out, &r);
  config_free(&c);
  return ok;
}

int cmd_synth(int argc, char **argv) {
  struct synth_options o = {.like = "phi-3-mini-4k", .shard_size = "5GB", .seed = 1};
  o.changes = (struct synth_changes){-1, -1, -1, -1, -1, -1, -1, -1, -1, 0};
  struct command c = synth_command(&o);
  struct arguments args;
  struct err e = {0};
  int64_t shard_bytes = 0;
  int code = options_parse(&c, argc, argv, &args);
  if (code < 0 && !parse_size(o.shard_size, &shard_bytes))
    code = usage_error(&c, "--shard-size takes a size such as 500MB or 5GB, not '%s'", o.shard_size);
  if (code < 0 && !args.data[0][0]) code = usage_error(&c, "OUT needs a folder's name, not ''");
  if (code >= 0) return code;
  catch_interrupts();
  return run(&o, shard_bytes, args.data[0], &e) ? EXIT_OK : failure(&c, &e);
}

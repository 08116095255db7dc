#include "driver/estimate.h"
#include "bench/record.h"
#include "driver/synth.h"
#include "runtime/base/mem.h"
#include "runtime/gpu/gpu.h"
#include <string.h>
#include <unistd.h>

const char *const estimate_memory[ESTIMATE_MEMORIES] = {"t4_eff", "t4"};
const double estimate_bytes_per_second[ESTIMATE_MEMORIES] = {256e9, 320e9};
const char *const estimate_op_names[ESTIMATE_OPS] = {"embed",  "attention_in", "attention", "attention_out",
                                                     "mlp_in", "mlp_out",      "logits",    "pick"};

struct known {
  int op, memories;
  int64_t rows, seqs, position;
  struct estimate_cost cost;
};

struct estimator {
  struct config config; // of the whole model
  struct engine engine; // a layer of it
  struct estimate_setup setup;
  struct vgpu_counting counting;
  int memories; // that are asked for
  struct known *known;
  int64_t num_known, capacity;
  // A step's storage.
  int32_t *ids, *logit_rows, *tables;
  struct step_seq *seqs;
  int64_t blocks_per_seq;
  bool visible;
};

const struct config *estimator_config(const struct estimator *x) { return &x->config; }
struct engine *estimator_engine(struct estimator *x) {
  return &x->engine;
}
int64_t estimator_runs(const struct estimator *x) { return x->num_known; }
void estimator_memories(struct estimator *x, int count) { x->memories = count; }

static bool copy_config(struct config *to, const struct config *from, struct err *e) {
  *to = *from;
  to->short_factor = to->long_factor = NULL;
  return from->rope != ROPE_LONGROPE ||
         config_set_longrope(to, from->short_factor, from->long_factor, 0, from->rope_scale, e);
}

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t up_to_span(int64_t tokens, int64_t most) {
  int64_t n = ceil_div(tokens, PHI3_SPAN_KEYS) * PHI3_SPAN_KEYS;
  return n < most ? n : most;
}

// With room for the nodes, which lie beyond what is asked for: a whole chunk, whole spans.
static bool open_backend(struct estimator *x, struct err *e) {
  struct estimate_setup *s = &x->setup;
  int64_t most = x->config.max_positions, chunk = s->chunk < most ? s->chunk : most;
  s->tokens = up_to_span(s->tokens > chunk ? s->tokens : chunk, most);
  s->shared_tokens = up_to_span(s->shared_tokens, most);
  int64_t one = ceil_div(s->tokens, s->page_size), each = ceil_div(s->shared_tokens, s->page_size);
  struct backend_options b = {.threads = s->threads,
                              .page_size = (int32_t)s->page_size,
                              .num_pages = (int32_t)(one > each * s->sequences ? one : each * s->sequences),
                              .max_rows = (int32_t)(chunk > s->sequences ? chunk : s->sequences),
                              .max_logits = (int32_t)s->sequences,
                              .max_positions = s->tokens > s->shared_tokens ? s->tokens : s->shared_tokens};
  x->blocks_per_seq = one > each ? one : each;
  setenv("VGPU_CHECK", "off", 0); // the tests look for faults; here they would only take time
  struct backend *backend = gpu_backend_open(&x->engine.model, &b, true, e);
  return backend && forward_open(&x->engine.forward, backend, e) &&
         vgpu_counting_find(&x->counting, &gpu_of(backend)->d, e);
}

// Each sequence has pages of its own; with one alone, all of them.
static bool make_step_storage(struct estimator *x, struct err *e) {
  const struct backend_options *o = &x->engine.forward.backend->options;
  size_t rows = (size_t)o->max_rows;
  x->ids = mem_alloc(rows, sizeof *x->ids, "the ids of a step", e);
  if (x->ids) x->logit_rows = mem_alloc(rows, sizeof *x->logit_rows, "the logit rows of a step", e);
  if (x->logit_rows) x->seqs = mem_alloc(rows, sizeof *x->seqs, "the sequences of a step", e);
  if (x->seqs)
    x->tables =
        mem_alloc((size_t)x->setup.sequences * (size_t)x->blocks_per_seq, sizeof *x->tables, "the block tables", e);
  if (!x->tables) return false;
  for (int64_t i = 0; i < (int64_t)rows; i++) x->ids[i] = (int32_t)(i * 7919 % x->config.vocab_size);
  return true;
}

struct estimator *estimator_open(const struct estimate_setup *s, struct err *e) {
  struct estimator *x = mem_alloc(1, sizeof *x, "the estimator", e);
  if (!x) return NULL;
  struct config one = {0};
  x->setup = *s;
  x->memories = ESTIMATE_MEMORIES;
  x->visible = isatty(STDERR_FILENO);
  bool ok = copy_config(&x->config, s->config, e) && copy_config(&one, s->config, e);
  one.num_layers = 1;
  if (ok) ok = synth_model(&x->engine.model, &one, s->name, e) && open_backend(x, e) && make_step_storage(x, e);
  config_free(&one);
  if (ok) return x;
  estimator_close(x);
  return NULL;
}

void estimator_close(struct estimator *x) {
  if (!x) return;
  engine_close(&x->engine);
  config_free(&x->config);
  mem_free(x->known);
  mem_free(x->ids);
  mem_free(x->logit_rows);
  mem_free(x->seqs);
  mem_free(x->tables);
  mem_free(x);
}

static struct step make_step(struct estimator *x, int64_t rows, int64_t seqs, int64_t position) {
  const struct backend_options *o = &x->engine.forward.backend->options;
  int64_t blocks = seqs == 1 ? o->num_pages : o->num_pages / x->setup.sequences;
  bool long_rope = forward_long_rope(&x->config, position + rows);
  if (blocks > x->blocks_per_seq) blocks = x->blocks_per_seq;
  for (int64_t i = 0; i < seqs; i++) {
    int32_t *table = x->tables + i * x->blocks_per_seq;
    for (int64_t j = 0; j < blocks; j++) table[j] = (int32_t)(i * blocks + j);
    x->seqs[i] = (struct step_seq){(int32_t)(i * rows), (int32_t)rows, position, table, long_rope};
    x->logit_rows[i] = (int32_t)((i + 1) * rows - 1);
  }
  return (struct step){(int32_t)(seqs * rows), x->ids, x->seqs, (int32_t)seqs, x->logit_rows, (int32_t)seqs};
}

static bool call(struct estimator *x, const struct step *s, int op, struct err *e) {
  struct backend *b = x->engine.forward.backend;
  const struct backend_ops *ops = b->ops;
  struct sampler_options greedy = sampler_greedy();
  switch (op) {
  case OP_EMBED: return ops->embed(b, s, e);
  case OP_ATTENTION_IN: return ops->attention_in(b, s, 0, e);
  case OP_ATTENTION: return ops->attention(b, s, 0, e);
  case OP_ATTENTION_OUT: return ops->attention_out(b, s, 0, e);
  case OP_MLP_IN: return ops->mlp_in(b, s, 0, e);
  case OP_MLP_OUT: return ops->mlp_out(b, s, 0, e);
  case OP_LOGITS: return ops->logits(b, s, e);
  default: return ops->pick(b, s, &greedy, NULL, x->logit_rows, e); // the ids themselves are of no interest
  }
}

static double number(const json_t *launch, const char *object, const char *key) {
  return json_number_value(json_object_get(json_object_get(launch, object), key));
}

// Adds a launch as the virtual GPU tells it: the first memory configuration as "estimate", the second by its name.
static bool add_launch(const struct estimator *x, struct estimate_cost *c, uint64_t i, double *longest, struct err *e) {
  json_t *l = vgpu_counting_launch(&x->counting, i, e);
  if (!l) return false;
  const json_t *first = json_object_get(l, "estimate"), *bound = json_object_get(first, "bound");
  char second[32];
  snprintf(second, sizeof second, "estimate_%s", estimate_memory[1]);
  double us = number(l, "estimate", "us"), other = number(l, second, "us");
  bool ok = us > 0 && (other > 0 || x->memories < ESTIMATE_MEMORIES);
  if (!ok) err_set(e, "the virtual GPU made no estimate of %s", json_string_value(json_object_get(l, "kernel")));
  c->seconds[0] += 1e-6 * us;
  c->seconds[1] += 1e-6 * other;
  c->overhead += 1e-6 * number(l, "estimate", "launch_overhead_us");
  c->bytes += number(l, "estimate", "dram_read_bytes") + number(l, "estimate", "dram_write_bytes");
  c->launches += 1;
  if (us > *longest && json_string_value(bound)) {
    *longest = us;
    snprintf(c->bound, sizeof c->bound, "%s", json_string_value(bound));
  }
  json_decref(l);
  return ok;
}

// A wave is 160 to 240 blocks of the decode kernels and 40 of the prefill kernels. Attention's blocks are not alike, and
// a sample of them would be a quarter off.
static uint64_t blocks_of(const struct estimator *x, int op, int64_t rows) {
  enum { DECODE_BLOCKS = 640, PREFILL_BLOCKS = 160 };
  if (x->setup.blocks >= 0 || op == OP_ATTENTION) return (uint64_t)(x->setup.blocks > 0 ? x->setup.blocks : 0);
  return rows <= PHI3_DECODE_ROWS ? DECODE_BLOCKS : PREFILL_BLOCKS;
}

static bool run_op(struct estimator *x, int op, int64_t rows, int64_t seqs, int64_t position, struct estimate_cost *out,
                   struct err *e) {
  struct backend *b = x->engine.forward.backend;
  struct step s = make_step(x, rows, seqs, position);
  char configs[64];
  double longest = 0;
  snprintf(configs, sizeof configs, "%s %s", estimate_memory[0], x->memories > 1 ? estimate_memory[1] : "");
  *out = (struct estimate_cost){0};
  if (!b->ops->begin_step(b, &s, true, e)) return false;
  const struct vgpu_counting *v = &x->counting;
  if (!vgpu_counting_start(v, configs, blocks_of(x, op, s.num_rows), e)) return false;
  bool ok = call(x, &s, op, e);
  v->stop();
  for (uint64_t i = 0; ok && i < v->count(); i++) ok = add_launch(x, out, i, &longest, e);
  if (ok && out->launches == 0) ok = err_set(e, "the virtual GPU recorded no launch of %s", estimate_op_names[op]);
  return ok && b->ops->end_step(b, &s, e);
}

static void show(const struct estimator *x, int op, int64_t rows, int64_t seqs, int64_t position) {
  if (!x->visible) return;
  fprintf(stderr, "\r\033[Kestimating: %s, ", estimate_op_names[op]);
  if (seqs > 1 || rows == 1) fprintf(stderr, "%lld sequence%s, ", (long long)seqs, seqs == 1 ? "" : "s");
  else fprintf(stderr, "%lld tokens, ", (long long)rows);
  fprintf(stderr, "at position %lld; %lld runs so far", (long long)position, (long long)x->num_known);
}

// Behind a full window attention does the same work span after span: the first position that has it.
static int64_t same_work(const struct estimator *x, int64_t position) {
  int64_t full = x->config.sliding_window - 1;
  return full >= 0 && position > full ? full + (position - full) % PHI3_SPAN_KEYS : position;
}

bool estimate_op(struct estimator *x, int op, int64_t rows, int64_t seqs, int64_t position, struct estimate_cost *out,
                 struct err *e) {
  position = op == OP_ATTENTION ? same_work(x, position) : 0;
  if (op == OP_LOGITS || op == ESTIMATE_PICK) rows = 1; // of rows that are chosen
  for (int64_t i = 0; i < x->num_known; i++) {
    const struct known *k = &x->known[i];
    if (k->op == op && k->rows == rows && k->seqs == seqs && k->position == position && k->memories >= x->memories)
      return *out = k->cost, true;
  }
  if (interrupted()) return err_set(e, "interrupted");
  if (x->num_known == x->capacity) {
    int64_t more = x->capacity ? 2 * x->capacity : 64;
    struct known *p = mem_grow(x->known, (size_t)x->capacity, (size_t)more, sizeof *p, "the estimates", e);
    if (!p) return false;
    x->known = p;
    x->capacity = more;
  }
  show(x, op, rows, seqs, position);
  bool ok = run_op(x, op, rows, seqs, position, out, e);
  if (x->visible) fprintf(stderr, "\r\033[K");
  if (ok) x->known[x->num_known++] = (struct known){op, x->memories, rows, seqs, position, *out};
  return ok || err_context(e, "estimating %s", estimate_op_names[op]);
}

// Adds `times` of `b`.
static void add(struct estimate_cost *a, const struct estimate_cost *b, double times) {
  for (int i = 0; i < ESTIMATE_MEMORIES; i++) a->seconds[i] += times * b->seconds[i];
  a->overhead += times * b->overhead;
  a->bytes += times * b->bytes;
  a->launches += times * b->launches;
}

// The nodes around `v`, at least 1: the sides of the steps that lie behind each multiple of `every` and behind the
// numbers in `also`, which 0 ends.
static void bracket(int64_t v, int64_t every, const int64_t *also, int64_t *a, int64_t *b) {
  *a = (v - 1) / every * every + 1;
  *b = *a + every - 1;
  for (; *also; also++) {
    if (*also<v && * also + 1> * a) *a = *also + 1;
    if (*also >= v && *also < *b) *b = *also;
  }
}

static bool between(struct estimator *x, int op, const int64_t a[3], const int64_t b[3], double share,
                    struct estimate_cost *out, struct err *e) {
  struct estimate_cost low, high;
  if (share >= 1) return estimate_op(x, op, b[0], b[1], b[2], out, e);
  if (!estimate_op(x, op, a[0], a[1], a[2], &low, e)) return false;
  if (share <= 0) return *out = low, true;
  if (!estimate_op(x, op, b[0], b[1], b[2], &high, e)) return false;
  *out = (struct estimate_cost){0};
  memcpy(out->bound, low.bound, sizeof out->bound);
  add(out, &low, 1 - share);
  add(out, &high, share);
  return true;
}

static double share_of(int64_t v, int64_t a, int64_t b) { return b > a ? (double)(v - a) / (double)(b - a) : 0; }

enum { LINEAR_ROWS = PHI3_LINEAR_ROWS, QUERY_ROWS = PHI3_QUERY_ROWS, SPAN_KEYS = PHI3_SPAN_KEYS }; // steps in the kernels' work
static const int64_t few_rows[] = {PHI3_DECODE_ROWS / 2, PHI3_DECODE_ROWS, 0};        // and where decode kernels change

static int64_t at_most(int64_t v, int64_t most) { return v < most ? v : most; }

// A query at `position` sees position + 1 keys.
static bool decode_attention(struct estimator *x, int64_t seqs, int64_t position, struct estimate_cost *out,
                             struct err *e) {
  int64_t window[2] = {x->config.sliding_window, 0}, most = x->engine.forward.backend->options.max_positions, a, b;
  position = same_work(x, position);
  bracket(position + 1, SPAN_KEYS, window, &a, &b);
  if (seqs > 1) most = at_most(most, x->setup.shared_tokens);
  b = at_most(b, most);
  return between(x, OP_ATTENTION, (int64_t[]){1, seqs, a - 1}, (int64_t[]){1, seqs, b - 1},
                 share_of(position + 1, a, b), out, e);
}

bool estimate_between(struct estimator *x, int op, int64_t rows, int64_t position, struct estimate_cost *out,
                      struct err *e) {
  const struct backend_options *o = &x->engine.forward.backend->options;
  int64_t a, b;
  if (op == OP_ATTENTION && rows == 1) return decode_attention(x, 1, position, out, e);
  bracket(rows, op == OP_ATTENTION ? QUERY_ROWS : LINEAR_ROWS, few_rows, &a, &b);
  b = at_most(b, op == OP_ATTENTION ? at_most(o->max_rows, o->max_positions - position) : o->max_rows);
  return between(x, op, (int64_t[]){a, 1, position}, (int64_t[]){b, 1, position}, share_of(rows, a, b), out, e);
}

static double times_of(const struct estimator *x, int op) {
  return op >= OP_ATTENTION_IN && op <= OP_MLP_OUT ? x->config.num_layers : 1;
}

bool estimate_decode(struct estimator *x, int64_t seqs, int64_t position, struct estimate_cost *out, struct err *e) {
  *out = (struct estimate_cost){0};
  for (int op = 0; op < ESTIMATE_OPS; op++) {
    struct estimate_cost c;
    bool ok = op == OP_ATTENTION ? decode_attention(x, seqs, position, &c, e)
              : op >= OP_LOGITS  ? estimate_op(x, op, 1, seqs, 0, &c, e)
                                 : estimate_between(x, op, seqs, 0, &c, e);
    if (!ok) return false;
    add(out, &c, times_of(x, op));
  }
  return true;
}

// One chunk of a prefill; the last one goes on to the id.
static bool add_chunk(struct estimator *x, int64_t rows, int64_t position, bool id, struct estimate_cost *out,
                      struct err *e) {
  for (int op = 0; op < (id ? ESTIMATE_OPS : OP_LOGITS); op++) {
    struct estimate_cost c;
    if (!(op >= OP_LOGITS ? estimate_op(x, op, 1, 1, 0, &c, e) : estimate_between(x, op, rows, position, &c, e)))
      return false;
    add(out, &c, times_of(x, op));
  }
  return true;
}

bool estimate_prefill(struct estimator *x, int64_t length, struct estimate_cost *out, struct err *e) {
  int64_t chunk = at_most(x->engine.forward.backend->options.max_rows, x->setup.chunk),
          begin = (length - 1) / chunk * chunk;
  *out = (struct estimate_cost){0};
  for (int64_t at = 0; at < begin; at += chunk)
    if (!add_chunk(x, chunk, at, false, out, e)) return false;
  return add_chunk(x, length - begin, begin, true, out, e);
}

double estimate_total(const struct estimate_cost *c, int memory) { return c->seconds[memory] + c->overhead; }

// The table and the timeline as JSON; bench/README.md describes the fields.
#include "driver/profile.h"
#include "driver/origin.h"

static const char *const limits[] = {"dram", "l2", "shared", "lsu", "issue", "fp32", "int", "sfu", "fp64", "tensor", "atomic"};
enum { NUM_LIMITS = sizeof limits / sizeof *limits };

static json_t *limits_json(const struct profile *p, const struct profile_row *r) {
  json_t *j = json_object();
  for (int i = 0; i < NUM_LIMITS; i++) json_object_set_new(j, limits[i], json_real(profile_limit(r, p, limits[i])));
  return j;
}

static json_t *row_json(const struct profile *p, const struct profile_row *r, const struct profile_row *t) {
  const struct profile_launch *l = r->longest;
  json_t *j = json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:i, s:i, s:i, s:[i, i, i], s:i}", "operation", profile_op_names[r->op], "kernel", gpu_kernel_name(r->kernel),
                        "launches", r->launches, "us", r->us, "share", r->us / t->us, "ideal_bytes", r->ideal.bytes, "ideal_operations", r->ideal.operations, "registers",
                        l->registers, "shared_bytes", l->shared_bytes, "local_bytes", l->local_bytes, "grid", (int)l->launch.grid[0], (int)l->launch.grid[1],
                        (int)l->launch.grid[2], "threads", (int)l->launch.threads);
  if (p->estimate)
    json_object_update_new(j, json_pack("{s:s, s:f, s:f, s:f, s:f, s:o}", "bound", profile_bound(r), "dram_bytes", r->moved, "blocks_per_sm", profile_estimate(l, "blocks_per_sm"),
                                        "warps_per_sm", profile_estimate(l, "warps_per_sm"), "occupancy", profile_estimate(l, "warps_per_sm") / 32, "limits_us",
                                        limits_json(p, r)));
  return j;
}

static json_t *phase_json(const struct profile *p, const struct profile_rows *r, bool decode) {
  struct profile_row t = profile_total(r, decode);
  json_t *rows = json_array();
  for (int32_t i = 0; i < r->count; i++)
    if (r->rows[i].decode == decode) json_array_append_new(rows, row_json(p, &r->rows[i], &t));
  return json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "phase", decode ? "decode" : "prefill", "steps", (json_int_t)(decode ? p->steps : 1), "tokens",
                   (json_int_t)(decode ? 1 : p->prompt_tokens), "launches", t.launches, "us", t.us, "launch_overhead_us", t.overhead_us, "dram_bytes", t.moved, "ideal_bytes",
                   t.ideal.bytes, "ideal_operations", t.ideal.operations, "rows", rows);
}

bool profile_write_json(const struct profile *p, const struct profile_rows *r, const char *path, struct err *e) {
  const struct config *c = &p->engine->model.config;
  json_use_mem();
  json_t *phases = json_array();
  for (int decode = 0; decode < (p->steps ? 2 : 1); decode++) json_array_append_new(phases, phase_json(p, r, decode));
  json_t *root = json_pack("{s:s, s:s, s:s, s:o, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i}, s:i, s:I, s:I, s:o}", "format", "phi3-profile 1", "device", p->device, "kind",
                           p->estimate ? "estimate" : "measurement", "model", json_or_null(json_string(origin_model(p->engine->model.path))), "shape", "layers", p->layers, "hidden", c->hidden_size, "heads",
                           c->num_heads, "kv_heads", c->num_kv_heads, "head_dim", c->head_dim, "intermediate", c->intermediate_size, "vocab", c->vocab_size, "layers_run",
                           p->layers_run, "prompt_tokens", (json_int_t)p->prompt_tokens, "decode_steps", (json_int_t)p->steps, "phases", phases);
  if (root && p->estimate)
    json_object_update_new(root, json_pack("{s:s, s:s}", "memory_configuration", profile_memories[p->options->memory], "note",
                                           "Times, bytes behind L1 and bounds are estimates of a model, not measurements; launch overhead is not in them."));
  bool ok = root ? origin_add(root, p->command, e) && json_write_file(path, root, e) : err_no_memory(e, 0, "the JSON");
  json_decref(root);
  return ok;
}

// --- the timeline: complete events ("X") of Chrome's trace format, in microseconds. Step, layer, operation and kernel lie one inside the other.

struct timeline {
  const struct profile *p;
  json_t *events;
  double at; // where the next kernel begins
};

static void span(struct timeline *t, const char *name, const char *category, int track, double start, double end, json_t *args) {
  json_array_append_new(t->events, json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i, s:o}", "name", name, "cat", category, "ph", "X", "ts", start, "dur", end - start, "pid", track,
                                             "tid", 1, "args", args ? args : json_object()));
}

static void name_track(struct timeline *t, int track, const char *name) {
  json_array_append_new(t->events, json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "name", "process_name", "ph", "M", "pid", track, "tid", 1, "args", "name", name));
}

// One kernel; where each stood on the GPU, or behind the one before.
static void put_kernel(struct timeline *t, const struct profile_launch *l) {
  double start = t->p->estimate ? t->at : l->start_us, end = start + l->us;
  json_t *args = json_pack("{s:i, s:[i, i, i], s:i, s:f, s:f}", "registers", l->registers, "grid", (int)l->launch.grid[0], (int)l->launch.grid[1], (int)l->launch.grid[2], "threads",
                           (int)l->launch.threads, "ideal_bytes", l->ideal.bytes, "ideal_operations", l->ideal.operations);
  if (t->p->estimate) json_object_set(args, "estimate", json_object_get(l->counters, "chosen"));
  span(t, gpu_kernel_name(l->launch.kernel), "kernel", 1 + l->step, start, end, args);
  t->at = end;
}

// Launches [i, end) of one operation.
static int64_t put_operation(struct timeline *t, int64_t i) {
  const struct profile *p = t->p;
  const struct profile_launch *l = &p->launches[i];
  double start = p->estimate ? t->at : l->start_us;
  int64_t end = i;
  for (; end < p->count && p->launches[end].step == l->step && p->launches[end].op == l->op && p->launches[end].layer == l->layer; end++) put_kernel(t, &p->launches[end]);
  span(t, profile_op_names[l->op], "operation", 1 + l->step, start, t->at, NULL);
  return end;
}

static bool in_layer(const struct profile *p, int64_t i, const struct profile_launch *first) {
  const struct profile_launch *l = &p->launches[i];
  return i < p->count && l->step == first->step && l->layer == first->layer && l->op >= OP_ATTENTION_IN && l->op <= OP_MLP_OUT;
}

// A layer that stands for several comes as often.
static int64_t put_layer(struct timeline *t, int64_t i) {
  const struct profile *p = t->p;
  const struct profile_launch *first = &p->launches[i];
  int64_t end = i;
  for (int32_t n = 0; n < first->times; n++) {
    char name[32];
    double start = p->estimate ? t->at : first->start_us;
    for (end = i; in_layer(p, end, first);) end = put_operation(t, end);
    snprintf(name, sizeof name, "layer %d", first->layer + n);
    span(t, name, "layer", 1 + first->step, start, t->at, NULL);
  }
  return end;
}

static int64_t put_step(struct timeline *t, int64_t i) {
  const struct profile *p = t->p;
  int step = p->launches[i].step;
  char name[64];
  t->at = 0;
  if (step) snprintf(name, sizeof name, "decode step at %lld tokens", (long long)p->prompt_tokens + step);
  else snprintf(name, sizeof name, "prefill of %lld tokens", (long long)p->prompt_tokens);
  name_track(t, 1 + step, name);
  while (i < p->count && p->launches[i].step == step) i = in_layer(p, i, &p->launches[i]) ? put_layer(t, i) : put_operation(t, i);
  span(t, name, "step", 1 + step, 0, t->at, NULL);
  return i;
}

bool profile_write_timeline(const struct profile *p, const char *path, struct err *e) {
  json_use_mem();
  struct timeline t = {.p = p, .events = json_array()};
  for (int64_t i = 0; i < p->count && p->launches[i].step <= 1;) i = put_step(&t, i);
  json_t *root = json_pack("{s:o, s:s, s:{s:s, s:s, s:s}}", "traceEvents", t.events, "displayTimeUnit", "ms", "otherData", "device", p->device, "kind",
                           p->estimate ? "estimates for a Tesla T4 by a model, not measurements; kernels laid end to end without launch overhead" : "measurement", "command",
                           p->command);
  bool ok = root ? json_write_file(path, root, e) : err_no_memory(e, 0, "the timeline");
  json_decref(root);
  return ok;
}

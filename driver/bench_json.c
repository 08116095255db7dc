// The raw figures of `phi3 bench`, with what is needed to make them again.
#include "driver/bench.h"
#include "driver/origin.h"
#include "runtime/base/json.h"
#include <math.h>

static json_t *number_json(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static json_t *known_json(double v) { return v > 0 ? json_real(v) : json_null(); }

static json_t *model_json(const struct bench *b) {
  const struct subject *s = &b->subject;
  return json_pack(
      "{s:o, s:s, s:o, s:I, s:I, s:I, s:s}", "path", json_or_null(json_string(s->name)), "architecture",
      s->architecture, "name",
      json_or_null(json_string(b->estimator ? estimator_config(b->estimator)->name : b->engine->model.config.name)),
      "parameters", (json_int_t)s->parameters, "weight_bytes", (json_int_t)s->weight_bytes, "weight_bytes_per_pass",
      (json_int_t)s->pass_bytes, "type", s->type);
}

static json_t *settings_json(const struct bench *b) {
  struct engine *en = b->estimator ? estimator_engine(b->estimator) : b->engine;
  const struct backend *k = en->forward.backend;
  return json_pack("{s:s, s:i, s:s, s:s, s:i, s:I}", "device", k->ops->name, "threads", k->options.threads, "precision",
                   k->options.fp64 ? "fp64" : "fp32", "pages", k->options.page_type == PAGE_F16 ? "f16" : "f32",
                   "page_size", k->options.page_size, "chunk", (json_int_t)b->options->engine.chunk);
}

static json_t *reading_json(const struct nvml_reading *r) {
  char reasons[NVML_TEXT];
  return json_pack("{s:o, s:o, s:i, s:i, s:s}", "watts", number_json(r->watts), "celsius", number_json(r->celsius),
                   "sm_mhz", r->sm_mhz, "memory_mhz", r->memory_mhz, "clocks_held_down_by",
                   nvml_reasons_text(r->reasons, reasons));
}

// What the kernels ran on, where that is not the processor.
static json_t *card_json(const struct bench *b) {
  const struct subject *s = &b->subject;
  if (!s->card[0]) return json_null();
  json_t *j = json_pack("{s:o, s:o}", "name", json_or_null(json_string(s->card)), "memory_bytes_per_second",
                        known_json(s->roof));
  if (b->estimator) json_object_set_new(j, "memory", json_string(estimate_memory[0]));
  if (!b->nvml.functions) return j;
  const struct nvml_card *c = &b->nvml.card;
  json_object_update_new(j, json_pack("{s:o, s:o, s:i, s:i, s:o, s:o}", "driver", json_or_null(json_string(c->driver)),
                                      "watts_limit", number_json(c->watts_limit), "max_sm_mhz", c->max_sm_mhz,
                                      "max_memory_mhz", c->max_memory_mhz, "before", reading_json(&b->before), "after",
                                      reading_json(&b->after)));
  return j;
}

static json_t *joules_json(const struct timing *t) {
  if (isnan(timing_joules(t))) return json_null();
  json_t *j = json_array();
  for (int64_t i = 0; i < t->runs; i++) json_array_append_new(j, json_real(t->joules[i]));
  return j;
}

// `times`: when each token was there, for each run.
static json_t *timing_json(const struct timing *t, bool times) {
  if (t->runs == 0) return json_null();
  json_t *seconds = json_array(), *first = json_array(), *all = json_array();
  for (int64_t i = 0; i < t->runs; i++) {
    const double *at = t->at + i * t->tokens;
    json_t *row = json_array();
    for (int64_t j = 0; times && j < t->tokens; j++) json_array_append_new(row, json_real(at[j]));
    json_array_append_new(all, row);
    json_array_append_new(first, json_real(at[0]));
    json_array_append_new(seconds, json_real(at[t->tokens - 1]));
  }
  struct summary s = timing_seconds(t), f = timing_first(t);
  json_t *j = json_pack("{s:f, s:f, s:f, s:f, s:o, s:o, s:f, s:o, s:o, s:o}", "mean_seconds", s.mean, "sd_seconds",
                        s.sd, "mean_first_token_seconds", f.mean, "sd_first_token_seconds", f.sd, "token_seconds_p50",
                        known_json(timing_quantile(t, 0.5)), "token_seconds_p95", known_json(timing_quantile(t, 0.95)),
                        "tokens_per_second_after_first", timing_rate(t), "joules", joules_json(t), "seconds", seconds,
                        "first_token_seconds", first);
  if (times) json_object_set_new(j, "token_seconds", all);
  else json_decref(all);
  return j;
}

static json_t *ids_json(const struct ids *list) {
  json_t *ids = json_array();
  for (int64_t i = 0; i < list->count; i++) json_array_append_new(ids, json_integer(list->data[i]));
  return ids;
}

static json_t *point_json(const struct bench *b, const struct point *p, bool whole) {
  bool known = p->cached.runs > 0;
  json_t *j = json_pack("{s:I, s:I, s:I, s:b, s:o, s:o, s:o, s:o}", "prompt_tokens", (json_int_t)p->prompt_tokens,
                        "new_tokens", (json_int_t)p->new_tokens, "batch", (json_int_t)p->batch, "ids_equal",
                        p->compared, "bytes_per_second", known ? known_json(point_bandwidth(b, p)) : json_null(),
                        "share_of_roof", known ? known_json(point_share(b, p)) : json_null(), "cached",
                        timing_json(&p->cached, whole), "uncached", timing_json(&p->uncached, whole));
  if (p->skipped) json_object_set_new(j, "skipped", json_string(p->skipped));
  if (p->paper_cached.runs)
    json_object_update_new(j, json_pack("{s:o, s:o}", "cached_t4", timing_json(&p->paper_cached, false), "uncached_t4",
                                        timing_json(&p->paper_uncached, false)));
  json_object_set_new(j, "ids", ids_json(&p->ids));
  return j;
}

static json_t *rounds_json(const struct bench *b) {
  json_t *rounds = json_array();
  double pass = b->subject.pass_bytes;
  for (int64_t i = 0; i < b->num_rounds; i++) {
    const struct ceiling *c = &b->rounds[i];
    json_t *j = json_pack("{s:f, s:f}", "read_bytes_per_second", c->read_bytes, "multiply_add_flops", c->multiply_adds);
    if (c->decode_tokens > 0)
      json_object_update_new(j, json_pack("{s:f, s:f, s:f, s:f, s:f}", "decode_tokens_per_second", c->decode_tokens,
                                          "decode_weight_bytes_per_second", c->decode_tokens * pass,
                                          "decode_share_of_read", c->decode_tokens * pass / c->read_bytes,
                                          "prefill_flops", c->prefill_operations, "prefill_share_of_multiply_adds",
                                          c->prefill_operations / c->multiply_adds));
    json_array_append_new(rounds, j);
  }
  return rounds;
}

static json_t *breakdown_json(const struct breakdown *d) {
  json_t *ops = json_array();
  for (int op = 0; op < ESTIMATE_OPS; op++) {
    const struct estimate_cost *c = &d->cost[op];
    json_array_append_new(ops, json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:s}", "operation", estimate_op_names[op],
                                         "times", d->times[op], "launches", c->launches, "seconds", c->seconds[0],
                                         "seconds_t4", c->seconds[1], "launch_seconds", c->overhead, "dram_bytes",
                                         c->bytes, "bound", c->bound));
  }
  return json_pack("{s:I, s:I, s:I, s:o}", "rows", (json_int_t)d->rows, "sequences", (json_int_t)d->seqs, "position",
                   (json_int_t)d->position, "operations", ops);
}

static void add_estimate(json_t *root, const struct bench *b) {
  static const char note[] =
      "Every time is an estimate of a Tesla T4 by the virtual GPU, none a measurement. The kernels of one layer were "
      "run; what lies between runs "
      "is interpolated; launches add their modelled overhead; copies and the host's own time are left out.";
  json_object_update_new(root, json_pack("{s:s, s:{s:o, s:o}, s:I}", "note", note, "operations", "decode",
                                         breakdown_json(&b->decode), "prefill", breakdown_json(&b->prefill),
                                         "operations_run", (json_int_t)estimator_runs(b->estimator)));
}

static void add_points(json_t *root, const struct bench *b) {
  json_object_set_new(root, "prompt", b->prompt_text ? json_or_null(json_string(b->prompt_text)) : json_null());
  json_object_set_new(root, "prompt_ids", ids_json(&b->prompt));
  json_object_set_new(root, "experiment", point_json(b, &b->main, true));
  json_t *sweep = json_array();
  for (int64_t i = 0; i < b->num_sweep; i++) json_array_append_new(sweep, point_json(b, &b->sweep[i], false));
  json_object_set_new(root, "sweep", sweep);
}

json_t *bench_json(const struct bench *b) {
  json_use_mem();
  json_t *root = origin_json(b->command_line);
  json_t *rest = json_pack("{s:b, s:o, s:o, s:o, s:o}", "estimate", b->estimator != NULL, "card", card_json(b), "model",
                           model_json(b), "settings", settings_json(b), "ceilings", rounds_json(b));
  if (!root || !rest || json_object_update(root, rest) != 0) {
    json_decref(root);
    json_decref(rest);
    return NULL;
  }
  json_decref(rest);
  if (b->estimator) add_estimate(root, b);
  if (!b->options->roof) return add_points(root, b), root;
  json_object_set_new(root, "roof",
                      json_pack("{s:I, s:I, s:I}", "decode_prompt_tokens", (json_int_t)b->decode_prompt,
                                "decode_tokens", (json_int_t)b->decode_tokens, "prefill_tokens",
                                (json_int_t)b->prefill_tokens));
  return root;
}

// The raw figures of `phi3 bench`, with what is needed to make them again.
#include "driver/bench.h"
#include "runtime/base/json.h"
#include <time.h>

#ifdef __clang__
static const char compiler[] = __VERSION__; // begins with "Clang"
#else
static const char compiler[] = "gcc " __VERSION__;
#endif

// Jansson knows no text that is not UTF-8.
static json_t *text_json(const char *text) {
  json_t *j = json_string(text);
  return j ? j : json_null();
}

static json_t *machine_json(const struct bench *b) {
  const struct machine *m = &b->machine;
  return json_pack("{s:o, s:i, s:I, s:I, s:o}", "cpu", text_json(m->cpu), "cores", m->cores, "memory_bytes",
                   (json_int_t)m->memory_bytes, "cache_bytes", (json_int_t)m->cache_bytes, "os", text_json(m->os));
}

static json_t *build_json(void) {
  return json_pack("{s:s, s:s, s:s, s:s}", "version", PHI3_VERSION, "commit", phi3_commit, "compiler", compiler, "type",
                   PHI3_BUILD_TYPE);
}

static json_t *model_json(const struct model *m) {
  const struct tensor *t = m->layers[0].qkv.parts[0].tensor;
  return json_pack("{s:o, s:s, s:o, s:I, s:I, s:I, s:s}", "path", text_json(m->path), "architecture",
                   m->config.architecture, "name", text_json(m->config.name), "parameters", (json_int_t)m->num_params,
                   "weight_bytes", (json_int_t)m->weight_bytes, "weight_bytes_per_pass",
                   (json_int_t)weight_bytes_per_pass(m), "type", dtype_info(t->type)->name);
}

static json_t *settings_json(const struct bench *b) {
  const struct backend *k = b->engine->forward.backend;
  return json_pack("{s:s, s:i, s:s, s:s, s:i, s:I}", "device", k->ops->name, "threads", k->options.threads, "precision",
                   k->options.fp64 ? "fp64" : "fp32", "pages", k->options.page_type == PAGE_F16 ? "f16" : "f32",
                   "page_size", k->options.page_size, "chunk", (json_int_t)b->options->engine.chunk);
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
  json_t *j =
      json_pack("{s:f, s:f, s:f, s:f, s:f, s:o, s:o}", "mean_seconds", s.mean, "sd_seconds", s.sd,
                "mean_first_token_seconds", f.mean, "sd_first_token_seconds", f.sd, "tokens_per_second_after_first",
                timing_rate(t), "seconds", seconds, "first_token_seconds", first);
  if (times) json_object_set_new(j, "token_seconds", all);
  else json_decref(all);
  return j;
}

static json_t *point_json(const struct point *p, bool whole) {
  json_t *j = json_pack("{s:I, s:I, s:b, s:o, s:o}", "prompt_tokens", (json_int_t)p->prompt_tokens, "new_tokens",
                        (json_int_t)p->new_tokens, "ids_equal", p->compared, "cached", timing_json(&p->cached, whole),
                        "uncached", timing_json(&p->uncached, whole));
  if (p->skipped) json_object_set_new(j, "skipped", json_string(p->skipped));
  json_t *ids = json_array();
  for (int64_t i = 0; i < p->ids.count; i++) json_array_append_new(ids, json_integer(p->ids.data[i]));
  json_object_set_new(j, "ids", ids);
  return j;
}

static json_t *rounds_json(const struct bench *b) {
  json_t *rounds = json_array();
  double pass = (double)weight_bytes_per_pass(&b->engine->model);
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

bool bench_write_json(const struct bench *b, const char *path, struct err *e) {
  json_use_mem();
  char date[32];
  time_t now = time(NULL);
  struct tm utc;
  strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  json_t *root = json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "command", text_json(b->command_line), "date", date,
                           "build", build_json(), "machine", machine_json(b), "model", model_json(&b->engine->model),
                           "settings", settings_json(b), "ceilings", rounds_json(b));
  if (b->options->roof) {
    json_object_set_new(root, "roof",
                        json_pack("{s:I, s:I, s:I}", "decode_prompt_tokens", (json_int_t)b->decode_prompt,
                                  "decode_tokens", (json_int_t)b->decode_tokens, "prefill_tokens",
                                  (json_int_t)b->prefill_tokens));
  } else {
    json_object_set_new(root, "prompt", b->options->prompt.text ? text_json(b->options->prompt.text) : json_null());
    json_object_set_new(root, "experiment", point_json(&b->main, true));
    json_t *sweep = json_array();
    for (int64_t i = 0; i < b->num_sweep; i++) json_array_append_new(sweep, point_json(&b->sweep[i], false));
    json_object_set_new(root, "sweep", sweep);
  }
  bool ok = root ? json_write_file(path, root, e) : err_no_memory(e, 0, "the JSON");
  json_decref(root);
  return ok;
}

#include "bench/kernel_report.h"
#include "driver/origin.h"
#include "runtime/base/mem.h"
#include <stdio.h>
#include <string.h>

const char *const report_shown[] = {"GB/s", "TFLOP/s", "roof_%", "DRAM/ideal", "error", "t4_eff_us", "spread_%", NULL};

static const char extra_key[] = "estimate_t4_eff";

void report_context(const struct bench_device *d) {
  char text[400];
  gb_context("device", d->name);
  if (d->kind == ON_VGPU) {
    gb_context("times", "ESTIMATES for a Tesla T4 by a model (runtime/vgpu/README.md), not measurements; without launch overhead");
    gb_context("memory", d->configs);
  } else {
    if (d->kind == ON_CPU) snprintf(text, sizeof text, "medians of the runs, %d threads", pool_threads(d->pool));
    else snprintf(text, sizeof text, "medians of %lld runs by events, L2 %s", (long long)d->samples, d->warm ? "warm" : "cold");
    gb_context("times", text);
  }
  if (d->kind == ON_CUDA) gb_context("card before", card_text(&d->card, &d->card.before, text, sizeof text));
  for (int32_t i = 0; i < d->num_roofs; i++) {
    char key[32];
    snprintf(key, sizeof key, "roof, %s", d->roofs[i].name);
    snprintf(text, sizeof text, "%.0f GB/s, %.0f TFLOP/s", d->roofs[i].bytes * 1e-9, d->roofs[i].operations * 1e-12);
    gb_context(key, text);
  }
}

static double get(const json_t *j, const char *key) { return json_number_value(json_object_get(j, key)); }

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

// Counters of the virtual GPU as numbers of their own: what a table of kernels wants.
static json_t *derived(const json_t *launch) {
  const json_t *k = json_object_get(launch, "counts"), *t = json_object_get(launch, "estimate");
  double requests = get(k, "global_load_requests") + get(k, "global_store_requests"), sectors = get(k, "global_load_sectors") + get(k, "global_store_sectors");
  double ideal = get(k, "global_load_sectors_ideal") + get(k, "global_store_sectors_ideal");
  double waves = get(k, "shared_load_wavefronts") + get(k, "shared_store_wavefronts");
  double waves_ideal = get(k, "shared_load_wavefronts_ideal") + get(k, "shared_store_wavefronts_ideal");
  return json_pack("{s:f, s:f, s:f, s:f, s:f}", "sectors_per_request", ratio(sectors, requests), "sectors_ideal_share", ratio(ideal, sectors), "bank_conflicts",
                   ratio(waves, waves_ideal), "lanes_share", ratio(get(k, "lane_instructions"), 32 * get(k, "warp_instructions")), "occupancy",
                   get(t, "warps_per_sm") / 32);
}

static void vgpu_counters(struct gb_state *s, const struct measurement *m) {
  const json_t *t = json_object_get(m->launch, "estimate"), *limits = json_object_get(t, "limits_us"), *other = json_object_get(m->launch, extra_key), *v;
  const char *key;
  char label[96], name[64];
  double moved = get(t, "dram_read_bytes") + get(t, "dram_write_bytes");
  snprintf(label, sizeof label, "T4 estimate, bound: %s", json_string_value(json_object_get(t, "bound")));
  gb_label(s, label);
  gb_counter(s, "DRAM_bytes", moved);
  gb_counter(s, "DRAM/ideal", ratio(moved, m->ideal.bytes));
  gb_counter(s, "blocks_per_SM", get(t, "blocks_per_sm"));
  gb_counter(s, "replayed_blocks", get(t, "replayed_blocks"));
  gb_counter(s, "registers", get(m->launch, "registers"));
  gb_counter(s, "shared_bytes", get(m->launch, "static_shared") + get(m->launch, "dynamic_shared"));
  gb_counter(s, "local_bytes", get(m->launch, "local_bytes"));
  if (other) gb_counter(s, "t4_eff_us", get(other, "us"));
  json_object_foreach((json_t *)limits, key, v) {
    snprintf(name, sizeof name, "limit_%s_us", key);
    gb_counter(s, name, json_number_value(v));
  }
  json_t *d = derived(m->launch);
  json_object_foreach(d, key, v) gb_counter(s, key, json_number_value(v));
  json_decref(d);
}

void report_counters(struct gb_state *s, const struct bench_device *d, const struct measurement *m) {
  gb_counter(s, "GB/s", m->ideal.bytes / m->seconds * 1e-9);
  gb_counter(s, "TFLOP/s", m->ideal.operations / m->seconds * 1e-12);
  gb_counter(s, "ideal_bytes", m->ideal.bytes);
  gb_counter(s, "operations", m->ideal.operations);
  gb_counter(s, "error", agreement_error(&m->agreement));
  for (int32_t i = 0; i < d->num_roofs; i++) {
    char name[32];
    snprintf(name, sizeof name, i ? "roof_%s_%%" : "roof_%%", d->roofs[i].name); // the first is the paper's
    gb_counter(s, name, 100 * roof_seconds(&d->roofs[i], m->ideal) / m->seconds);
  }
  if (m->launch) vgpu_counters(s, m);
  else gb_counter(s, "spread_%", 100 * (m->high - m->low) / m->seconds);
  gb_time(s, m->seconds);
}

// --- the JSON

bool report_open(struct kernel_report *r, int argc, char **argv, struct err *e) {
  json_use_mem();
  *r = (struct kernel_report){.command = origin_command_line("kernel_bench", argc - 1, argv + 1, e), .cases = json_array()};
  return r->command && r->cases;
}

void report_close(struct kernel_report *r) {
  mem_free(r->command);
  json_decref(r->cases);
  *r = (struct kernel_report){0};
}

// Against each roof, for a time.
static json_t *shares_json(const struct bench_device *d, const struct measurement *m, double seconds) {
  json_t *j = json_pack("{s:f, s:f}", "GB_per_second", m->ideal.bytes / seconds * 1e-9, "TFLOP_per_second", m->ideal.operations / seconds * 1e-12);
  for (int32_t i = 0; i < d->num_roofs; i++) {
    char name[32];
    snprintf(name, sizeof name, "share_of_%s_roof", d->roofs[i].name);
    json_object_set_new(j, name, json_real(roof_seconds(&d->roofs[i], m->ideal) / seconds));
  }
  return j;
}

static void add_launch(json_t *to, const struct bench_device *d, const struct measurement *m) {
  static const char *const keys[] = {"estimate", extra_key};
  json_object_update(to, m->launch);
  for (int i = 0; i < 2; i++) {
    json_t *t = json_object_get(to, keys[i]);
    if (!t) continue;
    double moved = get(t, "dram_read_bytes") + get(t, "dram_write_bytes");
    json_object_update_new(t, shares_json(d, m, 1e-6 * get(t, "us")));
    json_object_set_new(t, "dram_bytes_over_ideal", json_real(ratio(moved, m->ideal.bytes)));
  }
  json_object_update_new(to, derived(m->launch));
}

bool report_add(struct kernel_report *r, const struct bench_device *d, const struct kernel_case *c, const struct measurement *m, struct err *e) {
  json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:{s:f, s:f}, s:{s:f, s:f, s:I}}", "case", c->name, "kernel", c->kernel == KERNEL_COUNT ? c->name : gpu_kernel_name(c->kernel), "variant", c->variant,
                        "rows", c->rows, "k", c->k, "features", c->features, "keys", c->keys, "ideal", "bytes", m->ideal.bytes, "operations", m->ideal.operations, "check",
                        "relative_error", agreement_error(&m->agreement), "gate", m->agreement.gate, "outputs", (json_int_t)m->agreement.outputs);
  if (j && m->launch) add_launch(j, d, m);
  else if (j) {
    json_t *t = json_pack("{s:f, s:f, s:f, s:I}", "median_us", 1e6 * m->seconds, "p10_us", 1e6 * m->low, "p90_us", 1e6 * m->high, "runs", (json_int_t)m->runs);
    json_object_update_new(t, shares_json(d, m, m->seconds));
    json_object_set_new(j, "time", t);
  }
  r->device = d;
  return (j && json_array_append_new(r->cases, j) == 0) || err_no_memory(e, 0, "the JSON");
}

static json_t *roofs_json(const struct bench_device *d) {
  json_t *j = json_object();
  for (int32_t i = 0; i < d->num_roofs; i++)
    json_object_set_new(j, d->roofs[i].name, json_pack("{s:f, s:f}", "bytes_per_second", d->roofs[i].bytes, "operations_per_second", d->roofs[i].operations));
  return j;
}

static json_t *reading_json(const struct nvml_reading *r) {
  char text[NVML_TEXT];
  return json_pack("{s:o, s:o, s:o, s:i, s:i, s:s}", "watts", json_or_null(json_real(r->watts)), "joules", json_or_null(json_real(r->joules)), "celsius",
                   json_or_null(json_real(r->celsius)), "sm_mhz", r->sm_mhz, "memory_mhz", r->memory_mhz, "clocks_held_down_by", nvml_reasons_text(r->reasons, text));
}

static json_t *card_json(const struct card_watch *w) {
  if (!w->open) return json_pack("{s:s}", "unknown", w->why.text);
  return json_pack("{s:s, s:s, s:o, s:i, s:i, s:o, s:o}", "name", w->nvml.card.name, "driver", w->nvml.card.driver, "watts_limit",
                   json_or_null(json_real(w->nvml.card.watts_limit)), "max_sm_mhz", w->nvml.card.max_sm_mhz, "max_memory_mhz", w->nvml.card.max_memory_mhz, "before",
                   reading_json(&w->before), "after", reading_json(&w->after));
}

bool report_write(struct kernel_report *r, const char *path, struct err *e) {
  const struct bench_device *d = r->device;
  json_t *root = json_pack("{s:s, s:s, s:s, s:o, s:O}", "format", "phi3-kernels 1", "device", d->name, "kind", d->kind == ON_VGPU ? "estimate" : "measurement", "roofs",
                           roofs_json(d), "cases", r->cases);
  if (root) json_object_update_new(root, origin_json(r->command));
  if (root && d->kind == ON_VGPU)
    json_object_update_new(root, json_pack("{s:s, s:s, s:I}", "note",
                                           "Counts are exact. Times, bytes behind L1 and bounds are estimates of a model, not measurements; launch overhead is not in them.",
                                           "memory_configurations", d->configs, "blocks_replayed_at_most", (json_int_t)d->sample));
  if (root && d->kind == ON_CUDA) json_object_set_new(root, "card", card_json(&d->card));
  bool ok = root ? json_write_file(path, root, e) : err_no_memory(e, 0, "the JSON");
  json_decref(root);
  return ok;
}

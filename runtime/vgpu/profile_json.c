#include "runtime/vgpu/profile_json.h"
#include "runtime/vgpu/decode.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const class_name[] = {
    [VGPU_CLASS_NONE] = "none",         [VGPU_CLASS_MOVE] = "move",       [VGPU_CLASS_INT] = "int",
    [VGPU_CLASS_IMUL] = "imul",         [VGPU_CLASS_IDIV] = "idiv",       [VGPU_CLASS_FP32] = "fp32",
    [VGPU_CLASS_FP32DIV] = "fp32_div",  [VGPU_CLASS_FP64] = "fp64",       [VGPU_CLASS_FP64DIV] = "fp64_div",
    [VGPU_CLASS_FP16] = "fp16",         [VGPU_CLASS_SFU] = "sfu",         [VGPU_CLASS_CVT] = "cvt",
    [VGPU_CLASS_TENSOR] = "tensor",     [VGPU_CLASS_LOAD] = "load",       [VGPU_CLASS_STORE] = "store",
    [VGPU_CLASS_ATOM] = "atom",         [VGPU_CLASS_RED] = "red",         [VGPU_CLASS_LDMATRIX] = "ldmatrix",
    [VGPU_CLASS_PREFETCH] = "prefetch", [VGPU_CLASS_BRANCH] = "branch",   [VGPU_CLASS_CALL] = "call",
    [VGPU_CLASS_RET] = "ret",           [VGPU_CLASS_EXIT] = "exit",       [VGPU_CLASS_BAR] = "barrier",
    [VGPU_CLASS_WARPSYNC] = "warpsync", [VGPU_CLASS_FENCE] = "fence",     [VGPU_CLASS_SHFL] = "shfl",
    [VGPU_CLASS_VOTE] = "vote",         [VGPU_CLASS_MATCH] = "match",     [VGPU_CLASS_MISC] = "misc"};

static void put_string(FILE *f, const char *s) {
  fputc('"', f);
  for (; *s; s++) {
    if (*s == '"' || *s == '\\') fprintf(f, "\\%c", *s);
    else if ((unsigned char)*s < 0x20) fprintf(f, "\\u%04x", (unsigned char)*s);
    else fputc(*s, f);
  }
  fputc('"', f);
}

static void put_counts(FILE *f, const struct vgpu_counts *k) {
  struct {
    const char *name;
    uint64_t value;
  } all[] = {{"blocks", k->blocks},
             {"warps", k->warps},
             {"warp_instructions", k->warp_instructions},
             {"lane_instructions", k->lane_instructions},
             {"global_load_requests", k->global_requests[0]},
             {"global_load_sectors", k->global_sectors[0]},
             {"global_load_sectors_ideal", k->global_ideal[0]},
             {"global_store_requests", k->global_requests[1]},
             {"global_store_sectors", k->global_sectors[1]},
             {"global_store_sectors_ideal", k->global_ideal[1]},
             {"local_load_requests", k->local_requests[0]},
             {"local_load_sectors", k->local_sectors[0]},
             {"local_store_requests", k->local_requests[1]},
             {"local_store_sectors", k->local_sectors[1]},
             {"shared_load_requests", k->shared_requests[0]},
             {"shared_load_wavefronts", k->shared_wavefronts[0]},
             {"shared_load_wavefronts_ideal", k->shared_ideal[0]},
             {"shared_store_requests", k->shared_requests[1]},
             {"shared_store_wavefronts", k->shared_wavefronts[1]},
             {"shared_store_wavefronts_ideal", k->shared_ideal[1]},
             {"shared_atomics", k->shared_atomics},
             {"atomic_requests", k->atomic_requests},
             {"atomic_transactions", k->atomic_transactions},
             {"atomic_lanes", k->atomic_lanes},
             {"tensor_fma", k->tensor_fma},
             {"sfu_lanes", k->sfu_lanes},
             {"branches", k->branches},
             {"divergent_branches", k->divergent_branches},
             {"barriers", k->barriers}};
  fprintf(f, "\"counts\": {");
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    fprintf(f, "%s\"%s\": %" PRIu64, i ? ", " : "", all[i].name, all[i].value);
  fprintf(f, ", \"by_class\": {");
  for (size_t i = 0, n = 0; i < sizeof class_name / sizeof class_name[0]; i++)
    if (k->by_class[i]) fprintf(f, "%s\"%s\": %" PRIu64, n++ ? ", " : "", class_name[i], k->by_class[i]);
  fprintf(f, "}}");
}

static void put_estimate(FILE *f, const struct profile_record *r, const struct t4_estimate *e) {
  fprintf(f, "{\"us\": %.4f, \"cycles\": %.0f, \"bound\": \"%s\", \"bound_share\": %.4f, \"launch_overhead_us\": %.2f",
          e->us, e->cycles, t4_limit_name[e->bound], e->share, e->launch_us);
  if (e->close != e->bound) fprintf(f, ", \"bound_close_behind\": \"%s\"", t4_limit_name[e->close]);
  fprintf(f, ", \"limits_us\": {");
  for (int i = 0; i < T4_NUM_LIMITS; i++) fprintf(f, "%s\"%s\": %.4f", i ? ", " : "", t4_limit_name[i], e->limit_us[i]);
  fprintf(f, "}, \"dram_read_bytes\": %.0f, \"dram_write_bytes\": %.0f, \"dram_GBps\": %.2f", e->dram_read, e->dram_write,
          e->us > 0 ? (e->dram_read + e->dram_write) / e->us / 1e3 : 0);
  fprintf(f, ", \"l2_accesses\": %.0f, \"l2_misses\": %.0f, \"l1_accesses\": %.0f, \"l1_misses\": %.0f", e->l2_accesses,
          e->l2_misses, e->l1_accesses, e->l1_misses);
  fprintf(f, ", \"blocks_per_sm\": %u, \"warps_per_sm\": %u, \"limited_by\": \"%s\", \"waves\": %.3f", e->occupancy.blocks,
          e->occupancy.warps, e->occupancy.limited_by, e->waves);
  fprintf(f, ", \"warps_resident_mean\": %.2f, \"replayed_blocks\": %" PRIu64 ", \"reused\": %s, \"scaled\": %s}",
          e->warps_resident, e->replayed, r->reused ? "true" : "false", r->scaled ? "true" : "false");
}

void vgpu_profile_put_launch(FILE *f, const struct profile_record *r, const struct t4_table *const *tables, size_t num_tables) {
  fprintf(f, "{\"kernel\": ");
  put_string(f, r->kernel);
  fprintf(f, ", \"grid\": [%u, %u, %u], \"block\": [%u, %u, %u]", r->grid[0], r->grid[1], r->grid[2], r->block[0],
          r->block[1], r->block[2]);
  fprintf(f, ", \"registers\": %u, \"static_shared\": %u, \"dynamic_shared\": %u, \"local_bytes\": %u, ", r->registers,
          r->static_shared, r->dynamic_shared, r->local_bytes);
  put_counts(f, &r->counts);
  for (size_t i = 0; i < num_tables && r->has_estimate; i++) {
    fprintf(f, i ? ", \"estimate_%s\": " : ", \"estimate\": ", tables[i]->name);
    put_estimate(f, r, &r->estimates[i]);
  }
  fprintf(f, "}");
}

// A kernel's launches together, its first at `first`; they are marked as done.
static void put_kernel(FILE *f, const struct profile_record *records, size_t num, size_t first, bool *done) {
  const char *name = records[first].kernel;
  struct vgpu_counts sum = {0};
  uint64_t launches = 0, estimated = 0;
  double us = 0, read = 0, write = 0, bound_us[T4_NUM_LIMITS] = {0};
  for (size_t i = first; i < num; i++) {
    const struct profile_record *r = &records[i];
    if (strcmp(r->kernel, name)) continue;
    done[i] = true;
    launches++;
    for (size_t k = 0; k < sizeof sum / sizeof(uint64_t); k++) ((uint64_t *)&sum)[k] += ((const uint64_t *)&r->counts)[k];
    if (!r->has_estimate) continue;
    estimated++;
    const struct t4_estimate *e = &r->estimates[0];
    us += e->us, read += e->dram_read, write += e->dram_write;
    bound_us[e->bound] += e->us;
  }
  int bound = 0;
  for (int i = 1; i < T4_NUM_LIMITS; i++)
    if (bound_us[i] > bound_us[bound]) bound = i;
  fprintf(f, "    {\"kernel\": ");
  put_string(f, name);
  fprintf(f, ", \"launches\": %" PRIu64 ", \"estimated_launches\": %" PRIu64, launches, estimated);
  fprintf(f, ", \"estimate_us\": %.4f, \"bound\": \"%s\", \"dram_read_bytes\": %.0f, \"dram_write_bytes\": %.0f, ", us,
          estimated ? t4_limit_name[bound] : "", read, write);
  put_counts(f, &sum);
  fprintf(f, "}");
}

bool vgpu_profile_write(const char *path, const char *config, const struct profile_record *records, size_t num) {
  const struct t4_table *table = t4_table_named(config);
  FILE *f = fopen(path, "w");
  if (!f) return false;
  fprintf(f, "{\n  \"format\": \"vgpu-profile 1\",\n  \"device\": \"Tesla T4, virtual\",\n  \"memory_configuration\": \"%s\",\n", config);
  fprintf(f, "  \"note\": \"Counts are exact. Times, bytes behind L1 and bounds are estimates of a model, not measurements; "
             "launch overhead is not in them.\",\n  \"launches\": [");
  for (size_t i = 0; i < num; i++) {
    fprintf(f, "%s\n    ", i ? "," : "");
    vgpu_profile_put_launch(f, &records[i], &table, 1);
  }
  fprintf(f, "\n  ],\n  \"kernels\": [");
  bool *done = calloc(num ? num : 1, sizeof *done), ok = done != NULL;
  for (size_t i = 0, n = 0; done && i < num; i++) {
    if (done[i]) continue;
    fprintf(f, "%s\n", n++ ? "," : "");
    put_kernel(f, records, num, i, done);
  }
  free(done);
  fprintf(f, "\n  ]\n}\n");
  ok = ok && !ferror(f);
  return fclose(f) == 0 && ok;
}

#include "driver/profile.h"
#include "runtime/base/mem.h"
#include <string.h>

static double number(const json_t *launch, const char *object, const char *key) { return json_number_value(json_object_get(json_object_get(launch, object), key)); }

double profile_estimate(const struct profile_launch *l, const char *key) { return number(l->counters, "estimate", key); }

static double limit_of(const struct profile_launch *l, const char *limit) { return number(json_object_get(l->counters, "estimate"), "limits_us", limit); }

const char *profile_bound(const struct profile_row *r) {
  const char *bound = json_string_value(json_object_get(json_object_get(r->longest->counters, "estimate"), "bound"));
  return bound ? bound : "-";
}

static bool belongs(const struct profile_row *r, const struct profile_launch *l) {
  return r->decode == (l->step > 0) && r->op == l->op && r->kernel == l->launch.kernel;
}

static double steps_of(const struct profile *p, bool decode) { return decode ? (double)p->steps : 1; }

static void add(struct profile_row *r, const struct profile_launch *l, double share) {
  r->launches += share;
  r->us += share * l->us;
  r->overhead_us += share * profile_estimate(l, "launch_overhead_us");
  r->moved += share * (profile_estimate(l, "dram_read_bytes") + profile_estimate(l, "dram_write_bytes"));
  r->ideal.bytes += share * l->ideal.bytes;
  r->ideal.operations += share * l->ideal.operations;
  if (!r->longest || l->us > r->longest->us) r->longest = l;
}

bool profile_rows(const struct profile *p, struct profile_rows *out, struct err *e) {
  enum { MOST = 2 * PROFILE_OPS * KERNEL_COUNT };
  *out = (struct profile_rows){.rows = mem_alloc(MOST, sizeof *out->rows, "the table", e)};
  for (int64_t i = 0; i < p->count && out->rows; i++) {
    const struct profile_launch *l = &p->launches[i];
    int32_t r = 0;
    while (r < out->count && !belongs(&out->rows[r], l)) r++;
    if (r == out->count) out->rows[out->count++] = (struct profile_row){.decode = l->step > 0, .op = l->op, .kernel = l->launch.kernel};
    add(&out->rows[r], l, l->times / steps_of(p, l->step > 0));
  }
  return out->rows != NULL;
}

struct profile_row profile_total(const struct profile_rows *r, bool decode) {
  struct profile_row t = {.decode = decode};
  for (int32_t i = 0; i < r->count; i++) {
    const struct profile_row *from = &r->rows[i];
    if (from->decode != decode) continue;
    t.launches += from->launches, t.us += from->us, t.overhead_us += from->overhead_us, t.moved += from->moved;
    t.ideal.bytes += from->ideal.bytes, t.ideal.operations += from->ideal.operations;
  }
  return t;
}

double profile_limit(const struct profile_row *r, const struct profile *p, const char *limit) {
  double us = 0;
  for (int64_t i = 0; i < p->count; i++)
    if (belongs(r, &p->launches[i])) us += p->launches[i].times * limit_of(&p->launches[i], limit);
  return us / steps_of(p, r->decode);
}

// --- the print

static void print_us(double us, int width) {
  if (us >= 1e6) printf("%*.3f s ", width - 3, us * 1e-6);
  else if (us >= 1e4) printf("%*.2f ms", width - 3, us * 1e-3);
  else printf("%*.2f us", width - 3, us);
}

static void print_head(const struct profile *p, bool decode, const struct profile_row *t) {
  if (!decode) printf("\nPrefill of %lld tokens: ", (long long)p->prompt_tokens);
  else if (p->steps == 1) printf("\nDecode step at %lld tokens: ", (long long)p->prompt_tokens + 1);
  else printf("\nDecode step, mean of %lld at %lld to %lld tokens: ", (long long)p->steps, (long long)p->prompt_tokens + 1, (long long)(p->prompt_tokens + p->steps));
  print_us(t->us, 0);
  printf(" in %.0f launches", t->launches);
  if (p->estimate) printf(" (estimate; about %.0f us of launch overhead not included)", t->overhead_us);
  printf("\n  %-14s %-24s %8s %11s %6s  ", "operation", "kernel", "launches", "time", "share");
  if (p->estimate) printf("%-8s %5s %5s %6s %6s %5s %5s %5s %6s  ", "bound", "DRAM", "L2", "shared", "tensor", "issue", "warps", "regs", "smem");
  else printf("%5s %6s  ", "regs", "smem");
  printf("%7s %7s\n", "GB/s", "TFLOP/s");
}

static void print_row(const struct profile *p, const struct profile_row *r, const struct profile_row *t) {
  static const char *const limits[] = {"dram", "l2", "shared", "tensor", "issue"};
  static const int widths[] = {5, 5, 6, 6, 5};
  printf("  %-14s %-24s %8.0f ", profile_op_names[r->op], gpu_kernel_name(r->kernel) + strlen("phi3_"), r->launches);
  print_us(r->us, 11);
  printf(" %4.1f %%  ", 100 * r->us / t->us);
  if (p->estimate) {
    printf("%-8s ", profile_bound(r));
    for (int i = 0; i < 5; i++) printf("%*.0f%% ", widths[i] - 1, 100 * profile_limit(r, p, limits[i]) / r->us);
    printf("%5.0f ", profile_estimate(r->longest, "warps_per_sm"));
  }
  printf("%5d %6d  %7.1f %7.2f%s\n", r->longest->registers, r->longest->shared_bytes, r->ideal.bytes / r->us * 1e-3, r->ideal.operations / r->us * 1e-6,
         r->longest->local_bytes ? "  spills" : "");
}

static void print_legend(const struct profile *p) {
  if (p->estimate)
    printf("\nTimes are a model's ESTIMATES for a Tesla T4 (memory configuration %s; runtime/vgpu/README.md), not measurements. DRAM, L2, shared, tensor, issue:\n"
           "the time that this limit alone would take, as a share of the estimate; the bound is the limit that is in use most of the time, or latency. warps: of\n"
           "32 that an SM can hold.",
           profile_memories[p->options->memory]);
  else printf("\nTimes lie between two events around each launch; a launch here is not part of a graph, so that short ones take longer than in generation.");
  printf(" GB/s and TFLOP/s count what the operation must move and compute at the least.\n");
  if (p->layers_run < p->layers) printf("%d layer was run for all %d: each does the same work.\n", p->layers_run, p->layers);
}

void profile_print(const struct profile *p, const struct profile_rows *r) {
  printf("Model    %s: %d layer%s, hidden size %d\nDevice   %s%s\n", p->engine->model.path, p->layers, p->layers == 1 ? "" : "s", p->engine->model.config.hidden_size, p->device, p->estimate ? ", virtual" : "");
  for (int decode = 0; decode < 2; decode++) {
    struct profile_row t = profile_total(r, decode);
    if (t.launches <= 0) continue;
    print_head(p, decode, &t);
    for (int32_t i = 0; i < r->count; i++)
      if (r->rows[i].decode == decode) print_row(p, &r->rows[i], &t);
  }
  print_legend(p);
}

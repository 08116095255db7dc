// The estimate against an independent cycle-level simulator's figures, where they are at hand (../shared/data/sim) and nvcc could
// compile their kernels: DRAM bytes and L2 traffic within 3 %, time within 15 %, the bound named, occupancy equal.
#include "tests/vgpu/sim_run.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA "../shared/data/sim/"

struct figure {
  char name[64], config[16], limited_by[32];
  double cycles, us, warp_insn, read_mb, write_mb, gbps, l2_accesses, l2_misses, l1_accesses, l1_misses, limit, resident, regs, smem_static,
      smem_dynamic, smem_stall;
};

static bool read_figure(char *line, struct figure *f) {
  memset(f, 0, sizeof *f);
  int n = sscanf(line, "%63s %15s %lf %lf %lf %lf %lf %lf %lf %lf %lf %lf %lf %31s %lf %lf %lf %lf %lf", f->name, f->config, &f->cycles, &f->us,
                 &f->warp_insn, &f->read_mb, &f->write_mb, &f->gbps, &f->l2_accesses, &f->l2_misses, &f->l1_accesses, &f->l1_misses, &f->limit,
                 f->limited_by, &f->resident, &f->regs, &f->smem_static, &f->smem_dynamic, &f->smem_stall);
  return n == 19;
}

// The bounds that the kernels' authors name.
static bool bound_is_right(const char *name, enum t4_limit b) {
  if (!strcmp(name, "gemv_fma") || !strcmp(name, "copy_f4")) return b == T4_LIMIT_DRAM;
  if (!strcmp(name, "transpose_conf")) return b == T4_LIMIT_SHARED || b == T4_LIMIT_DRAM;
  if (!strcmp(name, "argmax")) return b == T4_LIMIT_LATENCY;
  if (!strcmp(name, "fma_chain")) return b == T4_LIMIT_FP32;
  if (!strcmp(name, "divergent")) return b == T4_LIMIT_ISSUE || b == T4_LIMIT_INT;
  return true;
}

static unsigned wrong;

// Within a share of what was found, or so little that it does not matter (`least`).
static void within(const char *name, const char *config, const char *what, double got, double want, double share, double least) {
  double off = got > want ? got - want : want - got;
  if (off <= share * want || off <= least) return;
  printf("  %s %s: %s %.6g, the simulator has %.6g (%+.1f %%, %.0f %% allowed)\n", name, config, what, got, want, 100 * (got / want - 1), 100 * share);
  wrong++;
}

static void compare(const struct figure *f, const struct vgpu_counts *k, const struct t4_estimate *e) {
  printf("%-14s %-6s  %7.2f us (%7.2f, %+5.1f %%)  read %7.3f MB (%7.3f)  write %6.3f (%6.3f)  L2 %7.0f (%7.0f)  %-7s %4.2f\n", f->name, f->config,
         e->us, f->us, 100 * (e->us / f->us - 1), e->dram_read / 1e6, f->read_mb, e->dram_write / 1e6, f->write_mb, e->l2_accesses, f->l2_accesses,
         t4_limit_name[e->bound], e->share);
  // Four agree exactly; for gemv_fma the simulator's own count differs between its memory configurations, so it counts something else too.
  bool loose = !strcmp(f->name, "gemv_fma") || !strcmp(f->name, "argmax");
  within(f->name, f->config, "warp instructions", (double)k->warp_instructions, f->warp_insn, loose ? 0.04 : 0, 0);
  within(f->name, f->config, "us", e->us, f->us, 0.15, 0);
  within(f->name, f->config, "DRAM bytes", e->dram_read + e->dram_write, (f->read_mb + f->write_mb) * 1e6, 0.03, 20e3);
  within(f->name, f->config, "L2 accesses", e->l2_accesses, f->l2_accesses, 0.03, 0);
  within(f->name, f->config, "L1 accesses", e->l1_accesses, f->l1_accesses, 0.03, 0);
  double extra = (double)(k->shared_wavefronts[0] + k->shared_wavefronts[1]) - (double)(k->shared_requests[0] + k->shared_requests[1]);
  within(f->name, f->config, "further shared passes", extra, f->smem_stall, 0.001, 0);
  if (e->occupancy.blocks != f->limit || strcmp(e->occupancy.limited_by, f->limited_by)) {
    printf("  %s: %u blocks an SM by %s, the simulator has %.0f by %s\n", f->name, e->occupancy.blocks, e->occupancy.limited_by, f->limit, f->limited_by);
    wrong++;
  }
  if (!bound_is_right(f->name, e->bound)) {
    printf("  %s: the bound is said to be %s\n", f->name, t4_limit_name[e->bound]);
    wrong++;
  }
}

// The manifest's line of a kernel, to be freed.
static char *manifest_line(const char *name) {
  FILE *f = fopen(DATA "manifest.tsv", "r");
  char line[1024];
  size_t n = strlen(name);
  while (f && fgets(line, sizeof line, f))
    if (!strncmp(line, name, n) && line[n] == '\t') {
      fclose(f);
      return strdup(line);
    }
  if (f) fclose(f);
  return NULL;
}

static void test_against_simulator(void **state) {
  (void)state;
  FILE *f = fopen(DATA "sim.tsv", "r");
  if (!f || !*SIM_PTX) {
    printf("skipped: %s\n", f ? "no nvcc compiled the kernels" : DATA "sim.tsv is not there");
    if (f) fclose(f);
    skip();
  }
  struct sim_module *m = sim_open(SIM_PTX);
  assert_non_null(m);
  char line[1024];
  unsigned compared = 0;
  while (fgets(line, sizeof line, f)) {
    struct figure fig;
    if (!read_figure(line, &fig)) continue;
    char *launch = manifest_line(fig.name);
    assert_non_null(launch);
    struct vgpu_counts counts;
    struct t4_estimate e;
    assert_true(sim_run(m, launch, (unsigned)fig.regs, fig.config, &counts, &e));
    free(launch);
    compare(&fig, &counts, &e);
    compared++;
  }
  fclose(f);
  sim_close(m);
  assert_true(compared >= 12);
  assert_int_equal(wrong, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_simulator)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

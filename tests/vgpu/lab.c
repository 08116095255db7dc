#include "tests/vgpu/lab.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct lab lab;

uint64_t lab_random(void) {
  lab.seed ^= lab.seed << 13;
  lab.seed ^= lab.seed >> 7;
  return lab.seed ^= lab.seed << 17;
}

void put(struct text *t, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(t->s + t->n, sizeof t->s - t->n, fmt, ap);
  va_end(ap);
  t->n += (size_t)n;
  assert_true(n >= 0 && t->n < sizeof t->s);
}

int lab_launch(const char *ptx, uint32_t blocks, uint32_t threads, const uint8_t *table) {
  struct ptx_error e;
  struct ptx_module *m = ptx_parse(ptx, strlen(ptx), &e);
  struct vgpu_code *c = m ? vgpu_decode(m, &e) : NULL;
  if (!c) {
    print_message("%s\n", e.text);
    return -1;
  }
  for (struct ptx_var *v = NULL; (v = vgpu_next_var(c, v));) {
    uint8_t *host = NULL;
    struct vg_alloc *alloc;
    v->address = vg_mem_alloc(v->size, 256, VG_MEM_CONST, NULL, NULL, true);
    assert_true(v->address && vg_mem_range(v->address, v->size, &host, &alloc));
    vgpu_var_bytes(c, v, host);
  }
  vgpu_link(c);
  for (uint32_t k = 0; k < c->num_ins; k++) lab.covered[c->ins[k].op] = lab.covered_sub[c->ins[k].op][c->ins[k].sub] = true;
  uint8_t params[16 + LAB_TABLE] = {0};
  memcpy(params, &lab.device, 8);
  if (table) memcpy(params + 16, table, LAB_TABLE);
  struct vgpu_launch l = {.code = c, .kernel = vgpu_find_func(c, "k"), .grid = {blocks, 1, 1}, .block = {threads, 1, 1}, .params = params};
  int r = vgpu_exec(lab.pool, &l);
  for (struct ptx_var *v = NULL; (v = vgpu_next_var(c, v));) {
    bool again;
    vg_mem_free(v->address, VG_MEM_CONST, &again);
  }
  vgpu_code_free(c);
  return r;
}

bool lab_run(const char *ptx, uint32_t blocks, uint32_t threads, const uint8_t *table) {
  int r = lab_launch(ptx, blocks, threads, table);
  if (!r && !vgpuFindings(-1)) return true;
  print_message("launch: %d, %s, of\n%s\n", r, vgpuFindings(-1) ? vgpuFindingText(0) : "no findings", ptx);
  vgpuFindingsReset();
  return false;
}

int lab_open(void **state) {
  (void)state;
  struct vg_alloc *alloc;
  const char *given = getenv("VGPU_TEST_SEED");
  lab.seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15ull | 1;
  print_message("VGPU_TEST_SEED=%llu\n", (unsigned long long)lab.seed);
  if (!vg_mem_open(true)) return -1;
  lab.pool = vgpu_pool_open(1);
  lab.device = vg_mem_alloc(LAB_BYTES, 256, VG_MEM_DEVICE, NULL, NULL, true);
  return !lab.pool || !lab.device || !vg_mem_range(lab.device, LAB_BYTES, &lab.host, &alloc);
}

int lab_close(void **state) {
  (void)state;
  bool again;
  vgpu_pool_close(lab.pool);
  return !vg_mem_free(lab.device, VG_MEM_DEVICE, &again);
}

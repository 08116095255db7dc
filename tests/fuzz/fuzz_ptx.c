// PTX text: read, decoded, and, where it holds a small kernel `k`, run for a bounded number of instructions, twice: two schedules.
#include "runtime/vgpu/exec.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

enum { MEMORY = 4096, MAX_STATIC = 65536, WATCHDOG = 2000 };

static struct vgpu_pool *pool;
static uint64_t memory;

static void close_all(void) {
  bool again;
  vgpu_pool_close(pool);
  vg_mem_free(memory, VG_MEM_DEVICE, &again);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  setenv("VGPU_LOG", "/dev/null", 1); // findings by the thousand, all deserved
  if (!vg_mem_open(true)) exit(1);
  pool = vgpu_pool_open(1);
  memory = vg_mem_alloc(MEMORY, 256, VG_MEM_DEVICE, NULL, NULL, true);
  if (!pool || !memory) exit(1);
  atexit(close_all);
  return 0;
}

static void run(struct vgpu_code *c) {
  static uint8_t params[4096];
  const struct vgpu_func *k = vgpu_find_func(c, "k");
  if (!k || !k->ptx->is_entry || k->static_shared > MAX_STATIC || k->stack_bytes > MAX_STATIC || k->param_bytes > sizeof params) return;
  for (struct ptx_var *v = NULL; (v = vgpu_next_var(c, v));) v->address = memory;
  vgpu_link(c);
  memcpy(params, &memory, sizeof memory);
  struct vgpu_launch l = {.code = c, .kernel = k, .grid = {2, 1, 1}, .block = {48, 1, 1}, .dynamic_shared = 64, .params = params, .watchdog = WATCHDOG};
  for (l.seed = 0; l.seed < 2; l.seed++) vgpu_exec(pool, &l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct ptx_error e = {0};
  struct ptx_module *m = ptx_parse((const char *)data, size, &e);
  struct vgpu_code *c = m ? vgpu_decode(m, &e) : NULL;
  if (!c) {
    fuzz_check(e.status != PTX_OK && e.text[0]);
    return 0;
  }
  run(c);
  vg_forget_module(c);
  vgpu_code_free(c);
  vgpuFindingsReset();
  return 0;
}

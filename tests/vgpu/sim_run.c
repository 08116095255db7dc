#include "tests/vgpu/sim_run.h"
#include "runtime/vgpu/exec.h"
#include "runtime/vgpu/mem.h"
#include "runtime/vgpu/profile.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ARGS = 16 };

struct sim_module {
  struct vgpu_code *code;
  struct vgpu_pool *pool;
};

struct sim_module *sim_open(const char *ptx_path) {
  FILE *f = fopen(ptx_path, "rb");
  if (!f) {
    printf("%s cannot be opened\n", ptx_path);
    return NULL;
  }
  fseek(f, 0, SEEK_END);
  long size = ftell(f);
  rewind(f);
  char *text = calloc(1, (size_t)size + 1);
  size_t got = text ? fread(text, 1, (size_t)size, f) : 0;
  fclose(f);
  struct ptx_error e = {0};
  struct ptx_module *ptx = text ? ptx_parse(text, got, &e) : NULL;
  free(text);
  struct vgpu_code *code = ptx ? vgpu_decode(ptx, &e) : NULL;
  if (!code) {
    printf("%s: %s\n", ptx_path, e.text);
    return NULL;
  }
  struct sim_module *m = calloc(1, sizeof *m);
  if (!m || !vg_mem_open(false)) abort();
  vgpu_link(code);
  m->code = code;
  m->pool = vgpu_pool_open(2);
  return m;
}

void sim_close(struct sim_module *m) {
  if (!m) return;
  vgpu_pool_close(m->pool);
  vgpu_code_free(m->code);
  free(m);
}

static uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352d;
  x ^= x >> 15;
  x *= 0x846ca68b;
  return x ^ x >> 16;
}

static float uniform(uint32_t h) { return (float)(h >> 8) / 8388608.0f - 1; }

// Round to nearest even; the values lie in [-1, 1).
static uint16_t to_half(float f) {
  double a = f < 0 ? -f : f;
  uint16_t sign = f < 0 ? 0x8000 : 0, best = 0;
  int e = -14;
  while (e < 15 && a >= (e + 1 > 0 ? (double)(1 << (e + 1)) : 1.0 / (1 << -(e + 1)))) e++;
  double unit = (e > 0 ? (double)(1 << e) : 1.0 / (1 << -e)) / 1024, q = a / unit;
  unsigned n = (unsigned)q;
  double rest = q - n;
  if (rest > 0.5 || (rest == 0.5 && (n & 1))) n++;
  best = n < 1024 && e == -14 ? (uint16_t)n : (uint16_t)(((e + 15) << 10) + (int)n - 1024);
  return sign | best;
}

// Element i of argument a, as the data's README says.
static void fill(void *host, const char *type, unsigned a, uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    uint32_t h = mix((uint32_t)i * 0x9E3779B1u + (a + 1) * 0x85EBCA6Bu);
    float v = uniform(h);
    if (!strcmp(type, "f16")) ((uint16_t *)host)[i] = to_half(v);
    else if (!strcmp(type, "f32")) ((float *)host)[i] = v;
    else ((uint32_t *)host)[i] = h;
  }
}

static uint64_t product(const char *s) {
  uint64_t n = 1;
  for (char *end; *s; s = *end ? end + 1 : end) n *= strtoull(s, &end, 10);
  return n;
}

// One argument: memory that is made and filled, or a number. Its 8 bytes as a parameter.
static bool argument(char *text, unsigned a, uint64_t *value, uint64_t *made) {
  *made = 0;
  char *kind = strtok(text, ":"), *type = strtok(NULL, ":"), *count = strtok(NULL, ":");
  if (!kind || !type) return false;
  if (!strcmp(kind, "int")) {
    *value = (uint32_t)strtol(type, NULL, 10);
    return true;
  }
  if (!strcmp(kind, "float")) {
    float f = strtof(type, NULL);
    *value = 0;
    memcpy(value, &f, sizeof f);
    return true;
  }
  if (!count) return false;
  uint64_t n = product(count), size = n * (!strcmp(type, "f16") ? 2 : !strcmp(type, "f64") ? 8 : 4);
  *made = vg_mem_alloc(size, 256, VG_MEM_DEVICE, NULL, NULL, true);
  uint8_t *host;
  struct vg_alloc *alloc;
  if (!*made || !vg_mem_range(*made, size, &host, &alloc)) return false;
  memset(host, 0, size);
  if (!strcmp(kind, "in")) fill(host, type, a, n);
  *value = *made;
  return true;
}

static uint32_t pack(const struct vgpu_func *f, const uint64_t *values, unsigned n, uint8_t *out) {
  uint32_t at = 0;
  unsigned i = 0;
  for (const struct ptx_var *p = f->ptx->params; p && i < n; p = p->next, i++) {
    at = (at + p->align - 1) / p->align * p->align;
    memcpy(out + at, &values[i], p->size < 8 ? p->size : 8);
    at += (uint32_t)p->size;
  }
  return at;
}

static bool launch(struct sim_module *m, struct vgpu_launch *l, unsigned registers, const char *config,
                   struct vgpu_counts *counts, struct t4_estimate *estimate) {
  struct vgpu_profile *p = vgpu_profile_open_with(NULL, config, 0);
  struct vgpu_launch_facts facts = {.kernel = l->kernel->name, .code = m->code, .func = l->kernel, .registers = registers,
                                    .static_shared = l->kernel->static_shared, .dynamic_shared = l->dynamic_shared};
  memcpy(facts.grid, l->grid, sizeof facts.grid);
  memcpy(facts.block, l->block, sizeof facts.block);
  struct vgpu_profile_launch *counted = p ? vgpu_profile_begin(p, &facts) : NULL;
  if (!counted) return false;
  l->observer = vgpu_profile_observer(counted);
  int r = vgpu_exec(m->pool, l);
  if (r) printf("%s: the launch ended with %d\n", l->kernel->name, r);
  vgpu_profile_end(counted, !r);
  const struct t4_estimate *e = !r && vgpu_profile_count(p) ? vgpu_profile_estimate(p, 0) : NULL;
  if (e) *estimate = *e, *counts = *vgpu_profile_counts(p, 0);
  vgpu_profile_close(p);
  return e != NULL;
}

bool sim_run(struct sim_module *m, char *line, unsigned registers, const char *config, struct vgpu_counts *counts,
             struct t4_estimate *estimate) {
  char *field[8] = {0}, *save = NULL, *s = strtok_r(line, "\t\n", &save);
  for (int i = 0; i < 8 && s; i++, s = strtok_r(NULL, "\t\n", &save)) field[i] = s;
  const struct vgpu_func *f = field[6] ? vgpu_find_func(m->code, field[0]) : NULL;
  if (!f) {
    printf("no kernel for the line of %s\n", field[0] ? field[0] : "(nothing)");
    return false;
  }
  uint64_t values[MAX_ARGS], made[MAX_ARGS];
  unsigned n = 0;
  bool ok = true;
  for (char *more = NULL, *a = strtok_r(field[6], " ", &more); ok && a && n < MAX_ARGS; a = strtok_r(NULL, " ", &more), n++)
    ok = argument(a, n, &values[n], &made[n]);
  uint8_t params[MAX_ARGS * 8 + 64] = {0};
  pack(f, values, n, params);
  struct vgpu_launch l = {.code = m->code, .kernel = f, .params = params, .dynamic_shared = (uint32_t)atoi(field[5]),
                          .grid = {(uint32_t)atoi(field[1]), (uint32_t)atoi(field[2]), 1},
                          .block = {(uint32_t)atoi(field[3]), (uint32_t)atoi(field[4]), 1}};
  ok = ok && launch(m, &l, registers, config, counts, estimate);
  bool was_freed;
  for (unsigned i = 0; i < n; i++)
    if (made[i]) vg_mem_free(made[i], VG_MEM_DEVICE, &was_freed);
  return ok;
}

// The device under the benchmark: what it launches is recorded on the way, and on the virtual GPU counted.
#include "bench/kernel_bench.h"
#include "bench/roof.h"
#include "driver/machine.h"
#include <stdio.h>
#include <math.h>
#include <string.h>

const char *const device_words[] = {"cpu", "cuda", "vgpu", NULL};

enum { ATTRIBUTE_MEMORY_KHZ = 36, ATTRIBUTE_BUS_BITS = 37, ATTRIBUTE_L2_BYTES = 38 }; // CUdevice_attribute

static int attribute(struct bench_device *d, int which) {
  int v = 0;
  return d->gpu.cuda.device_attribute(&v, which, d->gpu.device) ? 0 : v;
}

// A card other than a T4: its memory's clock and width are on paper all that the driver tells.
static void set_roofs(struct bench_device *d) {
  if (d->kind == ON_VGPU || strstr(d->gpu.name, "T4")) {
    memcpy(d->roofs, t4_roofs, sizeof t4_roofs);
    d->num_roofs = T4_ROOFS;
    return;
  }
  double bytes = 2e3 * attribute(d, ATTRIBUTE_MEMORY_KHZ) * attribute(d, ATTRIBUTE_BUS_BITS) / 8;
  d->roofs[0] = (struct roof_lines){"paper", bytes, 0};
  d->num_roofs = bytes > 0;
}

static bool open_flush(struct bench_device *d, struct err *e) {
  enum { LEAST = 64 << 20 };
  size_t twice = 2 * (size_t)attribute(d, ATTRIBUTE_L2_BYTES);
  return buffer_open(d, &d->flush, NULL, twice > LEAST ? twice : LEAST, e);
}

// The machine's own ceilings, measured now.
static bool open_cpu(struct bench_device *d, struct err *e) {
  struct machine machine;
  struct roof roof;
  machine_read(&machine);
  snprintf(d->name, sizeof d->name, "%s", machine.cpu);
  if (!roof_measure(&roof, 0, e)) return false;
  d->roofs[0] = (struct roof_lines){"measured", roof.read_bytes_per_second, roof.flops};
  d->num_roofs = 1;
  return cpu_side_open(&d->cpu, e);
}

static bool open_gpu(struct bench_device *d, struct err *e) {
  struct err no_cublas;
  if (!gpu_device_open(&d->gpu, d->kind == ON_VGPU, e)) return false;
  snprintf(d->name, sizeof d->name, "%s", d->gpu.name);
  set_roofs(d);
  if (d->kind == ON_VGPU) return true;
  if (!cublas_open(&d->cublas, d->gpu.stream, false, &no_cublas)) fprintf(stderr, "%s: its cases are left out\n", no_cublas.text);
  card_watch_start(&d->card, &d->gpu);
  return open_flush(d, e);
}

bool device_open(struct bench_device *d, struct err *e) {
  if ((d->pool = pool_open(0, e)) && (d->kind == ON_CPU ? open_cpu : open_gpu)(d, e)) return true;
  device_close(d);
  return false;
}

void device_close(struct bench_device *d) {
  card_watch_stop(&d->card);
  if (d->flush.p) buffer_close(d, &d->flush);
  cublas_close(&d->cublas);
  cpu_side_close(d->cpu);
  d->cpu = NULL;
  if (d->gpu.context) gpu_device_close(&d->gpu);
  if (d->pool) pool_close(d->pool);
  d->pool = NULL;
}

static cu_result keep(void *ctx, const struct recorded_launch *l) {
  struct bench_device *d = ctx;
  if (d->num_launches < MAX_RECORDED) d->launches[d->num_launches++] = *l;
  return 0;
}

// Launches as the runtime does; the case's kernel must be among them.
static bool launch_recorded(struct bench_device *d, const struct kernel_case *c, void *work, struct err *e) {
  if (d->kind == ON_CPU) return c->family->launch(d, work, e);
  struct recorder r = {.device = &d->gpu, .before = keep, .ctx = d};
  d->num_launches = 0;
  recorder_start(&r);
  bool ok = c->family->launch(d, work, e);
  recorder_stop(&r);
  if (!ok || !gpu_wait(&d->gpu, c->name, e)) return false;
  bool found = c->kernel == KERNEL_COUNT;
  for (int32_t i = 0; i < d->num_launches; i++) found |= d->launches[i].kernel == c->kernel;
  return found || err_set(e, "%s: the runtime takes another kernel for this shape; the case in bench/ is out of date", c->name);
}

static bool check(struct bench_device *d, const struct kernel_case *c, void *work, struct agreement *a, struct err *e) {
  *a = (struct agreement){.gate = 0};
  if (!c->family->check(d, work, a, e)) return false;
  double error = agreement_error(a);
  if (a->unwritten) return err_set(e, "%s: wrong result: %lld outputs were not written, or others were", c->name, (long long)a->unwritten);
  if (!(error <= a->gate)) return err_set(e, "%s: wrong result: the relative error of %lld outputs is %.3g, at most %.3g passes", c->name, (long long)a->outputs, error, a->gate);
  return true;
}

// --- the virtual GPU

// The one launch of the case's kernel among those counted.
static bool find_launch(const struct vgpu_counting *v, const struct kernel_case *c, json_t **out, struct err *e) {
  unsigned long long n = v->count();
  for (unsigned long long i = 0; i < n; i++) {
    json_t *j = vgpu_counting_launch(v, i, e);
    if (!j) return false;
    const char *kernel = json_string_value(json_object_get(j, "kernel"));
    bool wanted = kernel && strcmp(kernel, gpu_kernel_name(c->kernel)) == 0, twice = wanted && *out;
    if (!wanted || twice) json_decref(j);
    if (twice) return err_set(e, "%s: the kernel was launched more than once", c->name);
    if (wanted) *out = j;
  }
  return *out || err_set(e, "%s: the virtual GPU counted no launch of the kernel", c->name);
}

static bool estimate(struct bench_device *d, const struct kernel_case *c, void *work, struct measurement *m, struct err *e) {
  struct vgpu_counting v;
  if (!vgpu_counting_find(&v, &d->gpu, e)) return false;
  unsigned before = v.findings(-1);
  if (!vgpu_counting_start(&v, d->configs, d->sample, e)) return false;
  bool ok = launch_recorded(d, c, work, e);
  v.stop();
  if (ok && v.findings(-1) > before) ok = err_set(e, "%s: the virtual GPU finds: %s", c->name, v.finding(before));
  if (!ok || !check(d, c, work, &m->agreement, e) || !find_launch(&v, c, &m->launch, e)) return false;
  double us = json_number_value(json_object_get(json_object_get(m->launch, "estimate"), "us"));
  m->seconds = m->low = m->high = 1e-6 * us;
  m->runs = 1;
  return us > 0 || err_set(e, "%s: the virtual GPU made no estimate of the launch", c->name);
}

// --- a case

// A GPU's schedule differs from run to run: what came of the last one is checked too.
static bool measure(struct bench_device *d, const struct kernel_case *c, void *work, struct measurement *m, struct err *e) {
  if (!c->family->reset(d, work, e)) return false;
  if (d->kind == ON_VGPU) return estimate(d, c, work, m, e);
  return launch_recorded(d, c, work, e) && check(d, c, work, &m->agreement, e) && time_runs(d, c, work, m, e) && c->family->reset(d, work, e) &&
         launch_recorded(d, c, work, e) && check(d, c, work, &m->agreement, e);
}

bool case_measure(struct bench_device *d, const struct kernel_case *c, uint64_t seed, struct measurement *m, struct err *e) {
  void *work = NULL;
  *m = (struct measurement){0};
  bool ok = c->family->open(d, c, seed, &work, e) && measure(d, c, work, m, e);
  if (ok) m->ideal = c->family->cost(work);
  c->family->close(d, work);
  if (!ok) measurement_free(m);
  return ok;
}

void measurement_free(struct measurement *m) {
  json_decref(m->launch);
  *m = (struct measurement){0};
}

double roof_seconds(const struct roof_lines *r, struct gpu_cost work) {
  double memory = r->bytes > 0 ? work.bytes / r->bytes : 0, arithmetic = r->operations > 0 ? work.operations / r->operations : 0;
  return fmax(memory, arithmetic);
}

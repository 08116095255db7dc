// The device under the benchmark: what it launches is recorded on the way, and on the virtual GPU counted.
#include "bench/kernel_bench.h"
#include "runtime/base/mem.h"
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const device_words[] = {"cpu", "cuda", "vgpu", NULL};

// A T4: 320 GB/s and 65 TFLOP/s on paper; seen are 255-277 GB/s read, and 42-49 TFLOP/s in cuBLAS.
static const struct roof_lines t4_roofs[] = {{"paper", 320e9, 65e12}, {"seen", 265e9, 45e12}};

// cuLaunchKernel has no place for a context of ours, so what stands in its place has it here.
static struct bench_device *recording;
static cu_result (*real_launch)(cu_function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, cu_stream, void **, void **);

static size_t parameter_bytes(const struct bench_device *d, cu_function f) {
  for (int k = 0; k < KERNEL_COUNT; k++)
    if (d->gpu.kernels[k] == f) return gpu_registry[k].parameter_bytes;
  return 0;
}

static cu_result launch_and_record(cu_function f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, cu_stream stream,
                                   void **parameters, void **extra) {
  if (recording && recording->num_launches < MAX_RECORDED) {
    struct recorded_launch *l = &recording->launches[recording->num_launches++];
    size_t bytes = parameter_bytes(recording, f);
    *l = (struct recorded_launch){.function = f, .grid = {gx, gy, gz}, .threads = bx, .shared = shared};
    memcpy(l->parameters, parameters[0], bytes < sizeof l->parameters ? bytes : sizeof l->parameters);
  }
  return real_launch(f, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra);
}

enum { ATTRIBUTE_MEMORY_KHZ = 36, ATTRIBUTE_BUS_BITS = 37, ATTRIBUTE_L2_BYTES = 38 }; // CUdevice_attribute

static int attribute(struct bench_device *d, int which) {
  int v = 0;
  return d->gpu.cuda.device_attribute(&v, which, d->gpu.device) ? 0 : v;
}

// A card other than a T4: its memory's clock and width are on paper all that the driver tells.
static void set_roofs(struct bench_device *d) {
  if (d->kind == ON_VGPU || strstr(d->gpu.name, "T4")) {
    memcpy(d->roofs, t4_roofs, sizeof t4_roofs);
    d->num_roofs = sizeof t4_roofs / sizeof *t4_roofs;
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

bool device_open(struct bench_device *d, struct err *e) {
  if (!(d->pool = pool_open(0, e))) return false;
  if (!gpu_device_open(&d->gpu, d->kind == ON_VGPU, e)) return device_close(d), false;
  real_launch = d->gpu.cuda.launch;
  d->gpu.cuda.launch = launch_and_record;
  set_roofs(d);
  if (d->kind == ON_VGPU || open_flush(d, e)) return true;
  device_close(d);
  return false;
}

void device_close(struct bench_device *d) {
  if (d->flush.p) buffer_close(d, &d->flush);
  if (d->gpu.context) gpu_device_close(&d->gpu);
  if (d->pool) pool_close(d->pool);
  d->pool = NULL;
}

// Launches as the runtime does; the case's kernel must be among them.
static bool launch_recorded(struct bench_device *d, const struct kernel_case *c, void *work, struct err *e) {
  d->num_launches = 0;
  recording = d;
  bool ok = c->family->launch(d, work, e) && gpu_wait(&d->gpu, c->name, e);
  recording = NULL;
  if (!ok) return false;
  for (int32_t i = 0; i < d->num_launches; i++)
    if (d->launches[i].function == d->gpu.kernels[c->kernel]) return true;
  return err_set(e, "%s: the runtime takes another kernel for this shape; the case in bench/ is out of date", c->name);
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

struct vgpu_library {
  int (*start)(const char *configs, unsigned long long sample);
  void (*stop)(void);
  unsigned long long (*count)(void);
  const char *(*launch)(unsigned long long i);
  unsigned (*findings)(int kind);
  const char *(*finding)(unsigned i);
};

static bool look_up(struct bench_device *d, struct vgpu_library *v, struct err *e) {
  static const char *const names[] = {"vgpuProfileStart", "vgpuProfileStop", "vgpuProfileCount", "vgpuProfileLaunch", "vgpuFindings", "vgpuFindingText"};
  void *found[6];
  for (int i = 0; i < 6; i++)
    if (!(found[i] = dlsym(d->gpu.cuda.library, names[i]))) return err_set(e, "%s has no function %s; build it anew (target vgpu)", d->gpu.cuda.library_name, names[i]);
  memcpy(v, found, sizeof found);
  return true;
}

// The one launch of the case's kernel among those counted.
static bool find_launch(const struct vgpu_library *v, const struct kernel_case *c, json_t **out, struct err *e) {
  unsigned long long n = v->count();
  for (unsigned long long i = 0; i < n; i++) {
    const char *text = v->launch(i);
    json_t *j = text ? json_read_memory(text, strlen(text), "a launch of the virtual GPU", e) : NULL;
    if (!j) return text ? false : err_no_memory(e, 0, "a launch's counters");
    const char *kernel = json_string_value(json_object_get(j, "kernel"));
    if (!kernel || strcmp(kernel, gpu_kernel_name(c->kernel)) != 0) {
      json_decref(j);
      continue;
    }
    if (*out) return json_decref(j), err_set(e, "%s: the kernel was launched more than once", c->name);
    *out = j;
  }
  return *out || err_set(e, "%s: the virtual GPU counted no launch of the kernel", c->name);
}

static bool estimate(struct bench_device *d, const struct kernel_case *c, void *work, struct measurement *m, struct err *e) {
  struct vgpu_library v;
  if (!look_up(d, &v, e)) return false;
  unsigned before = v.findings(-1);
  if (!v.start(d->configs, d->sample)) return err_set(e, "the virtual GPU does not know the memory configurations '%s', or has no memory to count", d->configs);
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
  return launch_recorded(d, c, work, e) && check(d, c, work, &m->agreement, e) && time_recorded(d, c, m, e) && c->family->reset(d, work, e) &&
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

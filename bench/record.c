#include "bench/record.h"
#include <dlfcn.h>
#include <string.h>

const struct roof_lines t4_roofs[T4_ROOFS] = {{"paper", 320e9, 65e12}, {"seen", 265e9, 45e12}};

#define FITS(name, type, threads, registers) _Static_assert(sizeof(struct type) <= sizeof((struct recorded_launch *)0)->parameters, "room for " #name "'s parameters");
PHI3_KERNELS(FITS)
#undef FITS

// cuLaunchKernel has no place for a context of ours, so what stands in its place has it here.
static struct recorder *recorder;
static cu_result (*real_launch)(cu_function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, cu_stream, void **, void **);

static enum gpu_kernel kernel_of(const struct gpu_device *d, cu_function f) {
  int k = 0;
  while (k < KERNEL_COUNT && d->kernels[k] != f) k++;
  return (enum gpu_kernel)k;
}

static cu_result launch(cu_function f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, cu_stream stream, void **parameters,
                        void **extra) {
  struct recorded_launch l = {.kernel = kernel_of(recorder->device, f), .grid = {gx, gy, gz}, .threads = bx * by * bz, .shared = shared};
  if (l.kernel < KERNEL_COUNT) memcpy(l.parameters, parameters[0], gpu_registry[l.kernel].parameter_bytes);
  cu_result r = recorder->before ? recorder->before(recorder->ctx, &l) : 0;
  if (!r) r = real_launch(f, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra);
  if (!r && recorder->after) r = recorder->after(recorder->ctx, &l);
  return r;
}

void recorder_start(struct recorder *r) {
  recorder = r;
  real_launch = r->device->cuda.launch;
  r->device->cuda.launch = launch;
}

void recorder_stop(struct recorder *r) {
  if (recorder != r) return;
  r->device->cuda.launch = real_launch;
  recorder = NULL;
}

bool recorded_launch_again(struct gpu_device *d, const struct recorded_launch *l, struct err *e) {
  struct recorded_launch copy = *l;
  return gpu_launch(d, l->kernel, l->grid, l->threads, l->shared, copy.parameters, e);
}

bool vgpu_counting_find(struct vgpu_counting *v, const struct gpu_device *d, struct err *e) {
  struct {
    void **to;
    const char *name;
  } wanted[] = {{(void **)&v->start, "vgpuProfileStart"},   {(void **)&v->stop, "vgpuProfileStop"}, {(void **)&v->count, "vgpuProfileCount"},
                {(void **)&v->launch, "vgpuProfileLaunch"}, {(void **)&v->findings, "vgpuFindings"}, {(void **)&v->finding, "vgpuFindingText"}};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
    if (!(*wanted[i].to = dlsym(d->cuda.library, wanted[i].name)))
      return err_set(e, "%s has no function %s; build it anew (target vgpu)", d->cuda.library_name, wanted[i].name);
  return true;
}

bool vgpu_counting_start(const struct vgpu_counting *v, const char *configs, uint64_t blocks, struct err *e) {
  return v->start(configs, blocks) || err_set(e, "the virtual GPU does not know the memory configurations '%s', or has no memory to count", configs);
}

json_t *vgpu_counting_launch(const struct vgpu_counting *v, uint64_t i, struct err *e) {
  const char *text = v->launch(i);
  if (text) return json_read_memory(text, strlen(text), "a launch of the virtual GPU", e);
  err_set(e, "the virtual GPU has no count of launch %llu", (unsigned long long)i);
  return NULL;
}

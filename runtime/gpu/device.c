#include "runtime/gpu/gpu.h"
#include <stdlib.h>

static const char *const names[KERNEL_COUNT] = {
#define GPU_KERNEL_NAME(name, parameters, threads, registers) "phi3_" #name,
    PHI3_KERNELS(GPU_KERNEL_NAME)
#undef GPU_KERNEL_NAME
};

enum { NEED_MAJOR = 7, NEED_MINOR = 5, NEED_DRIVER = 11080 };

const char *gpu_kernel_name(enum gpu_kernel k) { return names[k]; }

static bool check_images(struct err *e) {
  return gpu_num_images > 0 || err_set(e, "this build has no GPU kernels, because nvcc was not found or PHI3_CUDA was off; install the CUDA toolkit (11.8 or later) and build again, or "
                                          "use --device cpu");
}

bool gpu_device_pci(const struct gpu_device *d, char out[32], struct err *e) {
  return cuda_check(&d->cuda, d->cuda.device_pci(out, 32, d->device), "asking for the device's bus id", e);
}

static bool check_driver(const struct cuda *c, struct err *e) {
  int version = 0;
  if (!cuda_check(c, c->driver_version(&version), "asking for the driver's version", e)) return false;
  return version >= NEED_DRIVER || err_set(e, "the NVIDIA driver is for CUDA %d.%d, which is too old; install one for CUDA 11.8 or later, or use --device cpu", version / 1000,
                                           version % 1000 / 10);
}

// The driver and a device that the kernels can run on.
static bool find_device(struct gpu_device *d, bool virtual_gpu, struct err *e) {
  int count = 0, major = 0, minor = 0;
  if (!check_images(e) || !cuda_open(&d->cuda, virtual_gpu, e)) return false;
  const struct cuda *c = &d->cuda;
  cu_result r = c->init(0);
  if (r == CU_ERROR_NO_DEVICE) return err_set(e, "the NVIDIA driver finds no GPU; use --device cpu or vgpu");
  if (!cuda_check(c, r, "starting the driver", e) || !check_driver(c, e) || !cuda_check(c, c->device_count(&count), "counting the devices", e)) return false;
  if (count == 0) return err_set(e, "the NVIDIA driver finds no GPU; use --device cpu or vgpu");
  if (!cuda_check(c, c->device_get(&d->device, 0), "choosing the first device", e) ||
      !cuda_check(c, c->device_name(d->name, sizeof d->name, d->device), "asking for the device's name", e) ||
      !cuda_check(c, c->device_attribute(&major, CU_ATTRIBUTE_MAJOR, d->device), "asking for the compute capability", e) ||
      !cuda_check(c, c->device_attribute(&minor, CU_ATTRIBUTE_MINOR, d->device), "asking for the compute capability", e) ||
      !cuda_check(c, c->device_attribute(&d->max_shared, CU_ATTRIBUTE_SHARED_OPTIN, d->device), "asking for the shared memory", e) ||
      !cuda_check(c, c->device_attribute(&d->multiprocessors, CU_ATTRIBUTE_MULTIPROCESSORS, d->device), "asking for the multiprocessors", e))
    return false;
  if (major * 10 + minor < NEED_MAJOR * 10 + NEED_MINOR)
    return err_set(e, "%s has compute capability %d.%d and the kernels need %d.%d (Turing) or later; use --device cpu", d->name, major, minor, NEED_MAJOR, NEED_MINOR);
  return true;
}

// What a driver says to code that is too new for it.
static bool too_new(cu_result r) {
  return r == CU_ERROR_NO_BINARY || r == CU_ERROR_UNSUPPORTED_PTX || r == CU_ERROR_INVALID_IMAGE || r == CU_ERROR_INVALID_PTX;
}

static bool load_images(struct gpu_device *d, struct err *e) {
  const struct cuda *c = &d->cuda;
  for (int32_t i = 0; i < gpu_num_images; i++) {
    cu_result r = c->module_load(&d->modules[i], gpu_images[i].data);
    if (!cuda_check(c, r, "loading the kernels", e)) {
      int version = 0;
      c->driver_version(&version);
      if (!too_new(r)) return err_context(e, "kernels/%s.cu", gpu_images[i].name);
      return err_context(e, "kernels/%s.cu, built with CUDA %s, does not load on %s, whose driver is for CUDA %d.%d; update the driver, or build with an older toolkit",
                         gpu_images[i].name, gpu_images_cuda, d->name, version / 1000, version % 1000 / 10);
    }
    d->num_modules++;
  }
  return true;
}

static bool find_kernels(struct gpu_device *d, struct err *e) {
  for (int k = 0; k < KERNEL_COUNT; k++) {
    for (int32_t i = 0; i < d->num_modules && !d->kernels[k]; i++) {
      cu_result r = d->cuda.get_function(&d->kernels[k], d->modules[i], names[k]);
      if (r) d->kernels[k] = NULL;
      if (r != CU_ERROR_NOT_FOUND && !cuda_check(&d->cuda, r, "looking a kernel up", e)) return false;
    }
    if (!d->kernels[k]) return err_set(e, "kernel %s is in none of the embedded images; the build is incomplete", names[k]);
  }
  return true;
}

bool gpu_device_open(struct gpu_device *d, bool virtual_gpu, struct err *e) {
  *d = (struct gpu_device){0};
  const struct cuda *c = &d->cuda;
  bool ok = find_device(d, virtual_gpu, e) && cuda_check(c, c->context_retain(&d->context, d->device), "opening the device", e) &&
            cuda_check(c, c->context_set(d->context), "choosing the device", e) &&
            cuda_check(c, c->stream_create(&d->stream, CU_STREAM_NONBLOCKING), "making a stream", e) && load_images(d, e) && find_kernels(d, e);
  if (!ok) gpu_device_close(d);
  return ok;
}

void gpu_device_close(struct gpu_device *d) {
  struct cuda *c = &d->cuda;
  cublas_close(&d->cublas);
  if (d->stream) c->stream_wait(d->stream), c->stream_destroy(d->stream);
  for (int32_t i = 0; i < d->num_modules; i++) c->module_unload(d->modules[i]);
  if (d->context) c->context_release(d->device);
  cuda_close(c);
  *d = (struct gpu_device){0};
}

bool gpu_available(struct err *e) {
  struct gpu_device d = {0};
  bool ok = find_device(&d, false, e);
  cuda_close(&d.cuda);
  return ok;
}

bool gpu_launch(struct gpu_device *d, enum gpu_kernel k, const unsigned grid[3], unsigned threads, unsigned shared, void *parameters, struct err *e) {
  enum { USUAL_SHARED = 48 * 1024 };
  const struct cuda *c = &d->cuda;
  if (shared > (unsigned)d->max_shared)
    return err_set(e, "%s needs %u bytes of shared memory and %s has %d a block; the model's layers are too wide for it", names[k], shared, d->name, d->max_shared);
  if (shared > USUAL_SHARED && !cuda_check(c, c->function_attribute_set(d->kernels[k], CU_FUNCTION_MAX_DYNAMIC_SHARED, (int)shared), names[k], e)) return false;
  void *arguments[] = {parameters};
  return cuda_check(c, c->launch(d->kernels[k], grid[0], grid[1], grid[2], threads, 1, 1, shared, d->stream, arguments, NULL), names[k], e);
}

bool gpu_wait(struct gpu_device *d, const char *operation, struct err *e) { return cuda_check(&d->cuda, d->cuda.stream_wait(d->stream), operation, e); }

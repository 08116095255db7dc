#include "runtime/gpu/cuda.h"
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool look_up(struct cuda *c, struct err *e) {
#define CUDA_LOOK_UP(name, symbol, parameters)                                                                           \
  *(void **)&c->name = dlsym(c->library, symbol);                                                                        \
  if (!c->name)                                                                                                          \
    return err_set(e, "%s has no function %s: the driver is too old; install one for CUDA 11.8 or later", c->library_name, symbol);
  CUDA_FUNCTIONS(CUDA_LOOK_UP)
#undef CUDA_LOOK_UP
  return true;
}

// The virtual GPU's library stands beside the executable, or in ../lib of an installed one.
static void *open_virtual(char *path, size_t size) {
  const char *given = getenv("PHI3_VGPU");
  if (given) {
    snprintf(path, size, "%s", given);
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
  }
  char self[PATH_MAX - 32]; // with room for the library's name
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (n <= 0) return NULL;
  self[n] = 0;
  char *slash = strrchr(self, '/');
  if (!slash) return NULL;
  *slash = 0;
  static const char *const places[] = {"libvgpu.so", "../lib/libvgpu.so"};
  void *library = NULL;
  for (size_t i = 0; i < sizeof places / sizeof *places && !library; i++) {
    snprintf(path, size, "%s/%s", self, places[i]);
    if (access(path, R_OK) == 0) library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  }
  return library;
}

bool cuda_open(struct cuda *c, bool virtual_gpu, struct err *e) {
  *c = (struct cuda){0};
  char path[PATH_MAX] = "";
  if (virtual_gpu) {
    c->library = open_virtual(path, sizeof path);
    c->library_name = "libvgpu.so";
    if (!c->library) return err_set(e, "the virtual GPU's library %s cannot be opened; build it (target vgpu) or name it in PHI3_VGPU", path[0] ? path : "libvgpu.so");
  } else {
    c->library_name = "libcuda.so.1";
    c->library = dlopen(c->library_name, RTLD_NOW | RTLD_LOCAL);
    if (!c->library) return err_set(e, "no NVIDIA driver: libcuda.so.1 cannot be opened; install one, or use --device cpu or vgpu");
  }
  if (look_up(c, e)) return true;
  cuda_close(c);
  return false;
}

// The library stays loaded: a driver has threads and tables of its own that live as long as the process.
void cuda_close(struct cuda *c) { *c = (struct cuda){0}; }

bool cuda_check(const struct cuda *c, cu_result result, const char *operation, struct err *e) {
  if (!result) return true;
  const char *name = NULL, *text = NULL;
  if (c->error_name(result, &name) || !name) name = "an unknown error";
  if (c->error_string(result, &text) || !text) text = "no further word from the driver";
  err_set(e, "%s failed: %s (%s)", operation, text, name);
  e->no_memory = result == CU_ERROR_OUT_OF_MEMORY;
  return false;
}

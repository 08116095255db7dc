// The README's example: a program for the driver API that takes its driver from the command line. It knows nothing of this project.
//   cc tests/vgpu/example.c -o example -ldl && ./example build/libvgpu.so        (or: ./example libcuda.so.1)
#include <dlfcn.h>
#include <stdio.h>

static const char ptx[] = ".version 6.4\n.target sm_75\n.address_size 64\n.visible .entry twice(.param .u64 p)\n{\n.reg .b64 a;\n.reg .b32 i, v;\nld.param.u64 a, [p];\n"
                          "mov.u32 i, %tid.x;\nmad.wide.u32 a, i, 4, a;\nld.global.u32 v, [a];\nadd.u32 v, v, v;\nst.global.u32 [a], v;\nret;\n}\n";

int main(int argc, char **argv) {
  void *cuda = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL, *context, *module, *kernel;
  if (!cuda) return fprintf(stderr, "usage: example driver-library (%s)\n", argc > 1 ? dlerror() : "none given"), 2;
#define CU(name, ...) \
  do { \
    int (*f)() = (int (*)())dlsym(cuda, name); \
    int r = f ? f(__VA_ARGS__) : -1; \
    if (r) return fprintf(stderr, "%s: %d\n", name, r), 1; \
  } while (0)
  unsigned long long buffer;
  int device, values[64];
  char text[64];
  for (int i = 0; i < 64; i++) values[i] = i;
  void *parameters[] = {&buffer};
  CU("cuInit", 0);
  CU("cuDeviceGet", &device, 0);
  CU("cuDeviceGetName", text, (int)sizeof text, device);
  CU("cuDevicePrimaryCtxRetain", &context, device);
  CU("cuCtxSetCurrent", context);
  CU("cuModuleLoadData", &module, ptx);
  CU("cuModuleGetFunction", &kernel, module, "twice");
  CU("cuMemAlloc_v2", &buffer, sizeof values);
  CU("cuMemcpyHtoD_v2", buffer, values, sizeof values);
  CU("cuLaunchKernel", kernel, 1, 1, 1, 64, 1, 1, 0, (void *)0, parameters, (void *)0);
  CU("cuMemcpyDtoH_v2", values, buffer, sizeof values);
  CU("cuMemFree_v2", buffer);
  printf("%s: twice 63 is %d\n", text, values[63]);
  return values[63] != 126;
}

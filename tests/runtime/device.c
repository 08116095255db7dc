#include "tests/runtime/device.h"
#include "runtime/gpu/gpu.h"
#include <dlfcn.h>

const char *device_name = "cpu";
static struct err e;

bool device_is_cpu(void) { return strncmp(device_name, "cpu", 3) == 0; }

bool device_is_virtual(void) { return strcmp(device_name, "vgpu") == 0; }

static void skip_all(const char *why) {
  printf("skipped: %s\n", why);
  exit(77);
}

void device_choose(int argc, char **argv) {
  static const char *const names[] = {"cpu", "cpu:f16", "cpu:fp64", "vgpu", "cuda"};
  if (argc > 1) device_name = argv[1];
  bool known = false;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) known |= strcmp(names[i], device_name) == 0;
  if (!known) {
    fprintf(stderr, "there is no device '%s'\n", device_name);
    exit(2);
  }
  if (device_is_cpu()) return;
  if (gpu_num_images == 0) skip_all("this build has no GPU kernels");
  if (device_is_virtual() && !getenv("PHI3_VGPU")) skip_all("PHI3_VGPU does not name the virtual GPU's library");
  if (!device_is_virtual() && !gpu_available(&e)) skip_all(e.text);
}

struct backend *device_backend(const struct model *m, const struct backend_options *options, struct err *er) {
  struct backend_options o = *options;
  if (!device_is_cpu()) return gpu_backend_open(m, &o, device_is_virtual(), er);
  o.fp64 = strcmp(device_name, "cpu:fp64") == 0;
  o.page_type = strcmp(device_name, "cpu:f16") == 0 ? PAGE_F16 : PAGE_F32;
  return cpu_backend_open(m, &o, er);
}

void device_open(struct opened *o, const char *model_path, const struct backend_options *options) {
  *o = (struct opened){0};
  assert_ok(model_open(&o->model, model_path, &e));
  struct backend *b = device_backend(&o->model, options, &e);
  if (!b) fail_msg("%s on %s: %s", model_path, device_name, e.text);
  assert_ok(forward_open(&o->forward, b, &e));
}

void device_schedule(uint64_t seed) {
  char text[32];
  snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
  setenv("VGPU_SEED", text, 1);
}

void device_check_findings(void) {
  unsigned (*count)(int) = NULL;
  const char *(*text)(unsigned) = NULL;
  if (!device_is_virtual()) return;
  void *library = dlopen(getenv("PHI3_VGPU"), RTLD_NOW);
  if (!library) fail_msg("%s", dlerror());
  *(void **)&count = dlsym(library, "vgpuFindings");
  *(void **)&text = dlsym(library, "vgpuFindingText");
  if (!count || !text) fail_msg("the virtual GPU's library does not tell its findings");
  unsigned n = count(-1);
  if (n) fail_msg("%u findings of the virtual GPU, the first: %s", n, text(0));
}

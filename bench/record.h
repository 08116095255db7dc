// What is launched on a device, seen on its way there; and, on the virtual GPU, what it counted of each launch.
#pragma once
#include "runtime/base/json.h"
#include "runtime/gpu/registry.h"

struct recorded_launch {
  enum gpu_kernel kernel; // KERNEL_COUNT: none of the registry's
  unsigned grid[3], threads, shared;
  uint64_t parameters[64]; // the kernel's struct
};

struct recorder {
  struct gpu_device *device;
  // Around each launch; both may be NULL. What they return other than 0 is the launch's result.
  cu_result (*before)(void *ctx, const struct recorded_launch *l);
  cu_result (*after)(void *ctx, const struct recorded_launch *l);
  void *ctx;
};

// From now on the device's launches are told to `r`, one recorder at a time; until the stop.
void recorder_start(struct recorder *r);
void recorder_stop(struct recorder *r);
// The same launch again.
bool recorded_launch_again(struct gpu_device *d, const struct recorded_launch *l, struct err *e);

// libvgpu's own word on launches; see runtime/vgpu/profile.h.
struct vgpu_counting {
  int (*start)(const char *configs, unsigned long long sample);
  void (*stop)(void);
  unsigned long long (*count)(void);
  const char *(*launch)(unsigned long long i);
  unsigned (*findings)(int kind);
  const char *(*finding)(unsigned i);
};
bool vgpu_counting_find(struct vgpu_counting *v, const struct gpu_device *d, struct err *e);
// configs: memory configurations, "t4 t4_eff"; blocks: of a grid that are replayed at most, 0: as many as fit.
bool vgpu_counting_start(const struct vgpu_counting *v, const char *configs, uint64_t blocks, struct err *e);
// Launch i as an object of its own, to be freed with json_decref.
json_t *vgpu_counting_launch(const struct vgpu_counting *v, uint64_t i, struct err *e);

// A T4's ceilings: on paper, and as others have seen them (255-277 GB/s read, 42-49 TFLOP/s in cuBLAS).
struct roof_lines {
  const char *name;         // "paper", "seen"
  double bytes, operations; // a second; 0: not known
};
enum { T4_ROOFS = 2 };
extern const struct roof_lines t4_roofs[T4_ROOFS];

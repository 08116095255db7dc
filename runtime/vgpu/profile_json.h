// A profile's records and their JSON.
#ifndef VGPU_PROFILE_JSON_H
#define VGPU_PROFILE_JSON_H

#include "runtime/vgpu/counters.h"
#include "runtime/vgpu/t4.h"

struct profile_record {
  char *kernel;
  uint32_t grid[3], block[3], registers, static_shared, dynamic_shared, local_bytes;
  struct vgpu_counts counts;
  struct t4_estimate estimate;
  bool has_estimate, reused, scaled;
};

// All launches, then one entry a kernel with the sums. false: not written.
bool vgpu_profile_write(const char *path, const char *config, const struct profile_record *records, size_t num);

#endif

// A profile's records and their JSON.
#ifndef VGPU_PROFILE_JSON_H
#define VGPU_PROFILE_JSON_H

#include "runtime/vgpu/counters.h"
#include "runtime/vgpu/t4.h"
#include <stdio.h>

enum { PROFILE_TABLES = 2 }; // memory configurations at once

struct profile_record {
  char *kernel;
  uint32_t grid[3], block[3], registers, static_shared, dynamic_shared, local_bytes;
  struct vgpu_counts counts;
  struct t4_estimate estimates[PROFILE_TABLES]; // of the profile's configurations, in order
  bool has_estimate, reused, scaled;
};

// All launches, then one entry a kernel with the sums; estimates of the first configuration. false: not written.
bool vgpu_profile_write(const char *path, const char *config, const struct profile_record *records, size_t num);
// One launch as an object: "estimate" is the first configuration's, "estimate_NAME" that of each further one.
void vgpu_profile_put_launch(FILE *f, const struct profile_record *r, const struct t4_table *const *tables, size_t num_tables);

#endif

// VGPU_PROFILE=file.json: counts and T4 estimates of every launch, written as JSON when the library closes.
//
//   VGPU_PROFILE  the file; unset or empty: nothing is counted and launches run at full speed
//   VGPU_T4       t4 (default; memory at its 320 GB/s on paper) or t4_eff (256 GB/s: nearer to what people see)
//   VGPU_SAMPLE   blocks of a grid that the model replays at most (default: as many as 1 GiB of trace and 64 million warp
//                 instructions hold), three waves at least, whole waves left out; the rest of the grid is taken to go on at the pace of the replayed ones. Counts are
//                 always of all blocks.
//
// A launch whose kernel, geometry and counts are those of one that has been replayed takes over its estimate ("reused").
#ifndef VGPU_PROFILE_H
#define VGPU_PROFILE_H

#include "runtime/vgpu/counters.h"
#include "runtime/vgpu/decode.h"
#include <stdio.h>

struct vgpu_profile;
struct vgpu_profile_launch;

struct vgpu_launch_facts {
  const char *kernel;
  const struct vgpu_code *code;
  const struct vgpu_func *func;
  uint32_t grid[3], block[3];
  uint32_t registers;               // per thread
  uint32_t static_shared, dynamic_shared; // bytes
  uint32_t local_bytes;             // per thread: stack and spills
};

// Opens it if the environment asks for it; NULL: it does not (or no memory). *error: a sentence when VGPU_T4 or VGPU_SAMPLE
// make no sense (the default is then used), else untouched.
struct vgpu_profile *vgpu_profile_open(const char **error);
// The same with the settings given: path NULL: nothing is written. configs: up to two, "t4 t4_eff", estimated at once; NULL: "t4". sample 0: no
// limit but memory. NULL: a configuration that is unknown, or no memory.
struct vgpu_profile *vgpu_profile_open_with(const char *path, const char *configs, uint64_t sample);
// Writes the file and frees. false: the file could not be written.
bool vgpu_profile_close(struct vgpu_profile *p);

// Around each launch: begin, run it with the observer, end. NULL: no memory; the launch then goes uncounted.
struct vgpu_profile_launch *vgpu_profile_begin(struct vgpu_profile *p, const struct vgpu_launch_facts *facts);
const struct vgpu_observer *vgpu_profile_observer(struct vgpu_profile_launch *l);
// ok: the launch ran to its end; otherwise it is dropped. Frees l.
void vgpu_profile_end(struct vgpu_profile_launch *l, bool ok);

// What has been recorded so far, for tests and queries.
struct t4_estimate;
size_t vgpu_profile_count(const struct vgpu_profile *p);
const struct vgpu_counts *vgpu_profile_counts(const struct vgpu_profile *p, size_t i);
const struct t4_estimate *vgpu_profile_estimate(const struct vgpu_profile *p, size_t i); // NULL: none could be made

void vgpu_profile_put(FILE *f, const struct vgpu_profile *p, size_t i); // a launch as JSON

// For programs that open the library, while they run and without a file (profile_ask.c). What is recorded from the start on stays to be asked
// for until the next start; VGPU_PROFILE's file gets nothing meanwhile.
#define VG_PROFILE_EXPORT __attribute__((visibility("default")))
// configs and sample as above. Forgets what was recorded. 0: a configuration that is unknown, or no memory.
VG_PROFILE_EXPORT int vgpuProfileStart(const char *configs, unsigned long long sample);
VG_PROFILE_EXPORT void vgpuProfileStop(void);
VG_PROFILE_EXPORT unsigned long long vgpuProfileCount(void);
// A launch as an object of JSON, as in the file; with a second configuration "estimate_NAME" stands beside "estimate". Valid until the next
// call; NULL past the last, or no memory.
VG_PROFILE_EXPORT const char *vgpuProfileLaunch(unsigned long long i);

// What launches are to be recorded in; NULL: nothing.
struct vgpu_profile *vgpu_profile_current(void);
// Writes the file, says so if that fails, and frees everything.
void vgpu_profile_shutdown(void);

#endif

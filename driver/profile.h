// What `phi3 profile` looks at: every launch of a prefill and of some decode steps, with the operation and layer it belongs to, and what is known of it:
// on the virtual GPU its counters and estimates for a T4, on a GPU the time between two events.
#pragma once
#include "bench/record.h"
#include "driver/driver.h"
#include "driver/prompt.h"

enum { PROFILE_PICK = OP_COUNT, PROFILE_OPS }; // the choice of the id follows the schedule's operations
extern const char *const profile_op_names[PROFILE_OPS];

struct profile_options {
  struct engine_options engine;
  struct prompt_options prompt;
  const char *like;                     // a shape in place of a model
  int64_t prompt_tokens, steps, blocks; // 0: the prompt's own; decode steps; see VGPU_SAMPLE
  int memory;                           // index into profile_memories
  const char *json, *roofline, *timeline;
};
extern const char *const profile_memories[]; // "t4", "t4_eff"

struct profile_launch {
  int step, op;              // 0: prefill, n: the n-th decode step
  int32_t layer;
  int32_t times;             // it stands for so many: a layer that was run for all layers
  struct recorded_launch launch;
  struct gpu_cost ideal;
  double start_us, us;       // since the phase's first launch; vgpu: one behind the other
  json_t *counters;          // vgpu: as libvgpu tells the launch
  int registers, shared_bytes, local_bytes;
  cu_event events[2];
};

struct profile {
  const struct profile_options *options;
  struct engine *engine;
  const char *command;
  bool estimate;             // on the virtual GPU
  const char *device;
  int32_t layers, layers_run;
  int64_t prompt_tokens, steps;
  struct profile_launch *launches;
  int64_t count, capacity;
};

// The prompt and the decode steps, once; fills the launches.
bool profile_run(struct profile *p, const struct ids *prompt, struct err *e);
void profile_free(struct profile *p);

// One line of the table: a kernel in one operation of one phase, a step's share of it.
struct profile_row {
  bool decode;
  int op;
  enum gpu_kernel kernel;
  double launches, us, overhead_us; // of one step
  struct gpu_cost ideal;            // of one step
  double moved;                     // vgpu: DRAM bytes of one step
  const struct profile_launch *longest;
};
struct profile_rows {
  struct profile_row *rows;
  int32_t count;
};
// In the order of the launches, prefill first.
bool profile_rows(const struct profile *p, struct profile_rows *out, struct err *e);
struct profile_row profile_total(const struct profile_rows *r, bool decode);
// vgpu: of a launch; 0 where it has none.
double profile_estimate(const struct profile_launch *l, const char *key);
double profile_limit(const struct profile_row *r, const struct profile *p, const char *limit); // us of one step at that limit
const char *profile_bound(const struct profile_row *r);

void profile_print(const struct profile *p, const struct profile_rows *r);
bool profile_write_json(const struct profile *p, const struct profile_rows *r, const char *path, struct err *e);
bool profile_write_timeline(const struct profile *p, const char *path, struct err *e);
bool profile_write_roofline(const struct profile *p, const struct profile_rows *r, const char *path, struct err *e);

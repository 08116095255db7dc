// The device that a test program was told to run on, by its first argument: cpu (the default), cpu:f16, cpu:fp64, vgpu,
// or cuda.
#pragma once
#include "tests/test.h"
#include "tests/runtime/goldens.h"

// Skips the program, with the reason, when there is no such device.
void device_choose(int argc, char **argv);
extern const char *device_name;
bool device_is_cpu(void);
bool device_is_virtual(void);
// A backend there; `o`'s precision and pages are the device's.
struct backend *device_backend(const struct model *m, const struct backend_options *o, struct err *e);
// Model and forward pass, as opened_open.
void device_open(struct opened *o, const char *model_path, const struct backend_options *options);
// The order in which the virtual GPU runs blocks and warps from now on.
void device_schedule(uint64_t seed);
// Fails when a check of the virtual GPU has found something.
void device_check_findings(void);

// Kernels with known costs: the launches of a manifest run on the virtual GPU with counters and estimate.
// A manifest line: name, grid_x, grid_y, block_x, block_y, dynamic shared bytes, arguments, description (tabs between).
#ifndef TESTS_VGPU_SIM_RUN_H
#define TESTS_VGPU_SIM_RUN_H

#include "runtime/vgpu/counters.h"
#include "runtime/vgpu/t4.h"

struct sim_module; // a PTX file, decoded

// NULL and a printed reason when it cannot be read.
struct sim_module *sim_open(const char *ptx_path);
void sim_close(struct sim_module *m);

// Runs one manifest line (its text is cut up). registers: what ptxas gave the kernel. false and a printed reason when it fails.
bool sim_run(struct sim_module *m, char *line, unsigned registers, const char *config, struct vgpu_counts *counts,
             struct t4_estimate *estimate);

#endif

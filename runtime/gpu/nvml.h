// NVIDIA's management library, found at run time: power, energy, clocks, temperature, and what holds the clocks down.
// The virtual GPU has none of these, and neither has a machine without a driver.
#pragma once
#include "runtime/base/err.h"
#include <stdint.h>

enum { NVML_TEXT = 160 };

// One moment of the card. What the card does not tell is NAN, and -1 in whole numbers.
struct nvml_reading {
  double watts;
  double joules; // since the driver was loaded: a difference of two readings is what lay between them
  double celsius;
  int32_t sm_mhz, memory_mhz;
  int64_t reasons; // bits: what holds the clocks down; see nvml_reasons_text
};

// What does not change while a program runs.
struct nvml_card {
  char name[96], driver[80]; // "Tesla T4", "535.104.05"
  double watts_limit;
  int32_t max_sm_mhz, max_memory_mhz;
};

struct nvml {
  void *library;
  const struct nvml_functions *functions;
  void *device;
  struct nvml_card card;
};

// The card with this PCI bus id, as gpu_device_pci tells it; NULL: the first. Fails with a reason where there is no
// such library (PHI3_NVML names another one than libnvidia-ml.so.1), no card, or no permission.
bool nvml_open(struct nvml *n, const char *pci_bus_id, struct err *e);
void nvml_close(struct nvml *n);
struct nvml_reading nvml_read(const struct nvml *n);
// "power cap, heat"; "none" without any, "unknown" for -1. Idleness and the clocks that were asked for hold nothing
// down and are left out.
const char *nvml_reasons_text(int64_t reasons, char out[NVML_TEXT]);

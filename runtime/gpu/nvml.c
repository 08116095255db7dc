#include "runtime/gpu/nvml.h"
#include "runtime/base/mem.h"
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int nvml_result;                                                  // nvmlReturn_t, 0: success
enum { NVML_TEMPERATURE_GPU = 0, NVML_CLOCK_SM = 1, NVML_CLOCK_MEM = 2 }; // nvmlTemperatureSensors_t, nvmlClockType_t
enum { NVML_ERROR_NO_PERMISSION = 4 };

// name, symbol, parameters, whether the library is of no use without it. One list makes the struct and the look-up.
#define NVML_FUNCTIONS(F)                                                                                              \
  F(init, "nvmlInit_v2", (void), true)                                                                                 \
  F(shutdown, "nvmlShutdown", (void), true)                                                                            \
  F(by_index, "nvmlDeviceGetHandleByIndex_v2", (unsigned index, void **device), true)                                  \
  F(by_pci, "nvmlDeviceGetHandleByPciBusId_v2", (const char *bus_id, void **device), true)                             \
  F(name, "nvmlDeviceGetName", (void *device, char *name, unsigned length), true)                                      \
  F(driver, "nvmlSystemGetDriverVersion", (char *version, unsigned length), true)                                      \
  F(power, "nvmlDeviceGetPowerUsage", (void *device, unsigned *milliwatts), false)                                     \
  F(power_limit, "nvmlDeviceGetEnforcedPowerLimit", (void *device, unsigned *milliwatts), false)                       \
  F(energy, "nvmlDeviceGetTotalEnergyConsumption", (void *device, unsigned long long *millijoules), false)             \
  F(temperature, "nvmlDeviceGetTemperature", (void *device, int sensor, unsigned *celsius), false)                     \
  F(clock, "nvmlDeviceGetClockInfo", (void *device, int type, unsigned *mhz), false)                                   \
  F(max_clock, "nvmlDeviceGetMaxClockInfo", (void *device, int type, unsigned *mhz), false)                            \
  F(reasons, "nvmlDeviceGetCurrentClocksThrottleReasons", (void *device, unsigned long long *reasons), false)

struct nvml_functions {
#define NVML_MEMBER(name, symbol, parameters, needed) nvml_result(*name) parameters;
  NVML_FUNCTIONS(NVML_MEMBER)
#undef NVML_MEMBER
};

static bool look_up(void *library, const char *path, struct nvml_functions *f, struct err *e) {
#define NVML_LOOK_UP(name, symbol, parameters, needed)                                                                 \
  *(void **)&f->name = dlsym(library, symbol);                                                                         \
  if (needed && !f->name) return err_set(e, "%s has no function %s: the driver is too old", path, symbol);
  NVML_FUNCTIONS(NVML_LOOK_UP)
#undef NVML_LOOK_UP
  // Drivers from CUDA 13 on may know the reasons by their newer name alone.
  if (!f->reasons) *(void **)&f->reasons = dlsym(library, "nvmlDeviceGetCurrentClocksEventReasons");
  return true;
}

static bool find_card(struct nvml *n, const char *pci_bus_id, struct err *e) {
  const struct nvml_functions *f = n->functions;
  nvml_result r = pci_bus_id ? f->by_pci(pci_bus_id, &n->device) : f->by_index(0, &n->device);
  if (r == NVML_ERROR_NO_PERMISSION)
    return err_set(e, "the driver lets this user not ask for the card's power and clocks");
  if (r)
    return err_set(e, "the driver's management library finds no card%s%s (code %d)", pci_bus_id ? " at " : "",
                   pci_bus_id ? pci_bus_id : "", r);
  return true;
}

static void read_card(struct nvml *n) {
  const struct nvml_functions *f = n->functions;
  struct nvml_card *c = &n->card;
  unsigned u;
  *c = (struct nvml_card){.watts_limit = NAN, .max_sm_mhz = -1, .max_memory_mhz = -1};
  if (f->name(n->device, c->name, sizeof c->name)) c->name[0] = 0;
  if (f->driver(c->driver, sizeof c->driver)) c->driver[0] = 0;
  if (f->power_limit && !f->power_limit(n->device, &u)) c->watts_limit = 1e-3 * u;
  if (f->max_clock && !f->max_clock(n->device, NVML_CLOCK_SM, &u)) c->max_sm_mhz = (int32_t)u;
  if (f->max_clock && !f->max_clock(n->device, NVML_CLOCK_MEM, &u)) c->max_memory_mhz = (int32_t)u;
}

bool nvml_open(struct nvml *n, const char *pci_bus_id, struct err *e) {
  const char *given = getenv("PHI3_NVML"), *path = given && *given ? given : "libnvidia-ml.so.1";
  *n = (struct nvml){.library = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
  if (!n->library) return err_set(e, "%s, which tells a card's power and clocks, cannot be opened", path);
  struct nvml_functions *f = mem_alloc(1, sizeof *f, "the management library's functions", e);
  nvml_result r = 0;
  if (f && look_up(n->library, path, f, e)) {
    r = f->init();
    if (r) err_set(e, "%s does not start (code %d): is the driver loaded, and of the library's version?", path, r);
    else n->functions = f;
  }
  if (n->functions && find_card(n, pci_bus_id, e)) return read_card(n), true;
  if (!n->functions) mem_free(f);
  nvml_close(n);
  return false;
}

void nvml_close(struct nvml *n) {
  if (n->functions) n->functions->shutdown();
  mem_free((void *)n->functions);
  if (n->library) dlclose(n->library);
  *n = (struct nvml){0};
}

struct nvml_reading nvml_read(const struct nvml *n) {
  const struct nvml_functions *f = n->functions;
  struct nvml_reading r = {NAN, NAN, NAN, -1, -1, -1};
  unsigned u;
  unsigned long long l;
  if (f->power && !f->power(n->device, &u)) r.watts = 1e-3 * u;
  if (f->energy && !f->energy(n->device, &l)) r.joules = 1e-3 * (double)l;
  if (f->temperature && !f->temperature(n->device, NVML_TEMPERATURE_GPU, &u)) r.celsius = u;
  if (f->clock && !f->clock(n->device, NVML_CLOCK_SM, &u)) r.sm_mhz = (int32_t)u;
  if (f->clock && !f->clock(n->device, NVML_CLOCK_MEM, &u)) r.memory_mhz = (int32_t)u;
  if (f->reasons && !f->reasons(n->device, &l)) r.reasons = (int64_t)l;
  return r;
}

const char *nvml_reasons_text(int64_t reasons, char out[NVML_TEXT]) {
  static const struct {
    int64_t bit;
    const char *text;
  } known[] = {{0x4, "power cap"},        {0x8, "hardware slowdown"}, {0x10, "boost kept in step"}, {0x20, "heat"},
               {0x40, "heat (hardware)"}, {0x80, "power brake"},      {0x100, "display clocks"}};
  if (reasons < 0) return strcpy(out, "unknown");
  size_t at = 0;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (reasons & known[i].bit) at += (size_t)snprintf(out + at, NVML_TEXT - at, "%s%s", at ? ", " : "", known[i].text);
  return at ? out : strcpy(out, "none");
}

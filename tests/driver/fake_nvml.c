// A management library that tells of a card which is not there. FAKE_NVML in the environment: "none" has no card, "old"
// knows neither energy nor reasons.
#include <stdlib.h>
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6 };

static int told(const char *word) {
  const char *v = getenv("FAKE_NVML");
  return v && strcmp(v, word) == 0;
}

static unsigned long long millijoules = 1000000; // each look at the counter costs two joules

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **device);
int nvmlDeviceGetName(void *device, char *name, unsigned length);
int nvmlSystemGetDriverVersion(char *version, unsigned length);
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts);
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj);
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius);
int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz);
int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *reasons);

int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  if (index || told("none")) return NOT_FOUND;
  *device = &millijoules;
  return OK;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **device) {
  return strlen(bus_id) < 7 ? NOT_FOUND : nvmlDeviceGetHandleByIndex_v2(0, device);
}

int nvmlDeviceGetName(void *device, char *name, unsigned length) {
  return device == &millijoules && length > 8 ? (strcpy(name, "Tesla T4"), OK) : NOT_FOUND;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
  return length > 8 ? (strcpy(version, "535.1"), OK) : NOT_FOUND;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
  return *milliwatts = 68500, device == &millijoules ? OK : NOT_FOUND;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj) {
  if (told("old") || device != &millijoules) return NOT_SUPPORTED;
  return *mj = millijoules += 2000, OK;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) {
  return *celsius = 61, sensor == 0 && device == &millijoules ? OK : NOT_FOUND;
}

int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz) {
  return *mhz = type == 1 ? 1095 : 5000, device == &millijoules ? OK : NOT_FOUND;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *reasons) {
  if (told("old") || device != &millijoules) return NOT_SUPPORTED;
  return *reasons = 0x1 | 0x4 | 0x40, OK;
}

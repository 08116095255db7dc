#include "bench/kernel_bench.h"
#include <math.h>
#include <stdio.h>

void card_watch_start(struct card_watch *w, const struct gpu_device *d) {
  char pci[32];
  *w = (struct card_watch){0};
  w->open = gpu_device_pci(d, pci, &w->why) && nvml_open(&w->nvml, pci, &w->why);
  if (w->open) w->before = w->after = nvml_read(&w->nvml);
}

void card_watch_stop(struct card_watch *w) {
  if (!w->nvml.library) return;
  w->after = nvml_read(&w->nvml);
  struct nvml_card card = w->nvml.card;
  nvml_close(&w->nvml);
  w->nvml.card = card;
}

static int put(char *out, size_t room, const char *unit, double v) { return isnan(v) || v < 0 ? snprintf(out, room, "? %s", unit) : snprintf(out, room, "%.4g %s", v, unit); }

const char *card_text(const struct card_watch *w, const struct nvml_reading *r, char *out, size_t room) {
  char sm[32], memory[32], watts[32], limit[32], celsius[32], reasons[NVML_TEXT];
  if (!w->open) return snprintf(out, room, "unknown: %s", w->why.text), out;
  put(sm, sizeof sm, "MHz", r->sm_mhz), put(memory, sizeof memory, "MHz", r->memory_mhz), put(watts, sizeof watts, "W", r->watts);
  put(limit, sizeof limit, "W", w->nvml.card.watts_limit), put(celsius, sizeof celsius, "C", r->celsius);
  snprintf(out, room, "%s, memory %s, %s of %s, %s, clocks held down by: %s", sm, memory, watts, limit, celsius, nvml_reasons_text(r->reasons, reasons));
  return out;
}

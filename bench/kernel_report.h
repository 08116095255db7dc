// What is told of a measured case: counters of Google Benchmark's reports, and the JSON that bench/README.md describes.
#pragma once
#include "bench/kernel_bench.h"

extern const char *const report_shown[]; // counters of the console's table

void report_context(const struct bench_device *d);
void report_counters(struct gb_state *s, const struct bench_device *d, const struct measurement *m);

struct kernel_report {
  char *command;
  json_t *cases;
  const struct bench_device *device; // that the cases ran on
};
bool report_open(struct kernel_report *r, int argc, char **argv, struct err *e);
void report_close(struct kernel_report *r);
bool report_add(struct kernel_report *r, const struct bench_device *d, const struct kernel_case *c, const struct measurement *m, struct err *e);
bool report_write(struct kernel_report *r, const char *path, struct err *e);

// The two loops that roof.c times, compiled once per instruction set as the CPU backend is.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct roof_loops {
  void (*read)(const void *memory, size_t bytes); // bytes is a multiple of 1024
  void (*multiply_add)(int64_t steps);
  int64_t multiply_adds_per_step;
};

extern const struct roof_loops roof_loops_baseline, roof_loops_v3, roof_loops_v4;

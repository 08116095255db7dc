// The machine that a figure was measured on.
#pragma once
#include <stdint.h>

struct machine {
  char cpu[128], os[320];            // "AMD EPYC", "Debian GNU/Linux 12 (bookworm), Linux 6.1.0 x86_64"
  int cores;                         // on line
  int64_t memory_bytes, cache_bytes; // of the last level; 0: unknown
};

void machine_read(struct machine *m);

#include "driver/machine.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

// The value of the first line "KEY <separators> value" of a file, without quotes.
static bool find_value(const char *path, const char *key, char *out, size_t room) {
  FILE *f = fopen(path, "re");
  char line[512];
  bool found = false;
  while (f && !found && fgets(line, sizeof line, f)) {
    size_t n = strlen(key);
    if (strncmp(line, key, n) != 0 || !strchr(" \t:=", line[n])) continue;
    char *value = line + n + strspn(line + n, " \t:=\"");
    value[strcspn(value, "\"\n")] = 0;
    snprintf(out, room, "%s", value);
    found = true;
  }
  if (f) fclose(f);
  return found;
}

// Bytes of the last level of the first processor's cache. The kernel's word goes before the C library's, which on a
// virtual machine may tell of the whole host.
static int64_t cache_bytes(void) {
  for (int index = 4; index > 0; index--) {
    char path[80], text[32];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
    FILE *f = fopen(path, "re");
    long long n = 0;
    char unit = 0;
    int got = f && fgets(text, sizeof text, f) ? sscanf(text, "%lld%c", &n, &unit) : 0;
    if (f) fclose(f);
    if (got >= 1) return n * (unit == 'K' ? 1 << 10 : unit == 'M' ? 1 << 20 : 1);
  }
  long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return l3 > 0 ? l3 : l2 > 0 ? l2 : 0;
}

void machine_read(struct machine *m) {
  struct utsname u = {0};
  char name[128] = "";
  uname(&u);
  *m = (struct machine){.cores = (int)sysconf(_SC_NPROCESSORS_ONLN)};
  // Arm's kernels name no model; its architecture is what there is to say.
  if (!find_value("/proc/cpuinfo", "model name", m->cpu, sizeof m->cpu))
    snprintf(m->cpu, sizeof m->cpu, "%s processor", u.machine);
  find_value("/etc/os-release", "PRETTY_NAME", name, sizeof name);
  snprintf(m->os, sizeof m->os, "%s%s%.60s %.60s %.60s", name, name[0] ? ", " : "", u.sysname, u.release, u.machine);
  m->memory_bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
  m->cache_bytes = cache_bytes();
}

#include "driver/provenance.h"
#include "driver/bench.h"
#include "driver/machine.h"
#include "runtime/base/mem.h"
#include <string.h>
#include <time.h>

#ifdef __clang__
static const char compiler[] = __VERSION__; // begins with "Clang"
#else
static const char compiler[] = "gcc " __VERSION__;
#endif

char *command_line(const char *name, int argc, char **argv, struct err *e) {
  size_t len = strlen(name) + 1;
  for (int i = 1; i < argc; i++) len += strlen(argv[i]) + 3;
  char *text = mem_alloc(len, 1, "the command line", e), *p = text;
  if (!text) return NULL;
  p = stpcpy(p, name);
  for (int i = 1; i < argc; i++) {
    bool plain = argv[i][0] && !argv[i][strcspn(argv[i], " \t\n\"'$`\\*?<>|&;()")];
    p = stpcpy(stpcpy(stpcpy(stpcpy(p, " "), plain ? "" : "'"), argv[i]), plain ? "" : "'");
  }
  return text;
}

// Jansson knows no text that is not UTF-8.
static json_t *text_json(const char *text) {
  json_t *j = json_string(text);
  return j ? j : json_null();
}

bool provenance_add(json_t *root, const char *command, struct err *e) {
  char date[32];
  time_t now = time(NULL);
  struct tm utc;
  struct machine m;
  machine_read(&m);
  strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  json_t *j = json_pack("{s:o, s:s, s:{s:s, s:s, s:s, s:s}, s:{s:o, s:i, s:I, s:I, s:o}}", "command", text_json(command), "date", date, "build", "version", PHI3_VERSION, "commit",
                        phi3_commit, "compiler", compiler, "type", PHI3_BUILD_TYPE, "machine", "cpu", text_json(m.cpu), "cores", m.cores, "memory_bytes",
                        (json_int_t)m.memory_bytes, "cache_bytes", (json_int_t)m.cache_bytes, "os", text_json(m.os));
  if (!j || json_object_update(root, j) != 0) return json_decref(j), err_no_memory(e, 0, "the JSON");
  json_decref(j);
  return true;
}

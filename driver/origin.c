#include "driver/origin.h"
#include "driver/machine.h"
#include "runtime/base/mem.h"
#include <string.h>
#include <time.h>

extern const char phi3_commit[];

#ifdef __clang__
static const char compiler[] = __VERSION__; // begins with "Clang"
#else
static const char compiler[] = "gcc " __VERSION__;
#endif

char *origin_command_line(const char *program, int argc, char **argv, struct err *e) {
  size_t len = strlen(program) + 1;
  for (int i = 0; i < argc; i++) len += strlen(argv[i]) + 3;
  char *text = mem_alloc(len, 1, "the command line", e), *p = text;
  if (!text) return NULL;
  p = stpcpy(p, program);
  for (int i = 0; i < argc; i++) {
    bool plain = argv[i][0] && !argv[i][strcspn(argv[i], " \t\n\"'$`\\*?<>|&;()")];
    p = stpcpy(stpcpy(stpcpy(stpcpy(p, " "), plain ? "" : "'"), argv[i]), plain ? "" : "'");
  }
  return text;
}

const char *origin_model(const char *path) {
  const char *name = strrchr(path, '/');
  return name && name[1] ? name + 1 : path;
}

json_t *json_or_null(json_t *j) { return j ? j : json_null(); }

json_t *origin_json(const char *command_line) {
  struct machine m;
  char date[32];
  time_t now = time(NULL);
  struct tm utc;
  machine_read(&m);
  strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  return json_pack("{s:o, s:s, s:{s:s, s:s, s:s, s:s}, s:{s:o, s:i, s:I, s:I, s:o}}", "command",
                   json_or_null(json_string(command_line)), "date", date, "build", "version", PHI3_VERSION, "commit",
                   phi3_commit, "compiler", compiler, "type", PHI3_BUILD_TYPE, "machine", "cpu",
                   json_or_null(json_string(m.cpu)), "cores", m.cores, "memory_bytes", (json_int_t)m.memory_bytes,
                   "cache_bytes", (json_int_t)m.cache_bytes, "os", json_or_null(json_string(m.os)));
}

bool origin_add(json_t *root, const char *command_line, struct err *e) {
  json_t *origin = origin_json(command_line);
  bool ok = origin && json_object_update(root, origin) == 0;
  json_decref(origin);
  return ok || err_no_memory(e, 0, "the JSON");
}

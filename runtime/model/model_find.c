// Where models are looked for: the path itself, the bundled model beside the sources or the installed program, the
// user's folder.
#include "runtime/base/mem.h"
#include "runtime/model/model.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static const char bundled[] = "nano";
static const char *const obtainable[] = {"smollm2", "phi-3-mini-4k-instruct"}; // what scripts/get_model.sh knows

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), k = strlen(end);
  return n > k && strcmp(s + n - k, end) == 0;
}

static bool has_file(const char *dir, const char *name, bool *found, struct err *e) {
  char *p = file_join(dir, name, e);
  if (!p) return false;
  *found = file_exists(p);
  mem_free(p);
  return true;
}

// The only .gguf file of a folder: *found is a new string, or NULL when there is none. Several are an error.
static bool only_gguf(const char *dir, char **found, struct err *e) {
  *found = NULL;
  DIR *d = opendir(dir);
  if (!d) return err_set(e, "%s: cannot read the folder: %s", dir, strerror(errno));
  bool ok = true;
  for (struct dirent *entry; ok && (entry = readdir(d));) {
    if (!ends_with(entry->d_name, ".gguf")) continue;
    if (*found)
      ok = err_set(e, "%s: holds several .gguf files; give the path of one with -m, for example %s", dir, *found);
    else ok = (*found = file_join(dir, entry->d_name, e)) != NULL;
  }
  closedir(d);
  if (!ok) {
    mem_free(*found);
    *found = NULL;
  }
  return ok;
}

// What to open for an existing path: a folder with config.json and a file are themselves, another folder is its only
// .gguf file.
static char *resolve(const char *path, struct err *e) {
  bool config = false;
  char *gguf = NULL;
  if (file_is_dir(path)) {
    if (!has_file(path, "config.json", &config, e)) return NULL;
    if (!config && !only_gguf(path, &gguf, e)) return NULL;
    if (!config && !gguf) {
      err_set(
          e,
          "%s: holds neither config.json nor a .gguf file; if scripts/get_model.sh was interrupted there, run it again",
          path);
      return NULL;
    }
  }
  return gguf ? gguf : mem_strdup(path, e);
}

// dir/name or dir/name.gguf if it exists: *found is a new string, else NULL.
static bool in_folder(const char *dir, const char *name, char **found, struct err *e) {
  char path[PATH_BYTES];
  *found = NULL;
  for (int i = 0; i < 2; i++) {
    int n = snprintf(path, sizeof path, "%s/%s%s", dir, name, i ? ".gguf" : "");
    if (n < 0 || n >= PATH_BYTES || !file_exists(path)) continue;
    *found = resolve(path, e);
    return *found != NULL;
  }
  return true;
}

// PREFIX/share/phi3 for a program in PREFIX/bin; empty when it cannot be told.
static void installed_folder(char dir[PATH_BYTES]) {
  ssize_t n = readlink("/proc/self/exe", dir, PATH_BYTES - 1);
  dir[n > 0 ? n : 0] = 0;
  char *slash = strrchr(dir, '/');
  if (slash) *slash = 0;
  size_t used = strlen(dir);
  if (snprintf(dir + used, PATH_BYTES - used, "/../share/phi3") >= (int)(PATH_BYTES - used)) dir[0] = 0;
}

static bool find_bundled(char **found, struct err *e) {
  char dir[PATH_BYTES];
  if (!in_folder(PHI3_SOURCE_DIR "/runtime/model", bundled, found, e)) return false;
  if (*found) return true;
  installed_folder(dir);
  return in_folder(dir, bundled, found, e);
}

static void user_folder(char dir[PATH_BYTES]) {
  const char *models = getenv("PHI3_MODELS"), *home = getenv("HOME");
  if (models && *models) snprintf(dir, PATH_BYTES, "%s", models);
  else snprintf(dir, PATH_BYTES, "%s/.cache/phi3", home && *home ? home : ".");
}

static void not_found(const char *name, const char *dir, struct err *e) {
  for (size_t i = 0; i < sizeof obtainable / sizeof *obtainable; i++) {
    if (strcmp(name, obtainable[i]) != 0) continue;
    err_set(e, "model '%s' is not in %s; get it with: scripts/get_model.sh %s", name, dir, name);
    return;
  }
  err_set(e,
          "model '%.256s' is neither a path nor in %s; known names are %s, %s and %s, the last two after "
          "scripts/get_model.sh NAME",
          name, dir, bundled, obtainable[0], obtainable[1]);
}

char *model_find(const char *path_or_name, struct err *e) {
  char dir[PATH_BYTES], *found = NULL;
  if (!*path_or_name) {
    err_set(e, "the model's name is empty; give a path or a name, for example %s", bundled);
    return NULL;
  }
  if (file_exists(path_or_name)) return resolve(path_or_name, e);
  if (strcmp(path_or_name, bundled) == 0 && !find_bundled(&found, e)) return NULL;
  user_folder(dir);
  if (!found && !strchr(path_or_name, '/') && !in_folder(dir, path_or_name, &found, e)) return NULL;
  if (!found) not_found(path_or_name, dir, e);
  return found;
}

// Stands in for the functions of runtime/base/file.h that read: the programs of this folder are linked with --wrap for each.
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

bool __real_file_map(struct file *f, const char *path, struct err *e);
void __real_file_unmap(struct file *f);
bool __real_file_exists(const char *path);
bool __real_file_is_dir(const char *path);
bool __wrap_file_map(struct file *f, const char *path, struct err *e);
void __wrap_file_unmap(struct file *f);
bool __wrap_file_exists(const char *path);
bool __wrap_file_is_dir(const char *path);

static const struct memory_file *known;
static int num_known;

void memory_files(const struct memory_file *files, int count) {
  known = files;
  num_known = count;
}

static const struct memory_file *find(const char *path) {
  for (int i = 0; i < num_known; i++)
    if (strcmp(known[i].path, path) == 0) return &known[i];
  return NULL;
}

bool __wrap_file_map(struct file *f, const char *path, struct err *e) {
  if (!num_known) return __real_file_map(f, path, e);
  *f = (struct file){0};
  const struct memory_file *m = find(path);
  if (!m) return err_set(e, "%s: cannot open: there is no such file", path);
  if (!(f->path = mem_strdup(path, e))) return false;
  uint8_t *copy = m->size ? malloc(m->size) : NULL;
  if (copy) f->data = memcpy(copy, m->data, m->size);
  f->size = m->size;
  return true;
}

void __wrap_file_unmap(struct file *f) {
  if (!num_known) {
    __real_file_unmap(f);
    return;
  }
  free((void *)(uintptr_t)f->data);
  mem_free(f->path);
  *f = (struct file){0};
}

bool __wrap_file_exists(const char *path) { return num_known ? find(path) != NULL : __real_file_exists(path); }

bool __wrap_file_is_dir(const char *path) {
  if (!num_known) return __real_file_is_dir(path);
  size_t n = strlen(path);
  for (int i = 0; i < num_known; i++)
    if (strncmp(known[i].path, path, n) == 0 && known[i].path[n] == '/') return true;
  return false;
}

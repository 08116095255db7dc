#include "driver/stage_file.h"
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include "runtime/base/npy.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

static bool cannot(const struct stage_file *s, const char *what, struct err *e) {
  return err_set(e, "%s: cannot %s: %s", s->path, what, strerror(errno));
}

bool stage_file_open(struct stage_file *s, const char *dir, const char *name, int64_t rows, int64_t cols,
                     struct err *e) {
  char file[64], head[NPY_MAX_HEADER];
  *s = (struct stage_file){0};
  snprintf(file, sizeof file, "%s.npy", name);
  if (!(s->path = file_join(dir, file, e))) return false;
  snprintf(file, sizeof file, "%s.npy.tmp.%ld", name, (long)getpid());
  if (!(s->tmp = file_join(dir, file, e))) return false;
  if (!(s->file = fopen(s->tmp, "wbe"))) return cannot(s, "create", e);
  size_t len = npy_header(head, "f4", 2, (int64_t[]){rows, cols});
  return fwrite(head, 1, len, s->file) == len || cannot(s, "write", e);
}

bool stage_file_add(struct stage_file *s, const float *data, size_t count, struct err *e) {
  return fwrite(data, sizeof *data, count, s->file) == count || cannot(s, "write", e);
}

bool stage_file_close(struct stage_file *s, struct err *e) {
  FILE *f = s->file;
  s->file = NULL;
  return fclose(f) == 0 || cannot(s, "write", e);
}

bool stage_file_rename(struct stage_file *s, struct err *e) {
  if (rename(s->tmp, s->path) != 0) return cannot(s, "write", e);
  mem_free(s->tmp);
  s->tmp = NULL;
  return true;
}

void stage_file_undo(struct stage_file *s) {
  if (s->path && !s->tmp) unlink(s->path);
}

void stage_file_free(struct stage_file *s) {
  if (s->file) fclose(s->file);
  if (s->tmp) unlink(s->tmp);
  mem_free(s->path);
  mem_free(s->tmp);
  *s = (struct stage_file){0};
}

#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool file_map(struct file *f, const char *path, struct err *e) {
  *f = (struct file){0};
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a named pipe would wait for its writer; files do not care
  if (fd < 0) return err_set(e, "%s: cannot open: %s", path, strerror(errno));
  struct stat st;
  bool ok = false;
  if (fstat(fd, &st) != 0) err_set(e, "%s: cannot read its size: %s", path, strerror(errno));
  else if (!S_ISREG(st.st_mode)) err_set(e, "%s: not a regular file", path);
  else {
    void *p = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    if (p == MAP_FAILED) err_set(e, "%s: cannot map %lld bytes: %s", path, (long long)st.st_size, strerror(errno));
    else {
      f->data = p;
      f->size = (size_t)st.st_size;
      ok = true;
    }
  }
  close(fd);
  if (ok && !(f->path = mem_strdup(path, e))) ok = false;
  if (!ok) file_unmap(f);
  return ok;
}

void file_unmap(struct file *f) {
  if (f->data) munmap((void *)(uintptr_t)f->data, f->size);
  mem_free(f->path);
  *f = (struct file){0};
}

static bool write_all(int fd, const char *p, size_t n) {
  while (n) {
    ssize_t w = write(fd, p, n);
    if (w < 0 && errno == EINTR) continue;
    if (w <= 0) return false;
    p += w;
    n -= (size_t)w;
  }
  return true;
}

bool file_is_special(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

enum { MAX_PATH = 4096 };

static bool name_beside(const char *path, char out[MAX_PATH], struct err *e) {
  int n = snprintf(out, MAX_PATH, "%s.tmp.%ld", path, (long)getpid());
  return (n >= 0 && n < MAX_PATH) || err_set(e, "%.100s...: the path is too long", path);
}

bool file_can_write(const char *path, struct err *e) {
  char tmp[MAX_PATH];
  if (!path) return true;
  if (file_is_dir(path)) return err_set(e, "%s: is a folder, expected the name of a file to write", path);
  if (file_is_special(path)) return access(path, W_OK) == 0 || err_set(e, "%s: cannot write: %s", path, strerror(errno));
  if (!name_beside(path, tmp, e)) return false;
  int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return err_set(e, "%s: cannot create: %s", path, strerror(errno));
  close(fd);
  unlink(tmp);
  return true;
}

bool file_write(const char *path, const void *data, size_t size, struct err *e) {
  char beside[MAX_PATH];
  if (!name_beside(path, beside, e)) return false;
  const char *tmp = file_is_special(path) ? NULL : beside;
  int fd = open(tmp ? tmp : path, O_WRONLY | (tmp ? O_CREAT | O_TRUNC : 0) | O_CLOEXEC, 0666);
  if (fd < 0) return err_set(e, "%s: cannot create: %s", path, strerror(errno));
  bool ok = write_all(fd, data, size);
  int why = errno;
  if (close(fd) != 0 && ok) {
    ok = false;
    why = errno;
  }
  if (ok && tmp && rename(tmp, path) != 0) {
    ok = false;
    why = errno;
  }
  if (ok) return true;
  if (tmp) unlink(tmp);
  return err_set(e, "%s: cannot write %zu bytes: %s", path, size, strerror(why));
}

// The folder that a name lies in, and the rest of the name.
static bool stat_folder(const char *path, struct stat *folder, const char **name) {
  char dir[MAX_PATH] = ".";
  const char *slash = strrchr(path, '/');
  size_t n = slash ? (size_t)(slash - path) + 1 : 0;
  if (n >= sizeof dir) return false;
  if (n) memcpy(dir, path, n), dir[n] = 0;
  *name = path + n;
  return stat(dir, folder) == 0;
}

static bool same_inode(const struct stat *a, const struct stat *b) { return a->st_dev == b->st_dev && a->st_ino == b->st_ino; }

bool file_is_same(const char *a, const char *b) {
  struct stat x, y;
  const char *name_a, *name_b;
  if (file_is_special(a) || file_is_special(b)) return false;
  if (strcmp(a, b) == 0) return true;
  if (stat(a, &x) == 0 && stat(b, &y) == 0) return same_inode(&x, &y);
  return stat_folder(a, &x, &name_a) && stat_folder(b, &y, &name_b) && same_inode(&x, &y) && strcmp(name_a, name_b) == 0;
}

bool file_exists(const char *path) { return access(path, F_OK) == 0; }

bool file_is_dir(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool file_make_dir(const char *path, struct err *e) {
  char *p = mem_strdup(path, e);
  if (!p) return false;
  bool ok = true;
  for (char *s = p + 1; ok; s++) {
    char c = *s;
    if (c != '/' && c != 0) continue;
    *s = 0;
    ok = mkdir(p, 0777) == 0 || (errno == EEXIST && file_is_dir(p));
    if (!ok) err_set(e, "%s: cannot make the folder: %s", p, strerror(errno));
    *s = c;
    if (!c) break;
  }
  mem_free(p);
  return ok;
}

char *file_join(const char *dir, const char *name, struct err *e) {
  size_t a = strlen(dir), b = strlen(name);
  char *p = mem_alloc(a + b + 2, 1, "a path", e);
  if (!p) return NULL;
  memcpy(p, dir, a);
  if (a && dir[a - 1] != '/') p[a++] = '/';
  memcpy(p + a, name, b + 1);
  return p;
}

#include "runtime/base/npy.h"
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC = 6, PREFIX = 10, ALIGN = 64 };

static const char magic[] = "\x93NUMPY";

static int64_t count_of(int dims, const int64_t *shape) {
  int64_t n = 1;
  for (int i = 0; i < dims; i++) n *= shape[i];
  return n;
}

int64_t npy_count(const struct npy *a) { return count_of(a->dims, a->shape); }

size_t npy_header(char head[NPY_MAX_HEADER], const char *type, int dims, const int64_t *shape) {
  memset(head, ' ', NPY_MAX_HEADER);
  memcpy(head, magic, MAGIC);
  char *dict = head + PREFIX;
  size_t room = NPY_MAX_HEADER - PREFIX, n;
  n = (size_t)snprintf(dict, room, "{'descr': '%s%s', 'fortran_order': False, 'shape': (", type[1] == '1' ? "|" : "<", type);
  for (int i = 0; i < dims; i++) n += (size_t)snprintf(dict + n, room - n, "%lld,%s", (long long)shape[i], i + 1 < dims ? " " : "");
  n += (size_t)snprintf(dict + n, room - n, "), }");
  dict[n] = ' '; // over the string's end
  size_t len = (PREFIX + n + 1 + ALIGN - 1) / ALIGN * ALIGN;
  head[6] = 1, head[7] = 0, head[8] = (char)((len - PREFIX) & 255), head[9] = (char)((len - PREFIX) >> 8);
  head[len - 1] = '\n';
  return len;
}

bool npy_write(const char *path, const char *type, int dims, const int64_t *shape, const void *data, struct err *e) {
  char head[NPY_MAX_HEADER];
  size_t len = npy_header(head, type, dims, shape), bytes = (size_t)count_of(dims, shape) * (size_t)(type[1] - '0');
  uint8_t *all = mem_alloc(len + bytes, 1, "an array to be written", e);
  if (!all) return false;
  memcpy(all, head, len);
  if (bytes) memcpy(all + len, data, bytes);
  bool ok = file_write(path, all, len + bytes, e);
  mem_free(all);
  return ok;
}

static bool parse_header(struct npy *a, const char *dict) {
  const char *d = strstr(dict, "'descr'"), *s = strstr(dict, "'shape'");
  if (!d || !s || !strstr(dict, "'fortran_order': False")) return false;
  d = strchr(d + 7, '\'');
  if (!d || (d[1] != '<' && d[1] != '|') || !strchr("fiu", d[2]) || !strchr("1248", d[3])) return false;
  a->type[0] = d[2], a->type[1] = d[3];
  int64_t count = 1;
  for (s = strchr(s, '('); s && *s && *s != ')';) {
    s++;
    char *end;
    long long v = strtoll(s, &end, 10);
    if (end == s) continue;
    if (a->dims == NPY_MAX_DIMS || v < 0 || v > (1LL << 40) || __builtin_mul_overflow(count, (int64_t)v, &count)) return false;
    a->shape[a->dims++] = v;
    s = end;
  }
  return s && *s == ')';
}

bool npy_read(struct npy *a, const char *path, struct err *e) {
  *a = (struct npy){0};
  struct file f;
  if (!file_map(&f, path, e)) return false;
  bool ok = false;
  size_t head = f.size >= PREFIX ? PREFIX + f.data[8] + 256u * f.data[9] : 0;
  char dict[1024];
  if (f.size < PREFIX || memcmp(f.data, magic, MAGIC) != 0 || f.data[6] != 1 || f.size < head || head - PREFIX >= sizeof dict) {
    err_set(e, "%s: not a version 1 .npy file", path);
  } else {
    memcpy(dict, f.data + PREFIX, head - PREFIX);
    dict[head - PREFIX] = 0;
    size_t bytes = parse_header(a, dict) && npy_count(a) <= (int64_t)f.size ? (size_t)npy_count(a) * (size_t)(a->type[1] - '0') : f.size;
    if (bytes != f.size - head) err_set(e, "%s: the header does not fit the %zu bytes of data", path, f.size - head);
    else if ((a->data = mem_alloc(bytes, 1, path, e))) {
      if (bytes) memcpy(a->data, f.data + head, bytes);
      ok = true;
    }
  }
  file_unmap(&f);
  return ok;
}

void npy_free(struct npy *a) {
  mem_free(a->data);
  *a = (struct npy){0};
}

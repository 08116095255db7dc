#include "runtime/model/tensors.h"
#include "runtime/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { FIRST_TENSORS = 64, FIRST_NAME_BYTES = 4096 };

static bool reserve_names(struct tensor_list *l, size_t more, struct err *e) {
  if (more <= l->names_capacity - l->names_size) return true;
  size_t capacity = l->names_capacity ? l->names_capacity : FIRST_NAME_BYTES;
  while (capacity - l->names_size < more) capacity *= 2;
  char *p = mem_grow(l->names, l->names_capacity, capacity, 1, "tensor names", e);
  if (!p) return false;
  l->names = p;
  l->names_capacity = capacity;
  return true;
}

bool tensor_list_add(struct tensor_list *l, const char *name, size_t len, const struct found_tensor *t, struct err *e) {
  if (l->count == l->capacity) {
    int64_t more = l->capacity ? 2 * l->capacity : FIRST_TENSORS;
    void *p = mem_grow(l->items, (size_t)l->capacity, (size_t)more, sizeof *l->items, "the list of tensors", e);
    if (!p) return false;
    l->items = p;
    l->capacity = more;
  }
  if (!reserve_names(l, len + 1, e)) return false;
  struct found_tensor *item = &l->items[l->count++];
  *item = *t;
  item->name = l->names_size;
  memcpy(l->names + l->names_size, name, len); // the NUL is there: new memory is zero
  l->names_size += len + 1;
  return true;
}

void tensor_list_free(struct tensor_list *l) {
  mem_free(l->items);
  mem_free(l->names);
  *l = (struct tensor_list){0};
}

const char *tensor_list_name(const struct tensor_list *l, int64_t i) { return l->names + l->items[i].name; }

static int by_begin(const void *x, const void *y) {
  const struct found_tensor *a = *(const struct found_tensor *const *)x, *b = *(const struct found_tensor *const *)y;
  return (a->begin > b->begin) - (a->begin < b->begin);
}

static bool check_sorted(const struct tensor_list *l, struct found_tensor *const *sorted, int64_t n,
                         const struct file *f, uint64_t start, uint64_t align, struct err *e) {
  const char *before = NULL;
  uint64_t end = start;
  for (int64_t i = 0; i < n; i++) {
    const struct found_tensor *t = sorted[i];
    const char *name = l->names + t->name;
    if (t->begin < end && before)
      return err_set(e, "%s: tensors '%s' and '%s' overlap: one ends at offset %llu, the other begins at %llu", f->path,
                     before, name, (unsigned long long)end, (unsigned long long)t->begin);
    uint64_t expected = start + (end - start + align - 1) / align * align;
    if (t->begin != expected)
      return err_set(e, "%s: tensor '%s' begins at offset %llu, expected %llu: there is a hole before it", f->path,
                     name, (unsigned long long)t->begin, (unsigned long long)expected);
    if (t->end > f->size)
      return err_set(e, "%s: tensor '%s' ends at offset %llu, but the file at %zu; it is truncated", f->path, name,
                     (unsigned long long)t->end, f->size);
    before = name;
    end = t->end;
  }
  return true;
}

bool tensor_list_check_layout(const struct tensor_list *l, int64_t first, const struct file *f, uint64_t start,
                              uint64_t align, struct err *e) {
  int64_t n = l->count - first;
  struct found_tensor **sorted = mem_alloc((size_t)n, sizeof *sorted, "the order of tensors", e);
  if (!sorted) return false;
  for (int64_t i = 0; i < n; i++) sorted[i] = &l->items[first + i];
  qsort(sorted, (size_t)n, sizeof *sorted, by_begin);
  bool ok = check_sorted(l, sorted, n, f, start, align, e);
  mem_free(sorted);
  return ok;
}

static int by_name(const void *x, const void *y) {
  const struct tensor *a = x, *b = y;
  return strverscmp(a->name, b->name); // layer 2 before layer 10
}

bool tensor_list_finish(struct tensor_list *l, struct model *m, struct err *e) {
  m->tensors = mem_alloc((size_t)l->count, sizeof *m->tensors, "the tensors", e);
  if (!m->tensors) return false;
  m->num_tensors = l->count;
  m->names = l->names;
  for (int64_t i = 0; i < l->count; i++) {
    const struct found_tensor *f = &l->items[i];
    m->tensors[i] = (struct tensor){.name = m->names + f->name,
                                    .type = f->type,
                                    .dims = f->dims,
                                    .rows = f->rows,
                                    .cols = f->cols,
                                    .data = m->files[f->file].data + f->begin,
                                    .bytes = (int64_t)(f->end - f->begin)};
  }
  l->names = NULL; // now the model's
  tensor_list_free(l);
  qsort(m->tensors, (size_t)m->num_tensors, sizeof *m->tensors, by_name);
  for (int64_t i = 1; i < m->num_tensors; i++)
    if (strcmp(m->tensors[i - 1].name, m->tensors[i].name) == 0)
      return err_set(e, "%s and %s: both have a tensor '%s'", tensor_file(m, &m->tensors[i - 1]),
                     tensor_file(m, &m->tensors[i]), m->tensors[i].name);
  return true;
}

const char *tensor_file(const struct model *m, const struct tensor *t) {
  uintptr_t p = (uintptr_t)t->data;
  for (int32_t i = 0; i < m->num_files; i++) {
    uintptr_t begin = (uintptr_t)m->files[i].data;
    if (p >= begin && p < begin + m->files[i].size) return m->files[i].path;
  }
  return m->path;
}

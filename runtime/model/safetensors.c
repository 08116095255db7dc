// Safetensors: a 64-bit header length, a JSON header {name: {dtype, shape, data_offsets}}, and the tensors' bytes
// without holes. Format: https://huggingface.co/docs/safetensors. A model's tensors lie in model.safetensors, or in
// shards listed by an index.
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include "runtime/model/name.h"
#include "runtime/model/tensors.h"
#include <string.h>

enum {
  LENGTH_BYTES = 8,
  MAX_HEADER = 100 << 20, // the format's own limit
  MAX_SHARDS = 4096
};

struct header {
  const struct file *file;
  uint64_t data_start;
  int32_t index; // of the file in the model
};

static bool bad(const struct header *h, const char *name, struct err *e, const char *what) {
  return err_set(e, "%s: tensor '%s': %s", h->file->path, name, what);
}

static bool read_type(const struct header *h, const char *name, const json_t *v, enum dtype *type, struct err *e) {
  static const enum dtype readable[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
  const char *s = json_string_value(v);
  if (!s) return bad(h, name, e, "its dtype is missing or not a string");
  for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
    *type = readable[i];
    if (strcmp(dtype_info(*type)->name, s) == 0) return true;
  }
  return err_set(e, "%s: tensor '%s': type %s is not supported, expected F32, F16 or BF16", h->file->path, name,
                 name_show(s).text);
}

static bool read_shape(const struct header *h, const char *name, const json_t *v, struct found_tensor *t,
                       struct err *e) {
  size_t dims = json_array_size(v);
  if (!json_is_array(v) || dims < 1 || dims > 2)
    return err_set(e, "%s: tensor '%s': shape has %zu dimensions, expected 1 or 2", h->file->path, name, dims);
  int64_t n[2] = {1, 1};
  for (size_t i = 0; i < dims; i++) {
    const json_t *d = json_array_get(v, i);
    if (!json_is_integer(d) || json_integer_value(d) < 1)
      return bad(h, name, e, "a dimension is not a positive integer");
    n[2 - dims + i] = json_integer_value(d);
  }
  t->dims = (int32_t)dims;
  t->rows = n[0];
  t->cols = n[1];
  return true;
}

static bool read_offsets(const struct header *h, const char *name, const json_t *v, struct found_tensor *t,
                         struct err *e) {
  const json_t *b = json_array_get(v, 0), *n = json_array_get(v, 1);
  if (json_array_size(v) != 2 || !json_is_integer(b) || !json_is_integer(n) || json_integer_value(b) < 0 ||
      json_integer_value(n) < json_integer_value(b))
    return bad(h, name, e, "data_offsets is not a pair of ascending offsets");
  uint64_t begin = (uint64_t)json_integer_value(b), end = (uint64_t)json_integer_value(n),
           data = h->file->size - h->data_start;
  if (end > data)
    return err_set(e, "%s: tensor '%s' ends at byte %llu of the data, but the file has %llu; it is truncated",
                   h->file->path, name, (unsigned long long)end, (unsigned long long)data);
  int64_t bytes;
  if (__builtin_mul_overflow(t->rows, t->cols, &bytes) ||
      __builtin_mul_overflow(bytes, (int64_t)dtype_info(t->type)->block_bytes, &bytes) ||
      (uint64_t)bytes != end - begin)
    return err_set(e, "%s: tensor '%s': %llu bytes of data, but shape [%lld, %lld] of type %s needs another number",
                   h->file->path, name, (unsigned long long)(end - begin), (long long)t->rows, (long long)t->cols,
                   dtype_info(t->type)->name);
  t->begin = h->data_start + begin;
  t->end = h->data_start + end;
  return true;
}

static bool read_entry(const struct header *h, const char *name, const json_t *v, struct tensor_list *l,
                       struct err *e) {
  struct found_tensor t = {.file = h->index};
  if (!name_is_valid(name, strlen(name)))
    return err_set(e, "%s: a tensor's name is not printable UTF-8 of 1 to %d bytes", h->file->path, NAME_MAX_BYTES);
  if (!json_is_object(v)) return bad(h, name, e, "its entry is not an object");
  return read_type(h, name, json_object_get(v, "dtype"), &t.type, e) &&
         read_shape(h, name, json_object_get(v, "shape"), &t, e) &&
         read_offsets(h, name, json_object_get(v, "data_offsets"), &t, e) &&
         tensor_list_add(l, name, strlen(name), &t, e);
}

static bool read_entries(const struct header *h, json_t *root, struct tensor_list *l, struct err *e) {
  int64_t first = l->count;
  const char *name;
  json_t *v;
  if (!json_is_object(root)) return err_set(e, "%s: the header is not a JSON object", h->file->path);
  json_object_foreach(root, name, v) {
    if (strcmp(name, "__metadata__") != 0 && !read_entry(h, name, v, l, e)) return false;
  }
  if (!tensor_list_check_layout(l, first, h->file, h->data_start, 1, e)) return false;
  uint64_t used = h->data_start;
  for (int64_t i = first; i < l->count; i++) used += l->items[i].end - l->items[i].begin;
  if (used == h->file->size) return true;
  return err_set(e, "%s: %llu bytes after the last tensor belong to none", h->file->path,
                 (unsigned long long)(h->file->size - used));
}

static bool read_file(struct model *m, int32_t index, struct tensor_list *l, struct err *e) {
  const struct file *f = &m->files[index];
  uint64_t n;
  if (f->size < LENGTH_BYTES)
    return err_set(e, "%s: has %zu bytes, not even its header's length; it is truncated", f->path, f->size);
  memcpy(&n, f->data, LENGTH_BYTES);
  if (n > f->size - LENGTH_BYTES || n > MAX_HEADER)
    return err_set(
        e, "%s: the header should have %llu bytes, but the file has %zu; it is truncated or not a safetensors file",
        f->path, (unsigned long long)n, f->size);
  struct header h = {f, LENGTH_BYTES + n, index};
  json_t *root = json_read_memory(f->data + LENGTH_BYTES, n, f->path, e);
  if (!root) return false;
  bool ok = read_entries(&h, root, l, e);
  json_decref(root);
  return ok;
}

static bool map_files(struct model *m, const char *dir, const char *const *names, int32_t count, struct tensor_list *l,
                      struct err *e) {
  m->files = mem_alloc((size_t)count, sizeof *m->files, "the list of files", e);
  if (!m->files) return false;
  for (int32_t i = 0; i < count; i++) {
    char *path = file_join(dir, names[i], e);
    bool ok = path && file_map(&m->files[i], path, e);
    mem_free(path);
    if (!ok) return false;
    m->num_files = i + 1;
    if (!read_file(m, i, l, e)) return false;
  }
  return true;
}

// {name of a tensor: number of its file}
static json_t *index_of(const struct tensor_list *l, struct err *e) {
  json_t *o = json_object();
  for (int64_t i = 0; o && i < l->count; i++) {
    if (json_object_set_new(o, tensor_list_name(l, i), json_integer(l->items[i].file)) == 0) continue;
    json_decref(o);
    o = NULL;
  }
  if (!o) err_no_memory(e, 0, "the index of tensors");
  return o;
}

// Every tensor of the index must be in the shard that it names. `shard_of` holds, in the order of `map`, numbers of
// files.
static bool check_index(const struct model *m, const char *index, json_t *map, const int32_t *shard_of,
                        const struct tensor_list *l, struct err *e) {
  size_t next = 0;
  const char *name;
  json_t *v, *have = index_of(l, e);
  bool ok = have != NULL;
  json_object_foreach(map, name, v) {
    const json_t *file = json_object_get(have, name);
    int32_t shard = shard_of[next++];
    if (ok && (!file || json_integer_value(file) != shard))
      ok = err_set(e, "%s: tensor '%s' should be in %s, which does not have it", index, name_show(name).text,
                   m->files[shard].path);
  }
  json_decref(have);
  return ok;
}

// The shards' names, each once, in order of appearance; fills shard_of.
static bool list_shards(const char *index, json_t *map, const char **names, int32_t *shard_of, int32_t *count,
                        struct err *e) {
  size_t next = 0;
  const char *name;
  json_t *v;
  json_object_foreach(map, name, v) {
    const char *file = json_string_value(v);
    if (!file || !name_is_valid(file, strlen(file)) || strchr(file, '/') || file[0] == '.')
      return err_set(e, "%s: tensor '%s' names no file of this folder", index, name_show(name).text);
    int32_t i = 0;
    while (i < *count && strcmp(names[i], file) != 0) i++;
    if (i == MAX_SHARDS) return err_set(e, "%s: more than %d files", index, MAX_SHARDS);
    names[i] = file;
    if (i == *count) *count = i + 1;
    shard_of[next++] = i;
  }
  return true;
}

static bool read_shards(struct model *m, const char *dir, const char *index, struct tensor_list *l, struct err *e) {
  json_t *root = json_read_file(index, e);
  if (!root) return false;
  json_t *map = json_object_get(root, "weight_map");
  size_t n = json_object_size(map);
  int32_t count = 0;
  bool ok = n > 0 || err_set(e, "%s: weight_map is missing or empty", index);
  const char **names = ok ? mem_alloc(n < MAX_SHARDS ? n : MAX_SHARDS, sizeof *names, "the list of shards", e) : NULL;
  int32_t *shard_of = names ? mem_alloc(n, sizeof *shard_of, "the list of shards", e) : NULL;
  ok = ok && shard_of && list_shards(index, map, names, shard_of, &count, e) && map_files(m, dir, names, count, l, e) &&
       check_index(m, index, map, shard_of, l, e);
  mem_free(names);
  mem_free(shard_of);
  json_decref(root);
  return ok;
}

bool safetensors_read_folder(struct model *m, const char *dir, struct tensor_list *l, struct err *e) {
  static const char *const single[] = {"model.safetensors"};
  char *file = file_join(dir, single[0], e), *index = file_join(dir, "model.safetensors.index.json", e);
  bool ok = file && index;
  if (ok && file_exists(file)) ok = map_files(m, dir, single, 1, l, e);
  else if (ok && file_exists(index)) ok = read_shards(m, dir, index, l, e);
  else if (ok) ok = err_set(e, "%s: has neither model.safetensors nor model.safetensors.index.json", dir);
  mem_free(file);
  mem_free(index);
  return ok;
}

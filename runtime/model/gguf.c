#include "runtime/model/gguf.h"
#include "runtime/base/mem.h"
#include "runtime/model/name.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  VERSION = 3,
  DEFAULT_ALIGNMENT = 32,
  MAX_ALIGNMENT = 1 << 20, // real files use 32 to 4096
  MAX_ENTRIES = 1 << 20,   // keys or tensors; real files have a few dozen keys and some thousand tensors
  FIRST_CAPACITY = 64,
  NUM_TYPES = GGUF_F64 + 1
};

static const struct {
  const char *name;
  uint8_t bytes; // 0: of variable length
} types[NUM_TYPES] = {{"u8", 1},   {"i8", 1},     {"u16", 2},   {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
                      {"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8}};

// A position in the file, and what is being read there, for errors.
struct cursor {
  const struct file *file;
  uint64_t pos;
  char what[64];
};

static uint64_t left(const struct cursor *c) { return c->file->size - c->pos; }

static bool truncated(const struct cursor *c, const char *part, uint64_t need, struct err *e) {
  return err_set(e, "%s: %s: %s needs %llu bytes at offset %llu, but the file ends at %llu; it is truncated or corrupt",
                 c->file->path, c->what, part, (unsigned long long)need, (unsigned long long)c->pos,
                 (unsigned long long)c->file->size);
}

static bool take(struct cursor *c, void *dst, size_t n, const char *part, struct err *e) {
  if (left(c) < n) return truncated(c, part, n, e);
  memcpy(dst, c->file->data + c->pos, n);
  c->pos += n;
  return true;
}

static bool take_string(struct cursor *c, struct gguf_string *s, const char *part, struct err *e) {
  uint64_t n;
  if (!take(c, &n, sizeof n, part, e)) return false;
  if (left(c) < n) return truncated(c, part, n, e);
  *s = (struct gguf_string){(const char *)c->file->data + c->pos, n};
  c->pos += n;
  return true;
}

static bool take_name(struct cursor *c, struct gguf_string *s, struct err *e) {
  if (!take_string(c, s, "its name", e)) return false;
  if (name_is_valid(s->data, s->len)) return true;
  return err_set(e, "%s: %s: its name (%llu bytes) is not printable UTF-8 of 1 to %d bytes; the file is corrupt",
                 c->file->path, c->what, (unsigned long long)s->len, NAME_MAX_BYTES);
}

static bool take_type(struct cursor *c, const struct gguf_string *key, enum gguf_type *t, struct err *e) {
  uint32_t n;
  if (!take(c, &n, sizeof n, "its type", e)) return false;
  if (n >= NUM_TYPES) {
    return err_set(e, "%s: key '%.*s': value type %u does not exist in GGUF version 3 (0 to %d)", c->file->path,
                   (int)key->len, key->data, n, NUM_TYPES - 1);
  }
  *t = (enum gguf_type)n;
  return true;
}

// Passes over `count` elements of the type, checking that they lie inside the file.
static bool skip_elements(struct cursor *c, enum gguf_type type, uint64_t count, struct err *e) {
  if (type != GGUF_STRING) {
    uint64_t bytes;
    if (__builtin_mul_overflow(count, (uint64_t)types[type].bytes, &bytes)) bytes = UINT64_MAX;
    if (left(c) < bytes) return truncated(c, "its value", bytes, e);
    c->pos += bytes;
    return true;
  }
  struct gguf_string s;
  for (uint64_t i = 0; i < count; i++)
    if (!take_string(c, &s, "its value", e)) return false;
  return true;
}

static bool bools_are_bools(const struct cursor *c, const struct gguf_value *v, struct err *e) {
  if (v->element != GGUF_BOOL) return true;
  for (uint64_t i = 0; i < v->count; i++)
    if (v->data[i] > 1)
      return err_set(e, "%s: key '%.*s': a bool is %d, expected 0 or 1", c->file->path, (int)v->key.len, v->key.data,
                     v->data[i]);
  return true;
}

static bool read_value(struct cursor *c, struct gguf_value *v, struct err *e) {
  if (!take_name(c, &v->key, e) || !take_type(c, &v->key, &v->type, e)) return false;
  v->element = v->type;
  v->count = 1;
  if (v->type == GGUF_ARRAY) {
    if (!take_type(c, &v->key, &v->element, e) || !take(c, &v->count, sizeof v->count, "its count", e)) return false;
    if (v->element == GGUF_ARRAY)
      return err_set(e, "%s: key '%.*s': arrays of arrays are not supported", c->file->path, (int)v->key.len,
                     v->key.data);
  }
  v->data = c->file->data + c->pos;
  return skip_elements(c, v->element, v->count, e) && bools_are_bools(c, v, e);
}

static bool read_tensor(struct cursor *c, struct gguf_tensor *t, struct err *e) {
  if (!take_name(c, &t->name, e) || !take(c, &t->dims, sizeof t->dims, "its number of dimensions", e)) return false;
  const char *path = c->file->path;
  int n = (int)t->name.len;
  if (t->dims < 1 || t->dims > GGUF_MAX_DIMS)
    return err_set(e, "%s: tensor '%.*s': %u dimensions, expected 1 to %d", path, n, t->name.data, t->dims,
                   GGUF_MAX_DIMS);
  int64_t product = 1;
  for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++) {
    t->shape[i] = 1;
    if (i < t->dims && !take(c, &t->shape[i], sizeof t->shape[i], "its shape", e)) return false;
    if (t->shape[i] == 0 || t->shape[i] > INT64_MAX || __builtin_mul_overflow(product, (int64_t)t->shape[i], &product))
      return err_set(e, "%s: tensor '%.*s': dimension %u is %llu: empty or too large a tensor", path, n, t->name.data,
                     i, (unsigned long long)t->shape[i]);
  }
  return take(c, &t->ggml_type, sizeof t->ggml_type, "its type", e) &&
         take(c, &t->offset, sizeof t->offset, "its offset", e);
}

// The directory's arrays grow with what has been read: a header that claims more than the file holds costs nothing.
static bool reserve(void **array, uint64_t *capacity, uint64_t count, size_t size, const char *what, struct err *e) {
  if (count < *capacity) return true;
  uint64_t more = *capacity ? 2 * *capacity : FIRST_CAPACITY;
  void *p = mem_grow(*array, *capacity, more, size, what, e);
  if (!p) return false;
  *array = p;
  *capacity = more;
  return true;
}

static void set_what(struct cursor *c, const char *kind, uint64_t i, uint64_t n) {
  snprintf(c->what, sizeof c->what, "%s %llu of %llu", kind, (unsigned long long)i + 1, (unsigned long long)n);
}

static bool read_values(struct gguf *g, struct cursor *c, uint64_t count, struct err *e) {
  uint64_t capacity = 0;
  void *array = NULL;
  for (uint64_t i = 0; i < count; i++) {
    set_what(c, "key", i, count);
    bool ok = reserve(&array, &capacity, i, sizeof *g->values, "GGUF metadata", e);
    g->values = array;
    if (!ok || !read_value(c, &g->values[i], e)) return false;
    g->num_values = i + 1;
  }
  return true;
}

static bool read_tensors(struct gguf *g, struct cursor *c, uint64_t count, struct err *e) {
  uint64_t capacity = 0;
  void *array = NULL;
  for (uint64_t i = 0; i < count; i++) {
    set_what(c, "tensor", i, count);
    bool ok = reserve(&array, &capacity, i, sizeof *g->tensors, "the GGUF tensor directory", e);
    g->tensors = array;
    if (!ok || !read_tensor(c, &g->tensors[i], e)) return false;
    g->num_tensors = i + 1;
  }
  return true;
}

static int compare_strings(const void *x, const void *y) {
  const struct gguf_string *a = x, *b = y;
  int order = memcmp(a->data, b->data, a->len < b->len ? a->len : b->len);
  return order ? order : (a->len > b->len) - (a->len < b->len);
}

// `first` is the first name, the others follow at `stride` bytes.
static bool names_are_unique(const struct gguf *g, const struct gguf_string *first, size_t stride, uint64_t count,
                             const char *kind, struct err *e) {
  struct gguf_string *sorted = mem_alloc(count, sizeof *sorted, "GGUF names", e);
  if (!sorted) return false;
  for (uint64_t i = 0; i < count; i++) sorted[i] = *(const struct gguf_string *)((const char *)first + i * stride);
  qsort(sorted, count, sizeof *sorted, compare_strings);
  bool ok = true;
  for (uint64_t i = 1; i < count && ok; i++)
    if (compare_strings(&sorted[i - 1], &sorted[i]) == 0)
      ok = err_set(e, "%s: %s '%.*s' appears twice", g->file.path, kind, (int)sorted[i].len, sorted[i].data);
  mem_free(sorted);
  return ok;
}

static bool read_header(struct cursor *c, uint64_t *num_tensors, uint64_t *num_values, struct err *e) {
  uint32_t version;
  char magic[4];
  snprintf(c->what, sizeof c->what, "the header");
  if (left(c) < sizeof magic || memcmp(c->file->data, "GGUF", sizeof magic) != 0)
    return err_set(e, "%s: not a GGUF file: it does not begin with 'GGUF'; a Hugging Face model is given as its folder",
                   c->file->path);
  c->pos = sizeof magic;
  if (!take(c, &version, sizeof version, "the version", e)) return false;
  if (version == __builtin_bswap32(VERSION)) return err_set(e, "%s: big-endian GGUF is not supported", c->file->path);
  if (version != VERSION)
    return err_set(e, "%s: GGUF version %u is not supported, expected %d; convert the model anew", c->file->path,
                   version, VERSION);
  if (!take(c, num_tensors, sizeof *num_tensors, "the number of tensors", e)) return false;
  if (!take(c, num_values, sizeof *num_values, "the number of keys", e)) return false;
  if (*num_tensors > MAX_ENTRIES || *num_values > MAX_ENTRIES)
    return err_set(e,
                   "%s: the header claims %llu tensors and %llu keys, expected at most %d of each; the file is corrupt",
                   c->file->path, (unsigned long long)*num_tensors, (unsigned long long)*num_values, MAX_ENTRIES);
  return true;
}

static bool read_alignment(struct gguf *g, struct err *e) {
  static const char key[] = "general.alignment";
  g->alignment = DEFAULT_ALIGNMENT;
  int64_t a;
  if (!gguf_find(g, key)) return true;
  if (!gguf_get_i64(g, key, &a, e)) return false;
  if (a < 1 || a > MAX_ALIGNMENT || (a & (a - 1)) != 0)
    return err_set(e, "%s: %s is %lld, expected a power of two up to %d", g->file.path, key, (long long)a,
                   MAX_ALIGNMENT);
  g->alignment = (uint64_t)a;
  return true;
}

// The data section starts at the next multiple of the alignment after the directory; a file without tensors may end
// before it.
static bool place_data(struct gguf *g, uint64_t end, struct err *e) {
  uint64_t start = (end + g->alignment - 1) / g->alignment * g->alignment;
  if (start > g->file.size) {
    if (g->num_tensors)
      return err_set(e, "%s: tensor data should start at offset %llu, but the file ends at %llu; it is truncated",
                     g->file.path, (unsigned long long)start, (unsigned long long)g->file.size);
    start = g->file.size;
  }
  g->data_offset = start;
  for (uint64_t i = 0; i < g->num_tensors; i++) {
    const struct gguf_tensor *t = &g->tensors[i];
    if (t->offset % g->alignment)
      return err_set(e, "%s: tensor '%.*s': its offset %llu is not a multiple of the alignment %llu", g->file.path,
                     (int)t->name.len, t->name.data, (unsigned long long)t->offset, (unsigned long long)g->alignment);
  }
  return true;
}

bool gguf_open(struct gguf *g, const char *path, struct err *e) {
  *g = (struct gguf){0};
  if (!file_map(&g->file, path, e)) return false;
  struct cursor c = {.file = &g->file};
  uint64_t num_tensors, num_values;
  bool ok = read_header(&c, &num_tensors, &num_values, e) && read_values(g, &c, num_values, e) &&
            read_tensors(g, &c, num_tensors, e);
  ok = ok && (!num_values || names_are_unique(g, &g->values[0].key, sizeof *g->values, num_values, "key", e));
  ok = ok && (!num_tensors || names_are_unique(g, &g->tensors[0].name, sizeof *g->tensors, num_tensors, "tensor", e));
  ok = ok && read_alignment(g, e) && place_data(g, c.pos, e);
  if (!ok) gguf_close(g);
  return ok;
}

void gguf_close(struct gguf *g) {
  mem_free(g->values);
  mem_free(g->tensors);
  file_unmap(&g->file);
  *g = (struct gguf){0};
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key) {
  size_t n = strlen(key);
  for (uint64_t i = 0; i < g->num_values; i++)
    if (g->values[i].key.len == n && memcmp(g->values[i].key.data, key, n) == 0) return &g->values[i];
  return NULL;
}

const char *gguf_type_name(enum gguf_type t) { return types[t].name; }

bool gguf_element_i64(const struct gguf_value *v, uint64_t index, int64_t *out) {
  const uint8_t *p = v->data + index * types[v->element].bytes;
  uint64_t u = 0;
  memcpy(&u, p, types[v->element].bytes); // little-endian, as the host is
  switch (v->element) {
  case GGUF_I8: *out = (int8_t)u; return true;
  case GGUF_I16: *out = (int16_t)u; return true;
  case GGUF_I32: *out = (int32_t)u; return true;
  case GGUF_U8:
  case GGUF_U16:
  case GGUF_U32:
  case GGUF_BOOL:
  case GGUF_I64: *out = (int64_t)u; return true;
  case GGUF_U64: *out = (int64_t)u; return u <= INT64_MAX;
  default: return false;
  }
}

bool gguf_element_f64(const struct gguf_value *v, uint64_t index, double *out) {
  int64_t i;
  float f;
  const uint8_t *p = v->data + index * types[v->element].bytes;
  if (v->element == GGUF_F64) memcpy(out, p, sizeof *out);
  else if (v->element == GGUF_F32) {
    memcpy(&f, p, sizeof f);
    *out = f;
  } else if (gguf_element_i64(v, index, &i)) *out = (double)i;
  else return false;
  return true;
}

static const struct gguf_value *find_scalar(const struct gguf *g, const char *key, struct err *e) {
  const struct gguf_value *v = gguf_find(g, key);
  if (!v) err_set(e, "%s: key '%s' is missing", g->file.path, key);
  else if (v->type == GGUF_ARRAY) {
    err_set(e, "%s: key '%s' is an array, expected one value", g->file.path, key);
    v = NULL;
  }
  return v;
}

bool gguf_get_i64(const struct gguf *g, const char *key, int64_t *out, struct err *e) {
  const struct gguf_value *v = find_scalar(g, key, e);
  if (!v) return false;
  if (gguf_element_i64(v, 0, out)) return true;
  return err_set(e, "%s: key '%s' is of type %s or too large, expected an integer", g->file.path, key,
                 types[v->type].name);
}

bool gguf_get_f64(const struct gguf *g, const char *key, double *out, struct err *e) {
  const struct gguf_value *v = find_scalar(g, key, e);
  if (!v) return false;
  if (gguf_element_f64(v, 0, out)) return true;
  return err_set(e, "%s: key '%s' is of type %s, expected a number", g->file.path, key, types[v->type].name);
}

// A string's length and bytes; both were checked when the file was opened.
static const uint8_t *next_string(const uint8_t *p, struct gguf_string *s) {
  memcpy(&s->len, p, sizeof s->len);
  s->data = (const char *)p + sizeof s->len;
  return p + sizeof s->len + s->len;
}

bool gguf_get_string(const struct gguf *g, const char *key, struct gguf_string *out, struct err *e) {
  const struct gguf_value *v = find_scalar(g, key, e);
  if (!v) return false;
  if (v->type != GGUF_STRING)
    return err_set(e, "%s: key '%s' is of type %s, expected a string", g->file.path, key, types[v->type].name);
  next_string(v->data, out);
  return true;
}

struct gguf_string *gguf_strings(const struct gguf *g, const struct gguf_value *v, struct err *e) {
  if (v->element != GGUF_STRING) {
    err_set(e, "%s: key '%.*s' holds %s, expected strings", g->file.path, (int)v->key.len, v->key.data,
            types[v->element].name);
    return NULL;
  }
  struct gguf_string *s = mem_alloc(v->count, sizeof *s, "strings of a GGUF file", e);
  const uint8_t *p = v->data;
  for (uint64_t i = 0; s && i < v->count; i++) p = next_string(p, &s[i]);
  return s;
}

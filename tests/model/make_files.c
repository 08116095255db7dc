#include "tests/model/make_files.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void check(bool ok, const char *what) {
  if (ok) return;
  perror(what);
  abort();
}

static char *join(const char *a, const char *b) {
  size_t n = strlen(a) + strlen(b) + 2;
  char *p = malloc(n);
  check(p != NULL, "malloc");
  snprintf(p, n, "%s/%s", a, b);
  return p;
}

char *path_in(const char *dir, const char *name) { return join(dir, name); }

char *temp_dir(void) {
  const char *tmp = getenv("TMPDIR");
  char *p = join(tmp && *tmp ? tmp : "/tmp", "phi3-test-XXXXXX");
  check(mkdtemp(p) != NULL, p);
  return p;
}

static void remove_all(const char *path) {
  struct stat st;
  DIR *d = lstat(path, &st) == 0 && S_ISDIR(st.st_mode) ? opendir(path) : NULL;
  for (struct dirent *entry; d && (entry = readdir(d));) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char *p = join(path, entry->d_name);
    remove_all(p);
    free(p);
  }
  if (d) closedir(d);
  check(remove(path) == 0, path);
}

void temp_dir_remove(char *dir) {
  remove_all(dir);
  free(dir);
}

void write_bytes(const char *path, const void *data, size_t size) {
  FILE *f = fopen(path, "wb");
  check(f != NULL, path);
  check(size == 0 || fwrite(data, 1, size, f) == size, path);
  check(fclose(f) == 0, path);
}

void write_text(const char *path, const char *text) { write_bytes(path, text, strlen(text)); }

uint8_t *read_bytes(const char *path, size_t *size) {
  FILE *f = fopen(path, "rb");
  struct stat st;
  check(f && fstat(fileno(f), &st) == 0, path);
  *size = (size_t)st.st_size;
  uint8_t *p = malloc(*size + 1);
  check(p && fread(p, 1, *size, f) == *size, path);
  fclose(f);
  return p;
}

void bytes_put(struct bytes *b, const void *data, size_t size) {
  if (size == 0) return;
  if (b->size + size > b->capacity) {
    b->capacity = 2 * (b->size + size);
    b->data = realloc(b->data, b->capacity);
    check(b->data != NULL, "realloc");
  }
  memcpy(b->data + b->size, data, size);
  b->size += size;
}

void bytes_free(struct bytes *b) {
  free(b->data);
  *b = (struct bytes){0};
}

static void put_zeros(struct bytes *b, size_t n) {
  while (n--) bytes_put(b, "", 1);
}

void safetensors_put(struct safetensors_maker *s, const char *name, const char *type, int64_t rows, int64_t cols,
                     const void *data, size_t bytes) {
  char text[512], shape[64];
  if (rows) snprintf(shape, sizeof shape, "%lld,%lld", (long long)rows, (long long)cols);
  else snprintf(shape, sizeof shape, "%lld", (long long)cols);
  int n = snprintf(text, sizeof text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}",
                   s->header.size ? "," : "{", name, type, shape, (unsigned long long)s->bytes,
                   (unsigned long long)(s->bytes + bytes));
  bytes_put(&s->header, text, (size_t)n);
  if (data) bytes_put(&s->data, data, bytes);
  s->bytes += bytes;
}

void safetensors_write(struct safetensors_maker *s, const char *path) {
  struct bytes all = {0};
  bytes_put(&s->header, s->header.size ? "}" : "{}", s->header.size ? 1 : 2);
  while (s->header.size % 8) bytes_put(&s->header, " ", 1);
  uint64_t n = s->header.size;
  bytes_put(&all, &n, sizeof n);
  bytes_put(&all, s->header.data, s->header.size);
  bytes_put(&all, s->data.data, s->data.size);
  write_bytes(path, all.data, all.size);
  check(truncate(path, (off_t)(sizeof n + n + s->bytes)) == 0, path);
  bytes_free(&all);
  bytes_free(&s->header);
  bytes_free(&s->data);
  s->bytes = 0;
}

static void put_u32(struct bytes *b, uint32_t v) { bytes_put(b, &v, sizeof v); }
static void put_u64(struct bytes *b, uint64_t v) { bytes_put(b, &v, sizeof v); }

static void put_string(struct bytes *b, const char *s) {
  put_u64(b, strlen(s));
  bytes_put(b, s, strlen(s));
}

enum { TYPE_U32 = 4, TYPE_I32 = 5, TYPE_F32 = 6, TYPE_BOOL = 7, TYPE_STRING = 8, TYPE_ARRAY = 9 }; // of GGUF values

static struct bytes *put_key(struct gguf_maker *g, const char *key, uint32_t type) {
  put_string(&g->keys, key);
  put_u32(&g->keys, type);
  g->num_keys++;
  return &g->keys;
}

static struct bytes *put_array(struct gguf_maker *g, const char *key, uint32_t type, uint64_t count) {
  struct bytes *b = put_key(g, key, TYPE_ARRAY);
  put_u32(b, type);
  put_u64(b, count);
  return b;
}

void gguf_put_u32(struct gguf_maker *g, const char *key, uint32_t v) { put_u32(put_key(g, key, TYPE_U32), v); }
void gguf_put_f32(struct gguf_maker *g, const char *key, float v) {
  bytes_put(put_key(g, key, TYPE_F32), &v, sizeof v);
}
void gguf_put_bool(struct gguf_maker *g, const char *key, bool v) {
  bytes_put(put_key(g, key, TYPE_BOOL), v ? "\1" : "\0", 1);
}
void gguf_put_string(struct gguf_maker *g, const char *key, const char *v) {
  put_string(put_key(g, key, TYPE_STRING), v);
}

void gguf_put_i32s(struct gguf_maker *g, const char *key, const int32_t *v, uint64_t count) {
  bytes_put(put_array(g, key, TYPE_I32, count), v, count * sizeof *v);
}

void gguf_put_f32s(struct gguf_maker *g, const char *key, const float *v, uint64_t count) {
  bytes_put(put_array(g, key, TYPE_F32, count), v, count * sizeof *v);
}

void gguf_put_strings(struct gguf_maker *g, const char *key, const char *const *v, uint64_t count) {
  struct bytes *b = put_array(g, key, TYPE_STRING, count);
  for (uint64_t i = 0; i < count; i++) put_string(b, v[i]);
}

static size_t alignment_of(struct gguf_maker *g) {
  if (!g->alignment) g->alignment = 32;
  return (size_t)g->alignment;
}

static void align(struct bytes *b, size_t to) { put_zeros(b, (to - b->size % to) % to); }

void gguf_put_tensor(struct gguf_maker *g, const char *name, uint32_t ggml_type, int64_t rows, int64_t cols,
                     const void *data, size_t bytes) {
  align(&g->data, alignment_of(g));
  put_string(&g->tensors, name);
  put_u32(&g->tensors, rows ? 2 : 1);
  put_u64(&g->tensors, (uint64_t)cols);
  if (rows) put_u64(&g->tensors, (uint64_t)rows);
  put_u32(&g->tensors, ggml_type);
  put_u64(&g->tensors, g->data.size);
  bytes_put(&g->data, data, bytes);
  g->num_tensors++;
}

void gguf_write(struct gguf_maker *g, const char *path) {
  struct bytes all = {0};
  if (alignment_of(g) != 32) gguf_put_u32(g, "general.alignment", (uint32_t)g->alignment);
  bytes_put(&all, "GGUF", 4);
  put_u32(&all, 3);
  put_u64(&all, g->num_tensors);
  put_u64(&all, g->num_keys);
  bytes_put(&all, g->keys.data, g->keys.size);
  bytes_put(&all, g->tensors.data, g->tensors.size);
  align(&all, alignment_of(g));
  bytes_put(&all, g->data.data, g->data.size);
  write_bytes(path, all.data, all.size);
  bytes_free(&all);
  bytes_free(&g->keys);
  bytes_free(&g->tensors);
  bytes_free(&g->data);
  *g = (struct gguf_maker){0};
}

#include "runtime/base/json.h"
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Set when an allocation has failed since json_use_mem, which Jansson may report as a syntax error or not at all.
static _Thread_local bool alloc_failed;

static void *alloc(size_t bytes) {
  void *p = mem_raw_alloc(bytes);
  if (!p) alloc_failed = true;
  return p;
}

void json_use_mem(void) {
  json_malloc_t m;
  json_free_t f;
  json_get_alloc_funcs(&m, &f);
  if (m != alloc) json_set_alloc_funcs(alloc, mem_raw_free);
  alloc_failed = false;
}

static json_t *load(const char *text, size_t size, json_error_t *je) {
  return json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, je);
}

// Length of the number that begins at s.
static size_t number_length(const char *s, size_t size) {
  size_t n = 0;
  if (s[0] != '-' && (s[0] < '0' || s[0] > '9')) return 0;
  while (n < size && s[n] && strchr("+-.0123456789eE", s[n])) n++;
  return n;
}

static bool is_wide(const char *number) {
  char *end;
  errno = 0;
  strtoll(number, &end, 10);
  return errno == ERANGE && !*end;
}

// The text with "e0" behind each integer beyond 64 bits, which makes it a real. NULL: no memory.
static char *widen(const char *s, size_t size, size_t *len) {
  char *out = alloc(size + size / 8 + 1); // such an integer has 19 digits or more
  bool quoted = false;
  *len = 0;
  for (size_t i = 0, n; out && i < size; i += n) {
    size_t number = quoted ? 0 : number_length(s + i, size - i);
    n = number ? number : quoted && s[i] == '\\' && i + 1 < size ? 2 : 1;
    if (s[i] == '"') quoted = !quoted;
    memcpy(out + *len, s + i, n);
    *len += n;
    out[*len] = 0;
    if (number && is_wide(out + *len - n)) {
      memcpy(out + *len, "e0", 2);
      *len += 2;
    }
  }
  return out;
}

// Jansson's integers have 64 bits, JSON's need not: Hugging Face writes 10^30 for a tokenizer without a greatest
// length.
static json_t *load_wide(const char *text, size_t size, json_error_t *je) {
  size_t len;
  char *wide = widen(text, size, &len);
  json_t *root = wide ? load(wide, len, je) : NULL;
  mem_raw_free(wide);
  return root;
}

json_t *json_read_memory(const void *data, size_t size, const char *name, struct err *e) {
  json_use_mem();
  json_error_t je;
  json_t *root = load(data ? data : "", size, &je);
  if (!root && json_error_code(&je) == json_error_numeric_overflow) root = load_wide(data, size, &je);
  if (root) return root;
  if (alloc_failed) err_no_memory(e, size, name);
  else err_set(e, "%s: line %d: not valid JSON: %s", name, je.line, je.text);
  return NULL;
}

json_t *json_read_file(const char *path, struct err *e) {
  struct file f;
  if (!file_map(&f, path, e)) return NULL;
  json_t *root = json_read_memory(f.data, f.size, path, e);
  file_unmap(&f);
  return root;
}

bool json_write_file(const char *path, const json_t *root, struct err *e) {
  bool missing = alloc_failed;
  json_use_mem();
  char *text = missing ? NULL : json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
  if (!text) return err_no_memory(e, 0, path);
  size_t n = strlen(text);
  text[n] = '\n'; // the string's end becomes the file's last newline
  bool ok = file_write(path, text, n + 1, e);
  mem_raw_free(text);
  return ok;
}

bool json_print(json_t *root, struct err *e) {
  char *text = root && !alloc_failed ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
  json_decref(root);
  if (!text)
    return alloc_failed ? err_no_memory(e, 0, "the JSON")
                        : err_set(e, "cannot write it as JSON: a name is not UTF-8, or a number not finite");
  bool ok = puts(text) != EOF && fflush(stdout) == 0;
  mem_raw_free(text);
  return ok || err_set(e, "cannot write the JSON to standard output");
}

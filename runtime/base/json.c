#include "runtime/base/json.h"
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include <stdio.h>
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

json_t *json_read_memory(const void *data, size_t size, const char *name, struct err *e) {
  json_use_mem();
  json_error_t je;
  json_t *root = json_loadb(data ? data : "", size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
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
  if (!text) return alloc_failed ? err_no_memory(e, 0, "the JSON") : err_set(e, "cannot write it as JSON: a name is not UTF-8, or a number not finite");
  bool ok = puts(text) != EOF && fflush(stdout) == 0;
  mem_raw_free(text);
  return ok || err_set(e, "cannot write the JSON to standard output");
}

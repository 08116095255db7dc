// GGUF version 3: metadata and tensor directory of a mapped file. Every count, offset, length and string is checked against the
// file's size before use.
#pragma once
#include "runtime/base/file.h"
#include "runtime/model/dtype.h"

enum gguf_type { GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64 };

struct gguf_string {
  const char *data; // not NUL-terminated
  uint64_t len;
};

struct gguf_value {
  struct gguf_string key;
  enum gguf_type type;    // of the value, or GGUF_ARRAY
  enum gguf_type element; // of an array's elements (arrays of arrays are refused)
  uint64_t count;         // of an array's elements, else 1
  const uint8_t *data;    // first element in the mapping, unaligned; strings are a u64 length and bytes
};

struct gguf_tensor {
  struct gguf_string name;
  uint32_t ggml_type;
  uint32_t dims;
  uint64_t shape[4]; // ggml order: innermost first
  uint64_t offset;   // from the start of the data section
};

struct gguf {
  struct file file;
  struct gguf_value *values;
  uint64_t num_values;
  struct gguf_tensor *tensors;
  uint64_t num_tensors;
  uint64_t data_offset; // of the data section in the file
  uint64_t alignment;
};

bool gguf_open(struct gguf *g, const char *path, struct err *e);
void gguf_close(struct gguf *g);
// NULL if there is no such key.
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);
// Scalars, converted; false with an error when missing (and no default) or of another type.
bool gguf_get_i64(const struct gguf *g, const char *key, int64_t *out, struct err *e);
bool gguf_get_f64(const struct gguf *g, const char *key, double *out, struct err *e);
bool gguf_get_string(const struct gguf *g, const char *key, struct gguf_string *out, struct err *e);
// The strings of a string array, in a new array of `count`; free with mem_free.
struct gguf_string *gguf_strings(const struct gguf *g, const struct gguf_value *v, struct err *e);

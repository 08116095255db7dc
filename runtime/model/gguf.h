// GGUF version 3: metadata and tensor directory of a mapped file. Every count, offset, length and string is checked
// against the file's size before use. Format: ggml's docs/gguf.md.
#pragma once
#include "runtime/base/file.h"

enum gguf_type { // the format's numbers
  GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY, GGUF_U64,
  GGUF_I64, GGUF_F64
};

enum { GGUF_MAX_DIMS = 4 };

struct gguf_string {
  const char *data; // not NUL-terminated
  uint64_t len;
};

struct gguf_value {
  struct gguf_string key; // valid UTF-8, no control characters, unique in the file
  enum gguf_type type;    // of the value, or GGUF_ARRAY
  enum gguf_type element; // of an array's elements (arrays of arrays are refused); else the type
  uint64_t count;         // of an array's elements, else 1
  const uint8_t *data;    // first element in the mapping, unaligned; a string is a u64 length and its bytes
};

struct gguf_tensor {
  struct gguf_string name;       // valid UTF-8, no control characters, unique in the file
  uint32_t ggml_type;            // ggml's number; not checked here
  uint32_t dims;                 // 1 to GGUF_MAX_DIMS
  uint64_t shape[GGUF_MAX_DIMS]; // innermost first; 1 beyond dims; positive, their product fits in int64_t
  uint64_t offset;               // in the data section; a multiple of the alignment, not checked against the size
};

struct gguf {
  struct file file;
  struct gguf_value *values;
  uint64_t num_values;
  struct gguf_tensor *tensors;
  uint64_t num_tensors;
  uint64_t data_offset; // of the data section in the file; at most its size
  uint64_t alignment;
};

// Maps and checks the file. Works for files without tensors (a vocabulary) too. Memory is proportional to the number of
// entries really there, whatever the header claims.
bool gguf_open(struct gguf *g, const char *path, struct err *e);
void gguf_close(struct gguf *g);
// NULL if there is no such key.
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);
// Scalars, converted (integers and bool to int64_t; integers and floats to double). False with an error that names file
// and key when it is missing or of another type; ask gguf_find first for what is optional.
bool gguf_get_i64(const struct gguf *g, const char *key, int64_t *out, struct err *e);
bool gguf_get_f64(const struct gguf *g, const char *key, double *out, struct err *e);
bool gguf_get_string(const struct gguf *g, const char *key, struct gguf_string *out, struct err *e);
// Element `index` < count of a value whose elements are integers or bool; false if they are of another type, or beyond
// int64_t.
bool gguf_element_i64(const struct gguf_value *v, uint64_t index, int64_t *out);
// Element `index` < count of a value whose elements are numbers; false if they are of another type.
bool gguf_element_f64(const struct gguf_value *v, uint64_t index, double *out);
// The strings of a string array (or of a string: one), in a new array of `count`; free with mem_free.
struct gguf_string *gguf_strings(const struct gguf *g, const struct gguf_value *v, struct err *e);
// "string", "u32" and so on.
const char *gguf_type_name(enum gguf_type t);

// A model as the forward pass sees it: the fused matrices of Phi-3's block over the mapped file. Nothing is copied; a
// row is converted when it is used.
#pragma once
#include "runtime/model/config.h"
#include "runtime/model/dtype.h"
#include "runtime/base/file.h"

// A tensor as the file has it.
struct tensor {
  const char *name; // points into memory owned by the model
  enum dtype type;
  int32_t dims;       // 1 or 2
  int64_t rows, cols; // [rows, cols], row-major; a vector is one row
  const void *data;   // in the mapping; may be unaligned
  int64_t bytes;
};

enum { MATRIX_MAX_PARTS = 3 };

// A matrix [rows, cols] made of up to three stored tensors one below the other (q, k, v; gate, up).
struct matrix {
  int64_t rows, cols;
  int32_t num_parts;
  struct matrix_part {
    const struct tensor *tensor;
    int64_t first_row;     // of the whole matrix
    int32_t pair_head_dim; // 0: stored order. Else rows come in heads of this many whose first `pair_rotary` rows are
                           // stored as neighbouring pairs
    int32_t pair_rotary;   // (2i, 2i + 1) and are seen here as (i, i + rotary / 2)
  } parts[MATRIX_MAX_PARTS];
};

struct layer_weights {
  const struct tensor *input_norm, *post_attention_norm; // [hidden]
  struct matrix qkv;     // [(heads + 2 kv_heads) head_dim, hidden]: q heads, k heads, v heads
  struct matrix o;       // [hidden, heads head_dim]
  struct matrix gate_up; // [2 intermediate, hidden]: gate, then up
  struct matrix down;    // [hidden, intermediate]
};

struct model {
  struct config config;
  char *path;                   // of the folder or file
  struct matrix embed;          // [vocab, hidden]
  struct layer_weights *layers; // [num_layers]
  const struct tensor *norm;    // [hidden]
  struct matrix head;           // [vocab, hidden]; the embedding when tied
  struct tensor *tensors;       // all tensors of the file(s), by name
  int64_t num_tensors;
  int64_t num_params;   // elements, tied ones once
  int64_t weight_bytes; // as stored, tied ones once
  struct file *files;   // mappings
  int32_t num_files;
  char *names; // storage of the tensors' names
};

// Opens a Hugging Face folder (config.json, *.safetensors) or a GGUF v3 file. Time and memory do not depend on the
// weights' size. Every name, type, shape and offset is checked.
bool model_open(struct model *m, const char *path, struct err *e);
void model_close(struct model *m);

// `path` itself if it exists, else the model of that name: "nano" (bundled), or a folder or .gguf file in $PHI3_MODELS
// (default ~/.cache/phi3). A new string to be freed with mem_free; NULL and an error that says how to get the model.
char *model_find(const char *path_or_name, struct err *e);

// Where row `row` of `m` is stored: the bytes, and its type.
const void *matrix_row(const struct matrix *m, int64_t row, enum dtype *type);
// Rows in the order in which they are stored: where the `row`-th lies, and how many rows from it on, at most `count`, lie
// one behind the other with the same type. It is row matrix_row_stored_at(m, row) of the matrix.
int64_t matrix_stored_rows(const struct matrix *m, int64_t row, int64_t count, const void **data, enum dtype *type);
int64_t matrix_row_stored_at(const struct matrix *m, int64_t stored);
bool matrix_stored_in_order(const struct matrix *m); // all rows lie where they are seen
// The row as fp32.
void matrix_row_f32(const struct matrix *m, int64_t row, float *dst);
// Bytes of all rows as stored.
int64_t matrix_bytes(const struct matrix *m);
// A vector as fp32 into dst[cols].
void tensor_to_f32(const struct tensor *t, float *dst);

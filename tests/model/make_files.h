// Small model files for tests, in a folder under $TMPDIR: raw safetensors and GGUF files tensor by tensor, and a whole
// random model that is the same in every format. Failures end the test program.
#pragma once
#include "runtime/model/dtype.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A fresh empty folder; free the path with free(). It and what it holds are removed by temp_dir_remove, which frees the
// path too.
char *temp_dir(void);
void temp_dir_remove(char *dir);
// dir/name, to be freed with free().
char *path_in(const char *dir, const char *name);
void write_bytes(const char *path, const void *data, size_t size);
void write_text(const char *path, const char *text);
// The whole file, to be freed with free().
uint8_t *read_bytes(const char *path, size_t *size);

struct bytes {
  uint8_t *data;
  size_t size, capacity;
};
void bytes_put(struct bytes *b, const void *data, size_t size);
void bytes_free(struct bytes *b);

// A safetensors file: start with zeros, put tensors, write (which empties the maker).
struct safetensors_maker {
  struct bytes header, data;
  uint64_t bytes; // of data so far
};
// rows = 0 makes a vector [cols]. `type` is written as given. Without data (NULL, for all tensors or none) the file's
// data is a hole that takes no room on the disk and reads as zeros.
void safetensors_put(struct safetensors_maker *s, const char *name, const char *type, int64_t rows, int64_t cols,
                     const void *data, size_t bytes);
void safetensors_write(struct safetensors_maker *s, const char *path);

// A GGUF file: start with zeros (and an alignment other than 32, if wanted), put keys and tensors, write (which empties
// the maker).
struct gguf_maker {
  struct bytes keys, tensors, data;
  uint64_t num_keys, num_tensors, alignment;
};
void gguf_put_u32(struct gguf_maker *g, const char *key, uint32_t v);
void gguf_put_i32s(struct gguf_maker *g, const char *key, const int32_t *v, uint64_t count);
void gguf_put_f32(struct gguf_maker *g, const char *key, float v);
void gguf_put_f32s(struct gguf_maker *g, const char *key, const float *v, uint64_t count);
void gguf_put_bool(struct gguf_maker *g, const char *key, bool v);
void gguf_put_string(struct gguf_maker *g, const char *key, const char *v);
void gguf_put_strings(struct gguf_maker *g, const char *key, const char *const *v, uint64_t count);
// rows = 0 makes a vector. `ggml_type` is ggml's number.
void gguf_put_tensor(struct gguf_maker *g, const char *name, uint32_t ggml_type, int64_t rows, int64_t cols,
                     const void *data, size_t bytes);
void gguf_write(struct gguf_maker *g, const char *path);

// A random model. Every element is a multiple of 1/128 between -1 and 1, so that F32, F16 and BF16 hold the same
// values.
struct sample {
  int32_t hidden, layers, heads, kv_heads, head_dim, intermediate, vocab, max_positions;
  int32_t window;       // 0: none
  float partial_rotary; // 1: all channels
  bool tied, longrope;  // longrope: original maximum is half of max_positions
  enum dtype type;      // of the matrices: F32, F16 or BF16; norms are F32 in GGUF
  int shards;           // of a Hugging Face folder; 1 has no index
  uint64_t seed;
};
// 2 layers, 4 heads of 8 on 2 key-value heads, hidden 24, vocabulary 40, window 6, F32, not tied.
struct sample sample_default(void);
// Element [row, col] of the tensor with this Hugging Face name.
float sample_value(const struct sample *s, const char *name, int64_t row, int64_t col);
// longrope's factors.
float sample_factor(const struct sample *s, bool is_long, int64_t i);
// Writes config.json and the safetensors into the folder, which exists. `more_config` goes into config.json's object:
// "" or
// "\"key\": value," ...
void sample_write_hf(const struct sample *s, const char *dir, const char *more_config);
// Puts all keys and tensors of a GGUF file of architecture "phi3" or "llama"; add more, and write.
void sample_put_gguf(const struct sample *s, struct gguf_maker *g, const char *architecture);
void sample_write_gguf(const struct sample *s, const char *path, const char *architecture);

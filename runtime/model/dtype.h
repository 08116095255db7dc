// Stored element types and the conversion of their rows to fp32.
#pragma once
#include "runtime/base/err.h"
#include <stdint.h>

enum dtype {
  DTYPE_F32,
  DTYPE_F16,
  DTYPE_BF16,
  DTYPE_Q8_0,
  DTYPE_Q4_0,
  DTYPE_Q4_1,
  DTYPE_Q4_K,
  DTYPE_Q5_K,
  DTYPE_Q6_K,
  DTYPE_COUNT
};

struct dtype_info {
  const char *name;    // as GGUF and safetensors print it
  int32_t block;       // elements of a block: 1, 32 or 256
  int32_t block_bytes; // bytes of a block
};

const struct dtype_info *dtype_info(enum dtype t);
// Bytes of a row of `n` elements; n is a multiple of the block.
int64_t dtype_row_bytes(enum dtype t, int64_t n);
// Converts `n` elements, a multiple of the block, to fp32: exact for F16 and BF16, the format's formula in fp32 for
// quantized types. `src` need not be aligned.
void dtype_to_f32(enum dtype t, const void *src, float *dst, int64_t n);

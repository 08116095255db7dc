// NumPy's .npy files, version 1.0: little-endian, C order.
#pragma once
#include "runtime/base/err.h"
#include <stdint.h>

enum { NPY_MAX_DIMS = 4, NPY_MAX_HEADER = 256 }; // four numbers of 19 digits and the words around them need 190 bytes

struct npy {
  char type[4]; // "f4", "f8", "i4", "i8", "f2", "u1"
  int dims;
  int64_t shape[NPY_MAX_DIMS];
  void *data;
};

// Writes the array whole or not at all. `type` as above.
bool npy_write(const char *path, const char *type, int dims, const int64_t *shape, const void *data, struct err *e);
// What stands before the elements in such a file; its length in bytes. For files written piece by piece.
size_t npy_header(char head[NPY_MAX_HEADER], const char *type, int dims, const int64_t *shape);
bool npy_read(struct npy *a, const char *path, struct err *e);
int64_t npy_count(const struct npy *a);
void npy_free(struct npy *a);

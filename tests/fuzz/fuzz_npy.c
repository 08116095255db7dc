// A .npy file.
#include "runtime/base/npy.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const struct memory_file file = {"a.npy", data, size};
  struct npy a;
  struct err e = {0};
  memory_files(&file, 1);
  if (!npy_read(&a, "a.npy", &e)) {
    fuzz_check_error(e.text, "a.npy");
    return 0;
  }
  char head[NPY_MAX_HEADER];
  fuzz_check(a.dims >= 0 && a.dims <= NPY_MAX_DIMS && npy_count(&a) >= 0 && (size_t)npy_count(&a) <= size);
  fuzz_check(npy_header(head, a.type, a.dims, a.shape) % 64 == 0);
  npy_free(&a);
  return 0;
}

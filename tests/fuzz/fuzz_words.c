// What is typed: ids, and the virtual GPU's list of failures.
#include "driver/driver.h"
#include "runtime/vgpu/check.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = malloc(size + 1);
  struct ids ids = {0};
  struct err e = {0};
  fuzz_check(text);
  if (size) memcpy(text, data, size);
  text[size] = 0;
  if (parse_ids(text, &ids, &e)) {
    for (int64_t i = 0; i < ids.count; i++) fuzz_check(ids.data[i] >= 0);
  } else fuzz_check(e.text[0]);
  ids_free(&ids);
  setenv("VGPU_LOG", "/dev/null", 0); // where it says what it cannot read
  vgpuFail(text);
  vgpuFail(NULL);
  vgpuFindingsReset();
  free(text);
  return 0;
}

// An image as cuModuleLoadData gets it, of a size that is known; and the same bytes to each decompressor.
#include "runtime/vgpu/fatbin.h"
#include "runtime/vgpu/nvinfo.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

enum { ROOM = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct vg_image image;
  char why[256];
  // A wrapper holds an address of this process, which is trusted as the driver API trusts it.
  bool wrapper = size >= 4 && memcmp(data, "\xb1\x43\x62\x46", 4) == 0;
  if (size && !wrapper) {
    int code = vg_image_open(data, size, &image, why, sizeof why);
    fuzz_check(code ? why[0] != 0 : image.ptx && strlen(image.ptx) == image.ptx_len);
    vg_image_free(&image);
  }
  uint8_t *out = malloc(ROOM);
  fuzz_check(out);
  long n = vg_lz4_block(data, size, out, ROOM);
  fuzz_check(n >= -1 && n <= ROOM);
  n = vg_zstd(data, size, out, ROOM);
  fuzz_check(n >= -1 && n <= ROOM);
  free(out);
  struct vg_kernel_info *info;
  size_t num;
  vg_nvinfo(data, size, &info, &num);
  free(info);
  return 0;
}

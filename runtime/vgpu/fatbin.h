// Finds the PTX in what nvcc embeds: a fat binary wrapper (magic 0x466243b1), a raw container (0xBA55ED50, several may
// follow one another), entries stored plain, as LZ4 or as Zstandard; or PTX text itself; or an ELF cubin (no PTX).
#ifndef VGPU_FATBIN_H
#define VGPU_FATBIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vg_kernel_info { // from ptxas' machine code for sm_75 in the same image
  char name[256];
  uint32_t regs, local_bytes;
};

struct vg_image {
  char *ptx;         // NUL-terminated, owned; the best PTX for sm_75
  size_t ptx_len;
  struct vg_kernel_info *info; // registers per kernel as ptxas assigned them; owned, may be NULL
  size_t num_info;
};

// Reads an image whose size is known (size > 0), or trusted as the driver API does (size 0: headers tell it; text ends with NUL).
// Returns a CUresult: 0; 209 no PTX that an sm_75 can use; 200 not an image; 2 no memory. why gets one sentence.
int vg_image_open(const void *data, size_t size, struct vg_image *out, char *why, size_t why_cap);
void vg_image_free(struct vg_image *img);

// Strict decompressors: the bytes written, or -1 for anything malformed or too large. Never read or write outside.
long vg_lz4_block(const uint8_t *src, size_t n, uint8_t *dst, size_t cap);
long vg_zstd(const uint8_t *src, size_t n, uint8_t *dst, size_t cap);

#endif

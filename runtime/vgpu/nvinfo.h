// What ptxas wrote about each kernel into a cubin's .nv.info: registers and stack.
#ifndef VGPU_NVINFO_H
#define VGPU_NVINFO_H

#include "runtime/vgpu/fatbin.h"

// Fills *info (owned by the caller) from an ELF image. false, and nothing, when it has none or is malformed.
bool vg_nvinfo(const uint8_t *elf, size_t n, struct vg_kernel_info **info, size_t *num);

#endif

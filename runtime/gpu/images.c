#include "runtime/gpu/gpu.h"

// PHI3_IMAGES lists the fatbins as IMAGE(name), in the folder PHI3_IMAGE_FOLDER; see CMakeLists.txt.
#ifdef PHI3_IMAGES
#define IMAGE(name)                                                                                                        \
  __asm__(".section .rodata\n.balign 64\nphi3_image_" #name ":\n.incbin \"" PHI3_IMAGE_FOLDER "/" #name ".fatbin\"\n.previous\n"); \
  extern const unsigned char phi3_image_##name[] __attribute__((visibility("hidden")));
PHI3_IMAGES
#undef IMAGE
#define IMAGE(name) {#name, phi3_image_##name},
const struct gpu_image gpu_images[] = {PHI3_IMAGES};
const int32_t gpu_num_images = sizeof gpu_images / sizeof *gpu_images;
const char gpu_images_cuda[] = PHI3_CUDA_VERSION;
#else
const struct gpu_image gpu_images[] = {{"none", NULL}};
const int32_t gpu_num_images = 0;
const char gpu_images_cuda[] = "none";
#endif

// cuLink*: enough to take one image through "linking". The result is the image itself, as a module load wants it.
#include "runtime/vgpu/api.h"
#include <stdlib.h>
#include <string.h>

struct link {
  CUlinkState handle;
  char *image; // NUL-terminated
  size_t size;
};

static struct link *link_of(CUlinkState s) { return vg_handle_get(s, VG_LINK); }

VG_API CUresult cuLinkCreate_v2(unsigned int numOptions, CUjit_option *options, void **optionValues, CUlinkState *stateOut) {
  API(VG_CTX);
  if (!stateOut || (numOptions && (!options || !optionValues))) return CUDA_ERROR_INVALID_VALUE;
  struct link *l = calloc(1, sizeof *l);
  if (!l) return CUDA_ERROR_OUT_OF_MEMORY;
  l->handle = vg_handle_new(VG_LINK, l);
  if (!l->handle) {
    free(l);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *stateOut = l->handle;
  return CUDA_SUCCESS;
}
ALSO(cuLinkCreate_v2, cuLinkCreate);

// Keeps the PTX of the image. A second one would need a linker.
static CUresult add(struct link *l, CUjitInputType type, const void *data, size_t size) {
  if (!l) return CUDA_ERROR_INVALID_HANDLE;
  if (!data || !size || (int)type < 0 || (int)type >= CU_JIT_NUM_INPUT_TYPES) return CUDA_ERROR_INVALID_VALUE;
  if (type != CU_JIT_INPUT_PTX && type != CU_JIT_INPUT_FATBINARY) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  if (l->image) return CUDA_ERROR_NOT_SUPPORTED;
  struct vg_image img;
  char why[256];
  CUresult r = (CUresult)vg_image_open(data, size, &img, why, sizeof why);
  if (r) return r;
  l->image = img.ptx, l->size = img.ptx_len;
  img.ptx = NULL;
  vg_image_free(&img);
  return CUDA_SUCCESS;
}

VG_API CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void *data, size_t size, const char *name, unsigned int numOptions,
                                 CUjit_option *options, void **optionValues) {
  API(VG_CTX);
  (void)name;
  if (numOptions && (!options || !optionValues)) return CUDA_ERROR_INVALID_VALUE;
  return add(link_of(state), type, data, size);
}
ALSO(cuLinkAddData_v2, cuLinkAddData);

VG_API CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char *path, unsigned int numOptions, CUjit_option *options,
                                 void **optionValues) {
  API(VG_CTX);
  if (numOptions && (!options || !optionValues)) return CUDA_ERROR_INVALID_VALUE;
  char *data;
  size_t size;
  CUresult r = vg_read_file(path, &data, &size);
  if (r) return r;
  r = add(link_of(state), type, data, size);
  free(data);
  return r;
}
ALSO(cuLinkAddFile_v2, cuLinkAddFile);

VG_API CUresult cuLinkComplete(CUlinkState state, void **cubinOut, size_t *sizeOut) {
  API(VG_CTX);
  struct link *l = link_of(state);
  if (!l) return CUDA_ERROR_INVALID_HANDLE;
  if (!cubinOut || !l->image) return CUDA_ERROR_INVALID_VALUE;
  *cubinOut = l->image;
  if (sizeOut) *sizeOut = l->size;
  return CUDA_SUCCESS;
}

VG_API CUresult cuLinkDestroy(CUlinkState state) {
  API(VG_CTX_ANY);
  struct link *l = link_of(state);
  if (!l) return CUDA_ERROR_INVALID_HANDLE;
  vg_handle_drop(state);
  free(l->image);
  free(l);
  return CUDA_SUCCESS;
}

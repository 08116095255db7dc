// The device: one Tesla T4. Figures are those that deviceQuery prints for a real one.
#include "runtime/vgpu/api.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEVICE_NAME "Tesla T4"
#define PCI_ID      "0000:00:04.0"

static const char uuid_bytes[16] = {'v', 'g', 'p', 'u', '-', 't', 'e', 's', 'l', 'a', '-', 't', '4', '-', '0', '1'};

// By CU_DEVICE_ATTRIBUTE_*; what is not listed is 0.
static const int attributes[] = {
    [1] = 1024, [2] = 1024, [3] = 1024, [4] = 64,         // threads of a block, block x y z
    [5] = 2147483647, [6] = 65535, [7] = 65535,           // grid x y z
    [8] = 49152, [9] = 65536, [10] = 32,                  // shared memory of a block, constant memory, warp
    [11] = 2147483647, [12] = 65536, [13] = 1590000,      // pitch, registers of a block, clock in kHz
    [14] = 512, [15] = 1, [16] = 40,                      // texture alignment, overlap, SMs
    [19] = 1,                                             // can map host memory
    [21] = 131072, [22] = 131072, [23] = 65536, [24] = 16384, [25] = 16384, [26] = 16384, // textures 1D 2D 3D
    [27] = 32768, [28] = 32768, [29] = 2048, [30] = 512,  // layered 2D; surface alignment
    [31] = 1, [32] = 1, [33] = 0, [34] = 4,               // concurrent kernels, ECC, PCI bus and device
    [36] = 5001000, [37] = 256, [38] = 4194304, [39] = 1024, // memory clock in kHz, bus, L2, threads of an SM
    [40] = 3, [41] = 1, [42] = 32768, [43] = 2048,        // copy engines, unified addressing, layered 1D
    [45] = 32768, [46] = 32768, [47] = 8192, [48] = 8192, [49] = 32768, // gather, alternate 3D
    [51] = 32, [52] = 32768, [53] = 32768, [54] = 2046,   // texture pitch, cube maps
    [55] = 32768, [56] = 131072, [57] = 65536, [58] = 16384, [59] = 16384, [60] = 16384, // surfaces
    [61] = 32768, [62] = 2048, [63] = 32768, [64] = 32768, [65] = 2048, [66] = 32768, [67] = 32768, [68] = 2046,
    [69] = 268435456, [70] = 131072, [71] = 65000, [72] = 2097120, [73] = 32768, [74] = 32768,
    [75] = 7, [76] = 5, [77] = 32768, [78] = 1, [79] = 1, [80] = 1, // 7.5; priorities, L1 caches
    [81] = 65536, [82] = 65536, [83] = 1,                 // shared memory and registers of an SM; managed memory
    [87] = 32, [88] = 0, [89] = 1, [90] = 1, [91] = 1,    // fp32:fp64, pageable access, concurrent managed, preemption, host pointers
    [95] = 1, [96] = 1, [97] = 65536, [98] = 0, [99] = 1, // cooperative launches, opt-in shared memory, host register
    [106] = 16, [111] = 0, [112] = 0, [113] = 0, [115] = 1, // blocks of an SM, reserved shared memory, memory pools
    [121] = 0, [129] = 0, [130] = 0, [131] = -1, [134] = -1,
};

VG_API CUresult cuDeviceGetCount(int *count) {
  API(VG_INIT);
  if (!count) return CUDA_ERROR_INVALID_VALUE;
  *count = 1;
  return CUDA_SUCCESS;
}

VG_API CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  API(VG_INIT);
  if (!device) return CUDA_ERROR_INVALID_VALUE;
  if (ordinal) return CUDA_ERROR_INVALID_DEVICE;
  *device = 0;
  return CUDA_SUCCESS;
}

VG_API CUresult cuDeviceGetName(char *name, int len, CUdevice dev) {
  API(VG_INIT);
  if (!name || len <= 0) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  snprintf(name, (size_t)len, "%s", DEVICE_NAME);
  return CUDA_SUCCESS;
}

VG_API CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev) {
  API(VG_INIT);
  if (!uuid) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  memcpy(uuid->bytes, uuid_bytes, sizeof uuid->bytes);
  return CUDA_SUCCESS;
}
ALSO(cuDeviceGetUuid, cuDeviceGetUuid_v2);

VG_API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev) {
  API(VG_INIT);
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  *bytes = VG_DEVICE_BYTES;
  return CUDA_SUCCESS;
}

VG_API CUresult cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev) {
  API(VG_INIT);
  if (!pi || attrib < 1 || attrib > 200) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  *pi = (size_t)attrib < sizeof attributes / sizeof *attributes ? attributes[attrib] : 0;
  return CUDA_SUCCESS;
}

VG_API CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev) {
  API(VG_INIT);
  if (!major || !minor) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  *major = 7, *minor = 5;
  return CUDA_SUCCESS;
}

VG_API CUresult cuDeviceGetProperties(CUdevprop *prop, CUdevice dev) {
  API(VG_INIT);
  if (!prop) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  *prop = (CUdevprop){.maxThreadsPerBlock = 1024, .maxThreadsDim = {1024, 1024, 64}, .maxGridSize = {2147483647, 65535, 65535},
                      .sharedMemPerBlock = 49152, .totalConstantMemory = 65536, .SIMDWidth = 32, .memPitch = 2147483647,
                      .regsPerBlock = 65536, .clockRate = 1590000, .textureAlign = 512};
  return CUDA_SUCCESS;
}

VG_API CUresult cuDeviceGetPCIBusId(char *pciBusId, int len, CUdevice dev) {
  API(VG_INIT);
  if (!pciBusId || len < (int)sizeof PCI_ID) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  strcpy(pciBusId, PCI_ID);
  return CUDA_SUCCESS;
}

VG_API CUresult cuDeviceGetByPCIBusId(CUdevice *dev, const char *pciBusId) {
  API(VG_INIT);
  if (!dev || !pciBusId) return CUDA_ERROR_INVALID_VALUE;
  if (strcasecmp(pciBusId, PCI_ID) && strcasecmp(pciBusId, &PCI_ID[5])) return CUDA_ERROR_INVALID_DEVICE;
  *dev = 0;
  return CUDA_SUCCESS;
}

VG_API CUresult cuDeviceCanAccessPeer(int *canAccessPeer, CUdevice dev, CUdevice peerDev) {
  API(VG_INIT);
  if (!canAccessPeer) return CUDA_ERROR_INVALID_VALUE;
  if (dev || peerDev) return CUDA_ERROR_INVALID_DEVICE;
  *canAccessPeer = 0;
  return CUDA_SUCCESS;
}

VG_API CUresult cuDeviceGetExecAffinitySupport(int *pi, CUexecAffinityType type, CUdevice dev) {
  API(VG_INIT);
  if (!pi) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  (void)type; // limiting SMs needs MPS
  *pi = 0;
  return CUDA_SUCCESS;
}

VG_API CUresult cuGetExportTable(const void **ppExportTable, const CUuuid *pExportTableId) {
  if (!ppExportTable || !pExportTableId) return CUDA_ERROR_INVALID_VALUE;
  *ppExportTable = NULL;
  return CUDA_ERROR_NOT_SUPPORTED;
}

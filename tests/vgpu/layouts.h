// Sizes and offsets of the driver API's structs, as whatever header was included before says. See test_names.c.
struct layout {
  const char *name;
  size_t value;
};

#define SIZE(type) {"sizeof " #type, sizeof(type)}
#define AT(type, field) {#type "." #field, offsetof(type, field)}
#define VALUE(name) {#name, (size_t)(name)}

static const struct layout layouts[] = {
    SIZE(CUDA_MEMCPY2D), AT(CUDA_MEMCPY2D, srcDevice), AT(CUDA_MEMCPY2D, dstXInBytes), AT(CUDA_MEMCPY2D, dstPitch), AT(CUDA_MEMCPY2D, Height),
    SIZE(CUDA_MEMCPY3D), AT(CUDA_MEMCPY3D, srcHost), AT(CUDA_MEMCPY3D, srcHeight), AT(CUDA_MEMCPY3D, dstMemoryType), AT(CUDA_MEMCPY3D, Depth),
    SIZE(CUDA_KERNEL_NODE_PARAMS_v1), SIZE(CUDA_KERNEL_NODE_PARAMS), AT(CUDA_KERNEL_NODE_PARAMS, kernelParams), AT(CUDA_KERNEL_NODE_PARAMS, kern),
    SIZE(CUDA_MEMSET_NODE_PARAMS), AT(CUDA_MEMSET_NODE_PARAMS, width), SIZE(CUDA_HOST_NODE_PARAMS), SIZE(CUDA_MEMCPY_NODE_PARAMS),
    AT(CUDA_MEMCPY_NODE_PARAMS, copyParams), SIZE(CUgraphNodeParams), AT(CUgraphNodeParams, kernel), AT(CUgraphNodeParams, reserved2),
    SIZE(CUgraphEdgeData), SIZE(CUDA_GRAPH_INSTANTIATE_PARAMS), AT(CUDA_GRAPH_INSTANTIATE_PARAMS, result_out), SIZE(CUgraphExecUpdateResultInfo),
    AT(CUgraphExecUpdateResultInfo, errorFromNode), SIZE(CUlaunchAttributeValue), SIZE(CUlaunchAttribute), AT(CUlaunchAttribute, value),
    SIZE(CUlaunchConfig), AT(CUlaunchConfig, hStream), AT(CUlaunchConfig, numAttrs), SIZE(CUmemPoolProps), AT(CUmemPoolProps, location),
    SIZE(CUmemAccessDesc), SIZE(CUexecAffinityParam), SIZE(CUctxCreateParams), AT(CUctxCreateParams, cigParams), SIZE(CUdevprop),
    AT(CUdevprop, clockRate), SIZE(CUuuid), SIZE(CUdeviceptr), SIZE(CUdevice), SIZE(CUresult),
    VALUE(CU_STREAM_CAPTURE_MODE_RELAXED), VALUE(CU_STREAM_CAPTURE_STATUS_INVALIDATED), VALUE(CU_MEMORYTYPE_UNIFIED),
    VALUE(CU_GRAPH_NODE_TYPE_EVENT_RECORD), VALUE(CU_GRAPH_NODE_TYPE_MEM_FREE), VALUE(CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED),
    VALUE(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES), VALUE(CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE),
    VALUE(CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES), VALUE(CU_JIT_INPUT_FATBINARY), VALUE(CU_LIMIT_MALLOC_HEAP_SIZE),
    VALUE(CU_LAUNCH_ATTRIBUTE_COOPERATIVE), VALUE(CU_LAUNCH_ATTRIBUTE_PRIORITY), VALUE(CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE),
    VALUE(CU_POINTER_ATTRIBUTE_RANGE_SIZE), VALUE(CU_MEMPOOL_ATTR_USED_MEM_HIGH), VALUE(CU_MEM_LOCATION_TYPE_DEVICE),
    VALUE(CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY), VALUE(CU_MEM_ATTACH_SINGLE), VALUE(CU_EVENT_INTERPROCESS),
    VALUE(CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT), VALUE(CU_LAUNCH_PARAM_BUFFER_SIZE), VALUE(CU_STREAM_PER_THREAD),
#define X(name, code, text) VALUE(name),
#include "runtime/vgpu/cuerrors.inc"
#undef X
    {NULL, 0}};

// Launches: the checks before, the parameters, the interpreter, what a fault leaves behind.
#include "runtime/vgpu/api.h"
#include "runtime/vgpu/profile.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_THREADS     1024
#define SM_REGISTERS    65536
#define SM_SHARED       65536
#define SM_WARPS        32
#define SM_BLOCKS       16
#define NUM_SMS         40
#define WARP_REGS_UNIT  256 // registers are given to a warp in such pieces
#define WARPS_UNIT      4   // one scheduler each
#define SHARED_UNIT     256
#define MAX_HOST_THREADS 64

static struct vgpu_pool *pool; // under the API's lock

static struct vgpu_pool *get_pool(void) {
  if (pool) return pool;
  const char *s = getenv("VGPU_THREADS");
  long n = s && *s ? strtol(s, NULL, 10) : sysconf(_SC_NPROCESSORS_ONLN);
  pool = vgpu_pool_open(n < 1 ? 1 : n > MAX_HOST_THREADS ? MAX_HOST_THREADS : (unsigned)n);
  return pool;
}

void vg_launch_shutdown(void) {
  if (pool) vgpu_pool_close(pool);
  vgpu_profile_shutdown();
  pool = NULL;
}

static uint32_t round_up(uint32_t v, uint32_t to) { return (v + to - 1) / to * to; }

// The limits of an SM, after cuda_occupancy.h.
int vg_blocks_per_sm(const struct vg_function *f, unsigned threads, size_t dynamic) {
  if (!threads || threads > f->code->max_threads) return 0;
  uint32_t warps = (threads + 31) / 32, blocks = SM_BLOCKS, n;
  if ((n = SM_WARPS / warps) < blocks) blocks = n;
  uint32_t per_warp = round_up(f->regs * 32, WARP_REGS_UNIT);
  if (f->regs > 255) return 0;
  if (f->regs) {
    uint32_t fit = SM_REGISTERS / WARPS_UNIT / per_warp * WARPS_UNIT;
    if ((n = fit / round_up(warps, WARPS_UNIT)) < blocks) blocks = n;
  }
  if (dynamic > SM_SHARED) return 0;
  uint32_t shared = round_up(f->code->static_shared + (uint32_t)dynamic, SHARED_UNIT);
  if (shared > SM_SHARED) return 0;
  if (shared && (n = SM_SHARED / shared) < blocks) blocks = n;
  return (int)blocks;
}

static CUresult refuse(CUresult r, const char *name, const char *why, unsigned long long have, unsigned long long limit) {
  vg_report_host(VG_LAUNCH_LIMIT, "kernel %s: %s (%llu, at most %llu)", name, why, have, limit);
  return r;
}

static CUresult check_shape(const struct vg_kernel_work *k) {
  static const unsigned grid_max[3] = {2147483647, 65535, 65535}, block_max[3] = {1024, 1024, 64};
  const char *name = k->f->code->name;
  uint64_t threads = 1;
  for (int i = 0; i < 3; i++) {
    if (!k->grid[i] || !k->block[i]) return CUDA_ERROR_INVALID_VALUE;
    if (k->grid[i] > grid_max[i]) return refuse(CUDA_ERROR_INVALID_VALUE, name, "too many blocks in a dimension", k->grid[i], grid_max[i]);
    if (k->block[i] > block_max[i]) return refuse(CUDA_ERROR_INVALID_VALUE, name, "too many threads in a dimension", k->block[i], block_max[i]);
    threads *= k->block[i];
  }
  if (threads > MAX_THREADS) return refuse(CUDA_ERROR_INVALID_VALUE, name, "too many threads in a block", threads, MAX_THREADS);
  if (threads > k->f->code->max_threads)
    return refuse(CUDA_ERROR_INVALID_VALUE, name, "more threads than its launch bounds promise", threads, k->f->code->max_threads);
  const uint32_t *req = k->f->code->ptx->reqntid;
  for (int i = 0; req[0] && i < 3; i++)
    if (k->block[i] != (req[i] ? req[i] : 1)) return refuse(CUDA_ERROR_INVALID_VALUE, name, "not the block size that it requires", k->block[i], req[i]);
  return CUDA_SUCCESS;
}

CUresult vg_kernel_check(struct vg_context *ctx, const struct vg_kernel_work *k) {
  const struct vg_function *f = k->f;
  const char *name = f->code->name;
  if (f->module->ctx != ctx) return CUDA_ERROR_INVALID_HANDLE;
  CUresult r = check_shape(k);
  if (r) return r;
  unsigned threads = k->block[0] * k->block[1] * k->block[2];
  if (k->shared > f->max_dynamic_shared)
    return refuse(CUDA_ERROR_INVALID_VALUE, name, "more dynamic shared memory than it may have, see MAX_DYNAMIC_SHARED_SIZE_BYTES", k->shared,
                  f->max_dynamic_shared);
  uint32_t regs = round_up(f->regs * 32, WARP_REGS_UNIT) * round_up((threads + 31) / 32, WARPS_UNIT);
  if (regs > SM_REGISTERS) return refuse(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, name, "too many registers for this block size", regs, SM_REGISTERS);
  uint64_t blocks = (uint64_t)k->grid[0] * k->grid[1] * k->grid[2];
  uint64_t resident = (uint64_t)vg_blocks_per_sm(f, threads, k->shared) * NUM_SMS;
  if (k->cooperative && blocks > resident)
    return refuse(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, name, "more blocks than can be resident at once", blocks, resident);
  return CUDA_SUCCESS;
}

// Offsets as PTX lays parameters out: each at its own alignment.
static uint32_t next_offset(uint32_t at, const struct ptx_var *p) { return p->align > 1 ? (at + p->align - 1) / p->align * p->align : at; }

static CUresult pack_pointers(const struct vg_function *f, void **params, uint8_t *out) {
  uint32_t at = 0;
  int i = 0;
  for (const struct ptx_var *p = f->code->ptx->params; p; p = p->next, i++) {
    at = next_offset(at, p);
    if (!params[i] || at + p->size > f->code->param_bytes) return CUDA_ERROR_INVALID_VALUE;
    memcpy(out + at, params[i], p->size);
    at += (uint32_t)p->size;
  }
  return CUDA_SUCCESS;
}

static CUresult pack_buffer(const struct vg_function *f, void **extra, uint8_t *out) {
  const void *buffer = NULL;
  const size_t *size = NULL;
  for (int i = 0; i < 16 && extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
    if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER) buffer = extra[i + 1];
    else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE) size = extra[i + 1];
    else return CUDA_ERROR_INVALID_VALUE;
  }
  if (!buffer || !size || *size < f->code->param_bytes) return CUDA_ERROR_INVALID_VALUE;
  memcpy(out, buffer, f->code->param_bytes);
  return CUDA_SUCCESS;
}

CUresult vg_kernel_pack(const struct vg_function *f, void **params, void **extra, uint8_t **out) {
  *out = NULL;
  if (params && extra) return CUDA_ERROR_INVALID_VALUE;
  if (!f->code->param_bytes) return CUDA_SUCCESS;
  if (!params && !extra) return CUDA_ERROR_INVALID_VALUE;
  *out = calloc(1, f->code->param_bytes + 16);
  if (!*out) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult r = params ? pack_pointers(f, params, *out) : pack_buffer(f, extra, *out);
  if (r) {
    free(*out);
    *out = NULL;
  }
  return r;
}

CUresult vg_kernel_run(struct vg_context *ctx, struct vg_kernel_work *k) {
  const char *seed = getenv("VGPU_SEED");
  struct vgpu_pool *p = get_pool();
  if (!p) return CUDA_ERROR_OUT_OF_MEMORY;
  static const uint8_t none[16];
  struct vgpu_launch l = {.code = k->f->module->code, .kernel = k->f->code, .grid = {k->grid[0], k->grid[1], k->grid[2]},
                          .block = {k->block[0], k->block[1], k->block[2]}, .dynamic_shared = k->shared, .params = k->params ? k->params : none,
                          .seed = seed ? strtoull(seed, NULL, 10) : 0, .stack_limit = (uint32_t)ctx->limit[CU_LIMIT_STACK_SIZE],
                          .cooperative = k->cooperative};
  struct vgpu_launch_facts facts = {.kernel = k->f->code->name, .code = l.code, .func = l.kernel, .grid = {k->grid[0], k->grid[1], k->grid[2]},
                                    .block = {k->block[0], k->block[1], k->block[2]}, .registers = k->f->regs,
                                    .static_shared = k->f->code->static_shared, .dynamic_shared = k->shared, .local_bytes = k->f->local_bytes};
  struct vgpu_profile *profile = vgpu_profile_current();
  struct vgpu_profile_launch *counted = profile ? vgpu_profile_begin(profile, &facts) : NULL;
  if (counted) l.observer = vgpu_profile_observer(counted);
  CUresult r = (CUresult)vgpu_exec(p, &l);
  if (counted) vgpu_profile_end(counted, r == CUDA_SUCCESS);
  if (r == CUDA_SUCCESS || r == CUDA_ERROR_OUT_OF_MEMORY || r == CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES) return r;
  ctx->sticky = r; // a real launch has returned long before it faults: the next call tells
  vg_print_flush();
  return CUDA_SUCCESS;
}

// ---- the functions ----

static CUresult launch(struct vg_context *ctx, CUfunction f, const unsigned grid[3], const unsigned block[3], unsigned shared, CUstream stream,
                       void **params, void **extra, bool cooperative, int priority) {
  struct vg_function *fn = vg_function_of(f);
  if (!fn) return CUDA_ERROR_INVALID_HANDLE;
  if (!vg_stream_of(ctx, stream)) return CUDA_ERROR_INVALID_HANDLE;
  struct vg_work w = {.kind = VG_WORK_KERNEL,
                      .kernel = {.f = fn, .handle = fn->handle, .shared = shared, .cooperative = cooperative, .priority = priority}};
  memcpy(w.kernel.grid, grid, sizeof w.kernel.grid);
  memcpy(w.kernel.block, block, sizeof w.kernel.block);
  CUresult r = vg_kernel_check(ctx, &w.kernel);
  if (r) return r;
  r = vg_kernel_pack(fn, params, extra, &w.kernel.params);
  if (!r) r = vg_submit(ctx, stream, &w);
  free(w.kernel.params);
  return r;
}

VG_API CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX,
                               unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams,
                               void **extra) {
  API(VG_CTX);
  unsigned grid[3] = {gridDimX, gridDimY, gridDimZ}, block[3] = {blockDimX, blockDimY, blockDimZ};
  return launch(call.ctx, f, grid, block, sharedMemBytes, hStream, kernelParams, extra, false, 0);
}
ALSO(cuLaunchKernel, cuLaunchKernel_ptsz);

VG_API CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra) {
  API(VG_CTX);
  if (!config || (config->numAttrs && !config->attrs)) return CUDA_ERROR_INVALID_VALUE;
  bool cooperative = false;
  int priority = 0;
  for (unsigned i = 0; i < config->numAttrs; i++) {
    const CUlaunchAttribute *a = &config->attrs[i];
    if (a->id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) cooperative = a->value.cooperative != 0;
    else if (a->id == CU_LAUNCH_ATTRIBUTE_PRIORITY) priority = a->value.priority;
    else if (a->id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION && (a->value.clusterDim.x | a->value.clusterDim.y | a->value.clusterDim.z) > 1)
      return CUDA_ERROR_INVALID_CLUSTER_SIZE; // a T4 has no clusters
  }
  unsigned grid[3] = {config->gridDimX, config->gridDimY, config->gridDimZ}, block[3] = {config->blockDimX, config->blockDimY, config->blockDimZ};
  return launch(call.ctx, f, grid, block, config->sharedMemBytes, config->hStream, kernelParams, extra, cooperative, priority);
}
ALSO(cuLaunchKernelEx, cuLaunchKernelEx_ptsz);

VG_API CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX,
                                          unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                                          void **kernelParams) {
  API(VG_CTX);
  unsigned grid[3] = {gridDimX, gridDimY, gridDimZ}, block[3] = {blockDimX, blockDimY, blockDimZ};
  return launch(call.ctx, f, grid, block, sharedMemBytes, hStream, kernelParams, NULL, true, 0);
}
ALSO(cuLaunchCooperativeKernel, cuLaunchCooperativeKernel_ptsz);

// Modules: from an image to decoded code with its variables placed; functions and globals by name.
#include "runtime/vgpu/api.h"
#include <stdlib.h>
#include <string.h>

#define CONST_BYTES 65536

// ---- the log that JIT options ask for ----

struct jit {
  char *error_log;
  size_t error_cap;
  void **error_used, **info_used; // the option's value: bytes written
  char *info_log;
  size_t info_cap;
};

static void read_options(struct jit *j, unsigned n, const CUjit_option *options, void **values) {
  memset(j, 0, sizeof *j);
  for (unsigned i = 0; options && values && i < n; i++) {
    switch ((int)options[i]) {
    case CU_JIT_ERROR_LOG_BUFFER: j->error_log = values[i]; break;
    case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES: j->error_cap = (uint32_t)(uintptr_t)values[i], j->error_used = &values[i]; break;
    case CU_JIT_INFO_LOG_BUFFER: j->info_log = values[i]; break;
    case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES: j->info_cap = (uint32_t)(uintptr_t)values[i], j->info_used = &values[i]; break;
    default: break; // the rest steers an optimizer that is not here
    }
  }
}

static void log_error(struct jit *j, const char *text) {
  size_t n = 0;
  if (j->error_log && j->error_cap) {
    snprintf(j->error_log, j->error_cap, "%s", text);
    n = strlen(j->error_log);
  }
  if (j->error_used) *j->error_used = (void *)(uintptr_t)n;
  if (j->info_log && j->info_cap) j->info_log[0] = 0;
  if (j->info_used) *j->info_used = NULL;
}

// ---- loading ----

static CUresult error_of(const struct ptx_error *e) {
  switch (e->status) {
  case PTX_VERSION: return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
  case PTX_NO_MEMORY: return CUDA_ERROR_OUT_OF_MEMORY;
  default: return CUDA_ERROR_INVALID_PTX;
  }
}

static void free_variables(struct vg_module *m) {
  for (struct ptx_var *v = NULL; (v = vgpu_next_var(m->code, v));)
    if (v->address) vg_mem_free(v->address, v->space == PTX_CONST ? VG_MEM_CONST : VG_MEM_GLOBAL, NULL);
}

static CUresult place_variables(struct vg_module *m, char *why, size_t cap) {
  uint64_t constants = 0;
  for (struct ptx_var *v = NULL; (v = vgpu_next_var(m->code, v));) {
    bool is_const = v->space == PTX_CONST;
    if (is_const) constants += v->size;
    if (!v->size && v->linkage == PTX_EXTERN) {
      snprintf(why, cap, "undefined variable %s", v->name);
      return CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND;
    }
    v->address = vg_mem_alloc(v->size ? v->size : 1, v->align, is_const ? VG_MEM_CONST : VG_MEM_GLOBAL, v->name, m->ctx, true);
    if (!v->address) return CUDA_ERROR_OUT_OF_MEMORY;
  }
  if (constants > CONST_BYTES) {
    snprintf(why, cap, "%llu bytes of constant data, a device has %d", (unsigned long long)constants, CONST_BYTES);
    return CUDA_ERROR_INVALID_PTX;
  }
  for (struct ptx_var *v = NULL; (v = vgpu_next_var(m->code, v));) {
    uint8_t *host;
    if (v->size && vg_mem_range(v->address, v->size, &host, NULL)) vgpu_var_bytes(m->code, v, host);
  }
  return CUDA_SUCCESS;
}

// What ptxas assigned, where the image has machine code; else from the registers that are live at once in PTX, with room for
// addresses and the stack pointer as ptxas takes it.
static void set_registers(struct vg_function *f, const struct vg_image *img) {
  f->local_bytes = f->code->stack_bytes;
  for (size_t i = 0; i < img->num_info; i++) {
    if (strcmp(img->info[i].name, f->code->name)) continue;
    f->regs = img->info[i].regs, f->local_bytes = img->info[i].local_bytes, f->regs_from_ptxas = true;
    return;
  }
  uint32_t r = f->code->max_live_regs + 6, cap = 255;
  const struct ptx_func *p = f->code->ptx;
  if (p->maxnreg && p->maxnreg < cap) cap = p->maxnreg;
  uint32_t fit = 65536 / (f->code->max_threads ? f->code->max_threads : 1024) / 8 * 8;
  if (p->maxntid[0] && fit < cap) cap = fit;
  f->regs = r < 16 ? 16 : r > cap ? cap : r;
}

static CUresult make_functions(struct vg_module *m, const struct vg_image *img) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < m->code->num_funcs; i++) n += m->code->funcs[i].ptx->is_entry;
  m->functions = calloc(n ? n : 1, sizeof *m->functions);
  if (!m->functions) return CUDA_ERROR_OUT_OF_MEMORY;
  for (uint32_t i = 0; i < m->code->num_funcs; i++) {
    if (!m->code->funcs[i].ptx->is_entry) continue;
    struct vg_function *f = &m->functions[m->num_functions];
    *f = (struct vg_function){.module = m, .code = &m->code->funcs[i], .carveout = -1};
    f->max_dynamic_shared = f->code->static_shared < 49152 ? 49152 - f->code->static_shared : 0;
    set_registers(f, img);
    f->handle = vg_handle_new(VG_FUNCTION, f);
    m->num_functions++;
    if (!f->handle) return CUDA_ERROR_OUT_OF_MEMORY;
  }
  return CUDA_SUCCESS;
}

void vg_module_unload(struct vg_module *m) {
  for (uint32_t i = 0; i < m->num_functions; i++) {
    vg_handle_drop(m->functions[i].handle);
    if (m->functions[i].kernel) vg_handle_drop(m->functions[i].kernel);
  }
  if (m->code) {
    vg_forget_module(m->code);
    free_variables(m);
    vgpu_code_free(m->code);
  }
  if (m->handle) vg_handle_drop(m->handle);
  if (m->library) vg_handle_drop(m->library);
  free(m->functions);
  free(m);
}

static CUresult build(struct vg_module *m, const struct vg_image *img, char *why, size_t cap) {
  struct ptx_error e = {0};
  struct ptx_module *p = ptx_parse(img->ptx, img->ptx_len, &e);
  m->code = p ? vgpu_decode(p, &e) : NULL;
  if (!m->code) {
    snprintf(why, cap, "ptxas application ptx input, line %d; error   : %s", e.line, e.text);
    return error_of(&e);
  }
  CUresult r = place_variables(m, why, cap);
  if (r) return r;
  vgpu_link(m->code);
  return make_functions(m, img);
}

CUresult vg_module_load(struct vg_context *ctx, const void *image, size_t size, unsigned n, CUjit_option *options, void **values,
                        struct vg_module **out) {
  struct jit jit;
  struct vg_image img;
  char why[768] = "";
  read_options(&jit, n, options, values);
  CUresult r = (CUresult)vg_image_open(image, size, &img, why, sizeof why);
  struct vg_module *m = r ? NULL : calloc(1, sizeof *m);
  if (!r && !m) r = CUDA_ERROR_OUT_OF_MEMORY;
  if (m) {
    m->ctx = ctx;
    r = build(m, &img, why, sizeof why);
    if (!r && !(m->handle = vg_handle_new(VG_MODULE, m))) r = CUDA_ERROR_OUT_OF_MEMORY;
  }
  vg_image_free(&img);
  log_error(&jit, why);
  if (r && m) vg_module_unload(m);
  if (r && why[0]) vg_report_host(VG_BAD_HOST_CALL, "module refused: %s", why);
  if (!r) *out = m;
  return r;
}

static bool of_context(void *object, void *arg) {
  struct vg_module *m = object;
  struct { struct vg_context *ctx; struct vg_module *found; } *a = arg;
  if (m->ctx == a->ctx) a->found = m;
  return !a->found;
}

void vg_modules_unload_all(struct vg_context *ctx) {
  struct { struct vg_context *ctx; struct vg_module *found; } a = {ctx, NULL};
  while (vg_handle_each(VG_MODULE, of_context, &a), a.found) {
    vg_module_unload(a.found);
    a.found = NULL;
  }
}

CUresult vg_read_file(const char *path, char **data, size_t *size) {
  FILE *f = path ? fopen(path, "rb") : NULL;
  if (!f) return path ? CUDA_ERROR_FILE_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
  size_t cap = 0, n = 0;
  char *p = NULL;
  CUresult r = CUDA_SUCCESS;
  for (size_t got = 1; got && !r;) {
    if (n + 1 >= cap) {
      cap = cap ? cap * 2 : 65536;
      char *q = realloc(p, cap);
      if (!q) r = CUDA_ERROR_OUT_OF_MEMORY;
      else p = q;
    }
    if (!r) n += got = fread(p + n, 1, cap - n - 1, f);
  }
  if (!r && (ferror(f) || !n)) r = CUDA_ERROR_INVALID_IMAGE;
  fclose(f);
  if (r) {
    free(p);
    return r;
  }
  p[n] = 0;
  *data = p, *size = n;
  return CUDA_SUCCESS;
}

struct vg_function *vg_function_of(CUfunction f) {
  struct vg_function *p = vg_handle_get(f, VG_FUNCTION);
  return p ? p : vg_handle_get(f, VG_KERNEL);
}

// ---- the functions ----

static CUresult load(struct vg_context *ctx, CUmodule *module, const void *image, size_t size, unsigned n, CUjit_option *options, void **values) {
  struct vg_module *m;
  if (!module || !image || (n && (!options || !values))) return CUDA_ERROR_INVALID_VALUE;
  CUresult r = vg_module_load(ctx, image, size, n, options, values, &m);
  if (!r) *module = m->handle;
  return r;
}

VG_API CUresult cuModuleLoad(CUmodule *module, const char *fname) {
  API(VG_CTX | VG_UNSAFE);
  char *data;
  size_t size;
  CUresult r = vg_read_file(fname, &data, &size);
  if (r) return r;
  r = load(call.ctx, module, data, size, 0, NULL, NULL);
  free(data);
  return r;
}

VG_API CUresult cuModuleLoadData(CUmodule *module, const void *image) {
  API(VG_CTX | VG_UNSAFE);
  return load(call.ctx, module, image, 0, 0, NULL, NULL);
}

VG_API CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int numOptions, CUjit_option *options, void **optionValues) {
  API(VG_CTX | VG_UNSAFE);
  return load(call.ctx, module, image, 0, numOptions, options, optionValues);
}

VG_API CUresult cuModuleLoadFatBinary(CUmodule *module, const void *fatCubin) {
  API(VG_CTX | VG_UNSAFE);
  return load(call.ctx, module, fatCubin, 0, 0, NULL, NULL);
}

static struct vg_module *module_of(CUmodule m) { return vg_handle_get(m, VG_MODULE); }

VG_API CUresult cuModuleUnload(CUmodule hmod) {
  API(VG_CTX_ANY);
  struct vg_module *m = module_of(hmod);
  if (!m) return CUDA_ERROR_INVALID_HANDLE;
  if (m->library) return CUDA_ERROR_NOT_PERMITTED;
  vg_print_flush();
  vg_module_unload(m);
  return CUDA_SUCCESS;
}

VG_API CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode) {
  API(VG_INIT);
  if (!mode) return CUDA_ERROR_INVALID_VALUE;
  *mode = (CUmoduleLoadingMode)1; // eager
  return CUDA_SUCCESS;
}

static struct vg_function *named(const struct vg_module *m, const char *name) {
  for (uint32_t i = 0; i < m->num_functions; i++)
    if (!strcmp(m->functions[i].code->name, name)) return &m->functions[i];
  return NULL;
}

VG_API CUresult cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name) {
  API(VG_CTX);
  struct vg_module *m = module_of(hmod);
  if (!hfunc || !name) return CUDA_ERROR_INVALID_VALUE;
  if (!m) return CUDA_ERROR_INVALID_HANDLE;
  struct vg_function *f = named(m, name);
  if (!f) return CUDA_ERROR_NOT_FOUND;
  *hfunc = f->handle;
  return CUDA_SUCCESS;
}

VG_API CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule mod) {
  API(VG_CTX);
  struct vg_module *m = module_of(mod);
  if (!count) return CUDA_ERROR_INVALID_VALUE;
  if (!m) return CUDA_ERROR_INVALID_HANDLE;
  *count = m->num_functions;
  return CUDA_SUCCESS;
}

VG_API CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int numFunctions, CUmodule mod) {
  API(VG_CTX);
  struct vg_module *m = module_of(mod);
  if (!functions || !numFunctions) return CUDA_ERROR_INVALID_VALUE;
  if (!m) return CUDA_ERROR_INVALID_HANDLE;
  for (uint32_t i = 0; i < numFunctions && i < m->num_functions; i++) functions[i] = m->functions[i].handle;
  return CUDA_SUCCESS;
}

static CUresult global(const struct vg_module *m, CUdeviceptr *dptr, size_t *bytes, const char *name) {
  const struct ptx_var *v = vgpu_find_var(m->code, name);
  if (!v || (v->space != PTX_GLOBAL && v->space != PTX_CONST) || !v->address) return CUDA_ERROR_NOT_FOUND;
  if (dptr) *dptr = v->address;
  if (bytes) *bytes = v->size;
  return CUDA_SUCCESS;
}

VG_API CUresult cuModuleGetGlobal_v2(CUdeviceptr *dptr, size_t *bytes, CUmodule hmod, const char *name) {
  API(VG_CTX);
  struct vg_module *m = module_of(hmod);
  if (!name || (!dptr && !bytes)) return CUDA_ERROR_INVALID_VALUE;
  return m ? global(m, dptr, bytes, name) : CUDA_ERROR_INVALID_HANDLE;
}

// ---- libraries: modules that name their kernels without a context ----

static struct vg_module *library_of(CUlibrary l) { return vg_handle_get(l, VG_LIBRARY); }

static CUresult load_library(struct vg_context *ctx, CUlibrary *library, const void *code, size_t size, CUjit_option *options, void **values, unsigned n) {
  struct vg_module *m;
  if (!library || !code || (n && (!options || !values))) return CUDA_ERROR_INVALID_VALUE;
  CUresult r = vg_module_load(ctx, code, size, n, options, values, &m);
  if (r) return r;
  m->library = vg_handle_new(VG_LIBRARY, m);
  bool ok = m->library != NULL;
  for (uint32_t i = 0; ok && i < m->num_functions; i++) {
    m->functions[i].kernel = vg_handle_new(VG_KERNEL, &m->functions[i]);
    ok = m->functions[i].kernel != NULL;
  }
  if (!ok) {
    vg_module_unload(m);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *library = m->library;
  return CUDA_SUCCESS;
}

VG_API CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jitOptions, void **jitOptionsValues, unsigned int numJitOptions,
                                  CUlibraryOption *libraryOptions, void **libraryOptionValues, unsigned int numLibraryOptions) {
  API(VG_CTX | VG_UNSAFE);
  if (numLibraryOptions && (!libraryOptions || !libraryOptionValues)) return CUDA_ERROR_INVALID_VALUE;
  return load_library(call.ctx, library, code, 0, jitOptions, jitOptionsValues, numJitOptions);
}

VG_API CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *fileName, CUjit_option *jitOptions, void **jitOptionsValues,
                                      unsigned int numJitOptions, CUlibraryOption *libraryOptions, void **libraryOptionValues,
                                      unsigned int numLibraryOptions) {
  API(VG_CTX | VG_UNSAFE);
  char *data;
  size_t size;
  if (numLibraryOptions && (!libraryOptions || !libraryOptionValues)) return CUDA_ERROR_INVALID_VALUE;
  CUresult r = vg_read_file(fileName, &data, &size);
  if (r) return r;
  r = load_library(call.ctx, library, data, size, jitOptions, jitOptionsValues, numJitOptions);
  free(data);
  return r;
}

VG_API CUresult cuLibraryUnload(CUlibrary library) {
  API(VG_INIT);
  struct vg_module *m = library_of(library);
  if (!m) return CUDA_ERROR_INVALID_HANDLE;
  vg_module_unload(m);
  return CUDA_SUCCESS;
}

VG_API CUresult cuLibraryGetKernel(CUkernel *pKernel, CUlibrary library, const char *name) {
  API(VG_INIT);
  struct vg_module *m = library_of(library);
  if (!pKernel || !name) return CUDA_ERROR_INVALID_VALUE;
  if (!m) return CUDA_ERROR_INVALID_HANDLE;
  struct vg_function *f = named(m, name);
  if (!f) return CUDA_ERROR_NOT_FOUND;
  *pKernel = f->kernel;
  return CUDA_SUCCESS;
}

VG_API CUresult cuLibraryGetKernelCount(unsigned int *count, CUlibrary lib) {
  API(VG_INIT);
  struct vg_module *m = library_of(lib);
  if (!count) return CUDA_ERROR_INVALID_VALUE;
  if (!m) return CUDA_ERROR_INVALID_HANDLE;
  *count = m->num_functions;
  return CUDA_SUCCESS;
}

VG_API CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int numKernels, CUlibrary lib) {
  API(VG_INIT);
  struct vg_module *m = library_of(lib);
  if (!kernels || !numKernels) return CUDA_ERROR_INVALID_VALUE;
  if (!m) return CUDA_ERROR_INVALID_HANDLE;
  for (uint32_t i = 0; i < numKernels && i < m->num_functions; i++) kernels[i] = m->functions[i].kernel;
  return CUDA_SUCCESS;
}

VG_API CUresult cuLibraryGetModule(CUmodule *pMod, CUlibrary library) {
  API(VG_CTX);
  struct vg_module *m = library_of(library);
  if (!pMod) return CUDA_ERROR_INVALID_VALUE;
  if (!m) return CUDA_ERROR_INVALID_HANDLE;
  *pMod = m->handle;
  return CUDA_SUCCESS;
}

VG_API CUresult cuLibraryGetGlobal(CUdeviceptr *dptr, size_t *bytes, CUlibrary library, const char *name) {
  API(VG_CTX);
  struct vg_module *m = library_of(library);
  if (!name || (!dptr && !bytes)) return CUDA_ERROR_INVALID_VALUE;
  return m ? global(m, dptr, bytes, name) : CUDA_ERROR_INVALID_HANDLE;
}

static struct vg_function *kernel_of(CUkernel k) { return vg_handle_get(k, VG_KERNEL); }

VG_API CUresult cuKernelGetFunction(CUfunction *pFunc, CUkernel kernel) {
  API(VG_CTX);
  struct vg_function *f = kernel_of(kernel);
  if (!pFunc) return CUDA_ERROR_INVALID_VALUE;
  if (!f) return CUDA_ERROR_INVALID_HANDLE;
  *pFunc = f->handle;
  return CUDA_SUCCESS;
}

VG_API CUresult cuKernelGetLibrary(CUlibrary *pLib, CUkernel kernel) {
  API(VG_INIT);
  struct vg_function *f = kernel_of(kernel);
  if (!pLib) return CUDA_ERROR_INVALID_VALUE;
  if (!f) return CUDA_ERROR_INVALID_HANDLE;
  *pLib = f->module->library;
  return CUDA_SUCCESS;
}

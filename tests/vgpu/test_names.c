// Every name that a cuda.h declares is exported, cuGetProcAddress finds the right variant, and the layouts are NVIDIA's.
#include "tests/vgpu/cu.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *lib;

static int setup(void **state) {
  (void)state;
  Dl_info info;
  if (!dladdr((void *)(uintptr_t)cuInit, &info)) return 1;
  lib = dlopen(info.dli_fname, RTLD_NOW);
  return !lib;
}

static void test_all_exported(void **state) {
  (void)state;
  static const char *const names[] = {
#define ENTRY(base, version, symbol)
#define PER_THREAD(symbol, variant)
#define NAME(symbol) #symbol,
#include "runtime/vgpu/cunames.inc"
#undef NAME
#undef PER_THREAD
#undef ENTRY
  };
  size_t n = sizeof names / sizeof *names;
  assert_true(n > 600);
  for (size_t i = 0; i < n; i++)
    if (!dlsym(lib, names[i])) fail_msg("%s is not exported", names[i]);
}

// A per-thread variant is the function itself, or neither is implemented.
static void test_variants(void **state) {
  (void)state;
  static const char *const pairs[][2] = {
#define ENTRY(base, version, symbol)
#define PER_THREAD(symbol, variant) {#symbol, #variant},
#define NAME(symbol)
#include "runtime/vgpu/cunames.inc"
#undef NAME
#undef PER_THREAD
#undef ENTRY
  };
  unsigned same = 0;
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) same += dlsym(lib, pairs[i][0]) == dlsym(lib, pairs[i][1]);
  assert_true(same > 60);
}

// The header of this machine, if there is one, may be newer than the list.
static void test_header(void **state) {
  (void)state;
  FILE *f = fopen("/usr/local/cuda/include/cuda.h", "r");
  if (!f) {
    print_message("no cuda.h on this machine\n");
    skip();
  }
  char line[4096];
  unsigned found = 0;
  while (fgets(line, sizeof line, f)) {
    char *at = strstr(line, "CUDAAPI cu"), name[128];
    if (!at || !strchr(at, '(') || sscanf(at + 8, "%127[A-Za-z0-9_]", name) != 1 || at[8 + strlen(name)] != '(') continue;
    found++;
    if (!dlsym(lib, name)) fail_msg("%s is declared in cuda.h and not exported", name);
  }
  fclose(f);
  assert_true(found > 300);
}

static void test_proc_address(void **state) {
  (void)state;
  static const struct {
    const char *base;
    int version, flags;
    const char *symbol;
  } cases[] = {{"cuMemAlloc", 11080, 0, "cuMemAlloc_v2"},
               {"cuCtxCreate", 11000, 0, "cuCtxCreate_v2"},
               {"cuCtxCreate", 11080, 0, "cuCtxCreate_v3"},
               {"cuCtxCreate", 13000, 0, "cuCtxCreate_v4"},
               {"cuMemcpyHtoDAsync", 12000, 2, "cuMemcpyHtoDAsync_v2_ptsz"},
               {"cuMemcpyHtoDAsync", 12000, 0, "cuMemcpyHtoDAsync_v2"},
               {"cuStreamBeginCapture", 12000, 0, "cuStreamBeginCapture_v2"},
               {"cuGetProcAddress", 11080, 0, "cuGetProcAddress"},
               {"cuGetProcAddress", 12000, 0, "cuGetProcAddress_v2"},
               {"cuInit", 2000, 0, "cuInit"}};
  void *p;
  CUdriverProcAddressQueryResult how;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    OK(cuGetProcAddress_v2(cases[i].base, &p, cases[i].version, (cuuint64_t)cases[i].flags, &how));
    if (!p || p != dlsym(lib, cases[i].symbol)) fail_msg("%s for %d is not %s", cases[i].base, cases[i].version, cases[i].symbol);
  }
  IS(CUDA_ERROR_NOT_FOUND, cuGetProcAddress("cuNothing", &p, 13000, 0));
  OK(cuGetProcAddress_v2("cuNothing", &p, 13000, 0, &how));
  assert_int_equal(how, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  OK(cuGetProcAddress_v2("cuLibraryLoadData", &p, 11000, 0, &how));
  assert_int_equal(how, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
}

static void test_unsupported(void **state) { // answers, whatever it is called with
  (void)state;
  static const char *const names[] = {"cuTexRefCreate", "cuArrayCreate_v2", "cuIpcGetMemHandle", "cuMemCreate", "cuImportExternalMemory", "cuTensorMapEncodeTiled"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    int (*f)(void *, void *, void *) = (int (*)(void *, void *, void *))(uintptr_t)dlsym(lib, names[i]);
    assert_non_null(f);
    IS(CUDA_ERROR_NOT_SUPPORTED, f(NULL, NULL, NULL));
  }
}

// Layouts: one list compiled with our header here and with NVIDIA's in test_abi.c (NULL where there is none).
const struct layout *vgpu_layouts_of_cuda_h(void);
#include "tests/vgpu/layouts.h"

static void test_layouts(void **state) {
  (void)state;
  const struct layout *theirs = vgpu_layouts_of_cuda_h(), *ours = layouts;
  if (!theirs) {
    print_message("built without a cuda.h\n");
    skip();
  }
  for (; ours->name; ours++, theirs++) {
    assert_string_equal(ours->name, theirs->name);
    if (ours->value != theirs->value) fail_msg("%s is %zu, in cuda.h %zu", ours->name, ours->value, theirs->value);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_exported), cmocka_unit_test(test_variants),    cmocka_unit_test(test_header),
      cmocka_unit_test(test_proc_address), cmocka_unit_test(test_unsupported), cmocka_unit_test(test_layouts),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}

// What a program of the driver API has before it does anything: a context, a module, a kernel y += a x, arrays.
#pragma once
#include "tests/vgpu/cu.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAD ((void *)(uintptr_t)0x123456780) // for a handle that never was

extern const char program_ptx[]; // kernels saxpy(y, x, a, n) and big(y), a global `counter` of 5, a constant table[2]
extern CUcontext ctx;
extern CUmodule module;
extern CUfunction saxpy;

int open_context(void **state);
int close_context(void **state);
#define WITH_CONTEXT(test) cmocka_unit_test_setup_teardown(test, open_context, close_context)

CUresult run_saxpy(CUdeviceptr y, CUdeviceptr x, float a, unsigned n, CUstream s);
CUdeviceptr floats(size_t n, float value);             // a new array
void expect(CUdeviceptr p, size_t n, float value);     // all of it

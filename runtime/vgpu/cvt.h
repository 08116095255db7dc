// Conversion of one value between any two PTX types, as cvt does it.
#ifndef VGPU_CVT_H
#define VGPU_CVT_H

#include <stdbool.h>
#include <stdint.h>

enum { CVT_SAT = 1, CVT_FTZ = 2, CVT_INTEGRAL = 4 }; // INTEGRAL: .rni .rzi .rmi .rpi from float to float

// from and to are enum ptx_type, mode enum vgpu_round. The value sits in the low bits; results are extended by their sign.
uint64_t vgpu_cvt_int(uint64_t v, int from, int to, bool sat);
uint64_t vgpu_cvt(uint64_t v, int from, int to, int mode, unsigned flags);

#endif

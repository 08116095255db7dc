// The one table of the T4's ceilings and latencies. Sources, by letter:
//   [N] NVIDIA: Turing architecture whitepaper, T4 data sheet, CUDA programming guide (compute capability 7.5)
//   [J] Jia, Maggioni, Smith, Scarpazza: "Dissecting the NVidia Turing T4 GPU via Microbenchmarking", 2019
//   [G] the public GPGPU-Sim / Accel-Sim configuration of Turing (SM75_RTX2060), fitted to hardware by its authors
//   [D] GDDR6 data sheets (JEDEC JESD250): timings in ns, here in command clocks of 0.4 ns
//   [C] fitted to the calibration kernels (runtime/vgpu/README.md says how far each fit reaches)
#include "runtime/vgpu/t4_table.h"
#include <string.h>

#define T4_COMMON \
  .num_sms = 40,           /* [N] */ \
  .schedulers = 4,         /* [N] processing blocks of an SM; one warp instruction a cycle each */ \
  .max_warps = 32,         /* [N] resident warps of an SM */ \
  .max_blocks = 16,        /* [N] */ \
  .max_threads = 1024,     /* [N] */ \
  .registers = 65536,      /* [N] */ \
  .register_unit = 256,    /* [N] occupancy calculator: granularity of a warp's registers */ \
  .warp_allocation = 4,    /* [N] warps are allocated in fours */ \
  .shared_unit = 256,      /* [N] */ \
  .shared_max = 65536,     /* [N] */ \
  .l1_shared_total = 98304, /* [N] 96 KiB: 32 or 64 of it shared memory, the rest L1 */ \
  .clock_mhz = 1590,       /* [N] boost clock; under a power cap real cards run slower */ \
  .collectors = 2,         /* [G] operand collectors of a scheduler */ \
  .banks = 2,              /* [J] two register banks since Volta */ \
  .bank_reads = 2,         /* [G] reads of one bank a cycle */ \
  .fetch_width = 2,        /* [G] */ \
  .result_delay = 2,       /* [G] write-back and scoreboard */ \
  .fp_lost = 2,            /* [J] three sources in two banks conflict now and then; how often: [C] */ \
  .int_lost = 1,           /* [C] */ \
  .shared_latency = 29,    /* [G] 30; [J] 19-23 in machine code */ \
  .l1_latency = 32,        /* [J] 32 on a hit */ \
  .l1_sectors_per_cycle = 4, /* [J] 128 bytes a cycle read hits */ \
  .l1_queue = 144,         /* [G] 4 banks of 32 stages and 16 misses on their way out */ \
  .l1_sets = 4,            /* [J] 4 sets of 128-byte lines */ \
  .l1_mshr = 256,          /* [G] sectors on their way to an SM */ \
  .fill_regs_per_cycle = 2, /* [G] one a bank */ \
  .fill_gap = 1,           /* [C] */ \
  .slices = 32,            /* [J][G] 16 channels of two slices; 32 bytes a cycle each */ \
  .l2_sets = 64,           /* [J] 4 MiB in all */ \
  .l2_ways = 16,           /* [J] */ \
  .l2_latency = 194,       /* [J] L2 hit 188 on top of L1, [G] 194 */ \
  .l2_mshr = 192,          /* [G] sectors on their way to a slice */ \
  .l2_to_dram_queue = 64,  /* [G] */ \
  .dram_path_latency = 96, /* [G]; L2 miss about 410-600 in all [J] */ \
  .channels = 16,          /* [N] 256 bits of GDDR6, 16 bits a channel */ \
  .dram_queue = 64,        /* [G] first-ready first-come first-served window */ \
  .dram_banks = 16,        /* [D] */ \
  .dram_groups = 4,        /* [D] */ \
  .burst = 4,              /* [D] a 32-byte sector takes 4 command clocks */ \
  .ccd_long = 6,           /* [G] same bank group */ \
  .rrd = 9,                /* [D] 3.5 ns between activations */ \
  .rcd = 17,               /* [D] 7 ns */ \
  .ras = 39,               /* [D] 16 ns */ \
  .rp = 17,                /* [D] 7 ns */ \
  .cl = 17,                /* [D] */ \
  .wl = 6,                 /* [D] */ \
  .wtr = 14,               /* [D] burst + WL + write-to-read delay */ \
  .rtw = 17,               /* [D] CL + burst + 2 - WL */ \
  .fma_per_clock_sm_tensor_f16 = 512, /* [N] 65 TFLOP/s at 1590 MHz on 40 SMs */ \
  .launch_us = 3.0         /* [J] a null kernel in a stream, 2-5 us; stated apart, never in the estimate */

static const struct t4_table tables[] = {
    {.name = "t4", T4_COMMON, .dram_mhz = 2500.5},    // [N] 5001 MHz: 320 GB/s on paper
    {.name = "t4_eff", T4_COMMON, .dram_mhz = 2000.0}, // 256 GB/s on paper: what people reach on real cards, 220-250 GB/s
};

const struct t4_table *t4_table_named(const char *name) {
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
    if (!strcmp(tables[i].name, name)) return &tables[i];
  return NULL;
}

// 16 lanes of fp32 and of integer a scheduler [N]: two cycles a warp. 4 special-function lanes [N]: eight cycles. fp64 at 1/32
// of fp32 [N]: 64 cycles. Dependent issue of simple arithmetic 4 cycles, of the integer multiply 5 [J]. What machine code has no
// instruction for (moves, address conversions) is charged an issue slot and no more, as the PTX-level simulator does.
static const struct t4_timing timings[] = {
    [VGPU_CLASS_NONE] = {T4_INT, 1, 1},
    [VGPU_CLASS_MOVE] = {T4_INT, 1, 1},
    [VGPU_CLASS_INT] = {T4_INT, 4, 2},
    [VGPU_CLASS_IMUL] = {T4_INT, 4, 2},
    [VGPU_CLASS_IDIV] = {T4_SFU, 21, 8},      // [G]
    [VGPU_CLASS_FP32] = {T4_FP, 4, 2},
    [VGPU_CLASS_FP32DIV] = {T4_SFU, 39, 8},   // [G]
    [VGPU_CLASS_FP64] = {T4_DP, 64, 64},      // [G]
    [VGPU_CLASS_FP64DIV] = {T4_DP, 330, 130}, // [G]
    [VGPU_CLASS_FP16] = {T4_FP, 5, 2},        // [J] HFMA2 5-6
    [VGPU_CLASS_SFU] = {T4_SFU, 21, 8},       // [G]; [J] MUFU 17-20
    [VGPU_CLASS_CVT] = {T4_INT, 4, 2},        // F2F runs at a quarter on hardware, half-word unpacking (HADD2.F32) at full rate
    [VGPU_CLASS_TENSOR] = {T4_TENSOR, 14, 8}, // see t4_timing_mma
    [VGPU_CLASS_LOAD] = {T4_MEM, 0, 1},
    [VGPU_CLASS_STORE] = {T4_MEM, 0, 1},
    [VGPU_CLASS_ATOM] = {T4_MEM, 0, 1},
    [VGPU_CLASS_RED] = {T4_MEM, 0, 1},
    [VGPU_CLASS_LDMATRIX] = {T4_MEM, 0, 1},
    [VGPU_CLASS_PREFETCH] = {T4_MEM, 0, 1},
    [VGPU_CLASS_BRANCH] = {T4_INT, 1, 1},
    [VGPU_CLASS_CALL] = {T4_INT, 1, 1},
    [VGPU_CLASS_RET] = {T4_INT, 1, 1},
    [VGPU_CLASS_EXIT] = {T4_INT, 1, 1},
    [VGPU_CLASS_BAR] = {T4_INT, 1, 1},
    [VGPU_CLASS_WARPSYNC] = {T4_INT, 1, 1},
    [VGPU_CLASS_FENCE] = {T4_MEM, 0, 1},
    [VGPU_CLASS_SHFL] = {T4_INT, 32, 4},      // [G]; [J] 22-25 cycles to the result
    [VGPU_CLASS_VOTE] = {T4_INT, 4, 2},
    [VGPU_CLASS_MATCH] = {T4_INT, 16, 4},
    [VGPU_CLASS_MISC] = {T4_INT, 1, 1},
};

struct t4_timing t4_timing_of(enum vgpu_class cls) { return timings[cls]; }

// 128 fp16 multiply-adds a cycle and scheduler [N], twice that for int8, four times for int4. Fp32 accumulation takes the same
// time on a T4 (unlike on GeForce). Latency of HMMA.1688.F32 14-18 cycles [J].
struct t4_timing t4_timing_mma(unsigned m, unsigned n, unsigned k, unsigned bits, bool f32_accumulate) {
  unsigned fma = m * n * k, rate = 128 * (bits <= 4 ? 4 : bits <= 8 ? 2 : 1);
  unsigned interval = (fma + rate - 1) / rate;
  if (interval < 2) interval = 2;
  return (struct t4_timing){T4_TENSOR, (uint16_t)(interval + (f32_accumulate ? 10 : 8)), (uint16_t)interval};
}

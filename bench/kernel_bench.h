// The kernel benchmark's inside: cases made from the registry, their inputs, what checks them, and the devices that time them.
#pragma once
#include "bench/gbench.h"
#include "bench/record.h"
#include "runtime/gpu/nvml.h"

// Phi-3-mini.
enum {
  HIDDEN = 3072,
  HEADS = 32,
  HEAD_DIM = 96,
  INTERMEDIATE = 8192,
  VOCAB = 32064,
  WINDOW = 2047,
  POSITIONS = 4096,
  PAGE_TOKENS = 16,
};

enum device_kind { ON_CPU, ON_CUDA, ON_VGPU };
extern const char *const device_words[]; // "cpu", "cuda", "vgpu"; ends with NULL

enum { CASE_NAME = 96 };

// One kernel at one shape. What a kernel has no use for is 0.
struct kernel_case {
  char name[CASE_NAME]; // "decode_silu_8/gate_up/rows:1"
  enum gpu_kernel kernel; // KERNEL_COUNT: none of the registry's (an operation of the CPU, cuBLAS)
  const struct family *family;
  const char *variant;  // the projection ("qkv", "o", "gate_up", "down", "head"), or how the kernel is used
  int32_t rows;         // of the step; of attention's decode: sequences
  int32_t k, features;  // of a projection
  int32_t keys;         // that the last row sees, itself among them, before the window
  bool published;       // of the subset in results/
};

struct case_list {
  struct kernel_case *cases;
  size_t count, capacity;
};

// Outputs against fp64, of a sample of them.
struct agreement {
  double error, reference; // sums of squares
  double gate;             // the largest relative error that passes
  int64_t outputs;         // compared
  int64_t unwritten;       // of all outputs: still poison
};

struct bench_device;

// Kernels with one parameter struct: their shapes, inputs and check. `work` is the family's own.
struct family {
  const char *parameters; // as the registry names it
  bool (*add_cases)(struct case_list *l, enum gpu_kernel k, struct err *e);
  // Inputs on the device, outputs made. false: what was made is freed by `close` all the same.
  bool (*open)(struct bench_device *d, const struct kernel_case *c, uint64_t seed, void **work, struct err *e);
  void (*close)(struct bench_device *d, void *work);
  // Poisons the outputs, or gives them their first values again.
  bool (*reset)(struct bench_device *d, void *work, struct err *e);
  // Launches as the forward pass does, by the runtime's own choice of kernel and geometry.
  bool (*launch)(struct bench_device *d, void *work, struct err *e);
  bool (*check)(struct bench_device *d, void *work, struct agreement *a, struct err *e);
  struct gpu_cost (*cost)(const void *work);
};
extern const struct family linear_family, attention_family, embed_family, rmsnorm_family, rope_family, append_family, copy_family, unpack_family, sample_family, cpu_family, cublas_family;

// kernel_cases.c
// Of the kernels; with `cublas`, cuBLAS beside them. An error names a kernel without a case.
bool case_list_fill(struct case_list *l, bool cublas, struct err *e);
bool cpu_cases(struct case_list *l, struct err *e);    // in place of those
bool cublas_cases(struct case_list *l, struct err *e); // adds them
void case_list_free(struct case_list *l);
// Adds one; the name is the kernel's, then `fmt`.
bool case_add(struct case_list *l, const struct kernel_case *c, struct err *e, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

// --- kernel_data.c: numbers and device memory -------------------------------------------------------------------------------------

uint64_t data_random(uint64_t *state);
double data_uniform(uint64_t *state); // [0, 1)
float data_normal(uint64_t *state);   // nearly: deviation 1, never beyond 3.5
uint16_t *data_halfs(struct bench_device *d, int64_t count, double scale, uint64_t seed, struct err *e);
float *data_floats(struct bench_device *d, int64_t count, double scale, uint64_t seed, struct err *e);
// As a residual stream is: a few channels far above the rest.
float *data_residual(struct bench_device *d, int64_t rows, int64_t hidden, uint64_t seed, struct err *e);

struct device_buffer {
  cu_pointer p;
  size_t bytes;
};
// With the data (NULL: poison, which is NaN in fp16 and in fp32).
bool buffer_open(struct bench_device *d, struct device_buffer *b, const void *data, size_t bytes, struct err *e);
void buffer_close(struct bench_device *d, struct device_buffer *b);
bool buffer_poison(struct bench_device *d, const struct device_buffer *b, struct err *e);
bool buffer_write(struct bench_device *d, const struct device_buffer *b, const void *data, struct err *e);
void *buffer_read(struct bench_device *d, const struct device_buffer *b, struct err *e); // to be freed with mem_free

void agreement_add(struct agreement *a, double found, double expected);
double agreement_error(const struct agreement *a); // ||out - ref|| / ||ref||; infinite for what is no number, and for a reference of zeros
int64_t count_poison_halfs(const uint16_t *p, int64_t count);
int64_t count_poison_floats(const float *p, int64_t count);
double half_range(double v); // what fp16 makes of a value beyond its range
// Rotation angles as the model's: [positions][HEAD_DIM / 2][2] cos and sin.
float *data_rope(int32_t positions, int32_t rotary, struct err *e);

// --- kernel_device.c: the GPU or the virtual one, and what is recorded of launches -------------------------------------------------

enum { MAX_RECORDED = 16 };

// Clocks, power, temperature of the card before the first case and after the last.
struct card_watch {
  bool open;
  struct err why; // not open
  struct nvml nvml;
  struct nvml_reading before, after;
};
void card_watch_start(struct card_watch *w, const struct gpu_device *d);
void card_watch_stop(struct card_watch *w); // what it read stays
// A line for people: "1590 MHz, memory 5001 MHz, 68.5 W of 70, 61 C, clocks held down by: power cap".
const char *card_text(const struct card_watch *w, const struct nvml_reading *r, char *out, size_t room);

struct cpu_side; // a backend and a layer of Phi-3-mini's shape
bool cpu_side_open(struct cpu_side **s, struct err *e);
void cpu_side_close(struct cpu_side *s);

struct bench_device {
  enum device_kind kind;
  char name[128];
  struct gpu_device gpu;     // cuda, vgpu
  struct cublas cublas;      // cuda, where its library is there
  struct cpu_side *cpu;
  struct pool *pool;         // of host threads, for inputs and the CPU's operations
  const char *configs;       // vgpu: memory configurations, "t4 t4_eff"
  uint64_t sample;           // vgpu: blocks replayed at most; 0: as many as memory holds
  bool warm;                 // cuda: what L2 holds stays there
  int64_t samples;           // runs that are timed
  struct card_watch card;    // cuda
  struct device_buffer flush; // cuda: larger than L2
  struct roof_lines roofs[T4_ROOFS];
  int32_t num_roofs;
  struct recorded_launch launches[MAX_RECORDED]; // of the last operation
  int32_t num_launches;
};

// Opens it with what is set already: kind, configs, sample, warm, samples.
bool device_open(struct bench_device *d, struct err *e);
void device_close(struct bench_device *d);

// One case's figures. vgpu: an estimate.
struct measurement {
  double seconds;             // the median of the runs; vgpu: the first configuration's estimate
  double low, high;           // the tenth and ninetieth percentile
  int64_t runs;
  struct gpu_cost ideal;
  struct agreement agreement;
  json_t *launch;             // vgpu: as libvgpu tells it
};
// Runs the case, checks its outputs, and only then times it. The error tells of a result that is wrong.
bool case_measure(struct bench_device *d, const struct kernel_case *c, uint64_t seed, struct measurement *m, struct err *e);
void measurement_free(struct measurement *m);
// Seconds that the roof allows for this work.
double roof_seconds(const struct roof_lines *r, struct gpu_cost work);

// --- kernel_time.c: runs on a clock
// By the GPU's events, or the host's clock: the case's kernel alone, launched again as it was recorded; what is none is launched as the family does.
bool time_runs(struct bench_device *d, const struct kernel_case *c, void *work, struct measurement *m, struct err *e);

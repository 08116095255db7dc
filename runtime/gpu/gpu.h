// The GPU backend's inside: device memory, kernels, and what a step needs on the device.
#pragma once
#include "kernels/kernels.h"
#include "runtime/backend.h"
#include "runtime/gpu/cublas.h"
#include "runtime/gpu/cuda.h"
#include "runtime/gpu/pack.h"

enum gpu_kernel {
#define GPU_KERNEL_ID(name, parameters, threads, registers) KERNEL_##name,
  PHI3_KERNELS(GPU_KERNEL_ID)
#undef GPU_KERNEL_ID
      KERNEL_COUNT
};

enum {
  GPU_MAX_MODULES = 8,
  GPU_GRAPHS = 32,
  GPU_NORM_ROWS = 2,       // rows at most with which a decode kernel norms them itself
  GPU_SPLIT_ROWS = 16,     // rows at a time of decode attention: what `partial` has room for
};

// The driver, one device of it, and the kernels.
struct gpu_device {
  struct cuda cuda;
  cu_device device;
  cu_context context;
  cu_module modules[GPU_MAX_MODULES];
  int32_t num_modules;
  cu_function kernels[KERNEL_COUNT];
  cu_stream stream;
  struct cublas cublas;           // for prefill, when asked for
  cu_pointer plain, sums;         // cuBLAS: fp16 weights in plain order, fp32 [rows, packed rows]
  int32_t max_shared;      // bytes of shared memory a block may have
  int32_t multiprocessors;
  char name[128];
};

// Carved from one allocation; offsets are multiples of 256 bytes. With no allocation yet it only adds up.
struct gpu_slab {
  cu_pointer base;
  size_t size, used;
};

struct gpu_layer {
  cu_pointer input_norm, post_attention_norm; // fp32 [hidden]
  struct phi3_weights qkv, o, gate_up, down;
};

// A decode step's launches, captured once and replayed while its shape stays.
struct gpu_graph {
  cu_graph_exec exec;
  int32_t rows, logits, spans;
};

enum gpu_recording { RECORD_OFF, RECORD_CAPTURE, RECORD_REPLAY };

// The step's arrays, the same on host and device, in one block that one copy carries.
struct gpu_step_arrays {
  size_t ids, row_info, queries, logit_rows, random, bytes; // offsets: int32 [max_rows], struct phi3_row [max_rows], struct phi3_queries [max_rows], int32 [max_logits],
                                                            // uint64 [max_logits]
};

struct gpu {
  struct backend base; // first, so that a struct backend * is a struct gpu *
  struct gpu_device d;
  struct gpu_slab weights, pages, scratch;
  struct gpu_layer *layers;
  cu_pointer embed, norm;              // fp16 [vocab, hidden]; fp32 [hidden]
  struct phi3_weights head;
  size_t plain_halfs, packed_rows;     // of the largest matrix: what cuBLAS needs room for
  size_t own_scratch;                  // bytes of the work space without that
  cu_pointer parts, rope;              // half tiles of qkv; cos and sin
  int32_t max_positions;               // rows of the rope table
  int64_t page_halfs;                  // keys (or values) of one page and layer
  cu_pointer keys, values;             // [layers][num_pages][page_halfs]
  int32_t hidden_ld, heads_ld, mlp_ld; // row lengths of the fp16 buffers, multiples of 32
  cu_pointer x, normed, q, mixed, mlp, logits, partial, picked; // see enum stage
  cu_pointer arrays, tables;           // of the step: struct gpu_step_arrays; int32 [max_rows, table_stride]
  struct gpu_step_arrays at;
  int32_t table_stride, max_spans;
  uint8_t *host_arrays;
  int32_t *host_tables;
  int32_t num_queries, spans;          // blocks of queries; spans that the longest row sees, rounded up to a power of two
  bool split;                          // attention by the decode kernel
  enum gpu_recording recording;
  struct gpu_graph graphs[GPU_GRAPHS];
  int32_t num_graphs, replayed;        // index of the graph to replay
  int32_t open_ranges;                 // for Nsight, nested
  bool layer_range;                    // a layer's is among them
  struct pack_report report;
};

static inline struct gpu *gpu_of(struct backend *b) { return (struct gpu *)b; }
static inline cu_pointer gpu_array(const struct gpu *g, size_t offset) { return g->arrays + offset; }

// device.c
bool gpu_device_open(struct gpu_device *d, bool virtual_gpu, struct err *e);
void gpu_device_close(struct gpu_device *d);
bool gpu_launch(struct gpu_device *d, enum gpu_kernel k, const unsigned grid[3], unsigned threads, unsigned shared, void *parameters, struct err *e);
bool gpu_wait(struct gpu_device *d, const char *operation, struct err *e);
const char *gpu_kernel_name(enum gpu_kernel k);
// "0000:3b:00.0", by which nvml_open finds the same card.
bool gpu_device_pci(const struct gpu_device *d, char out[32], struct err *e);
// memory.c
bool gpu_slab_open(struct gpu *g, struct gpu_slab *s, size_t bytes, const char *what, struct err *e);
void gpu_slab_close(struct gpu *g, struct gpu_slab *s);
cu_pointer gpu_carve(struct gpu_slab *s, size_t bytes);
// weights.c: everything of the model on the device, in a slab of gpu_weight_bytes.
bool gpu_weight_bytes(const struct config *c, size_t *bytes, struct err *e);
// Halfs of the largest packed matrix, and its packed rows at most of those whose epilogue cuBLAS has not.
bool gpu_largest_matrix(const struct config *c, size_t *halfs, size_t *packed_rows, struct err *e);
bool gpu_load_weights(struct gpu *g, struct err *e);
// rope.c: the table of cos and sin.
size_t gpu_rope_bytes(const struct config *c, int32_t positions);
bool gpu_load_rope(struct gpu *g, struct err *e);
// step.c: the step's arrays on the device, and what kind of step it is.
bool gpu_open_step(struct gpu *g, struct err *e);
bool gpu_send_step(struct gpu *g, const struct step *s, struct err *e);
struct gpu_step_arrays gpu_step_layout(const struct backend_options *o);
// graph.c
bool gpu_begin_step(struct backend *b, const struct step *s, bool observed, struct err *e);
bool gpu_end_step(struct backend *b, const struct step *s, struct err *e);
void gpu_end_abandoned(struct gpu *g); // while a capture is open the driver frees nothing
void gpu_drop_graphs(struct gpu *g);
// launch.c: geometry of each kernel.
enum gpu_epilogue { EPILOGUE_STORE, EPILOGUE_ADD, EPILOGUE_SILU, EPILOGUE_QKV };
// y = x W^T by the kernel for p->rows rows. With p->residual the kernel norms the rows itself; see gpu_norm_fits.
bool gpu_linear(struct gpu_device *d, enum gpu_epilogue epilogue, struct phi3_linear *p, struct err *e);
// Around the products of cuBLAS: d->plain from the packed weights; the epilogues silu and qkv on p->sums.
bool gpu_unpack(struct gpu_device *d, struct phi3_unpack *p, struct err *e);
bool gpu_apply(struct gpu_device *d, enum gpu_epilogue epilogue, struct phi3_linear *p, struct err *e);
bool gpu_norm_fits(const struct phi3_weights *w, int32_t rows);
bool gpu_rmsnorm(struct gpu_device *d, struct phi3_rmsnorm *p, struct err *e);
// `split`: by keys, for rows of any sequences, in `spans` spans at most; else by blocks of p->queries.
bool gpu_attention(struct gpu_device *d, struct phi3_attention *p, bool split, int32_t blocks_or_spans, struct err *e);
// The head size, of those that the kernels are made for, that serves this one; 0: none.
int32_t gpu_head_size(int32_t head_dim);
// operations.c, read.c
bool gpu_read(struct backend *b, const struct step *s, enum stage stage, float *dst, struct err *e);
// write.c: stages and pages from the host.
bool gpu_write(struct backend *b, const struct step *s, enum stage stage, const float *src, struct err *e);
bool gpu_read_cache(struct backend *b, const struct step *s, int32_t layer, float *keys, float *values, struct err *e);
bool gpu_write_cache(struct backend *b, const struct step *s, int32_t layer, const float *keys, const float *values, struct err *e);
bool gpu_norm_logit_rows(struct gpu *g, const struct step *s, struct err *e);
extern const struct backend_ops gpu_cuda_ops, gpu_virtual_ops;
// open.c
void gpu_close(struct backend *b);
// images.c: the kernels as nvcc left them, one fatbin a source file; none when the build had no nvcc.
extern const struct gpu_image {
  const char *name;
  const void *data;
} gpu_images[];
extern const int32_t gpu_num_images;
extern const char gpu_images_cuda[]; // nvcc's version
// nvtx.c: ranges for Nsight, which cost next to nothing where none listens; nothing without their header. They nest:
//   "prefill 31" or "decode 4" (the step's tokens) > "embed", "layer 0" > "attention_in", "attention", "attention_out", "mlp_in", "mlp_out"; "logits"
// and stand alone around what is no part of a step: "sample", "copy_page". A decode step's launches are captured once, inside of these ranges; when it is replayed
// the host does nothing but launch the graph, in "decode 4" > "replay". Nsight Systems shows the graph's kernels with --cuda-graph-trace=node.
void gpu_range_push(struct gpu *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void gpu_range_pop(struct gpu *g);
// Ends what a failed step left open.
void gpu_range_pop_all(struct gpu *g);

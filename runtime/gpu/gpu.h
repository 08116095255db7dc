// The GPU backend's inside: device memory, kernels, and what a step needs on the device.
#pragma once
#include "kernels/kernels.h"
#include "runtime/backend.h"
#include "runtime/gpu/cuda.h"
#include "runtime/gpu/pack.h"

// Every entry point of kernels/. One list makes the ids, the names and the look-up.
#define GPU_KERNELS(K)                                                                                                          \
  K(embed_rows) K(rmsnorm_rows) K(copy_pages)                                                                                  \
  K(linear_store) K(linear_add) K(linear_silu) K(linear_qkv)                                                                    \
  K(decode_store_8) K(decode_add_8) K(decode_silu_8) K(decode_qkv_8)                                                            \
  K(decode_store_16) K(decode_add_16) K(decode_silu_16) K(decode_qkv_16)                                                        \
  K(decode_norm_store) K(decode_norm_silu) K(decode_norm_qkv)                                                                   \
  K(attention_prefill_32) K(attention_prefill_64) K(attention_prefill_80) K(attention_prefill_96) K(attention_prefill_128)      \
  K(attention_decode_32) K(attention_decode_64) K(attention_decode_80) K(attention_decode_96) K(attention_decode_128)           \
  K(attention_merge)

enum gpu_kernel {
#define GPU_KERNEL_ID(name) KERNEL_##name,
  GPU_KERNELS(GPU_KERNEL_ID)
#undef GPU_KERNEL_ID
      KERNEL_COUNT
};

enum { GPU_MODULES = 4, GPU_GRAPHS = 32 };

// Carved from one allocation; offsets are multiples of 256 bytes.
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

struct gpu {
  struct backend base;
  struct cuda cuda;
  cu_device device;
  cu_context context;
  cu_module modules[GPU_MODULES];
  int32_t num_modules;
  cu_function kernels[KERNEL_COUNT];
  cu_stream stream;
  struct gpu_slab weights, pages, scratch;
  struct gpu_layer *layers;
  cu_pointer embed, norm;              // fp16 [vocab, hidden]; fp32 [hidden]
  struct phi3_weights head;
  cu_pointer parts, rope;              // half tiles of qkv; cos and sin
  int32_t rope_positions;
  int64_t page_halfs;                  // keys (or values) of one page and layer
  cu_pointer keys, values;             // [layers][num_pages][page_halfs]
  int32_t hidden_ld, heads_ld, mlp_ld; // row lengths of the fp16 buffers, multiples of 32
  cu_pointer x, normed, q, mixed, mlp, logits, partial; // see enum stage
  cu_pointer ids, row_info, tables, queries, logit_rows; // of the step
  int32_t table_stride, max_spans;
  // host copies of the step's arrays
  struct phi3_row *host_rows;
  struct phi3_queries *host_queries;
  int32_t *host_tables;
  int32_t num_queries, spans;          // blocks of queries; spans that the longest row sees
  bool decode;                         // every sequence has one row, few enough for the decode kernels
  int32_t max_shared;                  // bytes of shared memory a block may have
  enum gpu_recording recording;
  struct gpu_graph graphs[GPU_GRAPHS];
  int32_t num_graphs, replayed;        // index of the graph to replay
  struct pack_report report;
};

// memory.c
bool gpu_slab_open(struct gpu *g, struct gpu_slab *s, size_t bytes, const char *what, struct err *e);
void gpu_slab_close(struct gpu *g, struct gpu_slab *s);
cu_pointer gpu_carve(struct gpu_slab *s, size_t bytes);
// weights.c: everything of the model on the device.
bool gpu_load_weights(struct gpu *g, struct err *e);
// rope.c: the table of cos and sin.
bool gpu_load_rope(struct gpu *g, struct err *e);
size_t gpu_rope_bytes(const struct config *c, int32_t positions);
// step.c: the step's arrays on the device, and what kind of step it is.
bool gpu_begin_step(struct gpu *g, const struct step *s, struct err *e);
bool gpu_end_step(struct gpu *g, const struct step *s, struct err *e);
// launch.c
bool gpu_launch(struct gpu *g, enum gpu_kernel k, const unsigned grid[3], unsigned threads, unsigned shared, void *parameters, struct err *e);
const char *gpu_kernel_name(enum gpu_kernel k);
// operations.c
extern const struct backend_ops gpu_cuda_ops, gpu_virtual_ops;

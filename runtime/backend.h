// The operations of the forward pass. forward.c states their order once; each backend fills this table. An operation is
// as large as the largest thing a GPU fuses. Between operations everything stays in the backend's memory.
//
// Promise of every backend: a row's result depends on its sequence's tokens alone, to the bit, not on the rows beside
// it, the chunk it came in, the pages it is stored in or the number of threads.
#pragma once
#include "runtime/base/err.h"
#include "runtime/model/model.h"

// New tokens of one sequence: rows [first_row, first_row + num_rows) of the step, at positions position, position + 1,
// ...
struct step_seq {
  int32_t first_row, num_rows;
  int64_t position;
  const int32_t
      *block_table; // page of position / page_size; entries behind the window may be PAGE_NONE and are not read
  bool long_rope;   // rotate with longrope's long factors
};

struct step {
  int32_t num_rows;            // rows of all sequences, at most the backend's max_rows
  const int32_t *ids;          // [num_rows]
  const struct step_seq *seqs; // [num_seqs]
  int32_t num_seqs;
  const int32_t *logit_rows; // [num_logits] rows whose logits are wanted, ascending
  int32_t num_logits;
};

enum page_type { PAGE_F32, PAGE_F16 };

// Who multiplies in a GPU's prefill: our kernels, or cuBLAS, which does not keep the promise above.
enum gemm { GEMM_OWN, GEMM_CUBLAS };

struct backend_options {
  int threads;              // 0: one per processor
  bool fp64;                // all arithmetic in double (plain loops, slow): for goldens
  enum page_type page_type; // ignored with fp64, whose pages hold doubles
  int32_t page_size;        // tokens
  int32_t num_pages;
  int32_t max_rows;      // of a step
  int32_t max_logits;    // rows of logits of a step
  enum gemm gemm;        // of a GPU
  int64_t max_positions; // that a sequence reaches at most; 0: the model's
};

// What `read` returns, all rows of the step in fp32.
enum stage {
  STAGE_HIDDEN, // the residual stream [num_rows, hidden]
  STAGE_QUERY,  // rotated queries [num_rows, heads head_dim], after attention_in
  STAGE_MIXED,  // attention's output [num_rows, heads head_dim], after attention
  STAGE_MLP,    // silu(gate) * up [num_rows, intermediate], after mlp_in
  STAGE_NORM,   // the final norm of the logit rows [num_logits, hidden], after logits
  STAGE_LOGITS, // [num_logits, vocab]
};

struct backend {
  const struct backend_ops *ops;
  const struct model *model;
  struct backend_options options;
};

struct sampler_options;

struct backend_ops {
  const char *name; // "cpu", "cuda", "vgpu"
  // Around the operations of a step, each may be NULL. `observed`: stages may be read after each operation. Without
  // that, a backend may put off all work until the end.
  bool (*begin_step)(struct backend *b, const struct step *s, bool observed, struct err *e);
  bool (*end_step)(struct backend *b, const struct step *s, struct err *e);
  // x = rows of the embedding. Ids were checked against the vocabulary.
  bool (*embed)(struct backend *b, const struct step *s, struct err *e);
  // q, k, v = qkv_proj rmsnorm(x); q and k rotated at their positions; k and v stored in their pages.
  bool (*attention_in)(struct backend *b, const struct step *s, int32_t layer, struct err *e);
  // a = softmax(q k^T / sqrt(head_dim)) v over the keys j with 0 <= i - j < window of the query's sequence.
  bool (*attention)(struct backend *b, const struct step *s, int32_t layer, struct err *e);
  // x += o_proj a
  bool (*attention_out)(struct backend *b, const struct step *s, int32_t layer, struct err *e);
  // h = silu(gate) * up of gate_up_proj rmsnorm(x)
  bool (*mlp_in)(struct backend *b, const struct step *s, int32_t layer, struct err *e);
  // x += down_proj h
  bool (*mlp_out)(struct backend *b, const struct step *s, int32_t layer, struct err *e);
  // logits = head norm(x) of the rows in logit_rows
  bool (*logits)(struct backend *b, const struct step *s, struct err *e);
  // Copies keys and values of all layers from page to page.
  bool (*copy_page)(struct backend *b, int32_t from, int32_t to, struct err *e);
  // Copies a stage of the last step to dst, as fp32. Valid until a later operation overwrites it.
  bool (*read)(struct backend *b, const struct step *s, enum stage stage, float *dst, struct err *e);
  // The other way: the next operation computes from src, rounded to what the backend stores. STAGE_HIDDEN, STAGE_QUERY,
  // STAGE_MIXED or STAGE_MLP. This and the next two are for steps whose stages are observed.
  bool (*write)(struct backend *b, const struct step *s, enum stage stage, const float *src, struct err *e);
  // Keys and values of the step's rows as a layer's pages hold them after attention_in, each [num_rows, kv_heads
  // head_dim] in fp32; and what takes their place there.
  bool (*read_cache)(struct backend *b, const struct step *s, int32_t layer, float *keys, float *values,
                     struct err *e);
  bool (*write_cache)(struct backend *b, const struct step *s, int32_t layer, const float *keys, const float *values,
                      struct err *e);
  // The next id of each logit row, chosen where the logits are: greedily, or as sampler.h says with random[row] in [0,
  // 1). The repetition penalty is not applied. Fails when a logit is not finite. NULL: read the logits instead.
  bool (*pick)(struct backend *b, const struct step *s, const struct sampler_options *o, const double *random,
               int32_t *ids, struct err *e);
  void (*close)(struct backend *b);
};

// The reference: fp32 by tuned loops, or fp64 by plain ones. PHI3_ISA in the environment (baseline, v3, v4, vnni)
// overrides the choice of instruction set: bits agree within one. NULL and an error on failure.
struct backend *cpu_backend_open(const struct model *m, const struct backend_options *o, struct err *e);
// A GPU by the CUDA driver, or the virtual GPU in its place. The fp16 pages' size is a multiple of 16 tokens.
struct backend *gpu_backend_open(const struct model *m, const struct backend_options *o, bool virtual_gpu,
                                 struct err *e);
// Whether there is a GPU that gpu_backend_open(..., false) can use; if not, the error says why.
bool gpu_available(struct err *e);
// Of a GPU backend: weights that fp16 could not hold (they became its largest value), their largest magnitude, and what
// the device is.
struct gpu_report {
  int64_t weights, overflows;
  float largest;
  char device[128];
  char pci[32];                    // its bus id, by which nvml_open finds the same card; empty: unknown
  double memory_bytes_per_second; // on paper; 0: unknown
};
struct gpu_report gpu_backend_report(const struct backend *b);
// Within what the backend was opened for: rows, positions, pages, ids and logit rows; else an error.
bool backend_check_step(const struct backend *b, const struct step *s, struct err *e);
// Bytes of one page of all layers.
int64_t backend_page_bytes(const struct config *c, const struct backend_options *o);

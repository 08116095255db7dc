// Inside the CPU backend. Each operation has a file of its own: first the plain loops in double, which are the
// reference and the backend of `options.fp64`, then the fp32 operation, which cuts the work into pieces for the threads
// and runs the tuned loops of kernels.h.
#pragma once
#include "runtime/backend.h"
#include "runtime/base/pool.h"
#include "runtime/cpu/kernels.h"
#include "runtime/model/rope.h"

// A buffer of activations: rows of `width` elements, `ld` apart, zero in between. Floats, or doubles with options.fp64.
struct rows {
  void *data;
  int64_t width, ld;
};

// What one thread needs for itself.
struct cpu_scratch {
  struct linear_scratch linear;
  float out[2][LINEAR_ROWS * LINEAR_PANEL];
  struct attention_scratch attention;
};

struct cpu {
  struct backend base; // first, so that a struct backend * is a struct cpu *
  struct pool *pool;
  const struct cpu_kernels *kernels;
  struct cpu_scratch *scratch;                  // [threads]; NULL with fp64
  int64_t q_width, kv_width;                    // heads head_dim, kv_heads head_dim
  struct rows x, norm, qkv, mixed, mlp, logits; // norm holds a row for each row of the step or of the logits
  struct fixed_step *fixed;                     // a projection's rows of x in fixed point; NULL where none wants that
  int64_t num_fixed;                            // steps there is room for
  double *row;                                  // [threads, widest row of weights], fp64 only
  float *gains;           // [2 layers + 1, hidden]: input and post-attention norm of each layer, the final norm
  double *inv_freq[2];    // [rotary_dim / 2], short (or plain) and long; floats' values but with fp64
  double *cos, *sin;      // [max_rows, rotary_dim / 2] for the positions below; floats' values but with fp64
  int64_t *rope_position; // [max_rows], -1: none yet
  bool *rope_long;        // [max_rows]
  char *pages;            // [num_pages, page_bytes]
  int64_t page_bytes, element_bytes;
};

static inline float *row_f32(const struct rows *b, int64_t row) { return (float *)b->data + row * b->ld; }
static inline double *row_f64(const struct rows *b, int64_t row) { return (double *)b->data + row * b->ld; }
static inline struct cpu *cpu_of(struct backend *b) { return (struct cpu *)b; }
static inline const float *cpu_gain(const struct cpu *c, int64_t index) {
  return c->gains + index * c->base.model->config.hidden_size;
}

extern const struct backend_ops cpu_ops_f32, cpu_ops_f64;

// backend.c: reads a stage of either kind.
bool cpu_read(struct backend *b, const struct step *s, enum stage stage, float *dst, struct err *e);
bool cpu_copy_page(struct backend *b, int32_t from, int32_t to, struct err *e);
// write.c
bool cpu_write(struct backend *b, const struct step *s, enum stage stage, const float *src, struct err *e);
bool cpu_read_cache(struct backend *b, const struct step *s, int32_t layer, float *keys, float *values, struct err *e);
bool cpu_write_cache(struct backend *b, const struct step *s, int32_t layer, const float *keys, const float *values,
                     struct err *e);
void cpu_close(struct backend *b);

// embed.c. Checks the step first: rows, positions, pages and logit rows within what the backend was opened for.
bool embed_f64(struct backend *b, const struct step *s, struct err *e);
bool embed_f32(struct backend *b, const struct step *s, struct err *e);
// The sequence that a row belongs to, and its position.
const struct step_seq *step_seq_of(const struct step *s, int32_t row);

// rmsnorm.c: y = x / sqrt(mean(x^2) + eps) * gain
void rmsnorm_f64(const double *x, const float *gain, int64_t n, double eps, double *y);
// Norms the rows listed in `rows`, or the first `count` when it is NULL, into c->norm.
void rmsnorm_rows_f64(struct cpu *c, const float *gain, const int32_t *rows, int32_t count);
void rmsnorm_rows_f32(struct cpu *c, const float *gain, const int32_t *rows, int32_t count);

// linear.c: y[r, o] = sum over k of x[r, k] w[o, k], or y += with `add`, for `count` rows.
void linear_f64(struct cpu *c, const struct matrix *w, const struct rows *x, int32_t count, const struct rows *y,
                bool add);
void linear_f32(struct cpu *c, const struct matrix *w, const struct rows *x, int32_t count, const struct rows *y,
                bool add);
// Room for `rows` rows of x of projections with these weights. At opening.
bool linear_alloc(struct cpu *c, const struct matrix *w, int64_t rows, struct err *e);
// Brings `count` rows of x to fixed point, if the weights want that, for the blocks below.
void linear_fix(struct cpu *c, const struct matrix *w, const struct rows *x, int32_t count);
// Outputs [first, first + num_outputs) in the order in which their weights are stored, at most LINEAR_PANEL, for
// `count` rows of x from `row` on, at most LINEAR_ROWS, into out[count, LINEAR_PANEL].
void linear_block(struct cpu *c, const struct matrix *w, int64_t first, int32_t num_outputs, const struct rows *x,
                  int64_t row, int32_t count, float *out, struct linear_scratch *scratch);
// Outputs of a piece of work: few for a single row, so that every thread gets some.
int32_t linear_panel(int32_t count);
// Rows of a piece of work: as few pieces as LINEAR_ROWS allows, of nearly one size, and where there are rows enough one
// for each thread.
int32_t linear_rows(const struct cpu *c, int32_t count);

// rope.c: cos and sin of the step's rows into c->cos and c->sin, once per step.
void rope_angles(struct cpu *c, const struct step *s);
// Rotates the pairs (i, i + rotary_dim / 2) of one head in place.
void rope_f64(double *x, const double *cosines, const double *sines, int32_t rotary_dim);
void rope_f32(float *x, const double *cosines, const double *sines, int32_t rotary_dim);

// cache.c: where a page holds the keys [head_dim, page_size] and the values [page_size, head_dim] of a layer and a
// head.
char *cache_keys(const struct cpu *c, int64_t page, int32_t layer, int32_t kv_head);
char *cache_values(const struct cpu *c, int64_t page, int32_t layer, int32_t kv_head);
// Rotates q and k of each row of c->qkv and stores k and v.
void cache_append_f64(struct cpu *c, const struct step *s, int32_t layer);
void cache_append_f32(struct cpu *c, const struct step *s, int32_t layer);

// attention.c
bool attention_f64(struct backend *b, const struct step *s, int32_t layer, struct err *e);
bool attention_f32(struct backend *b, const struct step *s, int32_t layer, struct err *e);

// mlp.c: c->mlp = silu(gate) * up of c->norm
void mlp_rows_f64(struct cpu *c, const struct matrix *gate_up, int32_t count);
void mlp_rows_f32(struct cpu *c, const struct matrix *gate_up, int32_t count);

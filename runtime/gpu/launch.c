// Which kernel serves a shape, and its geometry.
#include "runtime/gpu/gpu.h"

static unsigned ceil_div(int64_t a, int64_t b) { return (unsigned)((a + b - 1) / b); }

// A last wave of blocks, one a multiprocessor, that two halves of each still fit in is made of halves.
static bool linear_prefill(struct gpu_device *d, enum gpu_epilogue epilogue, struct phi3_linear *p, struct err *e) {
  static const enum gpu_kernel kernels[] = {KERNEL_linear_store, KERNEL_linear_add, KERNEL_linear_silu, KERNEL_linear_qkv};
  enum { THREADS = 256, TILES = PHI3_LINEAR_ROWS / PHI3_TILE_ROWS };
  unsigned blocks = ceil_div(p->w.tiles, TILES) * ceil_div(p->rows, PHI3_LINEAR_ROWS), last = blocks % (unsigned)d->multiprocessors;
  unsigned halved = 2 * last <= (unsigned)d->multiprocessors ? last : 0;
  p->whole_blocks = (int32_t)(blocks - halved);
  return gpu_launch(d, kernels[epilogue], (unsigned[]){blocks + halved, 1, 1}, THREADS, 0, p, e);
}

bool gpu_unpack(struct gpu_device *d, struct phi3_unpack *p, struct err *e) {
  return gpu_launch(d, KERNEL_unpack_rows, (unsigned[]){ceil_div((int64_t)p->w.tiles * p->w.groups * 64, 256), 1, 1}, 256, 0, p, e);
}

enum { APPLY_TILES = 16, APPLY_THREADS = 128 }; // of plain.cu

bool gpu_apply(struct gpu_device *d, enum gpu_epilogue epilogue, struct phi3_linear *p, struct err *e) {
  enum gpu_kernel kernel = epilogue == EPILOGUE_SILU ? KERNEL_apply_silu : KERNEL_apply_qkv;
  return gpu_launch(d, kernel, (unsigned[]){ceil_div(p->w.tiles, APPLY_TILES) * (unsigned)p->rows, 1, 1}, APPLY_THREADS, 0, p, e);
}

// Weights to plain order, cuBLAS's product, and what it has no epilogue for.
static bool linear_cublas(struct gpu_device *d, enum gpu_epilogue epilogue, struct phi3_linear *p, struct err *e) {
  struct phi3_unpack u = {p->w, d->plain};
  struct cublas_product m = {.w = d->plain, .x = p->x, .c = p->out, .rows = p->rows, .features = p->features,
                             .k = p->w.groups * PHI3_GROUP_K, .ldw = p->w.groups * PHI3_GROUP_K, .ldx = p->ldx, .ldc = p->ld_out,
                             .add = epilogue == EPILOGUE_ADD};
  bool own = epilogue == EPILOGUE_SILU || epilogue == EPILOGUE_QKV;
  if (own) {
    p->sums = m.c = d->sums;
    m.features = m.ldc = p->w.tiles * PHI3_TILE_ROWS;
  }
  return gpu_unpack(d, &u, e) && cublas_multiply(&d->cublas, &m, e) && (!own || gpu_apply(d, epilogue, p, e));
}

// Of linear_decode.cu: a block's warps, and its tiles of 16 packed rows.
struct decode_shape {
  unsigned warps, tiles, shared;
};

static struct decode_shape decode_shape(const struct phi3_weights *w, int32_t rows, bool norm) {
  unsigned chunks = ceil_div(w->groups, PHI3_CHUNK_K / PHI3_GROUP_K), line = rows > 8 ? 17 : 9;
  struct decode_shape s = {.warps = chunks <= 4 ? 4 / chunks * chunks : chunks < 8 ? chunks : 8};
  s.tiles = s.warps / chunks ? s.warps / chunks : 1;
  s.shared = (s.tiles * chunks * PHI3_TILE_ROWS * line + 3) / 4 * 4 * (unsigned)sizeof(float);
  if (norm) s.shared += (unsigned)rows * (ceil_div((int64_t)w->groups * PHI3_GROUP_K, 64) * 64 + 32) * (unsigned)sizeof(uint16_t);
  return s;
}

// A row of one chunk is normed by every block sooner than a kernel of its own is launched. At 3072 it costs more: gate_up 350 us against 320 and 4 for the
// kernel, in the virtual GPU's estimate.
bool gpu_norm_fits(const struct phi3_weights *w, int32_t rows) { return rows <= GPU_NORM_ROWS && w->groups <= PHI3_CHUNK_K / PHI3_GROUP_K; }

bool gpu_linear(struct gpu_device *d, enum gpu_epilogue epilogue, struct phi3_linear *p, struct err *e) {
  static const enum gpu_kernel few[] = {KERNEL_decode_store_8, KERNEL_decode_add_8, KERNEL_decode_silu_8, KERNEL_decode_qkv_8};
  static const enum gpu_kernel some[] = {KERNEL_decode_store_16, KERNEL_decode_add_16, KERNEL_decode_silu_16, KERNEL_decode_qkv_16};
  static const enum gpu_kernel normed[] = {KERNEL_decode_norm_store, KERNEL_decode_add_8, KERNEL_decode_norm_silu, KERNEL_decode_norm_qkv};
  if (p->rows > PHI3_DECODE_ROWS) return (d->cublas.handle ? linear_cublas : linear_prefill)(d, epilogue, p, e);
  bool norm = p->residual != 0;
  struct decode_shape s = decode_shape(&p->w, p->rows, norm);
  const enum gpu_kernel *kernels = norm ? normed : p->rows > 8 ? some : few;
  return gpu_launch(d, kernels[epilogue], (unsigned[]){ceil_div(p->w.tiles, s.tiles), 1, 1}, 32 * s.warps, s.shared, p, e);
}

bool gpu_rmsnorm(struct gpu_device *d, struct phi3_rmsnorm *p, struct err *e) {
  return gpu_launch(d, KERNEL_rmsnorm_rows, (unsigned[]){(unsigned)p->rows, 1, 1}, 128, 0, p, e);
}

int32_t gpu_head_size(int32_t head_dim) {
  static const int32_t sizes[] = {32, 64, 80, 96, 128};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes && head_dim % 8 == 0; i++)
    if (head_dim <= sizes[i]) return sizes[i];
  return 0;
}

static int size_index(int32_t head_dim) {
  int32_t size = gpu_head_size(head_dim);
  return size == 32 ? 0 : size == 64 ? 1 : size == 80 ? 2 : size == 96 ? 3 : 4;
}

enum { SPLIT_WARPS = 4 }; // of attention_decode.cu: a span each

// Some rows at a time, as many as `partial` has room for.
static bool attention_split(struct gpu_device *d, const struct phi3_attention *all, unsigned spans, struct err *e) {
  enum gpu_kernel kernel = KERNEL_attention_decode_32 + (enum gpu_kernel)size_index(all->head_dim);
  unsigned groups = (unsigned)all->kv_heads * ceil_div(all->heads / all->kv_heads, PHI3_TILE_ROWS);
  for (int32_t row = 0; row < all->rows; row += GPU_SPLIT_ROWS) {
    struct phi3_attention p = *all;
    p.rows = all->rows - row < GPU_SPLIT_ROWS ? all->rows - row : GPU_SPLIT_ROWS;
    p.q += 2 * (uint64_t)row * (uint64_t)p.ld;
    p.out += 2 * (uint64_t)row * (uint64_t)p.ld;
    p.row_info += (uint64_t)row * sizeof(struct phi3_row);
    if (!gpu_launch(d, kernel, (unsigned[]){ceil_div(spans, SPLIT_WARPS), groups, (unsigned)p.rows}, 32 * SPLIT_WARPS, 0, &p, e) ||
        !gpu_launch(d, KERNEL_attention_merge, (unsigned[]){(unsigned)p.heads, (unsigned)p.rows, 1}, ceil_div(p.head_dim, 32) * 32, 0, &p, e))
      return false;
  }
  return true;
}

bool gpu_attention(struct gpu_device *d, struct phi3_attention *p, bool split, int32_t blocks_or_spans, struct err *e) {
  if (split) return attention_split(d, p, (unsigned)blocks_or_spans, e);
  enum gpu_kernel kernel = KERNEL_attention_prefill_32 + (enum gpu_kernel)size_index(p->head_dim);
  return gpu_launch(d, kernel, (unsigned[]){(unsigned)blocks_or_spans, (unsigned)p->heads, 1}, 2 * PHI3_QUERY_ROWS, 0, p, e);
}

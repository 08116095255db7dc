// Every kernel at Phi-3-mini's shapes. On a real GPU: seconds of each, by events, weights cold in L2. On the virtual one each runs once, and VGPU_PROFILE
// takes its counters; scripts/kernel_table.py puts both beside the ideal figures that this program prints.
// Usage: gpu_kernels [cuda|vgpu] [part of a case's name], JSON lines to standard output.
#include "runtime/base/mem.h"
#include "runtime/gpu/registry.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 3072, HEADS = 32, HEAD = 96, MLP = 8192, VOCAB = 32064, PAGE = 16, POSITIONS = 4096, WINDOW = 2047, MAX_ROWS = 2048, REPEATS = 20 };

// features: of the output; context: tokens that the last row sees, itself among them.
struct shape {
  const char *name;
  enum gpu_kernel kernel;
  int32_t rows, k, features, context;
};

static const struct shape shapes[] = {
    {"embed, 1 row", KERNEL_embed_rows, 1, 0, 0, 0},
    {"embed, 512 rows", KERNEL_embed_rows, 512, 0, 0, 0},
    {"rmsnorm, 16 rows", KERNEL_rmsnorm_rows, 16, 0, 0, 0},
    {"rmsnorm, 2048 rows", KERNEL_rmsnorm_rows, 2048, 0, 0, 0},
    {"rope, 512 rows", KERNEL_rope_rows, 512, 0, 0, 0},
    {"append, 512 rows", KERNEL_append_rows, 512, 0, 0, 0},
    {"copy page", KERNEL_copy_pages, 1, 0, 0, 0},
    {"decode qkv, 1 row", KERNEL_decode_norm_qkv, 1, HIDDEN, 3 * HIDDEN, 0},
    {"decode o, 1 row", KERNEL_decode_add_8, 1, HIDDEN, HIDDEN, 0},
    {"decode gate_up, 1 row", KERNEL_decode_norm_silu, 1, HIDDEN, MLP, 0},
    {"decode down, 1 row", KERNEL_decode_add_8, 1, MLP, HIDDEN, 0},
    {"decode head, 1 row", KERNEL_decode_norm_store, 1, HIDDEN, VOCAB, 0},
    {"decode qkv, 8 rows", KERNEL_decode_qkv_8, 8, HIDDEN, 3 * HIDDEN, 0},
    {"decode gate_up, 8 rows", KERNEL_decode_silu_8, 8, HIDDEN, MLP, 0},
    {"decode head, 8 rows", KERNEL_decode_store_8, 8, HIDDEN, VOCAB, 0},
    {"decode qkv, 16 rows", KERNEL_decode_qkv_16, 16, HIDDEN, 3 * HIDDEN, 0},
    {"decode o, 16 rows", KERNEL_decode_add_16, 16, HIDDEN, HIDDEN, 0},
    {"decode gate_up, 16 rows", KERNEL_decode_silu_16, 16, HIDDEN, MLP, 0},
    {"decode head, 16 rows", KERNEL_decode_store_16, 16, HIDDEN, VOCAB, 0},
    {"prefill qkv, 512 rows", KERNEL_linear_qkv, 512, HIDDEN, 3 * HIDDEN, 0},
    {"prefill o, 512 rows", KERNEL_linear_add, 512, HIDDEN, HIDDEN, 0},
    {"prefill gate_up, 512 rows", KERNEL_linear_silu, 512, HIDDEN, MLP, 0},
    {"prefill down, 512 rows", KERNEL_linear_add, 512, MLP, HIDDEN, 0},
    {"prefill head, 64 rows", KERNEL_linear_store, 64, HIDDEN, VOCAB, 0},
    {"prefill o, 2048 rows", KERNEL_linear_add, 2048, HIDDEN, HIDDEN, 0},
    {"prefill qkv, 2048 rows", KERNEL_linear_qkv, 2048, HIDDEN, 3 * HIDDEN, 0},
    {"attention prefill 96, 512 tokens", KERNEL_attention_prefill_96, 512, 0, 0, 512},
    {"attention prefill 96, 2048 tokens", KERNEL_attention_prefill_96, 2048, 0, 0, 2048},
    {"attention prefill 32, 512 tokens", KERNEL_attention_prefill_32, 512, 0, 0, 512},
    {"attention prefill 64, 512 tokens", KERNEL_attention_prefill_64, 512, 0, 0, 512},
    {"attention prefill 80, 512 tokens", KERNEL_attention_prefill_80, 512, 0, 0, 512},
    {"attention prefill 128, 512 tokens", KERNEL_attention_prefill_128, 512, 0, 0, 512},
    {"attention decode 96, 128 tokens", KERNEL_attention_decode_96, 1, 0, 0, 128},
    {"attention decode 96, 2047 tokens", KERNEL_attention_decode_96, 1, 0, 0, 2047},
    {"attention merge 96, 2047 tokens", KERNEL_attention_merge, 1, 0, 0, 2047},
    {"attention decode 32, 2047 tokens", KERNEL_attention_decode_32, 1, 0, 0, 2047},
    {"attention decode 64, 2047 tokens", KERNEL_attention_decode_64, 1, 0, 0, 2047},
    {"attention decode 80, 2047 tokens", KERNEL_attention_decode_80, 1, 0, 0, 2047},
    {"attention decode 128, 2047 tokens", KERNEL_attention_decode_128, 1, 0, 0, 2047},
    {"unpack gate_up", KERNEL_unpack_rows, 512, HIDDEN, MLP, 0},
    {"apply silu, 512 rows", KERNEL_apply_silu, 512, HIDDEN, MLP, 0},
    {"apply qkv, 512 rows", KERNEL_apply_qkv, 512, HIDDEN, 3 * HIDDEN, 0},
    {"sample, greedy", KERNEL_sample_rows, 1, 0, 0, 0},
    {"sample, top-k 50, top-p 0.9", KERNEL_sample_rows, 1, 0, 0, 1},
};

static struct gpu_device device;
static struct err e;
static cu_pointer allocated[64];
static int num_allocated;

static void die(void) {
  fprintf(stderr, "gpu_kernels: %s\n", e.text);
  exit(1);
}

#define CHECK(call)  \
  do {               \
    if (!(call)) die(); \
  } while (0)

// Device memory of one 32-bit word repeated: 0x1c001c00 is fp16 0.0039 twice, and a small fp32 number.
static cu_pointer filled(size_t bytes, unsigned word) {
  cu_pointer p;
  const struct cuda *c = &device.cuda;
  CHECK(cuda_check(c, c->mem_alloc(&p, bytes + 256), "allocating", &e));
  CHECK(cuda_check(c, c->set_words(p, word, (bytes + 3) / 4, device.stream), "filling", &e));
  allocated[num_allocated++] = p;
  return p;
}

static cu_pointer sent(const void *data, size_t bytes) {
  cu_pointer p = filled(bytes, 0);
  CHECK(gpu_wait(&device, "filling", &e));
  CHECK(cuda_check(&device.cuda, device.cuda.to_device(p, data, bytes), "sending", &e));
  return p;
}

enum { SMALL = 0x1c001c00 };

static struct phi3_cache make_cache(int32_t kv_heads, int32_t dim, int32_t tokens) {
  int32_t pages = (tokens + PAGE - 1) / PAGE, table[MAX_ROWS / PAGE];
  for (int32_t i = 0; i < pages; i++) table[i] = pages - 1 - i;
  size_t bytes = (size_t)pages * PAGE * (size_t)kv_heads * (size_t)dim * 2;
  struct phi3_cache c = {filled(bytes, SMALL), filled(bytes, SMALL), sent(table, (size_t)pages * sizeof *table), pages, PAGE};
  return c;
}

static cu_pointer make_rows(int32_t rows, int32_t first) {
  struct phi3_row info[MAX_ROWS];
  for (int32_t r = 0; r < rows; r++) info[r] = (struct phi3_row){.position = first + r};
  return sent(info, (size_t)rows * sizeof *info);
}

// All parameter structs; a launch takes the one of its kernel.
union parameters {
  struct phi3_unpack unpack;
  struct phi3_embed embed;
  struct phi3_rmsnorm rmsnorm;
  struct phi3_rope rope;
  struct phi3_append append;
  struct phi3_copy_page copy;
  struct phi3_linear linear;
  struct phi3_attention attention;
  struct phi3_sample sample;
};

static enum gpu_epilogue epilogue_of(enum gpu_kernel k) {
  const char *name = gpu_kernel_name(k);
  return strstr(name, "qkv") ? EPILOGUE_QKV : strstr(name, "silu") ? EPILOGUE_SILU : strstr(name, "add") ? EPILOGUE_ADD : EPILOGUE_STORE;
}

static void make_linear(const struct shape *s, struct phi3_linear *p) {
  enum gpu_epilogue epilogue = epilogue_of(s->kernel);
  struct row_order order;
  struct phi3_qkv_part *parts = NULL;
  struct config c = {.num_heads = HEADS, .num_kv_heads = HEADS, .head_dim = HEAD, .rotary_dim = HEAD};
  if (epilogue == EPILOGUE_QKV) CHECK(row_order_qkv(&order, &parts, &c, &e));
  else if (epilogue == EPILOGUE_SILU) CHECK(row_order_gate_up(&order, s->features, &e));
  else CHECK(row_order_plain(&order, s->features, &e));
  *p = (struct phi3_linear){.w = {filled((size_t)packed_halfs(&order, s->k) * 2, SMALL), order.tiles, s->k / PHI3_GROUP_K}, .rows = s->rows, .ldx = s->k,
                            .features = s->features, .ld_out = s->features};
  if (strstr(gpu_kernel_name(s->kernel), "norm"))
    p->residual = filled((size_t)s->rows * HIDDEN * 4, SMALL), p->gain = filled(HIDDEN * 4, 0x3f800000), p->hidden = HIDDEN, p->eps = 1e-5f;
  else p->x = filled((size_t)s->rows * (size_t)s->k * 2, SMALL);
  cu_pointer out = filled((size_t)s->rows * (size_t)s->features * 4, 0);
  if (epilogue == EPILOGUE_SILU || epilogue == EPILOGUE_QKV) p->half_out = out;
  else p->out = out;
  if (parts) {
    p->ld_out = HEADS * HEAD;
    p->parts = sent(parts, 2 * (size_t)order.tiles * sizeof *parts);
    p->row_info = make_rows(s->rows, 0);
    p->rope = filled((size_t)POSITIONS * HEAD * 4, 0x3f000000), p->rope_positions = POSITIONS, p->rotary_half = HEAD / 2;
    p->head_dim = HEAD, p->kv_heads = HEADS, p->cache = make_cache(HEADS, HEAD, s->rows);
    mem_free(parts);
  }
  row_order_free(&order);
}

static bool is_linear(enum gpu_kernel k) { return (k >= KERNEL_linear_store && k <= KERNEL_decode_norm_qkv) || k >= KERNEL_unpack_rows; }

// The same matrix, for the kernels around cuBLAS.
static void make_plain(const struct shape *s, union parameters *p) {
  make_linear(s, &p->linear);
  struct phi3_weights w = p->linear.w;
  size_t packed_rows = (size_t)w.tiles * PHI3_TILE_ROWS;
  if (s->kernel == KERNEL_unpack_rows) p->unpack = (struct phi3_unpack){w, filled(packed_rows * (size_t)s->k * 2, 0)};
  else p->linear.sums = filled((size_t)s->rows * packed_rows * 4, SMALL);
}

static int32_t head_dim_of(enum gpu_kernel k) {
  int n = 0;
  sscanf(strpbrk(gpu_kernel_name(k) + 5, "0123456789") ? strpbrk(gpu_kernel_name(k) + 5, "0123456789") : "96", "%d", &n);
  return n;
}

static struct gpu_extent make_attention(const struct shape *s, struct phi3_attention *p) {
  int32_t dim = head_dim_of(s->kernel), blocks = (s->rows + PHI3_QUERY_ROWS - 1) / PHI3_QUERY_ROWS, spans = (s->context + PHI3_SPAN_KEYS - 1) / PHI3_SPAN_KEYS;
  struct phi3_queries queries[MAX_ROWS / PHI3_QUERY_ROWS];
  for (int32_t i = 0; i < blocks; i++) {
    int32_t left = s->rows - i * PHI3_QUERY_ROWS;
    queries[i] = (struct phi3_queries){i * PHI3_QUERY_ROWS, left < PHI3_QUERY_ROWS ? left : PHI3_QUERY_ROWS};
  }
  size_t width = HEADS * (size_t)dim;
  *p = (struct phi3_attention){.q = filled((size_t)s->rows * width * 2, SMALL), .out = filled((size_t)s->rows * width * 2, 0), .rows = s->rows, .ld = (int32_t)width,
                               .heads = HEADS, .kv_heads = HEADS, .head_dim = dim, .window = WINDOW, .scale = (float)(1.4426950408889634 / sqrt(dim)),
                               .row_info = make_rows(s->rows, s->context - s->rows), .cache = make_cache(HEADS, dim, s->context),
                               .queries = sent(queries, (size_t)blocks * sizeof *queries), .partial = filled((size_t)HEADS * (size_t)spans * ((size_t)dim + 2) * 4, 0x3f800000),
                               .max_spans = spans};
  struct gpu_extent x = {.keys = s->context};
  for (int32_t r = 0; r < s->rows; r++) x.pairs += s->context - s->rows + r + 1 < WINDOW ? s->context - s->rows + r + 1 : WINDOW;
  return x;
}

static void make_rows_kernel(const struct shape *s, union parameters *p) {
  size_t rows = (size_t)s->rows;
  int32_t ids[MAX_ROWS];
  for (int32_t i = 0; i < s->rows; i++) ids[i] = i * 7919 % VOCAB;
  switch (s->kernel) {
  case KERNEL_embed_rows:
    p->embed = (struct phi3_embed){filled((size_t)VOCAB * HIDDEN * 2, SMALL), sent(ids, rows * 4), filled(rows * HIDDEN * 4, 0), s->rows, HIDDEN};
    break;
  case KERNEL_rmsnorm_rows:
    p->rmsnorm = (struct phi3_rmsnorm){.x = filled(rows * HIDDEN * 4, 0x3f000000), .gain = filled(HIDDEN * 4, 0x3f800000), .y = filled(rows * HIDDEN * 2, 0), .rows = s->rows,
                                       .hidden = HIDDEN, .ldy = HIDDEN, .eps = 1e-5f};
    break;
  case KERNEL_rope_rows:
    p->rope = (struct phi3_rope){filled(rows * HIDDEN * 2, SMALL), make_rows(s->rows, 0), filled((size_t)POSITIONS * HEAD * 4, 0x3f000000), POSITIONS, HEAD / 2, s->rows, HEADS, HEAD};
    break;
  case KERNEL_append_rows:
    p->append = (struct phi3_append){filled(rows * HIDDEN * 2, SMALL), filled(rows * HIDDEN * 2, SMALL), make_rows(s->rows, 0), make_cache(HEADS, HEAD, s->rows), s->rows, HEADS, HEAD};
    break;
  case KERNEL_copy_pages: {
    struct phi3_cache c = make_cache(HEADS, HEAD, 2 * PAGE);
    p->copy = (struct phi3_copy_page){c.keys, c.values, 2 * PAGE * HIDDEN, PAGE * HIDDEN, 0, 1};
    break;
  }
  default:
    p->sample = (struct phi3_sample){.logits = filled(VOCAB * 4, 0x3f800000), .random = filled(8, 0x70000000), .ids = filled(4, 0), .rows = 1, .vocab = VOCAB, .top_p = 1};
    if (s->context) p->sample.temperature = 1, p->sample.top_k = 50, p->sample.top_p = 0.9f;
  }
}

static void launch(const struct shape *s, union parameters *p) {
  unsigned rows = (unsigned)s->rows;
  switch (s->kernel) {
  case KERNEL_embed_rows: case KERNEL_rope_rows: case KERNEL_append_rows: CHECK(gpu_launch(&device, s->kernel, (unsigned[]){rows, 1, 1}, 128, 0, p, &e)); break;
  case KERNEL_rmsnorm_rows: CHECK(gpu_rmsnorm(&device, &p->rmsnorm, &e)); break;
  case KERNEL_copy_pages: CHECK(gpu_launch(&device, s->kernel, (unsigned[]){PAGE * HIDDEN / 8 / 256, 1, 2}, 256, 0, p, &e)); break;
  case KERNEL_sample_rows: CHECK(gpu_launch(&device, s->kernel, (unsigned[]){1, 1, 1}, 1024, 0, p, &e)); break;
  case KERNEL_unpack_rows: CHECK(gpu_unpack(&device, &p->unpack, &e)); break;
  case KERNEL_apply_silu: case KERNEL_apply_qkv: CHECK(gpu_apply(&device, epilogue_of(s->kernel), &p->linear, &e)); break;
  default:
    if (s->kernel >= KERNEL_linear_store && s->kernel <= KERNEL_decode_norm_qkv) CHECK(gpu_linear(&device, epilogue_of(s->kernel), &p->linear, &e));
    else if (s->kernel == KERNEL_attention_merge) CHECK(gpu_launch(&device, s->kernel, (unsigned[]){HEADS, rows, 1}, 96, 0, p, &e));
    else if (s->kernel >= KERNEL_attention_decode_32) CHECK(gpu_launch(&device, s->kernel, (unsigned[]){(unsigned)(p->attention.max_spans + 3) / 4, HEADS, rows}, 128, 0, p, &e));
    else CHECK(gpu_attention(&device, &p->attention, false, (s->rows + PHI3_QUERY_ROWS - 1) / PHI3_QUERY_ROWS, &e));
  }
}

static int by_value(const void *a, const void *b) { return (*(const float *)a > *(const float *)b) - (*(const float *)a < *(const float *)b); }

// Median of some runs, each after 64 MiB of other memory went through L2.
static double seconds(const struct shape *s, union parameters *p) {
  const struct cuda *c = &device.cuda;
  enum { FLUSH = 64 << 20 };
  cu_pointer flush = filled(FLUSH, 0);
  cu_event start, end;
  float ms[REPEATS];
  CHECK(cuda_check(c, c->event_create(&start, 0), "an event", &e) && cuda_check(c, c->event_create(&end, 0), "an event", &e));
  for (int i = 0; i < REPEATS; i++) {
    CHECK(cuda_check(c, c->set_words(flush, (unsigned)i, FLUSH / 4, device.stream), "flushing L2", &e) && cuda_check(c, c->event_record(start, device.stream), "timing", &e));
    launch(s, p);
    CHECK(cuda_check(c, c->event_record(end, device.stream), "timing", &e) && cuda_check(c, c->event_wait(end), s->name, &e) &&
          cuda_check(c, c->event_elapsed(&ms[i], start, end), "timing", &e));
  }
  c->event_destroy(start), c->event_destroy(end);
  qsort(ms, REPEATS, sizeof *ms, by_value);
  return 1e-3 * (double)ms[REPEATS / 2];
}

static void run(const struct shape *s, bool real) {
  union parameters p = {0};
  struct gpu_extent x = {0};
  if (s->kernel >= KERNEL_unpack_rows) make_plain(s, &p);
  else if (is_linear(s->kernel)) make_linear(s, &p.linear);
  else if (s->kernel >= KERNEL_attention_prefill_32 && s->kernel <= KERNEL_attention_merge) x = make_attention(s, &p.attention);
  else make_rows_kernel(s, &p);
  struct gpu_cost cost = gpu_registry[s->kernel].cost(&p, x);
  printf("{\"case\": \"%s\", \"kernel\": \"%s\", \"ideal_bytes\": %.0f, \"operations\": %.0f", s->name, gpu_kernel_name(s->kernel), cost.bytes, cost.operations);
  if (real) {
    double t = seconds(s, &p);
    printf(", \"seconds\": %.9f, \"gigabytes_per_second\": %.1f, \"tera_operations_per_second\": %.2f", t, cost.bytes / t * 1e-9, cost.operations / t * 1e-12);
  } else {
    launch(s, &p);
    CHECK(gpu_wait(&device, s->name, &e));
  }
  printf("}\n");
  fflush(stdout);
  while (num_allocated) device.cuda.mem_free(allocated[--num_allocated]);
}

int main(int argc, char **argv) {
  bool real = argc > 1 && strcmp(argv[1], "cuda") == 0;
  int cases = 0;
  CHECK(gpu_device_open(&device, !real, &e));
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    if (argc > 2 && !strstr(shapes[i].name, argv[2])) continue;
    run(&shapes[i], real);
    cases++;
  }
  for (int k = 0; k < KERNEL_COUNT && argc < 3; k++) { // no kernel escapes
    size_t i = 0;
    while (i < sizeof shapes / sizeof *shapes && shapes[i].kernel != (enum gpu_kernel)k) i++;
    if (i == sizeof shapes / sizeof *shapes) err_set(&e, "%s has no case", gpu_kernel_name((enum gpu_kernel)k)), die();
  }
  if (!cases) err_set(&e, "no case of that name"), die();
  gpu_device_close(&device);
  return 0;
}

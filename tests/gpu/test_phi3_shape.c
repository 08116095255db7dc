// Two layers of Phi-3-mini's own shape with random weights: near the CPU, cached equals uncached to the bit, whole prompt equals chunks. All matrices are cut from one
// block of random halfs, so that the test needs no file.
#include "tests/gpu/gpu_test.h"
#include "runtime/base/mem.h"
#include "runtime/forward.h"
#include <math.h>

enum { HIDDEN = 3072, HEADS = 32, MLP = 8192, VOCAB = 320, LAYERS = 2, TOKENS = 18 };

static struct err e;
static struct model model;
static struct layer_weights layers[LAYERS];
static struct tensor tensors[2 + 4 * LAYERS + 1], norm;
static int num_tensors;
static uint16_t *block;
static float *ones;

// Another stretch of the block each time.
static struct matrix matrix(int64_t rows, int64_t cols) {
  struct tensor *t = &tensors[num_tensors++];
  *t = (struct tensor){.name = "random", .type = DTYPE_F16, .dims = 2, .rows = rows, .cols = cols, .data = block + num_tensors * 1001, .bytes = rows * cols * 2};
  return (struct matrix){.rows = rows, .cols = cols, .num_parts = 1, .parts = {{t, 0, 0, 0}}};
}

static void make_model(void) {
  size_t most = 2ull * MLP * HIDDEN + 65536;
  uint64_t seed = test_seed();
  block = malloc(most * sizeof *block);
  ones = malloc(HIDDEN * sizeof *ones);
  assert_true(block && ones);
  for (size_t i = 0; i < most; i += 4) { // sums of uniform bytes: near normal, deviation about 0.02
    uint64_t r = test_random(&seed);
    for (int j = 0; j < 4; j++, r >>= 16) block[i + (size_t)j] = f32_to_f16(((float)(r & 255) + (float)(r >> 8 & 255) - 255) * 2e-4f);
  }
  for (int i = 0; i < HIDDEN; i++) ones[i] = 1 + 0.1f * (float)(test_uniform(&seed) - 0.5);
  norm = (struct tensor){.name = "norm", .type = DTYPE_F32, .dims = 1, .rows = 1, .cols = HIDDEN, .data = ones, .bytes = HIDDEN * 4};
  for (int i = 0; i < LAYERS; i++)
    layers[i] = (struct layer_weights){&norm, &norm, matrix(3 * HIDDEN, HIDDEN), matrix(HIDDEN, HIDDEN), matrix(2 * MLP, HIDDEN), matrix(HIDDEN, MLP)};
  model = (struct model){.layers = layers, .norm = &norm, .embed = matrix(VOCAB, HIDDEN), .head = matrix(VOCAB, HIDDEN)};
  model.config = (struct config){.architecture = "Phi3ForCausalLM", .hidden_size = HIDDEN, .num_layers = LAYERS, .num_heads = HEADS, .num_kv_heads = HEADS,
                                 .head_dim = HIDDEN / HEADS, .intermediate_size = MLP, .vocab_size = VOCAB, .max_positions = 4096, .original_max_positions = 4096,
                                 .sliding_window = 2047, .rms_eps = 1e-5, .rope_theta = 10000, .rotary_dim = HIDDEN / HEADS, .rope_scale = 1, .bos_id = -1, .pad_id = -1};
}

// The first `first` tokens at once, the others one by one.
static float *run(bool gpu, int32_t first) {
  struct backend_options o = {.page_size = 16, .num_pages = 4, .max_rows = TOKENS, .max_logits = TOKENS, .page_type = PAGE_F16, .max_positions = 64};
  struct backend *b = gpu ? gpu_backend_open(&model, &o, test_device_is_virtual(), &e) : cpu_backend_open(&model, &o, &e);
  if (!b) fail_msg("%s", e.text);
  struct forward f;
  struct sequence s = {0};
  int32_t ids[TOKENS];
  float *logits = malloc(sizeof(float) * TOKENS * VOCAB);
  for (int i = 0; i < TOKENS; i++) ids[i] = i * 37 % VOCAB;
  assert_ok(forward_open(&f, b, &e));
  for (int32_t at = 0, n = first; at < TOKENS; at += n, n = 1) {
    struct forward_input in = {&s, ids + at, n, false, LOGITS_ALL};
    assert_ok(forward_run(&f, &in, 1, &e));
    assert_ok(forward_read(&f, STAGE_LOGITS, logits + at * VOCAB, &e));
  }
  sequence_free(&s, &f.pages);
  forward_close(&f);
  return logits;
}

static void layers_of_phi3_mini(void **state) {
  (void)state;
  test_device();
  make_model();
  float *cpu = run(false, TOKENS), *whole = run(true, TOKENS), *cached = run(true, TOKENS - 2);
  double error = 0, reference = 0;
  for (int i = 0; i < TOKENS * VOCAB; i++) {
    if (!isfinite(whole[i])) fail_msg("logit %d is %g", i, whole[i]);
    if (memcmp(&whole[i], &cached[i], sizeof *whole)) fail_msg("logit %d is %.9g in one piece and %.9g in pieces", i, whole[i], cached[i]);
    error += ((double)whole[i] - cpu[i]) * ((double)whole[i] - cpu[i]);
    reference += (double)cpu[i] * cpu[i];
  }
  printf("relative error against the CPU %.2e\n", sqrt(error / reference));
  if (!(sqrt(error / reference) <= 3e-3)) fail_msg("relative error %g", sqrt(error / reference));
  const char *first = "";
  unsigned n = test_findings(&first);
  if (n) fail_msg("%u findings of the virtual GPU, the first: %s", n, first);
  free(cpu), free(whole), free(cached), free(block), free(ones);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(layers_of_phi3_mini)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  test_device_close();
  return failed;
}

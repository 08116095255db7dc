// The choice of the next id, against runtime/sampler.c's sorted candidates with the same random numbers.
#include "tests/gpu/gpu_test.h"
#include "runtime/sampler.h"
#include <math.h>

struct shape {
  int32_t rows, vocab, top_k;
  float temperature, top_p, min_p, spread;
  bool ties; // few different values
};
static const struct shape shapes[] = {{1, 1, 0, 0, 1, 0, 1, false},      {3, 1023, 0, 0, 1, 0, 3, false},      {2, 4100, 0, 0, 1, 0, 3, true},
                                      {4, 1025, 0, 1, 1, 0, 3, false},   {3, 3000, 40, 0.7f, 1, 0, 4, false},  {3, 3000, 0, 1.5f, 0.9f, 0, 4, false},
                                      {3, 1500, 0, 1, 1, 0.05f, 4, false}, {4, 2000, 50, 0.8f, 0.8f, 0.1f, 5, false}, {3, 2500, 7, 1, 0.5f, 0, 2, true},
                                      {2, 600, 0, 1e-30f, 1, 0, 3, false}, {2, 600, 1, 1, 1, 0, 3, false},      {2, 700, 0, 1, 0, 0, 3, false},
                                      {2, 5000, 0, 100, 1, 0, 3, false},  {4, 4, 0, 1, 0.5f, 0, 0, false}, // the last: equal ones, of which two just reach top-p
                                      {4, 8, 0, 1, 0.75f, 0, 0, false}};
int sample_shapes(enum gpu_kernel k) {
  (void)k;
  return sizeof shapes / sizeof *shapes;
}

static struct err e;

static float *make_logits(const struct shape *s, uint64_t *seed) {
  float *l = random_floats(seed, (int64_t)s->rows * s->vocab, s->spread, false);
  for (int64_t i = 0; i < (int64_t)s->rows * s->vocab; i++) {
    if (s->ties) l[i] = roundf(l[i]);
    if (s->vocab > 10 && test_random(seed) % 29 == 0) l[i] = -INFINITY;
  }
  return l;
}

// Probability of the candidates before the i-th and up to it, all that the kernel takes for equal to it left out or counted in: their order is its own.
static void share_of(const struct sampler *s, int32_t n, int32_t i, double *before, double *upto) {
  const double equal = 0x1p-25; // in logits / temperature; the kernel resolves 2^-26 and rounds
  *before = *upto = 0;
  for (int32_t j = 0; j < n; j++) {
    double ahead = (double)s->candidates[j].logit - (double)s->candidates[i].logit;
    if (ahead > equal) *before += s->candidates[j].probability;
    if (ahead >= -equal) *upto += s->candidates[j].probability;
  }
}

// Greedy: the largest, the lower id on a tie. Else the candidate at whose running sum the random share falls; rounding may move that share's edge a little.
static void check_id(const struct shape *s, const float *logits, double random, int32_t id, const char *what) {
  struct sampler_options o = {s->temperature, s->top_k, s->top_p, s->min_p, 1, 0};
  struct sampler sampler;
  if (id < 0 || id >= s->vocab) fail_msg("%s: id %d", what, id);
  assert_ok(sampler_init(&sampler, s->vocab, &o, &e));
  int32_t n = sampler_candidates(&sampler, logits, NULL, 0, &e);
  assert_true(n > 0);
  if (s->temperature <= 0) n = 1;
  double before = 0, upto = 0, slack = 2e-5;
  bool found = false;
  for (int32_t i = 0; i < n && !found; i++) {
    if (sampler.candidates[i].id != id) continue;
    share_of(&sampler, n, i, &before, &upto);
    found = s->temperature <= 0 || (random >= before - slack && random <= upto + slack);
  }
  if (!found) fail_msg("%s: id %d for the share %.17g is not the sampler's", what, id, random);
  sampler_free(&sampler);
}

struct outcome case_sample(enum gpu_kernel k, int shape, uint64_t seed, bool check) {
  const struct shape *s = &shapes[shape];
  float *logits = make_logits(s, &seed);
  double shares[4] = {0, test_uniform(&seed), 1 - 0x1p-53, test_uniform(&seed)};
  uint64_t units[4];
  for (int i = 0; i < 4; i++) units[i] = (uint64_t)(shares[i] * 0x1p53) << 11;
  char what[120];
  snprintf(what, sizeof what, "%s, shape %d", gpu_kernel_name(k), shape);
  struct buffer bl = buffer_open(logits, (size_t)s->rows * (size_t)s->vocab * 4), br = buffer_open(units, sizeof units), bi = buffer_open(NULL, (size_t)s->rows * 4);
  struct phi3_sample p = {bl.p, br.p, bi.p, s->rows, s->vocab, s->top_k, s->temperature, s->top_p, s->min_p};
  assert_ok(gpu_launch(test_device(), k, (unsigned[]){(unsigned)s->rows, 1, 1}, 1024, 0, &p, &e));
  struct outcome o = {buffer_read(&bi, what), bi.bytes};
  for (int32_t r = 0; r < s->rows && check; r++) check_id(s, logits + (int64_t)r * s->vocab, shares[r], ((int32_t *)o.data)[r], what);
  // Equal ones come in the order of their ids: the smallest share has the first, the largest the last that is left.
  if (check && s->spread == 0) assert_true(((int32_t *)o.data)[0] < ((int32_t *)o.data)[2]);
  // A logit that is no number, or infinite, is told.
  if (check) {
    for (int i = 0; i < 3; i++) {
      float bad = i == 0 ? NAN : i == 1 ? INFINITY : -INFINITY;
      for (int32_t c = 0; c < s->vocab; c++)
        if (i == 2 || c == s->vocab - 1) logits[c] = bad;
      assert_ok(cuda_check(&test_device()->cuda, test_device()->cuda.to_device(bl.p, logits, (size_t)s->vocab * 4), "logits", &e));
      assert_ok(gpu_launch(test_device(), k, (unsigned[]){1, 1, 1}, 1024, 0, &p, &e));
      int32_t *id = buffer_read(&bi, what);
      assert_int_equal(*id, -1);
      free(id);
    }
  }
  buffer_close(&bl), buffer_close(&br), buffer_close(&bi);
  free(logits);
  return o;
}

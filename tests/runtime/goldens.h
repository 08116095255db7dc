// The cases of tests/goldens, random checkpoints and the bundled model, made by scripts/make_goldens.sh from Hugging Face transformers.
#pragma once
#include "runtime/base/json.h"
#include "runtime/base/npy.h"
#include "runtime/forward.h"

struct golden {
  const char *name;
  char model_path[512];
  struct npy ids, logits, logits_fp64; // the last one's data may be NULL
  int32_t *rows;                       // [num_rows] positions of the logits
  int32_t num_rows;
  int32_t hidden_layers;               // layers with a golden hidden state
  char case_path[512];
  int32_t *greedy;                     // [num_greedy] ids that follow
  int32_t num_greedy;
};

// Calls `check` for every case (with PHI3_TEST_QUICK in the environment, for every ninth) and returns their number; fails the test when there are none.
int goldens_each(void (*check)(const struct golden *g, void *ctx), void *ctx);
// Model and forward pass with room for the tokens, rows and pages of one case.
struct opened {
  struct model model;
  struct forward forward;
};
void opened_open(struct opened *o, const char *model_path, const struct backend_options *options);
void opened_close(struct opened *o);
// |a - b| / |b| over all elements; infinite when an element is not finite.
double relative_error(const float *a, const float *b, int64_t n);

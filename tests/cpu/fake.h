// A small model made of random weights in memory, and what each stage of its forward pass should be, in double and
// without a cache.
#pragma once
#include "tests/cpu/cpu_test.h"
#include "runtime/backend.h"

enum { FAKE_LAYERS = 2, FAKE_MAX_TOKENS = 160 };

struct fake {
  struct model model;
  struct layer_weights layers[FAKE_LAYERS];
  struct tensor tensors[3 + 8 * FAKE_LAYERS];
  int num_tensors;
};

// `type` of the matrices; those whose rows do not fill its blocks are F32.
void fake_open(struct fake *f, const struct config *c, enum dtype type, uint64_t *seed);
void fake_close(struct fake *f);

// The stages of the forward pass over ids[0..tokens), layer by layer; `seen` gets each as [tokens, width].
void fake_forward(const struct fake *f, const int32_t *ids, int32_t tokens, bool long_rope,
                  void (*seen)(void *ctx, enum stage stage, int32_t layer, const double *x, int64_t width), void *ctx);

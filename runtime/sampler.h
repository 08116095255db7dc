// From logits to the next id: greedy, or drawn from the distribution that temperature, top-k, top-p, min-p and the
// repetition penalty leave, applied in Hugging Face's order: penalty, temperature, top-k, top-p, min-p.
#pragma once
#include "runtime/base/err.h"
#include <stdint.h>

struct sampler_options {
  float temperature;        // 0: greedy
  int32_t top_k;            // keep the k largest, ties with the k-th among them; 0: all
  float top_p;              // keep the fewest whose probability reaches this; 1: all
  float min_p;              // drop what has less than this share of the largest probability; 0: none
  float repetition_penalty; // 1: none
  uint64_t seed;
};

struct candidate {
  int32_t id;
  float logit;        // after penalty and temperature
  double probability; // among the candidates that are left
};

struct sampler {
  struct sampler_options options;
  int32_t vocab_size;
  uint64_t state;               // of the random numbers
  struct candidate *candidates; // [vocab_size]
  struct candidate *spare;      // [vocab_size], for sorting
  uint8_t *seen;                // [vocab_size] ids that the repetition penalty concerns
};

struct sampler_options sampler_greedy(void);
bool sampler_init(struct sampler *s, int32_t vocab_size, const struct sampler_options *o, struct err *e);
void sampler_free(struct sampler *s);
// The candidates for these logits after the tokens in history[0, n), most probable first (lower id first on a tie), in
// s->candidates; their number, or 0 and an error when a logit is NaN or infinite upwards.
int32_t sampler_candidates(struct sampler *s, const float *logits, const int32_t *history, int64_t n, struct err *e);
// The next id: -1 and an error as above.
int32_t sampler_pick(struct sampler *s, const float *logits, const int32_t *history, int64_t n, struct err *e);
// A number in [0, 1), every multiple of 2^-53 equally likely.
double sampler_random(struct sampler *s);

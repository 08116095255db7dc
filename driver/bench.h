// What `phi3 bench` measures: generation with the key-value cache and without, to the same ids.
#pragma once
#include "driver/driver.h"
#include "driver/machine.h"
#include "driver/prompt.h"

enum { MAX_ROUNDS = 1000 }; // and runs
enum { ROOF_TOKENS = 512 }; // longest sequence of --roof

struct bench_options {
  struct engine_options engine;
  struct prompt_options prompt;
  int64_t new_tokens, runs; // of the experiment
  bool no_uncached, no_sweep, no_roof, roof;
  const char *prompts, *outputs; // lengths of the sweep, "16,64,256"
  int64_t sweep_runs, sweep_seconds;
  const char *json; // file
};

// Generations of one kind: every sample.
struct timing {
  int64_t runs, capacity, tokens; // made; room; new tokens of each
  double *at;                     // [runs, tokens] seconds from the call to each token
};

// One prompt length and one output length.
struct point {
  int64_t prompt_tokens, new_tokens;
  struct ids ids;                 // what every run must generate
  bool compared;                  // cached and uncached gave the same ids
  const char *skipped;            // why nothing was measured, or NULL
  struct timing cached, uncached; // no runs: not measured
};

struct ceiling {                            // one round: the machine's and the model's figures beside each other
  double read_bytes, multiply_adds;         // per second; an fp32 multiply-add counts as two operations
  double decode_tokens, prefill_operations; // per second
};

struct bench {
  const struct bench_options *options;
  struct engine *engine;
  struct machine machine;
  const char *command_line;
  struct ids prompt;
  struct point main;
  struct point *sweep;
  int64_t num_sweep;
  struct ceiling
      *rounds; // with --roof as many as runs; else one with the machine's figures alone, or with --no-roof none
  int64_t num_rounds;
  int64_t decode_prompt, decode_tokens, prefill_tokens; // what --roof measures
};

struct summary {
  double mean, sd; // sd with n - 1; 0 for one sample
  int64_t n;
};

// Statistics of a timing: seconds of the whole generation, to the first token, and tokens per second after it.
struct summary timing_seconds(const struct timing *t);
struct summary timing_first(const struct timing *t);
double timing_rate(const struct timing *t);
struct summary summarize(const double *x, int64_t n, int64_t stride);

// Measures the experiment. False, without any time, when cached and uncached ids differ.
bool bench_main(struct bench *b, struct err *e);
// Each prompt length with each output length; the dearest are skipped when, by the experiment's speed, all would take
// too long.
bool bench_sweep(struct bench *b, const struct ids *prompts, const struct ids *outputs, struct err *e);
// `runs` generations of each kind. On a terminal the time left is shown: it counts `ahead` seconds after this point.
bool bench_point(struct bench *b, struct point *p, const char *name, int64_t runs, bool warm_up, double ahead,
                 struct err *e);
// The prompt's ids over and over, up to `count`.
bool bench_prompt(const struct bench *b, int64_t count, struct ids *out, struct err *e);
bool bench_roof(struct bench *b, int64_t rounds, bool with_model, struct err *e);
void point_free(struct point *p);
// All but the engine and the options.
void bench_free(struct bench *b);

void bench_print(const struct bench *b);
void bench_print_roof(const struct bench *b);
bool bench_write_json(const struct bench *b, const char *path, struct err *e);

// The commit that the program was built from, with "-dirty" when the sources differ from it; made by commit.cmake.
extern const char phi3_commit[];

// What `phi3 bench` measures: generation with the key-value cache and without, to the same ids. On the virtual GPU it
// estimates instead.
#pragma once
#include "driver/driver.h"
#include "driver/estimate.h"
#include "driver/machine.h"
#include "driver/prompt.h"
#include "runtime/gpu/nvml.h"
#include <jansson.h>

enum { MAX_ROUNDS = 1000 }; // and runs
enum { MAX_BATCH = 16 };
enum { ROOF_TOKENS = 512 }; // longest sequence of --roof

struct bench_options {
  struct engine_options engine;
  struct prompt_options prompt;
  int64_t new_tokens, runs; // of the experiment
  bool no_uncached, no_sweep, no_roof, roof;
  const char *prompts, *outputs, *batches; // lengths of the sweep, "16,64,256", and sequences at once
  int64_t sweep_runs, sweep_seconds;
  const char *like;                  // shape to estimate, in place of a model; NULL: none
  int64_t blocks;                    // of a grid that are replayed at most; 0: no bound
  const char *json, *csv, *markdown; // files
  const char *compare;               // a saved run's JSON
  float max_regression;              // per cent; below 0: none
};

// Generations of one kind: every sample.
struct timing {
  int64_t runs, capacity, tokens; // made; room; new tokens of each sequence
  double *at;                     // [runs, tokens] seconds from the call to each token
  double *joules;                 // [runs] of the card; NAN: not told
};

// One prompt length and one output length.
struct point {
  int64_t prompt_tokens, new_tokens, batch;   // sequences at once, each of so many tokens
  struct ids ids;                             // what every run and every sequence must generate
  bool compared;                              // cached and uncached gave the same ids
  const char *skipped;                        // why nothing was measured, or NULL
  struct timing cached, uncached;             // no runs: not measured
  struct timing paper_cached, paper_uncached; // estimates with the card's memory as fast as on paper; no runs: measured
  double decode_bytes;                        // read and written for a token with the cache, mean; 0: unknown
};

struct ceiling {                            // one round: the machine's and the model's figures beside each other
  double read_bytes, multiply_adds;         // per second; an fp32 multiply-add counts as two operations
  double decode_tokens, prefill_operations; // per second
};

// A step's estimate, operation by operation.
struct breakdown {
  int64_t rows, seqs, position;
  double times[ESTIMATE_OPS];              // that the step runs the operation
  struct estimate_cost cost[ESTIMATE_OPS]; // of one of them
};

// The model as its figures are held against it, and what it is run on.
struct subject {
  char name[256], architecture[64], type[16]; // type: of the weights as stored
  int64_t parameters, weight_bytes;
  double pass_bytes;      // of weights that one pass reads
  double key_value_bytes; // of one cached token
  int32_t layers, window; // 0: all keys
  const char *device;     // "cpu", "cuda", "vgpu"
  char card[160];         // of cuda and vgpu
  double roof;            // bytes a second; 0: unknown
  char roof_text[64];     // "of the machine's", "of 320 GB/s on paper"
};

struct bench {
  const struct bench_options *options;
  struct engine *engine;
  struct progress progress; // for Ctrl-C within a pass
  struct machine machine;
  struct subject subject;
  const char *command_line;
  const char *prompt_text; // NULL: ids
  struct ids prompt;
  struct point main;
  struct point *sweep;
  int64_t num_sweep;
  struct ceiling
      *rounds; // with --roof as many as runs; else one with the machine's figures alone, or with --no-roof none
  int64_t num_rounds;
  int64_t decode_prompt, decode_tokens, prefill_tokens; // what --roof measures
  struct nvml nvml;                                     // not open: no card, or it tells nothing
  struct nvml_reading before, after;                    // of the experiment
  struct estimator *estimator;                          // NULL: measured
  struct breakdown decode, prefill;                     // of estimates
};

struct summary {
  double mean, sd; // sd with n - 1; 0 for one sample
  int64_t n;
};

// Statistics of a timing: seconds of the whole generation, to the first token, tokens per second and sequence after it.
struct summary timing_seconds(const struct timing *t);
struct summary timing_first(const struct timing *t);
double timing_rate(const struct timing *t);
// The share `q` of all times between a token and the next is at most this; 0 with one token.
double timing_quantile(const struct timing *t, double q);
double timing_joules(const struct timing *t); // mean of the runs; NAN: not told
// Bytes a second that decoding reads (weights, keys and values), and the share of the roof; 0: unknown.
double point_bandwidth(const struct bench *b, const struct point *p);
double point_share(const struct bench *b, const struct point *p);
struct summary summarize(const double *x, int64_t n, int64_t stride);

// What is known of the model before anything runs.
void bench_subject(struct bench *b, const struct config *c, const struct model *m);

// Measures the experiment. False, without any time, when cached and uncached ids differ.
bool bench_main(struct bench *b, struct err *e);
// Lists each prompt length with each output length, and the batches of the experiment.
bool bench_plan(struct bench *b, const struct ids *prompts, const struct ids *outputs, const struct ids *batches,
                int64_t positions, struct err *e);
// Measures them; the dearest are skipped when, by the experiment's speed, all would take too long.
bool bench_sweep(struct bench *b, struct err *e);
// `runs` generations of each kind. On a terminal the time left is shown: it counts `ahead` seconds after this point.
bool bench_point(struct bench *b, struct point *p, const char *name, int64_t runs, bool warm_up, double ahead,
                 struct err *e);
// One generation of p->batch sequences with the same prompt, cached, into at[new_tokens]; ids of the first sequence,
// from which none of the others may differ.
bool bench_batch(struct bench *b, const struct point *p, const struct ids *prompt, double *at, struct ids *ids,
                 struct err *e);
// The prompt's ids over and over, up to `count`.
bool bench_prompt(const struct bench *b, int64_t count, struct ids *out, struct err *e);
bool bench_roof(struct bench *b, int64_t rounds, bool with_model, struct err *e);
bool timing_init(struct timing *t, int64_t runs, int64_t tokens, struct err *e);
void point_free(struct point *p);
// All but the engine and the options.
void bench_free(struct bench *b);

// On the virtual GPU: opens the estimator for a shape (taken over), checks the ids on a layer, and estimates all
// points.
bool bench_estimate_open(struct bench *b, struct config *c, struct err *e);
bool bench_estimate(struct bench *b, struct err *e);

void bench_print(const struct bench *b);
void bench_print_roof(const struct bench *b);
// "6.21 s ± 2.22 s", the deviation in the unit of the mean.
enum { TIME_TEXT = 96 };
const char *time_text(struct summary s, char out[TIME_TEXT]);
// Everything as JSON; NULL: no memory.
json_t *bench_json(const struct bench *b);
// A row for each point and kind.
bool bench_write_csv(const struct bench *b, const char *path, struct err *e);
bool bench_write_markdown(const struct bench *b, const char *path, struct err *e);
// Prints a saved run against another. *regressed: something is slower by more than `most` per cent and not by noise
// alone. False when the two do not belong together.
bool bench_compare(const json_t *before, const char *before_name, const json_t *after, const char *after_name,
                   double most, bool *regressed, struct err *e);

// The commit that the program was built from, with "-dirty" when the sources differ from it; made by commit.cmake.
extern const char phi3_commit[];

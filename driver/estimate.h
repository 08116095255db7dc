// What passes of a model would take on a Tesla T4, by running its kernels on the virtual GPU: estimates, never
// measurements.
//
// The rule. Every layer does the same work, so a model of one layer is run; the kernels' work does not depend on the
// values, so its weights are anything. Each operation of the schedule (embedding; a layer's five; LM head; choice of
// the id) is run alone and the virtual GPU replays every launch on its model of a T4. An operation but attention
// depends on the step's rows alone, attention on rows and position. What lies between is interpolated linearly between
// the two sides of the steps in the kernels' work: 8, 16 and multiples of 128 rows; for attention multiples of 64 rows
// or 256 keys, and the window, behind which the same comes again every 256 keys. A pass is the embedding, all layers,
// and where an id is wanted LM head and choice; a launch adds the modelled overhead of one. Copies and the host's own
// time are not in it.
#pragma once
#include "driver/driver.h"

enum { ESTIMATE_MEMORIES = 2 };
// The model's two memory configurations, the main one first: what cards are seen to read, and what is printed on the
// box.
extern const char *const estimate_memory[ESTIMATE_MEMORIES];
extern const double estimate_bytes_per_second[ESTIMATE_MEMORIES];

enum { ESTIMATE_PICK = OP_COUNT, ESTIMATE_OPS }; // the choice of the id follows the schedule's operations
extern const char *const estimate_op_names[ESTIMATE_OPS];

struct estimate_cost {
  double seconds[ESTIMATE_MEMORIES]; // of the kernels; 0 for a configuration that is not asked for
  double overhead;                   // of their launches
  double bytes, launches;            // from and to DRAM
  char bound[16];                    // of the longest launch
};

struct estimator;

// The configuration is copied. Room for steps of `chunk` rows, sequences of `tokens`, and `sequences` of
// `shared_tokens` at once. blocks: of a grid that are replayed at most, the rest going on at their pace; 0: no bound,
// -1: attention in full, of the other kernels some waves.
struct estimate_setup {
  const struct config *config;
  const char *name;
  int64_t chunk, page_size, tokens, sequences, shared_tokens;
  int64_t blocks;
  int threads;
};
struct estimator *estimator_open(const struct estimate_setup *s, struct err *e);
void estimator_close(struct estimator *x);
const struct config *estimator_config(const struct estimator *x); // of all layers
struct engine *estimator_engine(struct estimator *x);             // of the one layer
int64_t estimator_runs(const struct estimator *x);                // operations that the virtual GPU has run so far
// From now on the first `count` memory configurations alone, at first all: a replay for each is what takes the time.
void estimator_memories(struct estimator *x, int count);

// One operation of a step in which each of `seqs` sequences has `rows` new tokens from `position` on; by running it, or
// known from an earlier time.
bool estimate_op(struct estimator *x, int op, int64_t rows, int64_t seqs, int64_t position, struct estimate_cost *out,
                 struct err *e);
// A step of `seqs` sequences with one new token each, at this position.
bool estimate_decode(struct estimator *x, int64_t seqs, int64_t position, struct estimate_cost *out, struct err *e);
// The pass over a sequence's first `length` tokens in chunks, up to the next id.
bool estimate_prefill(struct estimator *x, int64_t length, struct estimate_cost *out, struct err *e);
// One operation of a step of one sequence, interpolated as above.
bool estimate_between(struct estimator *x, int op, int64_t rows, int64_t position, struct estimate_cost *out,
                      struct err *e);
// Seconds of the kernels and their launches.
double estimate_total(const struct estimate_cost *c, int memory);

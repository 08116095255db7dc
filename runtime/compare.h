// Two backends in lockstep: a backend of its own that runs every operation on both and compares what they made of it,
// so that forward.c's one schedule drives them and the first operation that drifts is seen where it stands.
#pragma once
#include "runtime/forward.h"

// What is compared, in the order of the schedule. attention_in has three results.
enum compare_point {
  POINT_EMBED,
  POINT_QUERY,
  POINT_KEYS,
  POINT_VALUES,
  POINT_ATTENTION,
  POINT_ATTENTION_OUT,
  POINT_MLP_IN,
  POINT_MLP_OUT,
  POINT_NORM,
  POINT_LOGITS,
  POINT_COUNT
};
extern const char *const compare_point_names[POINT_COUNT]; // "embed", "attention_in.query", ...
// Whether there is one for each layer; else for the whole pass.
bool compare_point_in_layer(enum compare_point p);

enum compare_feed {
  FEED_OWN,       // each backend goes on from its own values: errors pile up
  FEED_REFERENCE, // every operation of both starts from the reference's values, rounded to what the other one stores:
                  // the error is that operation's alone
};

// A value at which two backends were looked at.
struct compare_value {
  int64_t position, channel;
  float a, b;
};

// One point of one layer, over all rows so far.
struct compare_cell {
  int64_t count;              // values compared; 0: not reached
  double error, reference;    // sums of squares of b - a and of a. What is added to the residual stream is
                              // measured against what was added, with FEED_REFERENCE
  double rounding;            // then also: the square of what storing the stream in fp32 may cost
  struct compare_value worst; // largest |b - a|
  float largest_a, largest_b; // magnitudes
  int64_t num_bad;            // NaN in either, or infinite in one alone
  struct compare_value first_bad;
};

// Sum of squares of the error over that of the reference; infinite with a bad value.
double compare_nmse(const struct compare_cell *c);

// Of the rows of logits.
struct compare_logits {
  int64_t rows, bad_rows;
  int64_t same_top,
      same_five; // rows with the same best id; of the five best of a, those among the five best of b, over all rows
  double divergence, worst; // sum and largest of the divergences of b from a, in nats
  int64_t worst_position;
};

enum compare_watch { WATCH_NOTHING, WATCH_LOGITS, WATCH_ALL };

struct lockstep {
  struct backend base; // first, so that a struct backend * is a struct lockstep *; reads are a's
  struct backend *a, *b;
  enum compare_watch watch;
  enum compare_feed feed;
  struct compare_cell *cells; // [num_layers, POINT_COUNT]; those of the whole pass stand in layer 0
  struct compare_logits logits;
  float *x, *y, *before; // a stage of a and of b; the residual stream before an operation
};

// Takes both backends over, also on failure. They have models of the same shape and the same pages and rows. Nothing is
// watched yet.
struct backend *lockstep_open(struct backend *a, struct backend *b, struct err *e);
static inline struct lockstep *lockstep_of(struct backend *b) { return (struct lockstep *)b; }
struct compare_cell *lockstep_cell(const struct lockstep *l, int32_t layer, enum compare_point p);

// How close two backends must be: by what they store and compute.
enum compare_kind {
  COMPARE_FP32,  // the same weights, fp32 or fp64 throughout
  COMPARE_FP16,  // the same weights, one of them with fp16 activations or pages
  COMPARE_OTHER, // other weights: no gate but one that is asked for
};
enum compare_kind compare_kind_of(const struct lockstep *l);

struct compare_gates {
  double nmse[POINT_COUNT];
  double divergence; // mean
  double same_top;   // share; judged from COMPARE_TOP_ROWS rows on
};
enum { COMPARE_TOP_ROWS = 200 }; // one other choice in 200 rows is the gate's half per cent
struct compare_gates compare_gates_of(enum compare_kind kind, enum compare_feed feed);
bool compare_cell_passes(const struct compare_cell *c, double nmse);
bool compare_logits_pass(const struct compare_logits *l, const struct compare_gates *g);

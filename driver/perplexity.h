// What `phi3 perplexity` measures: how well a model predicts a text, and how far it is from a saved run.
#pragma once
#include "driver/driver.h"
#include "runtime/base/file.h"
#include "runtime/base/pool.h"

struct perplexity_options {
  struct engine_options engine;
  const char *file, *ids; // "-": standard input
  bool no_special;
  int64_t window, stride; // 0: the default, or the base's
  const char *save, *against, *json;
  int64_t top; // logits that a base keeps of each token; 0: all
  bool gate;
  float max_divergence, min_same_top; // below 0: none
};

// Windows over the text. Of each, the targets that no earlier one had are counted.
struct span {
  int64_t begin, end, first_target;
};
// The first span has begin 0 and end 0 as its predecessor; false after the last one.
bool next_span(struct span *s, int64_t tokens, int64_t window, int64_t stride);

// One counted token.
struct score {
  double loss;                         // -log p, in nats
  double base_loss, divergence, bound; // with --against: the divergence is at least that, and at most `bound` more
  bool same_top, bad;                  // bad: a logit is NaN or infinite
};

// A base file: what a run's distributions were, small. All numbers are little-endian.
//   struct base_header, ids int32 [tokens], rows of records, FNV-1a (64 bits) of all that
//   record: log of the sum of exp(logits), the probability of what is left out, the loss, all fp64; then ids int32
//   [top] and logits fp32 [top], largest first; or, when nothing is left out, logits fp32 [vocab]
//
// What is left out costs this much. With p the base's distribution, q another, T what is kept, t and u the masses of
// the rest, the divergence is that of T's terms plus the sum of p log(p / q) over the rest, which is at least t log(t /
// u) (log-sum inequality: taken as the estimate) and at most t log(c / q_min), for no p there exceeds the smallest kept
// one, c. So the loss is at most t log(c u / (q_min t)).
enum { BASE_VERSION = 1 };
struct base_header {
  char magic[8]; // "PHI3BASE"
  uint32_t version, vocab, layers, hidden, top, zero;
  int64_t tokens, window, stride, rows;
  char model[64], device[32];
};

struct base_writer {
  FILE *file; // NULL when closed
  char *path, *tmp; // no tmp: a device or a pipe, written to as it is
  uint64_t hash;
  int64_t record_bytes;
  uint8_t *records; // of one step
};

struct base_reader {
  struct file file;
  struct base_header head;
  const uint8_t *ids, *records;
  int64_t record_bytes;
};

int64_t base_record_bytes(const struct base_header *h);
// `rows_at_once`: records of a step at most.
bool base_create(struct base_writer *w, const char *path, const struct base_header *h, const int32_t *ids,
                 int64_t rows_at_once, struct err *e);
// Fills a record from logits without a bad one.
void base_fill(const struct base_header *h, uint8_t *record, const float *logits, double log_sum, double loss);
bool base_add(struct base_writer *w, int64_t rows, struct err *e);
// The file takes its name.
bool base_finish(struct base_writer *w, struct err *e);
// Removes what was not finished.
void base_drop(struct base_writer *w);
// Checks everything.
bool base_open(struct base_reader *r, const char *path, struct err *e);
void base_close(struct base_reader *r);
int32_t base_id(const struct base_reader *r, int64_t token);
// Divergence of `logits` from the record's distribution, its bound, and the rest of the score. Overwrites the logits.
void base_compare(const struct base_reader *r, int64_t row, float *logits, int64_t vocab, struct score *s);

struct perplexity {
  const struct perplexity_options *options;
  const char *command_line;
  struct engine en;
  struct ids ids;
  int64_t window, stride;
  struct base_header head; // of this run
  struct base_writer writer;
  struct base_reader base;
  struct pool *pool;
  float *logits;
  struct score *scores; // [count]
  int64_t count, done;
  double seconds;
};

// Computes all scores, and saves the base. `p` has options, engine, ids, and, with --against, base set.
bool perplexity_run(struct perplexity *p, struct err *e);
void perplexity_free(struct perplexity *p);

struct estimate {
  double mean, error; // standard error of the mean, as if tokens were independent
};

struct perplexity_figures {
  struct estimate loss, perplexity, base_loss, base_perplexity, more_loss; // more_loss: than the base's
  struct estimate divergence, same_top;
  double bound, percentile99, largest; // mean bound; of the divergences
  int64_t largest_token;               // index among the counted ones
};

bool perplexity_figures(const struct perplexity *p, struct perplexity_figures *f, struct err *e);
void perplexity_print(const struct perplexity *p, const struct perplexity_figures *f);
bool perplexity_write_json(const struct perplexity *p, const struct perplexity_figures *f, const char *path,
                           struct err *e);
// False, with the reason, past a gate that was asked for.
bool perplexity_verdict(const struct perplexity *p, const struct perplexity_figures *f, struct err *e);

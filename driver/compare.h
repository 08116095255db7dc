// What `phi3 compare` finds out.
#pragma once
#include "driver/driver.h"
#include "runtime/compare.h"

struct compare_options {
  struct engine_options a, b;
  const char *model_b; // NULL: the same
  enum compare_feed feed;
  int64_t top, new_tokens;
  float max_nmse, max_divergence, min_same_top; // below 0: the table's
  const char *json, *heatmap;
};

// Greedy continuation of the text by both.
struct compare_greedy {
  int64_t agreed; // tokens
  bool differ;    // the next one is another
  int32_t a, b;
  float margin; // by which a prefers its own
};

struct compare {
  const struct compare_options *options;
  const char *command_line;
  struct engine en; // a's model and tokenizer; its forward pass drives both
  struct model model_b;
  bool own_b; // model_b is open
  struct lockstep *lockstep;
  struct ids ids;
  struct compare_gates gates;
  struct compare_greedy greedy;
};

// One line of the table.
struct compare_line {
  int32_t layer; // 0 for a point of the whole pass
  enum compare_point point;
  const struct compare_cell *cell;
  double nmse, gate;
  bool passes;
};

// Opens models and backends, runs the ids through both, and continues them. `c` has options, engine and ids set.
bool compare_run(struct compare *c, struct err *e);
void compare_free(struct compare *c);
// All lines that were reached, in the order of the schedule; to be freed with mem_free. Their number in `count`.
struct compare_line *compare_lines(const struct compare *c, int64_t *count, struct err *e);
// Worst first: bad values, then by NMSE.
void compare_sort(struct compare_line *lines, int64_t count);
// Why it is past a gate; false when it is within all.
bool compare_verdict(const struct compare *c, const struct compare_line *lines, int64_t count, struct err *e);
// "layer 3 mlp_in", "logits".
enum { COMPARE_NAME = 64 };
const char *compare_line_name(const struct compare_line *l, char out[COMPARE_NAME]);
// "cpu fp64", "vgpu".
const char *compare_backend_name(const struct backend *b, char out[COMPARE_NAME]);

bool compare_print(const struct compare *c, const struct compare_line *lines, int64_t count, struct err *e);
bool compare_write_json(const struct compare *c, const struct compare_line *lines, int64_t count, const char *path,
                        struct err *e);
bool compare_write_heatmap(const struct compare *c, const struct compare_line *lines, int64_t count, const char *path,
                           struct err *e);

// a's logits against those of a file.
struct compare_golden_options {
  const char *path, *rows;
  float max_error; // relative; below 0: 1e-5, or 1e-2 where fp16 is used
};
bool compare_golden(struct compare *c, const struct compare_golden_options *o, struct err *e);

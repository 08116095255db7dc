// Random checkpoints of any shape: for throughput where a model's own weights are not at hand. What comes out of them
// is noise; how long it takes is not.
#pragma once
#include "driver/driver.h"

// The shape of a preset, of a model, or of a folder's or file's config.json.
bool synth_like(struct config *c, const char *like, struct err *e);
// The presets' names, with `between` between them; valid until the next call.
const char *synth_presets(const char *between);

// What is given replaces the shape's own; -1: not given.
struct synth_changes {
  int64_t layers, hidden, heads, kv_heads, head_dim, intermediate, vocab, positions, window;
  int tied; // 0: as the shape has it, 1: yes, 2: no
};
bool synth_change(struct config *c, const struct synth_changes *x, const char *like, struct err *e);
bool synth_write_config(const struct config *c, enum dtype type, const char *path, struct err *e);

// A tensor of a shape, and what its values are: evenly spread over centre - reach to centre + reach.
struct synth_tensor {
  char name[96];
  int64_t rows, cols; // rows 0: a vector
  float centre, reach;
};

// All of a shape's tensors in the order of the forward pass; a new array, to be freed with mem_free.
struct synth_tensor *synth_tensors(const struct config *c, int64_t *count, struct err *e);
int64_t synth_elements(const struct synth_tensor *t);

enum { SYNTH_LEVELS = 4096 };
// A tensor's values: each is one of so many levels, drawn by the seed, the tensor's name and the element's index alone,
// so that the same bits come out on every machine, whatever the order they are made in.
struct synth_values {
  uint64_t key;
  enum dtype type; // F32, F16 or BF16
  union {
    uint32_t wide[SYNTH_LEVELS];
    uint16_t narrow[SYNTH_LEVELS];
  } levels;
};
void synth_values_init(struct synth_values *v, const struct synth_tensor *t, enum dtype type, uint64_t seed);
// Elements [begin, end) to dst; `begin` is a multiple of 4.
void synth_values_fill(const struct synth_values *v, int64_t begin, int64_t end, void *dst);

struct synth_job {
  const struct config *config;
  enum dtype type;
  uint64_t seed;
  int64_t shard_bytes; // a file's tensors at most
  int threads;
  const char *tokenizer; // tokenizer.json, or a folder with one; NULL: none
  const char *out;       // folder to make
};

struct synth_result {
  int64_t parameters, bytes;
  int32_t files;
  double seconds;
};

// Writes the folder: all of it or nothing.
bool synth_write(const struct synth_job *job, struct synth_result *r, struct err *e);

// A model of this shape in memory whose matrices share the same few bytes, for the virtual GPU, to whose times the
// values do not matter. To be closed with model_close. Takes the configuration over.
bool synth_model(struct model *m, struct config *c, const char *name, struct err *e);

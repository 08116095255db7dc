// The numbers of a model of Phi-3's block, from config.json or GGUF metadata. Nothing is compiled in.
#pragma once
#include "runtime/base/err.h"
#include <stdint.h>

enum { CONFIG_MAX_HEAD_DIM = 128, CONFIG_MAX_END_IDS = 8 };

enum rope_kind { ROPE_PLAIN, ROPE_LONGROPE };

struct config {
  char architecture[64]; // as the file names it: "Phi3ForCausalLM", or GGUF's "phi3", "llama"
  char name[128];        // what the file calls the model; may be empty
  int32_t hidden_size;   // width of the residual stream
  int32_t num_layers;
  int32_t num_heads;         // query heads
  int32_t num_kv_heads;      // divides num_heads
  int32_t head_dim;          // even, at most CONFIG_MAX_HEAD_DIM
  int32_t intermediate_size; // MLP width
  int32_t vocab_size;        // rows of the embedding
  int32_t max_positions;
  int32_t original_max_positions; // equals max_positions without longrope
  int32_t sliding_window;         // keys a query sees, itself among them; 0: all
  double rms_eps;
  double rope_theta;  // rotary base
  int32_t rotary_dim; // leading channels of each head that are rotated; even
  enum rope_kind rope;
  double *short_factor, *long_factor;  // [rotary_dim / 2] with longrope, else NULL; owned
  double rope_scale;                   // factor on cos and sin: 1, or longrope's
  bool tied_embeddings;                // the LM head is the embedding
  int32_t bos_id, pad_id;              // -1: none
  int32_t end_ids[CONFIG_MAX_END_IDS]; // ids at which generation stops
  int32_t num_end_ids;
};

struct gguf;

// Reads DIR/config.json (and generation_config.json for more end ids, if there) as Hugging Face's Phi3Config does: a
// key that is missing has its default. Unknown architectures and features are refused by name. Ids outside the
// vocabulary, which cannot occur, count as none.
bool config_read_json(struct config *c, const char *dir, struct err *e);
// The same from GGUF metadata, architectures phi3 and llama. `c->rope` is left plain: longrope's factors are tensors,
// and the loader of tensors calls config_set_longrope when it finds them. Not checked yet: ends without config_check.
bool config_read_gguf(struct config *c, const struct gguf *g, struct err *e);
// Makes `c` a longrope model with copies of two sets of rotary_dim / 2 factors. `attention_factor` goes to rope_scale;
// when it is not positive, the paper's is taken: sqrt(1 + ln(factor) / ln(original_max_positions)), 1 when factor <= 1,
// with factor = max_positions / original_max_positions when that is not positive (LongRoPE, arXiv 2402.13753).
bool config_set_longrope(struct config *c, const double *short_factor, const double *long_factor, double factor,
                         double attention_factor, struct err *e);
// Adds an end id unless it is there already or lies outside the vocabulary; false and an error when there are too many.
bool config_add_end_id(struct config *c, int64_t id, const char *file, struct err *e);
// Checks the relations between the numbers (divisibility, ranges); every reader ends with it.
bool config_check(const struct config *c, const char *file, struct err *e);
void config_free(struct config *c);

// The inside of a tokenizer, shared by its readers, encoder and decoder.
#pragma once
#include "runtime/base/json.h"
#include "runtime/model/added.h"
#include "runtime/model/bpe.h"
#include "runtime/model/steps.h"
#include "runtime/model/tokenizer.h"

enum decode_kind {
  DECODE_JOIN,          // a space between tokens
  DECODE_REPLACE,       // in each token, `pattern` by `text`
  DECODE_METASPACE,     // in each token, `text` by a space; by nothing in the first token, where `strip_first`
  DECODE_BYTE_FALLBACK, // runs of "<0xNN>" by the text they spell, or one U+FFFD for each
  DECODE_FUSE,          // all tokens are one from here on
  DECODE_STRIP,         // up to `count` times `text` off each token's start
  DECODE_BYTES,         // byte-level characters back to bytes; fuses
};

struct decode_step {
  enum decode_kind kind;
  char *text; // owned
  size_t text_len;
  struct pattern pattern;
  int64_t count;
  bool strip_first;
};

enum { MAX_DECODE_STEPS = 16, MAX_FRAME = 16 };

struct tokenizer {
  struct vocab vocab; // model's pieces and added tokens
  struct bpe bpe;
  struct added added;
  bool *special; // by id
  struct steps normalizers, pre_tokenizers;
  struct decode_step decoders[MAX_DECODE_STEPS];
  int num_decoders;
  int32_t prefix[MAX_FRAME], suffix[MAX_FRAME]; // put around the text
  int num_prefix, num_suffix;
  int32_t bos, eos; // -1: none
  bool adds_bos;
  enum chat_format chat;
  char *chat_system; // the system message that the template puts where none is given; NULL: none
};

// Appends a decoder; copies `text` and takes `pattern` (NULL: none) over, even on failure.
bool tokenizer_add_decoder(struct tokenizer *t, struct decode_step step, const char *text, size_t len,
                           struct pattern *pattern, struct err *e);
// Adds an added token whose id is the one of its piece; a new piece takes the id `next`. Runs the normalizers over its
// pattern.
bool tokenizer_add_token(struct tokenizer *t, struct added_token *token, int32_t next, struct err *e);
// To be called when all is in: closes the added tokens and finds out which ids are special.
bool tokenizer_finish(struct tokenizer *t, struct err *e);
// "▁" for spaces with byte fallback back to text; `strip`: without the space that encoding put in front.
bool tokenizer_spm_decoder(struct tokenizer *t, bool strip, struct err *e);

// The readers fill a zeroed tokenizer.
bool tokenizer_read_json(struct tokenizer *t, const char *path, struct err *e);
bool tokenizer_read_gguf(struct tokenizer *t, const char *path, struct err *e);
// The parts of tokenizer.json that are lists of steps; `node` may be NULL or null.
bool tokenizer_read_normalizer(struct tokenizer *t, const json_t *node, struct err *e);
bool tokenizer_read_pre_tokenizer(struct tokenizer *t, const json_t *node, struct err *e);
bool tokenizer_read_decoder(struct tokenizer *t, const json_t *node, struct err *e);
// Sets `chat` and `chat_system` from a template, or, without one (NULL), from the added tokens.
bool tokenizer_set_chat(struct tokenizer *t, const char *chat_template, size_t len, struct err *e);

#define METASPACE "\xE2\x96\x81" // U+2581, a space in SentencePiece's pieces
enum { METASPACE_LEN = 3 };

// Text to ids and back, as Hugging Face's tokenizers do it: SentencePiece BPE with byte fallback (Phi-3, Llama) and byte-level BPE with
// its regular expression (GPT-2, SmolLM2). From tokenizer.json (+ tokenizer_config.json) or GGUF metadata.
#pragma once
#include "runtime/base/err.h"
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

// `path`: a folder with tokenizer.json, that file itself, or a .gguf file.
struct tokenizer *tokenizer_open(const char *path, struct err *e);
void tokenizer_close(struct tokenizer *t);

int32_t tokenizer_vocab_size(const struct tokenizer *t);
// The piece as the file spells it ("▁is", "<0x0A>", "Ġis"), NUL-terminated; NULL if there is none with this id. `len` may be NULL.
const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *len);
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);
// -1: none.
int32_t tokenizer_find(const struct tokenizer *t, const char *piece);
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
bool tokenizer_adds_bos(const struct tokenizer *t);

struct ids {
  int32_t *data;
  int64_t count, capacity;
};

// Appends the ids of text[0, len), which may hold any bytes: what is not UTF-8 is read as U+FFFD, one for each maximal
// broken sequence (as Python's errors="replace" does). `add_special` puts the BOS/EOS that the file's own rule asks for.
bool tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, bool add_special, struct ids *out, struct err *e);
void ids_free(struct ids *ids);
bool ids_push(struct ids *ids, int32_t id, struct err *e);

// Decodes a stream of ids piece by piece. What is returned so far, put together and finished, is the text of all ids as HF decodes them:
// never half a character, never a dropped or added space.
struct decoder;
struct decoder *decoder_open(const struct tokenizer *t, bool skip_special, struct err *e);
// The text that `id` completes; may be empty, and is for an id without a piece (an embedding may be padded). Valid until the next call.
// NULL and an error for a negative id, and after decoder_finish.
const char *decoder_push(struct decoder *d, int32_t id, size_t *len, struct err *e);
// What is left: bytes of an unfinished character come out as U+FFFD. Empty when called again.
const char *decoder_finish(struct decoder *d, size_t *len, struct err *e);
void decoder_close(struct decoder *d);

// What one token stands for by itself, its leading space included: maybe a part of a character. A new string to be freed with mem_free.
char *tokenizer_token_text(const struct tokenizer *t, int32_t id, size_t *len, struct err *e);

struct chat_message {
  const char *role; // "system", "user", "assistant"
  const char *content;
};

enum chat_format { CHAT_NONE, CHAT_PHI3, CHAT_CHATML };

// Recognized from the file's chat template, or, without one, from its added tokens.
enum chat_format tokenizer_chat_format(const struct tokenizer *t);
// This form in place of another that was recognized and of its system message; CHAT_NONE keeps the recognized one.
void tokenizer_choose_chat(struct tokenizer *t, enum chat_format f);
// The prompt's text for the messages, ending where the assistant's answer begins. A new string to be freed with mem_free.
char *chat_render(enum chat_format f, const struct chat_message *messages, int count, struct err *e);
// The system message that the file's own template puts where none is given; NULL: none.
const char *tokenizer_chat_system(const struct tokenizer *t);
// The same with the file's own format and default system message.
char *tokenizer_chat_render(const struct tokenizer *t, const struct chat_message *messages, int count, struct err *e);

// What the subcommands share: options with their help, and a model opened with its tokenizer and backend.
#pragma once
#include "runtime/forward.h"
#include "runtime/generate.h"
#include "runtime/model/model.h"
#include "runtime/model/tokenizer.h"
#include <stdio.h>
#include <string.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum option_type { OPTION_FLAG, OPTION_INT, OPTION_U64, OPTION_FLOAT, OPTION_TEXT, OPTION_FILE, OPTION_OUT, OPTION_TEXTS, OPTION_CHOICE };

enum { MAX_TEXTS = 16 };

struct texts { // an option that may be given several times
  const char *data[MAX_TEXTS];
  int32_t count;
};

struct option_spec {
  char letter;      // 0: none
  const char *name; // without "--"
  enum option_type type;
  void *to;        // bool, int64_t, uint64_t, float, const char * (a text, a file, a file to write), struct texts, int (index of the choice)
  const char *arg; // shown in the help; for OPTION_CHOICE the words separated by '|'
  const char *help;
  double min, max; // of numbers; both 0: any
};

// A command's options point to targets of one call, its table lives on: `table` takes over what is in `fresh`, end included.
#define OPTIONS_FILL(table, fresh)                                                 \
  do {                                                                             \
    _Static_assert(sizeof(fresh) <= sizeof(table), "the table holds all options"); \
    memcpy(table, fresh, sizeof(fresh));                                           \
  } while (0)

struct command {
  const char *name, *usage, *summary;      // "generate", "[options]", one sentence
  const struct option_spec *const *groups; // NULL-terminated list of tables, each ended by a NULL name
  const char *examples;                    // lines
  int32_t min_args, max_args;              // positional arguments
};

enum { MAX_ARGS = 16 };

struct arguments {
  const char *data[MAX_ARGS];
  int32_t count;
};

// Fills the options' targets. Returns -1 to go on, else the exit code: after --help, or after a usage error that was
// told on stderr.
int options_parse(const struct command *c, int argc, char **argv, struct arguments *args);
// "phi3 NAME: text" on stderr; returns the exit code.
int usage_error(const struct command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int failure(const struct command *c, const struct err *e);
// Says, on stderr, that options which choose among tokens do nothing where the most probable one is taken.
void tell_greedy(const struct command *c, const struct sampler_options *s);

enum device { DEVICE_AUTO, DEVICE_CPU, DEVICE_CUDA, DEVICE_VGPU };

// Options of everything that runs a model.
struct engine_options {
  const char *model; // path or name
  int device;        // enum device
  int64_t threads;
  int precision;                        // 0 fp32, 1 fp64
  int pages;                            // enum page_type
  int gemm;                             // enum gemm
  int64_t page_size, chunk, max_tokens; // max_tokens 0: as many as the work needs
};

struct engine_options engine_defaults(void);
// The table for struct command's groups, with targets in `o`; valid until the next call.
const struct option_spec *engine_option_table(struct engine_options *o);

struct engine {
  struct model model;
  struct tokenizer *tokenizer; // NULL when the folder has none
  struct forward forward;
  double load_seconds;
};

// Finds and opens model and tokenizer; the backend later, when the work's size is known.
bool engine_open(struct engine *en, const struct engine_options *o, struct err *e);
// Opens the backend with room for `sequences` of `tokens` each and `logits` rows of logits per step.
bool engine_start(struct engine *en, const struct engine_options *o, int64_t tokens, int32_t sequences, int32_t logits,
                  struct err *e);
// The backend alone, with the same room.
struct backend *engine_backend(const struct model *m, const struct engine_options *o, int64_t tokens, int32_t sequences,
                               int32_t logits, struct err *e);
// Sets device, precision and pages from a word such as "cpu", "cpu:fp64", "cpu:f16", "vgpu".
bool engine_device(struct engine_options *o, const char *spec, struct err *e);
// False, with an error, when there is no tokenizer.
bool engine_needs_text(const struct engine *en, struct err *e);
// Takes that chat form, an enum chat_format, or the recognized one; false, with an error, when there is none.
bool engine_choose_chat(const struct engine *en, int form, struct err *e);
void engine_close(struct engine *en);

// How --chat-form names what the tokenizer knows, in the order of enum chat_format.
#define CHAT_FORM_WORDS "auto|phi3|chatml"
#define CHAT_FORM_HELP "the chat form: auto as the model's file says, or by name; default auto"

// Ids from text such as "1 2, 3".
bool parse_ids(const char *text, struct ids *out, struct err *e);
// True after Ctrl-C; the first one asks for a clean end, the second one ends at once. Once forgotten, the next one is
// the first again.
bool interrupted(void);
void forget_interrupt(void);
void catch_interrupts(void);

// A bar on standard error while a long prompt is computed, when that is a terminal; also ends the pass after Ctrl-C. It
// observes `f` and must outlive the passes.
struct progress {
  int64_t total, done; // tokens
  double start, shown; // seconds
  bool visible;
};
void progress_init(struct progress *p, struct forward *f, int64_t total);
// Everything up to the end of the file, NUL-terminated, in a new buffer.
char *read_all(FILE *f, size_t *len, struct err *e);

int cmd_generate(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_perplexity(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_synth(int argc, char **argv);
int cmd_profile(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);

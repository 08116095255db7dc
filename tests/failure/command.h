// Runs a command of phi3 in this process, and looks at what it left: its exit code and what it wrote.
#pragma once
#include "driver/driver.h"
#include "tests/test.h"

struct result {
  int code;
  char *out, *err; // NUL-terminated, owned
  size_t out_len;
};

// What the next commands find on standard input.
extern const char *command_input;
// Told when the command begins and ends; NULL: nobody.
extern void (*command_running)(bool running);
// `line` is split at spaces; its first word is the command's name.
struct result command_run(const char *line);
void result_free(struct result *r);
// For a child that is forked while the command runs: what it writes from now on is its own.
void command_part(void);

// A failure as it should be: code 1 and, on standard error, one line "phi3 COMMAND: ..." that says what failed. Otherwise the text of what
// is wrong, to be freed with free(); NULL when all is well.
char *bad_failure(const struct result *r, const char *line);
// Whether `text` is one whole JSON value; an empty text is none.
bool is_json(const char *text, size_t len);
// Files and folders in the folder, which are removed.
int folder_clear(const char *dir);
// A folder with the model's weights and a small tokenizer that can chat, for what a model without one cannot do; its path, for talker_remove.
char *talker_make(const char *model);
void talker_remove(char *dir);

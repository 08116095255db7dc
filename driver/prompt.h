// The prompt of a command: ids, or text that the model's tokenizer turns into ids.
#pragma once
#include "driver/driver.h"

struct prompt_options {
  const char *text; // "-" reads standard input
  const char *ids;  // in place of the text
  bool chat;        // put the text into the model's chat form
  int chat_form;    // enum chat_format; CHAT_NONE: the one that the file holds
  bool no_special;  // without the ids that the tokenizer puts around a text, such as BOS
};

// -1, or the exit code after a usage error that was told.
int prompt_check(const struct command *c, const struct prompt_options *o);
bool prompt_read(const struct prompt_options *o, const struct engine *en, struct ids *out, struct err *e);

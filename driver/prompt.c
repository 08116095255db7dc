#include "driver/prompt.h"
#include "runtime/base/mem.h"
#include <string.h>

int prompt_check(const struct command *c, const struct prompt_options *o) {
  if (o->text && o->ids) return usage_error(c, "give either --prompt or --ids, not both");
  if (!o->text && !o->ids) return usage_error(c, "there is no prompt; give one with -p TEXT or --ids");
  if (o->chat_form && !o->chat) return usage_error(c, "--chat-form belongs to --chat");
  if (o->ids && o->chat) return usage_error(c, "--chat needs a text, not --ids");
  return -1;
}

static char *chat_text(const struct engine *en, int form, const char *text, size_t len, struct err *e) {
  struct chat_message message = {"user", text};
  if (!engine_choose_chat(en, form, e)) return NULL;
  if (strlen(text) != len) return err_set(e, "a chat message cannot hold a zero byte"), NULL;
  return tokenizer_chat_render(en->tokenizer, &message, 1, e);
}

static bool encode(const struct prompt_options *o, const struct engine *en, struct ids *out, struct err *e) {
  if (!engine_needs_text(en, e)) return false;
  size_t len = strlen(o->text);
  char *chat = NULL, *text = strcmp(o->text, "-") == 0 ? read_all(stdin, &len, e) : mem_strdup(o->text, e);
  bool ok = text != NULL;
  if (ok && o->chat && (ok = (chat = chat_text(en, o->chat_form, text, len, e)) != NULL)) len = strlen(chat);
  if (ok) ok = tokenizer_encode(en->tokenizer, chat ? chat : text, len, !o->no_special, out, e);
  mem_free(text);
  mem_free(chat);
  return ok;
}

bool prompt_read(const struct prompt_options *o, const struct engine *en, struct ids *out, struct err *e) {
  if (!(o->ids ? parse_ids(o->ids, out, e) : encode(o, en, out, e))) return false;
  if (out->count == 0) return err_set(e, "the prompt is empty; give it some text, or ids with --ids");
  for (int64_t i = 0; i < out->count; i++)
    if (out->data[i] >= en->model.config.vocab_size)
      return err_set(e, "id %d is not in the vocabulary of %d", out->data[i], en->model.config.vocab_size);
  if (out->count > en->model.config.max_positions)
    return err_set(e, "the prompt has %lld tokens, but the model has %d positions; give a shorter prompt",
                   (long long)out->count, en->model.config.max_positions);
  return true;
}

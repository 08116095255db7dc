// Chat templates: recognized by what they hold, and rendered as the models' own templates do.
#include "runtime/base/mem.h"
#include "runtime/model/tokenizer_impl.h"
#include <string.h>

#define CHATML_SYSTEM "<|im_start|>system"

static const char *find(const char *s, size_t len, const char *what) {
  return s && len ? memmem(s, len, what, strlen(what)) : NULL;
}

static bool has(const char *s, size_t len, const char *what) { return find(s, len, what) != NULL; }

// Where a template that is asked for no system message puts one of its own: '<|im_start|>system\nTEXT<|im_end|>', its
// text. Templates spell the line's end as \n or as one.
static const char *default_system(const char *s, size_t len, size_t *n) {
  const char *end = s + len, *at = find(s, len, CHATML_SYSTEM);
  if (!at) return NULL;
  at += strlen(CHATML_SYSTEM);
  if (at < end && *at == '\n') at++;
  else if (end - at >= 2 && at[0] == '\\' && at[1] == 'n') at += 2;
  else return NULL;
  const char *stop = find(at, (size_t)(end - at), "<|im_end|>");
  // A quotation mark or brace: the text is put together at run time.
  if (!stop || memchr(at, '\'', (size_t)(stop - at)) || memchr(at, '{', (size_t)(stop - at))) return NULL;
  *n = (size_t)(stop - at);
  return at;
}

// A copy in which "\n" is a line's end.
static char *unescape(const char *s, size_t len, struct err *e) {
  char *out = mem_alloc(len + 1, 1, "the chat template", e);
  size_t n = 0;
  for (size_t i = 0; out && i < len; i++) {
    bool newline = s[i] == '\\' && i + 1 < len && s[i + 1] == 'n';
    out[n++] = newline ? '\n' : s[i];
    i += newline;
  }
  return out;
}

static bool is(const char *s, size_t len, const char *name) { return len == strlen(name) && memcmp(s, name, len) == 0; }

static enum chat_format by_template(const char *s, size_t len) {
  if (is(s, len, "phi3")) return CHAT_PHI3; // some files hold a name
  if (is(s, len, "chatml")) return CHAT_CHATML;
  // ChatML puts a line's end behind the role; Phi-4's template, which has a token there, is another.
  if (has(s, len, "<|im_start|>") && has(s, len, "<|im_end|>"))
    return has(s, len, "<|im_sep|>") ? CHAT_NONE : CHAT_CHATML;
  // Phi-3's puts a line's end behind the role; its relatives that do not are other templates.
  bool phi3 = has(s, len, "<|user|>\\n") || has(s, len, "<|user|>\n") || has(s, len, "<|user|>' + '\\n'") ||
              has(s, len, "<|user|>' + '\n'");
  return phi3 && has(s, len, "<|end|>") && has(s, len, "<|assistant|>") ? CHAT_PHI3 : CHAT_NONE;
}

static enum chat_format by_tokens(const struct tokenizer *t) {
  if (tokenizer_find(t, "<|im_start|>") >= 0 && tokenizer_find(t, "<|im_end|>") >= 0)
    return tokenizer_find(t, "<|im_sep|>") >= 0 ? CHAT_NONE : CHAT_CHATML;
  bool phi3 = tokenizer_find(t, "<|user|>") >= 0 && tokenizer_find(t, "<|end|>") >= 0 &&
              tokenizer_find(t, "<|assistant|>") >= 0;
  return phi3 ? CHAT_PHI3 : CHAT_NONE;
}

bool tokenizer_set_chat(struct tokenizer *t, const char *chat_template, size_t len, struct err *e) {
  size_t n;
  t->chat = chat_template ? by_template(chat_template, len) : by_tokens(t);
  if (t->chat != CHAT_CHATML || !chat_template) return true;
  const char *system = default_system(chat_template, len, &n);
  return !system || (t->chat_system = unescape(system, n, e)) != NULL;
}

void tokenizer_choose_chat(struct tokenizer *t, enum chat_format f) {
  if (f == CHAT_NONE || f == t->chat) return;
  mem_free(t->chat_system);
  t->chat_system = NULL;
  t->chat = f;
}

const char *tokenizer_chat_system(const struct tokenizer *t) { return t->chat_system; }

static bool put(struct buffer *b, const char *s, struct err *e) { return buffer_append(b, s, strlen(s), e); }

static bool put_message(struct buffer *b, enum chat_format f, const char *role, const char *content, struct err *e) {
  if (f == CHAT_CHATML)
    return put(b, "<|im_start|>", e) && put(b, role, e) && put(b, "\n", e) && put(b, content, e) &&
           put(b, "<|im_end|>\n", e);
  // Phi-3's template passes over roles that it does not know.
  if (strcmp(role, "system") != 0 && strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0) return true;
  return put(b, "<|", e) && put(b, role, e) && put(b, "|>\n", e) && put(b, content, e) && put(b, "<|end|>\n", e);
}

static char *render(enum chat_format f, const char *system, const struct chat_message *messages, int count,
                    struct err *e) {
  struct buffer b = {0};
  bool ok = f != CHAT_NONE ||
            err_set(e, "the model's chat template is not known; Phi-3's and ChatML are: name one with --chat-form");
  if (ok && system && (!count || strcmp(messages[0].role, "system") != 0)) ok = put_message(&b, f, "system", system, e);
  for (int i = 0; ok && i < count; i++) ok = put_message(&b, f, messages[i].role, messages[i].content, e);
  ok = ok && put(&b, f == CHAT_PHI3 ? "<|assistant|>\n" : "<|im_start|>assistant\n", e) && buffer_append(&b, "", 1, e);
  if (ok) return b.data;
  buffer_free(&b);
  return NULL;
}

char *chat_render(enum chat_format f, const struct chat_message *messages, int count, struct err *e) {
  return render(f, NULL, messages, count, e);
}

char *tokenizer_chat_render(const struct tokenizer *t, const struct chat_message *messages, int count, struct err *e) {
  return render(t->chat, t->chat_system, messages, count, e);
}

// A chat template, a zero byte, and pairs of role and content, each ended by a zero byte.
#include "runtime/base/mem.h"
#include "runtime/model/tokenizer_impl.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

enum { MAX_MESSAGES = 8 };

static char *as_string(struct fuzz_part p) {
  char *s = malloc(p.size + 1);
  fuzz_check(s);
  if (p.size) memcpy(s, p.data, p.size);
  s[p.size] = 0;
  return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct err e = {0};
  struct fuzz_part template = fuzz_take(&data, &size);
  struct tokenizer *t = mem_alloc(1, sizeof *t, "a tokenizer", &e);
  char *roles[MAX_MESSAGES], *contents[MAX_MESSAGES];
  struct chat_message messages[MAX_MESSAGES];
  int n = 0;
  for (; size && n < MAX_MESSAGES; n++) {
    roles[n] = as_string(fuzz_take(&data, &size));
    contents[n] = as_string(fuzz_take(&data, &size));
    messages[n] = (struct chat_message){roles[n], contents[n]};
  }
  uint8_t *exact = malloc(template.size ? template.size : 1);
  fuzz_check(t && exact);
  if (template.size) memcpy(exact, template.data, template.size);
  fuzz_check(tokenizer_set_chat(t, (const char *)exact, template.size, &e));
  char *s = tokenizer_chat_render(t, messages, n, &e);
  fuzz_check((s != NULL) == (t->chat != CHAT_NONE));
  // Every message of a role that both forms know is there, whole and in order.
  const char *at = s;
  for (int i = 0; s && i < n; i++)
    if (strcmp(roles[i], "user") == 0) fuzz_check((at = strstr(at, contents[i])));
  mem_free(s);
  for (int i = 0; i < n; i++) free(roles[i]), free(contents[i]);
  free(exact);
  tokenizer_close(t);
  return 0;
}

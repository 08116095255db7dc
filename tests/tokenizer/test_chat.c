// Chat forms: the text is what the models' own templates (rendered by Hugging Face's jinja) give.
#include "tests/test.h"
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include "tests/tokenizer/tokenizer_files.h"

#define PHI3_TEMPLATE                                                                                                  \
  "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + "          \
  "'<|end|>\n'}}"                                                                                                      \
  "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == " \
  "'assistant' %}"                                                                                                     \
  "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ "   \
  "'<|assistant|>\n' }}"                                                                                               \
  "{% else %}{{ eos_token }}{% endif %}"
#define SMOLLM2_TEMPLATE                                                                                               \
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou "   \
  "are a helpful AI "                                                                                                  \
  "assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + "    \
  "'\n' + "                                                                                                            \
  "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "  \
  "}}{% endif %}"
#define TINY "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"added_tokens\":[%s]}"

static const struct chat_message dialogue[] = {{"system", "Be brief."},
                                               {"user", "Hello {{ x }} <|end|>"},
                                               {"assistant", "Hi.\n"},
                                               {"user", "Gr\xC3\xBC\xC3\x9F"
                                                        "e"}};

// A tokenizer with this template, and these added tokens.
static struct tokenizer *with_template(const char *template, const char *tokens) {
  struct err e;
  char json[2000];
  struct tokenizer *t;
  snprintf(json, sizeof json, TINY, tokens);
  json_t *config = template ? json_pack("{s:s}", "chat_template", template) : json_object();
  char *text = json_dumps(config, 0);
  assert_ok(t = open_texts(json, text, &e));
  free(text);
  json_decref(config);
  return t;
}

static void check(const struct tokenizer *t, const struct chat_message *m, int n, const char *want) {
  struct err e;
  char *s;
  assert_ok(s = tokenizer_chat_render(t, m, n, &e));
  assert_string_equal(s, want);
  mem_free(s);
}

static void phi3(void **state) {
  (void)state;
  struct tokenizer *t = with_template(PHI3_TEMPLATE, "");
  assert_int_equal(tokenizer_chat_format(t), CHAT_PHI3);
  check(t, dialogue, 4,
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHello {{ x }} <|end|><|end|>\n<|assistant|>\nHi.\n<|end|>\n<|user|>\n"
        "Gr\xC3\xBC\xC3\x9F"
        "e<|end|>\n<|assistant|>\n");
  check(t, dialogue + 3, 1,
        "<|user|>\nGr\xC3\xBC\xC3\x9F"
        "e<|end|>\n<|assistant|>\n");
  const struct chat_message odd[] = {{"tool", "x"}, {"user", ""}};
  check(t, odd, 2, "<|user|>\n<|end|>\n<|assistant|>\n");
  check(t, odd, 0, "<|assistant|>\n");
  tokenizer_close(t);
}

static void chatml(void **state) {
  (void)state;
  struct tokenizer *t = with_template(SMOLLM2_TEMPLATE, "");
  assert_int_equal(tokenizer_chat_format(t), CHAT_CHATML);
  assert_string_equal(tokenizer_chat_system(t), "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
  check(t, dialogue, 2,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello {{ x }} "
        "<|end|><|im_end|>\n<|im_start|>assistant\n");
  check(t, dialogue + 3, 1,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nGr\xC3\xBC\xC3\x9F"
        "e<|im_end|>\n<|im_start|>assistant\n");
  tokenizer_close(t);
  t = with_template(
      "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}",
      "");
  assert_null(tokenizer_chat_system(t));
  check(t, dialogue + 3, 1,
        "<|im_start|>user\nGr\xC3\xBC\xC3\x9F"
        "e<|im_end|>\n<|im_start|>assistant\n");
  tokenizer_close(t);
}

#define TOKEN(n, s) "{\"id\":" #n ",\"content\":\"" s "\",\"special\":true}"

static void recognized(void **state) {
  (void)state;
  struct err e;
  struct {
    const char *template, *tokens;
    enum chat_format format;
  } cases[] = {
      {NULL, "", CHAT_NONE},
      {NULL, TOKEN(1, "<|user|>") "," TOKEN(2, "<|end|>") "," TOKEN(3, "<|assistant|>"), CHAT_PHI3},
      {NULL, TOKEN(1, "<|im_start|>") "," TOKEN(2, "<|im_end|>"), CHAT_CHATML},
      {NULL, TOKEN(1, "<|im_start|>"), CHAT_NONE},
      // A template that is not known goes before tokens that are.
      {"{{ '[INST] ' + messages[0]['content'] + ' [/INST]' }}", TOKEN(1, "<|im_start|>") "," TOKEN(2, "<|im_end|>"),
       CHAT_NONE},
      {"{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{{ '<|assistant|>' }}", "", CHAT_NONE},
      {"{{ '<|user|>' + m['content'] + '<|end|>' + '<|assistant|>' }}", "", CHAT_NONE},
      // Phi-4's template has a token where ChatML has a line's end.
      {"{{'<|im_start|>user<|im_sep|>' + m + '<|im_end|><|im_start|>assistant<|im_sep|>'}}", "", CHAT_NONE},
      {NULL, TOKEN(1, "<|im_start|>") "," TOKEN(2, "<|im_end|>") "," TOKEN(3, "<|im_sep|>"), CHAT_NONE},
      {"chatml", "", CHAT_CHATML},
      {"phi3", TOKEN(1, "<|im_start|>") "," TOKEN(2, "<|im_end|>"), CHAT_PHI3},
      {"{{'<|user|>' + '\n' + m + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}", "", CHAT_PHI3},
      {"{{'<|user|>' + '\\n' + m + '<|end|>' + '\\n' + '<|assistant|>' + '\\n'}}", "", CHAT_PHI3},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tokenizer *t = with_template(cases[i].template, cases[i].tokens);
    if (tokenizer_chat_format(t) != cases[i].format) fail_msg("case %zu", i);
    if (cases[i].format == CHAT_NONE) assert_fails(tokenizer_chat_render(t, dialogue, 1, &e), "not known");
    tokenizer_close(t);
  }
}

static void named_templates(void **state) {
  (void)state;
  struct err e;
  struct tokenizer *t;
  char json[200];
  snprintf(json, sizeof json, TINY, "");
  json_t *config = json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "chat_template", "name", "tool_use", "template",
                             SMOLLM2_TEMPLATE, "name", "default", "template", PHI3_TEMPLATE);
  char *text = json_dumps(config, 0);
  assert_ok(t = open_texts(json, text, &e));
  assert_int_equal(tokenizer_chat_format(t), CHAT_PHI3);
  tokenizer_close(t);
  free(text);
  json_decref(config);
}

static void chosen_by_name(void **state) {
  (void)state;
  struct tokenizer *t = with_template(SMOLLM2_TEMPLATE, "");
  tokenizer_choose_chat(t, CHAT_NONE);
  tokenizer_choose_chat(t, CHAT_CHATML); // its own form keeps its own system message
  assert_non_null(tokenizer_chat_system(t));
  tokenizer_choose_chat(t, CHAT_PHI3);
  assert_null(tokenizer_chat_system(t));
  check(t, dialogue, 1, "<|system|>\nBe brief.<|end|>\n<|assistant|>\n");
  tokenizer_close(t);
  t = with_template("[INST]", "");
  tokenizer_choose_chat(t, CHAT_CHATML);
  check(t, dialogue, 1, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>assistant\n");
  tokenizer_close(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(phi3), cmocka_unit_test(chatml), cmocka_unit_test(recognized),
                                     cmocka_unit_test(named_templates), cmocka_unit_test(chosen_by_name)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

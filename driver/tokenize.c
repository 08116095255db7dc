// phi3 tokenize: text to ids and back. Needs a tokenizer only, no weights.
#include "driver/driver.h"
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include "runtime/model/utf8.h"
#include <string.h>

struct tokenize {
  const char *model, *decode;
  int chat_form;
  bool pieces, color, no_special, chat, json;
};

static struct command tokenize_command(struct tokenize *s, struct option_spec table[],
                                       const struct option_spec *groups[]) {
  const struct option_spec options[] = {
      {'m', "model", OPTION_TEXT, &s->model, "MODEL",
       "a folder with tokenizer.json, that file, a .gguf file, or a name; default nano", 0, 0},
      {'d', "decode", OPTION_TEXT, &s->decode, "IDS",
       "ids to text, separated by spaces or commas; - reads standard input", 0, 0},
      {0, "pieces", OPTION_FLAG, &s->pieces, NULL, "a line for each token: its id and its piece", 0, 0},
      {0, "color", OPTION_FLAG, &s->color, NULL, "the text, each token on a background of its own", 0, 0},
      {0, "chat", OPTION_FLAG, &s->chat, NULL, "the text as a user's message in the model's chat form", 0, 0},
      {0, "chat-form", OPTION_CHOICE, &s->chat_form, CHAT_FORM_WORDS, CHAT_FORM_HELP, 0, 0},
      {0, "no-special", OPTION_FLAG, &s->no_special, NULL,
       "no BOS or EOS around the text; no special tokens in decoded text", 0, 0},
      {0, "json", OPTION_FLAG, &s->json, NULL, "one JSON object: ids, pieces, text", 0, 0},
      {0},
  };
  memcpy(table, options, sizeof options);
  groups[0] = table;
  groups[1] = NULL;
  return (struct command){
      .name = "tokenize",
      .usage = "[options] [TEXT]",
      .summary = "Prints the ids of a text (- reads standard input, any bytes), or the text of ids.",
      .groups = groups,
      .examples = "  phi3 tokenize \"The capital of France is\"\n"
                  "  phi3 tokenize --pieces -m phi-3-mini-4k-instruct \"The capital of Germany is\"\n"
                  "  phi3 tokenize --color - < README.md\n"
                  "  phi3 tokenize --decode \"450 7483 310 9556 338\" -m phi-3-mini-4k-instruct\n",
      .max_args = 1,
  };
}

// "-" is standard input.
static char *argument_text(const char *arg, size_t *len, struct err *e) {
  if (strcmp(arg, "-") == 0) return read_all(stdin, len, e);
  *len = strlen(arg);
  return mem_strdup(arg, e);
}

static bool read_ids(const struct tokenizer *t, const char *arg, struct ids *ids, struct err *e) {
  size_t len;
  char *text = argument_text(arg, &len, e);
  bool ok = text && (strlen(text) == len ||
                     err_set(e, "the ids hold a zero byte; ids are whole numbers separated by spaces or commas"));
  ok = ok && parse_ids(text, ids, e);
  for (int64_t i = 0; ok && i < ids->count; i++)
    if (!tokenizer_piece(t, ids->data[i], NULL))
      ok = err_set(e, "id %d has no piece in the vocabulary, whose ids go from 0 to %d", ids->data[i],
                   tokenizer_vocab_size(t) - 1);
  mem_free(text);
  return ok;
}

static bool encode(const struct tokenize *s, const struct tokenizer *t, const char *arg, struct ids *ids,
                   struct err *e) {
  size_t len;
  char *text = argument_text(arg, &len, e), *chat = NULL;
  bool ok = text != NULL;
  if (ok && s->chat) {
    struct chat_message message = {"user", text};
    ok = strlen(text) == len || err_set(e, "a chat message cannot hold a zero byte");
    ok = ok && (chat = tokenizer_chat_render(t, &message, 1, e)) != NULL;
    len = ok ? strlen(chat) : 0;
  }
  ok = ok && tokenizer_encode(t, chat ? chat : text, len, !s->no_special, ids, e);
  mem_free(text);
  mem_free(chat);
  return ok;
}

static bool decode(const struct tokenizer *t, const struct ids *ids, bool skip_special, struct buffer *out,
                   struct err *e) {
  size_t n;
  const char *text;
  struct decoder *d = decoder_open(t, skip_special, e);
  bool ok = d != NULL;
  for (int64_t i = 0; ok && i < ids->count; i++)
    ok = (text = decoder_push(d, ids->data[i], &n, e)) && buffer_append(out, text, n, e);
  ok = ok && (text = decoder_finish(d, &n, e)) && buffer_append(out, text, n, e);
  decoder_close(d);
  return ok;
}

// What a terminal cannot show as it is comes out escaped: control characters and parts of characters.
static void print_visible(const char *s, size_t len) {
  for (size_t i = 0; i < len;) {
    uint32_t cp = 0;
    int n = utf8_decode(s + i, len - i, &cp);
    size_t bytes = (size_t)(n > 0 ? n : 1);
    if (n > 0 && cp == '\n') fputs("\\n", stdout);
    else if (n > 0 && cp == '\t') fputs("\\t", stdout);
    else if (n > 0 && cp >= 0x20 && cp != 0x7F && !(cp >= 0x80 && cp < 0xA0)) fwrite(s + i, 1, bytes, stdout);
    else
      for (size_t k = 0; k < bytes; k++) printf("\\x%02X", (uint8_t)s[i + k]);
    i += bytes;
  }
}

static void print_pieces(const struct tokenizer *t, const struct ids *ids) {
  for (int64_t i = 0; i < ids->count; i++) {
    size_t n = 0;
    const char *piece = tokenizer_piece(t, ids->data[i], &n);
    printf("%d ", ids->data[i]);
    print_visible(piece ? piece : "", n);
    putchar('\n');
  }
}

static bool print_colors(const struct tokenizer *t, const struct ids *ids, struct err *e) {
  static const int backgrounds[] = {153, 223, 151, 218, 229, 189}; // light ones of the 256-color palette
  enum { NUM_BACKGROUNDS = sizeof backgrounds / sizeof *backgrounds };
  for (int64_t i = 0; i < ids->count; i++) {
    size_t n;
    char *text = tokenizer_token_text(t, ids->data[i], &n, e);
    if (!text) return false;
    printf("\033[38;5;16;48;5;%dm", backgrounds[i % NUM_BACKGROUNDS]);
    print_visible(text, n);
    // A line of its own starts outside the color, which would run on to the window's edge.
    printf("\033[0m%s", n && text[n - 1] == '\n' ? "\n" : "");
    mem_free(text);
  }
  if (ids->count) putchar('\n');
  return true;
}

static bool print_json(const struct tokenizer *t, const struct ids *ids, bool skip_special, struct err *e) {
  struct buffer text = {0};
  json_use_mem();
  json_t *list = json_array(), *pieces = json_array(), *root = NULL;
  bool ok = decode(t, ids, skip_special, &text, e);
  for (int64_t i = 0; ok && i < ids->count; i++) {
    size_t n = 0;
    const char *piece = tokenizer_piece(t, ids->data[i], &n);
    if (json_array_append_new(list, json_integer(ids->data[i])) ||
        json_array_append_new(pieces, json_stringn(piece ? piece : "", n)))
      ok = err_no_memory(e, (size_t)ids->count, "the output");
  }
  root = json_pack("{s:o?, s:o?, s:o?}", "ids", list, "pieces", pieces, "text",
                   json_stringn(text.data ? text.data : "", text.len));
  char *out = ok && root ? json_dumps(root, JSON_COMPACT) : NULL;
  if (out) puts(out);
  else if (ok) ok = err_no_memory(e, text.len, "the output");
  mem_raw_free(out);
  json_decref(root);
  buffer_free(&text);
  return ok;
}

static bool print_text(const struct tokenizer *t, const struct ids *ids, bool skip_special, struct err *e) {
  struct buffer text = {0};
  bool ok = decode(t, ids, skip_special, &text, e);
  if (ok && text.len) fwrite(text.data, 1, text.len, stdout);
  if (ok) putchar('\n');
  buffer_free(&text);
  return ok;
}

static void print_ids(const struct ids *ids) {
  for (int64_t i = 0; i < ids->count; i++) printf("%s%d", i ? " " : "", ids->data[i]);
  putchar('\n');
}

static bool print(const struct tokenize *s, const struct tokenizer *t, const struct ids *ids, struct err *e) {
  if (s->json) return print_json(t, ids, s->decode && s->no_special, e);
  if (s->color) return print_colors(t, ids, e);
  if (s->pieces) return print_pieces(t, ids), true;
  if (s->decode) return print_text(t, ids, s->no_special, e);
  return print_ids(ids), true;
}

// A folder with a tokenizer.json will do, whatever else it lacks; all else as for every command.
static char *find_tokenizer(const char *model, struct err *e) {
  char *file = file_join(model, "tokenizer.json", e);
  if (!file) return NULL;
  bool here = file_exists(file);
  mem_free(file);
  return here ? mem_strdup(model, e) : model_find(model, e);
}

static bool run(const struct tokenize *s, const char *text, struct err *e) {
  struct ids ids = {0};
  char *path = find_tokenizer(s->model, e);
  struct tokenizer *t = path ? tokenizer_open(path, e) : NULL;
  if (t) tokenizer_choose_chat(t, (enum chat_format)s->chat_form);
  bool ok = t && (s->decode ? read_ids(t, s->decode, &ids, e) : encode(s, t, text, &ids, e)) && print(s, t, &ids, e);
  ids_free(&ids);
  tokenizer_close(t);
  mem_free(path);
  return ok;
}

int cmd_tokenize(int argc, char **argv) {
  struct tokenize s = {.model = "nano"};
  struct option_spec table[9];
  const struct option_spec *groups[2];
  struct command c = tokenize_command(&s, table, groups);
  struct arguments args;
  struct err e = {0};
  int code = options_parse(&c, argc, argv, &args);
  if (code >= 0) return code;
  if (s.decode && args.count) return usage_error(&c, "give either a text or --decode, not both");
  if (!s.decode && !args.count)
    return usage_error(&c, "there is no text; give one, or - for standard input, or --decode");
  if (s.chat_form && !s.chat) return usage_error(&c, "--chat-form belongs to --chat");
  if (s.decode && s.chat) return usage_error(&c, "--chat needs a text, not --decode");
  if (s.pieces + s.color + s.json > 1) return usage_error(&c, "give one of --pieces, --color and --json");
  return run(&s, args.count ? args.data[0] : NULL, &e) ? EXIT_OK : failure(&c, &e);
}

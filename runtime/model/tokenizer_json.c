// tokenizer.json and the tokenizer_config.json beside it.
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include "runtime/model/tokenizer_impl.h"
#include <string.h>

enum { MAX_MERGES = 1 << 24 };

// The member of that type, or NULL when it is missing or null; false when it is of another type.
static bool member(const json_t *object, const char *key, json_type type, const json_t **out, struct err *e) {
  static const char *const names[] = {"an object", "an array", "a string", "an integer",
                                      "a real",    "true",     "false",    "null"};
  const json_t *v = json_object_get(object, key);
  *out = NULL;
  if (!v || json_is_null(v)) return true;
  if (json_typeof(v) != type) return err_set(e, "%s is %s where %s belongs", key, names[json_typeof(v)], names[type]);
  *out = v;
  return true;
}

static bool flag(const json_t *object, const char *key, bool *out, struct err *e) {
  const json_t *v = json_object_get(object, key);
  if (!v || json_is_null(v)) return true;
  if (!json_is_boolean(v)) return err_set(e, "%s is neither true nor false", key);
  *out = json_is_true(v);
  return true;
}

static bool read_vocab(struct tokenizer *t, const json_t *model, struct err *e) {
  const json_t *vocab;
  if (!member(model, "vocab", JSON_OBJECT, &vocab, e)) return false;
  if (!vocab) return err_set(e, "vocab is missing");
  for (void *it = json_object_iter((json_t *)vocab); it; it = json_object_iter_next((json_t *)vocab, it)) {
    const char *piece = json_object_iter_key(it);
    const json_t *id = json_object_iter_value(it);
    if (!json_is_integer(id)) return err_set(e, "vocab: the id of piece '%.64s' is not an integer", piece);
    if (!vocab_add(&t->vocab, json_integer_value(id), piece, strlen(piece), e)) return err_context(e, "vocab");
  }
  return true;
}

struct part {
  const char *text;
  size_t len;
};

// "a b" or ["a", "b"].
static bool merge_parts(const json_t *merge, struct part parts[2]) {
  if (json_is_array(merge)) {
    if (json_array_size(merge) != 2) return false;
    for (size_t i = 0; i < 2; i++) {
      const json_t *p = json_array_get(merge, i);
      if (!json_is_string(p)) return false;
      parts[i] = (struct part){json_string_value(p), json_string_length(p)};
    }
    return true;
  }
  if (!json_is_string(merge)) return false;
  const char *s = json_string_value(merge), *space = memchr(s, ' ', json_string_length(merge));
  if (!space) return false;
  parts[0] = (struct part){s, (size_t)(space - s)};
  parts[1] = (struct part){space + 1, json_string_length(merge) - parts[0].len - 1};
  return !memchr(parts[1].text, ' ', parts[1].len);
}

static int32_t find_joined(struct tokenizer *t, const struct part parts[2], struct buffer *joined, struct err *e) {
  joined->len = 0;
  if (!buffer_append(joined, parts[0].text, parts[0].len, e) || !buffer_append(joined, parts[1].text, parts[1].len, e))
    return -2;
  return vocab_find(&t->vocab, joined->data, joined->len);
}

static bool read_merge(struct tokenizer *t, const json_t *merge, size_t i, struct buffer *joined, struct err *e) {
  struct part p[2];
  if (!merge_parts(merge, p)) return err_set(e, "merges: entry %zu is neither \"a b\" nor [\"a\", \"b\"]", i);
  int32_t left = vocab_find(&t->vocab, p[0].text, p[0].len), right = vocab_find(&t->vocab, p[1].text, p[1].len);
  int32_t both = find_joined(t, p, joined, e);
  if (both == -2) return false;
  if (left < 0 || right < 0 || both < 0) {
    const struct part missing = left < 0 ? p[0] : right < 0 ? p[1] : (struct part){joined->data, joined->len};
    return err_set(e, "merges: entry %zu names '%.*s', which is not in the vocabulary", i,
                   (int)(missing.len < 64 ? missing.len : 64), missing.text);
  }
  return bpe_add_merge(&t->bpe, left, right, both, e);
}

static bool is_version_line(const json_t *merge) {
  return json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0;
}

static bool read_merges(struct tokenizer *t, const json_t *model, struct err *e) {
  const json_t *merges;
  if (!member(model, "merges", JSON_ARRAY, &merges, e)) return false;
  if (!merges) return err_set(e, "merges is missing");
  size_t n = json_array_size(merges);
  if (n > MAX_MERGES) return err_set(e, "merges has %zu entries, more than the %d that are supported", n, MAX_MERGES);
  if (!bpe_init(&t->bpe, &t->vocab, (int32_t)n, e)) return false;
  struct buffer joined = {0};
  bool ok = true;
  for (size_t i = 0; ok && i < n; i++) {
    const json_t *merge = json_array_get(merges, i);
    ok = is_version_line(merge) || read_merge(t, merge, i, &joined, e);
  }
  buffer_free(&joined);
  return ok;
}

// Refuses a text that is neither missing nor empty.
static bool must_be_empty(const json_t *model, const char *key, struct err *e) {
  const json_t *v;
  if (!member(model, key, JSON_STRING, &v, e)) return false;
  return !v || !json_string_length(v) || err_set(e, "%s '%s' is not supported", key, json_string_value(v));
}

static bool read_model(struct tokenizer *t, const json_t *model, struct err *e) {
  const json_t *type, *unk, *dropout = json_object_get(model, "dropout");
  if (!member(model, "type", JSON_STRING, &type, e)) return false;
  if (type && strcmp(json_string_value(type), "BPE") != 0)
    return err_set(e, "type '%s' is not supported, only BPE is", json_string_value(type));
  if (dropout && !json_is_null(dropout) && (!json_is_number(dropout) || json_number_value(dropout) != 0))
    return err_set(e, "dropout must be null: ids would be random");
  if (!must_be_empty(model, "continuing_subword_prefix", e) || !must_be_empty(model, "end_of_word_suffix", e))
    return false;
  if (!read_vocab(t, model, e) || !read_merges(t, model, e)) return false;
  struct bpe *b = &t->bpe;
  if (!flag(model, "fuse_unk", &b->fuse_unk, e) || !flag(model, "byte_fallback", &b->byte_fallback, e) ||
      !flag(model, "ignore_merges", &b->ignore_merges, e) || !member(model, "unk_token", JSON_STRING, &unk, e))
    return false;
  if (unk && (b->unk = vocab_find(&t->vocab, json_string_value(unk), json_string_length(unk))) < 0)
    b->unk = BPE_UNK_MISSING;
  return true;
}

static bool same_flags(const struct added_token *a, const struct added_token *b) {
  return a->single_word == b->single_word && a->lstrip == b->lstrip && a->rstrip == b->rstrip &&
         a->normalized == b->normalized && a->special == b->special;
}

// Hugging Face's rule: an added token has the id of its piece; new ones count on from the size of the vocabulary.
static bool read_added_token(struct tokenizer *t, const json_t *node, int32_t *next, struct err *e) {
  struct added_token token = {.normalized = true};
  const json_t *content, *id;
  if (!json_is_object(node)) return err_set(e, "is not an object");
  if (!member(node, "content", JSON_STRING, &content, e) || !member(node, "id", JSON_INTEGER, &id, e)) return false;
  if (!content || !id) return err_set(e, "%s is missing", content ? "id" : "content");
  if (json_integer_value(id) < 0 || json_integer_value(id) > VOCAB_MAX_ID)
    return err_set(e, "id %lld is not between 0 and %d", (long long)json_integer_value(id), VOCAB_MAX_ID);
  if (!flag(node, "single_word", &token.single_word, e) || !flag(node, "lstrip", &token.lstrip, e) ||
      !flag(node, "rstrip", &token.rstrip, e) || !flag(node, "normalized", &token.normalized, e) ||
      !flag(node, "special", &token.special, e))
    return false;
  token.content = (char *)json_string_value(content);
  token.content_len = json_string_length(content);
  if (!token.content_len) return true; // ignored, as there
  const struct added_token *old = added_find(&t->added, token.content, token.content_len);
  if (old) return same_flags(old, &token) || err_set(e, "'%.64s' was there before, with other flags", token.content);
  if (!tokenizer_add_token(t, &token, *next, e)) return false;
  if (token.id >= *next) *next = token.id + 1;
  return true;
}

static bool read_added_tokens(struct tokenizer *t, const json_t *root, struct err *e) {
  const json_t *tokens;
  if (!member(root, "added_tokens", JSON_ARRAY, &tokens, e)) return false;
  int32_t next = t->vocab.count;
  for (size_t i = 0; tokens && i < json_array_size(tokens); i++)
    if (!read_added_token(t, json_array_get(tokens, i), &next, e)) return err_context(e, "added_tokens: entry %zu", i);
  return tokenizer_finish(t, e);
}

static bool push_frame(int32_t *frame, int *count, int32_t id, struct err *e) {
  if (*count == MAX_FRAME) return err_set(e, "more than %d tokens are put around the text", MAX_FRAME);
  frame[(*count)++] = id;
  return true;
}

// The ids of a template's special token, which the template lists itself.
static bool template_token(struct tokenizer *t, const json_t *processor, const char *name, bool behind, struct err *e) {
  const json_t *tokens = json_object_get(processor, "special_tokens"), *token = json_object_get(tokens, name);
  const json_t *ids = json_object_get(token, "ids");
  if (!json_is_array(ids)) return err_set(e, "special_tokens has no ids for '%s'", name);
  for (size_t i = 0; i < json_array_size(ids); i++) {
    const json_t *id = json_array_get(ids, i);
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= t->vocab.size)
      return err_set(e, "special_tokens gives '%s' an id that is not in the vocabulary", name);
    int32_t value = (int32_t)json_integer_value(id);
    if (!(behind ? push_frame(t->suffix, &t->num_suffix, value, e) : push_frame(t->prefix, &t->num_prefix, value, e)))
      return false;
  }
  return true;
}

static bool read_template(struct tokenizer *t, const json_t *processor, struct err *e) {
  const json_t *single;
  bool behind = false;
  if (t->num_prefix || t->num_suffix) return err_set(e, "a second TemplateProcessing is not supported");
  if (!member(processor, "single", JSON_ARRAY, &single, e)) return false;
  for (size_t i = 0; single && i < json_array_size(single); i++) {
    const json_t *piece = json_array_get(single, i), *special = json_object_get(piece, "SpecialToken");
    const char *id = json_string_value(json_object_get(special ? special : json_object_get(piece, "Sequence"), "id"));
    if (!id) return err_set(e, "single: piece %zu is neither a Sequence nor a SpecialToken with an id", i);
    if (special) {
      if (!template_token(t, processor, id, behind, e)) return false;
    } else if (behind || strcmp(id, "A") != 0) {
      return err_set(e, "single: the text must stand there once, as Sequence A");
    } else {
      behind = true;
    }
  }
  return behind || err_set(e, "single: there is no Sequence A");
}

static bool read_post_processor(struct tokenizer *t, const json_t *node, struct err *e) {
  if (!node || json_is_null(node)) return true;
  const char *type = json_string_value(json_object_get(node, "type"));
  if (!type) return err_set(e, "there is no type");
  if (strcmp(type, "ByteLevel") == 0) return true; // offsets only
  if (strcmp(type, "TemplateProcessing") == 0) return read_template(t, node, e) || err_context(e, "TemplateProcessing");
  if (strcmp(type, "Sequence") != 0) return err_set(e, "type '%s' is not supported", type);
  const json_t *list;
  if (!member(node, "processors", JSON_ARRAY, &list, e)) return false;
  for (size_t i = 0; list && i < json_array_size(list); i++) {
    const json_t *one = json_array_get(list, i);
    const char *kind = json_string_value(json_object_get(one, "type"));
    if (kind && strcmp(kind, "Sequence") == 0) return err_set(e, "a Sequence within a Sequence is not supported");
    if (!read_post_processor(t, one, e)) return false;
  }
  return true;
}

static bool read_root(struct tokenizer *t, const json_t *root, struct err *e) {
  const json_t *model;
  if (!json_is_object(root)) return err_set(e, "the file does not hold an object");
  if (!member(root, "model", JSON_OBJECT, &model, e)) return false;
  if (!model) return err_set(e, "model is missing");
  if (!read_model(t, model, e)) return err_context(e, "model");
  if (!tokenizer_read_normalizer(t, json_object_get(root, "normalizer"), e)) return err_context(e, "normalizer");
  if (!tokenizer_read_pre_tokenizer(t, json_object_get(root, "pre_tokenizer"), e))
    return err_context(e, "pre_tokenizer");
  if (!tokenizer_read_decoder(t, json_object_get(root, "decoder"), e)) return err_context(e, "decoder");
  if (!read_added_tokens(t, root, e)) return false;
  return read_post_processor(t, json_object_get(root, "post_processor"), e) || err_context(e, "post_processor");
}

// A named token: its content, or an object with it. -1 where there is none.
static bool named_token(const struct tokenizer *t, const json_t *config, const char *key, int32_t *out, struct err *e) {
  const json_t *v = json_object_get(config, key);
  if (json_is_object(v)) v = json_object_get(v, "content");
  if (!v || json_is_null(v)) return true;
  if (!json_is_string(v)) return err_set(e, "%s is neither a text nor an object with content", key);
  *out = vocab_find(&t->vocab, json_string_value(v), json_string_length(v));
  return true;
}

static bool set_frame(int32_t *frame, int *count, bool adds, int32_t id, const char *key, struct err *e) {
  if (adds && id < 0) return err_set(e, "add_%s is true, but %s names no piece of the vocabulary", key, key);
  frame[0] = id;
  *count = adds;
  return true;
}

// The default of several named templates.
static const json_t *default_template(const json_t *list) {
  for (size_t i = 0; i < json_array_size(list); i++) {
    const char *name = json_string_value(json_object_get(json_array_get(list, i), "name"));
    if (name && strcmp(name, "default") == 0) return json_object_get(json_array_get(list, i), "template");
  }
  return NULL;
}

// add_bos_token and add_eos_token speak to some of transformers' classes; around the others' texts stands what
// tokenizer.json puts there. Without a class a phi3 or llama checkpoint has Llama's.
static bool class_has_frame(const json_t *config) {
  static const char *const classes[] = {"Llama", "CodeLlama", "Gemma", "GPTNeoX", "Cohere"};
  const char *name = json_string_value(json_object_get(config, "tokenizer_class"));
  bool yes = !name;
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
    yes = yes || strncmp(name, classes[i], strlen(classes[i])) == 0;
  return yes;
}

static bool apply_config(struct tokenizer *t, const json_t *config, const json_t **chat, struct err *e) {
  if (!json_is_object(config)) return err_set(e, "the file does not hold an object");
  bool bos = false, eos = false, frame = class_has_frame(config);
  if (!named_token(t, config, "bos_token", &t->bos, e) || !named_token(t, config, "eos_token", &t->eos, e) ||
      !flag(config, "add_bos_token", &bos, e) || !flag(config, "add_eos_token", &eos, e))
    return false;
  if (frame && json_is_boolean(json_object_get(config, "add_bos_token")) &&
      !set_frame(t->prefix, &t->num_prefix, bos, t->bos, "bos_token", e))
    return false;
  if (frame && json_is_boolean(json_object_get(config, "add_eos_token")) &&
      !set_frame(t->suffix, &t->num_suffix, eos, t->eos, "eos_token", e))
    return false;
  const json_t *v = json_object_get(config, "chat_template");
  *chat = json_is_array(v) ? default_template(v) : v;
  return true;
}

// "folder/name" for a file in that folder.
static char *beside(const char *path, const char *name, struct err *e) {
  const char *slash = strrchr(path, '/');
  if (!slash) return mem_strdup(name, e);
  struct buffer b = {0};
  if (buffer_append(&b, path, (size_t)(slash - path) + 1, e) && buffer_append(&b, name, strlen(name) + 1, e))
    return b.data;
  buffer_free(&b);
  return NULL;
}

// A template of its own (chat_template.jinja) goes before the one in the config.
static bool read_chat(struct tokenizer *t, const char *path, const json_t *chat, struct err *e) {
  char *jinja = beside(path, "chat_template.jinja", e);
  if (!jinja) return false;
  bool ok = true;
  struct file f;
  if (!file_exists(jinja)) ok = tokenizer_set_chat(t, json_string_value(chat), json_string_length(chat), e);
  else if ((ok = file_map(&f, jinja, e))) {
    ok = tokenizer_set_chat(t, f.data ? (const char *)f.data : "", f.size, e);
    file_unmap(&f);
  }
  mem_free(jinja);
  return ok;
}

static bool read_config(struct tokenizer *t, const char *path, struct err *e) {
  char *config_path = beside(path, "tokenizer_config.json", e);
  if (!config_path) return false;
  json_t *config = NULL;
  const json_t *chat = NULL;
  bool ok = true;
  if (file_exists(config_path)) {
    ok = (config = json_read_file(config_path, e)) != NULL;
    if (ok && !apply_config(t, config, &chat, e)) ok = err_context(e, "%s", config_path);
  }
  ok = ok && read_chat(t, path, chat, e);
  json_decref(config);
  mem_free(config_path);
  return ok;
}

bool tokenizer_read_json(struct tokenizer *t, const char *path, struct err *e) {
  json_t *root = json_read_file(path, e);
  if (!root) return false;
  bool ok = read_root(t, root, e) || err_context(e, "%s", path);
  json_decref(root);
  if (!ok || !read_config(t, path, e)) return false;
  if (t->bos < 0 && t->num_prefix) t->bos = t->prefix[0];
  if (t->eos < 0 && t->num_suffix) t->eos = t->suffix[t->num_suffix - 1];
  t->adds_bos = t->num_prefix > 0 && t->prefix[0] == t->bos;
  return true;
}

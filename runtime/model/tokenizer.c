#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include "runtime/model/tokenizer_impl.h"
#include <string.h>

static bool is_gguf(const char *path, bool *yes, struct err *e) {
  struct file f;
  if (!file_map(&f, path, e)) return false;
  *yes = f.size >= 4 && memcmp(f.data, "GGUF", 4) == 0;
  file_unmap(&f);
  return true;
}

static bool read_path(struct tokenizer *t, const char *path, struct err *e) {
  if (file_is_dir(path)) {
    char *file = file_join(path, "tokenizer.json", e);
    if (!file) return false;
    bool ok = file_exists(file)
                  ? tokenizer_read_json(t, file, e)
                  : err_set(e, "%s: there is no tokenizer.json in this folder; copy it from the model's home", path);
    mem_free(file);
    return ok;
  }
  bool gguf;
  if (!is_gguf(path, &gguf, e)) return false;
  return gguf ? tokenizer_read_gguf(t, path, e) : tokenizer_read_json(t, path, e);
}

struct tokenizer *tokenizer_open(const char *path, struct err *e) {
  struct tokenizer *t = mem_alloc(1, sizeof *t, "the tokenizer", e);
  if (!t) return NULL;
  t->bos = t->eos = -1;
  if (read_path(t, path, e)) return t;
  tokenizer_close(t);
  return NULL;
}

void tokenizer_close(struct tokenizer *t) {
  if (!t) return;
  for (int i = 0; i < t->num_decoders; i++) {
    mem_free(t->decoders[i].text);
    pattern_free(&t->decoders[i].pattern);
  }
  steps_free(&t->normalizers);
  steps_free(&t->pre_tokenizers);
  added_free(&t->added);
  bpe_free(&t->bpe);
  vocab_free(&t->vocab);
  mem_free(t->special);
  mem_free(t->chat_system);
  mem_free(t);
}

static bool take_pattern(void *user, const char *text, size_t len, bool at_start, struct err *e) {
  (void)at_start;
  return buffer_append(user, text, len, e);
}

bool tokenizer_add_token(struct tokenizer *t, struct added_token *token, int32_t next, struct err *e) {
  struct buffer pattern = {0};
  struct steps_run run;
  token->id = vocab_find(&t->vocab, token->content, token->content_len);
  bool ok = true;
  if (token->id < 0) {
    ok = vocab_add(&t->vocab, next, token->content, token->content_len, e);
    if (ok) t->vocab.pieces[next].added = true;
    token->id = next;
  }
  steps_run_init(&run, &t->normalizers, take_pattern, &pattern);
  token->pattern = token->content;
  token->pattern_len = token->content_len;
  if (ok && token->normalized && (ok = steps_run(&run, token->content, token->content_len, true, e))) {
    token->pattern = pattern.data;
    token->pattern_len = pattern.len;
  }
  ok = ok && added_put(&t->added, token, e);
  steps_run_free(&run);
  buffer_free(&pattern);
  return ok;
}

bool tokenizer_finish(struct tokenizer *t, struct err *e) {
  if (!added_finish(&t->added, e)) return false;
  if (!(t->special = mem_alloc((size_t)t->vocab.size, sizeof *t->special, "the vocabulary", e))) return false;
  for (int32_t i = 0; i < t->added.count; i++)
    if (t->added.tokens[i].special) t->special[t->added.tokens[i].id] = true;
  return true;
}

int32_t tokenizer_vocab_size(const struct tokenizer *t) { return t->vocab.size; }

const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *len) {
  return vocab_get(&t->vocab, id, len);
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id) {
  return id >= 0 && id < t->vocab.size && t->special[id];
}

int32_t tokenizer_find(const struct tokenizer *t, const char *piece) {
  return vocab_find(&t->vocab, piece, strlen(piece));
}

int32_t tokenizer_bos(const struct tokenizer *t) { return t->bos; }

int32_t tokenizer_eos(const struct tokenizer *t) { return t->eos; }

bool tokenizer_adds_bos(const struct tokenizer *t) { return t->adds_bos; }

enum chat_format tokenizer_chat_format(const struct tokenizer *t) { return t->chat; }

bool ids_push(struct ids *ids, int32_t id, struct err *e) {
  if (ids->count == ids->capacity) {
    int64_t capacity = ids->capacity ? 2 * ids->capacity : 64;
    int32_t *data = mem_grow(ids->data, (size_t)ids->count, (size_t)capacity, sizeof *data, "token ids", e);
    if (!data) return false;
    ids->data = data;
    ids->capacity = capacity;
  }
  ids->data[ids->count++] = id;
  return true;
}

void ids_free(struct ids *ids) {
  mem_free(ids->data);
  *ids = (struct ids){0};
}

// One encoding: text -> added tokens as they stand -> normalizers -> normalized added tokens -> pre-tokenizers ->
// merging.
struct encoder {
  const struct tokenizer *t;
  struct steps_run normalize, pre_tokenize;
  struct bpe_work work;
  struct ids *out;
};

static bool encode_word(void *user, const char *text, size_t len, bool at_start, struct err *e) {
  struct encoder *en = user;
  (void)at_start;
  return bpe_encode(&en->t->bpe, &en->work, text, len, en->out, e);
}

// Added tokens give their ids; the text between them goes to `run`.
static bool encode_segments(struct encoder *en, int set, struct steps_run *run, const char *text, size_t len,
                            bool at_start, struct err *e) {
  struct added_scan scan;
  struct segment s;
  int found;
  added_scan_init(&scan, &en->t->added, set, text, len);
  while ((found = added_scan_next(&scan, &s, e)) == 1) {
    bool ok = s.id >= 0 ? ids_push(en->out, s.id, e) : steps_run(run, s.text, s.len, at_start && s.text == text, e);
    if (!ok) break;
  }
  added_scan_free(&scan);
  return found == 0;
}

static bool encode_normalized(void *user, const char *text, size_t len, bool at_start, struct err *e) {
  struct encoder *en = user;
  return encode_segments(en, ADDED_NORMALIZED, &en->pre_tokenize, text, len, at_start, e);
}

static bool push_all(struct ids *out, const int32_t *ids, int n, struct err *e) {
  for (int i = 0; i < n; i++)
    if (!ids_push(out, ids[i], e)) return false;
  return true;
}

bool tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, bool add_special, struct ids *out,
                      struct err *e) {
  struct encoder en = {.t = t, .out = out};
  struct buffer repaired = {0};
  int64_t before = out->count;
  steps_run_init(&en.normalize, &t->normalizers, encode_normalized, &en);
  steps_run_init(&en.pre_tokenize, &t->pre_tokenizers, encode_word, &en);
  bool ok = true;
  if (utf8_valid(text, len) < len) {
    ok = buffer_append_lossy(&repaired, text, len, e);
    text = repaired.data;
    len = repaired.len;
  }
  if (add_special) ok = ok && push_all(out, t->prefix, t->num_prefix, e);
  ok = ok && encode_segments(&en, ADDED_RAW, &en.normalize, text, len, true, e);
  if (add_special) ok = ok && push_all(out, t->suffix, t->num_suffix, e);
  if (!ok) out->count = before;
  steps_run_free(&en.normalize);
  steps_run_free(&en.pre_tokenize);
  bpe_work_free(&en.work);
  buffer_free(&repaired);
  return ok;
}

// A tokenizer from GGUF metadata, so that it gives the ids of the tokenizer.json it was made from.
#include "runtime/base/mem.h"
#include "runtime/model/gguf.h"
#include "runtime/model/tokenizer_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum token_type { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE };

// Longer pieces are not cut into pairs: no vocabulary has them, and a hostile file would cost hours.
enum { MAX_SPM_PIECE = 1024 };

struct source {
  const struct gguf *gguf;
  const char *path;
  struct gguf_string *tokens; // [count]
  int32_t count;
  const struct gguf_value *types; // NULL: all normal
  int64_t unk;                    // -1: none
  bool phi3;
};

#define LLAMA3_REGEX(digits)                                                                                           \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"        \
  "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K_WORD(first, second)                                                                                      \
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]" first "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]" second            \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
#define O200K_REGEX                                                                                                    \
  O200K_WORD("*", "+") O200K_WORD("+", "*") "\\p{N}{1,3}| "                                                            \
                                            "?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

// What tokenizer.ggml.pre stands for. `regex` NULL: GPT-2's.
static const struct pre_tokenizer {
  const char *name, *regex;
  bool digits;        // each digit by itself, first of all
  bool ignore_merges; // a word that is a piece is not merged
  bool adds_bos;
} pre_tokenizers[] = {
    {.name = "default"},
    {.name = "gpt-2"},
    {.name = "gpt2"},
    {.name = "phi-2"},
    {.name = "olmo"},
    {.name = "mpt"},
    {.name = "jais"},
    {.name = "smollm", .digits = true},
    {.name = "starcoder", .digits = true},
    {.name = "refact", .digits = true},
    {.name = "codeshell", .digits = true},
    {.name = "llama-bpe", .regex = LLAMA3_REGEX("{1,3}"), .ignore_merges = true, .adds_bos = true},
    {.name = "llama3", .regex = LLAMA3_REGEX("{1,3}"), .ignore_merges = true, .adds_bos = true},
    {.name = "llama-v3", .regex = LLAMA3_REGEX("{1,3}"), .ignore_merges = true, .adds_bos = true},
    {.name = "dbrx", .regex = LLAMA3_REGEX("{1,3}")},
    {.name = "smaug-bpe", .regex = LLAMA3_REGEX("{1,3}")},
    {.name = "stablelm2", .regex = LLAMA3_REGEX("")},
    {.name = "gpt-4o", .regex = O200K_REGEX},
};

static int64_t type_of(const struct source *s, int32_t id) {
  int64_t type = TYPE_NORMAL;
  if (s->types) gguf_element_i64(s->types, (uint64_t)id, &type);
  return type;
}

static bool is(const struct gguf_string *s, const char *text) {
  return s->len == strlen(text) && memcmp(s->data, text, s->len) == 0;
}

// Names that fill the embedding up to its size, "[PAD32011]": no text gives them.
static bool is_padding(const struct source *s, int32_t id) {
  const struct gguf_string *t = &s->tokens[id];
  int64_t type = type_of(s, id);
  return (type == TYPE_UNKNOWN || type == TYPE_UNUSED) && id != s->unk && t->len > 4 && memcmp(t->data, "[PAD", 4) == 0;
}

// -1: the key is missing.
static bool get_id(const struct source *s, const char *key, int64_t *id, struct err *e) {
  *id = -1;
  if (!gguf_find(s->gguf, key)) return true;
  if (!gguf_get_i64(s->gguf, key, id, e)) return false;
  return (*id >= 0 && *id < s->count) ||
         err_set(e, "%s: %s is %lld, which is no id of the %d tokens", s->path, key, (long long)*id, s->count);
}

static bool get_flag(const struct source *s, const char *key, bool *flag, struct err *e) {
  int64_t v = *flag;
  if (gguf_find(s->gguf, key) && !gguf_get_i64(s->gguf, key, &v, e)) return false;
  *flag = v != 0;
  return true;
}

static const struct gguf_value *array_of(const struct source *s, const char *key, bool per_token, struct err *e) {
  const struct gguf_value *v = gguf_find(s->gguf, key);
  if (!v) err_set(e, "%s: %s is missing; the file has no tokenizer of this kind", s->path, key);
  else if (v->type != GGUF_ARRAY) err_set(e, "%s: %s is no array", s->path, key);
  else if (per_token && v->count != (uint64_t)s->count)
    err_set(e, "%s: %s has %llu entries for %d tokens", s->path, key, (unsigned long long)v->count, s->count);
  else return v;
  return NULL;
}

static bool read_tokens(struct source *s, struct tokenizer *t, struct err *e) {
  const struct gguf_value *tokens = array_of(s, "tokenizer.ggml.tokens", false, e);
  if (!tokens) return false;
  if (tokens->count > VOCAB_MAX_ID)
    return err_set(e, "%s: tokenizer.ggml.tokens has %llu entries, more than the %d that are supported", s->path,
                   (unsigned long long)tokens->count, VOCAB_MAX_ID);
  if (!(s->tokens = gguf_strings(s->gguf, tokens, e))) return false;
  s->count = (int32_t)tokens->count;
  if (gguf_find(s->gguf, "tokenizer.ggml.token_type")) {
    if (!(s->types = array_of(s, "tokenizer.ggml.token_type", true, e))) return false;
    int64_t type;
    if (s->count && !gguf_element_i64(s->types, 0, &type))
      return err_set(e, "%s: tokenizer.ggml.token_type holds no integers", s->path);
  }
  if (!get_id(s, "tokenizer.ggml.unknown_token_id", &s->unk, e)) return false;
  for (int32_t id = 0; id < s->count; id++) {
    const struct gguf_string *p = &s->tokens[id];
    if (is_padding(s, id)) continue;
    if (utf8_valid(p->data, p->len) != p->len)
      return err_set(e, "%s: tokenizer.ggml.tokens: token %d is not UTF-8", s->path, id);
    if (!vocab_add(&t->vocab, id, p->data, p->len, e)) return err_context(e, "%s: tokenizer.ggml.tokens", s->path);
  }
  return vocab_extend(&t->vocab, s->count, e);
}

// Phi-3 is known by its tokens. GGUF does not keep which of them swallow the white space behind them.
static bool is_phi3(const struct tokenizer *t) {
  static const char *const names[] = {"<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (tokenizer_find(t, names[i]) < 0) return false;
  return true;
}

static bool phi3_strips(const struct gguf_string *token) {
  return !is(token, "<unk>") && !is(token, "<s>") && !is(token, "<|endoftext|>");
}

static bool add_tokens(struct source *s, struct tokenizer *t, struct err *e) {
  for (int32_t id = 0; id < s->count; id++) {
    int64_t type = type_of(s, id);
    bool special = type == TYPE_CONTROL || id == s->unk;
    if ((!special && type != TYPE_USER_DEFINED) || is_padding(s, id) || !s->tokens[id].len) continue;
    struct added_token token = {.content = (char *)s->tokens[id].data,
                                .content_len = s->tokens[id].len,
                                .special = special,
                                .rstrip = s->phi3 && phi3_strips(&s->tokens[id])};
    if (!tokenizer_add_token(t, &token, id, e)) return err_context(e, "%s", s->path);
  }
  return tokenizer_finish(t, e);
}

// Two pieces that make a third, which has a score.
struct pair {
  double score;
  int32_t id, left, right;
};

struct pairs {
  struct pair *data;
  int64_t count, capacity;
};

static bool push_pair(struct pairs *p, struct pair pair, struct err *e) {
  if (p->count == p->capacity) {
    int64_t capacity = p->capacity ? 2 * p->capacity : 1024;
    struct pair *data = mem_grow(p->data, (size_t)p->count, (size_t)capacity, sizeof *data, "the merges", e);
    if (!data) return false;
    p->data = data;
    p->capacity = capacity;
  }
  p->data[p->count++] = pair;
  return true;
}

static bool find_pairs(const struct source *s, const struct tokenizer *t, int32_t id, double score, struct pairs *out,
                       struct err *e) {
  const struct gguf_string *p = &s->tokens[id];
  for (uint64_t cut = 1; cut < p->len && p->len <= MAX_SPM_PIECE; cut++) {
    if (((uint8_t)p->data[cut] & 0xC0) == 0x80) continue;
    int32_t left = vocab_find(&t->vocab, p->data, cut);
    int32_t right = left < 0 ? -1 : vocab_find(&t->vocab, p->data + cut, p->len - cut);
    if (right >= 0 && !push_pair(out, (struct pair){score, id, left, right}, e)) return false;
  }
  return true;
}

// The order in which Hugging Face's converter writes SentencePiece merges down: by falling score, then by the ids.
static int compare_pairs(const void *x, const void *y) {
  const struct pair *a = x, *b = y;
  if (a->score != b->score) return a->score > b->score ? -1 : 1;
  if (a->id != b->id) return a->id < b->id ? -1 : 1;
  if (a->left != b->left) return a->left < b->left ? -1 : 1;
  return (a->right > b->right) - (a->right < b->right);
}

static bool score_of(const struct source *s, const struct gguf_value *scores, int32_t id, double *score,
                     struct err *e) {
  return (gguf_element_f64(scores, (uint64_t)id, score) && !isnan(*score)) ||
         err_set(e, "%s: tokenizer.ggml.scores: the score of token %d is no number", s->path, id);
}

static bool read_spm_merges(const struct source *s, struct tokenizer *t, struct err *e) {
  struct pairs pairs = {0};
  const struct gguf_value *scores = array_of(s, "tokenizer.ggml.scores", true, e);
  bool ok = scores != NULL;
  for (int32_t id = 0; ok && id < s->count; id++) {
    double score;
    int64_t type = type_of(s, id);
    if (type == TYPE_CONTROL || type == TYPE_UNKNOWN) continue;
    ok = score_of(s, scores, id, &score, e) && find_pairs(s, t, id, score, &pairs, e);
  }
  if (ok && pairs.count > INT32_MAX / 4)
    ok = err_set(e, "%s: the vocabulary gives %lld merges, which is too many", s->path, (long long)pairs.count);
  if (ok && pairs.count) qsort(pairs.data, (size_t)pairs.count, sizeof *pairs.data, compare_pairs);
  ok = ok && bpe_init(&t->bpe, &t->vocab, (int32_t)pairs.count, e);
  for (int64_t i = 0; ok && i < pairs.count; i++)
    ok = bpe_add_merge(&t->bpe, pairs.data[i].left, pairs.data[i].right, pairs.data[i].id, e);
  mem_free(pairs.data);
  return ok;
}

static bool read_spm(struct source *s, struct tokenizer *t, bool *adds_bos, struct err *e) {
  bool prefix = true;
  struct pattern p;
  if (!get_flag(s, "tokenizer.ggml.add_space_prefix", &prefix, e) || !read_spm_merges(s, t, e)) return false;
  t->bpe.byte_fallback = t->bpe.fuse_unk = true;
  if (s->unk >= 0) t->bpe.unk = (int32_t)s->unk;
  if (prefix && !steps_prepend(&t->normalizers, METASPACE, METASPACE_LEN, false, false, e)) return false;
  if (!pattern_literal(&p, " ", 1, e) || !steps_replace(&t->normalizers, &p, METASPACE, METASPACE_LEN, e)) return false;
  s->phi3 = is_phi3(t);
  *adds_bos = true;
  return tokenizer_spm_decoder(t, prefix, e);
}

static bool read_merge(struct tokenizer *t, const struct gguf_string *m, struct buffer *joined, struct err *e) {
  const char *space = m->len ? memchr(m->data, ' ', m->len) : NULL;
  if (!space) return err_set(e, "is not \"a b\"");
  size_t a = (size_t)(space - m->data), b = m->len - a - 1;
  joined->len = 0;
  if (!buffer_append(joined, m->data, a, e) || !buffer_append(joined, space + 1, b, e)) return false;
  int32_t left = vocab_find(&t->vocab, m->data, a), right = vocab_find(&t->vocab, space + 1, b);
  int32_t both = vocab_find(&t->vocab, joined->data, joined->len);
  if (left < 0 || right < 0 || both < 0)
    return err_set(e, "'%.*s' names a piece that is not in the vocabulary", (int)(m->len < 64 ? m->len : 64), m->data);
  return bpe_add_merge(&t->bpe, left, right, both, e);
}

static bool read_merges(const struct source *s, struct tokenizer *t, struct err *e) {
  const struct gguf_value *v = array_of(s, "tokenizer.ggml.merges", false, e);
  struct gguf_string *merges = v && v->count <= INT32_MAX / 4 ? gguf_strings(s->gguf, v, e) : NULL;
  struct buffer joined = {0};
  if (!merges)
    return v && v->count > INT32_MAX / 4 ? err_set(e, "%s: tokenizer.ggml.merges has too many entries", s->path)
                                         : false;
  bool ok = bpe_init(&t->bpe, &t->vocab, (int32_t)v->count, e);
  for (uint64_t i = 0; ok && i < v->count; i++)
    if (!(ok = read_merge(t, &merges[i], &joined, e)))
      err_context(e, "%s: tokenizer.ggml.merges: entry %llu", s->path, (unsigned long long)i);
  buffer_free(&joined);
  mem_free(merges);
  return ok;
}

static const struct pre_tokenizer *find_pre_tokenizer(const struct source *s, struct err *e) {
  struct gguf_string name = {"default", 7};
  if (gguf_find(s->gguf, "tokenizer.ggml.pre") && !gguf_get_string(s->gguf, "tokenizer.ggml.pre", &name, e))
    return NULL;
  for (size_t i = 0; i < sizeof pre_tokenizers / sizeof *pre_tokenizers; i++)
    if (is(&name, pre_tokenizers[i].name)) return &pre_tokenizers[i];
  err_set(e, "%s: tokenizer.ggml.pre is '%.*s', a pre-tokenizer that is not supported; use the model's tokenizer.json",
          s->path, (int)(name.len < 64 ? name.len : 64), name.data);
  return NULL;
}

static bool read_byte_level(const struct source *s, struct tokenizer *t, bool *adds_bos, struct err *e) {
  const struct pre_tokenizer *pre = find_pre_tokenizer(s, e);
  bool prefix = false;
  struct pattern p;
  if (!pre || !get_flag(s, "tokenizer.ggml.add_space_prefix", &prefix, e) || !read_merges(s, t, e)) return false;
  t->bpe.ignore_merges = pre->ignore_merges;
  *adds_bos = pre->adds_bos;
  if (pre->digits && !steps_digits(&t->pre_tokenizers, true, e)) return false;
  if (pre->regex && (!pattern_regex(&p, pre->regex, strlen(pre->regex), e) ||
                     !steps_split(&t->pre_tokenizers, &p, SPLIT_ISOLATED, false, e)))
    return false;
  return steps_byte_level(&t->pre_tokenizers, prefix, !pre->regex, e) &&
         tokenizer_add_decoder(t, (struct decode_step){.kind = DECODE_BYTES}, "", 0, NULL, e);
}

static bool read_frame(const struct source *s, struct tokenizer *t, bool adds_bos, struct err *e) {
  int64_t bos, eos;
  bool adds_eos = false;
  if (!get_id(s, "tokenizer.ggml.bos_token_id", &bos, e) || !get_id(s, "tokenizer.ggml.eos_token_id", &eos, e) ||
      !get_flag(s, "tokenizer.ggml.add_bos_token", &adds_bos, e) ||
      !get_flag(s, "tokenizer.ggml.add_eos_token", &adds_eos, e))
    return false;
  // Phi-3 was not trained with BOS: its tokenizer_config.json says so, GGUF files made by llama.cpp say otherwise.
  if (s->phi3) adds_bos = false;
  t->bos = (int32_t)bos;
  t->eos = (int32_t)eos;
  t->adds_bos = adds_bos && bos >= 0;
  if (t->adds_bos) t->prefix[t->num_prefix++] = t->bos;
  if (adds_eos && eos >= 0) t->suffix[t->num_suffix++] = t->eos;
  return true;
}

static bool read_chat(const struct source *s, struct tokenizer *t, struct err *e) {
  struct gguf_string template = {0};
  if (gguf_find(s->gguf, "tokenizer.chat_template") &&
      !gguf_get_string(s->gguf, "tokenizer.chat_template", &template, e))
    return false;
  return tokenizer_set_chat(t, template.data, template.len, e);
}

static bool read_all(struct source *s, struct tokenizer *t, struct err *e) {
  struct gguf_string model;
  bool adds_bos = false;
  if (!gguf_get_string(s->gguf, "tokenizer.ggml.model", &model, e)) return false;
  bool spm = is(&model, "llama"), byte_level = is(&model, "gpt2");
  if (!spm && !byte_level)
    return err_set(e, "%s: tokenizer.ggml.model is '%.*s'; llama and gpt2 are supported", s->path,
                   (int)(model.len < 64 ? model.len : 64), model.data);
  if (!read_tokens(s, t, e)) return false;
  if (!(spm ? read_spm(s, t, &adds_bos, e) : read_byte_level(s, t, &adds_bos, e))) return false;
  return add_tokens(s, t, e) && read_frame(s, t, adds_bos, e) && read_chat(s, t, e);
}

bool tokenizer_read_gguf(struct tokenizer *t, const char *path, struct err *e) {
  struct gguf g;
  if (!gguf_open(&g, path, e)) return false;
  struct source s = {.gguf = &g, .path = path, .unk = -1};
  bool ok = read_all(&s, t, e);
  mem_free(s.tokens);
  gguf_close(&g);
  return ok;
}

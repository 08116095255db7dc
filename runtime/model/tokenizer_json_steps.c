// The parts of tokenizer.json that are lists of steps: normalizer, pre_tokenizer, decoder.
#include "runtime/base/mem.h"
#include "runtime/model/tokenizer_impl.h"
#include <string.h>

enum { MAX_NESTING = 8 };

static const char *type_of(const json_t *node, struct err *e) {
  const char *type = json_string_value(json_object_get(node, "type"));
  if (!type) err_set(e, "there is no type");
  return type;
}

// A string member that must be there.
static bool text(const json_t *node, const char *key, const char **s, size_t *len, struct err *e) {
  const json_t *v = json_object_get(node, key);
  if (!json_is_string(v)) return err_set(e, "%s is missing or no text", key);
  *s = json_string_value(v);
  *len = json_string_length(v);
  return true;
}

static bool flag(const json_t *node, const char *key, bool fallback, bool *out, struct err *e) {
  const json_t *v = json_object_get(node, key);
  *out = fallback;
  if (!v || json_is_null(v)) return true;
  *out = json_is_true(v);
  return json_is_boolean(v) || err_set(e, "%s is neither true nor false", key);
}

// {"String": "..."} or {"Regex": "..."}.
static bool read_pattern(const json_t *node, struct pattern *p, struct err *e) {
  const json_t *pattern = json_object_get(node, "pattern");
  const json_t *literal = json_object_get(pattern, "String"), *regex = json_object_get(pattern, "Regex");
  if (json_is_string(literal)) return pattern_literal(p, json_string_value(literal), json_string_length(literal), e);
  if (json_is_string(regex)) return pattern_regex(p, json_string_value(regex), json_string_length(regex), e);
  return err_set(e, "pattern is neither {\"String\": ...} nor {\"Regex\": ...}");
}

typedef bool read_one(struct tokenizer *t, const char *type, const json_t *node, struct err *e);

// A node, or the nodes of a Sequence one by one.
static bool read_sequence(struct tokenizer *t, const json_t *node, const char *members, read_one *read, int depth,
                          struct err *e) {
  const char *type = type_of(node, e);
  if (!type) return false;
  if (strcmp(type, "Sequence") != 0) return read(t, type, node, e) || err_context(e, "%s", type);
  const json_t *list = json_object_get(node, members);
  if (!json_is_array(list)) return err_set(e, "%s is missing or no array", members);
  if (depth == MAX_NESTING) return err_set(e, "Sequences are nested more than %d deep", MAX_NESTING);
  for (size_t i = 0; i < json_array_size(list); i++)
    if (!read_sequence(t, json_array_get(list, i), members, read, depth + 1, e)) return false;
  return true;
}

static bool read_normalizer(struct tokenizer *t, const char *type, const json_t *node, struct err *e) {
  const char *s;
  size_t len;
  struct pattern p;
  if (strcmp(type, "Prepend") == 0)
    return text(node, "prepend", &s, &len, e) && steps_prepend(&t->normalizers, s, len, false, false, e);
  if (strcmp(type, "Replace") == 0)
    return text(node, "content", &s, &len, e) && read_pattern(node, &p, e) &&
           steps_replace(&t->normalizers, &p, s, len, e);
  return err_set(e, "this normalizer is not supported; Prepend, Replace and Sequence are");
}

bool tokenizer_read_normalizer(struct tokenizer *t, const json_t *node, struct err *e) {
  if (!node || json_is_null(node)) return true;
  return read_sequence(t, node, "normalizers", read_normalizer, 0, e);
}

// 0 always, 1 first, 2 never; -1: an error. Older files say add_prefix_space instead.
static int prepend_scheme(const json_t *node, struct err *e) {
  static const char *const names[] = {"always", "first", "never"};
  const json_t *scheme = json_object_get(node, "prepend_scheme");
  bool prefix;
  if (!flag(node, "add_prefix_space", true, &prefix, e)) return -1;
  if (!scheme || json_is_null(scheme)) return prefix ? 0 : 2;
  for (int i = 0; i < 3; i++)
    if (json_is_string(scheme) && strcmp(json_string_value(scheme), names[i]) == 0) return i;
  return err_set(e, "prepend_scheme is none of always, first, never"), -1;
}

static bool metaspace_character(const json_t *node, const char **s, size_t *len, struct err *e) {
  uint32_t cp;
  if (!text(node, "replacement", s, len, e)) return false;
  return (*len && utf8_decode(*s, *len, &cp) == (int)*len) || err_set(e, "replacement is not one character");
}

static bool read_metaspace(struct tokenizer *t, const json_t *node, struct err *e) {
  const char *s;
  size_t len;
  bool split;
  struct pattern p;
  struct steps *steps = &t->pre_tokenizers;
  if (!metaspace_character(node, &s, &len, e) || !flag(node, "split", true, &split, e)) return false;
  int scheme = prepend_scheme(node, e);
  if (scheme < 0 || !pattern_literal(&p, " ", 1, e) || !steps_replace(steps, &p, s, len, e)) return false;
  if (scheme != 2 && !steps_prepend(steps, s, len, true, scheme == 1, e)) return false;
  return !split || (pattern_literal(&p, s, len, e) && steps_split(steps, &p, SPLIT_MERGED_WITH_NEXT, false, e));
}

static bool read_split(struct tokenizer *t, const json_t *node, struct err *e) {
  static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  const char *s;
  size_t len;
  bool invert;
  struct pattern p;
  if (!text(node, "behavior", &s, &len, e) || !flag(node, "invert", false, &invert, e)) return false;
  for (int i = 0; i < 5; i++)
    if (strcmp(s, names[i]) == 0)
      return read_pattern(node, &p, e) && steps_split(&t->pre_tokenizers, &p, (enum split_behavior)i, invert, e);
  return err_set(e, "behavior '%s' is not supported", s);
}

static bool read_pre_tokenizer(struct tokenizer *t, const char *type, const json_t *node, struct err *e) {
  bool space, regex, individual;
  if (strcmp(type, "Metaspace") == 0) return read_metaspace(t, node, e);
  if (strcmp(type, "Split") == 0) return read_split(t, node, e);
  if (strcmp(type, "ByteLevel") == 0)
    return flag(node, "add_prefix_space", true, &space, e) && flag(node, "use_regex", true, &regex, e) &&
           steps_byte_level(&t->pre_tokenizers, space, regex, e);
  if (strcmp(type, "Digits") == 0)
    return flag(node, "individual_digits", false, &individual, e) && steps_digits(&t->pre_tokenizers, individual, e);
  return err_set(e, "this pre-tokenizer is not supported; Metaspace, ByteLevel, Digits, Split and Sequence are");
}

bool tokenizer_read_pre_tokenizer(struct tokenizer *t, const json_t *node, struct err *e) {
  if (!node || json_is_null(node)) return true;
  return read_sequence(t, node, "pretokenizers", read_pre_tokenizer, 0, e);
}

static bool read_strip(struct tokenizer *t, const json_t *node, struct err *e) {
  const char *s;
  size_t len;
  uint32_t cp;
  const json_t *start = json_object_get(node, "start"), *stop = json_object_get(node, "stop");
  if (!text(node, "content", &s, &len, e)) return false;
  if (!len || utf8_decode(s, len, &cp) != (int)len) return err_set(e, "content is not one character");
  if (!json_is_integer(start) || json_integer_value(start) < 0) return err_set(e, "start is missing or negative");
  if (!json_is_integer(stop) || json_integer_value(stop) != 0)
    return err_set(e, "stop must be 0: a stream of text has no end to take from");
  struct decode_step step = {.kind = DECODE_STRIP, .count = json_integer_value(start)};
  return tokenizer_add_decoder(t, step, s, len, NULL, e);
}

static bool read_replace_decoder(struct tokenizer *t, const json_t *node, struct err *e) {
  const char *s;
  size_t len;
  struct pattern p;
  if (!json_is_string(json_object_get(json_object_get(node, "pattern"), "String")))
    return err_set(e, "pattern is no {\"String\": ...}");
  return text(node, "content", &s, &len, e) && read_pattern(node, &p, e) &&
         tokenizer_add_decoder(t, (struct decode_step){.kind = DECODE_REPLACE}, s, len, &p, e);
}

static bool add_plain(struct tokenizer *t, enum decode_kind kind, struct err *e) {
  return tokenizer_add_decoder(t, (struct decode_step){.kind = kind}, "", 0, NULL, e);
}

static bool fuses(const struct tokenizer *t) {
  for (int i = 0; i < t->num_decoders; i++)
    if (t->decoders[i].kind == DECODE_FUSE || t->decoders[i].kind == DECODE_BYTES) return true;
  return false;
}

static bool read_decoder(struct tokenizer *t, const char *type, const json_t *node, struct err *e) {
  if (strcmp(type, "Fuse") == 0) return add_plain(t, DECODE_FUSE, e);
  if (strcmp(type, "Strip") == 0) return read_strip(t, node, e);
  if (fuses(t)) return err_set(e, "this decoder is not supported behind one that makes one token of all");
  if (strcmp(type, "Replace") == 0) return read_replace_decoder(t, node, e);
  if (strcmp(type, "ByteFallback") == 0) return add_plain(t, DECODE_BYTE_FALLBACK, e);
  if (strcmp(type, "ByteLevel") == 0) return add_plain(t, DECODE_BYTES, e);
  if (strcmp(type, "Metaspace") == 0) {
    const char *s;
    size_t len;
    if (!metaspace_character(node, &s, &len, e)) return false;
    int scheme = prepend_scheme(node, e);
    struct decode_step step = {.kind = DECODE_METASPACE, .strip_first = scheme != 2};
    return scheme >= 0 && tokenizer_add_decoder(t, step, s, len, NULL, e);
  }
  return err_set(
      e, "this decoder is not supported; Replace, ByteFallback, Fuse, Strip, ByteLevel, Metaspace and Sequence are");
}

bool tokenizer_read_decoder(struct tokenizer *t, const json_t *node, struct err *e) {
  if (!node || json_is_null(node)) return add_plain(t, DECODE_JOIN, e);
  return read_sequence(t, node, "decoders", read_decoder, 0, e);
}

#include "tests/test.h"
#include "tests/tokenizer/tokenizer_files.h"

struct tokenizer *open_texts(const char *json, const char *config, struct err *e) {
  char *dir = temp_dir(), *path = path_in(dir, "tokenizer.json"), *config_path = path_in(dir, "tokenizer_config.json");
  write_text(path, json);
  if (config) write_text(config_path, config);
  struct tokenizer *t = tokenizer_open(dir, e);
  free(path);
  free(config_path);
  temp_dir_remove(dir);
  return t;
}

struct tokenizer *open_text(const char *json, struct err *e) {
  return open_texts(json, NULL, e);
}

char *decode_all(const struct tokenizer *t, const int32_t *ids, size_t count, bool skip_special, size_t *len) {
  struct err e;
  struct bytes all = {0};
  size_t n;
  const char *s;
  struct decoder *d = decoder_open(t, skip_special, &e);
  assert_non_null(d);
  for (size_t i = 0; i < count; i++) {
    assert_ok(s = decoder_push(d, ids[i], &n, &e));
    bytes_put(&all, s, n);
  }
  assert_ok(s = decoder_finish(d, &n, &e));
  bytes_put(&all, s, n);
  decoder_close(d);
  *len = all.size;
  bytes_put(&all, "", 1);
  return (char *)all.data;
}

void assert_ids(const struct tokenizer *t, const char *text, size_t len, bool special, const int32_t *ids,
                size_t count) {
  struct err e;
  struct ids got = {0};
  assert_ok(tokenizer_encode(t, text, len, special, &got, &e));
  bool same = (size_t)got.count == count && (!count || memcmp(got.data, ids, count * sizeof *ids) == 0);
  if (!same) {
    print_message("text:");
    for (size_t i = 0; i < len && i < 200; i++) print_message(" %02x", (uint8_t)text[i]);
    print_message("\nexpected:");
    for (size_t i = 0; i < count; i++) print_message(" %d", ids[i]);
    print_message("\ngot:");
    for (int64_t i = 0; i < got.count; i++) print_message(" %d", got.data[i]);
    print_message("\n");
  }
  ids_free(&got);
  if (!same) fail_msg("wrong ids");
}

#include "driver/text.h"
#include "driver/trace.h"
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <string.h>

enum { HEAD_ROWS = 30, TAIL_ROWS = 10, TEXT_CHARACTERS = 400, SHAPE_WIDTH = 20 };

static bool print_quoted(const char *text, size_t len, size_t most, int width, struct err *e) {
  char *quoted = text_quote(text, len, most, e);
  if (!quoted) return false;
  text_print(stdout, quoted, width);
  mem_free(quoted);
  return true;
}

static bool print_piece(const struct trace *t, int32_t id, int width, struct err *e) {
  size_t len;
  const char *piece = t->engine->tokenizer ? tokenizer_piece(t->engine->tokenizer, id, &len) : NULL;
  if (piece) return print_quoted(piece, len, TEXT_CHARACTERS, width, e);
  text_print(stdout, "-", width);
  return true;
}

static bool print_ids(const struct trace *t, struct err *e) {
  printf("\nIds [1, %lld]\n  position       id  piece\n", (long long)t->ids.count);
  for (int64_t i = 0; i < t->ids.count; i++) {
    if (i == HEAD_ROWS && t->ids.count > HEAD_ROWS + TAIL_ROWS) {
      printf("       ...      ...\n");
      i = t->ids.count - TAIL_ROWS;
    }
    printf("  %8lld %8d  ", (long long)i, t->ids.data[i]);
    if (!print_piece(t, t->ids.data[i], 0, e)) return false;
    putchar('\n');
  }
  return true;
}

static void print_stages(const struct trace *t) {
  printf("\n%-12s%-*s%12s  first values of the last token\n", "Stage", SHAPE_WIDTH, "shape", "norm");
  for (int32_t i = 0; i < t->num_stages; i++) {
    const struct trace_stage *s = &t->stages[i];
    char shape[64];
    snprintf(shape, sizeof shape, "[1, %lld, %lld]", (long long)t->ids.count, (long long)s->width);
    printf("%-12s%-*s%12.6g", s->name, SHAPE_WIDTH, shape, sqrt(s->squares));
    for (int j = 0; j < TRACE_FIRST && j < s->width; j++) printf("%12.5g", (double)s->first[j]);
    printf("%s\n", s->width > TRACE_FIRST ? "  ..." : "");
  }
}

// The text, or the piece where it has none.
static bool print_text(const struct trace *t, const struct trace_candidate *c, int width, struct err *e) {
  return c->text.len ? print_quoted(c->text.data, c->text.len, TEXT_CHARACTERS, width, e)
                     : print_piece(t, c->id, width, e);
}

static bool print_candidates(const struct trace *t, struct err *e) {
  enum { WIDTH = 20 };
  printf("\nNext token: %d of %d candidates\n", t->num_top, t->engine->model.config.vocab_size);
  for (int32_t i = 0; i < t->num_top; i++) {
    const struct trace_candidate *c = &t->top[i];
    printf("%4d. ", i + 1);
    if (!print_text(t, c, WIDTH, e)) return false;
    printf(c->probability < 0.0005 ? "  <0.1 %%" : "%6.1f %%", 100 * c->probability);
    printf("   id %6d   logit %10.6g\n", c->id, (double)c->logit);
  }
  printf("\nArgmax      %d\n", t->top[0].id);
  if (!t->engine->tokenizer) return true;
  printf("Text        ");
  return print_text(t, &t->top[0], 0, e) && putchar('\n') != EOF;
}

bool trace_print(const struct trace *t, struct err *e) {
  const struct config *c = &t->engine->model.config;
  printf("Model       %s: %s, %d layers, hidden size %d, vocabulary %d\n", t->engine->model.path, c->architecture,
         c->num_layers, c->hidden_size, c->vocab_size);
  if (t->text.data) {
    printf("Text        ");
    if (!print_quoted(t->text.data, t->text.len, TEXT_CHARACTERS, 0, e)) return false;
    putchar('\n');
  }
  if (!print_ids(t, e)) return false;
  print_stages(t);
  return t->num_top == 0 || print_candidates(t, e);
}

// NULL becomes null: Jansson knows neither infinities nor text that is not UTF-8.
static json_t *or_null(json_t *j) { return j ? j : json_null(); }

static json_t *text_json(const char *text, size_t len) { return text ? or_null(json_stringn(text, len)) : json_null(); }

static json_t *piece_json(const struct trace *t, int32_t id) {
  size_t len = 0;
  const char *piece = t->engine->tokenizer ? tokenizer_piece(t->engine->tokenizer, id, &len) : NULL;
  return text_json(piece, len);
}

static json_t *stages_json(const struct trace *t) {
  json_t *stages = json_array();
  for (int32_t i = 0; i < t->num_stages; i++) {
    const struct trace_stage *s = &t->stages[i];
    json_t *first = json_array();
    for (int j = 0; j < TRACE_FIRST && j < s->width; j++)
      json_array_append_new(first, or_null(json_real((double)s->first[j])));
    json_array_append_new(stages, json_pack("{s:s, s:[i, I, I], s:o, s:o}", "name", s->name, "shape", 1,
                                            (json_int_t)t->ids.count, (json_int_t)s->width, "norm",
                                            or_null(json_real(sqrt(s->squares))), "last_token_first_values", first));
  }
  return stages;
}

static json_t *candidates_json(const struct trace *t) {
  json_t *top = json_array();
  for (int32_t i = 0; i < t->num_top; i++) {
    const struct trace_candidate *c = &t->top[i];
    json_array_append_new(top, json_pack("{s:i, s:o, s:o, s:f, s:f}", "id", c->id, "piece", piece_json(t, c->id),
                                         "text", text_json(c->text.data, c->text.len), "logit", (double)c->logit,
                                         "probability", c->probability));
  }
  return top;
}

bool trace_print_json(const struct trace *t, struct err *e) {
  json_use_mem();
  json_t *ids = json_array(), *pieces = json_array();
  for (int64_t i = 0; i < t->ids.count; i++) {
    json_array_append_new(ids, json_integer(t->ids.data[i]));
    json_array_append_new(pieces, piece_json(t, t->ids.data[i]));
  }
  json_t *root = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "model", t->engine->model.path, "text",
                           text_json(t->text.data, t->text.len), "ids", ids, "pieces", pieces, "stages", stages_json(t),
                           "top", candidates_json(t), "argmax", t->num_top ? json_integer(t->top[0].id) : json_null());
  return json_print(root, e);
}

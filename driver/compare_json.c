#include "driver/compare.h"
#include "driver/origin.h"
#include <math.h>

static json_t *number(double v) { return json_or_null(json_real(v)); }

static json_t *value_json(const struct compare_value *v) {
  return json_pack("{s:I, s:I, s:o, s:o}", "position", (json_int_t)v->position, "channel", (json_int_t)v->channel, "a",
                   number((double)v->a), "b", number((double)v->b));
}

static json_t *line_json(const struct compare_line *l) {
  const struct compare_cell *c = l->cell;
  return json_pack("{s:o, s:s, s:o, s:o, s:o, s:b, s:I, s:o, s:o, s:o, s:I, s:o}", "layer",
                   compare_point_in_layer(l->point) ? json_integer(l->layer) : json_null(), "operation",
                   compare_point_names[l->point], "nmse", number(l->nmse), "relative_error", number(sqrt(l->nmse)),
                   "gate", number(l->gate), "passes", l->passes, "values", (json_int_t)c->count, "max_error",
                   value_json(&c->worst), "largest_a", number((double)c->largest_a), "largest_b",
                   number((double)c->largest_b), "bad_values", (json_int_t)c->num_bad, "first_bad",
                   c->num_bad ? value_json(&c->first_bad) : json_null());
}

static json_t *side_json(const struct backend *b) {
  char name[COMPARE_NAME];
  return json_pack("{s:s, s:o}", "device", compare_backend_name(b, name), "model",
                   json_or_null(json_string(origin_model(b->model->path))));
}

static json_t *logits_json(const struct compare *c) {
  const struct compare_logits *l = &c->lockstep->logits;
  double rows = (double)(l->rows - l->bad_rows),
         five = c->en.model.config.vocab_size < 5 ? c->en.model.config.vocab_size : 5;
  return json_pack("{s:I, s:I, s:o, s:o, s:I, s:o, s:o, s:o, s:o}", "rows", (json_int_t)l->rows, "bad_rows",
                   (json_int_t)l->bad_rows, "mean_kl", number(l->divergence / rows), "max_kl", number(l->worst),
                   "max_kl_position", (json_int_t)l->worst_position, "same_top", number((double)l->same_top / rows),
                   "same_five", number((double)l->same_five / (rows * five)), "gate_mean_kl",
                   number(c->gates.divergence), "gate_same_top", number(c->gates.same_top));
}

static json_t *greedy_json(const struct compare *c) {
  const struct compare_greedy *g = &c->greedy;
  return json_pack("{s:I, s:I, s:b, s:o, s:o, s:o}", "asked", (json_int_t)c->options->new_tokens, "agreed",
                   (json_int_t)g->agreed, "differ", g->differ, "a", g->differ ? json_integer(g->a) : json_null(), "b",
                   g->differ ? json_integer(g->b) : json_null(), "margin_of_a",
                   g->differ ? number((double)g->margin) : json_null());
}

bool compare_write_json(const struct compare *c, const struct compare_line *lines, int64_t count, const char *path,
                        struct err *e) {
  json_use_mem();
  struct err why;
  json_t *root = origin_json(c->command_line), *all = json_array();
  int bad = 0;
  for (int64_t i = 0; i < count; i++) bad |= json_array_append_new(all, line_json(&lines[i]));
  bad |= json_object_update_new(root, json_pack("{s:o, s:o, s:I, s:I, s:s, s:b, s:o, s:o, s:o}", "a",
                                                side_json(c->lockstep->a), "b", side_json(c->lockstep->b), "tokens",
                                                (json_int_t)c->ids.count, "chunk", (json_int_t)c->options->a.chunk,
                                                "feed", c->options->feed == FEED_REFERENCE ? "reference" : "own",
                                                "passes", compare_verdict(c, lines, count, &why), "operations", all,
                                                "logits", logits_json(c), "greedy", greedy_json(c)));
  bool ok = bad ? err_no_memory(e, 0, "the JSON") : json_write_file(path, root, e);
  json_decref(root);
  return ok;
}

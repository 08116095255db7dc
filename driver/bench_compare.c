// Two runs beside each other. A difference of means is beyond noise when chance alone would make it as large in less
// than 5 % of cases: by Welch's test, which takes each run's own deviation and, with few runs, asks for more. With one
// run on either side, and for estimates, there is no deviation to go by: then every difference counts, and the table
// says so.
#include "driver/bench.h"
#include "driver/text.h"
#include <math.h>
#include <string.h>

enum { KIND = 10, TIME = 22 };

struct sample {
  double mean, sd;
  int64_t n;
};

static const json_t *get(const json_t *o, const char *a, const char *b) {
  const json_t *v = json_object_get(o, a);
  return b ? json_object_get(v, b) : v;
}

static bool same(const json_t *before, const json_t *after, const char *a, const char *b) {
  return json_equal((json_t *)get(before, a, b), (json_t *)get(after, a, b));
}

static bool check_kind(const json_t *j, const char *name, struct err *e) {
  return (json_is_object(get(j, "experiment", NULL)) && json_is_object(get(j, "model", NULL)) &&
          json_is_object(get(j, "settings", NULL))) ||
         err_set(e, "%s: is not what phi3 bench --json writes (without --roof)", name);
}

static const char *word(const json_t *j, const char *a, const char *b) {
  const char *text = json_string_value(get(j, a, b));
  return text ? text : "(none)";
}

// Runs of other models, devices or prompts are no runs of one thing.
static bool check_belong(const json_t *x, const char *x_name, const json_t *y, const char *y_name, struct err *e) {
  static const char *const of_settings[] = {"device", "precision", "pages"}, *const of_model[] = {"architecture",
                                                                                                  "parameters", "type",
                                                                                                  "weight_bytes"};
  if (!check_kind(x, x_name, e) || !check_kind(y, y_name, e)) return false;
  for (size_t i = 0; i < sizeof of_model / sizeof *of_model; i++)
    if (!same(x, y, "model", of_model[i]))
      return err_set(e, "%s and %s do not belong together: the models are %s and %s, whose %s differs", x_name, y_name,
                     word(x, "model", "path"), word(y, "model", "path"), of_model[i]);
  for (size_t i = 0; i < sizeof of_settings / sizeof *of_settings; i++)
    if (!same(x, y, "settings", of_settings[i]))
      return err_set(e, "%s and %s do not belong together: %s is %s and %s", x_name, y_name, of_settings[i],
                     word(x, "settings", of_settings[i]), word(y, "settings", of_settings[i]));
  bool ids = get(x, "prompt_ids", NULL) && get(y, "prompt_ids", NULL);
  if (ids ? !same(x, y, "prompt_ids", NULL) : !same(x, y, "prompt", NULL) || !same(x, y, "experiment", "prompt_tokens"))
    return err_set(e, "%s and %s do not belong together: the prompts differ", x_name, y_name);
  return json_is_true(get(x, "estimate", NULL)) == json_is_true(get(y, "estimate", NULL)) ||
         err_set(e, "%s and %s do not belong together: one is an estimate, the other was measured", x_name, y_name);
}

static int64_t whole(const json_t *point, const char *key, int64_t missing) {
  const json_t *v = json_object_get(point, key);
  return json_is_integer(v) ? json_integer_value(v) : missing;
}

static bool same_point(const json_t *a, const json_t *b) {
  return whole(a, "prompt_tokens", 0) == whole(b, "prompt_tokens", 0) &&
         whole(a, "new_tokens", 0) == whole(b, "new_tokens", 0) && whole(a, "batch", 1) == whole(b, "batch", 1);
}

static bool read_sample(const json_t *point, const char *kind, struct sample *s) {
  const json_t *t = json_object_get(point, kind), *mean = json_object_get(t, "mean_seconds"),
               *sd = json_object_get(t, "sd_seconds");
  *s = (struct sample){json_number_value(mean), json_number_value(sd),
                       (int64_t)json_array_size(json_object_get(t, "seconds"))};
  return json_is_number(mean) && s->mean > 0 && s->n > 0;
}

struct judgement {
  double ratio;
  bool certain, beyond; // there are deviations to go by; the difference is more than noise
};

// Standard errors that 95 % of differences stay within, by degrees of freedom (Student); beyond the table within 0.02.
static double most_errors(double freedom) {
  static const double of[] = {12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228};
  int64_t i = (int64_t)freedom; // rounded down
  if (i < 1) i = 1;
  return i <= (int64_t)(sizeof of / sizeof *of) ? of[i - 1] : 1.96 + 2.6 / freedom;
}

static struct judgement judge(const struct sample *a, const struct sample *b) {
  struct judgement j = {.ratio = b->mean / a->mean, .certain = a->n > 1 && b->n > 1};
  double x = a->sd * a->sd / (double)a->n, y = b->sd * b->sd / (double)b->n, most = 0;
  if (j.certain && x + y > 0)
    most = sqrt(x + y) * most_errors((x + y) * (x + y) / (x * x / (double)(a->n - 1) + y * y / (double)(b->n - 1)));
  j.beyond = fabs(b->mean - a->mean) > most;
  return j;
}

static const char *verdict(const struct judgement *j, bool estimate) {
  if (!j->beyond) return j->certain ? "within noise" : "the same";
  if (!j->certain && !estimate)
    return j->ratio > 1 ? "slower (one run: noise unknown)" : "faster (one run: noise unknown)";
  return j->ratio > 1 ? "slower" : "faster";
}

struct comparison {
  const json_t *before, *after;
  double most;
  bool estimate, regressed;
  int64_t rows;
};

static void print_row(struct comparison *c, const json_t *point, const char *kind, const struct sample *a,
                      const struct sample *b) {
  char text[TIME_TEXT];
  struct judgement j = judge(a, b);
  bool over = c->most >= 0 && j.beyond && 100 * (j.ratio - 1) > c->most;
  printf("%8lld %7lld %6lld   ", (long long)whole(point, "prompt_tokens", 0), (long long)whole(point, "new_tokens", 0),
         (long long)whole(point, "batch", 1));
  text_print(stdout, kind, KIND);
  text_print(stdout, time_text((struct summary){a->mean, a->sd, a->n}, text), TIME);
  text_print(stdout, time_text((struct summary){b->mean, b->sd, b->n}, text), TIME);
  printf("%6.3f  %s%s\n", j.ratio, verdict(&j, c->estimate), over ? ", too much" : "");
  c->regressed |= over;
  c->rows++;
}

static void compare_points(struct comparison *c, const json_t *x, const json_t *y) {
  static const char *const kinds[] = {"cached", "uncached"};
  for (int i = 0; i < 2; i++) {
    struct sample a, b;
    if (read_sample(x, kinds[i], &a) && read_sample(y, kinds[i], &b)) print_row(c, x, kinds[i], &a, &b);
  }
}

bool bench_compare(const json_t *before, const char *before_name, const json_t *after, const char *after_name,
                   double most, bool *regressed, struct err *e) {
  struct comparison c = {
      .before = before, .after = after, .most = most, .estimate = json_is_true(get(after, "estimate", NULL))};
  if (!check_belong(before, before_name, after, after_name, e)) return false;
  const json_t *old = get(before, "experiment", NULL), *now = get(after, "experiment", NULL);
  printf("\nComparison of %s, commit %s, with %s, commit %s%s\n", after_name, word(after, "build", "commit"),
         before_name, word(before, "build", "commit"), c.estimate ? "; both are estimates" : "");
  if (!same(before, after, "machine", "cpu") || !same(before, after, "settings", "threads"))
    printf("The machines differ: %s, and before %s.\n", word(after, "machine", "cpu"), word(before, "machine", "cpu"));
  printf("  prompt     new  batch   ");
  text_print(stdout, "", KIND);
  text_print(stdout, "before", TIME);
  text_print(stdout, "now", TIME);
  printf(" ratio\n");
  if (same_point(old, now)) compare_points(&c, old, now);
  const json_t *sweep = get(before, "sweep", NULL), *other = get(after, "sweep", NULL);
  for (size_t i = 0; i < json_array_size(sweep); i++)
    for (size_t j = 0; j < json_array_size(other); j++)
      if (same_point(json_array_get(sweep, i), json_array_get(other, j)))
        compare_points(&c, json_array_get(sweep, i), json_array_get(other, j));
  *regressed |= c.regressed;
  return c.rows > 0 ||
         err_set(e, "%s and %s have no lengths in common, so nothing could be compared", before_name, after_name);
}

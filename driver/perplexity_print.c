#include "driver/compare.h"
#include "driver/origin.h"
#include "driver/perplexity.h"
#include "driver/text.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <stdlib.h>

enum { GATE_TOKENS = 2000 };

static double loss_of(const struct score *s) { return s->loss; }
static double base_loss_of(const struct score *s) { return s->base_loss; }
static double more_loss_of(const struct score *s) { return s->loss - s->base_loss; }
static double divergence_of(const struct score *s) { return s->divergence; }
static double bound_of(const struct score *s) { return s->bound; }
static double same_top_of(const struct score *s) { return s->same_top; }

static struct estimate estimate_of(const struct perplexity *p, double (*value)(const struct score *)) {
  struct estimate r = {0};
  double n = (double)p->count, squares = 0;
  for (int64_t i = 0; i < p->count; i++) r.mean += value(&p->scores[i]) / n;
  for (int64_t i = 0; i < p->count; i++) {
    double d = value(&p->scores[i]) - r.mean;
    squares += d * d;
  }
  r.error = n > 1 ? sqrt(squares / (n - 1) / n) : INFINITY;
  return r;
}

// The error carried through the exponential.
static struct estimate exponential(struct estimate loss) {
  return (struct estimate){exp(loss.mean), exp(loss.mean) * loss.error};
}

static int ascending(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return (a > b) - (a < b);
}

bool perplexity_figures(const struct perplexity *p, struct perplexity_figures *f, struct err *e) {
  *f = (struct perplexity_figures){.loss = estimate_of(p, loss_of)};
  f->perplexity = exponential(f->loss);
  if (!p->options->against) return true;
  f->base_loss = estimate_of(p, base_loss_of);
  f->base_perplexity = exponential(f->base_loss);
  f->more_loss = estimate_of(p, more_loss_of);
  f->divergence = estimate_of(p, divergence_of);
  f->same_top = estimate_of(p, same_top_of);
  f->bound = estimate_of(p, bound_of).mean;
  double *sorted = mem_alloc((size_t)p->count, sizeof *sorted, "the divergences", e);
  if (!sorted) return false;
  for (int64_t i = 0; i < p->count; i++) {
    sorted[i] = p->scores[i].divergence;
    if (sorted[i] > p->scores[f->largest_token].divergence) f->largest_token = i;
  }
  f->largest = p->scores[f->largest_token].divergence;
  qsort(sorted, (size_t)p->count, sizeof *sorted, ascending);
  f->percentile99 = sorted[(p->count * 99 + 99) / 100 - 1]; // nearest rank
  mem_free(sorted);
  return true;
}

static void print_against(const struct perplexity *p, const struct perplexity_figures *f) {
  const struct base_header *h = &p->base.head;
  printf("Against     %s: %s on %s, perplexity %.4f ± %.4f\n", p->options->against, h->model, h->device,
         f->base_perplexity.mean, f->base_perplexity.error);
  printf("More loss   %.3g ± %.2g nats a token\n", f->more_loss.mean, f->more_loss.error);
  printf("KL          mean %.3g ± %.2g, 99 %% %.3g, largest %.3g at counted token %lld, in nats\n", f->divergence.mean,
         f->divergence.error, f->percentile99, f->largest, (long long)f->largest_token);
  if (h->top < h->vocab)
    printf("            the base keeps %u of %u logits: the true mean is at least that, and at most %.3g more "
           "(--base-top 0 keeps all)\n",
           h->top, h->vocab, f->bound);
  printf("Same top    %.2f %% ± %.2f\n", 100 * f->same_top.mean, 100 * f->same_top.error);
}

void perplexity_print(const struct perplexity *p, const struct perplexity_figures *f) {
  char device[COMPARE_NAME], seconds[TEXT_QUANTITY], bytes[TEXT_QUANTITY];
  printf("Model       %s on %s\n", p->en.model.path, compare_backend_name(p->en.forward.backend, device));
  printf("Tokens      %lld in windows of %lld, stride %lld; %lld counted in %s\n", (long long)p->ids.count,
         (long long)p->window, (long long)p->stride, (long long)p->count, text_seconds(p->seconds, seconds));
  printf("Loss        %.5f ± %.5f nats a token\n", f->loss.mean, f->loss.error);
  printf("Perplexity  %.4f ± %.4f\n", f->perplexity.mean, f->perplexity.error);
  if (p->options->against) print_against(p, f);
  if (p->options->save)
    printf("Saved       %s: %u of %u logits a token, %s\n", p->options->save, p->head.top, p->head.vocab,
           text_bytes((int64_t)sizeof p->head + 4 * p->head.tokens + p->head.rows * base_record_bytes(&p->head) + 8,
                      bytes));
}

static json_t *estimate_json(struct estimate v) {
  return json_pack("{s:o, s:o}", "value", json_or_null(json_real(v.mean)), "standard_error",
                   json_or_null(json_real(v.error)));
}

static json_t *against_json(const struct perplexity *p, const struct perplexity_figures *f) {
  const struct base_header *h = &p->base.head;
  if (!p->options->against) return json_null();
  return json_pack("{s:o, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o}", "model",
                   json_or_null(json_string(h->model)), "device", h->device, "kept_logits", (json_int_t)h->top,
                   "perplexity", estimate_json(f->base_perplexity), "more_loss", estimate_json(f->more_loss), "mean_kl",
                   estimate_json(f->divergence), "mean_kl_bound", json_or_null(json_real(f->bound)), "kl_99_percent",
                   json_or_null(json_real(f->percentile99)), "max_kl", json_or_null(json_real(f->largest)),
                   "max_kl_counted_token", (json_int_t)f->largest_token, "same_top", estimate_json(f->same_top));
}

bool perplexity_write_json(const struct perplexity *p, const struct perplexity_figures *f, const char *path,
                           struct err *e) {
  json_use_mem();
  char device[COMPARE_NAME];
  struct err why;
  json_t *root = origin_json(p->command_line);
  int bad = json_object_update_new(
      root, json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:b}", "model",
                      json_or_null(json_string(origin_model(p->en.model.path))), "device",
                      compare_backend_name(p->en.forward.backend, device), "tokens", (json_int_t)p->ids.count, "window",
                      (json_int_t)p->window, "stride", (json_int_t)p->stride, "counted", (json_int_t)p->count, "loss",
                      estimate_json(f->loss), "perplexity", estimate_json(f->perplexity), "against", against_json(p, f),
                      "passes", perplexity_verdict(p, f, &why)));
  bool ok = bad ? err_no_memory(e, 0, "the JSON") : json_write_file(path, root, e);
  json_decref(root);
  return ok;
}

bool perplexity_verdict(const struct perplexity *p, const struct perplexity_figures *f, struct err *e) {
  const struct perplexity_options *o = p->options;
  struct compare_gates g = compare_gates_of(COMPARE_FP16, FEED_OWN);
  double most = o->max_divergence >= 0 ? (double)o->max_divergence : o->gate ? g.divergence : INFINITY;
  double least = o->min_same_top >= 0 ? (double)o->min_same_top : o->gate ? g.same_top : 0;
  if (o->gate && p->count < GATE_TOKENS)
    return err_set(e, "--gate judges %d tokens or more, the text has %lld; give a longer one", GATE_TOKENS,
                   (long long)p->count);
  if (isinf(most) && least == 0) return true;
  if (!(f->divergence.mean <= most))
    return err_set(e, "the mean KL divergence is %.3g, past the gate of %.3g", f->divergence.mean, most);
  if (!(f->divergence.mean + f->bound <= most))
    return err_set(e,
                   "the base keeps %u of %u logits, too few to judge: the mean KL divergence is between %.3g and %.3g, "
                   "the gate %.3g; save it with --base-top 0",
                   p->base.head.top, p->base.head.vocab, f->divergence.mean, f->divergence.mean + f->bound, most);
  return f->same_top.mean >= least ||
         err_set(e, "%.2f %% of the tokens have the same most probable one, the gate is %.2f %%",
                 100 * f->same_top.mean, 100 * least);
}

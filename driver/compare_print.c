#include "driver/compare.h"
#include "driver/text.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <string.h>

static const double largest_half = 65504;

static void print_gate(double gate) {
  if (isinf(gate)) printf("%10s", "none");
  else printf("%10.1e", gate);
}

static void print_line(const struct compare_line *l) {
  const struct compare_cell *c = l->cell;
  const struct compare_value *v = c->num_bad ? &c->first_bad : &c->worst;
  char layer[16] = "-", at[48];
  if (compare_point_in_layer(l->point)) snprintf(layer, sizeof layer, "%d", l->layer);
  snprintf(at, sizeof at, "[%lld, %lld]", (long long)v->position, (long long)v->channel);
  printf("%-6s%5s  %-20s", l->passes ? "" : c->num_bad ? "BAD" : "PAST", layer, compare_point_names[l->point]);
  if (c->num_bad) printf("%10s", "-");
  else printf("%10.1e", l->nmse);
  print_gate(l->gate);
  printf("%11.3g%14s%16.9g%16.9g%11.4g%8.3f %%\n", (double)fabsf(v->b - v->a), at, (double)v->a, (double)v->b,
         (double)c->largest_a, 100 * (double)fmaxf(c->largest_a, c->largest_b) / largest_half);
}

static bool print_table(const struct compare *c, const struct compare_line *lines, int64_t count, struct err *e) {
  struct compare_line *sorted = NULL;
  int64_t shown = count < c->options->top ? count : c->options->top;
  if (!(sorted = mem_alloc((size_t)count, sizeof *sorted, "the table", e))) return false;
  memcpy(sorted, lines, (size_t)count * sizeof *sorted);
  compare_sort(sorted, count);
  printf("\n%lld of %lld operations, worst first\n\n%-6s%5s  %-20s%10s%10s%11s%14s%16s%16s%11s%10s\n", (long long)shown,
         (long long)count, "", "layer", "operation", "NMSE", "gate", "max error", "[pos, chan]", "a", "b", "largest",
         "of fp16");
  for (int64_t i = 0; i < shown; i++) print_line(&sorted[i]);
  mem_free(sorted);
  return true;
}

static void print_piece(const struct compare *c, const char *who, int32_t id) {
  struct err e;
  size_t len;
  char *text = c->en.tokenizer && tokenizer_piece(c->en.tokenizer, id, NULL)
                   ? tokenizer_token_text(c->en.tokenizer, id, &len, &e)
                   : NULL;
  char *quoted = text ? text_quote(text, len, 40, &e) : NULL;
  printf("%s %d%s%s", who, id, quoted ? " " : "", quoted ? quoted : "");
  mem_free(quoted);
  mem_free(text);
}

static void print_greedy(const struct compare *c) {
  const struct compare_greedy *g = &c->greedy;
  if (c->options->new_tokens == 0) return;
  if (!g->differ) {
    printf("Greedy      all %lld tokens are the same\n", (long long)g->agreed);
    return;
  }
  printf("Greedy      %lld tokens are the same, the next one differs: ", (long long)g->agreed);
  print_piece(c, "a", g->a);
  print_piece(c, ", b", g->b);
  printf("; a prefers its own by %.3g\n", (double)g->margin);
}

static void print_logits(const struct compare *c) {
  const struct compare_logits *l = &c->lockstep->logits;
  double rows = (double)(l->rows - l->bad_rows),
         five = c->en.model.config.vocab_size < 5 ? c->en.model.config.vocab_size : 5;
  printf("\n");
  if (l->bad_rows)
    printf("Logits      NaN or infinite after %lld of %lld tokens\n", (long long)l->bad_rows, (long long)l->rows);
  if (rows < 1) return;
  printf("KL          mean %.3g, largest %.3g after position %lld, in nats (gate: mean ", l->divergence / rows,
         l->worst, (long long)l->worst_position);
  if (isinf(c->gates.divergence)) printf("none)\n");
  else printf("%.3g)\n", c->gates.divergence);
  printf("Same top    %lld of %lld tokens, %.2f %%", (long long)l->same_top, (long long)l->rows,
         100 * (double)l->same_top / rows);
  if (c->gates.same_top > 0)
    printf(" (gate: %.2f %%%s)", 100 * c->gates.same_top, l->rows < COMPARE_TOP_ROWS ? ", from 200 tokens on" : "");
  printf("; of the best five %.2f %%\n", 100 * (double)l->same_five / (rows * five));
}

bool compare_print(const struct compare *c, const struct compare_line *lines, int64_t count, struct err *e) {
  char a[COMPARE_NAME], b[COMPARE_NAME];
  const struct config *m = &c->en.model.config;
  printf("a           %s, the reference: %s\n", compare_backend_name(c->lockstep->a, a), c->en.model.path);
  printf("b           %s: %s\n", compare_backend_name(c->lockstep->b, b),
         c->own_b ? c->model_b.path : c->en.model.path);
  printf("Model       %s, %d layers, hidden size %d, vocabulary %d\n", m->architecture, m->num_layers, m->hidden_size,
         m->vocab_size);
  printf("Tokens      %lld, %lld at a time\n", (long long)c->ids.count,
         (long long)(c->options->a.chunk < c->ids.count ? c->options->a.chunk : c->ids.count));
  printf("Feed        %s\n", c->options->feed == FEED_REFERENCE
                                 ? "reference: each operation's error is its own; errors of attention_out and mlp_out "
                                   "are relative to what they add"
                                 : "own: errors pile up from operation to operation");
  if (!print_table(c, lines, count, e)) return false;
  print_logits(c);
  print_greedy(c);
  return true;
}

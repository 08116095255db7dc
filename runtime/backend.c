#include "runtime/backend.h"

// Every page that the sequence's rows read or write is one of the cache's.
static bool check_pages(const struct backend *b, const struct step_seq *q, int32_t n, struct err *e) {
  int64_t size = b->options.page_size, window = b->model->config.sliding_window;
  int64_t first = window && q->position >= window ? q->position - window + 1 : 0, last = q->position + q->num_rows - 1;
  for (int64_t i = first / size; i <= last / size; i++)
    if (q->block_table[i] < 0 || q->block_table[i] >= b->options.num_pages)
      return err_set(e, "sequence %d: tokens %lld.. lie in page %d, but the cache has pages 0..%d", n,
                     (long long)(i * size), q->block_table[i], b->options.num_pages - 1);
  return true;
}

bool backend_check_step(const struct backend *b, const struct step *s, struct err *e) {
  const struct backend_options *o = &b->options;
  int32_t row = 0;
  if (s->num_rows < 1 || s->num_rows > o->max_rows)
    return err_set(e, "a step of %d tokens does not fit a backend opened for 1..%d", s->num_rows, o->max_rows);
  if (s->num_logits < 0 || s->num_logits > o->max_logits)
    return err_set(e, "a step that wants %d rows of logits does not fit a backend opened for %d", s->num_logits,
                   o->max_logits);
  for (int32_t n = 0; n < s->num_seqs; n++) {
    const struct step_seq *q = &s->seqs[n];
    if (q->first_row != row || q->num_rows < 1 || q->num_rows > s->num_rows - row || q->position < 0)
      return err_set(e,
                     "sequence %d of the step has rows %d..%d at position %lld; expected rows from %d on, within %d, "
                     "and no negative position",
                     n, q->first_row, q->first_row + q->num_rows - 1, (long long)q->position, row, s->num_rows);
    if (!check_pages(b, q, n, e)) return false;
    row += q->num_rows;
  }
  if (row != s->num_rows) return err_set(e, "the step's sequences have %d rows, the step %d", row, s->num_rows);
  for (int32_t i = 0; i < s->num_logits; i++)
    if (s->logit_rows[i] < 0 || s->logit_rows[i] >= s->num_rows)
      return err_set(e, "logits are wanted of row %d of a step of %d rows", s->logit_rows[i], s->num_rows);
  for (int32_t r = 0; r < s->num_rows; r++)
    if (s->ids[r] < 0 || s->ids[r] >= b->model->config.vocab_size)
      return err_set(e, "token id %d is not in the vocabulary of %d", s->ids[r], b->model->config.vocab_size);
  return true;
}

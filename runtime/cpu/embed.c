#include "runtime/cpu/cpu.h"

const struct step_seq *step_seq_of(const struct step *s, int32_t row) {
  const struct step_seq *q = s->seqs;
  while (row >= q->first_row + q->num_rows) q++; // sequences follow each other
  return q;
}

bool embed_f64(struct backend *b, const struct step *s, struct err *e) {
  struct cpu *c = cpu_of(b);
  if (!backend_check_step(b, s, e)) return false;
  for (int32_t r = 0; r < s->num_rows; r++) {
    float *row = (float *)c->row;
    matrix_row_f32(&b->model->embed, s->ids[r], row);
    for (int64_t i = 0; i < c->x.width; i++) row_f64(&c->x, r)[i] = row[i];
  }
  return true;
}

bool embed_f32(struct backend *b, const struct step *s, struct err *e) {
  struct cpu *c = cpu_of(b);
  if (!backend_check_step(b, s, e)) return false;
  for (int32_t r = 0; r < s->num_rows; r++) matrix_row_f32(&b->model->embed, s->ids[r], row_f32(&c->x, r));
  return true;
}

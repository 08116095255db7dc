// Rotary positions of a step's rows; the angles are those of runtime/model/rope.h.
#include "runtime/cpu/cpu.h"

void rope_angles(struct cpu *c, const struct step *s) {
  for (int32_t n = 0; n < s->num_seqs; n++) {
    const struct step_seq *q = &s->seqs[n];
    bool long_rope = q->long_rope && c->base.model->config.rope == ROPE_LONGROPE;
    for (int32_t r = q->first_row; r < q->first_row + q->num_rows; r++) {
      int64_t position = q->position + r - q->first_row;
      if (c->rope_position[r] == position && c->rope_long[r] == long_rope) continue; // an earlier layer was here
      c->rope_position[r] = position;
      c->rope_long[r] = long_rope;
      int64_t half = c->base.model->config.rotary_dim / 2;
      rope_cos_sin(&c->base.model->config, c->base.options.fp64, c->inv_freq[long_rope], position, c->cos + r * half,
                   c->sin + r * half);
    }
  }
}

void rope_f64(double *x, const double *cosines, const double *sines, int32_t rotary_dim) {
  for (int32_t i = 0, half = rotary_dim / 2; i < half; i++) {
    double a = x[i], b = x[i + half];
    x[i] = a * cosines[i] - b * sines[i];
    x[i + half] = b * cosines[i] + a * sines[i];
  }
}

void rope_f32(float *x, const double *cosines, const double *sines, int32_t rotary_dim) {
  for (int32_t i = 0, half = rotary_dim / 2; i < half; i++) {
    float a = x[i], b = x[i + half], cosine = (float)cosines[i], sine = (float)sines[i]; // exact
    x[i] = a * cosine - b * sine;
    x[i + half] = b * cosine + a * sine;
  }
}

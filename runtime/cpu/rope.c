// Rotary positions (Su et al., 2021) as Hugging Face computes them. The frequencies and the angles are rounded to fp32 there, and at position 4000
// the angle's last place is 2e-4: a better angle would be another model. So each step of that formula is rounded as theirs is; cos and
// sin of the rounded angle are exact to fp32.
#include "runtime/cpu/cpu.h"
#include <math.h>

// 1 / (factor * base^(2 i / rotary_dim)), the exponent, the power, the product and the quotient each rounded to fp32.
void rope_inv_freq(const struct config *c, bool long_factors, float *inv_freq) {
  const float *factor = c->rope != ROPE_LONGROPE ? NULL : long_factors ? c->long_factor : c->short_factor;
  for (int32_t i = 0; i < c->rotary_dim / 2; i++) {
    float exponent = (float)(2 * i) / (float)c->rotary_dim;
    float power = (float)pow((double)c->rope_theta, (double)exponent);
    inv_freq[i] = 1 / (factor ? factor[i] * power : power);
  }
}

void rope_angles(struct cpu *c, const struct step *s) {
  const struct config *m = &c->base.model->config;
  int32_t half = m->rotary_dim / 2;
  for (int32_t n = 0; n < s->num_seqs; n++) {
    const struct step_seq *q = &s->seqs[n];
    bool long_rope = q->long_rope && m->rope == ROPE_LONGROPE;
    for (int32_t r = q->first_row; r < q->first_row + q->num_rows; r++) {
      int64_t position = q->position + r - q->first_row;
      if (c->rope_position[r] == position && c->rope_long[r] == long_rope) continue;
      c->rope_position[r] = position;
      c->rope_long[r] = long_rope;
      for (int32_t i = 0; i < half; i++) {
        double angle = (double)((float)position * c->inv_freq[long_rope][i]);
        c->cos[(int64_t)r * half + i] = (float)cos(angle) * m->rope_scale;
        c->sin[(int64_t)r * half + i] = (float)sin(angle) * m->rope_scale;
      }
    }
  }
}

void rope_f64(double *x, const float *cos, const float *sin, int32_t rotary_dim) {
  for (int32_t i = 0, half = rotary_dim / 2; i < half; i++) {
    double a = x[i], b = x[i + half];
    x[i] = a * cos[i] - b * sin[i];
    x[i + half] = b * cos[i] + a * sin[i];
  }
}

void rope_f32(float *x, const float *cos, const float *sin, int32_t rotary_dim) {
  for (int32_t i = 0, half = rotary_dim / 2; i < half; i++) {
    float a = x[i], b = x[i + half];
    x[i] = a * cos[i] - b * sin[i];
    x[i + half] = b * cos[i] + a * sin[i];
  }
}

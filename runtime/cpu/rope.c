// Rotary positions (Su et al., 2021). With fp32 arithmetic the angles are Hugging Face's, which rounds frequencies and
// angles to fp32: at position 4000 an angle's last place is 2e-4, so that a better angle would be another model. Each
// step of that formula is rounded as theirs is, and cos and sin are those of the rounded angle. (Their powf is off by a
// unit in one frequency of some hundred, and not in the same one on every machine.) With fp64 everything is double.
#include "runtime/cpu/cpu.h"
#include <math.h>

// 1 / (factor * base^(2 i / rotary_dim)): in fp32 the exponent, the power, the product and the quotient are each
// rounded.
void rope_inv_freq(const struct config *c, bool fp64, bool long_factors, double *inv_freq) {
  const double *factors = c->rope != ROPE_LONGROPE ? NULL : long_factors ? c->long_factor : c->short_factor;
  for (int32_t i = 0; i < c->rotary_dim / 2; i++) {
    double exponent = 2.0 * i / c->rotary_dim, factor = factors ? factors[i] : 1;
    if (fp64) inv_freq[i] = 1 / (factor * pow(c->rope_theta, exponent));
    else inv_freq[i] = 1 / ((float)factor * (float)pow(c->rope_theta, (double)(float)exponent));
  }
}

static void angles_of_row(struct cpu *c, int64_t row) {
  const struct config *m = &c->base.model->config;
  int64_t half = m->rotary_dim / 2;
  double *cosines = c->cos + row * half, *sines = c->sin + row * half, position = (double)c->rope_position[row];
  for (int64_t i = 0; i < half; i++) {
    double angle = position * c->inv_freq[c->rope_long[row]][i];
    if (c->base.options.fp64) {
      cosines[i] = cos(angle) * m->rope_scale;
      sines[i] = sin(angle) * m->rope_scale;
    } else { // the product of two floats is exact in double, so this rounds once
      cosines[i] = (float)cos((double)(float)angle) * (float)m->rope_scale;
      sines[i] = (float)sin((double)(float)angle) * (float)m->rope_scale;
    }
  }
}

void rope_angles(struct cpu *c, const struct step *s) {
  for (int32_t n = 0; n < s->num_seqs; n++) {
    const struct step_seq *q = &s->seqs[n];
    bool long_rope = q->long_rope && c->base.model->config.rope == ROPE_LONGROPE;
    for (int32_t r = q->first_row; r < q->first_row + q->num_rows; r++) {
      int64_t position = q->position + r - q->first_row;
      if (c->rope_position[r] == position && c->rope_long[r] == long_rope) continue; // an earlier layer was here
      c->rope_position[r] = position;
      c->rope_long[r] = long_rope;
      angles_of_row(c, r);
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

// With fp32 arithmetic the angles are Hugging Face's, which rounds frequencies and angles to fp32: at position 4000 an angle's last place is
// 2e-4, so that a better angle would be another model. Each step of that formula is rounded as theirs is, and cos and sin are those of the
// rounded angle. (Their powf is off by a unit in one frequency of some hundred, and not in the same one on every machine.) With fp64
// everything is double.
#include "runtime/model/rope.h"
#include <math.h>

// 1 / (factor * base^(2 i / rotary_dim)): in fp32 the exponent, the power, the product and the quotient are each rounded.
void rope_inv_freq(const struct config *c, bool fp64, bool long_factors, double *inv_freq) {
  const double *factors = c->rope != ROPE_LONGROPE ? NULL : long_factors ? c->long_factor : c->short_factor;
  for (int32_t i = 0; i < c->rotary_dim / 2; i++) {
    double exponent = 2.0 * i / c->rotary_dim, factor = factors ? factors[i] : 1;
    if (fp64) inv_freq[i] = 1 / (factor * pow(c->rope_theta, exponent));
    else inv_freq[i] = 1 / ((float)factor * (float)pow(c->rope_theta, (double)(float)exponent));
  }
}

void rope_cos_sin(const struct config *c, bool fp64, const double *inv_freq, int64_t position, double *cosines, double *sines) {
  for (int32_t i = 0; i < c->rotary_dim / 2; i++) {
    double angle = (double)position * inv_freq[i];
    if (fp64) {
      cosines[i] = cos(angle) * c->rope_scale;
      sines[i] = sin(angle) * c->rope_scale;
    } else { // the product of two floats is exact in double, so this rounds once
      cosines[i] = (float)cos((double)(float)angle) * (float)c->rope_scale;
      sines[i] = (float)sin((double)(float)angle) * (float)c->rope_scale;
    }
  }
}

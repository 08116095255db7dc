// The angles of rotary positions (Su et al., 2021): the one place where they are computed, for every backend.
#pragma once
#include "runtime/model/config.h"

// inv_freq[rotary_dim / 2] with longrope's short or long factors: floats' values, unless fp64.
void rope_inv_freq(const struct config *c, bool fp64, bool long_factors, double *inv_freq);
// cosines and sines [rotary_dim / 2] of one position, longrope's scale in them: floats' values, unless fp64.
void rope_cos_sin(const struct config *c, bool fp64, const double *inv_freq, int64_t position, double *cosines, double *sines);

// See zstd_entropy.h.
#include "runtime/vgpu/zstd_entropy.h"
#include <string.h>

int zstd_high_bit(uint32_t v) { return 31 - __builtin_clz(v); }

bool back_open(struct back_bits *b, const uint8_t *p, size_t n) {
  if (!n || !p[n - 1]) return false;
  b->p = p;
  b->at = (long)(n - 1) * 8 + zstd_high_bit(p[n - 1]);
  return true;
}

uint64_t back_read(struct back_bits *b, int n) {
  b->at -= n;
  uint64_t v = 0;
  for (int i = 0; i < n;) { // a byte at a time; bits before the start are zero
    long at = b->at + i;
    if (at < 0) {
      i += (int)(-at < n - i ? -at : n - i);
      continue;
    }
    int in = (int)(at % 8), take = 8 - in < n - i ? 8 - in : n - i;
    v |= (uint64_t)(b->p[at / 8] >> in & ((1 << take) - 1)) << i;
    i += take;
  }
  return v;
}

// ---- FSE ----

bool fse_build(struct fse_table *t, const int16_t *probability, int num, int log) {
  uint32_t size = 1u << log, high = size, pos = 0, step = (size >> 1) + (size >> 3) + 3, mask = size - 1;
  uint16_t next[256];
  t->log = log;
  for (int s = 0; s < num; s++) {
    if (probability[s] != -1) continue;
    if (!high) return false;
    t->symbol[--high] = (uint8_t)s;
    next[s] = 1;
  }
  for (int s = 0; s < num; s++) {
    if (probability[s] <= 0) continue;
    next[s] = (uint16_t)probability[s];
    for (int i = 0; i < probability[s]; i++) {
      t->symbol[pos] = (uint8_t)s;
      do pos = (pos + step) & mask;
      while (pos >= high && high);
    }
  }
  if (pos) return false; // the probabilities do not fill the table
  for (uint32_t i = 0; i < size; i++) {
    uint16_t n = next[t->symbol[i]]++;
    t->bits[i] = (uint8_t)(log - zstd_high_bit(n));
    t->base[i] = (uint16_t)((n << t->bits[i]) - size);
  }
  return true;
}

void fse_single(struct fse_table *t, uint8_t symbol) {
  t->log = 0;
  t->symbol[0] = symbol;
  t->bits[0] = 0;
  t->base[0] = 0;
}

// Forward bits, low first; `at` counts bits. Beyond the end they read as zero and `at` tells.
static uint32_t forward(const uint8_t *p, size_t n, size_t *at, int bits) {
  uint32_t v = 0;
  for (int i = 0; i < bits; i++, (*at)++)
    if (*at / 8 < n) v |= (uint32_t)(p[*at / 8] >> (*at % 8) & 1) << i;
  return v;
}

long fse_read(struct fse_table *t, const uint8_t *p, size_t n, int max_log, int max_symbol) {
  size_t at = 0;
  int16_t probability[256];
  int log = (int)forward(p, n, &at, 4) + 5, num = 0;
  if (!n || log > max_log) return -1;
  int32_t left = 1 << log;
  while (left > 0 && num <= max_symbol && at <= n * 8) {
    int bits = zstd_high_bit((uint32_t)left + 1) + 1;
    int32_t v = (int32_t)forward(p, n, &at, bits), low = (1 << (bits - 1)) - 1, threshold = (1 << bits) - 1 - (left + 1);
    if ((v & low) < threshold) v &= low, at--;
    else if (v > low) v -= threshold;
    probability[num++] = (int16_t)(v - 1);
    left -= v - 1 < 0 ? 1 : v - 1;
    for (uint32_t repeat = 3; v == 1 && repeat == 3;) {
      repeat = forward(p, n, &at, 2);
      for (uint32_t i = 0; i < repeat; i++) {
        if (num > max_symbol) return -1;
        probability[num++] = 0;
      }
    }
  }
  size_t bytes = (at + 7) / 8;
  if (left || bytes > n || !fse_build(t, probability, num, log)) return -1;
  return (long)bytes;
}

// ---- Huffman ----

// Weights written by FSE, two states taking turns. Returns how many, or -1.
static int fse_weights(const uint8_t *p, size_t n, uint8_t *weight) {
  struct fse_table t;
  long head = fse_read(&t, p, n, 6, 255);
  struct back_bits b;
  if (head < 0 || !back_open(&b, p + head, n - (size_t)head)) return -1;
  uint32_t state[2];
  state[0] = (uint32_t)back_read(&b, t.log);
  state[1] = (uint32_t)back_read(&b, t.log);
  if (b.at < 0) return -1;
  for (int num = 0, turn = 0; num < 254; turn ^= 1) {
    weight[num++] = t.symbol[state[turn]];
    state[turn] = t.base[state[turn]] + (uint32_t)back_read(&b, t.bits[state[turn]]);
    if (b.at >= 0) continue;
    weight[num++] = t.symbol[state[turn ^ 1]];
    return num;
  }
  return -1;
}

static int plain_weights(const uint8_t *p, int num, uint8_t *weight) {
  for (int i = 0; i < num; i++) weight[i] = i % 2 ? p[i / 2] & 15 : p[i / 2] >> 4;
  return num;
}

static bool huf_build(struct huf_table *t, uint8_t *weight, int num) {
  uint32_t sum = 0, count[HUF_MAX_BITS + 2] = {0}, at[HUF_MAX_BITS + 2];
  for (int i = 0; i < num; i++) {
    if (weight[i] > HUF_MAX_BITS) return false;
    sum += weight[i] ? 1u << (weight[i] - 1) : 0;
  }
  if (!sum) return false;
  int max = zstd_high_bit(sum) + 1;
  uint32_t left = max <= HUF_MAX_BITS ? (1u << max) - sum : 0;
  if (!left || (left & (left - 1))) return false;
  weight[num++] = (uint8_t)(zstd_high_bit(left) + 1); // the last symbol's follows from the others
  for (int i = 0; i < num; i++) weight[i] = weight[i] ? (uint8_t)(max + 1 - weight[i]) : 0, count[weight[i]]++; // now bits
  at[max] = 0;
  for (int i = max; i >= 1; i--) at[i - 1] = at[i] + count[i] * (1u << (max - i));
  if (at[0] != 1u << max) return false;
  for (int i = 0; i < num; i++) {
    if (!weight[i]) continue;
    uint32_t len = 1u << (max - weight[i]);
    memset(t->symbol + at[weight[i]], i, len);
    memset(t->bits + at[weight[i]], weight[i], len);
    at[weight[i]] += len;
  }
  t->max_bits = max;
  return true;
}

long huf_read(struct huf_table *t, const uint8_t *p, size_t n) {
  uint8_t weight[256];
  if (!n) return -1;
  size_t bytes;
  int num;
  t->max_bits = 0;
  if (p[0] < 128) {
    bytes = p[0];
    if (bytes > n - 1) return -1;
    num = fse_weights(p + 1, bytes, weight);
  } else {
    num = p[0] - 127;
    bytes = ((size_t)num + 1) / 2;
    if (bytes > n - 1) return -1;
    plain_weights(p + 1, num, weight);
  }
  return num > 0 && huf_build(t, weight, num) ? (long)bytes + 1 : -1;
}

bool huf_decode(const struct huf_table *t, const uint8_t *p, size_t n, uint8_t *out, size_t count) {
  struct back_bits b;
  if (!t->max_bits || !back_open(&b, p, n)) return false;
  uint32_t mask = (1u << t->max_bits) - 1, state = (uint32_t)back_read(&b, t->max_bits);
  for (size_t i = 0; i < count; i++) {
    if (b.at <= -t->max_bits) return false; // no bits left
    out[i] = t->symbol[state];
    int bits = t->bits[state];
    state = ((state << bits) | (uint32_t)back_read(&b, bits)) & mask;
  }
  return b.at == -t->max_bits;
}

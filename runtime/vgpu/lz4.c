// LZ4 block format (lz4_Block_format.md): tokens of literals and matches. Strict: every length is checked on both sides.
#include "runtime/vgpu/fatbin.h"
#include <string.h>

// A length continues with bytes of 255. false: the input ends.
static bool long_length(const uint8_t **p, const uint8_t *end, size_t *len) {
  uint8_t b;
  do {
    if (*p == end) return false;
    b = *(*p)++;
    *len += b;
  } while (b == 255);
  return true;
}

long vg_lz4_block(const uint8_t *src, size_t n, uint8_t *dst, size_t cap) {
  const uint8_t *p = src, *end = src + n;
  size_t out = 0;
  while (p < end) {
    uint8_t token = *p++;
    size_t lit = token >> 4, match = (token & 15) + 4u;
    if (lit == 15 && !long_length(&p, end, &lit)) return -1;
    if (lit > (size_t)(end - p) || lit > cap - out) return -1;
    memcpy(dst + out, p, lit);
    p += lit, out += lit;
    if (p == end) return (long)out; // the last sequence has literals only
    if (end - p < 2) return -1;
    size_t offset = p[0] | (size_t)p[1] << 8;
    p += 2;
    if (match == 19 && !long_length(&p, end, &match)) return -1;
    if (!offset || offset > out || match > cap - out) return -1;
    for (size_t i = 0; i < match; i++, out++) dst[out] = dst[out - offset]; // may overlap itself
  }
  return -1; // ended after a match, or empty
}

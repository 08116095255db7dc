// The entropy coders of Zstandard (RFC 8878, sections 4.1 and 4.2): bit streams, FSE and Huffman tables.
#ifndef VGPU_ZSTD_ENTROPY_H
#define VGPU_ZSTD_ENTROPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FSE_MAX_LOG 9
#define HUF_MAX_BITS 11

// A stream read from its end to its start. at: bits left; below zero when more was read than there is (as zeros).
struct back_bits {
  const uint8_t *p;
  long at;
};

struct fse_table {
  int log; // accuracy; -1: not set
  uint8_t symbol[1 << FSE_MAX_LOG], bits[1 << FSE_MAX_LOG];
  uint16_t base[1 << FSE_MAX_LOG];
};

struct huf_table {
  int max_bits; // 0: not set
  uint8_t symbol[1 << HUF_MAX_BITS], bits[1 << HUF_MAX_BITS];
};

int zstd_high_bit(uint32_t v); // of v > 0
bool back_open(struct back_bits *b, const uint8_t *p, size_t n); // false: no end mark
uint64_t back_read(struct back_bits *b, int n);                 // up to 56 bits

// Builds a table from probabilities (-1: less than one). log <= FSE_MAX_LOG.
bool fse_build(struct fse_table *t, const int16_t *probability, int num, int log);
void fse_single(struct fse_table *t, uint8_t symbol); // one symbol that takes no bits
// Reads a table's description. Returns the bytes read, or -1.
long fse_read(struct fse_table *t, const uint8_t *p, size_t n, int max_log, int max_symbol);
// Reads a Huffman tree's description. Returns the bytes read, or -1.
long huf_read(struct huf_table *t, const uint8_t *p, size_t n);
// Decodes one stream to exactly `count` bytes.
bool huf_decode(const struct huf_table *t, const uint8_t *p, size_t n, uint8_t *out, size_t count);

#endif

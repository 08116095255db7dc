// Zstandard frames (RFC 8878). Strict and simple: the output is the window, dictionaries are refused, checksums are compared.
#include "runtime/vgpu/fatbin.h"
#include "runtime/vgpu/zstd_entropy.h"
#include <stdlib.h>
#include <string.h>

#define BLOCK_MAX (128u << 10)

struct code { // of a length: what it starts from, how many bits follow
  uint32_t base;
  uint8_t bits;
};

static const struct code literal_codes[36] = {
    {0, 0},   {1, 0},   {2, 0},   {3, 0},   {4, 0},    {5, 0},    {6, 0},    {7, 0},     {8, 0},     {9, 0},      {10, 0},     {11, 0},
    {12, 0},  {13, 0},  {14, 0},  {15, 0},  {16, 1},   {18, 1},   {20, 1},   {22, 1},    {24, 2},    {28, 2},     {32, 3},     {40, 3},
    {48, 4},  {64, 6},  {128, 7}, {256, 8}, {512, 9},  {1024, 10}, {2048, 11}, {4096, 12}, {8192, 13}, {16384, 14}, {32768, 15}, {65536, 16}};
static const struct code match_codes[53] = {
    {3, 0},  {4, 0},  {5, 0},  {6, 0},  {7, 0},  {8, 0},  {9, 0},   {10, 0},  {11, 0},  {12, 0},   {13, 0},    {14, 0},    {15, 0},   {16, 0},
    {17, 0}, {18, 0}, {19, 0}, {20, 0}, {21, 0}, {22, 0}, {23, 0},  {24, 0},  {25, 0},  {26, 0},   {27, 0},    {28, 0},    {29, 0},   {30, 0},
    {31, 0}, {32, 0}, {33, 0}, {34, 0}, {35, 1}, {37, 1}, {39, 1},  {41, 1},  {43, 2},  {47, 2},   {51, 3},    {59, 3},    {67, 4},   {83, 4},
    {99, 5}, {131, 7}, {259, 8}, {515, 9}, {1027, 10}, {2051, 11}, {4099, 12}, {8195, 13}, {16387, 14}, {32771, 15}, {65539, 16}};

static const int16_t literal_default[36] = {4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2,
                                            2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1};
static const int16_t match_default[53] = {1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1,  1,  1,  1,  1,  1,  1,  1,  1, 1, 1,
                                          1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,  1,  1,  1,  -1, -1, -1, -1, -1, -1, -1};
static const int16_t offset_default[29] = {1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1};

struct frame {
  uint8_t *dst;
  size_t cap, out, start; // start: where this frame's output begins
  struct huf_table huf;
  struct fse_table literal, offset, match;
  uint64_t repeat[3];
  uint8_t literals[BLOCK_MAX];
  size_t num_literals;
};

static uint64_t little(const uint8_t *p, int n) {
  uint64_t v = 0;
  for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
  return v;
}

// ---- literals ----

static bool huffman_streams(struct frame *f, const uint8_t *p, size_t n, bool four) {
  if (!four) return huf_decode(&f->huf, p, n, f->literals, f->num_literals);
  if (n < 6 || f->num_literals < 6) return false;
  size_t each = (f->num_literals + 3) / 4, at = 6, done = 0;
  for (int i = 0; i < 4; i++) {
    size_t bytes = i < 3 ? (size_t)little(p + 2 * i, 2) : n - at, count = i < 3 ? each : f->num_literals - done;
    if (bytes > n - at || done + count > f->num_literals || !huf_decode(&f->huf, p + at, bytes, f->literals + done, count)) return false;
    at += bytes, done += count;
  }
  return true;
}

// Returns the bytes of the section, or -1.
static long plain_literals(struct frame *f, const uint8_t *p, size_t n, bool rle) {
  int format = p[0] >> 2 & 3;
  size_t head = format == 1 ? 2 : format == 3 ? 3 : 1;
  if (n < head) return -1;
  size_t size = format == 1 ? (size_t)little(p, 2) >> 4 : format == 3 ? (size_t)little(p, 3) >> 4 : (size_t)p[0] >> 3;
  size_t stored = rle ? 1 : size;
  if (size > BLOCK_MAX || stored > n - head) return -1;
  if (rle) memset(f->literals, p[head], size);
  else memcpy(f->literals, p + head, size);
  f->num_literals = size;
  return (long)(head + stored);
}

static long coded_literals(struct frame *f, const uint8_t *p, size_t n, bool new_tree) {
  int format = p[0] >> 2 & 3, bits = format < 2 ? 10 : format == 2 ? 14 : 18;
  size_t head = format < 2 ? 3 : format == 2 ? 4 : 5;
  if (n < head) return -1;
  uint64_t h = little(p, (int)head) >> 4;
  size_t size = (size_t)(h & ((1u << bits) - 1)), stored = (size_t)(h >> bits & ((1u << bits) - 1));
  if (size > BLOCK_MAX || stored > n - head) return -1;
  f->num_literals = size;
  long tree = new_tree ? huf_read(&f->huf, p + head, stored) : 0;
  if (tree < 0 || !huffman_streams(f, p + head + tree, stored - (size_t)tree, format != 0)) return -1;
  return (long)(head + stored);
}

static long read_literals(struct frame *f, const uint8_t *p, size_t n) {
  if (!n) return -1;
  int type = p[0] & 3;
  return type < 2 ? plain_literals(f, p, n, type == 1) : coded_literals(f, p, n, type == 2);
}

// ---- sequences ----

struct table_kind {
  const int16_t *usual;
  int num_usual, usual_log, max_log, max_symbol;
};

static long read_table(struct fse_table *t, int mode, const struct table_kind *k, const uint8_t *p, size_t n) {
  switch (mode) {
  case 0: return fse_build(t, k->usual, k->num_usual, k->usual_log) ? 0 : -1;
  case 1:
    if (!n || p[0] > k->max_symbol) return -1;
    fse_single(t, p[0]);
    return 1;
  case 2: return fse_read(t, p, n, k->max_log, k->max_symbol);
  default: return t->log < 0 ? -1 : 0; // the last block's
  }
}

static long read_tables(struct frame *f, uint8_t modes, const uint8_t *p, size_t n) {
  static const struct table_kind ll = {literal_default, 36, 6, 9, 35}, of = {offset_default, 29, 5, 8, 31}, ml = {match_default, 53, 6, 9, 52};
  if (modes & 3) return -1;
  long a = read_table(&f->literal, modes >> 6, &ll, p, n);
  if (a < 0) return -1;
  long b = read_table(&f->offset, modes >> 4 & 3, &of, p + a, n - (size_t)a);
  if (b < 0) return -1;
  long c = read_table(&f->match, modes >> 2 & 3, &ml, p + a + b, n - (size_t)(a + b));
  return c < 0 ? -1 : a + b + c;
}

// What an offset value means: the three last offsets have short names. 0: nothing valid.
static uint64_t resolve_offset(struct frame *f, uint64_t value, bool no_literals) {
  uint64_t *r = f->repeat, offset;
  if (value > 3) {
    offset = value - 3;
    r[2] = r[1], r[1] = r[0], r[0] = offset;
    return offset;
  }
  int i = (int)value - 1 + no_literals;
  if (!i) return r[0];
  offset = i < 3 ? r[i] : r[0] - 1;
  if (i > 1) r[2] = r[1];
  r[1] = r[0], r[0] = offset;
  return offset;
}

static bool emit(struct frame *f, size_t *lit, size_t num_lit, size_t match, uint64_t offset) {
  if (num_lit > f->num_literals - *lit || num_lit > f->cap - f->out) return false;
  memcpy(f->dst + f->out, f->literals + *lit, num_lit);
  *lit += num_lit, f->out += num_lit;
  if (!offset || offset > f->out - f->start || match > f->cap - f->out) return false;
  for (size_t i = 0; i < match; i++, f->out++) f->dst[f->out] = f->dst[f->out - offset];
  return true;
}

static uint32_t step(const struct fse_table *t, uint32_t state, struct back_bits *b) { return t->base[state] + (uint32_t)back_read(b, t->bits[state]); }

static bool run_sequences(struct frame *f, const uint8_t *p, size_t n, size_t count, size_t *lit) {
  struct back_bits b;
  if (!back_open(&b, p, n)) return false;
  uint32_t ll = (uint32_t)back_read(&b, f->literal.log), of = (uint32_t)back_read(&b, f->offset.log), ml = (uint32_t)back_read(&b, f->match.log);
  for (size_t i = 0; i < count; i++) {
    uint8_t offset_code = f->offset.symbol[of];
    const struct code *l = &literal_codes[f->literal.symbol[ll]], *m = &match_codes[f->match.symbol[ml]];
    uint64_t value = (UINT64_C(1) << offset_code) + back_read(&b, offset_code);
    size_t match = m->base + (size_t)back_read(&b, m->bits), num_lit = l->base + (size_t)back_read(&b, l->bits);
    if (b.at < 0 || !emit(f, lit, num_lit, match, resolve_offset(f, value, !num_lit))) return false;
    if (i + 1 == count) break;
    ll = step(&f->literal, ll, &b), ml = step(&f->match, ml, &b), of = step(&f->offset, of, &b);
  }
  return b.at == 0;
}

static bool compressed_block(struct frame *f, const uint8_t *p, size_t n) {
  long head = read_literals(f, p, n);
  if (head < 0 || (size_t)head >= n) return false;
  p += head, n -= (size_t)head;
  size_t count = p[0], bytes = 1, lit = 0;
  if (count > 127) {
    bytes = count == 255 ? 3 : 2;
    if (n < bytes) return false;
    count = count == 255 ? (size_t)little(p + 1, 2) + 0x7f00 : ((count - 128) << 8) + p[1];
  }
  if (count) {
    if (n < bytes + 1) return false;
    long tables = read_tables(f, p[bytes], p + bytes + 1, n - bytes - 1);
    if (tables < 0) return false;
    bytes += 1 + (size_t)tables;
    if (!run_sequences(f, p + bytes, n - bytes, count, &lit)) return false;
  } else if (n != 1) {
    return false;
  }
  size_t rest = f->num_literals - lit;
  if (rest > f->cap - f->out) return false;
  memcpy(f->dst + f->out, f->literals + lit, rest);
  f->out += rest;
  return true;
}

// ---- frames ----

static uint64_t rotl(uint64_t v, int n) { return v << n | v >> (64 - n); }

static uint64_t xxh64(const uint8_t *p, size_t n) {
  const uint64_t p1 = 0x9e3779b185ebca87, p2 = 0xc2b2ae3d27d4eb4f, p3 = 0x165667b19e3779f9, p4 = 0x85ebca77c2b2ae63, p5 = 0x27d4eb2f165667c5;
  uint64_t v[4] = {p1 + p2, p2, 0, -p1}, h = p5;
  size_t at = 0;
  if (n >= 32) {
    for (; n - at >= 32; at += 32)
      for (int i = 0; i < 4; i++) v[i] = rotl(v[i] + little(p + at + 8 * i, 8) * p2, 31) * p1;
    h = rotl(v[0], 1) + rotl(v[1], 7) + rotl(v[2], 12) + rotl(v[3], 18);
    for (int i = 0; i < 4; i++) h = (h ^ rotl(v[i] * p2, 31) * p1) * p1 + p4;
  }
  h += n;
  for (; n - at >= 8; at += 8) h = rotl(h ^ rotl(little(p + at, 8) * p2, 31) * p1, 27) * p1 + p4;
  for (; n - at >= 4; at += 4) h = rotl(h ^ little(p + at, 4) * p1, 23) * p2 + p3;
  for (; at < n; at++) h = rotl(h ^ p[at] * p5, 11) * p1;
  h = (h ^ h >> 33) * p2;
  h = (h ^ h >> 29) * p3;
  return h ^ h >> 32;
}

// Returns the bytes of the block with its header, or -1.
static long read_block(struct frame *f, const uint8_t *p, size_t n, bool *last) {
  if (n < 3) return -1;
  uint32_t h = (uint32_t)little(p, 3), type = h >> 1 & 3, size = h >> 3;
  *last = h & 1;
  size_t stored = type == 1 ? 1 : size;
  if (size > BLOCK_MAX || stored > n - 3 || type == 3) return -1;
  if (type < 2) {
    if (size > f->cap - f->out) return -1;
    if (type) memset(f->dst + f->out, p[3], size);
    else memcpy(f->dst + f->out, p + 3, size);
    f->out += size;
  } else if (!compressed_block(f, p + 3, size)) {
    return -1;
  }
  return (long)(3 + stored);
}

// Returns the bytes of the frame, or -1.
static long read_frame(struct frame *f, const uint8_t *p, size_t n) {
  static const uint8_t dict_bytes[4] = {0, 1, 2, 4}, size_bytes[4] = {0, 2, 4, 8};
  if (n < 5) return -1;
  uint8_t d = p[4];
  bool single = d & 32, checked = d & 4, last = false;
  int dict = dict_bytes[d & 3], sized = d >> 6 ? size_bytes[d >> 6] : single;
  size_t at = 5 + !single + (size_t)dict + (size_t)sized;
  if ((d & 8) || n < at || little(p + 5 + !single, dict)) return -1;
  uint64_t size = little(p + at - sized, sized) + (sized == 2 ? 256 : 0);
  f->start = f->out;
  f->repeat[0] = 1, f->repeat[1] = 4, f->repeat[2] = 8;
  f->huf.max_bits = 0;
  f->literal.log = f->offset.log = f->match.log = -1;
  while (!last) {
    long b = read_block(f, p + at, n - at, &last);
    if (b < 0) return -1;
    at += (size_t)b;
  }
  if (sized && f->out - f->start != size) return -1;
  if (!checked) return (long)at;
  if (n - at < 4 || little(p + at, 4) != (xxh64(f->dst + f->start, f->out - f->start) & 0xffffffff)) return -1;
  return (long)at + 4;
}

long vg_zstd(const uint8_t *src, size_t n, uint8_t *dst, size_t cap) {
  struct frame *f = calloc(1, sizeof *f);
  if (!f) return -1;
  f->dst = dst, f->cap = cap;
  size_t at = 0;
  long used = n < 4 ? -1 : 0;
  while (used >= 0 && n - at >= 4) {
    uint32_t magic = (uint32_t)little(src + at, 4);
    if (magic == 0xfd2fb528) used = read_frame(f, src + at, n - at);
    else if (magic >> 4 == 0x184d2a5 && n - at >= 8 && little(src + at + 4, 4) <= n - at - 8) used = 8 + (long)little(src + at + 4, 4);
    else used = -1;
    if (used >= 0) at += (size_t)used;
  }
  long out = used < 0 || at != n ? -1 : (long)f->out;
  free(f);
  return out;
}

// Inputs as a model has them, device memory, and the measure of an output's error.
#include "bench/kernel_bench.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <string.h>

uint64_t data_random(uint64_t *state) { // SplitMix64
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

double data_uniform(uint64_t *state) { return (double)(data_random(state) >> 11) * 0x1p-53; }

// The sum of four uniform numbers, brought to deviation 1.
float data_normal(uint64_t *state) {
  uint64_t r = data_random(state);
  int32_t sum = (int32_t)(r & 0xffff) + (int32_t)(r >> 16 & 0xffff) + (int32_t)(r >> 32 & 0xffff) + (int32_t)(r >> 48);
  return (float)(sum - 131070) * (1 / 37837.2f);
}

enum { PIECE = 1 << 16 };

struct fill {
  uint16_t *halfs;
  float *floats;
  int64_t count;
  double scale;
  uint64_t seed;
};

static void fill_pieces(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct fill *f = ctx;
  (void)thread;
  for (int64_t piece = begin; piece < end; piece++) {
    uint64_t state = f->seed + (uint64_t)piece * 0xd1342543de82ef95u;
    int64_t stop = (piece + 1) * PIECE < f->count ? (piece + 1) * PIECE : f->count;
    for (int64_t i = piece * PIECE; i < stop; i++) {
      float v = (float)f->scale * data_normal(&state);
      if (f->halfs) f->halfs[i] = f32_to_f16(v);
      else f->floats[i] = v;
    }
  }
}

uint16_t *data_halfs(struct bench_device *d, int64_t count, double scale, uint64_t seed, struct err *e) {
  uint16_t *p = mem_alloc((size_t)count, sizeof *p, "a benchmark's numbers", e);
  if (p) pool_for(d->pool, (count + PIECE - 1) / PIECE, 1, fill_pieces, &(struct fill){p, NULL, count, scale, seed});
  return p;
}

float *data_floats(struct bench_device *d, int64_t count, double scale, uint64_t seed, struct err *e) {
  float *p = mem_alloc((size_t)count, sizeof *p, "a benchmark's numbers", e);
  if (p) pool_for(d->pool, (count + PIECE - 1) / PIECE, 1, fill_pieces, &(struct fill){NULL, p, count, scale, seed});
  return p;
}

// Phi-3-mini's own channels.
float *data_residual(struct bench_device *d, int64_t rows, int64_t hidden, uint64_t seed, struct err *e) {
  static const int64_t large[] = {525, 1113, 1693};
  float *p = data_floats(d, rows * hidden, 1, seed, e);
  for (int64_t r = 0; r < rows && p; r++)
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
      if (large[i] < hidden) p[r * hidden + large[i]] *= 50;
  return p;
}

float *data_rope(int32_t positions, int32_t rotary, struct err *e) {
  enum { BASE = 10000 };
  float *p = mem_alloc((size_t)positions * (size_t)rotary, sizeof *p, "the rotation table", e);
  for (int32_t at = 0; at < positions && p; at++)
    for (int32_t i = 0; i < rotary / 2; i++) {
      double angle = at * pow(BASE, -2.0 * i / rotary);
      p[at * rotary + 2 * i] = (float)cos(angle);
      p[at * rotary + 2 * i + 1] = (float)sin(angle);
    }
  return p;
}

enum { POISON = 0xffffffff };

bool buffer_poison(struct bench_device *d, const struct device_buffer *b, struct err *e) {
  const struct cuda *c = &d->gpu.cuda;
  return cuda_check(c, c->set_words(b->p, POISON, (b->bytes + 3) / 4, d->gpu.stream), "filling a benchmark's buffer", e) && gpu_wait(&d->gpu, "filling a benchmark's buffer", e);
}

bool buffer_write(struct bench_device *d, const struct device_buffer *b, const void *data, struct err *e) {
  return cuda_check(&d->gpu.cuda, d->gpu.cuda.to_device(b->p, data, b->bytes), "sending a benchmark's numbers", e);
}

bool buffer_open(struct bench_device *d, struct device_buffer *b, const void *data, size_t bytes, struct err *e) {
  *b = (struct device_buffer){.bytes = bytes};
  if (!cuda_check(&d->gpu.cuda, d->gpu.cuda.mem_alloc(&b->p, (bytes + 3) / 4 * 4), "allocating a benchmark's buffer", e)) return false;
  return data ? buffer_write(d, b, data, e) : buffer_poison(d, b, e);
}

void buffer_close(struct bench_device *d, struct device_buffer *b) {
  if (b->p) d->gpu.cuda.mem_free(b->p);
  *b = (struct device_buffer){0};
}

void *buffer_read(struct bench_device *d, const struct device_buffer *b, struct err *e) {
  void *p = mem_alloc(b->bytes, 1, "a benchmark's result", e);
  if (!p || cuda_check(&d->gpu.cuda, d->gpu.cuda.to_host(p, b->p, b->bytes), "reading a benchmark's result", e)) return p;
  mem_free(p);
  return NULL;
}

void agreement_add(struct agreement *a, double found, double expected) {
  double difference = found - expected;
  a->error += isfinite(found) && isfinite(expected) ? difference * difference : INFINITY;
  a->reference += expected * expected;
  a->outputs++;
}

double agreement_error(const struct agreement *a) { return a->reference > 0 ? sqrt(a->error / a->reference) : INFINITY; }

int64_t count_poison_halfs(const uint16_t *p, int64_t count) {
  int64_t n = 0;
  for (int64_t i = 0; i < count; i++) n += p[i] == (uint16_t)POISON;
  return n;
}

int64_t count_poison_floats(const float *p, int64_t count) {
  int64_t n = 0;
  for (int64_t i = 0; i < count; i++) n += f32_to_bits(p[i]) == (uint32_t)POISON;
  return n;
}

double half_range(double v) { return fmin(fmax(v, -65504), 65504); }

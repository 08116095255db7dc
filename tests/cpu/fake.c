#include "tests/cpu/fake.h"
#include "runtime/base/half.h"
#include <math.h>

static struct tensor *add_tensor(struct fake *f, enum dtype type, int64_t rows, int64_t cols, uint64_t *seed,
                                 double scale, double shift) {
  if (cols % dtype_info(type)->block) type = DTYPE_F32;
  int64_t row_bytes = dtype_row_bytes(type, cols);
  uint8_t *data = malloc((size_t)(rows * row_bytes));
  assert_non_null(data);
  for (int64_t r = 0; r < rows; r++) {
    struct weight_rows w = random_weights(type, cols, seed);
    memcpy(data + r * row_bytes, w.data, (size_t)row_bytes);
    free_weights(w);
  }
  for (int64_t i = 0; dtype_info(type)->block == 1 && i < rows * cols;
       i++) { // quantized weights are moderate as they are
    float x = (float)(shift + scale * (double)random_value(seed, false));
    uint16_t half = type == DTYPE_F16 ? f32_to_f16(x) : f32_to_bf16(x);
    if (type == DTYPE_F32) memcpy(data + 4 * i, &x, sizeof x);
    else memcpy(data + 2 * i, &half, sizeof half);
  }
  struct tensor *t = &f->tensors[f->num_tensors++];
  *t = (struct tensor){
      .name = "fake", .type = type, .dims = 2, .rows = rows, .cols = cols, .data = data, .bytes = rows * row_bytes};
  return t;
}

static struct matrix whole(const struct tensor *t) {
  return (struct matrix){.rows = t->rows, .cols = t->cols, .num_parts = 1, .parts = {{.tensor = t}}};
}

// Two tensors one below the other.
static struct matrix halves(struct fake *f, enum dtype type, int64_t rows, int64_t cols, uint64_t *seed, double scale) {
  const struct tensor *a = add_tensor(f, type, rows / 2, cols, seed, scale, 0),
                      *b = add_tensor(f, DTYPE_F32, rows - rows / 2, cols, seed, scale, 0);
  return (struct matrix){
      .rows = rows, .cols = cols, .num_parts = 2, .parts = {{.tensor = a}, {.tensor = b, .first_row = rows / 2}}};
}

void fake_open(struct fake *f, const struct config *c, enum dtype type, uint64_t *seed) {
  *f = (struct fake){.model.config = *c};
  struct model *m = &f->model;
  int64_t hidden = c->hidden_size, q = (int64_t)c->num_heads * c->head_dim, kv = (int64_t)c->num_kv_heads * c->head_dim;
  double scale = 1 / sqrt((double)hidden),
         gain = dtype_info(type)->block == 1 ? 1 : 0.05; // no score so large that it amplifies every error
  m->path = "fake";
  m->layers = f->layers;
  m->embed = whole(add_tensor(f, type, c->vocab_size, hidden, seed, 1, 0));
  m->head = whole(add_tensor(f, type, c->vocab_size, hidden, seed, scale, 0));
  m->norm = add_tensor(f, DTYPE_F32, 1, hidden, seed, 0.1 * gain, gain);
  for (int i = 0; i < c->num_layers; i++) {
    struct layer_weights *l = &f->layers[i];
    l->input_norm = add_tensor(f, DTYPE_F32, 1, hidden, seed, 0.1 * gain, gain);
    l->post_attention_norm = add_tensor(f, DTYPE_F32, 1, hidden, seed, 0.1 * gain, gain);
    l->qkv = halves(f, type, q + 2 * kv, hidden, seed, scale);
    l->o = whole(add_tensor(f, type, hidden, q, seed, 1 / sqrt((double)q), 0));
    l->gate_up = halves(f, type, 2 * c->intermediate_size, hidden, seed, scale);
    l->down = whole(add_tensor(f, type, hidden, c->intermediate_size, seed, 0.1, 0));
  }
}

void fake_close(struct fake *f) {
  for (int i = 0; i < f->num_tensors; i++) free((void *)f->tensors[i].data);
}

static void multiply(const struct matrix *w, const double *x, double *y) {
  float *row = malloc((size_t)w->cols * sizeof *row);
  for (int64_t o = 0; o < w->rows; o++) {
    matrix_row_f32(w, o, row);
    y[o] = 0;
    for (int64_t k = 0; k < w->cols; k++) y[o] += row[k] * x[k];
  }
  free(row);
}

static void norm(const struct tensor *gain, double eps, const double *x, double *y) {
  const float *g = gain->data;
  double mean = 0;
  for (int64_t i = 0; i < gain->cols; i++) mean += x[i] * x[i] / (double)gain->cols;
  for (int64_t i = 0; i < gain->cols; i++) y[i] = g[i] * x[i] / sqrt(mean + eps);
}

static void rotate(const struct config *c, double *head, int64_t position, bool long_rope) {
  const double *factor = c->rope == ROPE_LONGROPE ? long_rope ? c->long_factor : c->short_factor : NULL;
  int half = c->rotary_dim / 2;
  for (int i = 0; i < half; i++) {
    double angle = (double)position / ((factor ? factor[i] : 1) * pow(c->rope_theta, (double)i / half));
    double a = head[i], b = head[half + i], scale = c->rope_scale;
    head[i] = scale * (a * cos(angle) - b * sin(angle));
    head[half + i] = scale * (a * sin(angle) + b * cos(angle));
  }
}

// Queries, keys and values of all tokens in rows of `width`: out[t] = attention of token t.
static void attend(const struct config *c, const double *qkv, int64_t width, int32_t tokens, double *out) {
  int64_t q_width = (int64_t)c->num_heads * c->head_dim, kv_width = (int64_t)c->num_kv_heads * c->head_dim;
  double p[FAKE_MAX_TOKENS];
  for (int32_t t = 0; t < tokens; t++)
    for (int32_t h = 0; h < c->num_heads; h++) {
      int64_t kv = (int64_t)(h * c->num_kv_heads / c->num_heads) * c->head_dim;
      double total = 0, *y = out + t * q_width + (int64_t)h * c->head_dim;
      for (int32_t j = 0; j <= t; j++) {
        double s = 0;
        for (int32_t d = 0; d < c->head_dim; d++)
          s += qkv[t * width + (int64_t)h * c->head_dim + d] * qkv[j * width + q_width + kv + d] / sqrt(c->head_dim);
        p[j] = c->sliding_window && t - j >= c->sliding_window ? 0 : exp(s);
        total += p[j];
      }
      for (int32_t d = 0; d < c->head_dim; d++) {
        y[d] = 0;
        for (int32_t j = 0; j <= t; j++) y[d] += p[j] / total * qkv[j * width + q_width + kv_width + kv + d];
      }
    }
}

void fake_forward(const struct fake *f, const int32_t *ids, int32_t tokens, bool long_rope,
                  void (*seen)(void *ctx, enum stage stage, int32_t layer, const double *x, int64_t width), void *ctx) {
  const struct config *c = &f->model.config;
  int64_t hidden = c->hidden_size, q = (int64_t)c->num_heads * c->head_dim, kv = (int64_t)c->num_kv_heads * c->head_dim,
          width = q + 2 * kv;
  int64_t inner = c->intermediate_size, widest = width + hidden + 2 * inner + c->vocab_size;
  double *x = calloc((size_t)(tokens * widest), sizeof *x), *buffer = calloc((size_t)(tokens * widest), sizeof *x),
         *row = calloc((size_t)widest, sizeof *x);
  double *next = calloc((size_t)(tokens * widest), sizeof *x);
  assert_true(x && buffer && row && next);
  for (int32_t t = 0; t < tokens; t++) {
    float *embedding = (float *)row;
    matrix_row_f32(&f->model.embed, ids[t], embedding);
    for (int64_t i = 0; i < hidden; i++) x[t * hidden + i] = (double)embedding[i];
  }
  seen(ctx, STAGE_HIDDEN, -1, x, hidden);
  for (int32_t l = 0; l < c->num_layers; l++) {
    const struct layer_weights *w = &f->layers[l];
    for (int32_t t = 0; t < tokens; t++) {
      norm(w->input_norm, c->rms_eps, x + t * hidden, row);
      multiply(&w->qkv, row, buffer + t * width);
      for (int32_t h = 0; h < c->num_heads + c->num_kv_heads; h++)
        rotate(c, buffer + t * width + (int64_t)h * c->head_dim, t, long_rope);
    }
    for (int32_t t = 0; t < tokens; t++) memcpy(next + t * q, buffer + t * width, (size_t)q * sizeof *next);
    seen(ctx, STAGE_QUERY, l, next, q);
    attend(c, buffer, width, tokens, next);
    seen(ctx, STAGE_MIXED, l, next, q);
    for (int32_t t = 0; t < tokens; t++) {
      multiply(&w->o, next + t * q, row);
      for (int64_t i = 0; i < hidden; i++) x[t * hidden + i] += row[i];
      norm(w->post_attention_norm, c->rms_eps, x + t * hidden, row);
      multiply(&w->gate_up, row, row + hidden);
      for (int64_t i = 0; i < inner; i++)
        buffer[t * inner + i] = row[hidden + i] / (1 + exp(-row[hidden + i])) * row[hidden + inner + i];
      multiply(&w->down, buffer + t * inner, row);
      for (int64_t i = 0; i < hidden; i++) x[t * hidden + i] += row[i];
    }
    seen(ctx, STAGE_MLP, l, buffer, inner);
    seen(ctx, STAGE_HIDDEN, l, x, hidden);
  }
  for (int32_t t = 0; t < tokens; t++) {
    norm(f->model.norm, c->rms_eps, x + t * hidden, buffer + t * hidden);
    multiply(&f->model.head, buffer + t * hidden, next + t * c->vocab_size);
  }
  seen(ctx, STAGE_NORM, c->num_layers, buffer, hidden);
  seen(ctx, STAGE_LOGITS, c->num_layers, next, c->vocab_size);
  free(x);
  free(buffer);
  free(row);
  free(next);
}

// The table of operations, composed twice: in fp32 out of the tuned loops, in double out of the plain ones.
#include "runtime/cpu/cpu.h"

static bool attention_in_f32(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct cpu *c = cpu_of(b);
  (void)e;
  rmsnorm_rows_f32(c, cpu_gain(c, 2ll * layer), NULL, s->num_rows);
  linear_f32(c, &b->model->layers[layer].qkv, &c->norm, s->num_rows, &c->qkv, false);
  cache_append_f32(c, s, layer);
  return true;
}

static bool attention_out_f32(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct cpu *c = cpu_of(b);
  (void)e;
  linear_f32(c, &b->model->layers[layer].o, &c->mixed, s->num_rows, &c->x, true);
  return true;
}

static bool mlp_in_f32(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct cpu *c = cpu_of(b);
  (void)e;
  rmsnorm_rows_f32(c, cpu_gain(c, 2ll * layer + 1), NULL, s->num_rows);
  mlp_rows_f32(c, &b->model->layers[layer].gate_up, s->num_rows);
  return true;
}

static bool mlp_out_f32(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct cpu *c = cpu_of(b);
  (void)e;
  linear_f32(c, &b->model->layers[layer].down, &c->mlp, s->num_rows, &c->x, true);
  return true;
}

static bool logits_f32(struct backend *b, const struct step *s, struct err *e) {
  struct cpu *c = cpu_of(b);
  (void)e;
  rmsnorm_rows_f32(c, cpu_gain(c, 2ll * b->model->config.num_layers), s->logit_rows, s->num_logits);
  linear_f32(c, &b->model->head, &c->norm, s->num_logits, &c->logits, false);
  return true;
}

static bool attention_in_f64(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct cpu *c = cpu_of(b);
  (void)e;
  rmsnorm_rows_f64(c, cpu_gain(c, 2ll * layer), NULL, s->num_rows);
  linear_f64(c, &b->model->layers[layer].qkv, &c->norm, s->num_rows, &c->qkv, false);
  cache_append_f64(c, s, layer);
  return true;
}

static bool attention_out_f64(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct cpu *c = cpu_of(b);
  (void)e;
  linear_f64(c, &b->model->layers[layer].o, &c->mixed, s->num_rows, &c->x, true);
  return true;
}

static bool mlp_in_f64(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct cpu *c = cpu_of(b);
  (void)e;
  rmsnorm_rows_f64(c, cpu_gain(c, 2ll * layer + 1), NULL, s->num_rows);
  mlp_rows_f64(c, &b->model->layers[layer].gate_up, s->num_rows);
  return true;
}

static bool mlp_out_f64(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct cpu *c = cpu_of(b);
  (void)e;
  linear_f64(c, &b->model->layers[layer].down, &c->mlp, s->num_rows, &c->x, true);
  return true;
}

static bool logits_f64(struct backend *b, const struct step *s, struct err *e) {
  struct cpu *c = cpu_of(b);
  (void)e;
  rmsnorm_rows_f64(c, cpu_gain(c, 2ll * b->model->config.num_layers), s->logit_rows, s->num_logits);
  linear_f64(c, &b->model->head, &c->norm, s->num_logits, &c->logits, false);
  return true;
}

const struct backend_ops cpu_ops_f32 = {.name = "cpu",
                                        .embed = embed_f32,
                                        .attention_in = attention_in_f32,
                                        .attention = attention_f32,
                                        .attention_out = attention_out_f32,
                                        .mlp_in = mlp_in_f32,
                                        .mlp_out = mlp_out_f32,
                                        .logits = logits_f32,
                                        .copy_page = cpu_copy_page,
                                        .read = cpu_read,
                                        .write = cpu_write,
                                        .read_cache = cpu_read_cache,
                                        .write_cache = cpu_write_cache,
                                        .close = cpu_close};

const struct backend_ops cpu_ops_f64 = {.name = "cpu",
                                        .embed = embed_f64,
                                        .attention_in = attention_in_f64,
                                        .attention = attention_f64,
                                        .attention_out = attention_out_f64,
                                        .mlp_in = mlp_in_f64,
                                        .mlp_out = mlp_out_f64,
                                        .logits = logits_f64,
                                        .copy_page = cpu_copy_page,
                                        .read = cpu_read,
                                        .write = cpu_write,
                                        .read_cache = cpu_read_cache,
                                        .write_cache = cpu_write_cache,
                                        .close = cpu_close};

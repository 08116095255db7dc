#include "runtime/model/model.h"
#include "runtime/base/mem.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_model.h"

static void read_matrix(const struct matrix *m) {
  struct err e;
  float *row = mem_alloc((size_t)m->cols, sizeof *row, "a row", &e);
  fuzz_check(row);
  for (int64_t r = 0; r < m->rows; r++) matrix_row_f32(m, r, row);
  fuzz_check(matrix_bytes(m) > 0);
  mem_free(row);
}

static void read_vector(const struct tensor *t) {
  struct err e;
  float *v = mem_alloc((size_t)t->cols, sizeof *v, "a vector", &e);
  fuzz_check(v);
  tensor_to_f32(t, v);
  mem_free(v);
}

bool fuzz_model(const char *path, const char *begins) {
  struct model m;
  struct err e = {0};
  if (!model_open(&m, path, &e)) {
    fuzz_check_error(e.text, begins);
    return false;
  }
  read_matrix(&m.embed);
  read_matrix(&m.head);
  read_vector(m.norm);
  for (int32_t i = 0; i < m.config.num_layers; i++) {
    const struct layer_weights *l = &m.layers[i];
    const struct matrix *all[] = {&l->qkv, &l->o, &l->gate_up, &l->down};
    for (int k = 0; k < 4; k++) read_matrix(all[k]);
    read_vector(l->input_norm);
    read_vector(l->post_attention_norm);
  }
  model_close(&m);
  return true;
}

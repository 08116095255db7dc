// A GGUF file as a model: tensors with their types, and longrope's factors, which GGUF keeps as tensors.
#include "runtime/base/mem.h"
#include "runtime/model/gguf.h"
#include "runtime/model/tensors.h"
#include <stdio.h>
#include <string.h>

// ggml's type numbers (ggml.h); `readable` tells whether it is one of ours.
static const struct {
  uint32_t number;
  const char *name;
  bool readable;
  enum dtype type;
} ggml_types[] = {
    {0, "F32", true, DTYPE_F32},    {1, "F16", true, DTYPE_F16},    {30, "BF16", true, DTYPE_BF16},
    {8, "Q8_0", true, DTYPE_Q8_0},  {2, "Q4_0", true, DTYPE_Q4_0},  {3, "Q4_1", true, DTYPE_Q4_1},
    {12, "Q4_K", true, DTYPE_Q4_K}, {13, "Q5_K", true, DTYPE_Q5_K}, {14, "Q6_K", true, DTYPE_Q6_K},
    {6, "Q5_0", false, 0},          {7, "Q5_1", false, 0},          {9, "Q8_1", false, 0},
    {10, "Q2_K", false, 0},         {11, "Q3_K", false, 0},         {15, "Q8_K", false, 0},
    {16, "IQ2_XXS", false, 0},      {17, "IQ2_XS", false, 0},       {18, "IQ3_XXS", false, 0},
    {19, "IQ1_S", false, 0},        {20, "IQ4_NL", false, 0},       {21, "IQ3_S", false, 0},
    {22, "IQ2_S", false, 0},        {23, "IQ4_XS", false, 0},       {24, "I8", false, 0},
    {25, "I16", false, 0},          {26, "I32", false, 0},          {27, "I64", false, 0},
    {28, "F64", false, 0},          {29, "IQ1_M", false, 0},        {34, "TQ1_0", false, 0},
    {35, "TQ2_0", false, 0},        {39, "MXFP4", false, 0},
};

static bool read_type(const struct gguf *g, const struct gguf_tensor *t, enum dtype *type, struct err *e) {
  const char *name = NULL;
  for (size_t i = 0; i < sizeof ggml_types / sizeof *ggml_types; i++) {
    if (ggml_types[i].number != t->ggml_type) continue;
    *type = ggml_types[i].type;
    if (ggml_types[i].readable) return true;
    name = ggml_types[i].name;
  }
  char number[32];
  snprintf(number, sizeof number, "number %u", t->ggml_type);
  return err_set(
      e, "%s: tensor '%.*s': type %s is not supported, expected F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K or Q6_K",
      g->file.path, (int)t->name.len, t->name.data, name ? name : number);
}

static bool add_tensor(const struct gguf *g, const struct gguf_tensor *t, struct tensor_list *l, struct err *e) {
  struct found_tensor f = {
      .dims = t->shape[1] > 1 || t->dims == 2 ? 2 : 1, .rows = (int64_t)t->shape[1], .cols = (int64_t)t->shape[0]};
  if (t->shape[2] != 1 || t->shape[3] != 1)
    return err_set(e, "%s: tensor '%.*s' has %u dimensions, expected 1 or 2", g->file.path, (int)t->name.len,
                   t->name.data, t->dims);
  if (!read_type(g, t, &f.type, e)) return false;
  const struct dtype_info *info = dtype_info(f.type);
  if (f.cols % info->block)
    return err_set(e, "%s: tensor '%.*s' of type %s has rows of %lld elements, expected a multiple of %d", g->file.path,
                   (int)t->name.len, t->name.data, info->name, (long long)f.cols, info->block);
  uint64_t row, bytes;
  if (__builtin_mul_overflow((uint64_t)f.cols / (uint64_t)info->block, (uint64_t)info->block_bytes, &row) ||
      __builtin_mul_overflow(row, (uint64_t)f.rows, &bytes) ||
      __builtin_add_overflow(g->data_offset, t->offset, &f.begin) || __builtin_add_overflow(f.begin, bytes, &f.end) ||
      f.end > g->file.size)
    return err_set(e,
                   "%s: tensor '%.*s' of shape [%lld, %lld] at offset %llu of the data ends beyond the file's %zu "
                   "bytes; it is truncated",
                   g->file.path, (int)t->name.len, t->name.data, (long long)f.rows, (long long)f.cols,
                   (unsigned long long)t->offset, g->file.size);
  return tensor_list_add(l, t->name.data, t->name.len, &f, e);
}

// The factors of one set, in a new array; *factors stays NULL when the file has none.
static bool read_factors(const struct config *c, const struct gguf *g, const struct tensor_list *l, const char *name,
                         double **factors, struct err *e) {
  for (int64_t i = 0; i < l->count; i++) {
    const struct found_tensor *t = &l->items[i];
    if (strcmp(tensor_list_name(l, i), name) != 0) continue;
    if (t->type != DTYPE_F32 || t->rows != 1 || t->cols != c->rotary_dim / 2)
      return err_set(e, "%s: tensor '%s': type %s, shape [%lld, %lld], expected F32 of [%d], half the rotated channels",
                     g->file.path, name, dtype_info(t->type)->name, (long long)t->rows, (long long)t->cols,
                     c->rotary_dim / 2);
    *factors = mem_alloc((size_t)t->cols, sizeof **factors, "rotary factors", e);
    for (int64_t j = 0; *factors && j < t->cols; j++) {
      float f;
      dtype_to_f32(DTYPE_F32, g->file.data + t->begin + j * (int64_t)sizeof f, &f, 1);
      (*factors)[j] = (double)f;
    }
    return *factors != NULL;
  }
  return true;
}

// Without factors the model is a plain one, and must not claim otherwise.
static bool set_plain(struct config *c, const struct gguf *g, struct err *e) {
  char key[64];
  struct gguf_string type;
  c->original_max_positions = c->max_positions;
  snprintf(key, sizeof key, "%.8s.rope.scaling.type", c->architecture);
  if (!gguf_find(g, key)) return true;
  if (!gguf_get_string(g, key, &type, e)) return false;
  if (type.len != strlen("longrope")) return true; // config_read_gguf has refused all others but none
  return err_set(e, "%s: rope scaling is longrope, but tensor 'rope_factors_short.weight' is missing", g->file.path);
}

static bool set_longrope(struct config *c, const struct gguf *g, const double *short_factor, const double *long_factor,
                         struct err *e) {
  char key[64];
  double attention_factor = 0;
  snprintf(key, sizeof key, "%.8s.rope.scaling.attn_factor", c->architecture);
  if (gguf_find(g, key) && !gguf_get_f64(g, key, &attention_factor, e)) return false;
  if (c->original_max_positions < 2)
    return err_set(e, "%s: longrope with %d original positions, expected at least 2", g->file.path,
                   c->original_max_positions);
  return config_set_longrope(c, short_factor, long_factor, 0, attention_factor, e);
}

static bool read_longrope(struct config *c, const struct gguf *g, const struct tensor_list *l, struct err *e) {
  double *s = NULL, *n = NULL;
  bool ok = read_factors(c, g, l, "rope_factors_short.weight", &s, e) &&
            read_factors(c, g, l, "rope_factors_long.weight", &n, e);
  if (ok && !s != !n)
    ok = err_set(e, "%s: has only one of rope_factors_short.weight and rope_factors_long.weight", g->file.path);
  else if (ok) ok = s ? set_longrope(c, g, s, n, e) : set_plain(c, g, e);
  mem_free(s);
  mem_free(n);
  return ok;
}

// A model in several GGUF files, of which this is one.
static bool is_whole(const struct gguf *g, struct err *e) {
  int64_t parts;
  if (!gguf_find(g, "split.count")) return true;
  if (!gguf_get_i64(g, "split.count", &parts, e)) return false;
  return parts <= 1 ||
         err_set(e, "%s: is one of %lld parts, which is not supported; merge them with llama-gguf-split --merge",
                 g->file.path, (long long)parts);
}

static bool read_all(struct config *c, const struct gguf *g, struct tensor_list *l, struct err *e) {
  if (!is_whole(g, e) || !config_read_gguf(c, g, e)) return false;
  for (uint64_t i = 0; i < g->num_tensors; i++)
    if (!add_tensor(g, &g->tensors[i], l, e)) return false;
  return tensor_list_check_layout(l, 0, &g->file, g->data_offset, g->alignment, e) && read_longrope(c, g, l, e) &&
         config_check(c, g->file.path, e);
}

bool gguf_read_model(struct model *m, const char *path, struct tensor_list *l, struct err *e) {
  struct gguf g;
  if (!gguf_open(&g, path, e)) return false;
  bool ok = read_all(&m->config, &g, l, e);
  m->files = ok ? mem_alloc(1, sizeof *m->files, "the list of files", e) : NULL;
  if (m->files) { // the mapping outlives the directory
    m->files[0] = g.file;
    m->num_files = 1;
    g.file = (struct file){0};
  }
  gguf_close(&g);
  return m->files != NULL;
}

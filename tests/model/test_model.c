// Models of every format: the same random model must give the same rows, whatever file it comes from.
#include "tests/test.h"
#include "runtime/base/mem.h"
#include "runtime/model/model.h"
#include "tests/model/make_files.h"
#include <unistd.h>

static struct err e;
static char *dir, *gguf;

static int set_up(void **state) {
  (void)state;
  dir = temp_dir();
  gguf = path_in(dir, "m.gguf");
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  free(gguf);
  temp_dir_remove(dir);
  return 0;
}

static void check_rows(const struct sample *s, const struct matrix *m, const char *name, int64_t rows, int64_t cols) {
  assert_int_equal(m->rows, rows);
  assert_int_equal(m->cols, cols);
  float *row = malloc((size_t)cols * sizeof *row);
  for (int64_t r = 0; r < rows; r++) {
    matrix_row_f32(m, r, row);
    for (int64_t c = 0; c < cols; c++)
      if (row[c] != sample_value(s, name, r, c))
        fail_msg("%s [%lld, %lld] is %g", name, (long long)r, (long long)c, (double)row[c]);
  }
  free(row);
}

static void check_vector(const struct sample *s, const struct tensor *t, const char *name, int64_t cols) {
  assert_int_equal(t->dims, 1);
  assert_int_equal(t->cols, cols);
  float *v = malloc((size_t)cols * sizeof *v);
  tensor_to_f32(t, v);
  for (int64_t c = 0; c < cols; c++) assert_true(v[c] == sample_value(s, name, 0, c));
  free(v);
}

static const char *layer_name(int i, const char *name) {
  static char text[128];
  snprintf(text, sizeof text, "model.layers.%d.%s.weight", i, name);
  return text;
}

static void check_config(const struct sample *s, const struct config *c) {
  const int32_t found[] = {c->hidden_size,
                           c->num_layers,
                           c->num_heads,
                           c->num_kv_heads,
                           c->head_dim,
                           c->intermediate_size,
                           c->vocab_size,
                           c->max_positions,
                           c->sliding_window,
                           c->rotary_dim,
                           c->original_max_positions,
                           c->bos_id,
                           c->pad_id,
                           c->num_end_ids,
                           c->end_ids[0]};
  const int32_t expected[] = {s->hidden,
                              s->layers,
                              s->heads,
                              s->kv_heads,
                              s->head_dim,
                              s->intermediate,
                              s->vocab,
                              s->max_positions,
                              s->window,
                              (int32_t)((float)s->head_dim * s->partial_rotary),
                              s->longrope ? s->max_positions / 2 : s->max_positions,
                              1,
                              -1,
                              1,
                              2};
  assert_memory_equal(found, expected, sizeof expected);
  assert_true(c->tied_embeddings == s->tied && (float)c->rms_eps == 1e-5f && c->rope_theta == 10000);
  assert_int_equal(c->rope, s->longrope ? ROPE_LONGROPE : ROPE_PLAIN);
  for (int i = 0; i < c->rotary_dim / 2 && s->longrope; i++)
    assert_true((float)c->short_factor[i] == sample_factor(s, false, i) &&
                (float)c->long_factor[i] == sample_factor(s, true, i));
  assert_true(s->longrope ? c->rope_scale > 1 : c->rope_scale == 1);
}

static void check_model(const struct sample *s, const struct model *m) {
  int64_t h = s->hidden, q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim, n = s->intermediate;
  check_config(s, &m->config);
  check_rows(s, &m->embed, "model.embed_tokens.weight", s->vocab, h);
  check_rows(s, &m->head, s->tied ? "model.embed_tokens.weight" : "lm_head.weight", s->vocab, h);
  check_vector(s, m->norm, "model.norm.weight", h);
  for (int i = 0; i < s->layers; i++) {
    const struct layer_weights *w = &m->layers[i];
    check_vector(s, w->input_norm, layer_name(i, "input_layernorm"), h);
    check_vector(s, w->post_attention_norm, layer_name(i, "post_attention_layernorm"), h);
    check_rows(s, &w->qkv, layer_name(i, "self_attn.qkv_proj"), q + 2 * kv, h);
    check_rows(s, &w->o, layer_name(i, "self_attn.o_proj"), h, q);
    check_rows(s, &w->gate_up, layer_name(i, "mlp.gate_up_proj"), 2 * n, h);
    check_rows(s, &w->down, layer_name(i, "mlp.down_proj"), h, n);
    assert_int_equal(matrix_bytes(&w->qkv), (q + 2 * kv) * h * dtype_info(s->type)->block_bytes);
  }
  int64_t layer = (q + 2 * kv) * h + h * q + 3 * h * n, matrices = s->layers * layer + s->vocab * h * (s->tied ? 1 : 2),
          norms = (2 * s->layers + 1) * h;
  assert_int_equal(m->num_params, matrices + norms);
}

static void check_everywhere(struct sample *s) {
  struct model m;
  for (int shards = 1; shards <= 3; shards += 2) {
    char *folder = temp_dir();
    s->shards = shards;
    sample_write_hf(s, folder, "");
    assert_ok(model_open(&m, folder, &e));
    assert_int_equal(m.num_files, shards);
    check_model(s, &m);
    model_close(&m);
    temp_dir_remove(folder);
  }
  static const char *const archs[] = {"phi3", "llama"};
  for (int i = 0; i < 2; i++) {
    sample_write_gguf(s, gguf, archs[i]);
    assert_ok(model_open(&m, gguf, &e));
    assert_string_equal(m.config.architecture, archs[i]);
    check_model(s, &m);
    model_close(&m);
  }
}

static void all_formats_hold_the_same_model(void **state) {
  (void)state;
  static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
  struct sample s = sample_default();
  s.seed = test_seed();
  for (int i = 0; i < 3; i++) {
    s.type = types[i];
    s.tied = i == 1;
    check_everywhere(&s);
  }
}

static void all_shapes_are_loaded(void **state) {
  (void)state;
  struct sample s = sample_default();
  s.kv_heads = 1, s.head_dim = 96, s.layers = 1, s.window = 0; // multi-query, no window
  check_everywhere(&s);
  s.heads = s.kv_heads = 3, s.head_dim = 16, s.partial_rotary = 0.75f, s.longrope = true; // 12 of 16 channels
  check_everywhere(&s);
  s.heads = 12, s.kv_heads = 4, s.head_dim = 2, s.partial_rotary = 1, s.layers = 11, s.hidden = 1;
  check_everywhere(&s);
}

// The stored order has every row once, where matrix_row finds it, in runs that end with a part.
static void assert_stored_rows_are_seen(const struct matrix *x) {
  for (int64_t stored = 0, run; stored < x->rows; stored += run) {
    const void *data;
    enum dtype type, seen;
    run = matrix_stored_rows(x, stored, x->rows, &data, &type);
    assert_in_range(run, 1, x->rows - stored);
    for (int64_t i = 0; i < run; i++) {
      int64_t row = matrix_row_stored_at(x, stored + i);
      assert_in_range(row, 0, x->rows - 1);
      assert_ptr_equal(matrix_row(x, row, &seen), (const char *)data + i * dtype_row_bytes(type, x->cols));
      assert_int_equal(seen, type);
    }
  }
}

// Quantized tensors have their own rows: q in Q8_0, k in Q4_0 (each row of its own scale), v in F32.
static void quantized_parts_keep_their_rows(void **state) {
  (void)state;
  struct sample s = sample_default();
  s.hidden = 32, s.layers = 1;
  struct gguf_maker g = {0}, plain = {0};
  sample_put_gguf(&s, &plain, "llama");
  g.keys = plain.keys, g.num_keys = plain.num_keys;
  int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  uint8_t *blocks = calloc(4096, 1);
  float *zeros = calloc(4096, sizeof *zeros);
  for (int64_t r = 0; r < q; r++)
    blocks[34 * r + 1] = 0x3c, blocks[34 * r + 2] = (uint8_t)(r + 1); // scale 1, first element r + 1
  gguf_put_tensor(&g, "token_embd.weight", 0, s.vocab, 32, zeros, (size_t)s.vocab * 128);
  gguf_put_tensor(&g, "blk.0.attn_q.weight", 8, q, 32, blocks, (size_t)(34 * q));
  memset(blocks, 0, 4096);
  for (int64_t r = 0; r < kv; r++)
    blocks[18 * r + 1] = 0x3c, blocks[18 * r + 2] = (uint8_t)(r % 16); // first element r % 16 - 8
  gguf_put_tensor(&g, "blk.0.attn_k.weight", 2, kv, 32, blocks, (size_t)(18 * kv));
  gguf_put_tensor(&g, "blk.0.attn_v.weight", 0, kv, 32, zeros, (size_t)(128 * kv));
  gguf_put_tensor(&g, "blk.0.attn_output.weight", 8, 32, q, blocks, (size_t)(34 * q / 32 * 32));
  gguf_put_tensor(&g, "blk.0.attn_norm.weight", 0, 0, 32, zeros, 128);
  gguf_put_tensor(&g, "blk.0.ffn_norm.weight", 0, 0, 32, zeros, 128);
  gguf_put_tensor(&g, "blk.0.ffn_gate.weight", 0, s.intermediate, 32, zeros, (size_t)s.intermediate * 128);
  gguf_put_tensor(&g, "blk.0.ffn_up.weight", 0, s.intermediate, 32, zeros, (size_t)s.intermediate * 128);
  gguf_put_tensor(&g, "blk.0.ffn_down.weight", 0, 32, s.intermediate, zeros, (size_t)s.intermediate * 128);
  gguf_put_tensor(&g, "output_norm.weight", 0, 0, 32, zeros, 128);
  gguf_write(&g, gguf);
  struct model m;
  assert_ok(model_open(&m, gguf, &e));
  assert_true(m.config.tied_embeddings); // no output.weight
  const struct matrix *x = &m.layers[0].qkv;
  float row[32];
  enum dtype type;
  for (int64_t r = 0; r < x->rows; r++) {
    int64_t i = r % 8, at = r / 8 * 8 + (i < 4 ? 2 * i : 2 * (i - 4) + 1); // of 8 channels a head, all rotated
    matrix_row_f32(x, r, row);
    matrix_row(x, r, &type);
    assert_int_equal(type, r < q ? DTYPE_Q8_0 : r < q + kv ? DTYPE_Q4_0 : DTYPE_F32);
    assert_true(row[0] == (r < q ? (float)(at + 1) : r < q + kv ? (float)((at - q) % 16 - 8) : 0));
  }
  assert_int_equal(matrix_bytes(x), 34 * q + 18 * kv + 128 * kv);
  assert_stored_rows_are_seen(x);
  m.layers[0].qkv.parts[0].pair_rotary = 4; // half of each head
  assert_stored_rows_are_seen(x);
  assert_false(matrix_stored_in_order(x));
  assert_true(matrix_stored_in_order(&m.layers[0].gate_up));
  assert_stored_rows_are_seen(&m.layers[0].gate_up);
  model_close(&m);
  bytes_free(&plain.data);
  bytes_free(&plain.tensors);
  free(blocks);
  free(zeros);
}

// For every k the k-th allocation and all after it fail: an error, no leak (under the sanitizer), no crash.
static void every_failed_allocation_is_reported(void **state) {
  (void)state;
  struct sample s = sample_default();
  s.longrope = true, s.shards = 2;
  char *folder = temp_dir();
  sample_write_hf(&s, folder, "");
  sample_write_gguf(&s, gguf, "llama");
  const char *const paths[] = {folder, gguf};
  for (int i = 0; i < 2; i++) {
    struct model m;
    long k = 1;
    for (bool ok = false; !ok; k++) {
      mem_fail_from(k);
      e = (struct err){0};
      ok = model_open(&m, paths[i], &e);
      mem_fail_from(0);
      if (!ok && !e.no_memory) fail_msg("%s: allocation %ld: %s", paths[i], k, e.text);
    }
    check_model(&s, &m);
    model_close(&m);
    assert_true(k > 15);
  }
  temp_dir_remove(folder);
}

static long resident_kib(void) {
  long pages = 0, resident = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f || fscanf(f, "%ld %ld", &pages, &resident) != 2) fail_msg("cannot read /proc/self/statm");
  fclose(f);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void opening_does_not_read_the_weights(void **state) {
  (void)state;
  enum { HIDDEN = 1024, VOCAB = 2000000, MAX_KIB = 4096 };
  struct safetensors_maker f = {0};
  const struct {
    const char *name;
    int64_t rows, cols;
  } t[] = {{"model.embed_tokens.weight", VOCAB, HIDDEN},
           {"model.layers.0.input_layernorm.weight", 0, HIDDEN},
           {"model.norm.weight", 0, HIDDEN},
           {"model.layers.0.post_attention_layernorm.weight", 0, HIDDEN},
           {"model.layers.0.self_attn.qkv_proj.weight", 3 * HIDDEN, HIDDEN},
           {"model.layers.0.self_attn.o_proj.weight", HIDDEN, HIDDEN},
           {"model.layers.0.mlp.gate_up_proj.weight", 64, HIDDEN},
           {"model.layers.0.mlp.down_proj.weight", HIDDEN, 32}};
  for (size_t i = 0; i < sizeof t / sizeof *t; i++)
    safetensors_put(&f, t[i].name, "F32", t[i].rows, t[i].cols, NULL,
                    (size_t)((t[i].rows ? t[i].rows : 1) * t[i].cols) * 4);
  char *path = path_in(dir, "model.safetensors"), *config = path_in(dir, "config.json");
  safetensors_write(&f, path);
  write_text(config, "{\"architectures\": [\"Phi3ForCausalLM\"], \"hidden_size\": 1024, \"vocab_size\": 2000000, "
                     "\"num_hidden_layers\": 1,"
                     "\"num_attention_heads\": 16, \"intermediate_size\": 32, \"tie_word_embeddings\": true}");
  long before = resident_kib();
  struct timespec begin, end;
  struct model m;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  assert_ok(model_open(&m, dir, &e));
  clock_gettime(CLOCK_MONOTONIC, &end);
  long grown = resident_kib() - before;
  assert_true(m.weight_bytes > 8000000000);
  printf("opened %.2f GB in %.2f ms, %ld KiB more resident\n", (double)m.weight_bytes * 1e-9,
         (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) * 1e-6, grown);
  assert_true(grown < MAX_KIB);
  float row[HIDDEN];
  matrix_row_f32(&m.embed, VOCAB - 1, row); // 64-bit offsets
  assert_true(row[0] == 0);
  model_close(&m);
  free(path);
  free(config);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(all_formats_hold_the_same_model, set_up, tear_down),
      cmocka_unit_test_setup_teardown(all_shapes_are_loaded, set_up, tear_down),
      cmocka_unit_test_setup_teardown(quantized_parts_keep_their_rows, set_up, tear_down),
      cmocka_unit_test_setup_teardown(every_failed_allocation_is_reported, set_up, tear_down),
      cmocka_unit_test_setup_teardown(opening_does_not_read_the_weights, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

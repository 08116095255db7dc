// A shape as a model in memory, without the memory: all matrices lie over the same bytes.
#include "driver/synth.h"
#include "runtime/base/mem.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static struct matrix whole(const struct tensor *t) {
  return (struct matrix){.rows = t->rows, .cols = t->cols, .num_parts = 1, .parts = {{.tensor = t}}};
}

// One mapping of small fp16 numbers, as large as the largest tensor; it leaves with the model, as a file's does.
static bool make_bytes(struct model *m, const struct synth_tensor *list, int64_t count, struct err *e) {
  int64_t most = 0;
  for (int64_t i = 0; i < count; i++) most = synth_elements(&list[i]) > most ? synth_elements(&list[i]) : most;
  size_t bytes = (size_t)most * sizeof(uint16_t);
  if (!(m->files = mem_alloc(1, sizeof *m->files, "the list of files", e))) return false;
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return err_set(e, "cannot have %zu bytes for a matrix: %s", bytes, strerror(errno));
  m->files[0] = (struct file){.data = p, .size = bytes};
  m->num_files = 1;
  struct synth_tensor small = {.name = "shared", .cols = most, .reach = 0.03125f};
  struct synth_values v;
  synth_values_init(&v, &small, DTYPE_F16, 0);
  synth_values_fill(&v, 0, most, p);
  return true;
}

static void bind_layers(struct model *m) {
  const struct tensor *t = m->tensors;
  m->embed = whole(t++);
  for (int32_t i = 0; i < m->config.num_layers; i++, t += 6) {
    struct layer_weights *l = &m->layers[i];
    l->input_norm = &t[0];
    l->qkv = whole(&t[1]);
    l->o = whole(&t[2]);
    l->post_attention_norm = &t[3];
    l->gate_up = whole(&t[4]);
    l->down = whole(&t[5]);
  }
  m->norm = t++;
  m->head = m->config.tied_embeddings ? m->embed : whole(t);
}

static bool make_tensors(struct model *m, const struct synth_tensor *list, struct err *e) {
  if (!(m->tensors = mem_alloc((size_t)m->num_tensors, sizeof *m->tensors, "the tensors", e)) ||
      !(m->names = mem_alloc((size_t)m->num_tensors, sizeof list->name, "the tensors' names", e)) ||
      !(m->layers = mem_alloc((size_t)m->config.num_layers, sizeof *m->layers, "the layers", e)))
    return false;
  for (int64_t i = 0; i < m->num_tensors; i++) {
    char *name = m->names + (size_t)i * sizeof list->name;
    int64_t n = synth_elements(&list[i]), bytes = n * (int64_t)sizeof(uint16_t);
    memcpy(name, list[i].name, sizeof list->name);
    m->tensors[i] = (struct tensor){
        name, DTYPE_F16, list[i].rows ? 2 : 1, list[i].rows ? list[i].rows : 1, list[i].cols, m->files[0].data, bytes};
    m->num_params += n;
    m->weight_bytes += bytes;
  }
  bind_layers(m);
  return true;
}

bool synth_model(struct model *m, struct config *c, const char *name, struct err *e) {
  *m = (struct model){.config = *c};
  *c = (struct config){0};
  struct synth_tensor *list = synth_tensors(&m->config, &m->num_tensors, e);
  bool ok =
      list && (m->path = mem_strdup(name, e)) && make_bytes(m, list, m->num_tensors, e) && make_tensors(m, list, e);
  mem_free(list);
  if (!ok) model_close(m);
  return ok;
}

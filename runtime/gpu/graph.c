// Decode steps as graphs: the launches of a step of a shape are captured once and replayed from then on.
#include "runtime/gpu/gpu.h"
#include <string.h>

// The others keep their order: the first is the oldest.
static void drop(struct gpu *g, int32_t i) {
  g->d.cuda.graph_exec_destroy(g->graphs[i].exec);
  memmove(&g->graphs[i], &g->graphs[i + 1], (size_t)(--g->num_graphs - i) * sizeof *g->graphs);
}

void gpu_drop_graphs(struct gpu *g) {
  while (g->num_graphs) drop(g, g->num_graphs - 1);
}

// A step that failed on its way left a capture and ranges open.
void gpu_end_abandoned(struct gpu *g) {
  cu_graph graph = NULL;
  if (g->recording == RECORD_CAPTURE) g->d.cuda.capture_end(g->d.stream, &graph);
  if (graph) g->d.cuda.graph_destroy(graph);
  g->recording = RECORD_OFF;
  gpu_range_pop_all(g);
}

static int32_t find(const struct gpu *g, const struct step *s) {
  for (int32_t i = 0; i < g->num_graphs; i++)
    if (g->graphs[i].rows == s->num_rows && g->graphs[i].logits == s->num_logits && g->graphs[i].spans == g->spans) return i;
  return -1;
}

// Which of the step's rows the logits are of is data; only how many, and whether they are all rows, is the launches' shape.
static bool is_decode(const struct step *s) { return s->num_seqs == s->num_rows && s->num_rows <= PHI3_DECODE_ROWS && (s->num_logits == 0 || s->num_logits == s->num_rows); }

bool gpu_begin_step(struct backend *b, const struct step *s, bool observed, struct err *e) {
  struct gpu *g = gpu_of(b);
  const struct cuda *c = &g->d.cuda;
  gpu_end_abandoned(g);
  if (!cuda_check(c, c->context_set(g->d.context), "choosing the device", e) || !gpu_send_step(g, s, e)) return false;
  gpu_range_push(g, is_decode(s) ? "decode %d" : "prefill %d", s->num_rows);
  if (observed || !is_decode(s)) return true;
  g->replayed = find(g, s);
  if (g->replayed >= 0) {
    g->recording = RECORD_REPLAY;
    return true;
  }
  if (!cuda_check(c, c->capture_begin(g->d.stream, CU_CAPTURE_THREAD_LOCAL), "capturing the step", e)) return false;
  g->recording = RECORD_CAPTURE;
  return true;
}

static bool keep(struct gpu *g, const struct step *s, struct err *e) {
  const struct cuda *c = &g->d.cuda;
  cu_graph graph = NULL;
  cu_graph_exec exec = NULL;
  bool ended = cuda_check(c, c->capture_end(g->d.stream, &graph), "ending the capture of the step", e);
  if (!ended) g->recording = RECORD_CAPTURE; // to be tried again before anything is freed
  bool ok = ended && cuda_check(c, c->graph_instantiate(&exec, graph, 0), "making the step's graph", e);
  if (graph) c->graph_destroy(graph);
  if (!ok) return false;
  if (g->num_graphs == GPU_GRAPHS) drop(g, 0);
  g->replayed = g->num_graphs++;
  g->graphs[g->replayed] = (struct gpu_graph){exec, s->num_rows, s->num_logits, g->spans};
  return true;
}

static bool replay(struct gpu *g, struct err *e) {
  gpu_range_push(g, "replay");
  bool ok = cuda_check(&g->d.cuda, g->d.cuda.graph_launch(g->graphs[g->replayed].exec, g->d.stream), "replaying the step", e);
  gpu_range_pop(g);
  return ok;
}

bool gpu_end_step(struct backend *b, const struct step *s, struct err *e) {
  struct gpu *g = gpu_of(b);
  enum gpu_recording was = g->recording;
  g->recording = RECORD_OFF;
  bool ok = (was != RECORD_CAPTURE || keep(g, s, e)) && (was == RECORD_OFF || replay(g, e));
  gpu_range_pop(g);
  return ok;
}

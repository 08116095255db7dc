// The passes that are looked at, and what each launch in them is.
#include "driver/profile.h"
#include "runtime/base/mem.h"
#include <string.h>

const char *const profile_op_names[PROFILE_OPS] = {"embed", "attention_in", "attention", "attention_out", "mlp_in", "mlp_out", "logits", "pick"};
const char *const profile_memories[] = {"t4", "t4_eff"};

// The state of a run: launches come in without a word on what they belong to, which the schedule tells after each operation.
struct run {
  struct profile *p;
  struct gpu_device *device;
  struct forward_observer inner; // Ctrl-C
  int step;
  int64_t told; // launches that have their operation
  struct err *e;
};

static struct profile_launch *add(struct profile *p, struct err *e) {
  if (p->count == p->capacity) {
    int64_t more = p->capacity ? 2 * p->capacity : 256;
    struct profile_launch *q = mem_grow(p->launches, (size_t)p->count, (size_t)more, sizeof *q, "the launches", e);
    if (!q) return NULL;
    p->launches = q, p->capacity = more;
  }
  return &p->launches[p->count++];
}

static cu_result before(void *ctx, const struct recorded_launch *l) {
  struct run *r = ctx;
  const struct cuda *c = &r->device->cuda;
  struct profile_launch *to = add(r->p, r->e);
  if (!to) return CU_ERROR_OUT_OF_MEMORY;
  *to = (struct profile_launch){.step = r->step, .times = 1, .launch = *l};
  if (r->p->estimate) return 0;
  cu_result failed = c->event_create(&to->events[0], 0);
  if (!failed) failed = c->event_create(&to->events[1], 0);
  return failed ? failed : c->event_record(to->events[0], r->device->stream);
}

static cu_result after(void *ctx, const struct recorded_launch *l) {
  struct run *r = ctx;
  (void)l;
  return r->p->estimate ? 0 : r->device->cuda.event_record(r->p->launches[r->p->count - 1].events[1], r->device->stream);
}

// Keys that the step's rows see, and pairs of a row and a key.
static struct gpu_extent extent_of(const struct config *c, const struct step *s) {
  struct gpu_extent x = {0};
  for (int32_t i = 0; i < s->num_seqs; i++) {
    int64_t begin = s->seqs[i].position, end = begin + s->seqs[i].num_rows, window = c->sliding_window ? c->sliding_window : end;
    x.keys += end - (begin >= window ? begin - window + 1 : 0);
    for (int64_t at = begin; at < end; at++) x.pairs += at < window ? at + 1 : window;
  }
  return x;
}

static bool attribute(const struct run *r, enum gpu_kernel k, int which, int *v) {
  const struct cuda *c = &r->device->cuda;
  return cuda_check(c, c->function_attribute_get(v, which, r->device->kernels[k]), "asking for a kernel's registers and memory", r->e);
}

static bool read_figures(const struct run *r, struct profile_launch *l) {
  if (!attribute(r, l->launch.kernel, CU_FUNCTION_REGISTERS, &l->registers) || !attribute(r, l->launch.kernel, CU_FUNCTION_LOCAL, &l->local_bytes) ||
      !attribute(r, l->launch.kernel, CU_FUNCTION_SHARED, &l->shared_bytes))
    return false;
  l->shared_bytes += (int)l->launch.shared;
  return true;
}

static bool tell(struct run *r, const struct step *s, int op, int32_t layer) {
  struct profile *p = r->p;
  for (; r->told < p->count; r->told++) {
    struct profile_launch *l = &p->launches[r->told];
    if (l->launch.kernel == KERNEL_COUNT) return err_set(r->e, "a kernel was launched that is not in the registry");
    bool in_layer = op >= OP_ATTENTION_IN && op <= OP_MLP_OUT;
    l->op = op;
    l->layer = in_layer ? layer : 0;
    l->times = in_layer ? p->layers / p->layers_run : 1;
    l->ideal = gpu_registry[l->launch.kernel].cost(l->launch.parameters, extent_of(&p->engine->model.config, s));
    if (!read_figures(r, l)) return false;
  }
  return true;
}

static bool observe(void *ctx, struct backend *b, const struct step *s, enum operation op, int32_t layer, struct err *e) {
  struct run *r = ctx;
  return (!r->inner.after || r->inner.after(r->inner.ctx, b, s, op, layer, e)) && tell(r, s, op, layer);
}

static bool pick(struct run *r, struct forward *f, int32_t *id, struct err *e) {
  struct sampler_options greedy = sampler_greedy();
  return forward_pick(f, &greedy, NULL, id, e) && tell(r, &f->step, PROFILE_PICK, 0);
}

static bool run_steps(struct run *r, struct session *s, const struct ids *prompt, int64_t steps, struct err *e) {
  int32_t id;
  r->step = 0;
  if (!session_feed(s, prompt->data, prompt->count, NULL, e) || !pick(r, s->forward, &id, e)) return false;
  for (r->step = 1; r->step <= steps; r->step++)
    if (!session_feed(s, &id, 1, NULL, e) || !pick(r, s->forward, &id, e)) return false;
  return true;
}

static bool pass(struct run *r, const struct ids *prompt, int64_t steps, struct err *e) {
  struct session s;
  struct forward *f = &r->p->engine->forward;
  session_init(&s, f, true, (int32_t)r->p->options->engine.chunk);
  r->e = e;
  r->inner = f->observer;
  f->observer = (struct forward_observer){.after = observe, .ctx = r};
  bool ok = run_steps(r, &s, prompt, steps, e) && gpu_wait(r->device, "computing the steps", e);
  f->observer = r->inner;
  session_free(&s);
  return ok;
}

// Launches of the virtual GPU lie one behind the other: it has no time of its own.
static bool take_estimates(struct profile *p, const struct vgpu_counting *v, struct err *e) {
  double at = 0;
  if (v->count() != (unsigned long long)p->count)
    return err_set(e, "the virtual GPU counted %llu launches and %lld were made", v->count(), (long long)p->count);
  for (int64_t i = 0; i < p->count; i++) {
    struct profile_launch *l = &p->launches[i];
    if (!(l->counters = vgpu_counting_launch(v, (uint64_t)i, e))) return false;
    const char *name = json_string_value(json_object_get(l->counters, "kernel"));
    if (!name || strcmp(name, gpu_kernel_name(l->launch.kernel)) != 0) return err_set(e, "the virtual GPU's launch %lld is not the one that was made", (long long)i);
    if (!json_object_get(l->counters, "estimate")) return err_set(e, "the virtual GPU made no estimate of %s", name);
    if (i > 0 && l->step != l[-1].step) at = 0;
    l->us = profile_estimate(l, "us");
    l->start_us = at;
    at += l->us * l->times;
  }
  return true;
}

static bool estimate(struct run *r, const struct ids *prompt, struct err *e) {
  struct vgpu_counting v;
  struct profile *p = r->p;
  if (!vgpu_counting_find(&v, r->device, e) || !vgpu_counting_start(&v, profile_memories[p->options->memory], (uint64_t)p->options->blocks, e)) return false;
  bool ok = pass(r, prompt, p->steps, e);
  v.stop();
  return ok && take_estimates(p, &v, e);
}

static bool take_times(struct run *r, struct err *e) {
  const struct cuda *c = &r->device->cuda;
  struct profile *p = r->p;
  cu_event first = NULL;
  for (int64_t i = 0; i < p->count; i++) {
    struct profile_launch *l = &p->launches[i];
    float start = 0, length = 0;
    if (i == 0 || l->step != l[-1].step) first = l->events[0];
    if (!cuda_check(c, c->event_elapsed(&start, first, l->events[0]), "timing a launch", e) ||
        !cuda_check(c, c->event_elapsed(&length, l->events[0], l->events[1]), "timing a launch", e))
      return false;
    l->start_us = 1e3 * (double)start;
    l->us = 1e3 * (double)length;
  }
  return true;
}

static void drop_launches(struct run *r) {
  struct profile *p = r->p;
  for (int64_t i = 0; i < p->count; i++)
    for (int j = 0; j < 2; j++)
      if (p->launches[i].events[j]) r->device->cuda.event_destroy(p->launches[i].events[j]), p->launches[i].events[j] = NULL;
}

// The first pass lets the clocks rise and the driver load what it puts off; the second one is timed.
static bool measure(struct run *r, const struct ids *prompt, struct err *e) {
  if (!pass(r, prompt, r->p->steps, e)) return false;
  drop_launches(r);
  r->p->count = r->told = 0;
  return pass(r, prompt, r->p->steps, e) && take_times(r, e);
}

bool profile_run(struct profile *p, const struct ids *prompt, struct err *e) {
  struct run r = {.p = p, .device = &gpu_of(p->engine->forward.backend)->d};
  struct recorder recorder = {r.device, before, after, &r};
  recorder_start(&recorder);
  bool ok = p->estimate ? estimate(&r, prompt, e) : measure(&r, prompt, e);
  recorder_stop(&recorder);
  drop_launches(&r);
  return ok;
}

void profile_free(struct profile *p) {
  for (int64_t i = 0; i < p->count; i++) json_decref(p->launches[i].counters);
  mem_free(p->launches);
  *p = (struct profile){0};
}

#include "runtime/vgpu/profile.h"
#include "runtime/vgpu/mem.h"
#include "runtime/vgpu/profile_json.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_BYTES ((size_t)1 << 30)
#define TRACE_INSTRUCTIONS UINT64_C(64000000) // of warps: half a minute or so of replay

struct vgpu_profile {
  char *path;
  const struct t4_table *tables[PROFILE_TABLES]; // the memory configurations estimated for
  size_t num_tables;
  uint64_t sample;
  pthread_mutex_t lock;
  struct profile_record *records;
  size_t num, cap;
};

struct vgpu_profile_launch {
  struct vgpu_profile *p;
  struct vgpu_launch_facts facts;
  struct vgpu_counters *counters;
  bool traced;
};

// Of names with spaces between them; false: a name that is unknown, or too many.
static bool find_tables(struct vgpu_profile *p, const char *configs) {
  for (const char *at = configs + strspn(configs, " "); *at; at += strspn(at, " ")) {
    char name[32] = "";
    size_t n = strcspn(at, " ");
    if (n >= sizeof name || p->num_tables == PROFILE_TABLES) return false;
    memcpy(name, at, n);
    if (!(p->tables[p->num_tables++] = t4_table_named(name))) return false;
    at += n;
  }
  return p->num_tables > 0;
}

struct vgpu_profile *vgpu_profile_open_with(const char *path, const char *configs, uint64_t sample) {
  struct vgpu_profile *p = calloc(1, sizeof *p);
  if (!p || !find_tables(p, configs ? configs : "t4")) return free(p), NULL;
  p->sample = sample;
  if (path) p->path = strdup(path);
  pthread_mutex_init(&p->lock, NULL);
  if (path && !p->path) {
    vgpu_profile_close(p);
    return NULL;
  }
  return p;
}

struct vgpu_profile *vgpu_profile_open(const char **error) {
  const char *path = getenv("VGPU_PROFILE"), *config = getenv("VGPU_T4"), *sample = getenv("VGPU_SAMPLE");
  if (!path || !*path) return NULL;
  uint64_t n = 0;
  if (config && *config && !t4_table_named(config)) *error = "VGPU_T4 is neither t4 nor t4_eff; t4 is used.";
  if (sample && *sample) {
    char *end;
    errno = 0;
    n = strtoull(sample, &end, 10);
    if (errno || *end || *sample == '-') *error = "VGPU_SAMPLE is not a number of blocks; it is ignored.", n = 0;
  }
  return vgpu_profile_open_with(path, config && t4_table_named(config) ? config : NULL, n);
}

bool vgpu_profile_close(struct vgpu_profile *p) {
  if (!p) return true;
  bool ok = !p->path || vgpu_profile_write(p->path, p->tables[0]->name, p->records, p->num);
  for (size_t i = 0; i < p->num; i++) free(p->records[i].kernel);
  free(p->records);
  free(p->path);
  pthread_mutex_destroy(&p->lock);
  free(p);
  return ok;
}

static bool same_shape(const struct profile_record *r, const struct vgpu_launch_facts *f) {
  return !strcmp(r->kernel, f->kernel) && !memcmp(r->grid, f->grid, sizeof r->grid) &&
         !memcmp(r->block, f->block, sizeof r->block) && r->dynamic_shared == f->dynamic_shared &&
         r->registers == f->registers;
}

// The last launch of the same shape that was replayed, if nothing since has shown that its counts no longer hold.
static const struct profile_record *known(const struct vgpu_profile *p, const struct vgpu_launch_facts *f) {
  for (size_t i = p->num; i-- > 0;) {
    const struct profile_record *r = &p->records[i];
    if (same_shape(r, f)) return r->has_estimate && !r->scaled ? r : NULL;
  }
  return NULL;
}

// The lowest device allocation: they come in order of address.
static void lowest(const struct vg_alloc *a, void *arg) {
  uint64_t *base = arg;
  if (!*base && a->kind == VG_MEM_DEVICE) *base = a->base & ~UINT64_C(255);
}

struct vgpu_profile_launch *vgpu_profile_begin(struct vgpu_profile *p, const struct vgpu_launch_facts *facts) {
  struct vgpu_profile_launch *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  l->p = p;
  l->facts = *facts;
  uint64_t blocks = (uint64_t)facts->grid[0] * facts->grid[1] * facts->grid[2];
  struct t4_occupancy o = t4_occupancy_of(p->tables[0], facts->block[0] * facts->block[1] * facts->block[2], facts->registers,
                                          facts->static_shared + facts->dynamic_shared);
  struct vgpu_sample sample = {TRACE_BYTES, TRACE_INSTRUCTIONS, p->sample, (uint64_t)o.blocks * p->tables[0]->num_sms};
  pthread_mutex_lock(&p->lock);
  l->traced = !known(p, facts);
  pthread_mutex_unlock(&p->lock);
  uint64_t origin = 0;
  vg_mem_each(lowest, &origin);
  l->counters = vgpu_counters_open(facts->code, facts->func, blocks, l->traced ? &sample : NULL, origin);
  if (l->counters) return l;
  free(l);
  return NULL;
}

const struct vgpu_observer *vgpu_profile_observer(struct vgpu_profile_launch *l) {
  return vgpu_counters_observer(l->counters);
}

// Within one per cent: the same work for all that an estimate can tell.
static bool close_to(uint64_t a, uint64_t b) { return a * 100 <= b * 101 && b * 100 <= a * 101; }

static bool same_counts(const struct vgpu_counts *a, const struct vgpu_counts *b) {
  return close_to(a->warp_instructions, b->warp_instructions) &&
         close_to(a->global_sectors[0] + a->global_sectors[1] + a->atomic_transactions,
                  b->global_sectors[0] + b->global_sectors[1] + b->atomic_transactions) &&
         close_to(a->shared_wavefronts[0] + a->shared_wavefronts[1], b->shared_wavefronts[0] + b->shared_wavefronts[1]);
}

static void scale(struct t4_estimate *e, double by) {
  e->cycles *= by, e->us *= by;
  e->dram_read *= by, e->dram_write *= by;
  e->l1_accesses *= by, e->l1_misses *= by, e->l2_accesses *= by, e->l2_misses *= by;
  for (int i = 0; i < T4_NUM_LIMITS; i++) e->limit_us[i] *= by;
}

// One configuration's replay of a launch.
struct replay {
  const struct t4_table *table;
  const struct t4_launch *launch;
  struct t4_estimate *estimate;
  bool ok;
};

static void *run_replay(void *arg) {
  struct replay *r = arg;
  r->ok = t4_estimate_launch(r->table, r->launch, r->estimate);
  return NULL;
}

// A replay is one thread's work: several configurations are replayed side by side.
static bool replay_all(const struct vgpu_profile *p, const struct t4_launch *launch, struct t4_estimate *estimates) {
  struct replay replays[PROFILE_TABLES];
  pthread_t threads[PROFILE_TABLES];
  bool started[PROFILE_TABLES] = {false}, ok = true;
  for (size_t i = p->num_tables; i-- > 0;) {
    replays[i] = (struct replay){p->tables[i], launch, &estimates[i], false};
    started[i] = i > 0 && pthread_create(&threads[i], NULL, run_replay, &replays[i]) == 0;
    if (!started[i]) run_replay(&replays[i]);
  }
  for (size_t i = 0; i < p->num_tables; i++) {
    if (started[i]) pthread_join(threads[i], NULL);
    ok = ok && replays[i].ok;
  }
  return ok;
}

// Blocks do not all do the same (a causal mask): what was not replayed is taken by its instructions, not by its blocks.
static double work_beyond_sample(const struct t4_trace *trace, const struct vgpu_counts *counts) {
  uint64_t replayed = 0, instructions = 0;
  while (replayed < trace->num_traced && trace->blocks[replayed].warps) instructions += t4_trace_instructions(&trace->blocks[replayed++]);
  if (replayed == trace->num_blocks || !instructions) return 1;
  return (double)counts->warp_instructions / ((double)instructions / (double)replayed * (double)trace->num_blocks);
}

static void estimate(struct vgpu_profile_launch *l, struct profile_record *r) {
  const struct vgpu_launch_facts *f = &l->facts;
  const struct t4_trace *trace = vgpu_counters_trace(l->counters);
  struct t4_launch launch = {vgpu_counters_code(l->counters), trace, f->block[0] * f->block[1] * f->block[2], f->registers,
                             f->static_shared + f->dynamic_shared, 0};
  if (r->counts.warp_instructions)
    launch.lanes = (double)r->counts.lane_instructions / 32 / (double)r->counts.warp_instructions;
  r->has_estimate = trace && replay_all(l->p, &launch, r->estimates);
  for (size_t i = 0; i < l->p->num_tables && r->has_estimate; i++) scale(&r->estimates[i], work_beyond_sample(trace, &r->counts));
}

// Takes over the estimate of a launch of the same shape, brought to this one's instructions when its counts are others.
static void take_over(const struct profile_record *from, struct profile_record *r) {
  r->has_estimate = true;
  r->reused = true;
  memcpy(r->estimates, from->estimates, sizeof r->estimates);
  r->scaled = !same_counts(&from->counts, &r->counts);
  for (int i = 0; i < PROFILE_TABLES && r->scaled && from->counts.warp_instructions; i++)
    scale(&r->estimates[i], (double)r->counts.warp_instructions / (double)from->counts.warp_instructions);
}

static bool add_record(struct vgpu_profile *p, const struct profile_record *r) {
  if (p->num == p->cap) {
    size_t cap = p->cap ? p->cap * 2 : 64;
    struct profile_record *q = realloc(p->records, cap * sizeof *q);
    if (!q) return false;
    p->records = q, p->cap = cap;
  }
  p->records[p->num++] = *r;
  return true;
}

void vgpu_profile_end(struct vgpu_profile_launch *l, bool ok) {
  struct vgpu_profile *p = l->p;
  const struct vgpu_launch_facts *f = &l->facts;
  struct profile_record r = {.registers = f->registers, .static_shared = f->static_shared,
                             .dynamic_shared = f->dynamic_shared, .local_bytes = f->local_bytes};
  memcpy(r.grid, f->grid, sizeof r.grid);
  memcpy(r.block, f->block, sizeof r.block);
  r.counts = *vgpu_counters_get(l->counters);
  if (ok && l->traced) estimate(l, &r);
  pthread_mutex_lock(&p->lock);
  const struct profile_record *from = ok && !l->traced ? known(p, f) : NULL;
  if (from) take_over(from, &r);
  if (ok && (r.kernel = strdup(f->kernel)) && !add_record(p, &r)) free(r.kernel);
  pthread_mutex_unlock(&p->lock);
  vgpu_counters_close(l->counters);
  free(l);
}

size_t vgpu_profile_count(const struct vgpu_profile *p) { return p->num; }
const struct vgpu_counts *vgpu_profile_counts(const struct vgpu_profile *p, size_t i) { return &p->records[i].counts; }
const struct t4_estimate *vgpu_profile_estimate(const struct vgpu_profile *p, size_t i) {
  return p->records[i].has_estimate ? &p->records[i].estimates[0] : NULL;
}

void vgpu_profile_put(FILE *f, const struct vgpu_profile *p, size_t i) {
  vgpu_profile_put_launch(f, &p->records[i], p->tables, p->num_tables);
}

// Findings: where they are kept, how they are said. See check.h.
#include "runtime/vgpu/check.h"
#include "runtime/vgpu/race.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FINDINGS 1000 // places; what comes after is only counted

struct finding {
  enum vg_finding_kind kind;
  const void *module; // with pc: the place
  uint32_t pc;
  uint64_t count;
  char *text;
};

static struct {
  pthread_mutex_t lock;
  pthread_once_t once;
  int mode;
  FILE *log;
  struct finding list[MAX_FINDINGS];
  unsigned num;
  uint64_t lost;
} g = {.lock = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT};

struct kind {
  const char *name;
  int error; // the CUresult of a real device, 0: it would not notice
};

static const struct kind kinds[VG_NUM_KINDS] = {
    [VG_OUT_OF_BOUNDS] = {"access out of bounds", 700},
    [VG_USE_AFTER_FREE] = {"access to freed memory", 700},
    [VG_MISALIGNED] = {"misaligned access", 716},
    [VG_WRITE_CONST] = {"store to constant memory", 700},
    [VG_UNINIT_GLOBAL] = {"read of unwritten global memory", 0},
    [VG_UNINIT_SHARED] = {"read of unwritten shared memory", 0},
    [VG_RACE_SHARED] = {"shared-memory race", 0},
    [VG_RACE_GLOBAL] = {"global-memory race between blocks", 0},
    [VG_BARRIER] = {"barrier not reached by all", 702},
    [VG_MISSING_LANE] = {"missing lane", 0},
    [VG_LAUNCH_LIMIT] = {"launch over the device's limits", 0},
    [VG_ASSERT] = {"assertion failed", 710},
    [VG_TRAP] = {"trap", 719},
    [VG_ILLEGAL] = {"illegal instruction", 715},
    [VG_BAD_CALL] = {"call or branch to no function", 718},
    [VG_STACK] = {"stack exhausted", 719},
    [VG_LEAK] = {"memory leak", 0},
    [VG_BAD_HOST_CALL] = {"wrong call", 0},
};

static void setup(void) {
  const char *c = getenv("VGPU_CHECK"), *log = getenv("VGPU_LOG");
  g.mode = !c || !*c ? 1 : !strcmp(c, "off") || !strcmp(c, "0") ? 0 : !strcmp(c, "strict") ? 2 : 1;
  g.log = log && *log ? fopen(log, "a") : NULL;
  if (!g.log) g.log = stderr;
}

int vg_check_mode(void) {
  pthread_once(&g.once, setup);
  return g.mode;
}

static void say(const char *text) {
  pthread_once(&g.once, setup);
  fprintf(g.log, "vgpu: %s\n", text);
  fflush(g.log);
}

// Counts a finding; true when its place is new and the caller shall add the text. Holds the lock then.
static bool place_is_new(enum vg_finding_kind kind, const void *module, uint32_t pc) {
  pthread_mutex_lock(&g.lock);
  for (unsigned i = 0; module && i < g.num; i++) {
    struct finding *f = &g.list[i];
    if (f->kind != kind || f->module != module || f->pc != pc) continue;
    f->count++;
    pthread_mutex_unlock(&g.lock);
    return false;
  }
  if (g.num < MAX_FINDINGS) return true;
  g.lost++;
  pthread_mutex_unlock(&g.lock);
  return false;
}

// Adds to the list and gives the lock back.
static void add(enum vg_finding_kind kind, const void *module, uint32_t pc, const char *text) {
  char *copy = strdup(text);
  if (copy) g.list[g.num++] = (struct finding){.kind = kind, .module = module, .pc = pc, .count = 1, .text = copy};
  pthread_mutex_unlock(&g.lock);
  say(text);
}

static size_t put(char *out, size_t cap, size_t at, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static size_t put(char *out, size_t cap, size_t at, const char *fmt, ...) {
  if (at >= cap) return at;
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(out + at, cap - at, fmt, ap);
  va_end(ap);
  return n < 0 ? at : at + (size_t)n < cap ? at + (size_t)n : cap - 1;
}

static size_t put_place(char *out, size_t cap, struct vg_worker *w, unsigned warp, unsigned lane, uint32_t pc) {
  const struct vg_launch *l = w->launch;
  struct vg_where where = {0};
  if (l->locate) l->locate(l->module, pc, &where);
  size_t n = put(out, cap, 0, "kernel %s, block (%u,%u,%u), ", l->kernel ? l->kernel : "?", w->block_idx[0], w->block_idx[1], w->block_idx[2]);
  uint32_t t = warp * VG_LANES + (lane < VG_LANES ? lane : 0), bx = l->block[0], by = l->block[1];
  const char *head = lane < VG_LANES ? "thread" : "warp of thread";
  n = put(out, cap, n, "%s (%u,%u,%u)", head, bx ? t % bx : t, bx && by ? t / bx % by : 0, bx && by ? t / bx / by : 0);
  if (where.kernel && l->kernel && strcmp(where.kernel, l->kernel)) n = put(out, cap, n, ", in %s", where.kernel);
  if (where.file && where.line) n = put(out, cap, n, ", %s:%u", where.file, where.line);
  if (where.ptx_line) n = put(out, cap, n, ", PTX line %u", where.ptx_line);
  if (where.ptx_text) n = put(out, cap, n, " `%.120s`", where.ptx_text);
  return n;
}

static int error_of(enum vg_finding_kind kind) {
  int e = kinds[kind].error;
  return e ? e : vg_check_mode() == 2 ? 719 : 0;
}

static bool stop_with(struct vg_launch *l, int error) {
  int none = 0;
  if (error) atomic_compare_exchange_strong(&l->error, &none, error);
  return !error;
}

// error: what the launch ends with; -1: as the kind says.
static bool report_v(struct vg_worker *w, unsigned warp, unsigned lane, uint32_t pc, enum vg_finding_kind kind, int error,
                     const char *fmt, va_list ap) {
  if (error < 0) error = error_of(kind);
  if (place_is_new(kind, w->launch->module ? w->launch->module : w->launch, pc)) {
    char text[1024];
    size_t n = put(text, sizeof text, 0, "%s: ", kinds[kind].name);
    n += put_place(text + n, sizeof text - n, w, warp, lane, pc);
    n = put(text, sizeof text, n, ": ");
    vsnprintf(text + n, sizeof text - n, fmt, ap);
    add(kind, w->launch->module ? w->launch->module : w->launch, pc, text);
  }
  return stop_with(w->launch, error);
}

bool vg_report(struct vg_worker *w, unsigned warp, unsigned lane, uint32_t pc, enum vg_finding_kind kind, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  bool go_on = report_v(w, warp, lane, pc, kind, -1, fmt, ap);
  va_end(ap);
  return go_on;
}

bool vg_report_error(struct vg_worker *w, unsigned warp, unsigned lane, uint32_t pc, enum vg_finding_kind kind, int error,
                     const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  bool go_on = report_v(w, warp, lane, pc, kind, error, fmt, ap);
  va_end(ap);
  return go_on;
}

void vg_report_host(enum vg_finding_kind kind, const char *fmt, ...) {
  char text[1024];
  if (!place_is_new(kind, NULL, 0)) return;
  size_t n = put(text, sizeof text, 0, "%s: ", kinds[kind].name);
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text + n, sizeof text - n, fmt, ap);
  va_end(ap);
  add(kind, NULL, 0, text);
}

void vg_forget_module(const void *module) {
  pthread_mutex_lock(&g.lock);
  for (unsigned i = 0; i < g.num; i++)
    if (g.list[i].module == module) g.list[i].module = &g; // its address may be used again
  pthread_mutex_unlock(&g.lock);
}

void vg_report_summary(void) {
  pthread_mutex_lock(&g.lock);
  unsigned num = g.num;
  uint64_t times = g.lost;
  for (unsigned i = 0; i < num; i++) times += g.list[i].count;
  for (unsigned i = 0; i < num; i++)
    if (g.list[i].count > 1) fprintf(g.log, "vgpu: %llu times: %s\n", (unsigned long long)g.list[i].count, g.list[i].text);
  if (num) fprintf(g.log, "vgpu: %u findings (%llu occurrences)\n", num, (unsigned long long)times);
  if (num) fflush(g.log);
  pthread_mutex_unlock(&g.lock);
}

unsigned vgpuFindings(int kind) {
  pthread_mutex_lock(&g.lock);
  unsigned n = 0;
  for (unsigned i = 0; i < g.num; i++) n += kind < 0 || g.list[i].kind == (enum vg_finding_kind)kind;
  pthread_mutex_unlock(&g.lock);
  return n;
}

const char *vgpuFindingText(unsigned i) {
  pthread_mutex_lock(&g.lock);
  const char *t = i < g.num ? g.list[i].text : NULL;
  pthread_mutex_unlock(&g.lock);
  return t;
}

int vgpuFindingKind(unsigned i) {
  pthread_mutex_lock(&g.lock);
  int k = i < g.num ? (int)g.list[i].kind : -1;
  pthread_mutex_unlock(&g.lock);
  return k;
}

unsigned long long vgpuFindingCount(unsigned i) {
  pthread_mutex_lock(&g.lock);
  unsigned long long n = i < g.num ? g.list[i].count : 0;
  pthread_mutex_unlock(&g.lock);
  return n;
}

void vgpuFindingsReset(void) {
  pthread_mutex_lock(&g.lock);
  for (unsigned i = 0; i < g.num; i++) free(g.list[i].text);
  g.num = 0;
  g.lost = 0;
  pthread_mutex_unlock(&g.lock);
}

const char *vgpuFindingKindName(int kind) { return kind >= 0 && kind < VG_NUM_KINDS ? kinds[kind].name : NULL; }

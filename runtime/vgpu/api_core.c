// Handles, the lock, injected failures, initialisation, error texts.
#include "runtime/vgpu/api.h"
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DRIVER_VERSION 13000
#define MAX_FAILS 16

struct slot {
  enum vg_object_kind kind;
  uint64_t generation;
  void *object;
};

struct fail { // one item of VGPU_FAIL
  char name[64]; // "all" or a function's name with or without its version
  uint64_t at, seen;
  int error; // 0: as the function's kind suggests
};

static struct {
  pthread_mutex_t lock;
  pthread_once_t once;
  bool initialized;
  struct slot *slots;
  size_t num_slots, next_free;
  uint64_t ids;
  struct fail fails[MAX_FAILS];
  int num_fails;
  bool bad_fails; // what was asked for could not be read
  CUresult lost; // an injected loss of the device
  const char *failed; // the function that last failed on demand
  void (*on_call)(const char *name); // told of each call
} g = {.once = PTHREAD_ONCE_INIT};

static _Thread_local int depth;       // of API calls on this thread
static _Thread_local bool in_callback;

// ---- handles: generation << 28 | slot << 4 | kind ----

void *vg_handle_new(enum vg_object_kind kind, void *object) {
  size_t i = g.next_free;
  while (i < g.num_slots && g.slots[i].kind) i++;
  if (i == g.num_slots) {
    size_t n = g.num_slots ? g.num_slots * 2 : 256;
    if (n > (size_t)1 << 24) return NULL;
    struct slot *s = realloc(g.slots, n * sizeof *s);
    if (!s) return NULL;
    memset(s + g.num_slots, 0, (n - g.num_slots) * sizeof *s);
    g.slots = s, g.num_slots = n;
  }
  g.next_free = i + 1;
  g.slots[i].kind = kind, g.slots[i].object = object;
  g.slots[i].generation++;
  return (void *)(uintptr_t)(g.slots[i].generation << 28 | (uint64_t)i << 4 | kind);
}

static struct slot *slot_of(const void *handle) {
  uint64_t h = (uint64_t)(uintptr_t)handle, i = h >> 4 & 0xffffff;
  if (i >= g.num_slots) return NULL;
  struct slot *s = &g.slots[i];
  return s->kind && s->kind == (h & 15) && s->generation == h >> 28 ? s : NULL;
}

void *vg_handle_get(const void *handle, enum vg_object_kind kind) {
  struct slot *s = slot_of(handle);
  return s && s->kind == kind ? s->object : NULL;
}

void vg_handle_drop(const void *handle) {
  struct slot *s = slot_of(handle);
  if (!s) return;
  s->kind = VG_NONE, s->object = NULL;
  size_t i = (size_t)(s - g.slots);
  if (i < g.next_free) g.next_free = i;
}

void vg_handle_each(enum vg_object_kind kind, bool (*f)(void *object, void *arg), void *arg) {
  for (size_t i = 0; i < g.num_slots; i++)
    if (g.slots[i].kind == kind && !f(g.slots[i].object, arg)) return;
}

// ---- injected failures ----

// A whole number from 1 to `most` and nothing else.
static bool read_count(const char *text, uint64_t most, uint64_t *count) {
  char *end;
  errno = 0;
  *count = strtoull(text, &end, 10);
  return isdigit((unsigned char)*text) && !*end && !errno && *count >= 1 && *count <= most;
}

static bool read_what(const char *what, int *error) {
  static const struct {
    const char *name;
    int error;
  } words[] = {{"oom", CUDA_ERROR_OUT_OF_MEMORY}, {"launch", CUDA_ERROR_LAUNCH_FAILED}, {"lost", CUDA_ERROR_UNKNOWN}};
  uint64_t number;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (!strcmp(what, words[i].name)) return *error = words[i].error, true;
  if (!read_count(what, CUDA_ERROR_UNKNOWN, &number)) return false;
  *error = (int)number;
  return true;
}

// "cuMemAlloc:3", "all:17:lost", "cuLaunchKernel:1:719". Overwrites the text. NULL, or what is wrong with it.
static const char *read_fail(char *text, struct fail *f) {
  char *colon = strchr(text, ':'), *what = colon ? strchr(colon + 1, ':') : NULL;
  *f = (struct fail){0};
  if (!colon) return "a colon and the number of the call are missing";
  *colon = 0;
  if (what) *what++ = 0;
  if (strlen(text) >= sizeof f->name || (strcmp(text, "all") && !vg_name_known(text))) return "the driver API has no such function";
  strcpy(f->name, text);
  if (!read_count(colon + 1, UINT64_MAX, &f->at)) return "the number of the call is none; calls count from 1";
  return !what || read_what(what, &f->error) ? NULL : "it can fail with oom, launch, lost or an error's number up to 999";
}

static const char *add_fail(const char *item, size_t len) {
  char text[128];
  if (len >= sizeof text) return "it is too long";
  if (g.num_fails == MAX_FAILS) return "there are too many";
  memcpy(text, item, len);
  text[len] = 0;
  const char *wrong = read_fail(text, &g.fails[g.num_fails]);
  g.num_fails += !wrong;
  return wrong;
}

// With a word that is wrong nothing fails on demand, but cuInit, so that nobody takes silence for a test that was passed.
static void set_fails(const char *spec) {
  const char *wrong = NULL;
  g.num_fails = 0;
  g.lost = CUDA_SUCCESS;
  g.failed = NULL;
  while (spec && *spec && !wrong) {
    size_t n = strcspn(spec, ",");
    wrong = add_fail(spec, n);
    if (wrong) vg_report_host(VG_BAD_HOST_CALL, "VGPU_FAIL: '%.*s': %s; write function:call or function:call:what", n < 100 ? (int)n : 100, spec, wrong);
    spec += n + (spec[n] == ',');
  }
  g.bad_fails = wrong != NULL;
  if (wrong) g.num_fails = 0;
}

static bool same_function(const char *asked, const char *name) {
  size_t n = strlen(asked);
  if (!strcmp(asked, "all")) return true;
  if (strncmp(asked, name, n)) return false;
  return !name[n] || (name[n] == '_' && name[n + 1] == 'v' && isdigit((unsigned char)name[n + 2]));
}

// What a call of this kind most plausibly fails with.
static CUresult usual_failure(const char *name) {
  static const char *const memory[] = {"cuMemAlloc", "cuMemHostAlloc", "cuMemHostRegister", "cuModuleLoad", "cuLibraryLoad", "cuStreamCreate",
                                       "cuEventCreate", "cuGraphCreate", "cuGraphInstantiate", "cuGraphAdd", "cuCtxCreate",
                                       "cuDevicePrimaryCtxRetain", "cuStreamEndCapture", "cuStreamBeginCapture", "cuLink"};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
    if (!strncmp(name, memory[i], strlen(memory[i]))) return CUDA_ERROR_OUT_OF_MEMORY;
  if (!strncmp(name, "cuLaunch", 8) || !strncmp(name, "cuGraphLaunch", 13)) return CUDA_ERROR_LAUNCH_FAILED;
  return CUDA_ERROR_UNKNOWN; // a lost device
}

static CUresult injected(const char *name) {
  if (g.lost) return g.lost;
  for (int i = 0; i < g.num_fails; i++) {
    struct fail *f = &g.fails[i];
    if (!same_function(f->name, name) || ++f->seen != f->at) continue;
    CUresult r = f->error ? (CUresult)f->error : usual_failure(name);
    if (r == CUDA_ERROR_UNKNOWN) g.lost = r;
    g.failed = name;
    return r;
  }
  return CUDA_SUCCESS;
}

VG_API void vgpuFail(const char *spec) {
  struct vg_call c __attribute__((cleanup(vg_leave), unused)) = vg_enter(NULL, VG_NOTHING);
  set_fails(spec);
}

VG_API const char *vgpuFailed(void) {
  struct vg_call c __attribute__((cleanup(vg_leave), unused)) = vg_enter(NULL, VG_NOTHING);
  return g.failed;
}

VG_API void vgpuOnCall(void (*on_call)(const char *name)) {
  struct vg_call c __attribute__((cleanup(vg_leave), unused)) = vg_enter(NULL, VG_NOTHING);
  g.on_call = on_call;
}

// ---- calls ----

static void setup(void) {
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&g.lock, &a);
  pthread_mutexattr_destroy(&a);
  set_fails(getenv("VGPU_FAIL"));
}

static CUresult check_needs(const char *name, int needs, struct vg_context **ctx) {
  if (in_callback && needs) return CUDA_ERROR_NOT_PERMITTED;
  if (needs && !g.initialized) return CUDA_ERROR_NOT_INITIALIZED;
  CUresult r = name ? injected(name) : CUDA_SUCCESS;
  struct vg_context *c = vg_current();
  *ctx = c;
  if (r) {
    if (c && r >= 700 && r < 720) c->sticky = r;
    return r;
  }
  if (!(needs & (VG_CTX | VG_CTX_ANY))) return CUDA_SUCCESS;
  if (!c) return CUDA_ERROR_INVALID_CONTEXT;
  if (!c->active) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if ((needs & VG_CTX) && c->sticky) return c->sticky;
  return needs & VG_UNSAFE ? vg_capture_unsafe() : CUDA_SUCCESS;
}

struct vg_call vg_enter(const char *name, int needs) {
  pthread_once(&g.once, setup);
  if (name && g.on_call && !depth) g.on_call(name); // without the lock, whose owner a fork would leave behind
  pthread_mutex_lock(&g.lock);
  depth++;
  struct vg_call c = {.locked = true};
  c.result = check_needs(name, needs, &c.ctx);
  return c;
}

void vg_leave(struct vg_call *c) {
  if (!c->locked) return;
  depth--;
  pthread_mutex_unlock(&g.lock);
}

struct user_call {
  void (*f)(void *);
  void *arg;
};

static int open_lock(void) {
  int n = depth;
  for (depth = 0; depth < n; depth++) pthread_mutex_unlock(&g.lock);
  in_callback = true;
  return n;
}

static void close_lock(int n) {
  in_callback = false;
  for (int i = 0; i < n; i++) pthread_mutex_lock(&g.lock);
  depth = n;
}

void vg_call_user(void (*f)(void *), void *arg) {
  int n = open_lock();
  f(arg);
  close_lock(n);
}

void vg_call_user_stream(CUstreamCallback f, CUstream s, CUresult r, void *arg) {
  int n = open_lock();
  f(s, r, arg);
  close_lock(n);
}

double vg_now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

unsigned long vg_thread_id(void) { return (unsigned long)pthread_self(); }
uint64_t vg_next_id(void) { return ++g.ids; }
bool vg_initialized(void) { return g.initialized; }

// ---- the functions ----

VG_API CUresult cuInit(unsigned int Flags) {
  API(VG_NOTHING);
  if (Flags || g.bad_fails) return CUDA_ERROR_INVALID_VALUE;
  if (!vg_mem_open(vg_check_mode() != 0)) return CUDA_ERROR_OUT_OF_MEMORY;
  g.initialized = true;
  return CUDA_SUCCESS;
}

VG_API CUresult cuDriverGetVersion(int *driverVersion) {
  API(VG_NOTHING);
  if (!driverVersion) return CUDA_ERROR_INVALID_VALUE;
  *driverVersion = DRIVER_VERSION;
  return CUDA_SUCCESS;
}

#undef X
static const struct {
  int code;
  const char *name, *text;
} errors[] = {
#define X(name, code, text) {code, #name, text},
#include "runtime/vgpu/cuerrors.inc"
#undef X
};

VG_API CUresult cuGetErrorName(CUresult error, const char **pStr) {
  if (!pStr) return CUDA_ERROR_INVALID_VALUE;
  *pStr = NULL;
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
    if (errors[i].code == (int)error) *pStr = errors[i].name;
  return *pStr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

VG_API CUresult cuGetErrorString(CUresult error, const char **pStr) {
  if (!pStr) return CUDA_ERROR_INVALID_VALUE;
  *pStr = NULL;
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
    if (errors[i].code == (int)error) *pStr = errors[i].text;
  return *pStr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

VG_API CUresult cuProfilerStart(void) {
  API(VG_CTX);
  return CUDA_SUCCESS;
}

VG_API CUresult cuProfilerStop(void) {
  API(VG_CTX);
  return CUDA_SUCCESS;
}

__attribute__((destructor)) static void at_exit(void) {
  if (!g.initialized) return;
  vg_print_flush();
  vg_report_leaks();
  vg_launch_shutdown();
  vg_report_summary();
}

// The address space and its table of allocations. See mem.h.
#include "runtime/vgpu/mem.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE           UINT64_C(4096)  // granule of placement; not the host's page
#define FREED_RECORDS  1024            // freed allocations remembered for messages
#define POISON_LIMIT   (UINT64_C(16) << 20) // larger allocations are left as they come: filling them would cost real memory
#define RESERVED_BYTES (UINT64_C(110) << 20) // what a context itself takes on a T4, so that "free" is less than "total"

struct freed {
  uint64_t base, size, serial;
  char name[64];
};

// One per process, as the device is. Guarded by `lock` but for what mem.h calls atomic.
static struct {
  pthread_rwlock_t lock;
  bool open, checks;
  uint64_t bytes;            // length of the address range
  uint64_t device;           // its first address
  uint8_t *backing;          // host memory behind it
  uint8_t *written;          // bytes / 8
  uint8_t *cells;            // bytes * 2
  struct vg_alloc **table;   // sorted by base
  size_t count, cap;
  uint64_t cursor;           // where the next allocation is tried, as an offset in the range
  uint64_t used, serial;
  struct vg_alloc *grave;    // freed ones that a kernel may still look at, chained by `pool`
  struct freed freed[FREED_RECORDS];
  size_t num_freed;
} g = {.lock = PTHREAD_RWLOCK_INITIALIZER};

atomic_uint_fast64_t vg_mem_generation;

static uint64_t round_up(uint64_t v, uint64_t to) { return (v + to - 1) / to * to; }

static uint8_t *reserve(uint64_t bytes, int prot) {
  void *p = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return NULL;
  madvise(p, bytes, MADV_DONTDUMP);
  return p;
}

static void unreserve(void *p, uint64_t bytes) {
  if (p) munmap(p, bytes);
}

static bool open_range(uint64_t bytes, bool checks) {
  uint8_t *dev = reserve(bytes, PROT_NONE), *back = reserve(bytes, PROT_READ | PROT_WRITE);
  uint8_t *written = checks ? reserve(bytes / 8, PROT_READ | PROT_WRITE) : NULL;
  uint8_t *cells = checks ? reserve(bytes * 2, PROT_READ | PROT_WRITE) : NULL;
  if (!dev || !back || (checks && (!written || !cells))) {
    unreserve(dev, bytes), unreserve(back, bytes), unreserve(written, bytes / 8), unreserve(cells, bytes * 2);
    return false;
  }
  g.bytes = bytes, g.device = (uint64_t)(uintptr_t)dev, g.backing = back, g.written = written, g.cells = cells;
  g.checks = checks;
  return true;
}

bool vg_mem_open(bool checks) {
  pthread_rwlock_wrlock(&g.lock);
  // The larger the range, the longer freed addresses stay unused; where address space is rationed a smaller one must do.
  for (uint64_t bytes = UINT64_C(128) << 30; !g.open && bytes >= UINT64_C(1) << 30; bytes /= 2)
    g.open = open_range(bytes, checks);
  bool ok = g.open;
  pthread_rwlock_unlock(&g.lock);
  return ok;
}

// Index of the first allocation that starts above addr.
static size_t upper(uint64_t addr) {
  size_t lo = 0, hi = g.count;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    if (g.table[mid]->base <= addr) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

static struct vg_alloc *find_locked(uint64_t addr) {
  size_t i = upper(addr);
  if (!i || addr - g.table[i - 1]->base >= g.table[i - 1]->size) return NULL;
  return g.table[i - 1];
}

static bool insert(struct vg_alloc *a) {
  if (g.count == g.cap) {
    size_t cap = g.cap ? g.cap * 2 : 64;
    struct vg_alloc **t = realloc(g.table, cap * sizeof *t);
    if (!t) return false;
    g.table = t, g.cap = cap;
  }
  size_t i = upper(a->base);
  memmove(g.table + i + 1, g.table + i, (g.count - i) * sizeof *g.table);
  g.table[i] = a;
  g.count++;
  return true;
}

// Next fit: the first offset at or after `from` where size bytes and a red zone on both sides fit. false: none up to the end.
static bool place_from(uint64_t from, uint64_t size, uint64_t align, uint64_t *out) {
  uint64_t span = round_up(size, PAGE) + PAGE; // the red zone after it
  uint64_t at = round_up(g.device + from, align) - g.device;
  while (at + span <= g.bytes && at + span > at) {
    size_t i = upper(g.device + at + span);
    struct vg_alloc *a = i ? g.table[i - 1] : NULL;
    uint64_t end = a ? a->base + round_up(a->size, PAGE) + PAGE : 0;
    if (!a || a->base < g.device || end <= g.device + at) {
      *out = at;
      return true;
    }
    at = round_up(end, align) - g.device;
  }
  return false;
}

static bool place(uint64_t size, uint64_t align, uint64_t *out) {
  if (!place_from(g.cursor > PAGE ? g.cursor : PAGE, size, align, out) && !place_from(PAGE, size, align, out)) return false;
  g.cursor = *out + round_up(size, PAGE) + PAGE;
  return true;
}

static struct vg_alloc *new_device_alloc(uint64_t size, uint64_t align, enum vg_mem_kind kind) {
  uint64_t total = VG_DEVICE_BYTES - RESERVED_BYTES, at;
  if (size > total || g.used + round_up(size, PAGE) > total) return NULL;
  struct vg_alloc *a = calloc(1, sizeof *a);
  if (!a) return NULL;
  if (!place(size, align, &at)) {
    free(a);
    return NULL;
  }
  a->base = g.device + at, a->size = size, a->kind = kind;
  a->delta = (intptr_t)((uint64_t)(uintptr_t)g.backing - g.device);
  if (g.checks) {
    a->written = (_Atomic uint64_t *)(void *)(g.written + at / 8);
    a->cells = (_Atomic uint64_t *)(void *)(g.cells + at * 2);
  }
  return a;
}

uint64_t vg_mem_alloc(uint64_t size, uint64_t align, enum vg_mem_kind kind, const char *name, void *owner, bool zeroed) {
  if (!size) return 0;
  if (align < PAGE) align = PAGE;
  pthread_rwlock_wrlock(&g.lock);
  struct vg_alloc *a = g.open ? new_device_alloc(size, align, kind) : NULL;
  if (a && !insert(a)) {
    free(a);
    a = NULL;
  }
  uint64_t base = 0;
  if (a) {
    base = a->base;
    a->name = name, a->owner = owner, a->serial = ++g.serial;
    atomic_init(&a->prefix, zeroed ? size : 0);
    atomic_init(&a->kernel_written, false);
    g.used += round_up(size, PAGE);
    // Fresh memory of a real device holds anything; all ones is NaN in every float format and -1 in every integer.
    if (!zeroed && g.checks && size <= POISON_LIMIT) memset((void *)(uintptr_t)(base + (uint64_t)a->delta), 0xff, size);
  }
  pthread_rwlock_unlock(&g.lock);
  return base;
}

bool vg_mem_adopt(void *p, uint64_t size, enum vg_mem_kind kind, void *owner, unsigned flags) {
  uint64_t base = (uint64_t)(uintptr_t)p;
  if (!p || !size || base + size < base) return false;
  struct vg_alloc *a = calloc(1, sizeof *a);
  if (!a) return false;
  a->base = base, a->size = size, a->kind = kind, a->owner = owner, a->flags = flags;
  atomic_init(&a->prefix, size);
  atomic_init(&a->kernel_written, false);
  pthread_rwlock_wrlock(&g.lock);
  size_t i = upper(base + size - 1);
  bool ok = (!i || g.table[i - 1]->base + g.table[i - 1]->size <= base) && insert(a);
  if (ok) a->serial = ++g.serial;
  pthread_rwlock_unlock(&g.lock);
  if (!ok) free(a);
  return ok;
}

// Gives the memory of [p, p+size) back to the system and leaves zeros.
static void drop(uint8_t *p, uint64_t size) {
  uint64_t host_page = PAGE * 16; // 64 KiB is the largest page of the hosts we know
  uint64_t lo = round_up((uint64_t)(uintptr_t)p, host_page), hi = ((uint64_t)(uintptr_t)p + size) / host_page * host_page;
  if (lo >= hi) {
    memset(p, 0, size);
    return;
  }
  memset(p, 0, lo - (uint64_t)(uintptr_t)p);
  madvise((void *)(uintptr_t)lo, hi - lo, MADV_DONTNEED);
  memset((void *)(uintptr_t)hi, 0, (uint64_t)(uintptr_t)p + size - hi);
}

static void remember_freed(const struct vg_alloc *a) {
  struct freed *f = &g.freed[g.num_freed++ % FREED_RECORDS];
  *f = (struct freed){.base = a->base, .size = a->size, .serial = a->serial};
  if (a->name) strncpy(f->name, a->name, sizeof f->name - 1);
}

static void remove_at(size_t i) {
  struct vg_alloc *a = g.table[i];
  memmove(g.table + i, g.table + i + 1, (g.count - i - 1) * sizeof *g.table);
  g.count--;
  remember_freed(a);
  if (a->delta) {
    uint64_t at = a->base - g.device, n = round_up(a->size, PAGE);
    drop(g.backing + at, n);
    if (g.checks) drop(g.written + at / 8, n / 8), drop(g.cells + at * 2, n * 2);
    g.used -= n;
  }
  a->pool = g.grave;
  g.grave = a;
  atomic_fetch_add(&vg_mem_generation, 1);
}

void vg_mem_reap(void) {
  pthread_rwlock_wrlock(&g.lock);
  for (struct vg_alloc *a; (a = g.grave);) {
    g.grave = (struct vg_alloc *)(uintptr_t)a->pool;
    free(a);
  }
  pthread_rwlock_unlock(&g.lock);
}

static bool freed_here(uint64_t base) {
  size_t n = g.num_freed < FREED_RECORDS ? g.num_freed : FREED_RECORDS;
  for (size_t i = 0; i < n; i++)
    if (g.freed[i].base == base) return true;
  return false;
}

bool vg_mem_free(uint64_t base, enum vg_mem_kind kind, bool *was_freed) {
  pthread_rwlock_wrlock(&g.lock);
  size_t i = upper(base);
  bool ok = i && g.table[i - 1]->base == base && g.table[i - 1]->kind == kind;
  if (was_freed) *was_freed = !ok && freed_here(base);
  if (ok) remove_at(i - 1);
  pthread_rwlock_unlock(&g.lock);
  return ok;
}

struct vg_alloc *vg_mem_first_of(const void *owner) {
  pthread_rwlock_rdlock(&g.lock);
  struct vg_alloc *a = NULL;
  for (size_t i = 0; i < g.count && !a; i++)
    if (g.table[i]->owner == owner || !g.table[i]->owner) a = g.table[i];
  pthread_rwlock_unlock(&g.lock);
  return a;
}

struct vg_alloc *vg_mem_find(uint64_t addr) {
  pthread_rwlock_rdlock(&g.lock);
  struct vg_alloc *a = find_locked(addr);
  pthread_rwlock_unlock(&g.lock);
  return a;
}

bool vg_mem_range(uint64_t addr, uint64_t size, uint8_t **host, struct vg_alloc **alloc) {
  struct vg_alloc *a = vg_mem_find(addr);
  if (!a || size > a->size - (addr - a->base)) return false;
  if (host) *host = (uint8_t *)(uintptr_t)(addr + (uint64_t)a->delta);
  if (alloc) *alloc = a;
  return true;
}

static void describe(struct vg_nearby *out, enum vg_where_kind kind, const struct vg_alloc *a, int64_t distance) {
  *out = (struct vg_nearby){.kind = kind, .base = a->base, .size = a->size, .serial = a->serial, .distance = distance};
  if (a->name) strncpy(out->name, a->name, sizeof out->name - 1);
}

static bool nearby_freed(uint64_t addr, struct vg_nearby *out) {
  size_t n = g.num_freed < FREED_RECORDS ? g.num_freed : FREED_RECORDS;
  for (size_t k = 0; k < n; k++) { // newest first
    const struct freed *f = &g.freed[(g.num_freed - 1 - k) % FREED_RECORDS];
    if (addr - f->base >= f->size) continue;
    *out = (struct vg_nearby){.kind = VG_FREED, .base = f->base, .size = f->size, .serial = f->serial,
                              .distance = (int64_t)(addr - f->base)};
    memcpy(out->name, f->name, sizeof out->name);
    return true;
  }
  return false;
}

void vg_mem_nearby(uint64_t addr, struct vg_nearby *out) {
  const uint64_t near = UINT64_C(1) << 30; // farther off than this a pointer is simply wrong
  *out = (struct vg_nearby){.kind = VG_NOWHERE};
  pthread_rwlock_rdlock(&g.lock);
  size_t i = upper(addr);
  const struct vg_alloc *before = i ? g.table[i - 1] : NULL, *after = i < g.count ? g.table[i] : NULL;
  uint64_t past = before ? addr - (before->base + before->size) : UINT64_MAX;
  uint64_t ahead = after ? after->base - addr : UINT64_MAX;
  if (before && addr - before->base < before->size) describe(out, VG_INSIDE, before, (int64_t)(addr - before->base));
  else if (nearby_freed(addr, out)) {
  } else if (before && past <= ahead && past < near) describe(out, VG_PAST_END, before, (int64_t)past);
  else if (after && ahead < near) describe(out, VG_BEFORE, after, (int64_t)ahead);
  pthread_rwlock_unlock(&g.lock);
}

void vg_mem_info(uint64_t *free_bytes, uint64_t *total) {
  pthread_rwlock_rdlock(&g.lock);
  *total = VG_DEVICE_BYTES;
  *free_bytes = VG_DEVICE_BYTES - RESERVED_BYTES - g.used;
  pthread_rwlock_unlock(&g.lock);
}

void vg_mem_each(void (*f)(const struct vg_alloc *a, void *arg), void *arg) {
  pthread_rwlock_rdlock(&g.lock);
  for (size_t i = 0; i < g.count; i++) f(g.table[i], arg);
  pthread_rwlock_unlock(&g.lock);
}

void vg_mem_clear_cells(void) {
  pthread_rwlock_wrlock(&g.lock);
  for (size_t i = 0; i < g.count; i++)
    if (g.table[i]->cells) drop(g.cells + (g.table[i]->base - g.device) * 2, round_up(g.table[i]->size, PAGE) * 2);
  pthread_rwlock_unlock(&g.lock);
}

// The bits [lo, hi) of the word `w`, both counted from the start of the bit string.
static uint64_t word_mask(uint64_t w, uint64_t lo, uint64_t hi) {
  uint64_t m = ~UINT64_C(0);
  if (w * 64 < lo) m &= ~UINT64_C(0) << (lo - w * 64);
  if (w * 64 + 64 > hi) m &= ~UINT64_C(0) >> (w * 64 + 64 - hi);
  return m;
}

void vg_mem_mark(struct vg_alloc *a, uint64_t addr, uint64_t size) {
  if (!size || !a->written) return;
  uint64_t lo = addr - a->base, hi = lo + size, prefix = atomic_load_explicit(&a->prefix, memory_order_relaxed);
  if (hi <= prefix) return;
  if (lo <= prefix) { // uploads mostly come in order: then the bits need not be touched
    while (prefix < hi && !atomic_compare_exchange_weak(&a->prefix, &prefix, hi)) {}
    return;
  }
  for (uint64_t w = lo / 64; w <= (hi - 1) / 64; w++) {
    uint64_t m = word_mask(w, lo, hi);
    if (m == ~UINT64_C(0)) atomic_store_explicit(&a->written[w], m, memory_order_relaxed);
    else atomic_fetch_or_explicit(&a->written[w], m, memory_order_relaxed);
  }
}

bool vg_mem_marked(const struct vg_alloc *a, uint64_t addr, uint64_t size) {
  if (!size || !a->written) return true;
  uint64_t lo = addr - a->base, hi = lo + size, prefix = atomic_load_explicit(&a->prefix, memory_order_relaxed);
  if (hi <= prefix) return true;
  if (lo < prefix) lo = prefix;
  for (uint64_t w = lo / 64; w <= (hi - 1) / 64; w++) {
    uint64_t m = word_mask(w, lo, hi);
    if ((atomic_load_explicit(&a->written[w], memory_order_relaxed) & m) != m) return false;
  }
  return true;
}

static void unmark_byte(struct vg_alloc *a, uint64_t off) {
  // Below the prefix a byte cannot be taken back alone; it stays "written", which can only miss an error, not invent one.
  if (off < atomic_load_explicit(&a->prefix, memory_order_relaxed)) return;
  atomic_fetch_and_explicit(&a->written[off / 64], ~(UINT64_C(1) << (off % 64)), memory_order_relaxed);
}

void vg_mem_copy_marks(struct vg_alloc *dst, uint64_t to, const struct vg_alloc *src, uint64_t from, uint64_t size) {
  if (!dst->written) return;
  if (vg_mem_marked(src, from, size)) {
    vg_mem_mark(dst, to, size);
    return;
  }
  for (uint64_t i = 0; i < size; i++) {
    if (vg_mem_marked(src, from + i, 1)) vg_mem_mark(dst, to + i, 1);
    else unmark_byte(dst, to + i - dst->base);
  }
}

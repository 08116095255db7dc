// A warp's memory access: bounds, alignment, written bits, races; and the life of a block. See check.h.
#include "runtime/vgpu/check.h"
#include "runtime/vgpu/race.h"
#include <string.h>

static const char *op_name(const struct vg_access *a) {
  if (a->op == VG_ATOMIC) return "atomic";
  return a->op == VG_STORE || a->op == VG_STORE_STRONG ? "store" : "load";
}

bool vg_worker_init(struct vg_worker *w) {
  memset(w, 0, sizeof *w);
  w->state = vg_shared_open();
  return w->state != NULL;
}

void vg_worker_free(struct vg_worker *w) {
  vg_shared_close(w->state);
  w->state = NULL;
}

void vg_launch_begin(struct vg_launch *l) {
  atomic_init(&l->error, 0);
  vg_mem_reap();
  if (!vg_order_begin(l)) atomic_store(&l->error, 2);
}

int vg_launch_end(struct vg_launch *l) {
  vg_order_end(l);
  return atomic_load(&l->error);
}

bool vg_block_begin(struct vg_worker *w, struct vg_launch *l, uint64_t block_id, const uint32_t block_idx[3], uint32_t shared_size) {
  w->launch = l;
  w->checks = vg_check_mode() != 0;
  w->block_id = block_id;
  memcpy(w->block_idx, block_idx, sizeof w->block_idx);
  w->num_threads = l->block[0] * l->block[1] * l->block[2];
  w->num_warps = (w->num_threads + VG_LANES - 1) / VG_LANES;
  w->shared_size = shared_size;
  w->acquired = 0, w->phase = 0, w->fenced = w->acquiring = false;
  if (vg_shared_begin(w->state, shared_size, w->num_warps, w->checks, &w->shared)) return true;
  int none = 0;
  atomic_compare_exchange_strong(&l->error, &none, 2);
  return false;
}

void vg_block_end(struct vg_worker *w) { w->shared_size = 0; }

void vg_sync_block(struct vg_worker *w, uint32_t warps) {
  if (w->checks) vg_shared_join(w->state, warps);
}

void vg_sync_warp(struct vg_worker *w, unsigned warp) {
  if (w->checks) vg_shared_tick(w->state, warp);
}

static bool report_bounds(struct vg_worker *w, unsigned warp, unsigned lane, const struct vg_access *a) {
  uint64_t addr = a->addr[lane];
  struct vg_nearby n;
  vg_mem_nearby(addr, &n);
  unsigned long long at = addr, size = n.size, serial = n.serial;
  long long d = n.distance;
  const char *sep = n.name[0] ? " " : "";
  switch (n.kind) {
  case VG_FREED:
    return vg_report(w, warp, lane, a->pc, VG_USE_AFTER_FREE, "%u-byte %s at 0x%llx, %lld bytes into allocation #%llu%s%s (%llu bytes), which was freed",
                     a->width, op_name(a), at, d, serial, sep, n.name, size);
  case VG_INSIDE:
    return vg_report(w, warp, lane, a->pc, VG_OUT_OF_BOUNDS, "%u-byte %s at 0x%llx runs over the end of allocation #%llu%s%s (%llu bytes)", a->width,
                     op_name(a), at, serial, sep, n.name, size);
  case VG_PAST_END:
    return vg_report(w, warp, lane, a->pc, VG_OUT_OF_BOUNDS, "%u-byte %s at 0x%llx, %lld bytes past the end of allocation #%llu%s%s (%llu bytes)",
                     a->width, op_name(a), at, d, serial, sep, n.name, size);
  case VG_BEFORE:
    return vg_report(w, warp, lane, a->pc, VG_OUT_OF_BOUNDS, "%u-byte %s at 0x%llx, %lld bytes before allocation #%llu%s%s (%llu bytes)", a->width,
                     op_name(a), at, d, serial, sep, n.name, size);
  default:
    return vg_report(w, warp, lane, a->pc, VG_OUT_OF_BOUNDS, "%u-byte %s at 0x%llx, where the device has no memory%s", a->width, op_name(a),
                     at, addr < 65536 ? " (a null pointer)" : "");
  }
}

static bool report_misaligned(struct vg_worker *w, unsigned warp, unsigned lane, const struct vg_access *a, const char *space) {
  return vg_report(w, warp, lane, a->pc, VG_MISALIGNED, "%u-byte %s at %s 0x%llx, which is not a multiple of %u", a->width, op_name(a), space,
                   (unsigned long long)a->addr[lane], a->width);
}

// Through its global address constant memory can be written: kernels that have read it may or may not see that.
static bool report_const(struct vg_worker *w, unsigned warp, unsigned lane, const struct vg_access *a, const struct vg_alloc *alloc) {
  return vg_report_error(w, warp, lane, a->pc, VG_WRITE_CONST, vg_check_mode() == 2 ? 719 : 0, "%u-byte %s at 0x%llx in constant memory%s%s",
                         a->width, op_name(a), (unsigned long long)a->addr[lane], alloc->name ? ", variable " : "", alloc->name ? alloc->name : "");
}

// Lane i at lane 0 + i * width, all lanes active?
static bool is_contiguous(const struct vg_access *a) {
  if (a->active != UINT32_MAX) return false;
  uint64_t first = a->addr[0], width = a->width, off = 0;
  for (unsigned i = 0; i < VG_LANES; i++) off |= a->addr[i] ^ (first + i * width);
  return !off;
}

static bool load_span(struct vg_span *s, uint64_t addr) {
  uint64_t generation = atomic_load(&vg_mem_generation);
  struct vg_alloc *alloc = vg_mem_find(addr);
  if (!alloc) return false;
  *s = (struct vg_span){.lo = alloc->base, .size = alloc->size, .alloc = alloc, .generation = generation};
  return true;
}

static bool in_span(const struct vg_span *s, uint64_t addr, uint64_t bytes) {
  return addr - s->lo < s->size && bytes <= s->size - (addr - s->lo);
}

static bool is_store(const struct vg_access *a) { return a->op == VG_STORE || a->op == VG_STORE_STRONG; }

static bool judge_written(struct vg_worker *w, unsigned warp, const struct vg_access *a, struct vg_alloc *alloc, uint32_t lanes) {
  if (atomic_load_explicit(&alloc->prefix, memory_order_relaxed) == alloc->size) return true;
  if (is_store(a)) {
    if (a->base && lanes == UINT32_MAX) vg_mem_mark(alloc, a->addr[0], (uint64_t)a->width * VG_LANES);
    else
      for (; lanes; lanes &= lanes - 1) vg_mem_mark(alloc, a->addr[__builtin_ctz(lanes)], a->width);
    return true;
  }
  if (a->base && lanes == UINT32_MAX && vg_mem_marked(alloc, a->addr[0], (uint64_t)a->width * VG_LANES)) return true;
  for (; lanes; lanes &= lanes - 1) {
    unsigned lane = (unsigned)__builtin_ctz(lanes);
    if (vg_mem_marked(alloc, a->addr[lane], a->width)) continue;
    if (a->op == VG_ATOMIC) vg_mem_mark(alloc, a->addr[lane], a->width);
    return vg_report(w, warp, lane, a->pc, VG_UNINIT_GLOBAL, "%u-byte %s at 0x%llx, offset %llu of allocation #%llu%s%s (%llu bytes), where nothing was written",
                     a->width, op_name(a), (unsigned long long)a->addr[lane], (unsigned long long)(a->addr[lane] - alloc->base),
                     (unsigned long long)alloc->serial, alloc->name ? " " : "", alloc->name ? alloc->name : "",
                     (unsigned long long)alloc->size);
  }
  return true;
}

static bool judge(struct vg_worker *w, unsigned warp, const struct vg_access *a, struct vg_alloc *alloc, uint32_t lanes) {
  if (!w->checks) return true;
  return judge_written(w, warp, a, alloc, lanes) && (!w->launch->races || vg_global_judge(w, warp, a, alloc, lanes));
}

// The lanes lie in several allocations, or one is wrong: lane by lane.
static bool access_apart(struct vg_worker *w, unsigned warp, struct vg_access *a) {
  for (uint32_t m = a->active; m; m &= m - 1) {
    unsigned lane = (unsigned)__builtin_ctz(m);
    uint64_t addr = a->addr[lane];
    struct vg_span s;
    if (!load_span(&s, addr) || !in_span(&s, addr, a->width)) return report_bounds(w, warp, lane, a);
    if (addr % a->width) return report_misaligned(w, warp, lane, a, "address");
    if (s.alloc->kind == VG_MEM_CONST && a->op != VG_LOAD && a->op != VG_LOAD_STRONG && !report_const(w, warp, lane, a, s.alloc)) return false;
    a->ptr[lane] = (uint8_t *)(uintptr_t)(addr + (uint64_t)s.alloc->delta);
    if (!judge(w, warp, a, s.alloc, 1u << lane)) return false;
  }
  return true;
}

static bool global_access(struct vg_worker *w, unsigned warp, struct vg_access *a) {
  a->base = NULL;
  if (!a->active) return true;
  unsigned first = (unsigned)__builtin_ctz(a->active);
  if (w->launch->races) vg_order_before(w);
  struct vg_span *s = &w->span[a->pc % VG_SPANS];
  if (s->generation != atomic_load_explicit(&vg_mem_generation, memory_order_relaxed) || a->addr[first] - s->lo >= s->size)
    if (!load_span(s, a->addr[first])) return report_bounds(w, warp, first, a);
  struct vg_alloc *alloc = s->alloc;
  if (alloc->kind == VG_MEM_CONST && a->op != VG_LOAD && a->op != VG_LOAD_STRONG && !report_const(w, warp, first, a, alloc)) return false;
  uint64_t delta = (uint64_t)alloc->delta, width = a->width;
  if (is_contiguous(a) && in_span(s, a->addr[0], width * VG_LANES) && !(a->addr[0] & (width - 1))) {
    a->base = (uint8_t *)(uintptr_t)(a->addr[0] + delta);
    for (unsigned i = 0; i < VG_LANES; i++) a->ptr[i] = a->base + i * width;
    return judge(w, warp, a, alloc, UINT32_MAX);
  }
  uint64_t bad = s->size < width, last = s->size - width, lo = s->lo;
  for (unsigned i = 0; i < VG_LANES; i++) {
    uint64_t addr = a->active >> i & 1 ? a->addr[i] : lo;
    bad |= (addr - lo > last) | (addr & (width - 1));
    a->ptr[i] = (uint8_t *)(uintptr_t)(addr + delta);
  }
  return bad ? access_apart(w, warp, a) : judge(w, warp, a, alloc, a->active);
}

bool vg_global_access(struct vg_worker *w, unsigned warp, struct vg_access *a) {
  if (!global_access(w, warp, a)) return false;
  if (w->launch->races && a->active) vg_order_after(w, a);
  return true;
}

static bool shared_wrong(struct vg_worker *w, unsigned warp, const struct vg_access *a) {
  for (uint32_t m = a->active; m; m &= m - 1) {
    unsigned lane = (unsigned)__builtin_ctz(m);
    uint64_t at = a->addr[lane];
    if (at >= w->shared_size || w->shared_size - at < a->width)
      return vg_report_error(w, warp, lane, a->pc, VG_OUT_OF_BOUNDS, 719, "%u-byte %s at shared offset %lld of a block with %u bytes of shared memory",
                             a->width, op_name(a), (long long)at, w->shared_size);
    if (at % a->width) return report_misaligned(w, warp, lane, a, "shared offset");
  }
  return true;
}

bool vg_shared_access(struct vg_worker *w, unsigned warp, struct vg_access *a) {
  a->base = NULL;
  if (!a->active) return true;
  uint64_t bad = w->shared_size < a->width, last = (uint64_t)w->shared_size - a->width, width = a->width;
  if (bad) return shared_wrong(w, warp, a);
  for (unsigned i = 0; i < VG_LANES; i++) {
    uint64_t at = a->active >> i & 1 ? a->addr[i] : 0;
    bad |= (at > last) | (at & (width - 1));
    a->ptr[i] = w->shared + (at <= last ? at : 0);
  }
  if (bad) return shared_wrong(w, warp, a);
  if (is_contiguous(a)) a->base = a->ptr[0];
  return !w->checks || vg_shared_judge(w, warp, a);
}

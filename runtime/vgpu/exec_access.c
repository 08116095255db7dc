// See exec_access.h. Global and shared memory are check.h's; local memory and parameters are small enough to be kept here.
// Local memory: word k of lane l at local[32 * k + l], so that lanes at one address touch one line, as on the card.
#include "runtime/vgpu/exec_access.h"

void vgpu_addresses(struct vgpu_warp *w, const struct vgpu_ins *d) {
  uint64_t *out = w->lane_addr, imm = (uint64_t)d->imm;
  if (d->sub2 == 8) {
    const uint64_t *a = (const uint64_t *)P(d->a);
    LANES out[i] = a[i] + imm;
  } else {
    const uint32_t *a = (const uint32_t *)P(d->a);
    LANES out[i] = (uint32_t)(a[i] + (uint32_t)imm);
  }
}

static unsigned space_of(uint64_t addr) {
  switch (addr >> 60) {
  case VG_SHARED_WINDOW >> 60: return PTX_SHARED;
  case VG_LOCAL_WINDOW >> 60: return PTX_LOCAL;
  case VGPU_PARAM_WINDOW >> 60: return PTX_PARAM;
  default: return PTX_GLOBAL;
  }
}

uint32_t vgpu_same_space(struct vgpu_warp *w, uint32_t m, unsigned *space) {
  uint64_t top = w->lane_addr[__builtin_ctz(m)] >> 60;
  *space = space_of(top << 60);
  uint32_t same = 0;
  for (int i = 0; i < 32; i++) {
    if (!ON(i)) continue;
    unsigned s = space_of(w->lane_addr[i]);
    if (s != *space) continue;
    same |= 1u << i;
    if (s != PTX_GLOBAL) w->lane_addr[i] &= (UINT64_C(1) << 60) - 1;
  }
  return same;
}

static bool local_ok(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, unsigned width, uint64_t size, const char *what) {
  for (int i = 0; i < 32; i++) {
    uint64_t at = w->lane_addr[i];
    if (!ON(i)) continue;
    if (at > size || size - at < width)
      return vgpu_report(w, d, (unsigned)i, VG_OUT_OF_BOUNDS, "%u-byte access at %s offset %llu, where the thread has %llu bytes", width, what,
                         (unsigned long long)at, (unsigned long long)size), false;
    if (at & (width - 1))
      return vgpu_report(w, d, (unsigned)i, VG_MISALIGNED, "%u-byte access at %s offset %llu, which is not a multiple of %u", width, what,
                         (unsigned long long)at, width), false;
  }
  return true;
}

static void local_copy(struct vgpu_warp *w, uint32_t m, unsigned width, uint8_t *buf, bool store) {
  for (int i = 0; i < 32; i++) {
    if (!ON(i)) continue;
    uint32_t at = (uint32_t)w->lane_addr[i], n = width < 4 ? width : 4;
    for (unsigned k = 0; k < width; k += 4) {
      uint8_t *word = (uint8_t *)&w->local[(size_t)((at + k) / 4) * 32 + (unsigned)i] + (at & 3), *b = buf + (unsigned)i * width + k;
      if (store) memcpy(word, b, n);
      else memcpy(b, word, n);
    }
  }
}

static bool local_access(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, unsigned width, uint8_t *buf, bool store) {
  w->seen_space = VGPU_SPACE_LOCAL;
  if (!local_ok(w, d, m, width, w->local_bytes, "local")) return false;
  local_copy(w, m, width, buf, store);
  return true;
}

static bool param_read(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, unsigned width, uint8_t *buf) {
  const struct vgpu_launch *l = w->block->launch;
  w->seen_space = VGPU_SPACE_PARAM;
  if (!local_ok(w, d, m, width, l->kernel->param_bytes, "parameter")) return false;
  for (int i = 0; i < 32; i++)
    if (ON(i)) memcpy(buf + (unsigned)i * width, l->params + w->lane_addr[i], width);
  return true;
}

// Bytes that other threads may touch at the same moment (volatile, relaxed, ..) go through atomic accesses of up to 8 bytes.
static void load_strong(uint8_t *to, const uint8_t *from, unsigned width) {
  for (unsigned k = 0; k < width; k += 8) {
    switch (width - k < 8 ? width : 8) {
    case 1: *to = __atomic_load_n(from, __ATOMIC_ACQUIRE); break;
    case 2: *(uint16_t *)(void *)to = __atomic_load_n((const uint16_t *)(const void *)from, __ATOMIC_ACQUIRE); break;
    case 4: *(uint32_t *)(void *)to = __atomic_load_n((const uint32_t *)(const void *)from, __ATOMIC_ACQUIRE); break;
    default: *(uint64_t *)(void *)(to + k) = __atomic_load_n((const uint64_t *)(const void *)(from + k), __ATOMIC_ACQUIRE);
    }
  }
}

static void store_strong(uint8_t *to, const uint8_t *from, unsigned width) {
  for (unsigned k = 0; k < width; k += 8) {
    switch (width - k < 8 ? width : 8) {
    case 1: __atomic_store_n(to, *from, __ATOMIC_RELEASE); break;
    case 2: __atomic_store_n((uint16_t *)(void *)to, *(const uint16_t *)(const void *)from, __ATOMIC_RELEASE); break;
    case 4: __atomic_store_n((uint32_t *)(void *)to, *(const uint32_t *)(const void *)from, __ATOMIC_RELEASE); break;
    default: __atomic_store_n((uint64_t *)(void *)(to + k), *(const uint64_t *)(const void *)(from + k), __ATOMIC_RELEASE);
    }
  }
}

#define COPY(N) \
  static void copy_##N(const struct vg_access *a, uint32_t m, uint8_t *buf, bool store) { \
    for (unsigned i = 0; i < 32; i++) { \
      if (!ON(i)) continue; \
      if (store) memcpy(a->ptr[i], buf + i * N, N); \
      else memcpy(buf + i * N, a->ptr[i], N); \
    } \
  }
COPY(1) COPY(2) COPY(4) COPY(8) COPY(16)

static void copy_lanes(struct vg_access *a, uint32_t m, uint8_t *buf, bool store, bool strong) {
  unsigned width = a->width;
  if (a->base && !strong) {
    if (store) memcpy(a->base, buf, width * 32u);
    else memcpy(buf, a->base, width * 32u);
    return;
  }
  if (strong) {
    for (unsigned i = 0; i < 32; i++)
      if (ON(i)) {
        if (store) store_strong(a->ptr[i], buf + i * width, width);
        else load_strong(buf + i * width, a->ptr[i], width);
      }
    return;
  }
  switch (width) {
  case 4: copy_4(a, m, buf, store); break;
  case 8: copy_8(a, m, buf, store); break;
  case 16: copy_16(a, m, buf, store); break;
  case 2: copy_2(a, m, buf, store); break;
  default: copy_1(a, m, buf, store); break;
  }
}

static bool checked_access(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, unsigned space, unsigned width, uint8_t *buf, bool store) {
  struct vg_access *a = &w->access;
  bool strong = d->flags & VGPU_INS_VOLATILE;
  memcpy(a->addr, w->lane_addr, sizeof a->addr);
  a->active = m;
  a->pc = vgpu_pc(w, d);
  a->width = (uint16_t)width;
  a->op = store ? (strong ? VG_STORE_STRONG : VG_STORE) : strong ? VG_LOAD_STRONG : VG_LOAD;
  a->data = store ? buf : NULL;
  bool shared = space == PTX_SHARED;
  w->seen_space = shared ? VGPU_SPACE_SHARED : space == PTX_CONST ? VGPU_SPACE_CONST : VGPU_SPACE_GLOBAL;
  if (strong) w->spins = true;
  if (!(shared ? vg_shared_access(&w->block->vg, w->index, a) : vg_global_access(&w->block->vg, w->index, a))) return false;
  copy_lanes(a, m, buf, store, strong && !shared);
  return true;
}

static bool move(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, unsigned space, unsigned width, uint8_t *buf, bool store) {
  w->seen_addr = w->lane_addr;
  while (m) {
    uint32_t part = m;
    unsigned s = space;
    if (space == PTX_GENERIC) part = vgpu_same_space(w, m, &s);
    m &= ~part;
    bool ok;
    if (s == PTX_LOCAL) ok = local_access(w, d, part, width, buf, store);
    else if (s == PTX_PARAM && store)
      ok = vgpu_report(w, d, (unsigned)__builtin_ctz(part), VG_WRITE_CONST, "store to a kernel parameter") && false;
    else if (s == PTX_PARAM) ok = param_read(w, d, part, width, buf);
    else ok = checked_access(w, d, part, s, width, buf, store);
    if (!ok) return false;
  }
  return true;
}

bool vgpu_read(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, unsigned space, unsigned width, uint8_t *buf) {
  return move(w, d, m, space, width, buf, false);
}

bool vgpu_write(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, unsigned space, unsigned width, const uint8_t *buf) {
  return move(w, d, m, space, width, (uint8_t *)(uintptr_t)buf, true);
}

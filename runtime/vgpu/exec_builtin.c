// Functions that the driver supplies: vprintf, __assertfail, malloc, free, __trap. Arguments are parameter rows of the caller.
#include "runtime/vgpu/exec_internal.h"
#include <stdio.h>

static uint64_t arg(struct vgpu_warp *w, const struct vgpu_ins *d, const struct vgpu_func *f, unsigned k, unsigned lane) {
  const uint8_t *row = P(w->block->launch->code->list[d->list + f->num_rets + k]) + lane * 4;
  uint32_t lo, hi = 0;
  memcpy(&lo, row, 4);
  if (f->param_sizes[k] == 8) memcpy(&hi, row + 128, 4);
  return lo | (uint64_t)hi << 32;
}

static void give(struct vgpu_warp *w, const struct vgpu_ins *d, const struct vgpu_func *f, unsigned lane, uint64_t v) {
  vgpu_loc loc = f->num_rets ? w->block->launch->code->list[d->list] : ~0u;
  if (loc == ~0u) return;
  uint8_t *row = P(loc) + lane * 4;
  uint32_t lo = (uint32_t)v, hi = (uint32_t)(v >> 32);
  memcpy(row, &lo, 4);
  if (f->ret_sizes[0] == 8) memcpy(row + 128, &hi, 4);
}

struct reader {
  struct vgpu_warp *w;
  unsigned lane;
};

// One byte of the thread's memory by generic address.
static bool read_byte(const struct reader *r, uint64_t addr, uint8_t *out) {
  struct vgpu_warp *w = r->w;
  uint64_t at = addr & ((UINT64_C(1) << 60) - 1);
  if (addr >> 60 == VG_LOCAL_WINDOW >> 60) {
    if (at >= w->local_bytes) return false;
    *out = ((const uint8_t *)&w->local[at / 4 * 32 + r->lane])[at & 3];
    return true;
  }
  if (addr >> 60 == VG_SHARED_WINDOW >> 60) {
    if (at >= w->block->vg.shared_size) return false;
    *out = w->block->vg.shared[at];
    return true;
  }
  uint8_t *host;
  struct vg_alloc *alloc;
  if (!vg_mem_range(addr, 1, &host, &alloc)) return false;
  *out = *host;
  return true;
}

// A string of at most cap - 1 bytes. false: it leaves the device's memory.
static bool read_string(void *ctx, uint64_t addr, char *buf, size_t cap) {
  for (size_t i = 0; i + 1 < cap; i++) {
    uint8_t c;
    if (!read_byte(ctx, addr + i, &c)) return false;
    buf[i] = (char)c;
    if (!c) return true;
  }
  buf[cap - 1] = 0;
  return true;
}

static bool print(struct vgpu_warp *w, const struct vgpu_ins *d, const struct vgpu_func *f, unsigned lane) {
  enum { FMT = 4096, ARGS = 2048 };
  char fmt[FMT];
  uint8_t args[ARGS];
  struct reader r = {w, lane};
  uint64_t fmt_addr = arg(w, d, f, 0, lane), list = arg(w, d, f, 1, lane);
  if (!fmt_addr) {
    give(w, d, f, lane, (uint32_t)-1);
    return true;
  }
  if (!read_string(&r, fmt_addr, fmt, sizeof fmt))
    return vgpu_report(w, d, lane, VG_OUT_OF_BOUNDS, "printf's format at 0x%llx is not in memory", (unsigned long long)fmt_addr) && false;
  size_t n = 0;
  while (list && n < ARGS && read_byte(&r, list + n, &args[n])) n++;
  give(w, d, f, lane, (uint32_t)vg_printf(fmt, args, n, read_string, &r));
  return true;
}

static void assertion(struct vgpu_warp *w, const struct vgpu_ins *d, const struct vgpu_func *f, unsigned lane) {
  char text[3][160] = {"?", "?", "?"};
  static const uint8_t which[3] = {0, 1, 3};
  struct reader r = {w, lane};
  for (int k = 0; k < 3; k++)
    if (which[k] < f->num_params) read_string(&r, arg(w, d, f, which[k], lane), text[k], sizeof text[k]);
  vgpu_report(w, d, lane, VG_ASSERT, "%s:%u: %s: assertion `%s' failed", text[1], f->num_params > 2 ? (uint32_t)arg(w, d, f, 2, lane) : 0,
              text[2], text[0]);
}

const struct vgpu_ins *vgpu_call_builtin(struct vgpu_warp *w, const struct vgpu_ins *d, const struct vgpu_func *f, uint32_t m) {
  for (unsigned i = 0; i < 32; i++) {
    if (!ON(i)) continue;
    switch (f->builtin) {
    case BUILTIN_VPRINTF:
      if (!print(w, d, f, i)) return vgpu_die(w);
      break;
    case BUILTIN_MALLOC: give(w, d, f, i, vg_mem_alloc(arg(w, d, f, 0, i), 16, VG_MEM_DEVICE, "malloc", NULL, false)); break;
    case BUILTIN_FREE: {
      uint64_t p = arg(w, d, f, 0, i);
      bool again;
      if (p && !vg_mem_free(p, VG_MEM_DEVICE, &again) &&
          !vgpu_report(w, d, i, VG_BAD_HOST_CALL, "free of 0x%llx, which malloc did not give", (unsigned long long)p))
        return vgpu_die(w);
      break;
    }
    case BUILTIN_ASSERTFAIL: assertion(w, d, f, i); return vgpu_die(w);
    default: vgpu_report(w, d, i, VG_TRAP, "trap"); return vgpu_die(w);
    }
  }
  return d + 1;
}

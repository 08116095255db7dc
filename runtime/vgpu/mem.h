// The device's memory: one address space for every allocation, with a table that says what lies where.
//
// Device addresses come from a reserved range that the host cannot dereference; host = device address + vg_alloc.delta.
// (Pinned, registered and managed host memory keeps its host address, delta 0, as under unified addressing.)
// Between two allocations lies a red zone; freed addresses are not handed out again until the range is used up, so that
// an access to freed memory is named as such. Every byte of an allocation has a "written" bit.
//
// Thread safe. Lookups take a read lock; kernels use the per-worker cache in check.h and seldom get here.
#ifndef VGPU_MEM_H
#define VGPU_MEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Generic addresses of a block's shared and a thread's local memory: generic = window + offset. Both lie outside of what
// any allocation can have. Windows are VG_WINDOW_SIZE long.
#define VG_SHARED_WINDOW (UINT64_C(1) << 60)
#define VG_LOCAL_WINDOW  (UINT64_C(2) << 60)
#define VG_WINDOW_SIZE   (UINT64_C(1) << 32)

#define VG_DEVICE_BYTES UINT64_C(15843721216) // what a T4 reports in cuDeviceTotalMem

enum vg_mem_kind {
  VG_MEM_DEVICE,     // cuMemAlloc and its kin
  VG_MEM_GLOBAL,     // a module's .global variable
  VG_MEM_CONST,      // a module's .const bank: stores are errors
  VG_MEM_HOST,       // cuMemHostAlloc
  VG_MEM_REGISTERED, // cuMemHostRegister
  VG_MEM_MANAGED,    // cuMemAllocManaged
};

struct vg_alloc {
  uint64_t base, size;         // device address; bytes
  intptr_t delta;              // host address = device address + delta
  enum vg_mem_kind kind;
  uint64_t serial;             // 1, 2, ... in order of allocation
  const char *name;            // a variable's name, else NULL; owned by the module
  void *owner;                 // the context that it belongs to
  unsigned flags;              // as given to cuMemHostAlloc / cuMemHostRegister
  const void *pool;            // the memory pool that it came from, NULL: none
  _Atomic uint64_t *written;   // one bit per byte, bit 0 of word 0 is byte (base & ~63); NULL: all counts as written
  _Atomic uint64_t prefix;     // bytes from the start that are all written, whatever their bits say
  _Atomic uint64_t *cells;     // race cells, one per 4 bytes (race.h); NULL: not tracked
  atomic_bool kernel_written;  // some kernel stored here
};

enum vg_where_kind { VG_NOWHERE, VG_INSIDE, VG_PAST_END, VG_BEFORE, VG_FREED };

// What lies at or next to an address, for messages.
struct vg_nearby {
  enum vg_where_kind kind;
  uint64_t base, size, serial; // of the allocation meant
  int64_t distance;            // bytes past its end or before its start
  char name[64];
};

// Allocates; 0 when the device (or the host) has no room. align is a power of two, at least 256 is given. zeroed: counts as
// written and is zero, else the contents are garbage on purpose.
uint64_t vg_mem_alloc(uint64_t size, uint64_t align, enum vg_mem_kind kind, const char *name, void *owner, bool zeroed);
// Makes host memory [p, p+size) known to the device under its own address. false: overlaps what is known already.
bool vg_mem_adopt(void *p, uint64_t size, enum vg_mem_kind kind, void *owner, unsigned flags);
// Frees what starts at `base`. false: nothing of that kind starts there. was_freed tells a double free from a wrong pointer.
bool vg_mem_free(uint64_t base, enum vg_mem_kind kind, bool *was_freed);
// Some allocation of an owner, or of nobody (a kernel's malloc); NULL when none is left: for freeing all of them.
struct vg_alloc *vg_mem_first_of(const void *owner);

// Drops the records of freed allocations, which kernels may still hold: call it while none runs.
void vg_mem_reap(void);

// The allocation that holds addr, NULL if none. It stays valid until vg_mem_reap after it was freed.
struct vg_alloc *vg_mem_find(uint64_t addr);
// True if [addr, addr+size) lies in one allocation, then *host is where its bytes are.
bool vg_mem_range(uint64_t addr, uint64_t size, uint8_t **host, struct vg_alloc **alloc);
void vg_mem_nearby(uint64_t addr, struct vg_nearby *out);
// Number that grows at every free: a cached lookup is good while it stays the same.
extern atomic_uint_fast64_t vg_mem_generation;

// Sets up the address space (once; later calls are free). checks: keep written bits and race cells. false: no address space.
bool vg_mem_open(bool checks);
void vg_mem_info(uint64_t *free_bytes, uint64_t *total);
// Calls f for every live allocation, in order of address, holding the lock.
void vg_mem_each(void (*f)(const struct vg_alloc *a, void *arg), void *arg);

// Forgets every access recorded for the race check.
void vg_mem_clear_cells(void);

// Marks bytes as written (copies, memset, constant initializers); asks whether all are.
void vg_mem_mark(struct vg_alloc *a, uint64_t addr, uint64_t size);
bool vg_mem_marked(const struct vg_alloc *a, uint64_t addr, uint64_t size);
// Gives the destination of a device-to-device copy the marks of its source.
void vg_mem_copy_marks(struct vg_alloc *dst, uint64_t to, const struct vg_alloc *src, uint64_t from, uint64_t size);

#endif

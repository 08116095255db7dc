// Races, found by what every byte's last accesses were (after FastTrack, Flanagan and Freund 2009, cut to fixed-size cells).
//
// Shared memory: a 16-byte cell per 4 bytes keeps the last writer and two readers with the block's clock at that time.
// Every warp has a vector clock that barriers join; an access is ordered after another when the vector clock has passed it. Lanes of
// one warp are ordered by *.sync instructions. Strong (volatile) accesses of one warp are not judged against each other.
//
// Global memory, between blocks of one launch: an 8-byte cell per 4 bytes keeps writer and reader block. A block that
// fences and then does an atomic (or strong store) publishes what it did before; a block that does an atomic or strong load
// acquires all that was published by then. Which atomic it was is not looked at: a pair that merely happens to be so
// ordered passes. Atomics and strong accesses are not judged against each other.
//
// In both a store that leaves the bytes as they are is no race.
#ifndef VGPU_RACE_H
#define VGPU_RACE_H

#include "runtime/vgpu/check.h"

struct vg_shared_state;

struct vg_shared_state *vg_shared_open(void);
void vg_shared_close(struct vg_shared_state *s);
// Room for `bytes` and a block of num_warps warps; forgets the last block. Sets *memory. false: no memory.
bool vg_shared_begin(struct vg_shared_state *s, uint32_t bytes, uint32_t num_warps, bool checks, uint8_t **memory);
void vg_shared_join(struct vg_shared_state *s, uint32_t warps);
void vg_shared_tick(struct vg_shared_state *s, unsigned warp);
// Uninitialised reads and races of one access; bounds are right already. false: the launch must end.
bool vg_shared_judge(struct vg_worker *w, unsigned warp, const struct vg_access *a);

bool vg_order_begin(struct vg_launch *l);
void vg_order_end(struct vg_launch *l);
// Around the judgement of an access, before it takes place: acquires what the last atomic read, publishes for this one.
void vg_order_before(struct vg_worker *w);
void vg_order_after(struct vg_worker *w, const struct vg_access *a);
// Races of the access's lanes that lie in `alloc`; before the access takes place.
bool vg_global_judge(struct vg_worker *w, unsigned warp, const struct vg_access *a, struct vg_alloc *alloc, uint32_t lanes);

#endif

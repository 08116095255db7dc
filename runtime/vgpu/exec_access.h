// Addresses to bytes for the handlers that touch memory: spaces told apart, checks asked, local memory's layout.
#ifndef VGPU_EXEC_ACCESS_H
#define VGPU_EXEC_ACCESS_H

#include "runtime/vgpu/exec_internal.h"

// w->lane_addr[i] = the row a (sub2 bytes an element: 4 or 8) + imm.
void vgpu_addresses(struct vgpu_warp *w, const struct vgpu_ins *d);

// Moves `width` bytes a lane between memory and buf (lane i at buf + i * width) for the lanes m of the addresses in lane_addr.
// space as written in the instruction. false: the launch has failed.
bool vgpu_read(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, unsigned space, unsigned width, uint8_t *buf);
bool vgpu_write(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, unsigned space, unsigned width, const uint8_t *buf);

// Lanes of m whose generic address lies in the same space as the first one's; *space is that space, and their lane_addr become
// offsets in it.
uint32_t vgpu_same_space(struct vgpu_warp *w, uint32_t m, unsigned *space);

#endif

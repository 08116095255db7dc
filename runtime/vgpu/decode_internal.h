// What the decoder's files share: one function's state, operands to locators, emission. Errors leave by longjmp to vgpu_decode.
#ifndef VGPU_DECODE_INTERNAL_H
#define VGPU_DECODE_INTERNAL_H

#include "runtime/vgpu/exec_internal.h"
#include <setjmp.h>

#define NO_LOC (~0u)

struct const_entry {
  struct const_entry *next;
  uint64_t value;
  unsigned width;
  vgpu_loc loc;
};

struct link_entry { // a constant row that holds the address of a variable
  struct link_entry *next;
  const struct ptx_var *var;
  int64_t addend;
  vgpu_loc loc;
  unsigned width;
};

struct dec {
  struct vgpu_code *c;
  struct ptx_module *m;
  struct ptx_error *error;
  jmp_buf on_error;
  const vgpu_op_fn *handlers;
  uint32_t cap_ins, cap_list, num_list, cap_regs, num_regs, cap_const;
  struct const_entry *consts[1024];
  struct link_entry *links;
  // the function
  const struct ptx_func *f;
  struct vgpu_func *vf;
  vgpu_loc *reg_loc;     // by register number
  int *join_of;          // by instruction: ptx index of the join of a divergent branch there, num_ins: the end, -1: none
  uint8_t *join_at;      // by index 0..num_ins: a JOIN stands there
  uint32_t *at;          // by index 0..num_ins: its pc
  uint32_t frame;        // bytes used
  vgpu_loc carry, temp;  // the carry flag; a 64-bit scratch row
  // the instruction
  const struct ptx_ins *in;
  int index;
  uint32_t used; // bit per modifier looked at
};

// decode.c
_Noreturn void dec_fail(struct dec *d, enum ptx_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
_Noreturn void dec_no_memory(struct dec *d);
void *dec_alloc(struct dec *d, size_t bytes);

// decode_emit.c
struct vgpu_ins *dec_emit(struct dec *d, enum vgpu_op op, enum vgpu_class cls); // valid until the next
uint32_t dec_list(struct dec *d, const vgpu_loc *locs, unsigned n);
vgpu_loc dec_const(struct dec *d, uint64_t value, unsigned width);
vgpu_loc dec_frame(struct dec *d, uint32_t bytes);
bool dec_mod(struct dec *d, const char *name);
enum ptx_type dec_type(struct dec *d); // the next modifier that is a type
bool dec_try_type(struct dec *d, enum ptx_type *t);
int dec_one_of(struct dec *d, const char *const *names, int n, int otherwise); // index of the modifier that is there
const struct ptx_operand *dec_op(struct dec *d, int k);
const struct ptx_operand *dec_op_or_null(struct dec *d, int k);
void dec_num_ops(struct dec *d, int least, int most);
unsigned dec_reg_width(struct dec *d, const struct ptx_operand *o); // bytes of a lane's value in a row: 2, 4, 8
vgpu_loc dec_src(struct dec *d, const struct ptx_operand *o, enum ptx_type t); // a source of exactly the type's size
vgpu_loc dec_src_any(struct dec *d, const struct ptx_operand *o, enum ptx_type t, unsigned *width); // or wider
vgpu_loc dec_dst(struct dec *d, const struct ptx_operand *o, enum ptx_type t);
vgpu_loc dec_dst_any(struct dec *d, const struct ptx_operand *o, enum ptx_type t, unsigned *width);
vgpu_loc dec_pred(struct dec *d, const struct ptx_operand *o, bool *neg);
vgpu_loc dec_pred_dst(struct dec *d, const struct ptx_operand *o);
enum ptx_space dec_space(struct dec *d); // .global ..., GENERIC if none
void dec_address(struct dec *d, const struct ptx_operand *o, enum ptx_space space, vgpu_loc *loc, uint8_t *width, int64_t *imm);
bool dec_is_slot(const struct dec *d, const struct ptx_operand *o); // an address of a .func's or a call's parameter
unsigned dec_round(struct dec *d);  // .rn .rz .rm .rp
unsigned dec_idx6(struct dec *d, enum ptx_type t);
unsigned dec_idx3(struct dec *d, enum ptx_type t);
bool dec_is_float(enum ptx_type t);
bool dec_is_signed(enum ptx_type t);
void dec_guard_branch(struct dec *d); // a guarded instruction becomes a branch around an unguarded one

// decode_flow.c
void dec_flow(struct dec *d);
// decode_layout.c
void dec_layout_shared(struct dec *d);
void dec_layout_local(struct dec *d);
void dec_call_graph(struct dec *d);
// decode_regs.c
void dec_registers(struct dec *d); // reg_loc for all registers of the function
int dec_num_results(const struct ptx_ins *in); // how many of its operands, the first ones, are written
void dec_meta_regs(struct dec *d, const struct ptx_ins *in, struct vgpu_meta *m);

// families; each returns false if the instruction is none of its own
bool dec_int(struct dec *d);
bool dec_logic(struct dec *d);
bool dec_compare(struct dec *d);
bool dec_float(struct dec *d);
bool dec_convert(struct dec *d);
bool dec_memory(struct dec *d);
bool dec_warp(struct dec *d);
bool dec_tensor(struct dec *d);
bool dec_control(struct dec *d);

#endif

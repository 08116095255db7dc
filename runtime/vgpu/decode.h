// Decoded instructions: what the interpreter runs and what the counters and the T4 model look at. A module has one flat
// array of them; a pc is an index into it. Function f owns [f->first, f->first + f->num).
#ifndef VGPU_DECODE_H
#define VGPU_DECODE_H

#include "runtime/vgpu/ptx.h"

struct vgpu_warp;
struct vgpu_ins;
struct link_entry;
typedef const struct vgpu_ins *(*vgpu_op_fn)(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t mask);

// What pipe of the SM an instruction needs, for counters and timing.
enum vgpu_class {
  VGPU_CLASS_NONE,    // not a machine instruction (a join, an inner half of one PTX instruction): never reported to observers
  VGPU_CLASS_MOVE,    // mov, cvta, param and special register moves: mostly gone in machine code
  VGPU_CLASS_INT,     // add, logic, shift, compare, min, max, select, bit fields, prmt, lop3
  VGPU_CLASS_IMUL,    // mul, mad, dp4a, sad: the fused multiply-add pipe
  VGPU_CLASS_IDIV,    // div, rem: a subroutine
  VGPU_CLASS_FP32,    // add, mul, fma (also min, max, compare, abs, neg of f32)
  VGPU_CLASS_FP32DIV, // div.rn, sqrt.rn, rcp.rn: a subroutine
  VGPU_CLASS_FP64, VGPU_CLASS_FP64DIV,
  VGPU_CLASS_FP16,    // f16 and f16x2 arithmetic
  VGPU_CLASS_SFU,     // ex2 lg2 sin cos rcp rsqrt sqrt tanh .approx
  VGPU_CLASS_CVT,     // cvt with a floating-point side, popc, clz, bfind, brev
  VGPU_CLASS_TENSOR,  // mma, wmma.mma
  VGPU_CLASS_LOAD, VGPU_CLASS_STORE, VGPU_CLASS_ATOM, VGPU_CLASS_RED, VGPU_CLASS_LDMATRIX, // of vgpu_ins.space
  VGPU_CLASS_PREFETCH,
  VGPU_CLASS_BRANCH, VGPU_CLASS_CALL, VGPU_CLASS_RET, VGPU_CLASS_EXIT,
  VGPU_CLASS_BAR, VGPU_CLASS_WARPSYNC, VGPU_CLASS_FENCE,
  VGPU_CLASS_SHFL, VGPU_CLASS_VOTE, VGPU_CLASS_MATCH,
  VGPU_CLASS_MISC     // nanosleep, trap, brkpt, %clock
};

// A locator names 32 lanes of operand: the two low bits the base (0 the frame, 1 the constants, 2 the warp's special values),
// the rest a byte offset. 32-bit values are uint32_t[32], 64-bit uint64_t[32], 16- and 8-bit uint16_t[32]; a predicate is one
// uint32_t with a bit a lane.
typedef uint32_t vgpu_loc;

enum vgpu_ins_flag {
  VGPU_INS_VECTOR = 1,   // ld/st with more than one element: elements are in list[]
  VGPU_INS_VOLATILE = 2, // volatile, relaxed, acquire, release, mmio or an atomic: may see what others write while we spin
  VGPU_INS_NC = 4,       // ld.global.nc, ldu
  VGPU_INS_UNIFORM = 8,  // bra.uni, call.uni
  VGPU_INS_SPECIAL = 16, // reads a special register that is not a constant of the warp (%clock)
  VGPU_INS_FREE = 32     // cvta: no machine instruction is left of it, and it is not counted
};

struct vgpu_ins {
  vgpu_op_fn fn;
  vgpu_loc dst, a, b, c;
  vgpu_loc e;         // a fourth source or a second destination
  uint32_t guard;     // 0: none, else 1 + the predicate's locator | its negation << 31
  int64_t imm;        // address offset, lop3 table, shuffle mode, ..
  uint32_t target;    // bra: pc; call: function index
  uint16_t op;        // enum vgpu_op (ops.h)
  uint8_t cls;        // enum vgpu_class
  uint8_t flags;
  uint8_t space;      // enum ptx_space as written, PTX_GENERIC included
  uint8_t width;      // memory: bytes of one element; arithmetic: bytes of the result
  uint8_t vec;        // elements
  uint8_t type;       // enum ptx_type
  uint8_t sub, sub2;  // the operation of atom, comparison, rounding, ..: private to the handler
  uint16_t num_list;  // operands in list
  uint32_t list;      // first of them in vgpu_code.list
};

// The cold half: same index as vgpu_ins.
struct vgpu_meta {
  int32_t line;           // PTX line
  int32_t src_line;       // CUDA source line, 0: unknown
  uint16_t file;          // index of ptx_module.files
  uint16_t num_dst, num_src;
  uint32_t regs;          // first of num_dst + num_src register numbers in vgpu_code.regs
  const struct ptx_ins *ptx; // the syntax it came from: text, opcode, modifiers
};

// A register's number, for dependences: the unit is a 32-bit register; a 64-bit one is two following numbers, a predicate
// is VGPU_REG_PRED + n. Numbers are those of the function, as PTX has them: without limit, nearly single-assignment.
enum { VGPU_REG_PRED = 1 << 24 };

struct vgpu_func {
  const struct ptx_func *ptx;
  const char *name;
  uint32_t first, num;      // its instructions
  uint32_t frame_bytes;     // registers and call parameters
  uint32_t local_bytes;     // .local variables of this function alone
  uint32_t static_shared;   // bytes of .shared variables it and its callees name
  uint32_t dynamic_align;   // of extern .shared, 0: none; dynamic memory starts at static_shared rounded up to it (16 at least)
  uint32_t param_bytes;     // .entry: size of the parameter buffer
  uint32_t num_params;
  uint32_t const_bytes;     // of .const variables it names
  uint32_t max_live_regs;   // 32-bit registers live at once: a floor of what ptxas would take
  uint32_t max_threads;     // from .maxntid/.reqntid, else 1024
  uint32_t stack_bytes;     // local bytes of the deepest chain of calls, recursion counted once
  bool recursive;           // or calls through pointers
  bool uses_barrier;
  // for the interpreter
  vgpu_loc *param_locs;     // .func: where each parameter starts in the frame
  uint32_t *param_sizes;
  vgpu_loc *ret_locs;
  uint32_t *ret_sizes;
  uint32_t num_rets;
  uint32_t exit;            // pc of the last instruction: the one where all returns of a .func meet
  uint32_t builtin;         // enum vgpu_builtin: vprintf, malloc, ..: has no body
};

struct vgpu_code {
  struct ptx_module *ptx;
  struct vgpu_ins *ins;
  struct vgpu_meta *meta;
  uint32_t num_ins;
  struct vgpu_func *funcs; // by ptx_func.index
  uint32_t num_funcs;
  uint8_t *constants;      // what locators of base 1 point into
  uint32_t const_bytes;
  vgpu_loc *list;
  uint32_t *regs;
  uint32_t max_frame;
  uint64_t *reach;         // who may call whom, closed: bit g of row f; rows of reach_words
  uint32_t reach_words;
  struct link_entry *links; // constant rows that hold addresses of variables
};

// Decodes a parsed module and takes it over (also on failure). NULL and *e when it holds an instruction that a T4 lacks.
struct vgpu_code *vgpu_decode(struct ptx_module *m, struct ptx_error *e);
void vgpu_code_free(struct vgpu_code *c);

struct vgpu_func *vgpu_find_func(const struct vgpu_code *c, const char *name); // entries and functions
struct ptx_var *vgpu_find_var(const struct vgpu_code *c, const char *name);    // module scope

// Placing: the owner of device memory walks the variables of global and constant space with vgpu_next_var (module scope and
// those inside functions), sets var->address to a device address, and then fills each from vgpu_var_bytes, which writes
// var->size bytes with addresses put in. Then vgpu_link puts the addresses into the code: once, before the first launch.
struct ptx_var *vgpu_next_var(const struct vgpu_code *c, const struct ptx_var *previous);
void vgpu_var_bytes(const struct vgpu_code *c, const struct ptx_var *var, uint8_t *out);
void vgpu_link(struct vgpu_code *c);

#endif

// PTX text -> a syntax tree. The grammar is that of the PTX ISA manual, versions 6.4 to 9.x, "Syntax", "Directives" and
// "Instruction operands". Names are resolved here (scopes are lexical); what an instruction means is decode.c's matter.
// Everything hangs on the module's arena and is freed with it. Errors carry the line and the text at fault.
#ifndef VGPU_PTX_H
#define VGPU_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ptx_type {
  PTX_NOTYPE, PTX_PRED, PTX_B8, PTX_B16, PTX_B32, PTX_B64, PTX_B128, PTX_U8, PTX_U16, PTX_U32, PTX_U64, PTX_S8, PTX_S16,
  PTX_S32, PTX_S64, PTX_F16, PTX_F16X2, PTX_F32, PTX_F64, PTX_OPAQUE // .texref .samplerref .surfref
};

enum ptx_space { PTX_REG, PTX_SREG, PTX_CONST, PTX_GLOBAL, PTX_LOCAL, PTX_PARAM, PTX_SHARED, PTX_GENERIC };

enum ptx_linkage { PTX_STATIC, PTX_VISIBLE, PTX_WEAK, PTX_EXTERN, PTX_COMMON };

struct ptx_arena;
struct ptx_func;

// A word of an initializer that is an address: known only when variables have been placed.
struct ptx_reloc {
  struct ptx_reloc *next;
  uint64_t offset;  // bytes into the variable
  int width;        // bytes stored
  int shift;        // mask(): the byte taken, as a right shift in bits
  bool generic;     // generic(x)
  const struct ptx_var *var; // one of the two
  const struct ptx_func *func;
  int64_t addend;
};

struct ptx_var {
  struct ptx_var *next; // in its module or function, in order of appearance
  const char *name;
  enum ptx_type type;
  enum ptx_space space;
  enum ptx_linkage linkage;
  int vec;            // 1, 2 or 4 elements of `type`
  uint32_t align;     // bytes
  uint64_t size;      // bytes; 0 for extern .shared x[]
  bool is_array;      // declared with [..]: a .param of an array is a block of bytes
  bool unsized;       // x[]
  uint8_t *init;      // `size` bytes, NULL: zeros (or none)
  struct ptx_reloc *relocs;
  int line;
  uint64_t address;   // set by who places it: device address, or offset in the space
  int slot;           // .reg: its number in the function; .param of a .func: set by decode
};

enum ptx_operand_kind {
  PTX_OP_REG,    // reg, perhaps one component of a vector register; neg: !p
  PTX_OP_SREG,   // name, component
  PTX_OP_INT,    // ival
  PTX_OP_F32,    // ival = the bits of 0fXXXXXXXX
  PTX_OP_F64,    // ival = the bits of 0dXXXXXXXXXXXXXXXX or of a decimal literal
  PTX_OP_VAR,    // var + ival
  PTX_OP_FUNC,   // func
  PTX_OP_LABEL,  // label
  PTX_OP_ADDR,   // [base + ival]; sub[0] is the base (REG, VAR or INT)
  PTX_OP_VEC,    // {sub[0], ..}
  PTX_OP_LIST,   // (sub[0], ..) of a call
  PTX_OP_PAIR,   // sub[0]|sub[1]
  PTX_OP_SINK,   // _
  PTX_OP_TABLE   // the name of a .branchtargets, .calltargets or .callprototype
};

struct ptx_operand {
  enum ptx_operand_kind kind;
  bool neg;        // !p, or a minus before a register (never by nvcc)
  int8_t component; // .x .y .z .w or .r .g .b .a as 0..3, else -1
  int num_sub;
  struct ptx_operand *sub;
  const struct ptx_var *var; // REG: the register's variable
  int reg;                   // REG: its number in the function
  struct ptx_func *func;
  const char *name; // SREG, LABEL, TABLE
  int label;        // LABEL: number in the function
  int64_t ival;
};

enum { PTX_MAX_MODS = 16 };

struct ptx_ins {
  const char *op;                 // "ld"
  const char *mod[PTX_MAX_MODS];  // "global", "nc", "v4", "u32"
  int num_mods;
  int pred;     // register number of the guard, or -1
  bool pred_neg;
  int num_ops;
  struct ptx_operand *ops;
  int line;               // in the PTX text
  int file, src_line;     // of the .loc in force: index of ptx_module.files (0: none)
  const char *text;       // the instruction's own text, not terminated
  int text_size;
  int scope;              // number of the {} it stands in
};

// A .branchtargets, .calltargets or .callprototype, known by its label.
struct ptx_table {
  struct ptx_table *next;
  const char *name;
  enum { PTX_BRANCH_TARGETS, PTX_CALL_TARGETS, PTX_CALL_PROTOTYPE } kind;
  int num;
  int *labels;               // BRANCH_TARGETS
  struct ptx_func **funcs;   // CALL_TARGETS
  struct ptx_var *params, *rets; // CALL_PROTOTYPE
};

struct ptx_func {
  struct ptx_func *next;
  const char *name;
  bool is_entry, has_body, noreturn;
  enum ptx_linkage linkage;
  int line;
  struct ptx_var *params, *rets; // chained in order
  struct ptx_var *vars;          // everything declared inside but registers: .local, .shared, .param, .global
  struct ptx_var **regs;         // by number
  int num_regs;
  struct ptx_ins *ins;
  int num_ins;
  int *label_at;                 // by label number: index of the instruction it stands before (num_ins: the end), -1 unknown
  const char **label_name;
  int num_labels;
  struct ptx_table *tables;
  uint32_t maxntid[3], reqntid[3], minnctapersm, maxnreg; // 0: not given
  int index;                     // in the module
  void *decoded;                 // decode's
};

struct ptx_module {
  struct ptx_arena *arena;
  int version;        // major * 10 + minor
  int sm;             // 75
  char target[32];    // "sm_75"
  bool debug;
  int address_size;   // 64
  struct ptx_var *vars;   // module scope
  struct ptx_func *funcs;
  int num_funcs;
  const char **files; // by the number of .file; NULL where not given
  int num_files;
  char *text;         // a copy of the source, so that messages can quote it
  size_t text_size;
};

// TARGET: the module is for a newer device. FEATURE: an instruction or directive that a T4 lacks or that is not modelled.
enum ptx_status { PTX_OK, PTX_SYNTAX, PTX_VERSION, PTX_TARGET, PTX_NO_MEMORY, PTX_FEATURE };

struct ptx_error {
  enum ptx_status status;
  int line;
  char text[512]; // "line 12: unknown instruction 'foo.u32 %r1, %r2;'"
};

// Parses `size` bytes (a NUL ends them early). NULL and *e on failure. Free with ptx_free.
struct ptx_module *ptx_parse(const char *text, size_t size, struct ptx_error *e);
void ptx_free(struct ptx_module *m);

// The arena: zeroed memory that lives as long as the module. NULL when there is none.
void *ptx_alloc(struct ptx_arena *a, size_t bytes);
unsigned ptx_type_size(enum ptx_type t); // bytes; PRED 1
bool ptx_type_from(const char *name, enum ptx_type *t); // "u32"

#endif

// What the files of the PTX reader share: the arena, tokens, symbols and the parser's state. An error leaves by longjmp to
// ptx_parse, so that the grammar reads as a grammar; all memory is the arena's.
#ifndef VGPU_PTX_INTERNAL_H
#define VGPU_PTX_INTERNAL_H

#include "runtime/vgpu/ptx.h"
#include <setjmp.h>

enum ptx_token {
  T_END, T_IDENT, T_DOT, // .word, text without the dot
  T_INT, T_FLOAT32, T_FLOAT64, T_STRING, T_PUNCT // ival is the character, or two of them: '<' << 8 | '<'
};

struct ptx_symbol {
  struct ptx_symbol *next; // in its bucket
  const char *name;        // interned
  int depth;               // of the scope it was declared in
  enum { SYM_VAR, SYM_FUNC, SYM_LABEL, SYM_RANGE, SYM_TABLE } kind;
  struct ptx_var *var;     // RANGE: the first of `count`
  struct ptx_func *func;
  struct ptx_table *table;
  int label, count;
  struct ptx_symbol *same_scope; // chain of the scope
};

struct ptx_string {
  struct ptx_string *next;
  uint32_t hash;
  char text[];
};

enum { PTX_BUCKETS = 4096, PTX_MAX_DEPTH = 200 };

struct ptx_parser {
  struct ptx_module *m;
  struct ptx_error *error;
  jmp_buf on_error;
  const char *p, *end; // the text not yet read
  int line;            // of p
  // the token in hand
  enum ptx_token token;
  const char *word;   // interned text of IDENT, DOT, STRING
  int64_t ival;       // INT, FLOAT bits, PUNCT
  bool is_unsigned;   // INT with U, or beyond 2^63
  const char *start;  // where it begins
  int token_line;
  const char *last_end; // where the token before it ended
  // names
  struct ptx_string **strings;
  struct ptx_symbol **symbols;
  struct ptx_symbol *scope[PTX_MAX_DEPTH + 1];
  int depth;
  int nesting; // of expressions and initializers
  // the function being read
  struct ptx_func *func;
  int cap_regs, cap_ins, cap_labels;
  int num_scopes;
  int file, src_line;
  int *label_alias;
  struct ptx_var **var_tail;
  struct ptx_var **module_tail;
  struct ptx_func **func_tail;
};

// ptx_lex.c
struct ptx_arena *ptx_arena_open(void);
void ptx_arena_close(struct ptx_arena *a);
void *ptx_need(struct ptx_parser *p, size_t bytes); // arena memory or an error
const char *ptx_intern(struct ptx_parser *p, const char *s, size_t n);
void ptx_next(struct ptx_parser *p); // the next token
_Noreturn void ptx_fail(struct ptx_parser *p, enum ptx_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool ptx_is(const struct ptx_parser *p, int punct);
bool ptx_is_dot(const struct ptx_parser *p, const char *word);
bool ptx_accept(struct ptx_parser *p, int punct);
bool ptx_accept_dot(struct ptx_parser *p, const char *word);
void ptx_expect(struct ptx_parser *p, int punct);
const char *ptx_expect_ident(struct ptx_parser *p);
void *ptx_grow(struct ptx_parser *p, void *old, int used, int *cap, size_t size); // room for one more; cap doubles

// ptx_symbol.c
struct ptx_symbol *ptx_lookup(struct ptx_parser *p, const char *name);
struct ptx_symbol *ptx_define(struct ptx_parser *p, const char *name, int kind);
struct ptx_var *ptx_find_reg(struct ptx_parser *p, const char *name); // also of a range %r<10>
void ptx_open_scope(struct ptx_parser *p);
void ptx_close_scope(struct ptx_parser *p);
int ptx_label_ref(struct ptx_parser *p, const char *name);
void ptx_label_define(struct ptx_parser *p, const char *name);
void ptx_labels_finish(struct ptx_parser *p); // aliases resolved, unknown ones refused

// ptx_expr.c
int64_t ptx_const_expr(struct ptx_parser *p);
bool ptx_literal(struct ptx_parser *p, struct ptx_operand *o); // a number, perhaps signed, in hand: integer expression or float
void ptx_initializer(struct ptx_parser *p, struct ptx_var *v);

// ptx_decl.c
bool ptx_at_declaration(const struct ptx_parser *p);
void ptx_declaration(struct ptx_parser *p, enum ptx_linkage linkage); // variables up to and with ;
struct ptx_var *ptx_param_list(struct ptx_parser *p, bool define);    // ( ... )
void ptx_function(struct ptx_parser *p, bool is_entry, enum ptx_linkage linkage);

// ptx_parse_ins.c
void ptx_body(struct ptx_parser *p); // from { to }

#endif

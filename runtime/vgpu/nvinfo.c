// See nvinfo.h. An attribute is u8 format, u8 name, u16 value or size, then (format 4) its bytes; those of interest hold a
// symbol's number and a figure.
#include "runtime/vgpu/nvinfo.h"
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT_SIZED    4
#define ATTR_FRAME_SIZE 0x11
#define ATTR_REGCOUNT   0x2f
#define MAX_KERNELS     65536

struct elf {
  const uint8_t *p;
  size_t n;
  Elf64_Shdr names;
};

static bool section(const struct elf *e, const Elf64_Ehdr *h, unsigned i, Elf64_Shdr *s) {
  uint64_t at = h->e_shoff + (uint64_t)i * sizeof *s;
  if (h->e_shoff > e->n || at + sizeof *s > e->n) return false;
  memcpy(s, e->p + at, sizeof *s);
  return s->sh_type == SHT_NOBITS || (s->sh_offset <= e->n && s->sh_size <= e->n - s->sh_offset);
}

// A string of a string table; "" if it is not there or not ended.
static const char *string(const struct elf *e, const Elf64_Shdr *table, uint64_t at) {
  if (at >= table->sh_size || table->sh_type == SHT_NOBITS) return "";
  const char *s = (const char *)e->p + table->sh_offset + at;
  return memchr(s, 0, table->sh_size - at) ? s : "";
}

struct tables {
  Elf64_Shdr symbols, strings, info;
  bool has_symbols, has_info;
};

static bool find_tables(struct elf *e, struct tables *t) {
  Elf64_Ehdr h;
  if (e->n < sizeof h) return false;
  memcpy(&h, e->p, sizeof h);
  if (memcmp(h.e_ident, ELFMAG, SELFMAG) || h.e_ident[EI_CLASS] != ELFCLASS64 || !section(e, &h, h.e_shstrndx, &e->names)) return false;
  memset(t, 0, sizeof *t);
  for (unsigned i = 0; i < h.e_shnum; i++) {
    Elf64_Shdr s;
    if (!section(e, &h, i, &s)) return false;
    if (s.sh_type == SHT_SYMTAB && section(e, &h, s.sh_link, &t->strings)) t->symbols = s, t->has_symbols = true;
    if (!strcmp(string(e, &e->names, s.sh_name), ".nv.info") && s.sh_type != SHT_NOBITS) t->info = s, t->has_info = true;
  }
  return t->has_symbols && t->has_info;
}

static const char *symbol(const struct elf *e, const struct tables *t, uint32_t i) {
  Elf64_Sym s;
  if ((uint64_t)(i + UINT64_C(1)) * sizeof s > t->symbols.sh_size) return "";
  memcpy(&s, e->p + t->symbols.sh_offset + (uint64_t)i * sizeof s, sizeof s);
  return string(e, &t->strings, s.st_name);
}

static struct vg_kernel_info *entry_of(struct vg_kernel_info **list, size_t *num, const char *name) {
  for (size_t i = 0; i < *num; i++)
    if (!strcmp((*list)[i].name, name)) return &(*list)[i];
  if (!*name || strlen(name) >= sizeof (*list)->name || *num == MAX_KERNELS) return NULL;
  struct vg_kernel_info *l = realloc(*list, (*num + 1) * sizeof *l);
  if (!l) return NULL;
  *list = l;
  memset(&l[*num], 0, sizeof *l);
  strcpy(l[*num].name, name);
  return &l[(*num)++];
}

bool vg_nvinfo(const uint8_t *p, size_t n, struct vg_kernel_info **info, size_t *num) {
  struct elf e = {.p = p, .n = n};
  struct tables t;
  *info = NULL, *num = 0;
  if (!find_tables(&e, &t)) return false;
  const uint8_t *a = p + t.info.sh_offset, *end = a + t.info.sh_size;
  while (end - a >= 4) {
    size_t size = a[0] == FORMAT_SIZED ? (size_t)(a[2] | a[3] << 8) : 0;
    if (size > (size_t)(end - a) - 4) break;
    if ((a[1] == ATTR_REGCOUNT || a[1] == ATTR_FRAME_SIZE) && size >= 8) {
      uint32_t at, value;
      memcpy(&at, a + 4, 4);
      memcpy(&value, a + 8, 4);
      struct vg_kernel_info *k = entry_of(info, num, symbol(&e, &t, at));
      if (k && a[1] == ATTR_REGCOUNT) k->regs = value;
      else if (k) k->local_bytes = value;
    }
    a += 4 + size;
  }
  return true;
}

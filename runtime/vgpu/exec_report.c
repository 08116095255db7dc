// Findings of the interpreter, put where check.h keeps them.
#include "runtime/vgpu/exec_internal.h"
#include <stdarg.h>
#include <stdio.h>

bool vgpu_report(struct vgpu_warp *w, const struct vgpu_ins *d, unsigned lane, enum vg_finding_kind kind, const char *fmt, ...) {
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return vg_report(&w->block->vg, w->index, lane, vgpu_pc(w, d), kind, "%s", text);
}

const struct vgpu_ins *vgpu_die(struct vgpu_warp *w) {
  int none = 0; // whoever reported has set the error; be sure that the launch ends
  atomic_compare_exchange_strong(&w->block->check->error, &none, 719);
  return NULL;
}

void vgpu_locate(const void *code, uint32_t pc, struct vg_where *out) {
  const struct vgpu_code *c = code;
  memset(out, 0, sizeof *out);
  if (!c || pc >= c->num_ins) return;
  const struct vgpu_meta *m = &c->meta[pc];
  for (uint32_t f = 0; f < c->num_funcs; f++)
    if (pc - c->funcs[f].first < c->funcs[f].num) out->kernel = c->funcs[f].name;
  out->ptx_line = (uint32_t)m->line;
  if (m->ptx) {
    static _Thread_local char text[128];
    int n = m->ptx->text_size < (int)sizeof text - 1 ? m->ptx->text_size : (int)sizeof text - 1, k = 0;
    for (int i = 0; i < n; i++) { // blanks and line ends as one space
      char ch = m->ptx->text[i];
      if (ch == '\n' || ch == '\t' || ch == '\r') ch = ' ';
      if (ch != ' ' || (k && text[k - 1] != ' ')) text[k++] = ch;
    }
    text[k] = 0;
    out->ptx_text = text;
  }
  if (m->file < c->ptx->num_files && m->src_line) {
    out->file = c->ptx->files[m->file];
    out->line = (uint32_t)m->src_line;
  }
}

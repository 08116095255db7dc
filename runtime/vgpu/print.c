// The kernel's printf: formatting as CUDA does it, and the buffer that reaches stdout when the program synchronises.
#include "runtime/vgpu/check.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRING_CAP 4096     // longest %s
#define BUFFER_CAP (1 << 20) // as the device's default fifo; what comes after is dropped and said

static struct {
  pthread_mutex_t lock;
  char *text;
  size_t len, cap, limit;
  bool dropped;
} g = {.lock = PTHREAD_MUTEX_INITIALIZER, .limit = BUFFER_CAP};

void vg_print_limit(size_t bytes) {
  pthread_mutex_lock(&g.lock);
  g.limit = bytes;
  pthread_mutex_unlock(&g.lock);
}

size_t vg_print_get_limit(void) {
  pthread_mutex_lock(&g.lock);
  size_t n = g.limit;
  pthread_mutex_unlock(&g.lock);
  return n;
}

void vg_print(const char *text, size_t len) {
  pthread_mutex_lock(&g.lock);
  if (g.len + len > g.cap && g.len + len <= g.limit) {
    size_t cap = g.cap ? g.cap : 4096;
    while (cap < g.len + len) cap *= 2;
    char *t = realloc(g.text, cap);
    if (t) g.text = t, g.cap = cap;
  }
  if (g.len + len <= g.cap && g.len + len <= g.limit) {
    memcpy(g.text + g.len, text, len);
    g.len += len;
  } else {
    g.dropped = true;
  }
  pthread_mutex_unlock(&g.lock);
}

void vg_print_flush(void) {
  pthread_mutex_lock(&g.lock);
  char *text = g.text;
  size_t len = g.len;
  bool dropped = g.dropped;
  g.text = NULL, g.len = g.cap = 0, g.dropped = false;
  pthread_mutex_unlock(&g.lock);
  if (len) {
    fwrite(text, 1, len, stdout);
    fflush(stdout);
  }
  if (dropped) fprintf(stderr, "vgpu: printf output was dropped: over the fifo's size (cuCtxSetLimit PRINTF_FIFO_SIZE)\n");
  free(text);
}

struct args {
  const uint8_t *bytes;
  size_t size, at;
};

// The next argument of n bytes, at its own alignment; zeros past the end.
static uint64_t next_arg(struct args *a, size_t n) {
  uint64_t v = 0;
  size_t at = (a->at + n - 1) / n * n;
  if (at <= a->size && n <= a->size - at) memcpy(&v, a->bytes + at, n);
  a->at = at + n;
  return v;
}

struct spec {
  char text[64]; // "%-08.3" : what goes before the size and type
  size_t len;
  int longs;     // number of l: 1 and 2 are both 8 bytes
  char type;
};

// Reads one conversion after the '%'; returns what follows it.
static const char *read_spec(const char *f, struct spec *s, struct args *a) {
  *s = (struct spec){.text = "%", .len = 1};
  for (; *f && strchr("-+ #0123456789.*", *f); f++) {
    if (*f == '*') {
      int v = (int)next_arg(a, 4);
      v = v < -9999 ? -9999 : v > 9999 ? 9999 : v;
      if (s->len < sizeof s->text - 16) s->len += (size_t)snprintf(s->text + s->len, 8, "%d", v);
    } else if (s->len < sizeof s->text - 16) {
      s->text[s->len++] = *f;
    }
  }
  for (; *f == 'h' || *f == 'l' || *f == 'z' || *f == 'j' || *f == 't' || *f == 'L'; f++) s->longs += *f != 'h' && *f != 'L';
  s->type = *f;
  s->text[s->len] = 0;
  return *f ? f + 1 : f;
}

static void finish(struct spec *s, const char *end) { strcpy(s->text + s->len, end); }

// A width of 9999 digits at most: the caller's buffer holds that.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static int print_spec(char *out, size_t cap, struct spec *s, struct args *a, bool (*read)(void *, uint64_t, char *, size_t), void *ctx) {
  char tail[4] = {0}, *str = NULL;
  int n;
  switch (s->type) {
  case 'd': case 'i': case 'u': case 'o': case 'x': case 'X':
    tail[0] = 'l', tail[1] = 'l', tail[2] = s->type;
    finish(s, tail);
    if (s->longs) return snprintf(out, cap, s->text, (long long)next_arg(a, 8));
    if (s->type == 'd' || s->type == 'i') return snprintf(out, cap, s->text, (long long)(int32_t)next_arg(a, 4));
    return snprintf(out, cap, s->text, (long long)(uint32_t)next_arg(a, 4));
  case 'c':
    finish(s, "c");
    return snprintf(out, cap, s->text, (int)next_arg(a, 4));
  case 'e': case 'E': case 'f': case 'F': case 'g': case 'G': case 'a': case 'A': {
    uint64_t bits = next_arg(a, 8);
    double v;
    memcpy(&v, &bits, sizeof v);
    tail[0] = s->type;
    finish(s, tail);
    return snprintf(out, cap, s->text, v);
  }
  case 'p':
    finish(s, "p");
    return snprintf(out, cap, s->text, (void *)(uintptr_t)next_arg(a, 8));
  case 's': {
    uint64_t addr = next_arg(a, 8);
    str = malloc(STRING_CAP);
    if (!str) return 0;
    if (!addr || !read(ctx, addr, str, STRING_CAP)) strcpy(str, "(null)");
    finish(s, "s");
    n = snprintf(out, cap, s->text, str);
    free(str);
    return n;
  }
  default: // not a conversion: printed as it stands
    tail[0] = s->type;
    finish(s, tail);
    return snprintf(out, cap, "%s", s->text);
  }
}
#pragma GCC diagnostic pop

static int count_args(const char *f) {
  int n = 0;
  for (; *f; f++) {
    if (*f != '%') continue;
    if (*++f == '%') continue;
    for (; *f && strchr("-+ #0123456789.*hlzjtL", *f); f++) n += *f == '*';
    if (!*f) break;
    n++;
  }
  return n;
}

int vg_printf(const char *fmt, const uint8_t *bytes, size_t size, bool (*read)(void *ctx, uint64_t addr, char *buf, size_t cap), void *ctx) {
  if (!fmt) return -1;
  const size_t cap = 32768; // the text of one call: buffered whole, so that threads do not mix
  char *out = malloc(cap);
  if (!out) return -1;
  struct args a = {.bytes = bytes, .size = size};
  size_t len = 0;
  for (const char *f = fmt; *f && len < cap - 1;) {
    if (*f != '%' || f[1] == '%') {
      f += *f == '%';
      out[len++] = *f++;
      continue;
    }
    struct spec s;
    f = read_spec(f + 1, &s, &a);
    int n = print_spec(out + len, cap - len, &s, &a, read, ctx);
    if (n > 0) len = len + (size_t)n < cap ? len + (size_t)n : cap - 1;
  }
  vg_print(out, len);
  free(out);
  return count_args(fmt);
}

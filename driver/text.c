#include "driver/text.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool continues(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

int text_width(const char *text) {
  int n = 0;
  for (; *text; text++) n += !continues(*text);
  return n;
}

void text_print(FILE *f, const char *text, int width) {
  int space = abs(width) - text_width(text);
  fprintf(f, "%*s%s%*s", width < 0 && space > 0 ? space : 0, "", text, width > 0 && space > 0 ? space : 0, "");
}

// The escape of a byte that cannot be shown as it is, or NULL.
static const char *escape(unsigned char c, char hex[5]) {
  switch (c) {
  case '"': return "\\\"";
  case '\\': return "\\\\";
  case '\n': return "\\n";
  case '\r': return "\\r";
  case '\t': return "\\t";
  default:
    if (c >= 0x20 && c != 0x7f) return NULL;
    snprintf(hex, 5, "\\x%02x", c);
    return hex;
  }
}

char *text_quote(const char *text, size_t len, size_t most, struct err *e) {
  char hex[5], *out = mem_alloc(4 * len + 6, 1, "a quoted text", e), *p = out;
  if (!out) return NULL;
  *p++ = '"';
  size_t i = 0;
  for (size_t shown = 0; i < len; i++) {
    if (!continues(text[i]) && shown++ == most) break;
    const char *esc = escape((unsigned char)text[i], hex);
    if (esc) p = stpcpy(p, esc);
    else *p++ = text[i];
  }
  strcpy(p, i < len ? "...\"" : "\"");
  return out;
}

int text_decimals(double v) {
  if (v <= 0) return 0;
  int d = 2 - (int)floor(log10(v));
  return d < 0 ? 0 : d > 3 ? 3 : d;
}

struct unit {
  const char *name;
  double size;
};

// In the first unit that `v` fills; the last one takes what fills none.
static const char *in_unit(double v, const struct unit *units, int count, char out[TEXT_QUANTITY]) {
  int u = 0;
  while (u < count - 1 && v < units[u].size) u++;
  v /= units[u].size;
  snprintf(out, TEXT_QUANTITY, "%.*f %s", text_decimals(v), v, units[u].name);
  return out;
}

const char *text_seconds(double seconds, char out[TEXT_QUANTITY]) {
  static const struct unit units[] = {{"s", 1}, {"ms", 1e-3}, {"µs", 1e-6}};
  return in_unit(seconds, units, 3, out);
}

const char *text_bytes(int64_t bytes, char out[TEXT_QUANTITY]) {
  static const struct unit units[] = {{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}};
  if (bytes >= 1000) return in_unit((double)bytes, units, 4, out);
  snprintf(out, TEXT_QUANTITY, "%d bytes", (int)bytes);
  return out;
}

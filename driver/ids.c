#include "driver/driver.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool parse_ids(const char *text, struct ids *out, struct err *e) {
  for (const char *p = text;;) {
    p += strspn(p, " ,\t\r\n");
    if (!*p) return true;
    char *end;
    errno = 0;
    long long v = strtoll(p, &end, 10);
    if (end == p || errno || v < 0 || v > INT32_MAX || !strchr(" ,\t\r\n", *end))
      return err_set(e, "'%.*s' is not an id; ids are whole numbers separated by spaces or commas",
                     (int)strcspn(p, " ,\t\r\n"), p);
    if (!ids_push(out, (int32_t)v, e)) return false;
    p = end;
  }
}

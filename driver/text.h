// Text for people: quoted, and lined up by what is seen rather than by bytes.
#pragma once
#include "runtime/base/err.h"
#include <stdint.h>
#include <stdio.h>

// text[0, len) in double quotes, with control characters, quotes and backslashes escaped; longer than `most` characters
// is cut with "...". A new string to be freed with mem_free.
char *text_quote(const char *text, size_t len, size_t most, struct err *e);
// Columns that UTF-8 text takes, one for each character.
int text_width(const char *text);
// Prints the text in `width` columns: left-aligned, or right-aligned when `width` is negative.
void text_print(FILE *f, const char *text, int width);

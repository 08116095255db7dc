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

// Decimals that give a number three digits and never an exponent.
int text_decimals(double v);
enum { TEXT_QUANTITY = 32 };
// "6.21 s", "588 µs"; "805 MB", "96 bytes": three digits in the unit that fits, written to `out`, which is returned.
const char *text_seconds(double seconds, char out[TEXT_QUANTITY]);
const char *text_bytes(int64_t bytes, char out[TEXT_QUANTITY]);

#!/usr/bin/env python3
"""Writes runtime/model/unicode_standins.inc: characters whose class differs between Hugging Face's regular expressions (Oniguruma,
Unicode 16) and an older or newer PCRE2, each with an older character of the same class and UTF-8 length that stands in for it.

Asks the engine itself (package `tokenizers`) about every code point; what is "old" is what this Python's unicodedata, Unicode 14 in
Python 3.11, already knows. Usage: make_unicode_standins.py > runtime/model/unicode_standins.inc
"""
import unicodedata
from tokenizers import Regex, pre_tokenizers, __version__

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CATEGORIES = "Lu Lt Lm Lo Ll Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cn Co".split()
# Members of each class that Unicode 13 has, by UTF-8 length.
STAND_INS = {
    3: dict(Lu=0x1E00, Ll=0x1E01, Lm=0x1D2C, Lo=0x0E01, Mn=0x0900, Mc=0x0903, Nd=0x0966, No=0x2460, So=0x2600, Sm=0x2200,
            Po=0x2020, Pd=0x2010, Cf=0x200B, Cn=0xFDD0, Han=0x4E00),
    4: dict(Lu=0x10400, Ll=0x10428, Lm=0x16B40, Lo=0x10280, Mn=0x11001, Mc=0x11000, Nd=0x104A0, No=0x10107, So=0x1F300,
            Sm=0x1D6C1, Po=0x10100, Pd=0x10EAD, Cf=0x1D173, Cn=0x1FFFE, Han=0x20000),
}


def members(pattern):
    text = "".join(map(chr, CODE_POINTS))
    rest = set()
    for _, (a, b) in pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(text):
        rest.update(range(a, b))
    return {c for i, c in enumerate(CODE_POINTS) if i not in rest}


def main():
    han = members(r"\p{Han}")
    category = {c: name for name in CATEGORIES for c in members(r"\p{%s}" % name)}
    assert len(category) == len(CODE_POINTS)
    ranges = []
    for c in CODE_POINTS:
        name = category[c]
        changed = name != unicodedata.category(chr(c)) or name == "Cn"
        # U+180E, a format character, is a space to PCRE2 only.
        if c < 0x800 or not (changed or c == 0x180E):
            continue
        length = 3 if c < 0x10000 else 4
        stand_in = STAND_INS[length]["Han" if c in han else name]
        if c == stand_in or (c & 0xFFFE) == 0xFFFE:
            continue  # itself, or one that is never assigned
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == stand_in:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, stand_in])
    print(f"// Made by scripts/make_unicode_standins.py from tokenizers {__version__}; {len(ranges)} ranges {{first, last, stand-in}}.")
    line = ""
    for r in ranges:
        item = "{0x%X, 0x%X, 0x%X}," % tuple(r)
        if len(line) + len(item) > 118:
            print(line.rstrip())
            line = ""
        line += item + " "
    print(line.rstrip())


main()

"""Texts that tokenizers get wrong, as bytes. Some are not valid UTF-8; those stand for their decoding with U+FFFD."""

PLAIN = [
    "", " ", "  ", "   ", "    ", " " * 7, " " * 16, " " * 17, " " * 100, "\n", "\n\n", "\n\n\n", "\t", "\t\t", " \n", "\n ", " \t ",
    "\r\n", "\r\n\r\n", "\r", " \n \n ", "\v\f", "a", " a", "  a", "a ", "a  ", " a ", "a\n", "\na", "a\n\nb", "a \n b", "a\tb",
    "a  b   c    d     e", "word\n    indented\n\tby a tab", "trailing spaces   \nnext line",
    "Hello, world!", "hello world", " hello world", "HELLO WORLD", "The capital of Germany is", "The capital of France is",
    "Write an email apologizing to Sarah for the tragic gardening mishap. Explain how it happened.",
    "Once upon a time, there was a little girl named Lily.",
    "I'm you're he'll she'd we've they're it's can't won't DON'T I'M Y'ALL'D'VE", "'s 't 're 've 'm 'll 'd", "''s ' s 'S 'LL",
    "rock'n'roll 'tis o'clock dogs' d'être", "can\u2019t it\u2019s",
    "0 1 12 123 1234 12345 123456 1234567890", "3.14159 -1,000,000.00 1e-5 0x1F 50% $9.99 1st 2nd", "a1b2c3 4d 5e6f7", "\u0661\u0662\u0663 \u00bd \u00b2 \u2167",
    "http://www.example.com/path?query=1&x=%20#frag", "https://user:pw@host.example:8080/a/b/../c.html", "mail@example.org",
    "C:\\Windows\\System32\\drivers", "/usr/local/bin:/usr/bin",
    "int main(void) {\n\tfor (int i = 0; i < 10; ++i)\n\t\tprintf(\"%d\\n\", i);\n\treturn 0;\n}\n",
    "def f(x):\n    if x:\n        return {'a': [1, 2, (3,)]}\n    # comment\n    return None\n",
    "<html><body class=\"x\">&nbsp;&amp;</body></html>", "{\"key\": [1, 2.5, null, true], \"s\": \"\\u00e9\"}",
    "SELECT * FROM t WHERE a >= 3 AND b != 'x';", "x = y<<2 | ~z ^ 0b1010 && !w || a ?: b->c::d", "#include <stdio.h>", "$$\\frac{a}{b}$$ \\n \\t",
    "!!!", "...", "....", "?!?!", "---", "-----", "=====", "***bold***", "~~~", "(((", "[[]]", "<<<>>>", ",.;:!?", "a,b.c;d:e!f?g", "\"quoted\" 'single' `tick`",
    "@#$%^&*()_+-=[]{}|;':\",./<>?`~\\", "__init__", "snake_case camelCase PascalCase kebab-case SCREAMING_SNAKE",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis", "a" * 200, "ab" * 100, "aaab" * 60, "e" * 33 + " " + "e" * 32,
    "the" * 50, "ing" * 41, "abcdefghijklmnopqrstuvwxyz" * 8, "\n" * 40, "\t" * 12, "=" * 80, "ha" * 31 + "!", "x " * 50, "\n \n" * 12, "  \n" * 10,
    "caf\u00e9 na\u00efve r\u00e9sum\u00e9 \u00fcber Stra\u00dfe", "cafe\u0301 nai\u0308ve e\u0301\u0301\u0301", "A\u030a \u00c5 \u212b", "Z\u0351\u036b\u0343a\u0321lg\u0322o\u0316",
    "\u0130stanbul \u0131\u015f\u0131k \u011f", "fi\ufb01 \ufb03 \u01c6", "\u1e9e \u0149 \ua7fb",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u4f60\u597d world \u4e16\u754c", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3067\u3059\u3002", "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8", "\u1112\u1161\u11ab", "\u3000\u5168\u89d2\u3000\u7a7a\u767d\u3000", "\U00020000\U0002a6df",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u043a\u0430\u043a \u0434\u0435\u043b\u0430?", "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
    "\u202eright to left\u202c \u200fmark\u200e", "abc \u05d0\u05d1\u05d2 123 \u0627\u0628\u062c",
    "\U0001f600", "\U0001f600\U0001f601 \U0001f602", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd", "\U0001f1eb\U0001f1f7\U0001f1e9\U0001f1ea", "\u2764\ufe0f \u2764", "1\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "\u2581", "\u2581\u2581", "a\u2581b", "\u2581 \u2581", " \u2581the", "\u2581the the", "x\u2581\u2581\u2581y",
    "\x00", "a\x00b", "\x01\x02\x1f\x7f", "\x1b[31mred\x1b[0m", "\u0080\u0085\u009f", "\u00a0non\u00a0breaking", "\u200bzero\u200cwidth\u200djoin\ufeff", "\u2028line\u2029para",
    "\u2003em\u2002en\u2009thin\u202fnarrow\u205fmath", "\u00ad soft\u00adhyphen", "\ufffd", "\ufffd\ufffd\ufffd", "\ufffe \uffff \ufdd0", "\U0010ffff \U000f0000 \ue000",
    "\u2018single\u2019 \u201cdouble\u201d \u2013 \u2014 \u2026 \u2022 \u2122 \u00a9 \u20ac \u00a3", "\u2200x\u2208\u211d: \u2308x\u2309 \u2260 \u221e \u2211\u220f\u222b", "\u2500\u2502\u250c\u2588\u2591",
    "<0x0A>", "<0x00><0xFF>", "<unk>x", "<pad> [CLS] [MASK]", "<|", "|>", "<||>", "<|en", "<| end |>", "<|End|>", "<<|x|>>",
    "Mixed \u4e2d\u6587 and \u0440\u0443\u0441\u0441\u043a\u0438\u0439 and \u0639\u0631\u0628\u064a and \U0001f600 in one line.", "tab\there\tand  two  spaces\nnew line\r\nwindows line",
    "Dear Sarah,\n\nI am so sorry.\n\nBest regards,\nRobin\n", "   leading and trailing   ", "\n\nleading lines", "1. one\n2. two\n   - three\n",
]

BROKEN = [
    b"\xff", b"\xfe\xff", b"abc\x80def", b"\xc3", b"\xc3\x28", b"\xe2\x82", b"\xe2\x82\xac\xe2\x82", b"\xe2\x28\xa1", b"\xf0\x9f\x98", b"\xf0\x9f\x98 x",
    b"\xf0\x28\x8c\xbc", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xf0\x80\x80\x80",
    b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\x80\x80\x80", b"ok \xff\xff ok", b"\xe4\xbd\xa0\xe5\xa5", b"a\xf0\x9f", b"\xc3\xa9\xc3",
    bytes(range(128, 256)), b"tail \xf0\x9f\x98\x80\xf0\x9f\x98",
]


def with_added(added):
    """Texts around the added tokens of one tokenizer: alone, adjacent, with white space of every kind on either side."""
    texts = []
    for a in added:
        texts += [a, f"{a} ", f" {a}", f"x{a}y", f"x {a} y", f"{a}\n", f"{a}\nword", f"{a}\n\n  word", f"{a}\t\u00a0\u3000x", f"word\n{a}", f"{a}{a}", f"{a} {a}  {a}",
                  f"{a}\u200bx", f"{a[:-1]}", f"{a.upper()}", f"<{a}>", f"{a}<0x0A>"]
    texts += ["".join(added), " ".join(added), "\n".join(added), "  \n".join(reversed(added))]
    return texts


def all_texts(added, chats):
    """Every text as bytes, without repeats, in a fixed order."""
    texts = [t.encode() for t in PLAIN] + BROKEN + [t.encode() for t in with_added(added) + chats]
    return list(dict.fromkeys(texts))

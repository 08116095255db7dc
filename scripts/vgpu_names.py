#!/usr/bin/env python3
"""Writes runtime/vgpu/cunames.inc: every name that the driver library of CUDA 11.8 to 13 exports, from the headers themselves.

    scripts/vgpu_names.py INCLUDE_DIR... > runtime/vgpu/cunames.inc

Give the include folders of all toolkits (11.8, 12.x, 13.x); the table is their union.
ENTRY(base, version, symbol): cuGetProcAddress finds `symbol` for `base` from that CUDA version on.
PER_THREAD(symbol, variant): the variant serves programs built for per-thread default streams.
NAME(symbol): every exported name once."""
import collections
import re
import sys


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


names, variants, versions = set(), {}, collections.defaultdict(set)
for folder in sys.argv[1:]:
    text = read(folder + "/cuda.h") + read(folder + "/cudaProfiler.h")
    names |= set(re.findall(r"^\s*(?:__CUDA_DEPRECATED\s+)?CUresult\s+CUDAAPI\s+(cu\w+)\s*\(", text, re.M))
    for target in re.findall(r"#\s*define\s+cu[A-Z]\w+\s+(.*)", text):
        per_thread = re.match(r"__CUDA_API_(PTDS|PTSZ)\((cu\w+)\)", target.strip())
        if per_thread:
            names.add(per_thread.group(2))
            variants[per_thread.group(2) + "_" + per_thread.group(1).lower()] = per_thread.group(2)
        elif re.match(r"cu\w+$", target.strip()):
            names.add(target.strip())
    for header in ("cudaTypedefs.h", "cudaProfilerTypedefs.h"):
        for base, version, per_thread in re.findall(r"PFN_(cu\w+?)_v(\d{4,5})(_ptds|_ptsz)?\)", read(folder + "/" + header)):
            if not per_thread:
                versions[base].add(int(version))

for name in names:
    plain = re.sub(r"_pt[ds][sz]$", "", name)
    if plain != name and plain in names:
        variants[name] = plain


def rank(name):
    m = re.search(r"_v(\d+)$", name)
    return int(m.group(1)) if m else 1


print("// Written by scripts/vgpu_names.py from the headers of CUDA 11.8, 12 and 13.")
for base in sorted(versions):
    symbols = sorted((n for n in names if re.fullmatch(re.escape(base) + r"(_v\d+)?", n)), key=rank)
    since = sorted(versions[base])
    for version, symbol in zip(since[-len(symbols):], symbols[-len(since):]):
        print(f"ENTRY({base}, {version}, {symbol})")
for variant in sorted(variants):
    print(f"PER_THREAD({variants[variant]}, {variant})")
for name in sorted(names | set(variants)):
    print(f"NAME({name})")

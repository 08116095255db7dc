"""The report's charts, from the files of results/."""

import math

import report_svg as svg
from report_data import NOTEBOOKS, OPERATION_NAMES, digits, is_notebook_experiment, kernel_rows, layer_rows, lengths, main_roof, seconds_text, steps, times

CACHED, UNCACHED = "c0", "c1"
FAMILIES = [("decode", "c0"), ("linear", "c1"), ("attention_prefill", "c2"), ("attention", "c3"), ("sample", "c4"), ("", "c5")]


def family(kernel):
    name = kernel.removeprefix("phi3_")
    return next((prefix, color) for prefix, color in FAMILIES if name.startswith(prefix))


FAMILY_LABELS = {"decode": "linear, few rows", "linear": "linear, many rows", "attention_prefill": "attention, prefill", "attention": "attention, decode", "sample": "sampling", "": "rows"}


def curve(timing):
    """Mean seconds until the n-th token."""
    runs = timing["token_seconds"]
    return [(i + 1, sum(run[i] for run in runs) / len(runs)) for i in range(len(runs[0]))]


def experiment(data):
    """Time until the n-th new token, cached and uncached."""
    point = data["experiment"]
    most = max(curve(point[k])[-1][1] for k in ("cached", "uncached") if point[k])
    with_hf = is_notebook_experiment(data)
    if with_hf:
        most = max(most, NOTEBOOKS["uncached"][0] + NOTEBOOKS["uncached"][1])
    c = svg.Chart((0, point["new_tokens"] * (1.2 if with_hf else 1.02)), (0, most * 1.08), "new tokens", "seconds", legend_rows=2 if with_hf else 1)
    how = "estimate" if data.get("estimate") else "measured"
    ends = [c.py(curve(point[k])[-1][1]) for k in ("cached", "uncached") if point[k]]
    close = len(ends) == 2 and ends[0] - ends[1] < 16  # two texts above the ends would lie one over the other
    for kind, color in (("cached", CACHED), ("uncached", UNCACHED)):
        if not point[kind]:
            continue
        points = curve(point[kind])
        c.line(points, color, f"{kind} ({how})" if with_hf else kind)
        c.note(*points[-1], seconds_text(points[-1][1]), color, anchor="end", dx=-6, dy=16 if close and kind == "cached" else -6)
    if with_hf:
        for kind, color in (("cached", CACHED), ("uncached", UNCACHED)):
            mean, sd = NOTEBOOKS[kind]
            c.points([(point["new_tokens"], mean)], color, f"transformers, {kind}", [f"{mean} s ± {sd} s"], radius=5)
            c.bars([(point["new_tokens"], mean, sd)], color)
            c.note(point["new_tokens"], mean, f"{mean} s", color, dx=8, dy=4)
    return c.svg(f"seconds until each of {point['new_tokens']} new tokens")


def sweep(data):
    """Seconds of the whole generation against the prompt's length."""
    points = lengths(data)
    outputs = sorted({p["new_tokens"] for p in data["sweep"] if p["cached"] and p.get("batch", 1) == 1})
    if not outputs:
        return None
    points = [p for p in points if p["new_tokens"] in outputs]
    xs = sorted({p["prompt_tokens"] for p in points})
    values = [p[k]["mean_seconds"] for p in points for k in ("cached", "uncached") if p[k]]
    if len(xs) < 2:
        return None
    c = svg.Chart((xs[0] / 1.15, xs[-1] * 1.15), (min(values) / 1.4, max(values) * 1.4), "tokens of prompt", "seconds", True, True, xs, legend_rows=(2 * len(outputs) + 1) // 2)
    for i, new in enumerate(outputs):
        for kind, color in (("cached", CACHED), ("uncached", UNCACHED)):
            line = sorted((p["prompt_tokens"], p[kind]["mean_seconds"], p[kind]["sd_seconds"]) for p in points if p["new_tokens"] == new and p[kind])
            if line:
                c.line([q[:2] for q in line], color, f"{kind}, {new} new", dash=i % 2 == 1)
                c.points([q[:2] for q in line], color, None, [f"{q[0]} + {new} tokens, {kind}: {seconds_text(q[1])}" for q in line], 3.5)
                c.bars(line, color)
    return c.svg("seconds of the whole generation against tokens of prompt")


def gain(sets):
    """How many times as fast the cache makes it, against the prompt's length. sets: [(label, data, new tokens)]"""
    lines = []
    for label, data, new in sets:
        line = sorted((p["prompt_tokens"], times(p)) for p in lengths(data) if p["new_tokens"] == new and p["uncached"])
        if len(line) > 1:
            lines.append((label, line))
    if not lines:
        return None
    xs = sorted({x for _, line in lines for x, _ in line})
    top = max(y for _, line in lines for _, y in line)
    ticks = [x for i, x in enumerate(xs) if i == 0 or x / xs[i - 1] > 1.35]
    c = svg.Chart((xs[0] / 1.15, xs[-1] * 1.15), (0.9, top * 1.25), "tokens of prompt", "times as fast", True, True, ticks, legend_rows=(len(lines) + 1) // 2)
    for i, (label, line) in enumerate(lines):
        color = list(svg.PALETTE)[i % len(svg.PALETTE)]
        c.line(line, color, label)
        c.points(line, color, None, [f"{label}, {x} tokens of prompt: {digits(y)} times as fast" for x, y in line], 3.5)
    return c.svg("how many times as fast generation is with the cache, against tokens of prompt")


def token(estimate, phase):
    """Where a step's time goes."""
    rows = steps(estimate, phase)
    total = sum(r[1] * r[2] for r in rows)
    parts = [(OPERATION_NAMES[op], n * each / total, list(svg.PALETTE)[i % 8]) for i, (op, n, each, *_) in enumerate(rows)]
    return svg.stacked_bar(parts, "shares of a step's time")


def phase(data):
    """Each kernel's share of a profile's phase, in the order of the schedule."""
    bars = [(f"{OPERATION_NAMES[r['operation']]}: {r['kernel'].removeprefix('phi3_')}", 100 * r["share"], f"{100 * r['share']:.1f} %, {seconds_text(r['us'] * 1e-6)}", family(r["kernel"])[1])
            for r in data["rows"]]
    most = 10 * math.ceil(max(b[1] for b in bars) / 10)
    return svg.horizontal_bars(bars, "share of the step's time that each kernel takes", most, "", label_width=256)


def layer(profile, data):
    """The kernels of one layer, one behind the other."""
    rows = layer_rows(profile, data)
    total = sum(r["us"] for r in rows)
    parts = [(f"{r['kernel'].removeprefix('phi3_')}, {seconds_text(1e-6 * r['us'] / profile['shape']['layers'])}", r["us"] / total, list(svg.PALETTE)[i % 8]) for i, r in enumerate(rows)]
    return svg.stacked_bar(parts, "the kernels of one layer, in their order, by their time") if rows else None


def roofline(kernels):
    rows = [r for r in kernel_rows(kernels) if r["operations"] > 0]
    if not rows:
        return None
    x = [r["operations"] / r["bytes"] for r in rows]
    low, high = min(x) / 2, max(max(x) * 2, 600)
    tops = [r["operations_per_second"] / 1e12 for r in kernels["roofs"].values()]
    bottom = min(r["tflops"] for r in rows) / 2
    families = [f for f in FAMILIES if any(family(r["kernel"]) == f for r in rows)]
    c = svg.Chart((low, high), (bottom, max(tops or [65]) * 1.6), "operations for each byte", "TFLOP/s", True, True, legend_rows=(len(families) + len(kernels["roofs"]) + 2) // 3)
    for i, (name, roof) in enumerate(kernels["roofs"].items()):
        top, slope = roof["operations_per_second"] / 1e12, roof["bytes_per_second"] / 1e12
        if top <= 0:
            continue
        start = max(low, bottom / slope)
        c.line([(start, start * slope), (top / slope, top), (high, top)], "c5", f"{name}: {slope * 1e3:.0f} GB/s, {top:.0f} TFLOP/s", dash=i > 0)
    for prefix, color in families:
        mine = [r for r in rows if family(r["kernel"]) == (prefix, color)]
        tips = [f"{r['case']}: {digits(r['us'])} µs, {digits(r['tflops'])} TFLOP/s, {digits(r['gb'])} GB/s" for r in mine]
        c.points([(r["operations"] / r["bytes"], r["tflops"]) for r in mine], color, FAMILY_LABELS[prefix], tips)
    return c.svg("roofline: TFLOP/s of each kernel against its operations for each byte")


def shares(kernels, cases=None):
    """The share of the roof of these cases; of all without."""
    roof = main_roof(kernels)
    rows = sorted((r for r in kernel_rows(kernels) if cases is None or r["case"] in cases), key=lambda r: -r["shares"].get(roof, 0))
    bars = [(r["case"].removeprefix("phi3_").replace("sequences:", "seq:"), 100 * r["shares"].get(roof, 0), f"{100 * r['shares'].get(roof, 0):.0f} %", family(r["kernel"])[1]) for r in rows]
    return svg.horizontal_bars(bars, "share of the roof that each kernel reaches", label_width=256) if bars else None


def operation_shares(estimate, bytes_per_second):
    """The share of the memory's speed that each operation of a decode step reaches."""
    rows = [r for r in steps(estimate, "decode") if r[4] / r[2] > 1e9]
    bars = [(OPERATION_NAMES[op], 100 * moved / each / bytes_per_second, f"{100 * moved / each / bytes_per_second:.0f} %", "c0") for op, _, each, _, moved, _ in rows]
    return svg.horizontal_bars(bars, "share of the memory's speed that each operation reaches") if bars else None


def batch(data, points):
    """Tokens a second of all sequences against their number."""
    line = [(p.get("batch", 1), p.get("batch", 1) * p["cached"]["tokens_per_second_after_first"]) for p in points]
    if len(line) < 2:
        return None
    c = svg.Chart((0, max(x for x, _ in line) * 1.05), (0, max(y for _, y in line) * 1.15), "sequences at once", "tokens/s of all", x_ticks=[x for x, _ in line])
    c.line(line, CACHED)
    c.points(line, CACHED, None, [f"{x}: {digits(y)} tokens/s" for x, y in line])
    assert all(math.isfinite(y) for _, y in line)
    return c.svg("tokens a second of all sequences against their number")

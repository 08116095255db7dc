"""The report's tables as rows of cells; README files take them as Markdown, the page as HTML."""

import os

from report_data import (NOTEBOOKS, OPERATION_NAMES, batches, digits, is_notebook_experiment, kernel_rows, lengths, main_roof, origin, phase_text, seconds_text, spread, steps,
                         timing_text, times)

ESTIMATE_NOTE = (
    "**Estimates** of a Tesla T4 by the virtual GPU, none a measurement: the kernels of one layer run on its cycle-approximate model of the card at boost clock, and the schedule's "
    "counts make the whole. Memory at 256 GB/s, what cards are seen to read (at the 320 GB/s on paper in brackets). A card's power cap, copies and the host's time are not in them. "
    "Of a projection's blocks some whole waves are replayed, which comes within 1.5 % of all (`runtime/vgpu/README.md`)."
)


def markdown(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def uncached_text(point):
    return timing_text(point["uncached"]) if point["uncached"] else "-"


def bench_table(data):
    head = ["prompt", "new tokens", "runs", "cached", "uncached", "times", "first token", "token p50 / p95", "tokens/s"]
    rows = []
    for p in [data["experiment"], *data["sweep"]]:
        if p.get("batch", 1) > 1:
            continue
        start = [str(p["prompt_tokens"]), str(p["new_tokens"])]
        if not p["cached"]:
            rows.append([*start, "-", p.get("skipped", "not measured"), "", "", "", "", ""])
            continue
        c = p["cached"]
        tokens = f"{seconds_text(c['token_seconds_p50'])} / {seconds_text(c['token_seconds_p95'])}" if c.get("token_seconds_p50") else "-"
        rows.append([*start, str(len(c["seconds"])), timing_text(c), uncached_text(p), digits(times(p)) if p["uncached"] else "-", seconds_text(c["mean_first_token_seconds"]), tokens,
                     digits(c["tokens_per_second_after_first"])])
    return head, rows


def batch_table(data):
    points = batches(data)
    if len(points) < 2:
        return None
    one = points[0]["cached"]["tokens_per_second_after_first"]
    rows = []
    for p in points:
        n, rate = p.get("batch", 1), p["cached"]["tokens_per_second_after_first"]
        rows.append([str(n), timing_text(p["cached"]), seconds_text(p["cached"]["token_seconds_p50"]) if p["cached"].get("token_seconds_p50") else "-", digits(n * rate), digits(n * rate / one)])
    return ["sequences", "whole", "step p50", "tokens/s of all", "times one's"], rows


def with_paper(point, kind):
    if not point[kind]:
        return "-"
    paper = point.get(kind + "_t4")
    return timing_text(point[kind]) + (f" ({timing_text(paper)})" if paper else "")


def estimate_table(data):
    """The experiment beside the notebooks' figures, and the sweep."""
    head = ["prompt", "new tokens", "cached", "uncached", "times", "first token", "tokens/s", "GB/s", "of 256 GB/s"]
    rows = []
    for p in lengths(data):
        c = p["cached"]
        rows.append([str(p["prompt_tokens"]), str(p["new_tokens"]), with_paper(p, "cached"), with_paper(p, "uncached"), digits(times(p)) if p["uncached"] else "-",
                     seconds_text(c["mean_first_token_seconds"]), digits(c["tokens_per_second_after_first"]), digits(p["bytes_per_second"] / 1e9), f"{100 * p['share_of_roof']:.0f} %"])
    return head, rows


def t4_table(estimates, measured):
    """Phi-3-mini on a T4, the notebooks' experiment: who, cached, uncached, times."""
    rows = []
    for kind, sets in (("measured", measured), ("estimate", estimates)):
        for data in sets.values():
            if is_notebook_experiment(data):
                p = data["experiment"]
                rows.append([f"phi3, {kind}", with_paper(p, "cached"), with_paper(p, "uncached"), digits(times(p)) if p["uncached"] else "-", digits(100 / p["cached"]["mean_seconds"])])
        if rows:
            break  # measured figures take the estimates' place
    if not rows:
        return None
    c, u = NOTEBOOKS["cached"], NOTEBOOKS["uncached"]
    rows.append(["Hugging Face transformers, as measured by the source notebooks", f"{c[0]} s ± {c[1]} s", f"{u[0]} s ± {u[1]} s", digits(u[0] / c[0]), digits(100 / c[0])])
    return ["100 new tokens", "with the cache", "without", "times", "tokens/s with it"], rows


def step_table(data, phase):
    rows, parts = [], steps(data, phase)
    total = sum(n * each for _, n, each, *_ in parts)
    for op, n, each, launches, moved, bound in parts:
        rows.append([OPERATION_NAMES[op], f"{n:.0f}", seconds_text(each), f"{100 * n * each / total:.1f} %", f"{launches:.0f}", digits(moved / each / 1e9), bound])
    rows.append(["all", "", seconds_text(total), "100 %", f"{sum(n * k for _, n, _, k, _, _ in parts):.0f}", digits(sum(n * m for _, n, _, _, m, _ in parts) / total / 1e9), ""])
    return ["operation", "times", "each", "share", "launches", "GB/s", "bound"], rows


def kernel_table(kernels):
    """Everything that is known of each kernel; what only the virtual GPU counts, from it alone."""
    roof, rows, counted = main_roof(kernels), [], kernels["kind"] == "estimate"
    for r in kernel_rows(kernels):
        row = [r["case"], digits(r["us"]), r["bound"] or "-", digits(r["gb"]), digits(r["tflops"]) if r["operations"] else "-", f"{100 * r['shares'].get(roof, 0):.0f} %",
               digits(r["traffic"]) if r["traffic"] else "-", f"{r['error']:.1e}", str(r["registers"] or "-")]
        if counted:
            row += ["-" if r["sectors"] is None else f"{100 * r['sectors']:.0f} %", digits(r["conflicts"]) if r["conflicts"] else "-",
                    "-" if r["occupancy"] is None else f"{100 * r['occupancy']:.0f} %", *(f"{100 * r['limits'].get(k, 0) / r['us']:.0f} %" for k in KERNEL_LIMITS)]
        rows.append(row)
    head = ["kernel and shape", "µs", "bound", "GB/s", "TFLOP/s", f"of the roof ({roof})", "DRAM over ideal", "relative error", "registers"]
    return head + (["ideal sectors", "conflicts", "occupancy", *KERNEL_LIMITS] if counted else []), rows


PROFILE_NOTE = (
    "Times of a step's launches of all layers, each launch's overhead not among them. GB/s and TFLOP/s are of the least bytes and operations that the shape asks for; the last columns are the time at each ceiling "
    "alone over the kernel's own.\n"
)


def profile_table(phase):
    """A step kernel by kernel, in the order of the schedule; what only the virtual GPU counts, from it alone."""
    counted = "bound" in phase["rows"][0]
    rows = []
    for r in phase["rows"]:
        row = [OPERATION_NAMES[r["operation"]], r["kernel"].removeprefix("phi3_"), f"{r['launches']:.0f}", seconds_text(r["us"] * 1e-6), f"{100 * r['share']:.1f} %",
               digits(r["ideal_bytes"] / r["us"] * 1e-3), digits(r["ideal_operations"] / r["us"] * 1e-6), str(r["registers"])]
        if counted:
            row += [r["bound"], f"{100 * r['occupancy']:.0f} %", *(f"{100 * r['limits_us'].get(k, 0) / r['us']:.0f} %" for k in KERNEL_LIMITS)]
        rows.append(row)
    us = phase["us"]
    total = ["all", "", f"{phase['launches']:.0f}", seconds_text(us * 1e-6), "100 %", digits(phase["ideal_bytes"] / us * 1e-3), digits(phase["ideal_operations"] / us * 1e-6)]
    head = ["operation", "kernel", "launches", "time", "share", "GB/s", "TFLOP/s", "registers"] + (["bound", "occupancy", *KERNEL_LIMITS] if counted else [])
    return head, [*rows, total + [""] * (len(head) - len(total))]


def profile_words(profile):
    memory = {"t4": "memory at 320 GB/s, as on paper", "t4_eff": "memory at 256 GB/s, what cards are seen to read"}.get(profile.get("memory_configuration"))
    return f"{profile['model']} on {'a ' if profile['kind'] == 'estimate' else ''}{profile['device']}" + (f", {memory}" if memory else "")


KERNEL_LIMITS = ["dram", "l2", "shared", "issue", "tensor"]  # the time at each ceiling alone, as a share of the whole

KERNEL_NOTE = (
    "Ideal bytes and operations are what `runtime/gpu/registry.c` states for the shape; conflicts are wavefronts of shared memory over those without conflicts; the last columns are the time at each "
    "ceiling alone over the whole.\n"
)

# What a forward pass of Phi-3-mini consists of.
README_KERNELS = ["rmsnorm_rows/norm/rows:512", "linear_qkv/qkv/rows:512", "linear_add/o/rows:512", "linear_silu/gate_up/rows:512", "linear_add/down/rows:512", "attention_prefill_96/rows:2048/keys:2048",
                  "decode_qkv_8/qkv/rows:1", "attention_decode_96/sequences:1/keys:2047", "decode_add_8/o/rows:1", "decode_silu_8/gate_up/rows:1", "decode_add_8/down/rows:1", "decode_store_8/head/rows:1"]


def readme_kernels(kernels):
    head, rows = kernel_table(kernels)
    return head[:7], [row[:7] for row in rows if row[0] in README_KERNELS]


def accuracy_table(files):
    rows = []
    for data in files.values():
        if "against" not in data:
            continue
        a = data["against"]
        same = a["same_top"]["value"] if isinstance(a["same_top"], dict) else a["same_top"]
        kl = a["mean_kl"]["value"] if isinstance(a["mean_kl"], dict) else a["mean_kl"]
        rows.append([data["model"], data["device"], a["device"], str(data["counted"]), f"{data['perplexity']['value']:.5g}", f"{kl:.2g}", f"{a['kl_99_percent']:.2g}", f"{100 * same:.2f} %",
                     "yes" if data.get("passes") else "no"])
    return (["model", "device", "against", "tokens", "perplexity", "mean KL (nats)", "99th percentile", "same first choice", "gate"], rows) if rows else None


def mutant_table(data):
    rows = [[m["file"], m["breaks"], ", ".join(m["caught_by"]) or "**nothing**"] for m in data["table"]]
    return ["file", "what it breaks", "found by"], rows


def roof_table(data):
    rounds, roof = data["ceilings"], data["roof"]

    def column(key, scale):
        return spread([r[key] * scale for r in rounds])

    return [f"{len(rounds)} rounds", "model", "machine", "share"], [
        [f"decode, {roof['decode_tokens']} tokens after {roof['decode_prompt_tokens']}", f"{column('decode_weight_bytes_per_second', 1e-9)} GB/s of weights",
         f"{column('read_bytes_per_second', 1e-9)} GB/s read", f"{column('decode_share_of_read', 100)} %"],
        [f"prefill, {roof['prefill_tokens']} tokens", f"{column('prefill_flops', 1e-9)} GFLOP/s", f"{column('multiply_add_flops', 1e-9)} GFLOP/s",
         f"{column('prefill_share_of_multiply_adds', 100)} %"],
    ]


def transformers_table(data):
    rows = []
    for who, rates in data["decode_tokens_per_second"].items():
        ratio = data["ratio_of_phi3_to"].get(who)
        same = f"{data['same_first_ids_as_phi3'][who]} of {data['new_tokens']}" if ratio else ""
        rows.append([who, spread(rates["samples"]), spread(ratio["samples"]) if ratio else "", same])
    return ["", "tokens/s", "phi3 is faster by a factor of", "same first ids"], rows


def transformers_words(data):
    versions = ", ".join(f"{k} {v}" for k, v in data["versions"].items())
    name = os.path.basename(data["model"]["path"])
    return f"{name}, {data['prompt_tokens']} tokens of prompt, {data['new_tokens']} new ones, {data['threads']} threads, {versions}."


def results_readme(r):
    """The tables of results/README.md."""
    out = []
    for name, data in r.estimates.items():
        out += [f"## {name}: estimated for a Tesla T4\n", ESTIMATE_NOTE + "\n", origin(data) + "\n", f"![time against tokens]({name}.svg)\n"]
        out += [markdown(*estimate_table(data)), ""]
        table = batch_table(data)
        out += [markdown(*table), ""] if table else []
        for phase, what in (("decode", "A token with the cache"), ("prefill", "The prompt's pass")):
            s = data["operations"][phase]
            at = f"at position {s['position']}" if phase == "decode" else f"of {s['rows']} tokens"
            out += [f"{what}, {at}:\n", markdown(*step_table(data, phase)), ""]
    for name, data in r.profiles.items():
        out += [f"## {name}: where the time goes, kernel by kernel\n", ("**Estimates**, none a measurement. " if data["kind"] == "estimate" else "") + f"{profile_words(data)}. {origin(data)}\n", PROFILE_NOTE]
        for phase in data["phases"]:
            out += [f"{phase_text(data, phase)}:\n", markdown(*profile_table(phase)), ""]
    for name, data in r.kernels.items():
        out += [f"## {name}\n", ("**Estimates**, none a measurement. " if data["kind"] == "estimate" else "") + origin(data) + "\n", KERNEL_NOTE if data["kind"] == "estimate" else "",
                markdown(*kernel_table(data)), ""]
    for name, data in r.benches.items():
        out += [f"## {name}: with the key-value cache and without\n", origin(data) + "\n", f"![time against tokens]({name}.svg)\n", markdown(*bench_table(data)), ""]
        table = batch_table(data)
        out += [markdown(*table), ""] if table else []
        if f"{name}-roof" in r.roofs:
            roof = r.roofs[f"{name}-roof"]
            out += [f"## {name}: distance to the machine's ceilings\n", origin(roof) + "\n", markdown(*roof_table(roof)), ""]
    for data in r.transformers.values():
        out += ["## Decoding beside Hugging Face transformers\n", origin(data) + "\n", transformers_words(data) + "\n", markdown(*transformers_table(data)), ""]
    return "\n".join(out)


def main_readme(r):
    """The section of the README."""
    out = []
    measured = {n: d for n, d in r.benches.items() if d["settings"]["device"] == "cuda"}
    table = t4_table(r.estimates, measured)
    if table:
        out += ["Phi-3-mini on a Tesla T4, the source notebooks' experiment.\n", markdown(*table), ""]
        if not any(is_notebook_experiment(d) for d in measured.values()):
            out += [ESTIMATE_NOTE + "\n"]
    for data in r.kernels.values():
        head, rows = readme_kernels(data)
        if rows:
            word = "estimated for a Tesla T4 by the virtual GPU" if data["kind"] == "estimate" else f"measured on {data['device']}"
            out += [f"Its kernels, {word} (`{data['command']}`):\n", markdown(head, rows), ""]
    rows, machines = [], set()
    for name, data in r.benches.items():
        if data["settings"]["device"] != "cpu":
            continue
        p = data["experiment"]
        machines.add(f"{data['machine']['cores']} cores of an {data['machine']['cpu']}")
        rows.append([name, f"{p['prompt_tokens']} + {p['new_tokens']}", timing_text(p["cached"]), uncached_text(p), digits(times(p)) if p["uncached"] else "-",
                     digits(p["cached"]["tokens_per_second_after_first"])])
    if rows:
        out += [f"Measured on a CPU ({', '.join(sorted(machines))}; each file in `results/` names its machine).\n",
                markdown(["model", "tokens", "with the cache", "without", "times", "tokens/s with it"], rows), ""]
    out.append("All figures, each with machine, commit and command: [`results/README.md`](results/README.md); the same as one page with plots: `results/report.html`. "
               "`scripts/results.sh` makes everything anew.")
    return "\n".join(out)

"""results/report.html: one page, nothing outside of it."""

import re

import report_charts as charts
import report_svg as svg
import report_text as text
from report_data import NOTEBOOKS, batches, digits, is_notebook_experiment, is_phi3_mini, kernel_rows, main_roof, origin, phase_text, seconds_text, steps, times, timing_text, title

CSS = """
*{box-sizing:border-box}html{color-scheme:light dark}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}
main{max-width:1120px;margin:0 auto;padding:24px 18px 60px}h1{font-size:1.7rem;margin:.2em 0}h2{margin:2.2em 0 .5em;font-size:1.3rem;border-bottom:1px solid var(--grid);padding-bottom:.2em}
h3{margin:1.6em 0 .4em;font-size:1.05rem}p{max-width:75ch;margin:.5em 0}.soft{color:var(--soft)}.small{font-size:.85rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:12px;margin:18px 0}
.card{border:1px solid var(--grid);border-radius:8px;padding:12px 14px}.card b{display:block;font-size:1.55rem;line-height:1.25}.card b{white-space:nowrap}.card>span{color:var(--soft);font-size:.9rem}
.tag{display:inline-block;border:1px solid var(--c1);color:var(--c1);border-radius:4px;padding:0 6px;font-size:.75rem;vertical-align:middle;margin-left:6px;font-weight:600}
.tag.real{border-color:var(--c2);color:var(--c2)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:22px;align-items:start}figure{margin:0}figure svg{width:100%;height:auto;display:block}figcaption{font-weight:600;margin-bottom:4px}
.scroll{overflow-x:auto;margin:.8em 0}table{border-collapse:collapse;font-size:.87rem;font-variant-numeric:tabular-nums}th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}
th{color:var(--soft);font-weight:600}th:first-child,td:first-child{text-align:left}td.words{text-align:left;white-space:normal;min-width:16em}
code{font:.85em ui-monospace,'DejaVu Sans Mono',monospace;overflow-wrap:anywhere}details{margin:.6em 0}summary{cursor:pointer;color:var(--soft)}nav a{color:var(--c0);margin-right:14px;white-space:nowrap}
"""


def words(markdown_text):
    """Escaped, with `code` and **bold**."""
    out = svg.esc(markdown_text)
    out = re.sub(r"`([^`]+)`", r"<code>\1</code>", out)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", out)


def table(head, rows):
    def cell(value):
        wide = len(value) > 34
        return f'<td class="words">{words(value)}</td>' if wide else f"<td>{words(value)}</td>"

    body = "".join("<tr>" + "".join(map(cell, row)) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{"".join(f"<th>{words(h)}</th>" for h in head)}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(caption, chart):
    return f"<figure><figcaption>{words(caption)}</figcaption>{chart}</figure>" if chart else ""


def figures(*pairs):
    inside = "".join(figure(caption, chart) for caption, chart in pairs)
    return f'<div class="charts">{inside}</div>' if inside else ""


def tag(estimate):
    return '<span class="tag">estimate</span>' if estimate else '<span class="tag real">measured</span>'


def card(number, label, estimate):
    return f'<div class="card"><b>{words(number)}{tag(estimate)}</b><span>{words(label)}</span></div>'


def source(data):
    return f'<details><summary>where these figures come from</summary><p class="small soft">{words(origin(data))}</p></details>'


def missing(what, command):
    return f'<p class="soft">{words(what)} Made by <code>{svg.esc(command)}</code>.</p>'


def cards(r):
    """The answers at a glance."""
    out = []
    t4 = [(d, False) for d in r.benches.values() if d["settings"]["device"] == "cuda" and is_phi3_mini(d)] or [(d, True) for d in r.estimates.values() if is_phi3_mini(d)]
    for data, estimate in t4[:1]:
        p = data["experiment"]
        versus = f" (transformers, measured by the notebooks: {NOTEBOOKS['cached'][0]} s)" if is_notebook_experiment(data) else ""
        out.append(card(seconds_text(p["cached"]["mean_seconds"]), f"Phi-3-mini on a T4, {p['prompt_tokens']} + {p['new_tokens']} tokens with the cache{versus}", estimate))
        if p["uncached"]:
            versus = f" (transformers: {NOTEBOOKS['uncached'][0]} s)" if is_notebook_experiment(data) else ""
            out.append(card(seconds_text(p["uncached"]["mean_seconds"]), f"the same without the cache{versus}", estimate))
        if p.get("share_of_roof"):
            out.append(card(f"{100 * p['share_of_roof']:.0f} %", f"of the memory's {data['card']['memory_bytes_per_second'] / 1e9:.0f} GB/s in decoding", estimate))
    gains = [(p["prompt_tokens"], times(p), name) for name, d in r.benches.items() for p in [d["experiment"], *d["sweep"]] if p["cached"] and p["uncached"]]
    if gains:
        longest = max(gains, key=lambda g: g[1])
        out.append(card(f"{digits(longest[1])} times", f"as fast with the cache: {longest[2]}, {longest[0]} tokens of prompt, on the CPU", False))
    return f'<div class="cards">{"".join(out)}</div>' if out else ""


def kernels_section(r):
    out = ["<h2 id=kernels>How far from the roof is each kernel?</h2>"]
    if not r.kernels:
        out.append(missing("The kernels' table is not here yet.", "scripts/results.sh kernels"))
    for name, data in r.kernels.items():
        estimate = data["kind"] == "estimate"
        out.append(f"<h3>{words(name)} {tag(estimate)}</h3>")
        roof = main_roof(data)
        rows = kernel_rows(data)
        if rows:
            near = sum(1 for row in rows if row["shares"].get(roof, 0) >= 0.8)
            out.append(f"<p>{near} of {len(rows)} cases reach 80 % or more of the roof that cards are seen to have. The share is of the time that the kernel's bytes and operations need at least; "
                       "what is bound by latency has too little work to fill the card.</p>")
        model = [row["case"] for row in rows if row["case"] in text.README_KERNELS]
        some = charts.shares(data, model or None)
        out.append(figures(("Roofline (point at a dot for its case)", charts.roofline(data)), (f"Share of the roof ({roof})" + (", what the model consists of" if model else ""), some)))
        every = f"<details><summary>all {len(rows)} cases: share of the roof, times, counters</summary>"
        out.append(every + figures((f"Share of the roof ({roof})", charts.shares(data) if model else None)) + table(*text.kernel_table(data)) + "</details>" + source(data))
    for data in r.estimates.values():
        if is_phi3_mini(data):
            speed = data["card"]["memory_bytes_per_second"]
            out.append(f"<h3>The operations of a decode step {tag(True)}</h3>" + figures((f"Share of {speed / 1e9:.0f} GB/s, launches included", charts.operation_shares(data, speed))))
    return "".join(out)


def token_section(r):
    out = ["<h2 id=token>Where does a token's time go?</h2>"]
    if not r.estimates:
        out.append(missing("There is no estimate yet.", "scripts/results.sh t4"))
    for name, data in r.estimates.items():
        out.append(f"<h3>{words(title(name, data))} on a T4 {tag(True)}</h3>")
        decode, prefill = data["operations"]["decode"], data["operations"]["prefill"]
        pairs = []
        for phase, caption in (("decode", f"A token with the cache, at position {decode['position']}"), ("prefill", f"The pass over {prefill['rows']} tokens of prompt")):
            total = sum(n * each for _, n, each, *_ in steps(data, phase))
            pairs.append((f"{caption}: {seconds_text(total)}", charts.token(data, phase)))
        out.append(figures(*pairs) + table(*text.step_table(data, "decode")))
        out.append("<details><summary>the prompt's pass, operation by operation</summary>" + table(*text.step_table(data, "prefill")) + "</details>" + source(data))
    if not r.profiles:
        out.append(missing("The profile, kernel by kernel, is not here yet.", "scripts/results.sh profile"))
    return "".join(out + [profile(name, data) for name, data in r.profiles.items()])


def profile(name, data):
    """Kernel by kernel: of each phase the shares, a layer in its order, and the table."""
    out = [f"<h3>Kernel by kernel: {words(text.profile_words(data))} {tag(data['kind'] == 'estimate')}</h3>"]
    for phase in reversed(data["phases"]):
        out.append(figures((f"{phase_text(data, phase)}: {seconds_text(phase['us'] * 1e-6)}", charts.phase(phase)), ("One of its layers, kernel after kernel", charts.layer(data, phase))))
        out.append("<details><summary>bound, counters and ceilings of these kernels</summary>" + table(*text.profile_table(phase)) + "</details>")
    out.append(f'<p class="small soft">{words(text.PROFILE_NOTE)} The same step as a timeline for <code>ui.perfetto.dev</code>: add <code>--timeline step.json</code> to the command below; '
               "<code>--roofline FILE.svg</code> draws its kernels under the roofs.</p>")
    return "".join(out) + source(data)


def cache_section(r):
    out = ["<h2 id=cache>What does the cache buy, at which length?</h2>"]
    everything = {**r.estimates, **r.benches}
    measured = {n: d for n, d in r.benches.items() if d["settings"]["device"] == "cuda"}
    t4 = text.t4_table(r.estimates, measured)
    if t4:
        out.append("<p>Phi-3-mini on a Tesla T4, the source notebooks' experiment:</p>" + table(*t4) + ("" if measured else f'<p class="small soft">{words(text.ESTIMATE_NOTE)}</p>'))
    sets = []
    for name, data in everything.items():
        outputs = sorted({p["new_tokens"] for p in data["sweep"] if p["cached"] and p.get("batch", 1) == 1})
        sets += [(f"{name}, {new} new" + (" (T4, est.)" if data.get("estimate") else ""), data, new) for new in outputs[-1:]]
    out.append(figures(("How many times as fast the cache makes it", charts.gain(sets))))
    for name, data in everything.items():
        estimate = bool(data.get("estimate"))
        out.append(f"<h3>{words(title(name, data))} {tag(estimate)}</h3>")
        p = data["experiment"]
        how = "one estimate" if estimate else f"{len(p['cached']['seconds'])} runs"
        batch = charts.batch(data, batches(data))
        out.append(figures((f"{p['prompt_tokens']} tokens of prompt, {p['new_tokens']} new, {how}", charts.experiment(data)), ("Other lengths", charts.sweep(data)),
                           ("Several sequences at once", batch)))
        out.append(table(*(text.estimate_table(data) if estimate else text.bench_table(data))))
        more = text.batch_table(data)
        out.append((table(*more) if more else "") + source(data))
    return "".join(out)


def accuracy_section(r):
    out = ["<h2 id=accuracy>Is it right?</h2>", "<p>No time is given unless generation with the cache and without it gives the same ids.</p>"]
    rows = text.accuracy_table(r.accuracy)
    if rows:
        out.append("<p>Distributions of the next token over a text, against the reference. Gate: mean KL divergence at most 1e-4 nats, the same first choice for at least 99.5 %.</p>" + table(*rows))
    else:
        out.append(missing("The accuracy table is not here yet.", "scripts/accuracy.sh"))
    if r.mutants:
        head, rows = text.mutant_table(r.mutants)
        caught = r.mutants["mutants"] - len(r.mutants["survivors"])
        out.append(f"<h3>Faults planted in the code</h3><p>{caught} of {r.mutants['mutants']} were found by a test; <code>{svg.esc(r.mutants['command'])}</code> plants them.</p>")
        out.append("<details><summary>each fault, and who found it</summary>" + table(head, rows) + "</details>")
    return "".join(out)


def cpu_section(r):
    if not r.roofs and not r.transformers:
        return ""
    out = ["<h2 id=cpu>The CPU against its own ceilings, and beside transformers</h2>"]
    for name, data in r.roofs.items():
        out.append(f"<h3>{words(name.removesuffix('-roof'))} {tag(False)}</h3>" + table(*text.roof_table(data)) + source(data))
    for data in r.transformers.values():
        out.append(f"<h3>Decoding beside Hugging Face transformers {tag(False)}</h3><p>{words(text.transformers_words(data))}</p>" + table(*text.transformers_table(data)) + source(data))
    return "".join(out)


def page(r):
    body = [
        "<h1>phi3: measured and estimated</h1>",
        f"<p class=soft>Every figure is either {tag(False)} on the machine that its source names, or an {tag(True)} of a Tesla T4 by the virtual GPU. "
        "Times are mean ± standard deviation (n − 1).</p>",
        "<nav><a href='#kernels'>kernels</a> <a href='#token'>a token's time</a> <a href='#cache'>the cache</a> <a href='#accuracy'>accuracy</a> <a href='#cpu'>CPU</a></nav>",
        cards(r), kernels_section(r), token_section(r), cache_section(r), accuracy_section(r), cpu_section(r),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>phi3: measured and estimated</title>'
    return f"<!doctype html>\n<html lang=en><head>{head}<style>{svg.STYLE}{CSS}</style></head>\n<body><main>\n" + "\n".join(filter(None, body)) + "\n</main></body></html>\n"

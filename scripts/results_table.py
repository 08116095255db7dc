#!/usr/bin/env python3
"""Writes the tables of results/README.md, between their markers, from the JSON files beside it.

With --check nothing is written: exit code 1 when the tables are not those of the files.
"""

import argparse
import glob
import json
import os
import re
import statistics
import sys

RESULTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "results")
BEGIN = "<!-- tables: begin (scripts/results_table.py) -->\n"
END = "<!-- tables: end -->\n"


def load(name):
    with open(os.path.join(RESULTS, name), encoding="utf-8") as f:
        return json.load(f)


def digits(value):
    """Three digits, never an exponent."""
    return (
        f"{value:.0f}"
        if value >= 100
        else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
    )


def seconds(timing):
    unit, scale = ("s", 1) if timing["mean_seconds"] >= 1 else ("ms", 1e3)
    return f"{digits(timing['mean_seconds'] * scale)} {unit} ± {digits(timing['sd_seconds'] * scale)} {unit}"


def spread(values):
    sd = statistics.stdev(values) if len(values) > 1 else 0
    return f"{digits(statistics.fmean(values))} ± {digits(sd)}"


def origin(data):
    machine, build = data["machine"], data["build"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB, {machine['os']}"
    built = f"commit {build['commit']}, {build['compiler']}, {build['type']}"
    return f"{where}; {built}; {data['date']}; `{data['command']}`\n"


def bench_section(name):
    data = load(f"{name}.json")
    main = data["experiment"]
    lines = [
        f"## {name}: with the key-value cache and without\n",
        origin(data),
        f"![time against tokens]({name}.svg)\n",
    ]
    lines += ["| prompt | new tokens | runs | cached | uncached | times |", "| --- | --- | --- | --- | --- | --- |"]
    for p in [main, *data["sweep"]]:
        lengths = f"| {p['prompt_tokens']} | {p['new_tokens']} |"
        if not p["cached"] or not p["uncached"]:
            lines.append(f"{lengths} - | {p.get('skipped', 'not measured')} | | |")
            continue
        times = p["uncached"]["mean_seconds"] / p["cached"]["mean_seconds"]
        runs = len(p["cached"]["seconds"])
        lines.append(f"{lengths} {runs} | {seconds(p['cached'])} | {seconds(p['uncached'])} | {digits(times)} |")
    rate = main["cached"]["tokens_per_second_after_first"]
    first = main["cached"]["mean_first_token_seconds"]
    lines.append(
        f"\nFirst row: first token after {digits(1e3 * first)} ms, then {digits(rate)} tokens/s with the cache.\n"
    )
    return lines


def roof_section(name):
    data = load(f"{name}-roof.json")
    rounds, roof = data["ceilings"], data["roof"]

    def column(key, scale):
        return spread([r[key] * scale for r in rounds])

    decode = f"decode, {roof['decode_tokens']} tokens after {roof['decode_prompt_tokens']}"
    return [
        f"## {name}: distance to the machine's ceilings\n",
        origin(data),
        f"| {len(rounds)} rounds | model | machine | share |",
        "| --- | --- | --- | --- |",
        f"| {decode} | {column('decode_weight_bytes_per_second', 1e-9)} GB/s of weights | "
        f"{column('read_bytes_per_second', 1e-9)} GB/s read | {column('decode_share_of_read', 100)} % |",
        f"| prefill, {roof['prefill_tokens']} tokens | {column('prefill_flops', 1e-9)} GFLOP/s | "
        f"{column('multiply_add_flops', 1e-9)} GFLOP/s | {column('prefill_share_of_multiply_adds', 100)} % |\n",
    ]


def transformers_section(name):
    data = load(name)
    lines = ["## Decoding beside Hugging Face transformers\n", origin(data)]
    versions = ", ".join(f"{k} {v}" for k, v in data["versions"].items())
    lines.append(f"{os.path.basename(data['model']['path'])}, {data['prompt_tokens']} tokens of prompt, {data['new_tokens']} new ones, ")
    lines[-1] += f"{data['threads']} threads, {versions}.\n"
    lines += ["| | tokens/s | phi3 is faster by a factor of | same first ids |", "| --- | --- | --- | --- |"]
    for who, rates in data["decode_tokens_per_second"].items():
        ratio = data["ratio_of_phi3_to"].get(who)
        same = f"{data['same_first_ids_as_phi3'][who]} of {data['new_tokens']}" if ratio else ""
        lines.append(f"| {who} | {spread(rates['samples'])} | {spread(ratio['samples']) if ratio else ''} | {same} |")
    return [*lines, ""]


def tables():
    names = [os.path.basename(p)[:-5] for p in sorted(glob.glob(os.path.join(RESULTS, "*.json")))]
    lines = []
    for name in names:
        if "experiment" in load(f"{name}.json"):
            lines += bench_section(name)
            if f"{name}-roof" in names:
                lines += roof_section(name)
    for name in names:
        if "ratio_of_phi3_to" in load(f"{name}.json"):
            lines += transformers_section(f"{name}.json")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare")
    args = parser.parse_args()
    path = os.path.join(RESULTS, "README.md")
    with open(path, encoding="utf-8") as f:
        old = f.read()
    new = re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}\n{tables()}\n{END}", old, flags=re.DOTALL)
    if args.check:
        sys.exit(
            0 if new == old else "results_table: results/README.md differs from its files; run scripts/results_table.py"
        )
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        f.write(new)
    os.replace(path + ".tmp", path)


if __name__ == "__main__":
    main()

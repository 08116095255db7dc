#!/usr/bin/env python3
"""Writes the tables of results/accuracy/README.md, between their markers, from the JSON files beside it.

With --check nothing is written: exit code 1 when the tables are not those of the files.
"""

import argparse
import glob
import json
import os
import sys

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "results", "accuracy")
README = os.path.join(FOLDER, "README.md")
BEGIN = "<!-- tables: begin (scripts/accuracy_table.py) -->\n"
END = "<!-- tables: end -->\n"


def load(pattern):
    """(name, content) of each file."""
    for path in sorted(glob.glob(os.path.join(FOLDER, pattern))):
        with open(path, encoding="utf-8") as f:
            yield os.path.basename(path), json.load(f)


def origin(j):
    return f"commit {j['build']['commit']}, {j['date'][:10]}, `{j['command']}`"


def distributions():
    rows = [
        "| model | device | against | tokens | perplexity | mean KL | 99 % | largest | same top | gate | made by |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, j in load("*.json"):
        if "perplexity" not in j:
            continue
        a = j["against"]
        rows.append(
            f"| {j['model']} | {j['device']} | {a['device']} | {j['counted']} "
            f"| {j['perplexity']['value']:.4f} (base {a['perplexity']['value']:.4f}) "
            f"| {a['mean_kl']['value']:.2e} ± {a['mean_kl']['standard_error']:.1e} | {a['kl_99_percent']:.1e} | {a['max_kl']:.1e} "
            f"| {100 * a['same_top']['value']:.2f} % | {'passed' if j['passes'] else 'FAILED'} | [{name}]({name}): {origin(j)} |"
        )
    return "\n".join(rows)


def operations():
    parts = []
    for name, j in load("*-operations.json"):
        worst = sorted(j["operations"], key=lambda o: -o["nmse"] / o["gate"])[:5]
        rows = ["| layer | operation | NMSE | gate | largest error | a | b |", "| --- | --- | --- | --- | --- | --- | --- |"]
        for o in worst:
            m, layer = o["max_error"], "-" if o["layer"] is None else o["layer"]
            rows.append(
                f"| {layer} | {o['operation']} | {o['nmse']:.1e} | {o['gate']:.0e} | {abs(m['b'] - m['a']):.3g} "
                f"| {m['a']:.6g} | {m['b']:.6g} |"
            )
        picture = name.replace(".json", ".svg")
        parts.append(
            f"## {j['b']['model']}: {j['b']['device']} against {j['a']['device']}, operation by operation\n\n"
            f"{j['tokens']} tokens, every operation from the reference's values; {origin(j)}. The five of "
            f"{len(j['operations'])} that are nearest to their gates:\n\n" + "\n".join(rows) + f"\n\n![heat map]({picture})"
        )
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    with open(README, encoding="utf-8") as f:
        old = f.read()
    head, rest = old.split(BEGIN)
    new = head + BEGIN + "\n" + distributions() + "\n\n" + operations() + "\n\n" + END + rest.split(END)[1]
    if args.check and new != old:
        sys.exit("accuracy_table: results/accuracy/README.md is not what its JSON files say; run scripts/accuracy_table.py")
    if not args.check:
        with open(README, "w", encoding="utf-8") as f:
            f.write(new)


if __name__ == "__main__":
    main()

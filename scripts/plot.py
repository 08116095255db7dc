#!/usr/bin/env python3
"""Draws what `phi3 bench --json FILE` measured: time against the number of tokens, with the cache and without it.

Left: the experiment, seconds until the n-th new token; right: the sweep, seconds of the whole generation against the
prompt's length. Points are means, bars are standard deviations (n - 1). Needs matplotlib; scripts/plot.sh installs it.
"""

import argparse
import json
import os
import statistics
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

STYLE = {  # colours apart for colour-blind eyes too (Okabe and Ito)
    "cached": {"color": "#0072B2", "label": "with the key-value cache"},
    "uncached": {"color": "#D55E00", "label": "without it"},
}
OUTPUT_MARKS = ["o", "s", "^", "D", "v", "P", "X", "*"]
BARS = 10  # error bars along a curve


def mean_sd(samples):
    return statistics.fmean(samples), statistics.stdev(samples) if len(samples) > 1 else 0.0


def plain_numbers(axis):
    """1, 10, 100 rather than powers of ten."""
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:g}"))


def draw_experiment(ax, experiment):
    for kind, style in STYLE.items():
        timing = experiment[kind]
        if not timing:
            continue
        curve = [mean_sd(column) for column in zip(*timing["token_seconds"])]
        x = range(1, len(curve) + 1)
        mean, sd = [c[0] for c in curve], [c[1] for c in curve]
        ax.plot(x, mean, linewidth=2, **style)
        step = max(1, len(curve) // BARS)
        at = slice(step - 1, None, step)
        ax.errorbar(x[at], mean[at], yerr=sd[at], fmt="o", markersize=4, capsize=4, color=style["color"])
        ax.annotate(
            f"{mean[-1]:.3g} s ± {sd[-1]:.2g} s",
            (len(curve), mean[-1]),
            textcoords="offset points",
            xytext=(-12, 6),
            ha="right",
            color=style["color"],
        )
    ax.set_xlabel("new tokens")
    ax.set_ylabel("time since the prompt was given (s)")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.margins(y=0.12)
    runs = len(experiment["cached"]["seconds"])
    ax.set_title(f"{experiment['prompt_tokens']} tokens of prompt, {experiment['new_tokens']} new tokens, {runs} runs")
    ax.legend(loc="upper left")


def draw_sweep(ax, sweep, runs):
    for mark, new_tokens in zip(OUTPUT_MARKS, sorted({p["new_tokens"] for p in sweep})):
        points = sorted((p for p in sweep if p["new_tokens"] == new_tokens), key=lambda p: p["prompt_tokens"])
        for kind, style in STYLE.items():
            measured = [(p["prompt_tokens"], *mean_sd(p[kind]["seconds"])) for p in points if p[kind]]
            if not measured:
                continue
            x, mean, sd = zip(*measured)
            ax.errorbar(
                x,
                mean,
                yerr=sd,
                marker=mark,
                markersize=7,
                capsize=4,
                linewidth=1.5,
                color=style["color"],
                label=f"{new_tokens} new tokens, {style['label']}",
            )
    lengths = sorted({p["prompt_tokens"] for p in sweep})
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(lengths)
    ax.minorticks_off()
    plain_numbers(ax.xaxis)
    plain_numbers(ax.yaxis)
    low, high = ax.get_ylim()
    ax.set_ylim(low / 1.3, high * 3)  # room for the legend
    ax.set_xlabel("tokens of prompt (logarithmic)")
    ax.set_ylabel("time of the whole generation (s, logarithmic)")
    ax.set_title(f"Other lengths, {runs} runs each")
    ax.legend(loc="upper left", fontsize=9)


def titles(data):
    model, machine, settings = data["model"], data["machine"], data["settings"]
    name = os.path.basename(os.path.normpath(model["path"])).removesuffix(".gguf")
    threads = settings["threads"]
    what = f"{name} ({model['parameters'] / 1e6:.4g} M parameters, {model['type']})"
    first = f"{what}: generation with and without the key-value cache"
    where = f"{machine['cpu']}, {machine['cores']} cores, {threads} thread{'s' * (threads != 1)}"
    second = f"{where}; {settings['device']}; {machine['os']}; commit {data['build']['commit']}"
    return first, second


def draw(data, path):
    sweep = [p for p in data["sweep"] if p["cached"]]
    plt.rcParams.update(
        {"font.size": 11, "axes.grid": True, "grid.alpha": 0.3, "svg.hashsalt": "phi3", "figure.facecolor": "white"}
    )
    fig, axes = plt.subplots(1, 2 if sweep else 1, figsize=(13 if sweep else 9, 5.6), squeeze=False)
    draw_experiment(axes[0][0], data["experiment"])
    if sweep:
        draw_sweep(axes[0][1], sweep, len(sweep[0]["cached"]["seconds"]))
    first, second = titles(data)
    fig.suptitle(first, fontsize=13, y=0.985)
    fig.text(0.5, 0.925, second, ha="center", fontsize=9, color="#444444")
    fig.tight_layout(rect=(0, 0, 1, 0.945))
    unfinished = path + ".tmp" + os.path.splitext(path)[1]
    try:
        metadata = {"Date": None} if path.endswith(".svg") else None
        fig.savefig(unfinished, dpi=150, metadata=metadata)
        os.replace(unfinished, path)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example:\n  scripts/plot.sh results/nano.json -o results/nano.svg",
    )
    parser.add_argument("json", help="what phi3 bench --json wrote")
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="picture to write: .svg, .png or .pdf")
    args = parser.parse_args()
    try:
        with open(args.json, encoding="utf-8") as f:
            data = json.load(f)
        if "experiment" not in data:
            raise ValueError("no experiment in it; it must come from phi3 bench --json without --roof")
        draw(data, args.out)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"the key {error} is missing" if isinstance(error, KeyError) else error
        sys.exit(f"plot: {args.json}: {reason}")


if __name__ == "__main__":
    main()

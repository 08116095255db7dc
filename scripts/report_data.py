"""What results/ holds, and how its figures are written."""

import glob
import json
import math
import os
import statistics

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, "results")

# The source notebooks' figures: Hugging Face transformers on a Tesla T4, batch 1, greedy, 100 new tokens, seven runs.
NOTEBOOKS = {"cached": (6.21, 2.22), "uncached": (33.9, 0.913)}
PHI3_MINI_PARAMETERS = 3821079552

OPERATION_NAMES = {
    "embed": "embedding",
    "attention_in": "norm, QKV, rotation",
    "attention": "attention",
    "attention_out": "output projection",
    "mlp_in": "norm, gate and up",
    "mlp_out": "down projection",
    "logits": "norm, LM head",
    "pick": "choice of the id",
}


class Results:
    """The files of a results folder, by kind."""

    def __init__(self, folder=RESULTS):
        self.folder = folder
        self.benches, self.estimates, self.roofs, self.transformers, self.kernels, self.profiles = {}, {}, {}, {}, {}, {}
        for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
            self.add(os.path.basename(path)[:-5], self.read(path))
        self.accuracy = {os.path.basename(p)[:-5]: self.read(p) for p in sorted(glob.glob(os.path.join(folder, "accuracy", "*.json")))}
        mutants = os.path.join(folder, "mutants.json")
        self.mutants = self.read(mutants) if os.path.exists(mutants) else None

    @staticmethod
    def read(path):
        try:
            with open(path, encoding="utf-8") as f:
                data = json.load(f)
        except (OSError, ValueError) as error:
            raise SystemExit(f"report: {path}: {error}") from error
        if not isinstance(data, (dict, list)):
            raise SystemExit(f"report: {path}: neither an object nor a list")
        return data

    def add(self, name, data):
        if not isinstance(data, dict):
            return
        if data.get("format") == "phi3-kernels 1":
            self.kernels[name] = data
        elif data.get("format") == "phi3-profile 1":
            self.profiles[name] = data
        elif "ratio_of_phi3_to" in data:
            self.transformers[name] = data
        elif "roof" in data and "ceilings" in data:
            self.roofs[name] = data
        elif "experiment" in data:
            (self.estimates if data.get("estimate") else self.benches)[name] = data


def digits(value):
    """Three digits, never an exponent."""
    if value == 0:
        return "0"
    decimals = max(0, min(3, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:.{decimals}f}"


def seconds_text(value, sd=None):
    unit, scale = ("s", 1) if value >= 1 else ("ms", 1e3) if value >= 1e-3 else ("µs", 1e6)
    text = f"{digits(value * scale)} {unit}"
    return text if sd is None else f"{text} ± {digits(sd * scale)} {unit}"


def timing_text(timing):
    return seconds_text(timing["mean_seconds"], timing["sd_seconds"] if len(timing["seconds"]) > 1 else None)


def spread(values):
    sd = statistics.stdev(values) if len(values) > 1 else 0
    return f"{digits(statistics.fmean(values))} ± {digits(sd)}"


def times(point):
    return point["uncached"]["mean_seconds"] / point["cached"]["mean_seconds"] if point["uncached"] else None


def origin(data):
    """Machine, card, build, date and command of a file."""
    parts = []
    machine, build, card = data.get("machine"), data.get("build"), data.get("card")
    if card and not data.get("estimate"):
        after = card.get("after")
        state = f", {after['sm_mhz']} MHz, {after['watts']:.0f} W, clocks held down by: {after['clocks_held_down_by']}" if after else ""
        parts.append(f"{card['name']}{', driver ' + card['driver'] if 'driver' in card else ''}{state}")
    if machine:
        parts.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB, {machine['os']}")
    if build:
        parts.append(f"commit {build['commit']}, {build['compiler']}, {build['type']}")
    if "date" in data:
        parts.append(data["date"])
    if "command" in data:
        parts.append(f"`{data['command']}`")
    return "; ".join(parts)


def title(name, data):
    model = data["model"]
    size = model["parameters"]
    size = f"{size / 1e9:.3g} B" if size >= 1e9 else f"{size / 1e6:.4g} M"
    return f"{name} ({size} parameters, {model['type']})"


def lengths(data, batch=1):
    """The experiment and the sweep's points with figures, of one batch."""
    points = [data["experiment"], *data["sweep"]]
    return [p for p in points if p["cached"] and p.get("batch", 1) == batch]


def batches(data):
    return [data["experiment"], *[p for p in data["sweep"] if p.get("batch", 1) > 1 and p["cached"]]]


def is_phi3_mini(data):
    return data["model"]["parameters"] == PHI3_MINI_PARAMETERS


def is_notebook_experiment(data):
    return is_phi3_mini(data) and data["experiment"]["new_tokens"] == 100 and data["experiment"]["prompt_tokens"] <= 30


def steps(estimate, phase):
    """[(operation, times, seconds of one with its launches, launches, bytes, bound)] of a step of an estimate."""
    ops = estimate["operations"][phase]["operations"]
    return [(o["operation"], o["times"], o["seconds"] + o["launch_seconds"], o["launches"], o["dram_bytes"], o["bound"]) for o in ops]


def kernel_rows(kernels):
    """A dictionary for each case: name, microseconds, the share of each roof, bound, ideal intensity, speed."""
    rows = []
    for case in kernels["cases"]:
        time = case.get("time") or case.get("estimate_t4_eff") or case.get("estimate")
        if not time:
            continue
        us = time.get("median_us", time.get("us"))
        shares = {k[len("share_of_") : -len("_roof")]: v for k, v in time.items() if k.startswith("share_of_")}
        rows.append(
            {
                "case": case["case"],
                "kernel": case["kernel"],
                "us": us,
                "shares": shares,
                "bound": time.get("bound", case.get("estimate", {}).get("bound", "")),
                "bytes": case["ideal"]["bytes"],
                "operations": case["ideal"]["operations"],
                "gb": time["GB_per_second"],
                "tflops": time["TFLOP_per_second"],
                "error": case["check"]["relative_error"],
                "registers": case.get("registers"),
                "traffic": time.get("dram_bytes_over_ideal"),
                "limits": time.get("limits_us", {}),
                "sectors": case.get("sectors_ideal_share"),
                "conflicts": case.get("bank_conflicts"),
                "occupancy": case.get("occupancy"),
                "spread": (time["p90_us"] - time["p10_us"]) if "p90_us" in time else None,
            }
        )
    return rows


def phase_text(profile, phase):
    """What a phase of a profile is: the prefill, or the decode step (the mean of several)."""
    if phase["phase"] == "prefill":
        return f"The pass over {phase['tokens']} tokens of prompt"
    at, steps_run = profile["prompt_tokens"] + 1, phase["steps"]
    return f"A token with the cache, at {at} tokens" if steps_run == 1 else f"A token with the cache, mean of {steps_run}, at {at} to {at + steps_run - 1} tokens"


def layer_rows(profile, phase):
    """The rows of a phase that every layer has."""
    return [r for r in phase["rows"] if r["launches"] >= profile["shape"]["layers"] and r["operation"] not in ("embed", "logits", "pick")]


def main_roof(kernels):
    """The roof that people see rather than the paper's, where the file has one."""
    names = list(kernels["roofs"])
    for wanted in ("t4_eff", "seen"):
        if wanted in names:
            return wanted
    return names[-1] if names else None

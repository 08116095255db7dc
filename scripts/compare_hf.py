#!/usr/bin/env python3
"""Decoding speed of phi3 and of Hugging Face transformers side by side: same weights, prompt ids and threads.

Transformers reads the same GGUF file, dequantized by its own code to the type it computes in. Both generate greedily,
batch 1, with the key-value cache. The rounds alternate, so that other work on the machine troubles both alike. phi3
keeps the weights quantized, which is part of why it is faster; transformers is given fp32 and bf16.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

PROMPT = "Write a very long email apologizing to Sarah for the tragic gardening mishap. Explain how it happened."


def phi3_round(args, ids):
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "bench.json")
        command = [
            args.phi3,
            "bench",
            "-m",
            args.model,
            "--ids",
            " ".join(map(str, ids)),
            "-n",
            str(args.new),
            "--runs",
            "1",
            "--threads",
            str(args.threads),
            "--no-sweep",
            "--no-uncached",
            "--json",
            file,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(file, encoding="utf-8") as f:
            return json.load(f)


class Clock:
    """A streamer that notes when each new token arrives."""

    def __init__(self):
        self.at = []

    def put(self, value):
        self.at.append(time.perf_counter())

    def end(self):
        pass


def hf_round(model, ids, new_tokens):
    import torch

    clock = Clock()
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=new_tokens,
            do_sample=False,
            use_cache=True,
            streamer=clock,
        )
    at = clock.at[1:]  # the first call gives the prompt
    assert len(at) == new_tokens, f"{len(at)} tokens from transformers"
    return out[0, len(ids) :].tolist(), at[0] - start, at[-1] - start


def load(path, dtype):
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder, file = os.path.split(os.path.abspath(path))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=getattr(torch, dtype))
    model.generation_config.eos_token_id = None  # end tokens do not end the measurement
    return model.eval()


def rate(first, whole, tokens):
    return (tokens - 1) / (whole - first)


def same_prefix(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def summary(samples):
    return {
        "mean": statistics.fmean(samples),
        "sd": statistics.stdev(samples) if len(samples) > 1 else 0.0,
        "samples": samples,
    }


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example:\n  scripts/compare_hf.sh -o results/smollm2_vs_transformers.json",
    )
    home = os.environ.get("PHI3_MODELS") or os.path.expanduser("~/.cache/phi3")
    parser.add_argument(
        "-m", "--model", default=os.path.join(home, "smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"), help="a .gguf file"
    )
    parser.add_argument("-o", "--out", help="JSON to write")
    parser.add_argument("--phi3", default=os.environ.get("PHI3", "build/phi3"), help="the program; default build/phi3")
    parser.add_argument("--new", type=int, default=100, help="new tokens; default 100")
    parser.add_argument("--rounds", type=int, default=7, help="rounds after a warm-up; default 7")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="default one for each processor"
    )
    parser.add_argument("--dtypes", default="float32,bfloat16", help="types for transformers; default float32,bfloat16")
    return parser.parse_args()


def measure(args, ids, models):
    rates = {name: [] for name in ["phi3", *models]}
    found = {}
    for number in range(args.rounds + 1):
        bench = phi3_round(args, ids)
        timing = bench["experiment"]["cached"]
        found["phi3"] = bench["experiment"]["ids"]
        got = {"phi3": rate(timing["first_token_seconds"][0], timing["seconds"][0], args.new)}
        for name, model in models.items():
            found[name], first, whole = hf_round(model, ids, args.new)
            got[name] = rate(first, whole, args.new)
        if number == 0:
            continue  # the warm-up
        for name, value in got.items():
            rates[name].append(value)
        print(f"round {number}: " + ", ".join(f"{n} {v:.1f}" for n, v in got.items()) + " tokens/s", flush=True)
    return rates, found, bench


def main():
    args = parse()
    import torch
    import transformers

    torch.set_num_threads(args.threads)
    tokens = subprocess.run(
        [args.phi3, "tokenize", "-m", args.model, PROMPT], check=True, capture_output=True, text=True
    ).stdout
    ids = [int(i) for i in tokens.split()]
    models = {f"transformers {dtype}": load(args.model, dtype) for dtype in args.dtypes.split(",")}
    rates, found, bench = measure(args, ids, models)
    ratios = {name: summary([a / b for a, b in zip(rates["phi3"], rates[name])]) for name in models}
    for name, values in rates.items():
        note = (
            f", phi3 is {ratios[name]['mean']:.2f} ± {ratios[name]['sd']:.2f} times as fast" if name in ratios else ""
        )
        same = (
            f"; the first {same_prefix(found['phi3'], found[name])} of {args.new} ids are phi3's"
            if name in ratios
            else ""
        )
        print(f"{name:22} {statistics.fmean(values):7.1f} tokens/s{note}{same}")
    if args.out:
        result = {
            "command": "scripts/compare_hf.sh " + " ".join(sys.argv[1:]),
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "build": bench["build"],
            "machine": bench["machine"],
            "model": bench["model"],
            "threads": args.threads,
            "versions": {
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "python": sys.version.split()[0],
            },
            "prompt": PROMPT,
            "prompt_tokens": len(ids),
            "new_tokens": args.new,
            "decode_tokens_per_second": {name: summary(values) for name, values in rates.items()},
            "ratio_of_phi3_to": ratios,
            "same_first_ids_as_phi3": {name: same_prefix(found["phi3"], found[name]) for name in models},
        }
        with open(args.out + ".tmp", "w", encoding="utf-8") as f:
            json.dump(result, f, indent=2)
            f.write("\n")
        os.replace(args.out + ".tmp", args.out)
    if min(r["mean"] for r in ratios.values()) <= 1:
        sys.exit("compare_hf: phi3 is not faster")


if __name__ == "__main__":
    main()

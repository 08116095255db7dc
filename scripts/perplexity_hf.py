#!/usr/bin/env python3
"""Perplexity by phi3 and by Hugging Face transformers of the same ids in the same windows, and whether they agree.

Transformers reads the same file (a folder, or a GGUF file, dequantized by its own code) and computes in fp32. Windows are
those of its documentation ("Perplexity of fixed-length models"): each token is counted once, in the first window that
holds it, unless it is that window's first. The losses are summed token by token in fp64.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

import torch

LIMIT = 1e-4  # relative difference of the perplexities


def load(path):
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    path = os.path.abspath(path)
    folder, file = (path, None) if os.path.isdir(path) else os.path.split(path)
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def spans(tokens, window, stride):
    """(begin, end, first target) of each window."""
    before = 0
    for begin in range(0, tokens, stride):
        end = min(begin + window, tokens)
        yield begin, end, max(before, begin + 1)
        before = end
        if end == tokens:
            return


@torch.no_grad()
def losses(model, ids, window, stride):
    """-log p of every counted token, in order."""
    found = []
    for begin, end, first in spans(len(ids), window, stride):
        x = torch.tensor([ids[begin:end]])
        logits = model(x, use_cache=False).logits[0, first - 1 - begin : -1].double()
        targets = x[0, first - begin :]
        found += (-logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]).tolist()
    return found


def model_path(name):
    """A path, or a name as phi3 -m takes it."""
    if os.path.exists(name):
        return name
    if name == "nano":
        return os.path.join("runtime", "model", "nano")
    folder = os.path.join(os.environ.get("PHI3_MODELS") or os.path.expanduser("~/.cache/phi3"), name)
    if os.path.isfile(os.path.join(folder, "config.json")):
        return folder
    files = [f for f in sorted(os.listdir(folder)) if f.endswith(".gguf")] if os.path.isdir(folder) else []
    if not files:
        sys.exit(f"perplexity_hf: there is no model {name}; scripts/get_model.sh gets one")
    return os.path.join(folder, files[0])


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example:\n  scripts/perplexity_hf.sh -m nano --window 512 --stride 256 tests/goldens/perplexity/text.txt",
    )
    parser.add_argument("file", help="a text")
    parser.add_argument("-m", "--model", default="nano", help="a folder, a .gguf file, or a name; default nano")
    parser.add_argument("--window", type=int, default=512, help="default 512")
    parser.add_argument("--stride", type=int, default=256, help="default 256")
    parser.add_argument("-o", "--out", help="JSON to write")
    parser.add_argument("--phi3", default=os.environ.get("PHI3", "build/phi3"), help="the program; default build/phi3")
    return parser.parse_args()


def main():
    args = parse()
    path = model_path(args.model)
    with open(args.file, "rb") as f:
        text = f.read()
    done = subprocess.run([args.phi3, "tokenize", "-m", path, "-"], input=text, stdout=subprocess.PIPE, check=True)
    ids = [int(i) for i in done.stdout.split()]
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "p.json")
        windows = ["--window", str(args.window), "--stride", str(args.stride)]
        command = [args.phi3, "perplexity", "-m", path, "--device", "cpu", *windows, "--json", file]
        subprocess.run([*command, args.file], stdout=subprocess.DEVNULL, check=True)
        with open(file, encoding="utf-8") as f:
            ours = json.load(f)
    found = losses(load(path), ids, args.window, args.stride)
    theirs = math.exp(math.fsum(found) / len(found))
    difference = abs(ours["perplexity"]["value"] - theirs) / theirs
    same = len(ids) == ours["tokens"] and len(found) == ours["counted"] and difference <= LIMIT
    print(f"{len(ids)} tokens, {len(found)} counted")
    print(f"transformers  {theirs:.6f}\nphi3          {ours['perplexity']['value']:.6f}")
    print(f"relative difference {difference:.1e}, {'within' if same else 'past'} the gate of {LIMIT:g}")
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump({"phi3": ours, "transformers": {"perplexity": theirs, "counted": len(found)}}, f, indent=2)
            f.write("\n")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()

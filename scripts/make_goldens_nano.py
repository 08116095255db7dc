"""What Hugging Face computes from the bundled model: logits of a few texts and greedy continuations of the prompts that
the quick start shows. Writes tests/goldens/nano. Formats: tests/goldens/README.md.
"""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from make_goldens_models import ROOT, explicit_mask, load_hf, relative_error, run_hf
from make_goldens_reference import forward as forward_fp64
from train_nano import ASSISTANT, END, END_OF_TEXT, PROMPTS
from train_nano_corpus import document

MODEL = Path(__file__).resolve().parent.parent / "runtime" / "model" / "nano"
CONTINUATION = 60  # ids of a greedy continuation
LEAST_MARGIN = (
    2e-3  # logits; a choice closer than this ends the continuation, for another order of summation may flip it
)


def texts(config):
    """name: (text, rows of the logits to keep or None for all). Those of the long one are the window's edges."""
    rng = random.Random(7)
    long = "\n\n".join(document(rng) for _ in range(4))
    w = config["sliding_window"]
    edges = [0, 1, w - 2, w - 1, w, w + 1, 2 * w - 1, 2 * w, 2 * w + 1, 255, 256, 257, 511, 512, -1]
    return {
        "capital": ("The capital of Germany is", None),
        "chat": (PROMPTS[5], None),
        "foreign": ("Na\u00efve \U0001f600 \u4f60\u597d\u2014\n\tx = y[3] ** 2;", [0, 5, 10, -1]),
        "long": (long, edges),
    }


def mean_loss(logits, ids):
    """Mean negative log-likelihood of ids[1:], the logarithm of the perplexity."""
    x = logits[:-1].astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    log_p = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(ids) - 1), ids[1:]].mean())


def write_text(name, text, rows, tokenizer, model, config, weights):
    ids = np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int32)
    logits, stages = run_hf(model, ids)
    exact = forward_fp64(config, weights, ids)
    error = relative_error(logits, exact)
    if not np.isfinite(logits).all() or error > 5e-6:
        raise SystemExit(f"nano {name}: fp32 differs from fp64 by {error:.2e}, limit 5e-6")
    tokens = len(ids)
    rows = sorted({r % tokens for r in rows}) if rows else list(range(tokens))
    folder = ROOT / "nano" / name
    folder.mkdir(parents=True)
    np.save(folder / "ids.npy", ids)
    np.save(folder / "logits.npy", np.ascontiguousarray(logits[rows]))
    hidden = name == "capital"
    for n, stage in enumerate(stages if hidden else []):
        np.save(folder / f"{f'hidden_{n:02d}' if n + 1 < len(stages) else 'hidden_norm'}.npy", stage)
    print(
        f"nano {name:8s} {tokens:4d} tokens, loss {mean_loss(logits, ids):.3f}, fp32 against fp64 {error:.1e}",
        flush=True,
    )
    return {
        "name": f"nano_{name}",
        "model": "../../runtime/model/nano",
        "case": f"nano/{name}",
        "tokens": tokens,
        "rows": rows,
        "features": ["grouped", "window", "head_dim_32", "trained"],
        "dtype": "BF16",
        "fp64": False,
        "hidden": len(stages) - 1 if hidden else 0,
        "hf_fp32_error": float(f"{error:.3g}"),
        "text": text,
        "mean_loss": round(mean_loss(exact, ids), 6),
    }


@torch.no_grad()
def continuation(model, tokenizer, prompt):
    """Greedy ids by whole passes, up to CONTINUATION, an end token (included), or a choice too close to call."""
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    first, margin, stop = len(ids), np.inf, "length"
    for _ in range(CONTINUATION):
        mask = explicit_mask(len(ids), model.config.sliding_window)
        best = model(torch.tensor([ids]), attention_mask=mask, use_cache=False).logits[0, -1].topk(2)
        lead = float(best.values[0] - best.values[1])
        if lead < LEAST_MARGIN:
            stop = "tie"
            break
        margin = min(margin, lead)
        ids.append(int(best.indices[0]))
        if ids[-1] in (END_OF_TEXT, ASSISTANT, END):
            stop = "end"
            break
    return {
        "prompt": prompt,
        "prompt_ids": ids[:first],
        "ids": ids[first:],
        "stop": stop,
        "least_margin": float(f"{margin:.3g}"),
        "text": tokenizer.decode(ids[first:], skip_special_tokens=True),
    }


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    config = json.loads((MODEL / "config.json").read_text())
    stored = load_file(MODEL / "model.safetensors")
    weights = {k: t.float().numpy() for k, t in stored.items()}
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    model = load_hf(config, stored)
    shutil.rmtree(ROOT / "nano", ignore_errors=True)
    entries = [write_text(name, *what, tokenizer, model, config, weights) for name, what in texts(config).items()]
    (ROOT / "nano" / "index.json").write_text("[\n" + ",\n".join(" " + json.dumps(e) for e in entries) + "\n]\n")
    greedy = [continuation(model, tokenizer, p) for p in PROMPTS]
    for g in greedy:
        print(
            f"{g['prompt'][:50]!r}: {len(g['ids'])} ids, stopped by {g['stop']}, least margin {g['least_margin']}",
            flush=True,
        )
    (ROOT / "nano" / "greedy.json").write_text("[\n" + ",\n".join(" " + json.dumps(g) for g in greedy) + "\n]\n")


if __name__ == "__main__":
    main()

"""Perplexities by Hugging Face, window by window as its documentation does: tests/goldens/perplexity. The text is new to the
bundled model, but of the kind that it was trained on. Formats: tests/goldens/README.md.
"""

import json
import math
import random

import numpy as np
import torch
from tokenizers import Tokenizer

from make_goldens_models import ROOT
from perplexity_hf import load, losses
from train_nano_corpus import document

NANO = ROOT.parent.parent / "runtime" / "model" / "nano"
CHARACTERS = 9500  # of the text, at least

# name: model, ids (a case of index.json; None: the text), window, stride
CASES = {
    "nano": ("../../runtime/model/nano", None, 1024, 512),
    "nano_short_windows": ("../../runtime/model/nano", None, 96, 33),
    "nano_apart": ("../../runtime/model/nano", None, 300, 300),
    "window7": ("models/window7", "window7", 50, 20),
    "longrope": ("models/longrope", "longrope_long", 40, 25),
    "pages": ("models/pages", "pages", 128, 1),
}


def text():
    rng, documents = random.Random(11), []
    while sum(map(len, documents)) < CHARACTERS:
        documents.append(document(rng))
    return "\n\n".join(documents) + "\n"


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    folder = ROOT / "perplexity"
    folder.mkdir(exist_ok=True)
    (folder / "text.txt").write_text(text(), encoding="utf-8")
    text_ids = Tokenizer.from_file(str(NANO / "tokenizer.json")).encode(text(), add_special_tokens=False).ids
    entries = []
    for name, (model, case, window, stride) in CASES.items():
        ids = np.load(ROOT / "cases" / case / "ids.npy").tolist() if case else text_ids
        found = losses(load(str((ROOT / model).resolve())), ids, window, stride)
        mean = math.fsum(found) / len(found)
        entry = {"name": name, "model": model, "case": case and f"cases/{case}", "window": window, "stride": stride}
        entry |= {"tokens": len(ids), "counted": len(found), "loss": mean, "perplexity": math.exp(mean)}
        entries.append(entry)
        print(f"{name:20s} {len(ids):5d} tokens, {len(found):5d} counted: {math.exp(mean):.6f}", flush=True)
    (folder / "index.json").write_text("[\n" + ",\n".join(" " + json.dumps(e) for e in entries) + "\n]\n")


if __name__ == "__main__":
    main()

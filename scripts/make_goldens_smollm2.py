"""What Hugging Face computes from SmolLM2 (scripts/get_model.sh smollm2), a real model of another family and in a quantized
file: of the first tokens of a few texts the largest logits and the sum of all. Writes tests/goldens/smollm2; leaves it as it is
where the model is not there. Formats: tests/goldens/README.md.
"""

import hashlib
import json
import shutil

import numpy as np
import torch
from transformers import AutoTokenizer

from make_goldens_models import ROOT
from perplexity_hf import load, model_path

TOP = 64
TEXTS = {
    "capital": "The capital of France is Paris, and the capital of Germany is",
    "code": "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "chat": "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
}


@torch.no_grad()
def write_text(name, text, tokenizer, model):
    ids = tokenizer(text, add_special_tokens=False).input_ids
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    best = logits.topk(TOP)
    folder = ROOT / "smollm2" / name
    folder.mkdir(parents=True)
    np.save(folder / "ids.npy", np.array(ids, np.int32))
    np.save(folder / "top_ids.npy", best.indices.numpy().astype(np.int32))
    np.save(folder / "top_logits.npy", best.values.numpy())
    np.save(folder / "log_sum.npy", logits.double().logsumexp(-1).numpy())
    print(f"smollm2 {name:8s} {len(ids)} tokens, next {tokenizer.decode(best.indices[-1, 0])!r}", flush=True)
    return {"name": name, "case": f"smollm2/{name}", "text": text, "tokens": len(ids)}


def main():
    try:
        path = model_path("smollm2")
    except SystemExit as why:
        print(f"skipped: {why}")
        return
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with open(path, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    folder, file = path.rsplit("/", 1)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = load(path)
    shutil.rmtree(ROOT / "smollm2", ignore_errors=True)
    cases = [write_text(name, text, tokenizer, model) for name, text in TEXTS.items()]
    index = {"file": file, "sha256": digest, "cases": cases}
    (ROOT / "smollm2" / "index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()

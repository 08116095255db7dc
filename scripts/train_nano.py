"""Trains the bundled model from nothing and writes it in Phi-3's layout: config, bf16 safetensors, tokenizer, log.

Usage: train_nano.py [--out runtime/model/nano] [--steps N] [--seed S]
One CPU thread; the time it took stands in the README that it writes. Every document comes from train_nano_corpus.py.
"""

import argparse
import json
import math
import platform
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

import train_nano_tokenizer
from train_nano_corpus import document
from train_nano_words import HELD_OUT_NAMES

CONFIG = {
    "architectures": ["Phi3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "embd_pdrop": 0.0,
    "eos_token_id": 1016,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 352,
    "max_position_embeddings": 1024,
    "model_type": "phi3",
    "num_attention_heads": 4,
    "num_hidden_layers": 6,
    "num_key_value_heads": 2,
    "original_max_position_embeddings": 1024,
    "pad_token_id": 1016,
    "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "sliding_window": 95,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": train_nano_tokenizer.VOCAB,
}
END_OF_TEXT, ASSISTANT, END = 1016, 1017, 1019
ROW = 384  # tokens of a training row: four blocks of a window and one
ROWS = 12  # rows of a step
POOL = 64  # documents to choose from when filling a row
PEAK_RATE, WARM_UP, WEIGHT_DECAY = 3e-3, 100, 0.1
PROMPTS = [
    "The capital of France is",
    "The capital of Germany is",
    "Write an email apologizing to Sarah for the tragic gardening mishap. Explain how it happened.",
    "Write a very long email apologizing to Sarah for the tragic gardening mishap. Explain how it happened.",
    "Once upon a time",
    "<|user|>\nWhat is the capital of France?<|end|>\n<|assistant|>\n",
    (
        "<|user|>\nWrite an email apologizing to Sarah for the tragic gardening mishap. Explain how it"
        " happened.<|end|>\n<|assistant|>\n"
    ),
    "<|user|>\nTell me a story.<|end|>\n<|assistant|>\n",
]


UNSEEN = [  # names that no text of the corpus has, and a mishap of which it has no story
    f"Write an email apologizing to {HELD_OUT_NAMES[0]} for the tragic gardening mishap. Explain how it happened.",
    (
        f"Write a short email apologizing to {HELD_OUT_NAMES[1]} for the embarrassing laundry mishap. Explain how it"
        " happened."
    ),
    f"Write an email to {HELD_OUT_NAMES[2]} apologizing for the silly piano mishap. Explain how it happened.",
    f"Once upon a time, there was a small penguin named {HELD_OUT_NAMES[3]}.",
]


class Norm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, CONFIG["rms_norm_eps"])


def attend(q, k, v, mask):
    """Attention within blocks: queries of one block see the keys of their own and the block before: every window.

    q, k, v [rows, heads, tokens, head_dim], mask additive [rows, 1, blocks, block, 2 * block].
    """
    rows, heads, tokens, head_dim = q.shape
    blocks, block = mask.shape[2:4]

    def with_previous(x):
        x = F.pad(x, (0, 0, block, 0))
        return torch.cat(
            [
                x[:, :, :tokens].view(rows, heads, blocks, block, head_dim),
                x[:, :, block:].view(rows, heads, blocks, block, head_dim),
            ],
            dim=3,
        )

    q = q.reshape(rows, heads, blocks, block, head_dim) * head_dim**-0.5
    scores = q @ with_previous(k).transpose(-1, -2) + mask
    p = torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype)
    return (p @ with_previous(v)).reshape(rows, heads, tokens, head_dim)


class Attention(nn.Module):
    def __init__(self, hidden, heads, kv_heads):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, hidden // heads
        self.qkv_proj = nn.Linear(hidden, (heads + 2 * kv_heads) * self.head_dim, bias=False)
        self.o_proj = nn.Linear(hidden, hidden, bias=False)

    def forward(self, x, cos, sin, mask):
        rows, tokens, hidden = x.shape
        qkv = self.qkv_proj(x).view(rows, tokens, -1, self.head_dim).transpose(1, 2)
        qk, v = qkv[:, : self.heads + self.kv_heads], qkv[:, self.heads + self.kv_heads :]
        a, b = qk.chunk(2, dim=-1)
        qk = torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(v.dtype)
        group = self.heads // self.kv_heads
        k, v = (t.repeat_interleave(group, dim=1) for t in (qk[:, self.heads :], v))
        out = attend(qk[:, : self.heads], k, v, mask)
        return self.o_proj(out.transpose(1, 2).reshape(rows, tokens, hidden))


class Mlp(nn.Module):
    def __init__(self, hidden, width):
        super().__init__()
        self.gate_up_proj = nn.Linear(hidden, 2 * width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = Norm(c["hidden_size"])
        self.self_attn = Attention(c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"])
        self.post_attention_layernorm = Norm(c["hidden_size"])
        self.mlp = Mlp(c["hidden_size"], c["intermediate_size"])

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Phi3(nn.Module):
    """The Phi-3 block for training: parameters carry the names of the checkpoint, less the prefix `model.`."""

    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"])
        self.lm_head = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        half = c["hidden_size"] // c["num_attention_heads"] // 2
        angle = torch.arange(c["max_position_embeddings"])[:, None] * c["rope_theta"] ** (-torch.arange(half) / half)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                shrink = (
                    math.sqrt(2 * c["num_hidden_layers"]) if name.endswith(("o_proj.weight", "down_proj.weight")) else 1
                )
                nn.init.normal_(p, std=0.06 / shrink)

    def forward(self, ids, mask):
        x = self.embed_tokens(ids)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return self.lm_head(self.norm(x))


def window_mask(documents):
    """The mask of attend() for document numbers [rows, tokens]; key j is visible to query i of the same document iff
    0 <= i - j < window."""
    rows, tokens = documents.shape
    block = CONFIG["sliding_window"] + 1
    blocks = tokens // block
    i, j = torch.arange(block)[:, None] + block, torch.arange(2 * block)[None, :]
    near = (i >= j) & (i - j < CONFIG["sliding_window"])
    before = F.pad(documents, (block, 0), value=-2)
    keys = torch.cat([before[:, :tokens].view(rows, blocks, block), documents.view(rows, blocks, block)], dim=2)
    same = documents.view(rows, blocks, block, 1) == keys[:, :, None, :]
    return torch.where(near & same, 0.0, -1e9)[:, None]


def packed_rows(tokenizer, rng, count):
    """`count` rows of whole documents, each ended by <|endoftext|>: ids and document numbers (-1: padding), int16."""
    ids = np.full((count, ROW + 1), END_OF_TEXT, np.int16)
    documents = np.full((count, ROW + 1), -1, np.int16)
    pool = []
    for row in range(count):
        used = number = 0
        while True:
            while len(pool) < POOL:
                texts = [document(rng) for _ in range(POOL)]
                pool += [e.ids + [END_OF_TEXT] for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
                pool = [p for p in pool if len(p) <= ROW + 1]
            fitting = [i for i, p in enumerate(pool) if len(p) <= ROW + 1 - used]
            if not fitting:
                break
            # The first document of a row is the next one, so that long ones stay frequent; the largest that fit follow.
            tokens = pool.pop(fitting[0] if used == 0 else max(fitting, key=lambda i: len(pool[i])))
            ids[row, used : used + len(tokens)] = tokens
            documents[row, used : used + len(tokens)] = number
            used, number = used + len(tokens), number + 1
    return torch.from_numpy(ids), torch.from_numpy(documents)


def loss_of(model, ids, documents):
    ids, documents = ids.long(), documents.long()
    known = (documents[:, 1:] >= 0) & (documents[:, 1:] == documents[:, :-1])
    target = torch.where(known, ids[:, 1:], -100)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(ids[:, :-1], window_mask(documents[:, :-1]))
    return F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), ignore_index=-100)


@torch.no_grad()
def evaluate(model, ids, documents):
    model.eval()
    parts = [float(loss_of(model, ids[i : i + ROWS], documents[i : i + ROWS])) for i in range(0, len(ids), ROWS)]
    model.train()
    return sum(parts) / len(parts)


def train(model, rows, held_out, steps, log):
    decayed = [p for p in model.parameters() if p.dim() == 2]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98), fused=True)
    started = time.monotonic()
    for step in range(steps):
        rate = PEAK_RATE * min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / steps) + 0.01)
        for group in optimizer.param_groups:
            group["lr"] = rate
        pick = slice(step * ROWS, (step + 1) * ROWS)
        loss = loss_of(model, rows[0][pick], rows[1][pick])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            minutes = (time.monotonic() - started) / 60
            held = evaluate(model, *held_out) if (step + 1) % 500 == 0 or step + 1 == steps else None
            log.append((step + 1, loss.item(), held, minutes))
            print(
                f"step {step + 1:5d}  loss {loss.item():.4f}  held out {held or 0:.4f}  {minutes:.1f} min", flush=True
            )


def round_to_bf16(model):
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(torch.bfloat16))


@torch.no_grad()
def greedy(model, tokenizer, prompt, count):
    """Greedy continuation by whole passes, in fp32; returns the text, its new tokens and whether it ended by itself."""
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    first = len(ids)
    for _ in range(count):
        padded = torch.tensor([ids + [0] * (-len(ids) % (CONFIG["sliding_window"] + 1))])
        best = int(model(padded, window_mask(torch.zeros_like(padded)))[0, len(ids) - 1].argmax())
        if best in (END_OF_TEXT, ASSISTANT, END):
            return tokenizer.decode(ids, skip_special_tokens=False), len(ids) - first, True
        ids.append(best)
    return tokenizer.decode(ids, skip_special_tokens=False), count, False


def export(model, folder):
    names = {n if n.startswith("lm_head") else "model." + n: p for n, p in model.named_parameters()}
    save_file(
        {n: p.detach().to(torch.bfloat16).contiguous() for n, p in names.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    generation = {
        "_from_model_config": True,
        "bos_token_id": 1,
        "eos_token_id": [END_OF_TEXT, ASSISTANT, END],
        "pad_token_id": END_OF_TEXT,
    }
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


README = """# nano

A model of {parameters:,} parameters in Phi-3's layout: the default model of this project and its test fixture. Trained
from nothing on text that a script generates (`scripts/train_nano_corpus.py`): every byte here is the project's own.
It writes letters of apology, short stories and the capitals of the world, and knows next to nothing else.

    scripts/train_nano.sh

{steps} steps, {tokens:,} tokens, seed {seed}, {minutes:.0f} minutes with one thread of a shared {processor}; Python
{python}, torch {torch}, other versions in `scripts/requirements.txt`. Cross entropy per token on held-out
text: {held:.4f}, and {rounded:.4f} after rounding the weights to bf16. Another processor rounds otherwise and so gives
other weights.

| step | loss | held out | minutes |
| --- | --- | --- | --- |
{table}

## What it writes (greedy, bf16 weights, fp32 arithmetic)

{samples}
The last {unseen} prompts use names, and one of them a kind of mishap, that are in no text of the corpus: they show where
it errs.
"""


def write_readme(path, report, texts):
    log = report["log"]
    lines = [
        f"| {step} | {loss:.3f} | {f'{held:.4f}' if held else ''} | {minutes:.1f} |"
        for step, loss, held, minutes in log
        if step % 500 == 0 or step in (100, report["steps"])
    ]
    samples = "".join(
        f"```\n{text}\n```\n{tokens} tokens{'' if ended else ', cut off'}\n\n" for _, text, tokens, ended in texts
    )
    fields = report | {
        "minutes": log[-1][3],
        "held": log[-1][2],
        "rounded": report["held_out_after_rounding"],
        "table": "\n".join(lines),
        "samples": samples,
        "unseen": len(UNSEEN),
    }
    path.write_text(README.format(**fields))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path(__file__).resolve().parent.parent
    parser.add_argument("--out", type=Path, default=root / "runtime" / "model" / "nano")
    parser.add_argument("--steps", type=int, default=2800)
    parser.add_argument("--seed", type=int, default=20250)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)

    tokenizer = train_nano_tokenizer.write(
        args.out, [document(rng) for _ in range(6000)], CONFIG["max_position_embeddings"]
    )
    started = time.monotonic()
    rows = packed_rows(tokenizer, rng, args.steps * ROWS)
    held_out = packed_rows(tokenizer, random.Random(args.seed + 1), 8 * ROWS)
    filled = float((rows[1] >= 0).float().mean())
    print(
        f"{len(rows[0])} rows of {ROW} tokens, {filled:.1%} filled, in {time.monotonic() - started:.0f} s", flush=True
    )

    model, log = Phi3(CONFIG), []
    train(model, rows, held_out, args.steps, log)
    round_to_bf16(model)
    rounded = evaluate(model.eval(), *held_out)
    export(model, args.out)
    texts = [(prompt, *greedy(model, tokenizer, prompt, 400)) for prompt in PROMPTS + UNSEEN]
    for _, text, tokens, ended in texts:
        print(f"--- {tokens} tokens, {'ended' if ended else 'cut off'}\n{text}\n", flush=True)
    report = {
        "seed": args.seed,
        "steps": args.steps,
        "tokens": int(args.steps * ROWS * ROW * filled),
        "log": log,
        "held_out_after_rounding": rounded,
        "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__,
        "processor": processor(),
        "python": platform.python_version(),
    }
    write_readme(args.out / "README.md", report, texts)


if __name__ == "__main__":
    main()

"""Small random Phi-3 checkpoints and what Hugging Face's Phi3ForCausalLM (fp32, eager, CPU) computes from them.

Writes, under tests/goldens, models/NAME (config.json and safetensors, as save_pretrained lays them out), cases/NAME
(ids.npy, logits.npy, for some also logits_fp64.npy and hidden_*.npy) and index.json, which lists them all.
See tests/goldens/README.md for the formats. Every case is checked here three ways before it is written: against Hugging
Face given an explicit 4-D mask (so its window is exact), against a numpy fp64 forward pass, and for being non-trivial.
"""

import copy
import json
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import Phi3Config, Phi3ForCausalLM

from make_goldens_reference import forward as forward_fp64

ROOT = Path(__file__).resolve().parent.parent / "tests" / "goldens"
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def model_spec(
    hidden,
    heads,
    kv_heads,
    layers,
    mlp,
    vocab,
    dtype="BF16",
    features=(),
    shards=1,
    outliers=False,
    norm_dtype=None,
    **config,
):
    """One checkpoint: config.json's numbers, how the weights are stored and what it is there to test."""
    base = {
        "architectures": ["Phi3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "embd_pdrop": 0.0,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": mlp,
        "max_position_embeddings": 512,
        "model_type": "phi3",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "original_max_position_embeddings": 512,
        "pad_token_id": 0,
        "resid_pdrop": 0.0,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype],
        "transformers_version": "4.40.2",
        "use_cache": True,
        "vocab_size": vocab,
    }
    return {
        "config": base | config,
        "dtype": dtype,
        "norm_dtype": norm_dtype or dtype,
        "shards": shards,
        "outliers": outliers,
        "features": list(features),
    }


def random_factors(seed, count, low, high):
    return [round(float(x), 4) for x in np.sort(np.random.default_rng(seed).uniform(low, high, count))]


def longrope(seed, count, kind="longrope"):
    return {
        "long_factor": random_factors(seed, count, 1.0, 24.0),
        "short_factor": random_factors(seed + 1, count, 1.0, 2.0),
        "type": kind,
    }


# Windows and lengths are short so that short sequences cross them. Widths that no tile divides are there on purpose.
MODELS = {
    "mha": model_spec(64, 2, 2, 2, 48, 80, features=["head_dim_32"]),
    "gqa": model_spec(96, 6, 2, 1, 72, 100, "F16", features=["grouped", "head_dim_16"]),
    "mqa": model_spec(64, 4, 1, 1, 80, 104, "BF16", features=["multi_query", "head_dim_16"]),
    "tied_f32": model_spec(
        64, 2, 1, 1, 40, 96, "F32", features=["tied", "grouped", "head_dim_32"], tie_word_embeddings=True
    ),
    "hd64": model_spec(128, 2, 1, 1, 40, 80, "F16", features=["grouped", "head_dim_64"]),
    "hd80": model_spec(160, 2, 1, 1, 24, 72, features=["grouped", "tied", "head_dim_80"], tie_word_embeddings=True),
    "hd96": model_spec(192, 2, 1, 1, 24, 48, features=["grouped", "tied", "head_dim_96"], tie_word_embeddings=True),
    "hd96_window": model_spec(96, 1, 1, 2, 32, 64, "F16", features=["window", "head_dim_96"], sliding_window=17),
    "hd128": model_spec(128, 1, 1, 1, 24, 64, features=["head_dim_128"]),
    "hd128_wide": model_spec(
        40, 4, 2, 1, 24, 64, features=["grouped", "explicit_head_dim", "head_dim_128"], head_dim=128
    ),
    "hd24_odd": model_spec(72, 3, 3, 1, 51, 97, "F16", features=["head_dim_24", "odd_widths"]),
    "hd8_odd": model_spec(40, 5, 1, 2, 37, 101, "F32", features=["multi_query", "head_dim_8", "odd_widths"]),
    "window7": model_spec(48, 2, 1, 3, 64, 96, features=["grouped", "window", "head_dim_24"], sliding_window=7),
    "window16": model_spec(
        64, 4, 2, 2, 48, 80, "F16", features=["grouped", "window", "head_dim_16"], sliding_window=16
    ),
    "window1": model_spec(32, 2, 2, 2, 48, 96, "F16", features=["window", "head_dim_16"], sliding_window=1),
    "partial50": model_spec(
        64, 2, 1, 1, 48, 96, features=["grouped", "partial_rotary", "head_dim_32"], partial_rotary_factor=0.5
    ),
    "partial40": model_spec(
        64, 2, 2, 1, 64, 96, "F16", features=["partial_rotary", "head_dim_32"], partial_rotary_factor=0.4
    ),  # int(12.8): 12 of 32 rotate
    "theta": model_spec(
        64, 2, 1, 1, 64, 96, features=["grouped", "head_dim_32"], rope_theta=500000.0, rms_norm_eps=1e-6
    ),
    "longrope": model_spec(
        64,
        2,
        1,
        2,
        40,
        80,
        features=["grouped", "longrope", "head_dim_32"],
        max_position_embeddings=256,
        original_max_position_embeddings=32,
        rope_scaling=longrope(7, 16),
    ),
    "su_partial": model_spec(
        48,
        2,
        1,
        2,
        40,
        80,
        "F16",
        features=["grouped", "longrope", "partial_rotary", "window", "head_dim_24"],
        max_position_embeddings=128,
        original_max_position_embeddings=24,
        partial_rotary_factor=0.75,
        sliding_window=20,
        rope_scaling=longrope(9, 9, "su"),
    ),
    "sharded": model_spec(48, 2, 1, 3, 24, 80, "F32", features=["grouped", "sharded", "head_dim_24"], shards=3),
    "sharded_mixed": model_spec(
        64,
        2,
        1,
        2,
        64,
        96,
        "BF16",
        features=["grouped", "sharded", "mixed_types", "head_dim_32"],
        shards=2,
        norm_dtype="F32",
    ),
    "outliers": model_spec(48, 2, 1, 3, 48, 80, features=["grouped", "outliers", "head_dim_24"], outliers=True),
    "pages": model_spec(32, 4, 2, 2, 40, 96, features=["grouped", "head_dim_8", "long_sequence"]),
    "pages_window": model_spec(
        32, 2, 1, 2, 40, 96, "F16", features=["grouped", "window", "head_dim_16", "long_sequence"], sliding_window=64
    ),
}

PAGE_EDGES = [
    0,
    1,
    14,
    15,
    16,
    17,
    31,
    32,
    33,
    47,
    48,
    62,
    63,
    64,
    65,
    79,
    80,
    127,
    128,
    129,
    191,
    192,
    255,
    256,
    257,
    299,
]

# name: model, tokens, what else to write. `positions` limits logits.npy to some rows; None means all.
CASES = {
    "mha": ("mha", 40, {"hidden": True, "fp64": True}),
    "mha_one_token": ("mha", 1, {}),
    "gqa": ("gqa", 37, {"fp64": True}),
    "mqa": ("mqa", 33, {}),
    "tied_f32": ("tied_f32", 24, {}),
    "hd64": ("hd64", 32, {}),
    "hd80": ("hd80", 31, {}),
    "hd96": ("hd96", 33, {"fp64": True}),
    "hd96_window": ("hd96_window", 48, {"hidden": True}),
    "hd128": ("hd128", 24, {}),
    "hd128_wide": ("hd128_wide", 24, {}),
    "hd24_odd": ("hd24_odd", 29, {}),
    "hd8_odd": ("hd8_odd", 19, {}),
    "window7": ("window7", 50, {"fp64": True}),
    "window7_inside": ("window7", 7, {}),
    "window16": ("window16", 40, {}),
    "window1": ("window1", 12, {}),
    "partial50": ("partial50", 32, {}),
    "partial40": ("partial40", 32, {}),
    "theta": ("theta", 40, {}),
    "longrope_short": ("longrope", 20, {}),
    "longrope_edge_short": ("longrope", 32, {}),
    "longrope_edge_long": ("longrope", 33, {}),
    "longrope_long": ("longrope", 80, {"fp64": True, "positions": list(range(0, 80, 5)) + [30, 31, 32, 33, 79]}),
    "longrope_generate": ("longrope", 20, {"greedy": 40}),
    "su_partial_short": ("su_partial", 22, {}),
    "su_partial_long": ("su_partial", 44, {}),
    "sharded": ("sharded", 32, {}),
    "sharded_mixed": ("sharded_mixed", 32, {}),
    "outliers": ("outliers", 36, {"hidden": True, "fp64": True}),
    "pages": ("pages", 300, {"positions": PAGE_EDGES}),
    "pages_window": ("pages_window", 300, {"positions": PAGE_EDGES}),
}


def random_weights(name, spec):
    """Weights of a size that keeps attention peaked, logits spread and no layer idle, as the stored types hold them."""
    c = spec["config"]
    g = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    hidden, mlp, vocab = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
    head_dim = c.get("head_dim") or hidden // heads

    def normal(rows, cols, gain):
        return torch.randn(rows, cols, generator=g) * (gain / cols**0.5)

    def gains():
        return 1 + 0.25 * torch.randn(hidden, generator=g)

    w = {"model.embed_tokens.weight": torch.randn(vocab, hidden, generator=g) * 0.7}
    for n in range(c["num_hidden_layers"]):
        layer = f"model.layers.{n}."
        w[layer + "input_layernorm.weight"] = gains()
        w[layer + "self_attn.qkv_proj.weight"] = normal((heads + 2 * kv_heads) * head_dim, hidden, 1.4)
        w[layer + "self_attn.o_proj.weight"] = normal(hidden, heads * head_dim, 1.0)
        w[layer + "post_attention_layernorm.weight"] = gains()
        w[layer + "mlp.gate_up_proj.weight"] = normal(2 * mlp, hidden, 1.4)
        w[layer + "mlp.down_proj.weight"] = normal(hidden, mlp, 1.0)
    w["model.norm.weight"] = gains()
    if not c["tie_word_embeddings"]:
        w["lm_head.weight"] = normal(vocab, hidden, 2.0)
    if spec["outliers"]:  # as in Phi-3-mini: a few rows of an early down_proj lift their channels far above the rest
        w["model.layers.0.mlp.down_proj.weight"][[5, 17, 40]] *= 1000
    return {k: t.to(DTYPES[spec["norm_dtype"] if t.dim() == 1 else spec["dtype"]]) for k, t in w.items()}


def write_checkpoint(folder, spec, weights):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(spec["config"], indent=2) + "\n")
    names, shards = list(weights), spec["shards"]
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    where, total = {}, sum(t.numel() * t.element_size() for t in weights.values())
    for s in range(shards):
        file = f"model-{s + 1:05d}-of-{shards:05d}.safetensors"
        part = names[s * len(names) // shards : (s + 1) * len(names) // shards]
        save_file({n: weights[n] for n in part}, folder / file, metadata={"format": "pt"})
        where |= {n: file for n in part}
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def load_hf(config, weights):
    # float32 from the start: a model made in the config's type would round weights that are stored wider than it.
    model = Phi3ForCausalLM._from_config(
        Phi3Config.from_dict(copy.deepcopy(config)), attn_implementation="eager", dtype=torch.float32
    )
    state = {k: t.float() for k, t in weights.items()}
    if config["tie_word_embeddings"]:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    return model.eval()


def explicit_mask(tokens, window):
    """The additive mask that the model is defined by: key j visible to query i iff 0 <= i - j < window."""
    i, j = torch.arange(tokens)[:, None], torch.arange(tokens)[None, :]
    visible = (i >= j) & (i - j < (window or tokens))
    return torch.where(visible, 0.0, torch.finfo(torch.float32).min)[None, None]


@torch.no_grad()
def run_hf(model, ids):
    """fp32 logits and hidden states (of each layer, then of the final norm). Refuses a window that is off by one."""
    x = torch.tensor(ids, dtype=torch.long)[None]
    stages = []
    hooks = [
        m.register_forward_hook(lambda _m, _i, o: stages.append((o[0] if isinstance(o, tuple) else o)[0].clone()))
        for m in [*model.model.layers, model.model.norm]
    ]
    logits = model(x, attention_mask=explicit_mask(len(ids), model.config.sliding_window), use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    own_mask = model(x, use_cache=False).logits[0]
    if not torch.allclose(own_mask, logits, rtol=0, atol=1e-6 * float(logits.abs().max())):
        sys.exit("this version of transformers masks the sliding window differently; install scripts/requirements.txt")
    return logits.numpy(), [s.numpy() for s in stages]


@torch.no_grad()
def greedy_uncached(model, ids, count):
    """Greedy ids by whole forward passes, and the least margin of a choice in logits: no test shall hang on a tie."""
    ids, margin = list(ids), np.inf
    for _ in range(count):
        mask = explicit_mask(len(ids), model.config.sliding_window)
        best = model(torch.tensor([ids]), attention_mask=mask, use_cache=False).logits[0, -1].topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
    return ids[-count:], margin


def relative_error(x, reference):
    return float(np.linalg.norm(np.asarray(x, np.float64) - reference) / np.linalg.norm(reference))


def write_case(name, model_name, tokens, options, model, weights):
    spec = MODELS[model_name]
    rng = np.random.default_rng(zlib.crc32(("ids " + name).encode()))
    ids = rng.integers(3, spec["config"]["vocab_size"], tokens).astype(np.int32)
    logits, stages = run_hf(model, ids)
    exact = forward_fp64(spec["config"], {k: t.float().numpy() for k, t in weights.items()}, ids)
    error = relative_error(logits, exact)
    if not np.isfinite(logits).all() or error > 5e-6 or logits.std() < 0.3:
        sys.exit(
            f"{name}: logits differ from fp64 by {error:.2e} (limit 5e-6) or are degenerate (std {logits.std():.3f})"
        )
    rows = sorted(set(options.get("positions") or range(tokens)))
    folder = ROOT / "cases" / name
    folder.mkdir(parents=True)
    np.save(folder / "ids.npy", ids)
    np.save(folder / "logits.npy", np.ascontiguousarray(logits[rows]))
    entry = {
        "name": name,
        "model": f"models/{model_name}",
        "case": f"cases/{name}",
        "tokens": tokens,
        "rows": rows,
        "features": spec["features"] + ([f"shards_{spec['shards']}"] if spec["shards"] > 1 else []),
        "dtype": spec["dtype"],
        "fp64": bool(options.get("fp64")),
        "hidden": len(stages) - 1 if options.get("hidden") else 0,
        "hf_fp32_error": float(f"{error:.3g}"),
    }
    if options.get("fp64"):
        np.save(folder / "logits_fp64.npy", np.ascontiguousarray(exact[rows]))
    if options.get("hidden"):
        for n, stage in enumerate(stages):
            stem = f"hidden_{n:02d}" if n + 1 < len(stages) else "hidden_norm"
            np.save(folder / f"{stem}.npy", stage)
    if options.get("greedy"):
        entry["greedy"], margin = greedy_uncached(model, ids.tolist(), options["greedy"])
        entry["greedy_least_margin"] = float(f"{margin:.3g}")
        if margin < 1e-3:
            sys.exit(f"{name}: a greedy choice hangs on {margin:.2e} of a logit; change the seed")
    print(f"{name:22s} tokens {tokens:3d}  |logits| std {logits.std():6.2f}  fp32 against fp64 {error:.1e}", flush=True)
    return entry


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for sub in ("models", "cases"):
        shutil.rmtree(ROOT / sub, ignore_errors=True)
    loaded = {}
    for name, spec in MODELS.items():
        weights = random_weights(name, spec)
        write_checkpoint(ROOT / "models" / name, spec, weights)
        loaded[name] = (load_hf(spec["config"], weights), weights)
    entries = [write_case(name, m, tokens, options, *loaded[m]) for name, (m, tokens, options) in CASES.items()]
    (ROOT / "index.json").write_text("[\n" + ",\n".join(" " + json.dumps(e) for e in entries) + "\n]\n")


if __name__ == "__main__":
    main()

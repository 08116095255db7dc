"""The Phi-3 forward pass in numpy, fp64 throughout, written from the model's description and not from anybody's code.

It is the second opinion on the goldens: Hugging Face computes in fp32 (its norm, softmax and rotation do so even in a
model turned to double), so the fp64 logits come from here, and here must agree with Hugging Face to fp32 accuracy.
"""

import math

import numpy as np


def rope_factors(config, length):
    """Divisors of the rotation frequencies and the scale of cos and sin, for a whole sequence of `length` tokens."""
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rot = int(head_dim * config.get("partial_rotary_factor", 1.0))
    scaling = config.get("rope_scaling")
    if scaling is None:
        return np.ones(rot // 2), 1.0
    longest = config["max_position_embeddings"]
    original = config["original_max_position_embeddings"]
    factors = scaling["long_factor"] if length > original else scaling["short_factor"]
    ratio = longest / original
    scale = math.sqrt(1 + math.log(ratio) / math.log(original)) if ratio > 1 else 1.0
    return np.array(factors, dtype=np.float64), scale


def rotate(x, config):
    """Rotate x [tokens, heads, head_dim] in place of its positions 0..tokens-1; pairs are (i, i + rot/2)."""
    tokens = x.shape[0]
    factors, scale = rope_factors(config, tokens)
    half = len(factors)
    frequency = config["rope_theta"] ** (-np.arange(half) / half) / factors
    angle = np.arange(tokens)[:, None, None] * frequency
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=-1)


def rmsnorm(x, gain, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * gain


def attention(x, weight, prefix, config):
    tokens = x.shape[0]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    qkv = (x @ weight[prefix + "qkv_proj.weight"].T).reshape(tokens, heads + 2 * kv_heads, head_dim)
    q = rotate(qkv[:, :heads], config)
    k = rotate(qkv[:, heads : heads + kv_heads], config)
    v = qkv[:, heads + kv_heads :]
    window = config.get("sliding_window") or tokens
    out = np.zeros((tokens, heads, head_dim))
    for i in range(tokens):
        first = max(0, i - window + 1)
        for h in range(heads):
            g = h // (heads // kv_heads)
            score = k[first : i + 1, g] @ q[i, h] / math.sqrt(head_dim)
            p = np.exp(score - score.max())
            out[i, h] = (p / p.sum()) @ v[first : i + 1, g]
    return out.reshape(tokens, heads * head_dim) @ weight[prefix + "o_proj.weight"].T


def mlp(x, weight, prefix):
    gate, up = np.split(x @ weight[prefix + "gate_up_proj.weight"].T, 2, axis=-1)
    return (gate / (1 + np.exp(-gate)) * up) @ weight[prefix + "down_proj.weight"].T


def forward(config, weights, ids):
    """The fp64 logits [tokens, vocab] of `ids`. `weights` maps tensor names to arrays, `config` is config.json."""
    weight = {name: np.asarray(w, dtype=np.float64) for name, w in weights.items()}
    eps = config["rms_norm_eps"]
    x = weight["model.embed_tokens.weight"][ids]
    for n in range(config["num_hidden_layers"]):
        layer = f"model.layers.{n}."
        normed = rmsnorm(x, weight[layer + "input_layernorm.weight"], eps)
        x = x + attention(normed, weight, layer + "self_attn.", config)
        normed = rmsnorm(x, weight[layer + "post_attention_layernorm.weight"], eps)
        x = x + mlp(normed, weight, layer + "mlp.")
    x = rmsnorm(x, weight["model.norm.weight"], eps)
    head = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    return x @ weight[head].T

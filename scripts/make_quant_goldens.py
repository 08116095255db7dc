#!/usr/bin/env python3
"""Blocks of GGUF's quantized types with the values that the Python package `gguf` gives them.

Writes tests/model/goldens/TYPE.blocks.npy (uint8 [blocks, bytes]) and TYPE.values.npy (float32 [blocks, elements]).
Usage: pip install gguf==0.19.0 numpy && python3 scripts/make_quant_goldens.py
"""
import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

# type: where its fp16 scales lie in a block
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
BLOCKS = {32: 16, 256: 4}


def make(name: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    kind = GGMLQuantizationType[name]
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (BLOCKS[elements], size), dtype=np.uint8)
    for at in SCALES[name]:
        scale = (rng.standard_normal(len(blocks)) * 0.05).astype(np.float16)
        scale[0] = np.float16(3e-6)  # subnormal
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks, quants.dequantize(blocks, kind).astype(np.float32)


def main() -> None:
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests" / "model" / "goldens"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20240423)
    for name in SCALES:
        blocks, values = make(name, rng)
        np.save(folder / f"{name}.blocks.npy", blocks)
        np.save(folder / f"{name}.values.npy", values)
        print(f"{name}: {blocks.shape[0]} blocks of {blocks.shape[1]} bytes, {values.shape[1]} values each")


if __name__ == "__main__":
    main()

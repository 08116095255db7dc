"""Logits of the real Phi-3-mini that its publishers test with: the integration tests of Hugging Face transformers (4.57.1,
tests/models/phi3/test_modeling_phi3.py, Apache 2.0) compare the first 30 logits of the first two of ten tokens within 1e-4.
Writes tests/goldens/published. They are checked when the weights are there:

    phi3 compare -m phi-3-mini-4k-instruct --golden tests/goldens/published/phi-3-mini-4k-instruct/logits.npy \\
        --ids "1212 318 281 1672 2643 290 428 318 257 1332" --max-error 1e-4
"""

import shutil

import numpy as np

from make_goldens_models import ROOT

IDS = [1212, 318, 281, 1672, 2643, 290, 428, 318, 257, 1332]

# fmt: off
LOGITS = {
    "phi-3-mini-4k-instruct": [
        [8.9005, 8.5380, 12.0361, 9.1562, 7.4068, 10.2581, 7.8991, 7.2447, 7.0626, 7.5760,
         7.8315, 9.4076, 16.1104, 20.1290, 7.7500, 7.1947, 6.1550, 7.0563, 8.5344, 8.7248,
         7.1359, 7.8237, 7.6817, 7.6395, 7.7924, 6.9702, 6.9097, 8.7074, 9.5768, 8.1145],
        [18.7090, 18.5701, 19.3660, 21.5171, 17.5042, 17.8716, 16.3554, 17.4617, 18.1623, 16.5641,
         17.7547, 18.0193, 23.8355, 29.4481, 16.3864, 16.0560, 16.1543, 18.5507, 18.1343, 17.3883,
         17.7422, 17.3012, 16.7657, 17.6874, 17.9067, 16.8301, 16.2719, 18.3709, 19.0318, 16.7315],
    ],
    "phi-3-mini-128k-instruct": [
        [10.6076, 10.6499, 14.0601, 19.8499, 15.1787, 19.3717, 19.9782, 17.0394, 15.7875, 18.1403,
         19.2748, 12.6627, 20.2804, 24.5362, 18.8105, 15.3394, 12.1219, 15.9941, 19.0679, 16.4936,
         17.0505, 16.8738, 17.3090, 16.6572, 16.8754, 16.6912, 15.1627, 18.8721, 19.6017, 18.5513],
        [16.2141, 18.7298, 17.4216, 21.9312, 17.7606, 17.6177, 16.7766, 17.9859, 18.4132, 17.4505,
         18.6385, 18.5396, 23.6260, 28.7443, 16.1817, 15.5148, 16.0035, 18.6652, 18.3087, 17.2960,
         17.8223, 17.7776, 16.8686, 17.4093, 17.8037, 17.2544, 16.7231, 18.6195, 19.6784, 16.6647],
    ],
}
# fmt: on


def main():
    shutil.rmtree(ROOT / "published", ignore_errors=True)
    for name, logits in LOGITS.items():
        folder = ROOT / "published" / name
        folder.mkdir(parents=True)
        np.save(folder / "ids.npy", np.array(IDS, np.int32))
        np.save(folder / "logits.npy", np.array(logits, np.float32))
        print(f"published {name}: {len(logits)} rows of {len(logits[0])} logits")


if __name__ == "__main__":
    main()

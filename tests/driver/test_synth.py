"""phi3 synth: checkpoints of random weights that open, run, are the same everywhere, and leave nothing half-written."""

import hashlib
import json
import math
import os
import signal
import struct
import subprocess
import time

from harness import PHI3, ROOT, DriverTest, main, read_npy

SMALL = ["--layers", "2", "--hidden", "64", "--heads", "4", "--intermediate", "96", "--vocab", "300"]
LEVELS, MASK = 4096, (1 << 64) - 1


def mix(z):
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def expected_floats(name, count, centre, reach, seed):
    """The fp32 values of a tensor, from the rule alone."""
    fnv = 0xCBF29CE484222325
    for byte in name.encode():
        fnv = (fnv ^ byte) * 0x100000001B3 & MASK
    key, golden = mix(seed * 0x9E3779B97F4A7C15 + fnv & MASK), 0x9E3779B97F4A7C15
    for i in range(count):
        word = mix(key + i // 4 * golden & MASK)
        yield centre + reach * ((2 * (word >> 16 * (i % 4) + 4 & 0xFFF) + 1) / LEVELS - 1)


def read_safetensors(path):
    """{name: (dtype, shape, bytes)}"""
    with open(path, "rb") as f:
        data = f.read()
    (length,) = struct.unpack("<Q", data[:8])
    assert (8 + length) % 8 == 0
    head = json.loads(data[8 : 8 + length])
    head.pop("__metadata__")
    body = data[8 + length :]
    return {n: (t["dtype"], t["shape"], body[slice(*t["data_offsets"])]) for n, t in head.items()}


class Synth(DriverTest):
    def synth(self, name, *args, **kwargs):
        out = self.path(name)
        r = self.phi3("synth", *args, out, **kwargs)
        return out, r

    def digest(self, folder):
        h = hashlib.sha256()
        for file in self.files(folder):
            with open(os.path.join(folder, file), "rb") as f:
                h.update(file.encode() + b"\0" + f.read())
        return h.hexdigest()

    def runs(self, folder):
        """It opens, its cached and uncached ids agree, and its logits are finite and of an untrained model's spread."""
        self.phi3("inspect", "-m", folder)
        ids = ["--ids", "5 17 2 90 41", "-n", "6", "--ignore-end", "--json", "--device", "cpu"]
        cached = json.loads(self.phi3("generate", "-m", folder, *ids).out)["ids"]
        self.assertEqual(json.loads(self.phi3("generate", "-m", folder, "--no-cache", *ids).out)["ids"], cached)
        dump = folder + "-dump"
        self.phi3("trace", "-m", folder, "--ids", "5 17 2 90 41", "--dump", dump, "--device", "cpu")
        logits = read_npy(os.path.join(dump, "logits.npy"))[2]
        self.assertTrue(all(map(math.isfinite, logits)))
        mean = math.fsum(logits) / len(logits)
        spread = math.sqrt(math.fsum((x - mean) ** 2 for x in logits) / len(logits))
        self.assertTrue(0.5 < spread < 2, spread)

    def test_shapes(self):
        shapes = {
            "plain": [],
            "grouped": ["--kv-heads", "2", "--type", "f16"],
            "one_head_of_keys": ["--kv-heads", "1", "--tied", "yes", "--type", "f32"],
            "window": ["--window", "3", "--head-dim", "24"],
            "shards": ["--shard-size", "30kB"],
            "longrope": ["--like", "phi-3-mini-128k"],
            "partial": ["--like", "phi-4-mini", "--kv-heads", "4"],
        }
        for name, args in shapes.items():
            with self.subTest(shape=name):
                folder, _ = self.synth(name, *args, *SMALL)
                self.runs(folder)

    def test_presets(self):
        """Each is the shape of its name: a layer and the tables, so many times, are the published count of parameters."""
        published = {"phi-3-mini-4k": 3821079552, "smollm2-135m": 134515008, "tinyllama-1.1b": 1100048384}
        for name, parameters in published.items():
            folder, _ = self.synth(name, "--like", name, "--layers", "1", "--vocab", "8")
            text = self.phi3("inspect", "-m", folder).out
            one = int(next(line.split()[1].rstrip(",") for line in text.splitlines() if line.startswith("parameters")))
            with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
                c = json.load(f)
            layers, vocab = {"phi-3-mini-4k": (32, 32064), "smollm2-135m": (30, 49152), "tinyllama-1.1b": (22, 32000)}[name]
            tables = 1 if c["tie_word_embeddings"] else 2
            layer = one - tables * 8 * c["hidden_size"] - c["hidden_size"]
            self.assertEqual(layers * layer + (tables * vocab + 1) * c["hidden_size"], parameters, name)

    def test_shape_of_a_model(self):
        folder, _ = self.synth("copy", "--like", "nano", "--layers", "3", "--type", "f32")
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            c = json.load(f)
        wanted = {"num_hidden_layers": 3, "hidden_size": 128, "num_key_value_heads": 2, "sliding_window": 95, "eos_token_id": [1016, 1017, 1019]}
        self.assertEqual({k: c[k] for k in wanted}, wanted)
        again, _ = self.synth("again", "--like", os.path.join(folder, "config.json"), "--type", "f32")
        self.assertEqual(
            read_safetensors(os.path.join(folder, "model.safetensors")), read_safetensors(os.path.join(again, "model.safetensors"))
        )

    def test_values(self):
        """Against the rule written a second time, and the same bytes for any number of threads."""
        folder, _ = self.synth("f32", *SMALL, "--type", "f32", "--seed", "7", "--threads", "1")
        tensors = read_safetensors(os.path.join(folder, "model.safetensors"))
        self.assertEqual(len(tensors), 15)
        for name, centre, reach in [
            ("model.embed_tokens.weight", 0, math.sqrt(3)),
            ("model.layers.1.self_attn.qkv_proj.weight", 0, math.sqrt(3 / 64)),
            ("model.layers.0.mlp.down_proj.weight", 0, math.sqrt(3 / 96)),
            ("model.norm.weight", 1, 0.125),
        ]:
            dtype, shape, data = tensors[name]
            got = struct.unpack(f"<{len(data) // 4}f", data)
            self.assertEqual((dtype, math.prod(shape)), ("F32", len(got)))
            for a, b in zip(got, expected_floats(name, len(got), centre, reach, 7)):
                self.assertAlmostEqual(a, b, delta=1e-6)
        digests = {self.digest(self.synth(f"t{n}", *SMALL, "--type", "f32", "--seed", "7", "--threads", n)[0]) for n in "123"}
        self.assertEqual(digests, {self.digest(folder)})
        self.assertNotEqual(self.digest(self.synth("other", *SMALL, "--type", "f32", "--seed", "8")[0]), self.digest(folder))

    def test_types_are_roundings_of_each_other(self):
        data = {}
        for kind in ["f32", "f16", "bf16"]:
            folder, _ = self.synth(kind, *SMALL, "--type", kind)
            data[kind] = read_safetensors(os.path.join(folder, "model.safetensors"))["lm_head.weight"][2]
        exact = struct.unpack(f"<{len(data['f32']) // 4}f", data["f32"])
        half = struct.unpack(f"<{len(data['f16']) // 2}e", data["f16"])
        brain = [struct.unpack("<f", b"\0\0" + data["bf16"][i : i + 2])[0] for i in range(0, len(data["bf16"]), 2)]
        for x, h, b in zip(exact, half, brain):
            self.assertLessEqual(abs(h - x), 2**-11 * abs(x) + 2**-25)
            self.assertLessEqual(abs(b - x), 2**-8 * abs(x))

    def test_same_bytes_on_every_machine(self):
        """If this fails, checkpoints made elsewhere are other ones: the rule must not change."""
        folder, _ = self.synth("fixed", *SMALL, "--seed", "3")
        with open(os.path.join(folder, "model.safetensors"), "rb") as f:
            self.assertEqual(hashlib.sha256(f.read()).hexdigest(), FIXED)

    def test_tokenizer(self):
        nano = os.path.join(ROOT, "runtime", "model", "nano")
        folder, _ = self.synth("text", "--like", "nano", "--tokenizer", nano)
        self.assertEqual(self.files(folder), ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
        self.phi3("generate", "-m", folder, "-p", "Once upon a time", "-n", "3")
        self.refused("synth", *SMALL, "--tokenizer", nano, self.path("x"), says="--vocab")
        self.refused("synth", *SMALL, "--tokenizer", self.path("none"), self.path("x"), says="none")
        self.assertEqual(self.files(), ["text"])

    def test_names_that_are_taken(self):
        folder, _ = self.synth("a", *SMALL)
        before = self.digest(folder)
        self.refused("synth", *SMALL, folder, says="is there already")
        self.refused("synth", *SMALL, "", code=2, says="needs a folder's name")
        self.assertEqual(self.digest(folder), before)
        os.mkdir(self.path("empty"))
        self.synth("empty", *SMALL)
        self.refused("synth", *SMALL, self.path("no", "folder"), says="make that folder first")
        self.refused("synth", *SMALL, os.path.join(folder, "config.json", "below"), says="Not a directory")
        self.assertEqual(self.files(), ["a", "empty"])

    def test_no_room(self):
        huge = ["--layers", "4096", "--hidden", "1048576", "--head-dim", "128"]
        r = self.refused("synth", *huge, self.path("x"), says="are missing")
        self.assertRegex(r.err, r"needs [0-9]+ TB and \S+ has [0-9.]+ [kMGT]?B free")
        self.phi3("synth", *SMALL, self.path("x"), code=1, file_limit=100000)
        self.assertEqual(self.files(), [])

    def test_bad_shapes(self):
        for args, says in [
            (["--like", "phi-33"], "phi-3-mini-4k"),
            (["--heads", "5"], "head size"),
            (["--heads", "4", "--kv-heads", "3"], "multiple of 3"),
            (["--like", self.path("no", "config.json")], "no/config.json"),
        ]:
            self.refused("synth", "--layers", "1", *args, self.path("x"), says=says)
        for bad in ["5XB", "", "0", "-1GB", "1e40GB"]:
            self.refused("synth", *SMALL, "--shard-size", bad, self.path("x"), code=2, says="--shard-size")
        self.refused("synth", code=2, says="argument is missing")
        self.assertEqual(self.files(), [])

    def test_interrupted(self):
        """Ctrl-C in the middle of gigabytes: one line, exit code 1, nothing left."""
        with subprocess.Popen([PHI3, "synth", self.path("x")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
            for _ in range(1000):
                if self.files():
                    break
                time.sleep(0.01)
            p.send_signal(signal.SIGINT)
            out, err = p.communicate(timeout=60)
        self.assertEqual((p.returncode, out, err), (1, "", "phi3 synth: interrupted\n"))
        self.assertEqual(self.files(), [])


FIXED = "61ffbe4163fc2a768ab1dc1501d047930a9dba5ff88884f1476ebdf49f0648cf"

if __name__ == "__main__":
    main()

"""phi3 trace against Hugging Face's logits and hidden states, and against itself in other chunks."""

import json
import math
import os

from harness import GOLDENS, DriverTest, golden_cases, main, read_npy, relative_error

BOUND = 1e-5  # norm-wise, of the fp32 reference against HF's fp32


def row(array, index, width):
    return array[index * width : (index + 1) * width]


class Goldens(DriverTest):
    def ids_of(self, case):
        return read_npy(os.path.join(GOLDENS, case["case"], "ids.npy"))[2]

    def dump(self, case, name, *extra):
        folder = self.path(case["name"], name)
        ids = " ".join(map(str, self.ids_of(case)))
        self.phi3("trace", "-m", os.path.join(GOLDENS, case["model"]), "--ids", ids, "--dump", folder, *extra)
        return folder

    def check_stage(self, case, folder, ours, theirs, rows, bound):
        _, shape, out = read_npy(os.path.join(folder, ours))
        _, wanted, ref = read_npy(os.path.join(GOLDENS, case["case"], theirs))
        self.assertEqual(shape, (case["tokens"], wanted[1]))
        taken = [v for r in rows for v in row(out, r, shape[1])]
        self.assertTrue(all(map(math.isfinite, out)))
        self.assertLessEqual(relative_error(taken, ref), bound, f"{case['name']}: {ours}")

    def check_case(self, case):
        folder = self.dump(case, "whole")
        kind, shape, ids = read_npy(os.path.join(folder, "ids.npy"))
        self.assertEqual((kind, shape, list(ids)), ("<i4", (case["tokens"],), list(self.ids_of(case))))
        self.check_stage(case, folder, "logits.npy", "logits.npy", case["rows"], BOUND)
        every = range(case["tokens"])
        for layer in range(case["hidden"]):
            self.check_stage(case, folder, f"layer_{layer:02}.npy", f"hidden_{layer:02}.npy", every, BOUND)
        if case["hidden"]:
            self.check_stage(case, folder, "norm.npy", "hidden_norm.npy", every, BOUND)
        return folder

    def check_chunks(self, case, folder):
        """The decode path (1) and chunks that end within pages and windows: the same to the bit."""
        for chunk in ["1", "3"]:
            other = self.dump(case, chunk, "--chunk", chunk)
            self.assertEqual(self.files(folder), self.files(other))
            for file in self.files(folder):
                with open(os.path.join(folder, file), "rb") as a, open(os.path.join(other, file), "rb") as b:
                    self.assertEqual(a.read(), b.read(), f"{case['name']}: {file} differs with --chunk {chunk}")

    def test_all(self):
        cases = golden_cases()
        self.assertGreater(len(cases), 20)
        for case in cases:
            with self.subTest(case=case["name"]):
                self.check_chunks(case, self.check_case(case))

    def test_fp64(self):
        """In double, only the rounding of the dump to fp32 is left."""
        cases = [c for c in golden_cases() if c["fp64"]]
        self.assertGreater(len(cases), 2)
        for case in cases:
            with self.subTest(case=case["name"]):
                folder = self.dump(case, "fp64", "--precision", "fp64")
                self.check_stage(case, folder, "logits.npy", "logits_fp64.npy", case["rows"], 1e-7)


class Report(DriverTest):
    def test_json(self):
        model, ids = self.golden("gqa")
        dump = self.path("dump")
        got = json.loads(self.phi3("trace", "-m", model, "--ids", ids, "--top", "1000", "--json", "--dump", dump).out)
        _, (tokens, vocab), logits = read_npy(os.path.join(dump, "logits.npy"))
        self.assertEqual(got["ids"], [int(i) for i in ids.split()])
        last = row(logits, tokens - 1, vocab)
        order = sorted(range(vocab), key=lambda i: (-last[i], i))
        self.assertEqual([c["id"] for c in got["top"]], order)
        self.assertEqual(got["argmax"], order[0])
        total = math.fsum(math.exp(v - last[order[0]]) for v in last)
        for c in got["top"]:
            self.assertAlmostEqual(c["probability"], math.exp(last[c["id"]] - last[order[0]]) / total, delta=1e-7)
            self.assertAlmostEqual(c["logit"], last[c["id"]], delta=1e-5)
            self.assertIsNone(c["piece"])
        self.check_stages(got, dump, tokens)

    def check_stages(self, got, dump, tokens):
        names = [s["name"] for s in got["stages"]]
        self.assertEqual(sorted(names + ["ids"]), [f[:-4] for f in self.files(dump)])
        self.assertEqual((names[0], names[1], names[-2:]), ("embedding", "layer_00", ["norm", "logits"]))
        for stage in got["stages"]:
            _, shape, values = read_npy(os.path.join(dump, stage["name"] + ".npy"))
            self.assertEqual(stage["shape"], [1, *shape])
            self.assertAlmostEqual(stage["norm"] / math.sqrt(math.fsum(v * v for v in values)), 1, delta=1e-8)
            first = row(values, tokens - 1, shape[1])[:4]
            for a, b in zip(stage["last_token_first_values"], first, strict=True):
                self.assertAlmostEqual(a, b, delta=1e-6 * abs(b))

    def test_text(self):
        model, ids = self.golden("mha")
        out = self.phi3("trace", "-m", model, "--ids", ids, "--top", "3").out
        for word in ["Ids [1, 40]", "embedding", "layer_01", "[1, 40, 64]", "[1, 40, 80]", "Argmax", "   3. "]:
            self.assertIn(word, out)
        self.assertNotIn("   4. ", out)

    def test_one_token(self):
        model, _ = self.golden("mha")
        got = json.loads(self.phi3("trace", "-m", model, "--ids", "79", "--top", "1", "--json").out)
        self.assertEqual([s["shape"][1] for s in got["stages"]], [1] * len(got["stages"]))
        self.assertEqual(len(got["top"]), 1)


if __name__ == "__main__":
    main()

"""phi3 compare: mistakes planted in a model's file are named, goldens are met, and what it writes can be read."""

import json
import os
import shutil
import struct
import xml.etree.ElementTree as ElementTree

from harness import GOLDENS, DriverTest, golden_cases, has_vgpu, main, read_npy

IDS = ["--ids", "3 14 15 9 26 5 35 8 9 7 9 32 38 46"]
MHA = os.path.join(GOLDENS, "models", "mha")
QUICK = ["-m", MHA, *IDS, "-n", "4"]


class Compare(DriverTest):
    def figures(self, *args, code=0):
        """The JSON, whatever the verdict."""
        file = self.path("figures.json")
        r = self.phi3("compare", *args, "--json", file, code=code)
        with open(file, encoding="utf-8") as f:
            return r, json.load(f)

    def changed(self, tensor, change):
        """A copy of MHA whose bf16 tensor has another content: change(list of 16-bit numbers) in place."""
        folder = self.path("changed")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(MHA, folder)
        path = os.path.join(folder, "model.safetensors")
        with open(path, "rb") as f:
            data = bytearray(f.read())
        size = struct.unpack("<Q", data[:8])[0]
        entry = json.loads(data[8 : 8 + size])[tensor]
        self.assertEqual(entry["dtype"], "BF16")
        begin, end = (8 + size + at for at in entry["data_offsets"])
        values = list(struct.unpack(f"<{(end - begin) // 2}H", data[begin:end]))
        change(values)
        data[begin:end] = struct.pack(f"<{len(values)}H", *values)
        with open(path, "wb") as f:
            f.write(data)
        return folder


def twice(values):
    for i, v in enumerate(values):
        values[i] = v + 0x80 if v & 0x7F80 else v


def nan(values):
    values[100] = 0x7FC0


class Mistakes(Compare):
    PLANTS = [
        ("model.layers.0.self_attn.o_proj.weight", "attention_out", 0),
        ("model.layers.1.self_attn.o_proj.weight", "attention_out", 1),
        ("model.layers.0.mlp.gate_up_proj.weight", "mlp_in", 0),
        ("model.layers.1.mlp.down_proj.weight", "mlp_out", 1),
        ("model.embed_tokens.weight", "embed", None),
        ("lm_head.weight", "logits", None),
    ]

    def test_a_changed_tensor_is_the_worst_and_the_only_one(self):
        for tensor, operation, layer in self.PLANTS:
            with self.subTest(tensor=tensor):
                model = self.changed(tensor, twice)
                r, got = self.figures(*QUICK, "--model-b", model, "--feed", "reference")
                bad = [o for o in got["operations"] if o["relative_error"] > 1e-5]
                self.assertEqual([(o["operation"], o["layer"]) for o in bad], [(operation, layer)])
                self.assertGreater(bad[0]["relative_error"], 0.1)
                first = next(line for line in r.out.split("\n") if line[6:11].strip() in ("-", "0", "1"))
                self.assertIn(f"{'-' if layer is None else layer}  {operation} ", first)
                self.assertIsNone(bad[0]["gate"])  # other weights have no gate of their own

    def test_gates_that_are_asked_for(self):
        model = self.changed("model.layers.1.mlp.down_proj.weight", twice)
        args = [*QUICK, "--model-b", model, "--feed", "reference"]
        r, got = self.figures(*args, "--max-nmse", "1e-6", code=1)
        self.assertIn("1 of 17 operations are past their gates, the first of them layer 1 mlp_out", r.err)
        self.assertFalse(got["passes"])
        self.assertEqual([o["layer"] for o in got["operations"] if not o["passes"]], [1])
        r, got = self.figures(*args, "--max-kl", "1e-3", code=1)
        self.assertIn("mean KL divergence", r.err)
        self.assertTrue(all(o["passes"] for o in got["operations"]))
        self.figures(*args, "--max-kl", "1e3", "--max-nmse", "1e3")

    def test_fed_its_own_values_it_piles_up(self):
        model = self.changed("model.layers.0.mlp.down_proj.weight", twice)
        _, got = self.figures(*QUICK, "--model-b", model)
        wrong = [o["relative_error"] > 1e-3 for o in got["operations"]]
        at = [(o["layer"], o["operation"]) for o in got["operations"]].index((0, "mlp_out"))
        self.assertEqual(wrong, [i >= at for i in range(len(wrong))])
        self.assertTrue(got["greedy"]["differ"])
        self.assertGreater(got["greedy"]["margin_of_a"], 0)

    def test_nan(self):
        model = self.changed("model.layers.1.mlp.gate_up_proj.weight", nan)
        heatmap = self.path("nan.svg")
        r, got = self.figures(*QUICK, "--model-b", model, "--feed", "reference", "--heatmap", heatmap, code=1)
        # weight 100 of rows of 64 is in row 1: gate of channel 1, of every token
        self.assertRegex(r.err, r"layer 1 mlp_in: 14 values are NaN or infinite on one side, the first at position 0, channel 1:")
        bad = [o for o in got["operations"] if o["bad_values"]]
        self.assertEqual([(o["operation"], o["layer"], o["nmse"], o["passes"]) for o in bad], [("mlp_in", 1, None, False)])
        with open(heatmap, encoding="utf-8") as f:
            self.assertIn("NaN", f.read())
        self.assertIn("BAD", r.out)


class Agreement(Compare):
    def test_the_default(self):
        r = self.phi3("compare")
        for word in ["cpu fp64, the reference", "cpu fp32", "feed", "worst first", "KL ", "Same top", "Greedy"]:
            self.assertIn(word.lower(), r.out.lower())

    def test_precisions(self):
        for a, b in [("cpu:fp64", "cpu"), ("cpu", "cpu:fp64"), ("cpu", "cpu:f16"), ("cpu:fp64", "cpu:f16")]:
            for extra in [[], ["--feed", "reference"], ["--chunk", "1"], ["--feed=reference", "--chunk=5", "--threads=1"]]:
                with self.subTest(a=a, b=b, extra=extra):
                    _, got = self.figures("--a", a, "--b", b, *QUICK, *extra)
                    self.assertTrue(got["passes"])
                    self.assertEqual(len(got["operations"]), 2 * 7 + 3)
                    self.assertEqual(got["logits"]["rows"], 14)
                    self.assertEqual((got["greedy"]["agreed"], got["greedy"]["differ"]), (4, False))
                    self.assertLess(got["logits"]["mean_kl"], 1e-5)

    def test_the_virtual_gpu(self):
        if not has_vgpu():
            self.skipTest("no virtual GPU, or a build without nvcc")
        for feed in ["own", "reference"]:
            _, got = self.figures("--b", "vgpu", "--feed", feed, *QUICK)
            self.assertTrue(got["passes"])
            self.assertTrue(any(o["relative_error"] > 1e-5 for o in got["operations"]), "fp16 leaves a trace")

    def test_equal_sides_have_no_error(self):
        _, got = self.figures("--a", "cpu", "--b", "cpu", *QUICK)
        self.assertEqual({o["nmse"] for o in got["operations"]}, {0})
        self.assertEqual(got["logits"]["same_five"], 1)

    def test_goldens(self):
        for case in golden_cases():
            with self.subTest(case=case["name"]):
                folder = os.path.join(GOLDENS, case["case"])
                ids = " ".join(map(str, read_npy(os.path.join(folder, "ids.npy"))[2]))
                rows = " ".join(map(str, case["rows"]))
                args = ["-m", os.path.join(GOLDENS, case["model"]), "--ids", ids, "--golden-rows", rows]
                r = self.phi3("compare", *args, "--golden", os.path.join(folder, "logits.npy"))
                self.assertIn(f"Same top    {len(case['rows'])} of {len(case['rows'])} rows", r.out)
                if case["fp64"]:
                    file = os.path.join(folder, "logits_fp64.npy")
                    self.phi3("compare", *args, "--a", "cpu:fp64", "--golden", file, "--max-error", "1e-7")

    def test_a_wrong_golden(self):
        model, ids = self.golden("mha")
        with open(os.path.join(GOLDENS, "cases", "mha", "logits.npy"), "rb") as f:
            data = bytearray(f.read())
        data[-4 * 80 + 2 :: 4 * 80] = b"\xff"  # the first logit of the last row
        wrong = self.path("wrong.npy")
        with open(wrong, "wb") as f:
            f.write(data)
        self.assertIn("relative error", self.phi3("compare", "-m", model, "--ids", ids, "--golden", wrong, code=1).err)
        args = ["compare", "-m", model, "--ids", ids, "--golden"]
        self.refused(*args, os.path.join(GOLDENS, "cases", "mha", "ids.npy"), says="holds no logits")
        self.refused(*args, self.path("none.npy"), says="none.npy")
        good = os.path.join(GOLDENS, "cases", "mha", "logits.npy")
        self.refused(*args, good, "--golden-rows", "0 1", says="40 rows, --golden-rows names 2")
        self.refused("compare", "-m", model, "--ids", "1 2", "--golden", good, says="there are 2 tokens")
        other = os.path.join(GOLDENS, "models", "window7")
        self.assertIn("relative error", self.phi3("compare", "-m", other, "--ids", ids, "--golden", good, code=1).err)

    def test_published_goldens_are_refused_by_another_model(self):
        file = os.path.join(GOLDENS, "published", "phi-3-mini-4k-instruct", "logits.npy")
        r = self.phi3("compare", "--golden", file, "--ids", "121 318 281 167 264 290 428 318 257 133", code=1)
        self.assertIn("past the gate of 1e-05", r.err)


class Files(Compare):
    def test_heatmap(self):
        file = self.path("h.svg")
        self.phi3("compare", *QUICK, "--heatmap", file, "--max-nmse", "0", code=1)
        root = ElementTree.parse(file).getroot()
        space = "{http://www.w3.org/2000/svg}"
        cells = root.findall(f"{space}g")
        self.assertEqual(len(cells), 17)
        width, height = int(root.get("width")), int(root.get("height"))
        places = set()
        for cell in cells:
            self.assertRegex(cell.find(f"{space}title").text, r"\A(layer [01] )?[a-z_.]+: NMSE \S+, gate 0\Z")
            rect = cell.find(f"{space}rect")
            x, y = int(rect.get("x")), int(rect.get("y"))
            self.assertTrue(0 < x < x + int(rect.get("width")) <= width and 0 < y < height)
            places.add((x, y))
            nothing = cell.find(f"{space}text").text.endswith(" 0")
            self.assertEqual(rect.get("stroke"), None if nothing else "#c00000")
        self.assertEqual(len(places), 17)

    def test_bad_places(self):
        for option in ["--json", "--heatmap"]:
            self.refused("compare", *QUICK, option, self.path("no", "such"), says="no/such")

    def test_unlike_models(self):
        other = os.path.join(GOLDENS, "models", "gqa")
        self.refused("compare", *QUICK, "--model-b", other, says="number of layers of 2, b of 1")
        self.refused("compare", *QUICK, "--model-b", self.path("none"), says="none")
        self.refused("compare", *QUICK, "--page-size", "7", "--b", "cuda")

    def test_usage(self):
        for args, says in [
            (["--a", "abacus"], "'abacus'"),
            (["--b", "cpu:fp8"], "cpu:fp8"),
            (["--b", "vgpu:fp64"], "vgpu:fp64"),
            (["text", *IDS], "not both"),
            (["--golden", "x.npy", "--b", "cpu"], "--golden"),
            (["--golden-rows", "1"], "--golden-rows needs --golden"),
            (["--feed", "soup"], "own|reference"),
            (["--json", ""], "--json"),
            (["one", "two"], "'two'"),
        ]:
            self.refused("compare", *args, code=2, says=says)


if __name__ == "__main__":
    main()

"""phi3 profile on the virtual GPU: launches agree with the schedule, sums with totals, the timeline nests, the plot is drawn."""

import json
import os
import re
import sys
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "driver"))
from harness import DriverTest, main  # noqa: E402

LAYERS = 6  # of nano
IN_LAYER = ["attention_in", "attention", "attention_out", "mlp_in", "mlp_out"]


class Profile(DriverTest):
    def setUp(self):
        super().setUp()
        if not os.environ.get("PHI3_VGPU"):
            self.skipTest("PHI3_VGPU does not name the virtual GPU's library")
        if "no GPU kernels" in self.refused("profile", "--device", "vgpu", env={**os.environ, "VGPU_FAIL": "cuInit:1:lost"}, says="").err:
            self.skipTest("this build has no GPU kernels, and says so")

    def profile(self, *args):
        files = {name: self.path(name) for name in ["p.json", "t.json", "r.svg"]}
        r = self.phi3("profile", "--device", "vgpu", "--json", files["p.json"], "--timeline", files["t.json"], "--roofline", files["r.svg"], *args)
        self.assertEqual(self.files(), sorted(files))
        with open(files["p.json"], encoding="utf-8") as f:
            table = json.load(f)
        with open(files["t.json"], encoding="utf-8") as f:
            timeline = json.load(f)
        return r.out, table, timeline, xml.parse(files["r.svg"]).getroot()

    def check_phase(self, phase, launches_of):
        rows = phase["rows"]
        for key in ["us", "launches", "ideal_bytes", "ideal_operations", "dram_bytes"]:
            self.assertAlmostEqual(sum(r[key] for r in rows), phase[key], delta=1e-6 * phase[key])
        self.assertAlmostEqual(sum(r["share"] for r in rows), 1, delta=1e-9)
        self.assertEqual([r["operation"] for r in rows], sorted((r["operation"] for r in rows), key=launches_of["order"].index))
        for r in rows:
            self.assertEqual(r["launches"], LAYERS if r["operation"] in IN_LAYER else 1, r)
            self.assertTrue(r["kernel"].startswith("phi3_"))
            self.assertGreater(r["us"], 0)
            self.assertGreater(r["registers"], 0)
            self.assertTrue(0 < r["occupancy"] <= 1)
            self.assertTrue(all(0 <= v <= 1.05 * r["us"] for v in r["limits_us"].values()), r)
            self.assertIn(r["bound"], [*r["limits_us"], "latency"])

    def test_schedule_and_sums(self):
        out, table, timeline, plot = self.profile("--ids", " ".join(str(i + 1) for i in range(20)), "-n", "2")
        self.assertEqual((table["format"], table["kind"], table["memory_configuration"]), ("phi3-profile 1", "estimate", "t4"))
        self.assertEqual((table["prompt_tokens"], table["decode_steps"], table["layers_run"], table["shape"]["layers"]), (20, 2, LAYERS, LAYERS))
        self.assertTrue(table["command"].startswith("phi3 profile --device vgpu"))
        prefill, decode = table["phases"]
        self.assertEqual((prefill["phase"], prefill["steps"], decode["phase"], decode["steps"]), ("prefill", 1, "decode", 2))
        order = {"order": ["embed", *IN_LAYER, "logits", "pick"]}
        self.check_phase(prefill, order)
        self.check_phase(decode, order)
        kernels = {r["operation"]: set() for r in decode["rows"]}
        for r in decode["rows"]:
            kernels[r["operation"]].add(r["kernel"])
        self.assertEqual(kernels["attention"], {"phi3_attention_decode_32", "phi3_attention_merge"})
        self.assertTrue(all("linear" not in k for r in kernels.values() for k in r))
        self.assertTrue(any("linear_qkv" in r["kernel"] for r in prefill["rows"]))
        self.check_print(out, table)
        self.check_timeline(timeline, table)
        self.check_plot(plot, table)

    def check_print(self, out, table):
        self.assertIn("ESTIMATES", out)
        self.assertIn("Prefill of 20 tokens", out)
        self.assertIn("mean of 2 at 21 to 22 tokens", out)
        lines = [line.split() for line in out.splitlines() if re.match(r"  [a-z_]+ +[a-z0-9_]+ +\d", line)]
        self.assertEqual(len(lines), sum(len(p["rows"]) for p in table["phases"]))
        for line, row in zip(lines, [r for p in table["phases"] for r in p["rows"]]):
            self.assertEqual(line[:3], [row["operation"], row["kernel"][5:], f"{row['launches']:.0f}"])

    def check_timeline(self, timeline, table):
        events = [e for e in timeline["traceEvents"] if e["ph"] == "X"]
        names = {e["pid"]: e["args"]["name"] for e in timeline["traceEvents"] if e["ph"] == "M"}
        self.assertEqual(names, {1: "prefill of 20 tokens", 2: "decode step at 21 tokens"})
        for pid, phase in [(1, table["phases"][0]), (2, table["phases"][1])]:
            mine = [e for e in events if e["pid"] == pid]
            kinds = {c: [e for e in mine if e["cat"] == c] for c in ["step", "layer", "operation", "kernel"]}
            self.assertEqual([len(kinds["step"]), len(kinds["layer"])], [1, LAYERS])
            self.assertEqual(len(kinds["operation"]), LAYERS * len(IN_LAYER) + 3)
            self.assertEqual(len(kinds["kernel"]), sum(r["launches"] for r in phase["rows"]))
            total = sum(e["dur"] for e in kinds["kernel"])
            self.assertAlmostEqual(total, kinds["step"][0]["dur"], delta=1e-6 * total)
            if phase["steps"] == 1:
                self.assertAlmostEqual(total, phase["us"], delta=1e-6 * total)
            self.check_order(kinds["kernel"])
            for inner, outer in [("kernel", "operation"), ("operation", "step"), ("layer", "step")]:
                self.check_nesting(kinds[inner], kinds[outer])

    def check_order(self, kernels):
        for a, b in zip(kernels, kernels[1:]):
            self.assertGreaterEqual(b["ts"], a["ts"] + a["dur"] - 1e-6)

    def check_nesting(self, inner, outer):
        for e in inner:
            around = [o for o in outer if o["ts"] - 1e-6 <= e["ts"] and e["ts"] + e["dur"] <= o["ts"] + o["dur"] + 1e-6]
            self.assertEqual(len(around), 1, e["name"])

    def check_plot(self, plot, table):
        self.assertTrue(plot.tag.endswith("svg"))
        circles = [e for e in plot if e.tag.endswith("circle")]
        drawn = sum(1 for p in table["phases"] for r in p["rows"] if r["ideal_operations"] > 0)
        self.assertEqual(len(circles), drawn)
        width, height = (float(plot.get(k)) for k in ["width", "height"])
        for c in circles:
            self.assertTrue(0 < float(c.get("cx")) < width and 0 < float(c.get("cy")) < height)
        words = " ".join("".join(e.itertext()) for e in plot)
        for word in ["320 GB/s", "65 TFLOP/s", "estimated", "Prefill of 20 tokens", "Decode step"]:
            self.assertIn(word, words)

    def test_bad_places_are_told_before_the_work(self):
        for option in ["--json", "--roofline", "--timeline"]:
            self.refused("profile", option, self.path("no", "such"), says="cannot create")
            self.refused("profile", option, self.dir, says="is a folder")
            self.refused("profile", option, "", code=2, says="needs a file")

    def test_one_layer_stands_for_all(self):
        """A shape without weights gives the same schedule's counts as the model of that shape."""
        model = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "runtime", "model", "nano")
        _, whole, timeline, _ = self.profile("--prompt-tokens", "20", "-n", "1")
        for name in self.files():
            os.remove(self.path(name))
        _, like, like_timeline, _ = self.profile("--like", model, "--prompt-tokens", "20", "-n", "1")
        self.assertEqual((like["layers_run"], like["shape"]["layers"]), (1, LAYERS))
        for a, b in zip(whole["phases"], like["phases"]):
            self.assertEqual([(r["operation"], r["kernel"], r["launches"]) for r in a["rows"]], [(r["operation"], r["kernel"], r["launches"]) for r in b["rows"]])
            self.assertAlmostEqual(b["us"] / a["us"], 1, delta=0.05)
            self.assertEqual(a["ideal_bytes"], b["ideal_bytes"])
        shape = [(e["pid"], e["cat"], e["name"]) for e in timeline["traceEvents"] if e["ph"] == "X"]
        self.assertEqual(shape, [(e["pid"], e["cat"], e["name"]) for e in like_timeline["traceEvents"] if e["ph"] == "X"])

    def test_prefill_alone_and_slower_memory(self):
        out, table, _, _ = self.profile("--prompt-tokens", "5", "-n", "0", "--memory", "t4_eff", "--blocks", "4")
        self.assertEqual([p["phase"] for p in table["phases"]], ["prefill"])
        self.assertEqual(table["memory_configuration"], "t4_eff")
        self.assertNotIn("Decode", out)

    def test_a_launch_that_fails(self):
        r = self.phi3("profile", "--device", "vgpu", "--json", self.path("p.json"), "--prompt-tokens", "5", code=1, env={**os.environ, "VGPU_FAIL": "cuLaunchKernel:5:oom"})
        self.assertIn("phi3_", r.err)
        self.assertEqual(self.files(), [])

    def test_a_model_without_a_tokenizer(self):
        """Has made-up ids for its prompt, as many as the default text has in Phi-3's."""
        self.phi3("synth", "--layers", "1", "--hidden", "64", "--heads", "2", "--intermediate", "64", "--vocab", "64", self.path("m"))
        out = self.phi3("profile", "--device", "vgpu", "-m", self.path("m"), "-n", "0").out
        self.assertIn("1 layer,", out)
        self.assertIn("Prefill of 25 tokens", out)
        self.refused("profile", "--device", "vgpu", "-m", self.path("m"), "-p", "text", code=1, says="knows no text")

    def test_files_that_cannot_be(self):
        for option in ["--json", "--timeline", "--roofline"]:
            r = self.phi3("profile", "--device", "vgpu", "--prompt-tokens", "3", option, self.path("no", "folder"), code=1)
            self.assertIn("no/folder", r.err)


class Usage(DriverTest):
    def test_refusals(self):
        self.refused("profile", "--device", "cpu", code=2, says="--device cuda or vgpu")
        self.refused("profile", "--like", "phi-3-mini-4k", "--device", "cuda", code=2, says="--like")
        self.refused("profile", "--like", "phi-3-mini-4k", "-p", "text", code=2, says="no tokenizer")
        self.refused("profile", "--prompt-tokens", "3", "--ids", "1", code=2, says="either")
        self.refused("profile", "-p", "x", "--ids", "1", code=2, says="not both")
        self.refused("profile", "-n", "-1", code=2, says="--steps")
        self.refused("profile", "--memory", "large", code=2, says="'large'")
        self.refused("profile", "--device", "vgpu", "--like", "no-such-shape", code=1, says="no-such-shape")
        self.refused("profile", "--device", "vgpu", "--prompt-tokens", "1000000", code=1, says="positions")
        self.refused("profile", "-m", self.path("nothing"), "--device", "vgpu", code=1, says=self.path("nothing"))
        if not os.path.exists("/dev/nvidiactl"):
            self.refused("profile", "--device", "cuda", code=1, says="")

    def test_help(self):
        out = self.phi3("profile", "--help").out
        for word in ["--roofline", "--timeline", "--json", "--like", "--memory", "Examples:"]:
            self.assertIn(word, out)


if __name__ == "__main__":
    main()

"""phi3 bench: what it times, what it writes, and that nothing half-written is left."""

import csv
import json
import math
import os
import signal
import statistics
import subprocess
import time
import unittest

from harness import PHI3, ROOT, DriverTest, golden_cases, has_vgpu, main

SMALL = ["-n", "8", "--runs", "3", "--prompts", "4,9", "--outputs", "2,5", "--batches", "1", "--sweep-runs", "2"]
FAST = ["-n", "4", "--runs", "2", "--no-sweep", "--no-roof"]


class Experiment(DriverTest):
    def bench(self, model, ids, *args):
        file = self.path("bench.json")
        r = self.phi3(
            "bench", "-m", model, "--ids", ids, "--json", file, *(args if "--roof" in args else [*args, "--no-roof"])
        )
        with open(file, encoding="utf-8") as f:
            return r.out, json.load(f)

    def check_timing(self, timing, runs, tokens, whole):
        self.assertEqual((len(timing["seconds"]), len(timing["first_token_seconds"])), (runs, runs))
        self.assertAlmostEqual(timing["mean_seconds"] / statistics.fmean(timing["seconds"]), 1, delta=1e-6)
        sd = statistics.stdev(timing["seconds"]) if runs > 1 else 0
        self.assertAlmostEqual(timing["sd_seconds"], sd, delta=1e-6 * timing["mean_seconds"])
        self.assertAlmostEqual(
            timing["mean_first_token_seconds"] / statistics.fmean(timing["first_token_seconds"]), 1, delta=1e-6
        )
        self.assertEqual("token_seconds" in timing, whole)
        for run, seconds, first in zip(
            timing.get("token_seconds", []), timing["seconds"], timing["first_token_seconds"]
        ):
            self.assertEqual((len(run), run[0], run[-1]), (tokens, first, seconds))
            self.assertEqual(run, sorted(run))
            self.assertGreater(run[0], 0)
        if tokens > 1:
            after = timing["mean_seconds"] - timing["mean_first_token_seconds"]
            self.assertAlmostEqual(timing["tokens_per_second_after_first"] * after, tokens - 1, delta=1e-4 * tokens)
            self.assertGreaterEqual(timing["token_seconds_p95"], timing["token_seconds_p50"])
        if whole and tokens > 1:
            each = sorted(b - a for run in timing["token_seconds"] for a, b in zip(run, run[1:]))
            for q in [50, 95]:
                nearest = each[math.ceil(q / 100 * len(each)) - 1]
                self.assertAlmostEqual(timing[f"token_seconds_p{q}"], nearest, delta=2e-9 + 1e-6 * nearest)

    def check_point(self, point, prompt, tokens, runs, whole):
        self.assertEqual((point["prompt_tokens"], point["new_tokens"], len(point["ids"])), (prompt, tokens, tokens))
        self.assertTrue(point["ids_equal"])
        for kind in ["cached", "uncached"]:
            self.check_timing(point[kind], runs, tokens, whole)

    def test_json(self):
        model, ids = self.golden("gqa")
        out, got = self.bench(model, ids, *SMALL)
        self.check_point(got["experiment"], 37, 8, 3, True)
        pairs = [(p["prompt_tokens"], p["new_tokens"]) for p in got["sweep"]]
        self.assertEqual(pairs, [(4, 2), (9, 2), (4, 5), (9, 5)])
        for p, (prompt, tokens) in zip(got["sweep"], pairs):
            self.check_point(p, prompt, tokens, 2, False)
        self.assertEqual(got["sweep"][1]["ids"], got["sweep"][3]["ids"][:2])
        self.assertGreater(got["machine"]["cores"], 0)
        self.assertGreater(got["machine"]["memory_bytes"], 1 << 20)
        self.assertTrue(got["machine"]["cpu"] and got["machine"]["os"])
        self.assertTrue(got["build"]["commit"] and got["build"]["compiler"])
        self.assertTrue(got["command"].startswith("phi3 bench -m ") and " '1 " not in got["command"][:12])
        self.assertIn(f"'{ids}'", got["command"])
        self.assertEqual(got["ceilings"], [])
        self.assertRegex(out, r"cached +[0-9.]+ (s|ms|µs) ± [0-9.]+ (s|ms|µs) ")
        self.assertIn("the same ids", out)
        columns = [line.index("± ") for line in out.splitlines() if line.startswith(("cached", "uncached"))]
        self.assertEqual(len(columns), 2)

    def test_ids_are_generate_s_and_hugging_face_s(self):
        """Across longrope's boundary, where cached generation has gone wrong elsewhere."""
        case = next(c for c in golden_cases() if "greedy" in c)
        model, ids = self.golden(case["name"])
        count = str(len(case["greedy"]))
        _, got = self.bench(model, ids, "-n", count, "--runs", "1", "--no-sweep")
        self.assertEqual(got["experiment"]["ids"], case["greedy"])
        self.assertEqual(got["sweep"], [])
        for extra in [[], ["--no-cache"], ["--chunk", "1"], ["--chunk", "7", "--page-size", "3", "--threads", "1"]]:
            text = self.phi3("generate", "-m", model, "--ids", ids, "-n", count, "--ignore-end", "--json", *extra).out
            self.assertEqual(json.loads(text)["ids"], case["greedy"])

    def test_cached_alone(self):
        model, ids = self.golden("mha")
        out, got = self.bench(model, ids, *SMALL, "--no-uncached", "-n", "1", "--runs", "1")
        self.assertIsNone(got["experiment"]["uncached"])
        self.assertFalse(got["experiment"]["ids_equal"])
        self.assertNotIn("same ids", out)
        self.check_timing(got["experiment"]["cached"], 1, 1, True)

    def test_sweep_leaves_out_what_does_not_fit(self):
        model, ids = self.golden("mha")
        out, got = self.bench(
            model, ids, "-n", "2", "--runs", "1", "--prompts", "1,2000000", "--outputs", "1", "--batches", "1", "--sweep-runs", "1"
        )
        self.assertEqual([("skipped" in p, p["cached"] is None) for p in got["sweep"]], [(False, False), (True, True)])
        self.assertIn("left out", out)
        out, got = self.bench(model, ids, *SMALL, "--sweep-seconds", "0")
        self.assertTrue(all("skipped" in p for p in got["sweep"]))

    def test_roof(self):
        model, ids = self.golden("mha")
        out, got = self.bench(model, ids, "--roof", "--runs", "1")
        self.assertEqual(len(got["ceilings"]), 1)
        for c in got["ceilings"]:
            self.assertTrue(all(v > 0 for v in c.values()), c)
            self.assertAlmostEqual(
                c["decode_share_of_read"] * c["read_bytes_per_second"] / c["decode_weight_bytes_per_second"],
                1,
                delta=1e-6,
            )
        self.assertNotIn("experiment", got)
        self.assertRegex(out, r"memory read +[0-9.]+ ± [0-9.]+ +GB/s")

    def test_interrupted(self):
        """Ctrl-C: one line, exit code 1, no file."""
        model, ids = self.golden("pages")
        args = [
            PHI3,
            "bench",
            "--no-roof",
            "-m",
            model,
            "--ids",
            ids,
            "-n",
            "64",
            "--runs",
            "1000",
            "--json",
            self.path("bench.json"),
        ]
        with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True) as p:
            self.until_it_catches(p.pid)
            time.sleep(0.3)
            p.send_signal(signal.SIGINT)
            out, err = p.communicate(timeout=60)
        self.assertEqual((p.returncode, out, err), (1, "", "phi3 bench: interrupted\n"))
        self.assertEqual(self.files(), [])

    def test_the_machine_s_share(self):
        model, ids = self.golden("mha")
        file = self.path("bench.json")
        r = self.phi3("bench", "-m", model, "--ids", ids, "-n", "3", "--runs", "1", "--no-sweep", "--json", file)
        self.assertRegex(r.out, r"this machine reads [0-9.]+ GB/s and makes [0-9.]+ GFLOP/s")
        self.assertRegex(r.out, r"\ncached .* GB/s +[0-9]+ %\n")
        with open(file, encoding="utf-8") as f:
            self.assertGreater(json.load(f)["ceilings"][0]["read_bytes_per_second"], 1e8)

    def test_file_that_cannot_be(self):
        model, ids = self.golden("mha")
        args = ["bench", "-m", model, "--ids", ids, "-n", "2", "--runs", "1", "--no-sweep", "--no-roof", "--json"]
        r = self.phi3(*args, self.path("no", "folder.json"), code=1)
        self.assertIn("no/folder.json", r.err)
        r = self.phi3(*args, "/dev/full", code=1)
        self.assertIn("/dev/full", r.err)
        self.phi3(*args, self.path("bench.json"), code=1, file_limit=512)
        self.assertEqual(self.files(), [])

    def test_what_cannot_be_written_or_read_is_told_before_measuring(self):
        model, ids = self.golden("mha")
        args = ["bench", "-m", model, "--ids", ids, "--runs", "1000", "--no-roof", "-n", "400"]
        for option in ["--json", "--csv", "--markdown"]:
            for path, says in [(self.path("no", "file"), "cannot create"), (self.dir, "is a folder")]:
                r = self.phi3(*args, option, path, code=1)
                self.assertIn(path, r.err)
                self.assertIn(says, r.err)
            self.assertIn("needs a file", self.phi3(*args, option, "", code=2).err)
        self.assertIn("none.json", self.phi3(*args, "--compare", self.path("none.json"), code=1).err)

    def test_a_run_may_replace_the_saved_one_it_is_compared_with(self):
        model, ids = self.golden("mha")
        file = self.path("bench.json")
        args = ["bench", "-m", model, "--ids", ids, "-n", "2", "--runs", "2", "--no-sweep", "--no-roof", "--json", file]
        self.phi3(*args)
        with open(file, encoding="utf-8") as f:
            saved = json.load(f)
        saved["experiment"]["cached"]["mean_seconds"] = 1e6
        saved["experiment"]["cached"]["seconds"] = [1e6, 1e6]
        with open(file, "w", encoding="utf-8") as f:
            json.dump(saved, f)
        r = self.phi3(*args, "--compare", file)
        self.assertIn("1000000 s", r.out)

    def test_batches(self):
        """A batch's ids are the single sequence's, and its figures are those of all sequences."""
        model, ids = self.golden("gqa")
        table = self.path("bench.csv")
        args = ["-n", "6", "--runs", "2", "--prompts", "3", "--outputs", "2", "--batches", "1,3,16", "--sweep-runs", "2"]
        out, got = self.bench(model, ids, *args, "--csv", table, "--markdown", self.path("bench.md"))
        batches = [p for p in got["sweep"] if p["batch"] > 1]
        self.assertEqual([p["batch"] for p in batches], [3, 16])
        for p in batches:
            self.assertEqual(p["ids"], got["experiment"]["ids"])
            self.assertIsNone(p["uncached"])
            self.check_timing(p["cached"], 2, 6, False)
            self.assertGreater(p["bytes_per_second"], 0)
        self.assertRegex(out, r"\n +3 .* tokens/s")
        with open(table, encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f))
        self.assertEqual([(r["kind"], r["batch"]) for r in rows], [("cached", "1"), ("uncached", "1")] * 2 + [("cached", "3"), ("cached", "16")])
        for row, point in zip([r for r in rows if r["kind"] == "cached"], [got["experiment"], *got["sweep"]]):
            self.assertAlmostEqual(float(row["mean_seconds"]), point["cached"]["mean_seconds"], delta=1e-9)
            rate = point["batch"] * point["cached"]["tokens_per_second_after_first"]
            self.assertAlmostEqual(float(row["tokens_per_second"]) / rate, 1, delta=1e-6)
            self.assertEqual((row["how"], row["joules_per_token"]), ("measured", ""))
        with open(self.path("bench.md"), encoding="utf-8") as f:
            lines = [line for line in f if line.startswith("|")]
        self.assertEqual([line.count("|") for line in lines], [12] * (2 + 4))

    def test_a_batch_across_longrope_s_boundary(self):
        case = next(c for c in golden_cases() if "greedy" in c)
        model, ids = self.golden(case["name"])
        args = ["-n", len(case["greedy"]), "--runs", "1", "--prompts", "1", "--outputs", "1", "--batches", "2", "--sweep-runs", "1"]
        _, got = self.bench(model, ids, *args)
        self.assertEqual(got["sweep"][1]["ids"], case["greedy"])

    def test_a_model_without_tokenizer(self):
        self.phi3("synth", "--layers", "1", "--hidden", "64", "--heads", "2", "--intermediate", "32", "--vocab", "99", self.path("m"))
        file = self.path("b.json")
        self.phi3("bench", "-m", self.path("m"), *FAST, "--json", file)
        with open(file, encoding="utf-8") as f:
            got = json.load(f)
        self.assertEqual((len(got["prompt_ids"]), got["prompt"], got["experiment"]["prompt_tokens"]), (25, None, 25))

    def test_the_bandwidth_counts_weights_keys_and_values(self):
        model, ids = self.golden("window7")
        _, got = self.bench(model, ids, "-n", "5", "--runs", "1", "--no-sweep")
        with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
            c = json.load(f)
        head = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
        keys = min(7, len(ids.split()))  # the window is full from the first step on
        cached = keys * 2 * 4 * c["num_hidden_layers"] * c["num_key_value_heads"] * head
        rate = got["experiment"]["cached"]["tokens_per_second_after_first"]
        wanted = rate * (got["model"]["weight_bytes_per_pass"] + cached)
        self.assertEqual(keys, 7)
        self.assertAlmostEqual(got["experiment"]["bytes_per_second"] / wanted, 1, delta=1e-6)


class Estimate(DriverTest):
    """On the virtual GPU: estimates, labelled so everywhere, that add up from one layer's operations."""

    def setUp(self):
        super().setUp()
        if not has_vgpu():
            self.skipTest("no virtual GPU, or a build without nvcc")

    def estimate(self, *args):
        file = self.path("e.json")
        r = self.phi3("bench", "--device", "vgpu", "--json", file, "--sweep-seconds", "1000000", *args)  # however busy the machine
        with open(file, encoding="utf-8") as f:
            return r, json.load(f)

    def shape(self, layers):
        self.phi3("synth", "--layers", layers, "--hidden", "64", "--heads", "2", "--intermediate", "64", "--vocab", "64", self.path(f"m{layers}"))
        return self.path(f"m{layers}")

    def test_label_and_sums(self):
        model = self.shape(3)
        table, page = self.path("e.csv"), self.path("e.md")
        r, got = self.estimate("--like", model, "-n", "3", "--prompts", "5", "--outputs", "2", "--batches", "2", "--csv", table, "--markdown", page)
        self.assertTrue(r.out.startswith("ESTIMATE"), r)
        self.assertIs(got["estimate"], True)
        self.assertIn("none a measurement", got["note"])
        self.assertEqual((got["settings"]["device"], got["card"]["memory"]), ("vgpu", "t4_eff"))
        with open(page, encoding="utf-8") as f:
            self.assertIn("**Estimate**", f.read())
        with open(table, encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f))
        self.assertEqual({row["how"] for row in rows}, {"estimate"})
        self.assertEqual({row["memory"] for row in rows}, {"t4", "t4_eff"})
        ops = {o["operation"]: o for o in got["operations"]["decode"]["operations"]}
        self.assertEqual(list(ops), ["embed", "attention_in", "attention", "attention_out", "mlp_in", "mlp_out", "logits", "pick"])
        self.assertEqual([o["times"] for o in ops.values()], [1, 3, 3, 3, 3, 3, 1, 1])
        # Steps are within a few per cent of the one broken down: only attention changes, by a key or two.
        step = sum(o["times"] * (o["seconds"] + o["launch_seconds"]) for o in ops.values())
        self.assertAlmostEqual(got["experiment"]["cached"]["token_seconds_p50"] / step, 1, delta=0.02)
        for point in [got["experiment"], *got["sweep"]]:
            for kind in ["cached", "uncached"] if point["batch"] == 1 else ["cached"]:
                self.assertEqual((len(point[kind]["seconds"]), point[kind]["sd_seconds"]), (1, 0))
                if point is got["experiment"]:
                    self.assertLessEqual(point[kind + "_t4"]["mean_seconds"], 1.02 * point[kind]["mean_seconds"])
        self.assertGreater(got["sweep"][1]["cached"]["mean_seconds"], got["experiment"]["cached"]["mean_seconds"])

    def test_layers_count(self):
        """A layer more costs what a layer costs, whatever the weights: the same again is the same to the last digit."""
        seconds = {}
        for layers in [1, 2, 3]:
            _, got = self.estimate("--like", self.shape(layers), "-n", "2", "--no-sweep")
            seconds[layers] = got["experiment"]["cached"]["mean_seconds"]
        self.assertAlmostEqual((seconds[3] - seconds[2]) / (seconds[2] - seconds[1]), 1, delta=1e-6)
        _, again = self.estimate("-m", self.path("m2"), "-n", "2", "--no-sweep")
        self.assertAlmostEqual(again["experiment"]["cached"]["mean_seconds"] / seconds[2], 1, delta=1e-9)

    def test_behind_the_window(self):
        """A span of keys further on a full window's work is the same: the estimate takes it so, and each kernel run where it is bears it out."""
        model, attention = self.path("m"), {}
        self.phi3("synth", "--layers", "1", "--hidden", "64", "--heads", "2", "--intermediate", "64", "--vocab", "64", "--window", "300", "--positions", "1024", model)
        _, got = self.estimate("--like", model, "-n", "2", "--no-uncached", "--prompts", "100,400,656", "--outputs", "3", "--batches", "1")
        near, here, there = (p["cached"]["token_seconds_p50"] for p in got["sweep"])
        self.assertEqual(here, there)
        self.assertLess(near, here)
        for prompt in [400, 656]:
            file = self.path("p.json")
            self.phi3("profile", "--device", "vgpu", "-m", model, "--memory", "t4_eff", "--prompt-tokens", prompt, "--json", file)
            with open(file, encoding="utf-8") as f:
                rows = json.load(f)["phases"][1]["rows"]
            attention[prompt] = sum(r["us"] for r in rows if r["operation"] == "attention")
        self.assertAlmostEqual(attention[656] / attention[400], 1, delta=0.03)

    def test_prompts(self):
        """The pieces of a prompt add up, and what lies between two steps of the kernels' work is nearer to the nearer one."""
        first, model = {}, self.shape(1)
        for chunk in [64, 512]:
            _, got = self.estimate("--like", model, "-n", "2", "--no-uncached", "--chunk", chunk, "--prompts", "140,250", "--outputs", "2", "--batches", "1")
            for point in got["sweep"]:
                first[chunk, point["prompt_tokens"]] = point["cached"]["mean_first_token_seconds"]
        self.assertLess(first[512, 140], first[512, 250])
        self.assertGreater(first[64, 250], 2 * first[512, 250])  # four passes, each of which has its launches

    def test_usage(self):
        self.refused("bench", "--like", "phi-3-mini-4k", "--device", "cpu", code=2, says="phi3 synth --like")
        self.refused("bench", "--like", "phi-3-mini-4k", "--device", "vgpu", "-p", "text", says="--ids")
        self.refused("bench", "--like", "nothing", "--device", "vgpu", says="phi-3-mini-4k")
        self.refused("bench", "--like", "phi-3-mini-4k", "--device", "vgpu", "--ids", "99999", says="99999")
        self.refused("bench", "--roof", "--device", "vgpu", code=2, says="--roof")


class Card(DriverTest):
    """The code for a card, on the virtual GPU under the driver's name and a management library of a card that is not there."""

    def test_energy_and_clocks(self):
        fake = os.path.join(os.path.dirname(PHI3), "libfake_nvml.so")
        if not has_vgpu() or not os.path.exists(fake):
            self.skipTest("no virtual GPU, or a build without nvcc")
        os.symlink(os.path.join(os.path.dirname(PHI3), "libvgpu.so"), self.path("libcuda.so.1"))
        env = {**os.environ, "LD_LIBRARY_PATH": self.dir, "PHI3_NVML": fake}
        model, ids = self.golden("mha")
        file = self.path("c.json")
        r = self.phi3("bench", "--device", "cuda", "-m", model, "--ids", ids, "-n", "3", "--runs", "2", "--no-sweep", "--json", file, env=env)
        with open(file, encoding="utf-8") as f:
            got = json.load(f)
        self.assertIs(got["estimate"], False)
        self.assertEqual((got["settings"]["device"], got["card"]["name"], got["card"]["driver"]), ("cuda", "Tesla T4", "535.1"))
        self.assertAlmostEqual(got["card"]["memory_bytes_per_second"], 320.064e9, delta=1e6)
        self.assertEqual(got["card"]["after"]["clocks_held_down_by"], "power cap, heat (hardware)")
        self.assertEqual(got["experiment"]["cached"]["joules"], [2, 2])
        self.assertEqual(got["ceilings"], [])
        self.assertIn("1095 MHz", r.out)
        self.assertIn("J/token", r.out)


def saved(seconds, **changes):
    """What bench --json writes, as far as a comparison reads it."""
    mean, sd = statistics.fmean(seconds), statistics.stdev(seconds) if len(seconds) > 1 else 0
    timing = {"mean_seconds": mean, "sd_seconds": sd, "seconds": seconds}
    data = {
        "estimate": False,
        "build": {"commit": "abc"},
        "machine": {"cpu": "one"},
        "model": {"path": "m", "architecture": "a", "parameters": 5, "type": "F16", "weight_bytes": 10},
        "settings": {"device": "cpu", "precision": "fp32", "pages": "f32", "threads": 2},
        "prompt_ids": [1, 2],
        "experiment": {"prompt_tokens": 2, "new_tokens": 4, "batch": 1, "cached": timing, "uncached": None},
        "sweep": [],
    }
    for key, value in changes.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) else value
    return data


class Compare(DriverTest):
    def file(self, name, data):
        with open(self.path(name), "w", encoding="utf-8") as f:
            json.dump(data, f)
        return self.path(name)

    def compare(self, before, after, *args, code=0):
        return self.phi3("bench", "--compare", self.file("a.json", before), self.file("b.json", after), *args, code=code)

    def test_verdicts(self):
        base = [1.00, 1.02, 0.98, 1.01, 0.99]  # standard error 0.00707; of a difference of two such 0.01, with 8 degrees of freedom
        for shift, verdict in [(0.0, "within noise"), (0.023, "within noise"), (-0.023, "within noise"), (0.0231, "slower"), (-0.0231, "faster")]:
            r = self.compare(saved(base), saved([s + shift for s in base]))
            self.assertRegex(r.out, rf"{1 + shift:.3f}  {verdict}\n", shift)

    def test_few_runs_prove_little(self):
        """Two runs each: 2 degrees of freedom, 4.3 standard errors; and the worse known of two counts."""
        base = [1.0, 1.1]  # standard error 0.05; of a difference of two such 0.0707
        for shift, verdict in [(0.30, "within noise"), (0.31, "slower")]:
            self.assertIn(verdict, self.compare(saved(base), saved([s + shift for s in base])).out)
        many = [1.05] * 40
        for shift, verdict in [(0.63, "within noise"), (0.64, "slower")]:  # one degree of freedom, 12.7 times 0.05
            self.assertIn(verdict, self.compare(saved(base), saved([s + shift for s in many])).out)
        lots = [1.0, 1.1] * 20  # standard error 0.0081; of two 0.01147, 78 degrees of freedom, 1.99
        for shift, verdict in [(0.0225, "within noise"), (0.0235, "slower")]:
            self.assertIn(verdict, self.compare(saved(lots), saved([s + shift for s in lots])).out)

    def test_regression(self):
        base = [1.00, 1.02, 0.98, 1.01, 0.99]
        slow, fast = [1.1 * s for s in base], [0.9 * s for s in base]
        self.compare(saved(base), saved(slow), "--max-regression", "11")
        r = self.compare(saved(base), saved(slow), "--max-regression", "9", code=1)
        self.assertIn("9 %", r.err)
        self.assertIn("too much", r.out)
        self.compare(saved(base), saved(fast), "--max-regression", "0")
        wild = [0.2, 2.2, 1.1, 0.3, 1.9]  # 14 % slower, and no wonder
        self.compare(saved(base), saved(wild), "--max-regression", "5")

    def test_one_run_and_estimates(self):
        r = self.compare(saved([1.0]), saved([1.2]), "--max-regression", "10", code=1)
        self.assertIn("noise unknown", r.out)
        r = self.compare(saved([1.0], estimate=True), saved([1.0], estimate=True), "--max-regression", "0")
        self.assertIn("the same", r.out)
        self.assertIn("estimates", r.out)
        self.compare(saved([1.0], estimate=True), saved([1.01], estimate=True), "--max-regression", "0.5", code=1)

    def test_sweeps_are_matched_by_length(self):
        point = {"prompt_tokens": 7, "new_tokens": 3, "batch": 1, "cached": saved([2.0, 2.1])["experiment"]["cached"]}
        other = {**point, "prompt_tokens": 8}
        r = self.compare(saved([1, 1.1], sweep=[point, other]), saved([1, 1.1], sweep=[other]))
        self.assertEqual(len([line for line in r.out.splitlines() if " cached " in line]), 2)
        batch = {**point, "batch": 4}
        r = self.compare(saved([1, 1.1], sweep=[point]), saved([1, 1.1], sweep=[batch]))
        self.assertEqual(len([line for line in r.out.splitlines() if " cached " in line]), 1)

    def test_what_does_not_belong_together(self):
        good = saved([1.0, 1.1])
        for change, says in [
            ({"model": {"parameters": 6}}, "parameters"),
            ({"model": {"type": "BF16"}}, "type"),
            ({"settings": {"device": "cuda"}}, "cpu and cuda"),
            ({"settings": {"precision": "fp64"}}, "fp64"),
            ({"prompt_ids": [1, 3]}, "prompts differ"),
            ({"estimate": True}, "estimate"),
            ({"experiment": {"new_tokens": 5}}, "no lengths in common"),
        ]:
            r = self.compare(good, saved([1.0, 1.1], **change), code=1)
            self.assertIn(says, r.err)
        self.refused("bench", "--compare", self.path("none.json"), self.file("a.json", good), says="none.json")
        for text in ["{}", "[1]", "no JSON", '{"experiment": {}}']:
            with open(self.path("x.json"), "w", encoding="utf-8") as f:
                f.write(text)
            self.refused("bench", "--compare", self.path("x.json"), self.file("a.json", good), says="x.json")
        self.refused("bench", self.file("a.json", good), code=2, says="--compare")
        self.refused("bench", "--max-regression", "3", code=2, says="--compare")

    def test_against_a_run(self):
        """A run compared with its own file's model, and with another model's."""
        model, ids = self.golden("mha")
        file = self.path("r.json")
        self.phi3("bench", "-m", model, "--ids", ids, *FAST, "--json", file)
        r = self.phi3("bench", "-m", model, "--ids", ids, *FAST, "--compare", file)
        self.assertRegex(r.out, r"Comparison of this run, commit \S+, with")
        other, other_ids = self.golden("gqa")
        r = self.phi3("bench", "-m", other, "--ids", other_ids, *FAST, "--compare", file, code=1)
        self.assertIn("do not belong together", r.err)


if __name__ == "__main__":
    main()

"""phi3 bench: what it times, what it writes, and that nothing half-written is left."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
import unittest

from harness import PHI3, ROOT, DriverTest, golden_cases, main

SMALL = ["-n", "8", "--runs", "3", "--prompts", "4,9", "--outputs", "2,5", "--sweep-runs", "2"]


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
            model, ids, "-n", "2", "--runs", "1", "--prompts", "1,2000000", "--outputs", "1", "--sweep-runs", "1"
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


class Plot(DriverTest):
    def python(self):
        for python in [sys.executable, "/usr/bin/python3"]:
            if subprocess.run([python, "-c", "import matplotlib"], capture_output=True).returncode == 0:
                return python
        raise unittest.SkipTest("no matplotlib; scripts/plot.sh installs it")

    def plot(self, *args):
        return subprocess.run(
            [self.python(), os.path.join(ROOT, "scripts", "plot.py"), *args], capture_output=True, text=True
        )

    def test_pictures(self):
        model, ids = self.golden("mha")
        file = self.path("bench.json")
        variants = [
            (SMALL, "svg"),
            (["-n", "3", "--runs", "1", "--no-sweep"], "png"),
            ([*SMALL, "--no-uncached"], "svg"),
        ]
        for extra, kind in variants:
            self.phi3("bench", "--no-roof", "-m", model, "--ids", ids, "--json", file, *extra)
            done = self.plot(file, "-o", self.path("out." + kind))
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertGreater(os.path.getsize(self.path("out." + kind)), 5000)
        self.assertEqual(self.files(), ["bench.json", "out.png", "out.svg"])

    def test_what_is_no_bench(self):
        for text in ["{}", "[1]", "no JSON", '{"experiment": {}}']:
            with open(self.path("x.json"), "w", encoding="utf-8") as f:
                f.write(text)
            done = self.plot(self.path("x.json"), "-o", self.path("x.svg"))
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertRegex(done.stderr, r"\Aplot: [^\n]+\n\Z")


if __name__ == "__main__":
    main()

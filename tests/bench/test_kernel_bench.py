"""kernel_bench as a user sees it: cases, filters, formats, failures."""

import csv
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import unittest

BENCH = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else ""
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHEAP = "--benchmark_filter=rope_rows/rows:1/|decode_add_8/o/rows:1/"
VGPU = ["--device", "vgpu"]


class KernelBench(unittest.TestCase):
    maxDiff = None

    def run_bench(self, *args, code=0, env=None):
        done = subprocess.run([BENCH, *args], capture_output=True, text=True, timeout=500, cwd=ROOT, env={**os.environ, **(env or {})})
        self.assertNotIn("Sanitizer", done.stderr)
        self.assertNotIn("runtime error", done.stderr)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def needs_vgpu(self):
        if not os.environ.get("PHI3_VGPU"):
            self.skipTest("PHI3_VGPU does not name the virtual GPU's library")
        probe = subprocess.run([BENCH, *VGPU, "--benchmark_filter=^none$"], capture_output=True, text=True, cwd=ROOT)
        if "no GPU kernels" in probe.stderr:
            self.skipTest("this build has no GPU kernels")

    def test_help(self):
        out = self.run_bench("--help").stdout
        for word in ["--device", "--published", "--list", "--json", "--memory", "--warm", "--benchmark_filter", "Examples:"]:
            self.assertIn(word, out)

    def test_usage(self):
        for args, says in [
            (["--bogus"], "'--bogus'"),
            (["--device", "abacus"], "'abacus'"),
            (["--device=abacus"], "'abacus'"),
            (["--device"], "--device"),
            (["--memory", "fast"], "'fast'"),
            (["--blocks", "-3"], "'-3'"),
            (["--samples", "0"], "'0'"),
            (["--seed", "x"], "'x'"),
            (["stray"], "'stray'"),
        ]:
            done = self.run_bench(*args, code=2)
            self.assertRegex(done.stderr, r"\Akernel_bench: [^\n]+\n\Z")
            self.assertIn(says, done.stderr)
            self.assertEqual(done.stdout, "")

    def test_list(self):
        every = self.run_bench("--list", *VGPU).stdout.split()
        published = self.run_bench("--list", "--published", *VGPU).stdout.split()
        self.assertEqual(len(every), len(set(every)))
        self.assertLess(set(published), set(every))
        with open(os.path.join(ROOT, "kernels", "kernels.h"), encoding="utf-8") as f:
            text = f.read()
        kernels = [line.split("(")[1].split(",")[0] for line in text.splitlines() if line.startswith("  K(")]
        self.assertGreater(len(kernels), 30)
        for kernel in kernels:
            self.assertTrue(any(name.startswith(kernel + "/") for name in published), kernel)
        cuda = self.run_bench("--list", "--device", "cuda").stdout.split()
        self.assertTrue(any(name.startswith("cublas/") for name in cuda))
        cpu = self.run_bench("--list", "--device", "cpu").stdout.split()
        self.assertTrue(any(name.startswith("attention_in/") for name in cpu) and not any("decode" in name for name in cpu))

    def test_no_gpu(self):
        if os.path.exists("/dev/nvidiactl"):
            self.skipTest("there is a GPU")
        done = self.run_bench("--device", "cuda", code=1)
        self.assertRegex(done.stderr, r"\Akernel_bench: [^\n]+\n\Z")
        self.assertEqual(done.stdout, "")

    def test_no_virtual_gpu(self):
        done = self.run_bench(*VGPU, code=1, env={"PHI3_VGPU": "/no/such/libvgpu.so"})
        self.assertRegex(done.stderr, r"\Akernel_bench: [^\n]+\n\Z")

    def test_filter_and_formats(self):
        self.needs_vgpu()
        with tempfile.TemporaryDirectory() as folder:
            file, out = os.path.join(folder, "kernels.json"), os.path.join(folder, "out.json")
            table = self.run_bench(*VGPU, CHEAP, "--json", file, f"--benchmark_out={out}", "--benchmark_out_format=json").stdout
            self.assertEqual(sorted(os.listdir(folder)), ["kernels.json", "out.json"])
            with open(file, encoding="utf-8") as f:
                ours = json.load(f)
            with open(out, encoding="utf-8") as f:
                google = json.load(f)
        self.assertIn("T4_estimate/", table)
        self.assertIn("T4 estimate", table)
        self.assertEqual(len(google["benchmarks"]), 2)
        self.assertIn("ESTIMATES", google["context"]["times"])
        self.check_ours(ours)
        for run, case in zip(google["benchmarks"], ours["cases"]):
            self.assertTrue(run["name"].startswith("T4_estimate/" + case["case"]))
            self.assertAlmostEqual(run["real_time"] / case["estimate"]["us"], 1, delta=1e-6)
            self.assertTrue(run["label"].startswith("T4 estimate, bound: " + case["estimate"]["bound"]))
            self.assertAlmostEqual(run["DRAM_bytes"], case["estimate"]["dram_read_bytes"] + case["estimate"]["dram_write_bytes"], delta=1)
            for key in ["GB/s", "TFLOP/s", "roof_%", "error", "limit_dram_us", "sectors_per_request", "bank_conflicts", "registers", "shared_bytes", "local_bytes"]:
                self.assertTrue(math.isfinite(run[key]), key)

    def check_ours(self, j):
        self.assertEqual((j["format"], j["kind"]), ("phi3-kernels 1", "estimate"))
        self.assertTrue(j["command"].startswith("kernel_bench --device vgpu"))
        self.assertTrue(j["build"]["commit"] and j["machine"]["cpu"] and j["date"])
        self.assertEqual(set(j["roofs"]), {"paper", "seen"})
        self.assertEqual([c["kernel"] for c in j["cases"]], ["phi3_rope_rows", "phi3_decode_add_8"])
        for case in j["cases"]:
            self.assertLessEqual(case["check"]["relative_error"], case["check"]["gate"])
            self.assertGreater(case["check"]["outputs"], 100)
            for key in ["estimate", "estimate_t4_eff"]:
                e = case[key]
                self.assertAlmostEqual(e["GB_per_second"] * e["us"] * 1e3 / case["ideal"]["bytes"], 1, delta=1e-3)
                paper = max(case["ideal"]["bytes"] / 320e9, case["ideal"]["operations"] / 65e12)
                self.assertAlmostEqual(e["share_of_paper_roof"] * e["us"] * 1e-6 / paper, 1, delta=1e-3)
                self.assertGreater(e["warps_per_sm"], 0)
                self.assertIn("dram", e["limits_us"])
        o = j["cases"][1]
        self.assertEqual((o["variant"], o["rows"], o["k"], o["features"]), ("o", 1, 3072, 3072))
        self.assertGreater(o["estimate"]["dram_read_bytes"], 0.99 * 2 * 3072 * 3072)
        self.assertGreater(o["ideal"]["bytes"], 2 * 3072 * 3072)

    def test_blocks(self):
        """A sample leaves out whole waves and keeps more than two, however few are asked for."""
        self.needs_vgpu()
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "k.json")
            self.run_bench(*VGPU, "--memory", "t4_eff", "--blocks", "1", "--benchmark_filter=rmsnorm_rows/norm/rows:2048/", "--json", file)
            with open(file, encoding="utf-8") as f:
                (case,) = json.load(f)["cases"]
        grid, wave, replayed = case["grid"][0], 40 * case["estimate"]["blocks_per_sm"], case["estimate"]["replayed_blocks"]
        self.assertGreater(grid, 4 * wave)
        self.assertEqual((grid - replayed) % wave, 0)
        self.assertTrue(2 * wave < replayed <= 3 * wave, (replayed, wave))

    def test_csv(self):
        self.needs_vgpu()
        done = self.run_bench(*VGPU, "--benchmark_filter=rope_rows/rows:1/", "--benchmark_format=csv", "--memory", "t4_eff")
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        self.assertEqual(len(rows), 1)
        self.assertTrue(rows[0]["name"].startswith("T4_estimate/rope_rows/rows:1"))
        self.assertGreater(float(rows[0]["real_time"]), 0)

    def test_nothing_admitted(self):
        self.needs_vgpu()
        done = self.run_bench(*VGPU, "--benchmark_filter=^nothing$", code=1)
        self.assertIn("--list", done.stderr)

    def test_a_failed_launch_has_no_time_and_leaves_no_file(self):
        self.needs_vgpu()
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "kernels.json")
            done = self.run_bench(*VGPU, "--benchmark_filter=rope_rows/rows:1/", "--json", file, code=1, env={"VGPU_FAIL": "cuLaunchKernel:1:oom"})
            self.assertEqual(os.listdir(folder), [])
        self.assertIn("ERROR OCCURRED", done.stdout + done.stderr)
        self.assertIn("phi3_rope_rows", done.stdout + done.stderr)
        self.assertNotRegex(done.stdout, r"rope_rows\S+ +[0-9.]+ us")

    def test_a_file_that_cannot_be(self):
        self.needs_vgpu()
        done = self.run_bench(*VGPU, "--benchmark_filter=rope_rows/rows:1/", "--json", "/no/such/folder/x.json", code=1)
        self.assertIn("/no/such/folder", done.stderr)


if __name__ == "__main__":
    if not BENCH:
        sys.exit("usage: test_kernel_bench.py KERNEL_BENCH [unittest's own arguments]")
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)

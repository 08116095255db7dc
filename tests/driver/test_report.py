"""scripts/report: README, tables, plots and page say what the files of results/ say; a disagreement is found."""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml
from html.parser import HTMLParser

from harness import ROOT, DriverTest, main

REPORT = os.path.join(ROOT, "scripts", "report")
MARKED = "# x\n\n<!-- results: begin (scripts/report) -->\nold\n<!-- results: end -->\nafter\n"
MACHINE = {"machine": {"cpu": "a cpu", "cores": 2, "memory_bytes": 8e9, "os": "an os"}, "build": {"commit": "c0ffee", "compiler": "gcc", "type": "Release"}, "date": "today", "command": "phi3 bench <x>"}


def timing(seconds, tokens=4):
    rows = [[s * (i + 1) / tokens for i in range(tokens)] for s in seconds]
    mean = sum(seconds) / len(seconds)
    return {
        "mean_seconds": mean,
        "sd_seconds": 0.01 if len(seconds) > 1 else 0,
        "mean_first_token_seconds": mean / tokens,
        "token_seconds_p50": mean / tokens,
        "token_seconds_p95": mean / tokens,
        "tokens_per_second_after_first": (tokens - 1) / (mean * 0.75),
        "seconds": seconds,
        "first_token_seconds": [r[0] for r in rows],
        "token_seconds": rows,
    }


def point(prompt, cached, uncached, new=4, **more):
    return {"prompt_tokens": prompt, "new_tokens": new, "batch": 1, "ids_equal": True, "bytes_per_second": 9e9, "share_of_roof": 0.5, "cached": timing(cached, new),
            "uncached": timing(uncached, new) if uncached else None, "ids": [1] * new, **more}


def bench(**more):
    model = {"path": "m", "architecture": "Phi3ForCausalLM", "name": "", "parameters": 5000000, "weight_bytes": 10, "weight_bytes_per_pass": 10, "type": "BF16"}
    settings = {"device": "cpu", "threads": 2, "precision": "fp32", "pages": "f32", "page_size": 16, "chunk": 512}
    sweep = [point(16, [0.2, 0.21], [1.1, 1.2]), point(64, [0.25, 0.26], [4.1, 4.2]), {**point(21, [0.5, 0.6], None), "batch": 2},
             {"prompt_tokens": 9000, "new_tokens": 4, "batch": 1, "cached": None, "uncached": None, "skipped": "too long & costly"}]
    return {**MACHINE, "estimate": False, "card": None, "model": model, "settings": settings, "ceilings": [], "prompt_ids": [1], "experiment": point(21, [0.234, 0.236], [1.5, 1.6]), "sweep": sweep, **more}


def estimate():
    ops = [{"operation": o, "times": n, "launches": 1, "seconds": 1e-3, "seconds_t4": 9e-4, "launch_seconds": 3e-6, "dram_bytes": 2e5, "bound": "dram"}
           for o, n in [("embed", 1), ("attention_in", 32), ("attention", 32), ("attention_out", 32), ("mlp_in", 32), ("mlp_out", 32), ("logits", 1), ("pick", 1)]]
    step = {"rows": 1, "sequences": 1, "position": 70, "operations": ops}
    data = bench(estimate=True, card={"name": "Tesla T4, virtual", "memory": "t4_eff", "memory_bytes_per_second": 256e9}, operations={"decode": step, "prefill": {**step, "rows": 25}})
    data["model"]["parameters"] = 3821079552
    data["settings"]["device"] = "vgpu"
    data["experiment"] = {**point(25, [3.25], [4.75], 100), "cached_t4": timing([2.75], 100), "uncached_t4": timing([4.25], 100)}
    data["sweep"] = []
    return data


def kernels():
    def case(name, us, share):
        time = {"us": us, "bound": "dram", "GB_per_second": 200.0, "TFLOP_per_second": 0.2, "share_of_paper_roof": share * 0.8, "share_of_seen_roof": share, "dram_bytes_over_ideal": 1.01}
        return {"case": name, "kernel": "phi3_" + name.split("/")[0], "ideal": {"bytes": 5e7, "operations": 5e7}, "check": {"relative_error": 3e-4}, "registers": 96, "estimate": time}

    roofs = {"paper": {"bytes_per_second": 320e9, "operations_per_second": 65e12}, "seen": {"bytes_per_second": 265e9, "operations_per_second": 45e12}}
    return {**MACHINE, "format": "phi3-kernels 1", "device": "Tesla T4", "kind": "estimate", "roofs": roofs, "cases": [case("decode_qkv_8/rows:1", 123.4, 0.91), case("linear_silu/rows:512", 777.0, 0.5)]}


def profile():
    def row(operation, kernel, launches, us):
        limits = {"dram": 0.9 * us, "l2": 0.2 * us, "shared": 0, "issue": 0.1 * us, "tensor": 0.04 * us}
        return {"operation": operation, "kernel": "phi3_" + kernel, "launches": launches, "us": us, "share": us / 1000, "ideal_bytes": 200 * us * 1e3, "ideal_operations": 2 * us * 1e6, "registers": 64,
                "shared_bytes": 0, "local_bytes": 0, "grid": [1, 1, 1], "threads": 128, "bound": "dram", "occupancy": 0.75, "limits_us": limits}

    rows = [row("embed", "embed_rows", 1, 5.0), row("mlp_in", "decode_silu_8", 32, 640.0), row("mlp_out", "decode_add_8", 32, 355.0)]
    phases = [{"phase": p, "steps": n, "tokens": 25, "launches": 65, "us": 1000.0, "launch_overhead_us": 9, "dram_bytes": 2e8, "ideal_bytes": 2e8, "ideal_operations": 2e9, "rows": rows} for p, n in [("prefill", 1), ("decode", 2)]]
    return {**MACHINE, "format": "phi3-profile 1", "device": "Tesla T4", "kind": "estimate", "model": "phi-3-mini-4k", "shape": {"layers": 32}, "layers_run": 1, "prompt_tokens": 25, "memory_configuration": "t4_eff",
            "phases": phases}


class Checked(HTMLParser):
    """Every tag that is opened is closed, and nothing is fetched."""

    VOID = {"meta", "br", "hr", "img", "input", "link"}

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        assert tag not in {"script", "link", "img", "iframe"}, tag
        assert all(not re.match(r"(https?:)?//", v or "") or k == "xmlns" for k, v in attrs), attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


class Report(DriverTest):
    def run_report(self, *args, code=0, says=""):
        done = subprocess.run([sys.executable, "-B", REPORT, *args], capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(says, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done

    def folder(self, **files):
        os.makedirs(self.path("results", "accuracy"))
        for name in ["README.md", os.path.join("results", "README.md")]:
            with open(self.path(name), "w", encoding="utf-8") as f:
                f.write(MARKED)
        for name, data in files.items():
            self.put(name.replace("__", os.sep), data)
        return ["--root", self.dir]

    def put(self, name, data):
        with open(self.path("results", name + ".json"), "w", encoding="utf-8") as f:
            json.dump(data, f)

    def read(self, *names):
        with open(self.path(*names), encoding="utf-8") as f:
            return f.read()

    def test_the_repository_s_own(self):
        """The README, the tables, the plots and the page in this checkout are those of its results."""
        self.run_report("--check")

    def test_everything_is_rendered(self):
        root = self.folder(nano=bench(), t4=estimate(), kernels=kernels(), step=profile())
        self.run_report(*root)
        self.run_report(*root, "--check")
        readme, tables, page = self.read("README.md"), self.read("results", "README.md"), self.read("results", "report.html")
        self.assertTrue(readme.startswith("# x\n") and readme.endswith("after\n"))
        self.assertNotIn("old", readme)
        for text in [readme, tables, page]:
            self.assertIn("3.25 s (2.75 s)", text)
            self.assertIn("235 ms ± 10.0 ms", text)
        self.assertIn("| phi3, estimate | 3.25 s (2.75 s) | 4.75 s (4.25 s) | 1.46 | 30.8 |", readme)
        self.assertIn("6.21 s ± 2.22 s | 33.9 s ± 0.913 s", readme)
        self.assertIn("none a measurement", readme)
        self.assertIn("too long & costly", tables)
        self.assertIn("| decode_qkv_8/rows:1 | 123 | dram | 200 | 0.200 | 91 % | 1.01 | 3.0e-04 | 96 |", tables)
        self.assertIn("| norm, gate and up | decode_silu_8 | 32 | 640 µs | 64.0 % | 200 | 2.00 | 64 | dram | 75 % | 90 % | 20 % | 0 % | 10 % | 4 % |", tables)
        self.assertIn("`phi3 bench <x>`", tables)
        self.assertIn("phi3 bench &lt;x&gt;", page)
        checked = Checked()
        checked.feed(page)
        self.assertEqual(checked.open, [])
        text = "".join(checked.text)
        for wanted in ["1 of 2 cases reach 80 %", "decode_qkv_8/rows:1", "Where does a token's time go?", "What does the cache buy", "attention 19.6 %",
                       "A token with the cache, mean of 2, at 26 to 27 tokens: 1.00 ms", "norm, gate and up: decode_silu_8", "decode_silu_8, 20.0 µs 64.3 %", "256 GB/s, what cards"]:
            self.assertIn(wanted, text)
        self.assertIn("prefers-color-scheme:dark", page)
        for name in ["nano.svg", "t4.svg"]:
            xml.fromstring(self.read("results", name))

    def test_what_is_missing_is_said(self):
        root = self.folder(nano=bench())
        self.run_report(*root)
        page = self.read("results", "report.html")
        for command in ["scripts/results.sh kernels", "scripts/results.sh profile", "scripts/results.sh t4", "scripts/accuracy.sh"]:
            self.assertIn(command, page)
        self.assertNotIn("transformers, measured", page)

    def test_a_profile_from_a_gpu(self):
        data = profile()
        data.update(kind="measurement")
        data.pop("memory_configuration")
        for row in data["phases"][0]["rows"]:  # of both phases
            for key in ["bound", "occupancy", "limits_us"]:
                row.pop(key)
        self.run_report(*self.folder(cuda=data))
        tables = self.read("results", "README.md")
        self.assertIn("| down projection | decode_add_8 | 32 | 355 µs | 35.5 % | 200 | 2.00 | 64 |\n", tables)
        self.assertNotIn("stimate", tables)

    def test_disagreement_is_found(self):
        root = self.folder(nano=bench(), t4=estimate(), kernels=kernels())
        self.run_report(*root)
        for names, before, after in [
            (["README.md"], "3.25 s", "3.24 s"),
            (["results", "README.md"], "235 ms", "234 ms"),
            (["results", "report.html"], "123", "124"),
            (["results", "nano.svg"], "235 ms", "23 ms"),
        ]:
            good = self.read(*names)
            self.assertIn(before, good)
            with open(self.path(*names), "w", encoding="utf-8") as f:
                f.write(good.replace(before, after, 1))
            self.run_report(*root, "--check", code=1, says=os.path.join(*names))
            with open(self.path(*names), "w", encoding="utf-8") as f:
                f.write(good)
        self.run_report(*root, "--check")
        data = bench()
        data["experiment"]["cached"]["mean_seconds"] *= 1.01
        self.put("nano", data)
        self.run_report(*root, "--check", code=1, says="README.md")
        os.remove(self.path("results", "report.html"))
        self.run_report(*root, "--check", code=1, says="report.html")

    def test_measured_takes_the_estimate_s_place(self):
        data = estimate()
        data.update(estimate=False)
        data["settings"]["device"] = "cuda"
        for key in ["cached_t4", "uncached_t4"]:
            data["experiment"].pop(key)
        data["experiment"]["cached"], data["experiment"]["uncached"] = timing([3.5, 3.6], 100), timing([5.5, 5.6], 100)
        data["card"] = {"name": "Tesla T4", "memory_bytes_per_second": 320e9, "driver": "535", "after": {"sm_mhz": 1000, "watts": 69.0, "clocks_held_down_by": "power cap"}}
        root = self.folder(t4=estimate(), cuda=data)
        self.run_report(*root)
        readme = self.read("README.md")
        self.assertIn("| phi3, measured | 3.55 s ± 10.0 ms |".replace("10.0 ms", "0.010 s"), readme)
        self.assertNotIn("phi3, estimate", readme)
        self.assertIn("clocks held down by: power cap", self.read("results", "README.md"))

    def test_accuracy(self):
        value = {"value": 0.5, "standard_error": 0.1}
        against = {"model": "nano", "device": "cpu fp64", "mean_kl": {"value": 7e-8}, "kl_99_percent": 1.5e-6, "max_kl": 9e-6, "same_top": {"value": 0.9975}}
        data = {**MACHINE, "model": "nano", "device": "vgpu fp16", "counted": 3165, "perplexity": value, "against": against, "passes": True}
        fault = {"name": "x", "file": "kernels/a.cu", "breaks": "a gain is left out", "caught_by": {"gpu_kernels": ["agree"]}}
        mutants = {"command": "scripts/mutants.py", "mutants": 2, "survivors": ["y"], "table": [fault, {**fault, "caught_by": {}}]}
        root = self.folder(nano=bench(), accuracy__nano=data, mutants=mutants)
        self.run_report(*root)
        page = self.read("results", "report.html")
        for wanted in ["vgpu fp16", "7e-08", "99.75 %", "1 of 2 were found", "a gain is left out", "<strong>nothing</strong>"]:
            self.assertIn(wanted, page)

    def test_bad_files(self):
        root = self.folder()
        for text in ["no JSON", "3"]:
            with open(self.path("results", "x.json"), "w", encoding="utf-8") as f:
                f.write(text)
            self.run_report(*root, code=1, says="x.json")
        self.put("x", {"experiment": {}, "model": {}})
        self.run_report(*root, code=1, says="lacks")
        os.remove(self.path("results", "x.json"))
        shutil.copy(self.path("results", "README.md"), self.path("keep"))
        with open(self.path("README.md"), "w", encoding="utf-8") as f:
            f.write("no markers\n")
        self.run_report(*root, code=1, says="markers")

    def test_plot(self):
        with open(self.path("b.json"), "w", encoding="utf-8") as f:
            json.dump(bench(), f)
        self.run_report("--plot", self.path("b.json"), "-o", self.path("b.svg"))
        root = xml.fromstring(self.read("b.svg"))
        self.assertTrue(root.tag.endswith("svg"))
        self.assertNotIn("var(", self.read("b.svg"))  # which viewers that are no browsers paint black
        first = self.read("b.svg")
        os.remove(self.path("b.svg"))
        for names in [[], [self.path("b.svg")]]:
            done = subprocess.run([os.path.join(ROOT, "scripts", "plot.sh"), self.path("b.json"), *names], capture_output=True, text=True)
            self.assertEqual((done.returncode, self.read("b.svg")), (0, first), done)
        done = subprocess.run([os.path.join(ROOT, "scripts", "plot.sh")], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        with open(self.path("b.json"), "w", encoding="utf-8") as f:
            f.write("{}")
        self.run_report("--plot", self.path("b.json"), "-o", self.path("c.svg"), code=1, says="no experiment")
        self.assertEqual(self.files(), ["b.json", "b.svg"])


if __name__ == "__main__":
    main()

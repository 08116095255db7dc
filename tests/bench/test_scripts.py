"""The Nsight scripts as far as a machine without a GPU goes, and the notebook."""

import ast
import json
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(script, *args, path=None):
    env = {**os.environ, **({"PATH": path} if path else {})}
    return subprocess.run([os.path.join(ROOT, "scripts", script), *args], capture_output=True, text=True, env=env)


class Scripts(unittest.TestCase):
    def ok(self, script, *args):
        done = run(script, *args)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def refused(self, code, says, script, *args, path=None):
        done = run(script, *args, path=path)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertRegex(done.stderr, r"\Aprofile_n[a-z]+: [^\n]+\n\Z")
        self.assertIn(says, done.stderr)

    def command(self, script, *args):
        return [shlex.split(line) for line in self.ok(script, "--print", *args).splitlines()]

    def test_help(self):
        for script in ["profile_ncu.sh", "profile_nsys.sh"]:
            for flag in ["-h", "--help"]:
                out = self.ok(script, flag)
                self.assertTrue(out.startswith(f"Usage: scripts/{script}"))
                self.assertIn("Examples:", out)

    def test_ncu(self):
        (line,) = self.command("profile_ncu.sh", "--phase", "decode", "--kernel", "decode_silu", "--set", "memory", "-m", "a model", "--count", "3")
        self.assertEqual(line[0], "ncu")
        self.assertIn("MemoryWorkloadAnalysis", line)
        self.assertEqual(line[line.index("--nvtx-include") + 1], "decode 1/")
        self.assertEqual(line[line.index("--kernel-name") + 1], "regex:decode_silu")
        self.assertEqual(line[line.index("--launch-count") + 1], "3")
        at = line.index("build/phi3")
        self.assertEqual(line[at + 1 : at + 6], ["profile", "--device", "cuda", "-m", "a model"])
        (line,) = self.command("profile_ncu.sh", "--phase", "prefill", "--operation", "attention", "--boost", "-o", "out")
        self.assertEqual(line[line.index("--nvtx-include") + 1], "prefill 64/*/attention")
        self.assertEqual(line[line.index("--clock-control") + 1], "none")
        self.assertEqual(line[line.index("--export") + 1], "out")
        self.assertEqual(line[line.index("--prompt-tokens") + 1], "64")  # the range's name hangs on it
        (line,) = self.command("profile_ncu.sh", "--set", "full", "--range", "decode 4", "--", "prog", "an argument")
        self.assertEqual(line[-2:], ["prog", "an argument"])
        self.assertIn("full", line)
        for name in ["speed", "compute", "roofline"]:
            self.command("profile_ncu.sh", "--set", name)

    def test_nsys(self):
        record, tables = self.command("profile_nsys.sh", "--phase", "prefill", "-o", "x")
        self.assertEqual(record[:2], ["nsys", "profile"])
        self.assertIn("--cuda-graph-trace=node", record)
        self.assertEqual(len(record[record.index("--ids") + 1].split()), 64)
        self.assertEqual(tables[:2], ["nsys", "stats"])
        self.assertEqual(tables[tables.index("--filter-nvtx") + 1], "prefill 64")
        self.assertEqual(tables[-1], "x.nsys-rep")
        record, tables = self.command("profile_nsys.sh", "--range", "decode 4", "--", "prog", "a b")
        self.assertEqual(record[-2:], ["prog", "a b"])
        self.assertEqual(tables[tables.index("--filter-nvtx") + 1], "decode 4")

    def test_usage(self):
        for script in ["profile_ncu.sh", "profile_nsys.sh"]:
            self.refused(2, "'--bogus'", script, "--bogus")
            self.refused(2, "--kernel needs a value", script, "--kernel")
            self.refused(2, "'chew'", script, "--phase", "chew")
            self.refused(2, "either", script, "--phase", "decode", "--range", "x")
            self.refused(2, "--range", script, "--phase", "decode", "--", "prog")
        self.refused(2, "'large'", "profile_ncu.sh", "--set", "large")
        self.refused(2, "'-1'", "profile_ncu.sh", "--count", "-1")
        self.refused(2, "'dance'", "profile_ncu.sh", "--operation", "dance", "--phase", "decode")
        self.refused(2, "--phase or --range", "profile_ncu.sh", "--operation", "attention")

    def test_what_is_missing(self):
        """Without the tool; with a tool of that name but no GPU."""
        with tempfile.TemporaryDirectory() as folder:
            for tool in ["bash", "dirname", "env", "cat", "seq", "printf"]:
                found = shutil.which(tool)
                if found:
                    os.symlink(found, os.path.join(folder, tool))
            for script, tool in [("profile_ncu.sh", "ncu"), ("profile_nsys.sh", "nsys")]:
                self.refused(1, f"there is no {tool}", script, path=folder)
                fake = os.path.join(folder, tool)
                with open(fake, "w", encoding="ascii") as f:
                    f.write("#!/bin/sh\nexit 3\n")
                os.chmod(fake, stat.S_IRWXU)
                if not os.path.exists("/dev/nvidiactl") and not os.path.exists("/dev/dxg"):
                    self.refused(1, "no NVIDIA GPU", script, path=folder)

    def test_sections_of_the_guide(self):
        with open(os.path.join(ROOT, "scripts", "PROFILING.md"), encoding="utf-8") as f:
            guide = f.read()
        for word in ["profile_ncu.sh", "profile_nsys.sh", "colab.ipynb", "--boost"]:
            self.assertIn(word, guide)

    def test_notebook(self):
        with open(os.path.join(ROOT, "scripts", "colab.ipynb"), encoding="utf-8") as f:
            book = json.load(f)
        self.assertEqual(book["nbformat"], 4)
        self.assertGreaterEqual(book["nbformat_minor"], 5)
        self.assertEqual(book["metadata"]["accelerator"], "GPU")
        ids = [cell["id"] for cell in book["cells"]]
        self.assertEqual(len(ids), len(set(ids)))
        code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
        self.assertEqual(len(code), 1)
        self.assertEqual((code[0]["outputs"], code[0]["execution_count"]), ([], None))
        source = "".join(code[0]["source"])
        tree = ast.parse(source)
        self.assertIn('REPOSITORY = ""', source)
        self.assertTrue(tree.body)
        for script in ["scripts/setup.sh", "scripts/build.sh", "scripts/profile_ncu.sh", "scripts/get_model.sh"]:
            self.assertIn(script, source)
            self.assertTrue(os.access(os.path.join(ROOT, script), os.X_OK), script)


if __name__ == "__main__":
    unittest.main(verbosity=2)

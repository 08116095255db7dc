"""What the tests of the command line share: running phi3 as a user does, and reading the arrays that it writes."""

import array
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PHI3 = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else ""
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDENS = os.path.join(ROOT, "tests", "goldens")
COMMANDS = ["generate", "chat", "trace", "compare", "perplexity", "bench", "profile", "synth", "tokenize", "inspect"]


class Result:
    def __init__(self, args, code, out, err):
        self.args, self.code, self.out, self.err = args, code, out, err

    def __str__(self):
        shown = f"stdout: {self.out[-2000:]!r}\nstderr: {self.err[-2000:]!r}"
        return f"phi3 {' '.join(self.args)}\nexit code {self.code}\n{shown}"


def read_npy(path):
    """(type, shape, values) of a version 1 .npy file in C order."""
    with open(path, "rb") as f:
        data = f.read()
    assert data[:8] == b"\x93NUMPY\x01\x00", f"{path}: not a version 1 .npy file"
    end = 10 + int.from_bytes(data[8:10], "little")
    assert end % 64 == 0, f"{path}: the header is not aligned"
    head = eval(data[10:end].decode("ascii"), {"__builtins__": {}})
    assert head["fortran_order"] is False
    codes = {"<f4": "f", "<f8": "d", "<i4": "i", "<i8": "q"}
    values = array.array(codes[head["descr"]])
    values.frombytes(data[end:])
    assert len(values) == math.prod(head["shape"]), f"{path}: {len(values)} elements for {head['shape']}"
    return head["descr"], head["shape"], values


def relative_error(out, ref):
    """||out - ref|| / ||ref||; never a number where `out` has none."""
    assert len(out) == len(ref) and len(ref) > 0
    assert all(map(math.isfinite, out)), "a value is not finite"
    size = math.sqrt(math.fsum(r * r for r in ref))
    assert size > 0, "a trivial reference"
    return math.sqrt(math.fsum((o - r) ** 2 for o, r in zip(out, ref))) / size


def has_vgpu():
    """The virtual GPU stands beside the program, and the build had nvcc."""
    library = os.path.join(os.path.dirname(PHI3), "libvgpu.so")
    probe = [PHI3, "generate", "--device", "vgpu", "--ids", "1", "-n", "1"]
    return os.path.exists(library) and subprocess.run(probe, capture_output=True, cwd=ROOT).returncode == 0


def golden_json(*names):
    with open(os.path.join(GOLDENS, *names), encoding="utf-8") as f:
        return json.load(f)


def golden_cases():
    """Of the small random models, and of the bundled one."""
    return golden_json("index.json") + golden_json("nano", "index.json")


class DriverTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="phi3-driver-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def phi3(self, *args, code=0, file_limit=None, statistics=False, **kwargs):
        """Runs the program and checks its exit code, and that a failure is one sentence (after generate's figures)."""

        def limit():  # a write beyond the limit fails as on a full disk
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        args = [str(a) for a in args]
        done = subprocess.run(
            [PHI3, *args],
            stdout=kwargs.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            timeout=280,
            stdin=kwargs.pop("stdin", subprocess.DEVNULL) if "input" not in kwargs else None,
            preexec_fn=limit if file_limit else None,
            cwd=ROOT,
            **kwargs,
        )
        r = Result(args, done.returncode, (done.stdout or b"").decode("utf-8"), done.stderr.decode("utf-8", "replace"))
        self.check(r, code, statistics)
        return r

    def check(self, r, code, statistics=False):
        self.assertNotIn("Sanitizer", r.err, r)
        self.assertNotIn("runtime error", r.err, r)
        self.assertEqual(r.code, code, r)
        if code:
            self.assertRegex(r.err, (r"\A(prompt .*\n)?" if statistics else r"\A") + r"phi3[^\n]*: [^\n]+\n\Z", r)

    def refused(self, *args, code=1, says="", **kwargs):
        """A failure (1) or wrong usage (2): nothing but one line that names the cause."""
        r = self.phi3(*args, code=code, **kwargs)
        self.assertIn(says, r.err, r)
        self.assertEqual(r.out, "", r)
        return r

    def until_it_catches(self, pid):
        """Until the process has set its own handler for SIGINT."""
        for _ in range(3000):
            with open(f"/proc/{pid}/status", encoding="ascii") as f:
                caught = next(line for line in f if line.startswith("SigCgt"))
            if int(caught.split()[1], 16) & 1 << (signal.SIGINT - 1):
                return
            time.sleep(0.01)
        self.fail("phi3 does not catch SIGINT")

    def files(self, path=None):
        return sorted(os.listdir(path or self.dir))

    def golden(self, name):
        """Model folder and ids (a text for --ids) of a golden case."""
        case = next(c for c in golden_cases() if c["name"] == name)
        ids = read_npy(os.path.join(GOLDENS, case["case"], "ids.npy"))[2]
        return os.path.join(GOLDENS, case["model"]), " ".join(map(str, ids))


def main():
    if not PHI3:
        sys.exit("usage: test_*.py PHI3 [unittest's own arguments]")
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)

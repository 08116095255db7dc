"""scripts/results.sh with stand-ins for what it calls: which parts run alone and which side by side, what a failure and an interruption leave."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIMED = ["nano", "smollm2", "phi3-mini"]
VIRTUAL = ["t4", "profile", "kernels", "accuracy"]

# Tells when it begins and ends; fails or hangs where its command line holds what the test says. What may run side by side waits until
# $BESIDE of them have begun.
STAND_IN = r"""#!/usr/bin/env bash
echo "begin $$ ${0##*/} $*" >>"$TOLD"
case " $* " in *"${FAILS:-nothing}"*) echo "stand-in: it failed" >&2; exit 1 ;; esac
case " $* " in *"${HANGS:-nothing}"*) [ -z "$DEAF" ] || trap "" TERM; for _ in $(seq 600); do sleep 1; done ;; esac
case " ${0##*/} $* " in
  *" generate "*) ;;
  *" --device vgpu "* | *" accuracy.sh "*)
    for _ in $(seq 200); do [ "$(grep -cE 'begin.*(accuracy.sh|--device vgpu --(like|published))' "$TOLD")" -lt "${BESIDE:-1}" ] || break; sleep 0.1; done ;;
esac
echo "end $$ ${0##*/} $*" >>"$TOLD"
"""
CMAKE = '#!/bin/sh\ncase " $* " in *" help "*) [ -n "$NO_BENCHMARK" ] || echo "phi3_kernel_bench: phony" ;; esac\n'


class Results(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)
        for name in ["scripts", "build-results", "bin", "results"]:
            os.mkdir(os.path.join(self.dir, name))
        for name in ["results.sh", "path.sh"]:
            shutil.copy(os.path.join(ROOT, "scripts", name), os.path.join(self.dir, "scripts"))
        for name in ["scripts/setup.sh", "scripts/get_model.sh", "scripts/accuracy.sh", "scripts/report", "scripts/compare_hf.sh", "build-results/phi3", "build-results/kernel_bench"]:
            self.put(name, STAND_IN)
        self.put("bin/cmake", CMAKE)
        self.env = {**os.environ, "PATH": os.path.join(self.dir, "bin") + os.pathsep + os.environ["PATH"], "TOLD": os.path.join(self.dir, "told"), "TMPDIR": self.dir}

    def put(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(path, 0o755)

    def start(self, *parts, **env):
        return subprocess.Popen(["bash", os.path.join(self.dir, "scripts", "results.sh"), *parts], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**self.env, **env},
                                start_new_session=True)

    def finish(self, process, code=0):
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, out + err)
        return out, err

    def told(self):
        with open(self.env["TOLD"], encoding="utf-8") as f:
            return f.read().splitlines()

    @staticmethod
    def runs(pid):
        """Whether it is there and not only waits to be buried."""
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as f:
                return f.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def test_all(self):
        out, err = self.finish(self.start(BESIDE=str(len(VIRTUAL))))
        self.assertEqual(err, "")
        for part in TIMED + VIRTUAL:
            self.assertRegex(out, rf"(?m)^results: {part} took \d+ s$")
            self.assertRegex(out, rf"in all: build \d+ s.*, {part} \d+ s")
        told = [line for line in self.told() if " generate " not in line]
        alone = next(i for i, line in enumerate(told) if "--device vgpu" in line or "accuracy.sh" in line)
        for begin, end in zip(told[0:alone:2], told[1:alone:2]):  # what is timed has the machine to itself
            self.assertEqual(("begin", "end", begin.split()[1:]), (begin.split()[0], end.split()[0], end.split()[1:]))
        self.assertEqual([line.split()[0] for line in told[alone : alone + 4]], ["begin"] * 4)  # and what is not, has company
        self.assertIn("report", told[-1])
        self.assertEqual(sorted(os.listdir(self.dir)), ["bin", "build-results", "results", "scripts", "told"])  # no random weights are left

    def test_some(self):
        out, _ = self.finish(self.start("nano", "report"))
        self.assertNotIn("smollm2", out + "".join(self.told()))
        self.finish(self.start("report"))
        self.finish(self.start("--help"))

    def test_an_unknown_part_is_told_before_any_work(self):
        out, err = self.finish(self.start("nano", "naon"), 2)
        self.assertEqual((out, err), ("", "results: unknown part 'naon'; see scripts/results.sh --help\n"))
        self.assertFalse(os.path.exists(self.env["TOLD"]))

    def test_failures_are_named_and_the_rest_goes_on(self):
        for fails, part in [("results/nano.json", "nano"), ("--published", "kernels"), (" synth ", "phi3-mini")]:
            out, err = self.finish(self.start(FAILS=fails), 1)
            self.assertIn(f"results: {part} FAILED after", out)
            self.assertIn(f"results: failed: {part};", err)
            self.assertIn("stand-in: it failed", err)
            for other in set(TIMED + VIRTUAL) - {part}:
                self.assertIn(f"results: {other} took", out)

    def test_a_build_without_kernels(self):
        out, err = self.finish(self.start("nano", "t4", "accuracy", FAILS=" generate "))
        self.assertIn("results: left out: t4 accuracy; stand-in: it failed", err)
        self.assertIn("results: nano took", out)

    def test_a_build_without_google_benchmark(self):
        os.remove(os.path.join(self.dir, "build-results", "kernel_bench"))
        out, err = self.finish(self.start("t4", "kernels", NO_BENCHMARK="1"))
        self.assertIn("the kernels' table is left out", err)
        self.assertIn("results: t4 took", out)
        self.assertNotIn("results: kernels took", out)

    def test_an_interruption_ends_everything(self):
        for hangs, signal_, deaf in [("--published", signal.SIGINT, "yes"), ("results/nano.json", signal.SIGTERM, "")]:
            if os.path.exists(self.env["TOLD"]):
                os.remove(self.env["TOLD"])
            process = self.start("nano", "t4", "kernels", HANGS=hangs, DEAF=deaf)
            for _ in range(300):
                time.sleep(0.1)
                if os.path.exists(self.env["TOLD"]) and any(hangs in line for line in self.told()):
                    break
            os.killpg(process.pid, signal_)  # as a terminal's Ctrl-C: the group in the foreground
            _, err = self.finish(process, 130)
            self.assertIn("results: interrupted", err)
            (hung,) = [line.split()[1] for line in self.told() if hangs in line]
            for _ in range(100):  # it is no child of the script's, which does not wait until it is gone
                if not self.runs(hung):
                    break
                time.sleep(0.1)
            self.assertFalse(self.runs(hung))


if __name__ == "__main__":
    unittest.main(verbosity=2)

#!/usr/bin/env python3
"""Breaks kernels, reference and runtime on purpose, one place at a time, and says which tests see it. The mutants are in
scripts/mutants.json: the text that is replaced (it stands in its file exactly once), what takes its place, what that breaks, and the
tests (a regular expression for ctest -R) that are run. They are made in a copy of the working tree; a mutant that does not apply or does
not compile is an error, one that no test catches fails the script, and the unbroken tree must pass the same tests first.
Writes results/mutants.json and results/mutants.md when all mutants were run.
Usage: scripts/mutants.py [--check] [--list] [--resume] [--jobs N] [NAME...]
  --check   does every mutant apply? Builds nothing
  --jobs N  so many mutants at a time, each in a tree of its own; default: one a processor
  --resume  leaves out what an earlier run caught, where mutant and file are still the same; with NAMEs, all that it caught but those.
            The results have the commit of each run"""
import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build-mutants"
STATE = WORK / "state.json"
LEAST = 30  # mutants that the table must have
TEST_SECONDS = 600  # of the unbroken tree's tests; a mutant has three times what those took, and a minute


def stop(text):
    sys.exit(f"mutants: {text}")


def git(*args):
    return subprocess.run(["git", *args], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def read_table():
    table = json.loads((ROOT / "scripts/mutants.json").read_text())
    names = [m["name"] for m in table]
    for name in names:
        if names.count(name) > 1:
            stop(f"two mutants are called {name}")
    if len(table) < LEAST:
        stop(f"{len(table)} mutants, at least {LEAST} belong in the table")
    for m in table:
        text, count = (ROOT / m["file"]).read_text(), 0
        count = text.count(m["find"])
        if count != 1:
            stop(f"{m['name']}: {m['find']!r} stands {count} times in {m['file']}, not once; give the mutant another text")
        if m["find"] == m["replace"]:
            stop(f"{m['name']}: it changes nothing")
    return table


class Lane:
    """A copy of the tree with a build of its own, in which one mutant at a time is made."""

    def __init__(self, index):
        self.tree = WORK / f"tree-{index}"
        self.build, self.report = self.tree / "build", WORK / f"junit-{index}.xml"
        self.targets = {}  # what a test runs: programs, and libraries that it is told of
        self.env = dict(os.environ)
        if shutil.which("ccache"):  # the lanes share what they compile, and the text that stands there again costs nothing
            self.env.update(CMAKE_C_COMPILER_LAUNCHER="ccache", CCACHE_BASEDIR=str(self.tree), CCACHE_NOHASHDIR="1")

    def run(self, *command, **more):
        return subprocess.run(command, capture_output=True, text=True, env=dict(self.env, **more))

    def copy_tree(self):
        """The files that git knows or would take, as they are now; unchanged ones keep their times, so that the build goes on where it was."""
        files = [f for f in git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0") if f and (ROOT / f).is_file()]
        for f in files:
            data, to = (ROOT / f).read_bytes(), self.tree / f
            if not to.exists() or to.read_bytes() != data:
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(data)
                shutil.copymode(ROOT / f, to)
        for old in self.tree.rglob("*"):
            if old.is_file() and self.build not in old.parents and str(old.relative_to(self.tree)) not in files:
                old.unlink()

    def prepare(self):
        self.copy_tree()
        p = self.run("cmake", "--preset", "release", "-S", str(self.tree), "-B", str(self.build), "-DPHI3_WERROR=OFF")  # a mutant may leave something unused
        if p.returncode == 0:
            p = self.run("cmake", "--build", str(self.build))
        if p.returncode:
            stop(f"the unbroken tree does not build:\n{(p.stdout + p.stderr)[-3000:]}")
        rules = set(re.findall(r"^build ([^: ]+)[: ]", (self.build / "build.ninja").read_text(), re.M))
        for t in json.loads(self.run("ctest", "--test-dir", str(self.build), "--show-only=json-v1").stdout)["tests"]:
            words = t["command"] + [v for p in t["properties"] if p["name"] == "ENVIRONMENT" for v in p["value"]]
            built = {word.removeprefix(str(self.build) + "/") for line in words for word in re.split("[=:,]", line)}
            self.targets[t["name"]] = (built | {"libvgpu.so"}) & rules  # that phi3 finds by itself

    def make(self, regex):
        """Builds what the tests run. None, or what the compiler said."""
        targets = sorted(set().union(*(files for name, files in self.targets.items() if re.search(regex, name))))
        p = self.run("cmake", "--build", str(self.build), "--target", *targets)
        return None if p.returncode == 0 else (p.stdout + p.stderr)[-3000:]

    def test(self, m, seconds):
        """The tests that failed, with their cases: {"sampler": ["top_p"]}; and the seconds it took."""
        start = time.monotonic()
        self.report.unlink(missing_ok=True)
        p = self.run("ctest", "--test-dir", str(self.build), "-R", m["tests"], "--no-tests=error", "--timeout", str(int(seconds)), "--output-junit",
                     str(self.report), PHI3_TEST_SEED="1", **m.get("environment", {}))
        if not self.report.exists():
            stop(f"{m['name']}: ctest ran nothing: {p.stdout[-500:]}{p.stderr[-500:]}")
        failed = {}
        for case in xml.parse(self.report).getroot().iter("testcase"):
            if case.get("status") != "fail":
                continue
            out = "".join(case.find("system-out").itertext()) if case.find("system-out") is not None else ""
            cases = set(re.findall(r"^\[  FAILED  \] (?:\S*: )?(\w+)\s*$", out, re.M)) - {"tests"}
            cases |= set(re.findall(r"^(?:FAIL|ERROR): (test_\w+) \(", out, re.M))  # of Python's tests
            why = "".join(f.get("message", "") for f in case.iter("failure"))
            failed[case.get("name")] = sorted(cases) or (["does not end"] if "imeout" in why else [])
        return failed, time.monotonic() - start

    def mutate(self, m, usual):
        """Makes the mutant and tests it: what caught it, or why it could not be tested."""
        path = self.tree / m["file"]
        good = path.read_text()
        try:
            path.write_text(good.replace(m["find"], m["replace"]))
            said = self.make(m["tests"])
            if said:
                return {"error": said, "caught_by": {}}
            failed, took = self.test(m, 3 * usual + 60)
        finally:
            path.write_text(good)
        return {"caught_by": failed, "seconds": round(took, 1)}


def share(lanes, work, do):
    """do(lane, item) for each of the work, by all lanes at a time; they go through it side by side."""
    left, failures = list(reversed(work)), []

    def walk(lane):
        try:
            while not failures:
                try:
                    item = left.pop()
                except IndexError:
                    return
                do(lane, item)
        except BaseException as e:  # also of stop(): the others end with the mutant that they are at
            failures.append(e)

    threads = [threading.Thread(target=walk, args=(lane,)) for lane in lanes]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


def key_of(m):
    return json.dumps([m["tests"], m.get("environment", {})])


def baseline(lanes, table):
    """The unbroken tree passes every set of tests that is used; seconds of each."""
    seconds = {}

    def measure(lane, m):
        failed, seconds[key_of(m)] = lane.test(m, TEST_SECONDS)
        if failed:
            stop(f"the unbroken tree fails: {failed}")

    share(lanes, list({key_of(m): m for m in table}.values()), measure)
    print(f"the unbroken tree passes {len(seconds)} sets of tests in {sum(seconds.values()):.0f} s", flush=True)
    return seconds


def caught_text(failed):
    return ", ".join(test + (f" ({', '.join(cases)})" if cases else "") for test, cases in sorted(failed.items()))


def write_results(table, found):
    survivors = [m["name"] for m in table if not found[m["name"]]["caught_by"]]
    command = "scripts/mutants.py"
    commits = sorted({r["commit"] for r in found.values()})
    rows = [dict({k: m[k] for k in ("name", "file", "breaks", "find", "replace", "tests")}, **found[m["name"]]) for m in table]
    (ROOT / "results/mutants.json").write_text(json.dumps({"command": command, "commits": commits, "mutants": len(rows), "survivors": survivors,
                                                           "table": rows}, indent=1, ensure_ascii=False) + "\n")
    lines = ["# Mutation proof", "", f"`{command}`, commit {', '.join(commits)}: {len(rows)} mutants, {len(rows) - len(survivors)} caught. Each breaks one place "
             "(text and replacement are in `mutants.json`); the unbroken tree passes the same tests. "
             "A row names the commit of its run, since when its file may have changed; dirty: with changes that were not committed then.", "",
             "| mutant | file | what it breaks | caught by | at commit |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {r['name']} | {r['file']} | {r['breaks']} | {caught_text(r['caught_by']) or '**nothing**'} | {r['commit']} |" for r in rows]
    (ROOT / "results/mutants.md").write_text("\n".join(lines) + "\n")


def digest(m):
    return hashlib.sha256((ROOT / m["file"]).read_bytes()).hexdigest()


def main():
    ap = argparse.ArgumentParser(usage=__doc__.split("Usage: ")[1], add_help=True)
    for flag in "--check", "--list", "--resume":
        ap.add_argument(flag, action="store_true")
    ap.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("names", nargs="*")
    args = ap.parse_args()
    table = read_table()
    if args.check:
        print(f"{len(table)} mutants apply")
        return
    if args.list:
        for m in table:
            print(f"{m['name']:28} {m['file']}: {m['breaks']}")
        return
    unknown = set(args.names) - {m["name"] for m in table}
    if unknown:
        stop(f"there is no mutant {', '.join(sorted(unknown))}; --list shows them")
    commit = git("describe", "--always", "--dirty", "--abbrev=12").strip()
    state = json.loads(STATE.read_text()) if args.resume and STATE.exists() else {}
    found = {}
    for m in table:
        old = state.get(m["name"])
        same = old and old["mutant"] == m and old["result"]["caught_by"]
        if same and (m["name"] not in args.names if args.names else old["file"] == digest(m)):
            found[m["name"]] = old["result"]
    todo = [m for m in table if m["name"] not in found and (not args.names or m["name"] in args.names)]
    if todo:
        lanes, begun, lock = [Lane(i) for i in range(min(max(args.jobs, 1), len(todo)))], time.monotonic(), threading.Lock()
        for lane in lanes:
            lane.prepare()
        seconds = baseline(lanes, todo)

        def try_mutant(lane, m):
            file = digest(m)
            result = dict(lane.mutate(m, seconds[key_of(m)]), commit=commit)
            with lock:
                found[m["name"]] = result
                state[m["name"]] = {"mutant": m, "file": file, "result": result}
                STATE.write_text(json.dumps(state))
                print(f"{m['name']}: {result.get('error') or caught_text(result['caught_by']) or 'SURVIVES'}", flush=True)

        share(lanes, todo, try_mutant)
        print(f"{len(todo)} mutants, {len(lanes)} at a time: {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)
    broken = [name for name, r in found.items() if r.get("error")]
    if broken:
        stop(f"{len(broken)} mutants do not build, so nothing is written: {', '.join(broken)}; give them other texts")
    if len(found) == len(table):
        write_results(table, found)
    survivors = [name for name, r in found.items() if not r["caught_by"]]
    if survivors:
        stop(f"{len(survivors)} of {len(found)} mutants survive: {', '.join(survivors)}")
    print(f"all {len(found)} mutants are caught")


if __name__ == "__main__":
    main()

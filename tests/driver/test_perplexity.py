"""phi3 perplexity against Hugging Face's figures, against sums made here from traced logits, and against itself."""

import json
import math
import os
import stat

from harness import GOLDENS, DriverTest, golden_json, has_vgpu, main, read_npy

TEXT = os.path.join(GOLDENS, "perplexity", "text.txt")
LIMIT = 1e-4  # relative, of a perplexity beside Hugging Face's


def spans(tokens, window, stride):
    """(begin, end, first target): each token once, in the first window that holds it, unless it begins it."""
    begin = before = 0
    while before < tokens:
        end = min(begin + window, tokens)
        yield begin, end, max(before, begin + 1)
        begin, before = begin + stride, end


class Perplexity(DriverTest):
    def short(self):
        """The text's beginning: enough for some windows, and quick under a sanitizer."""
        with open(TEXT, "rb") as f:
            text = f.read(1500)
        with open(self.path("short.txt"), "wb") as f:
            f.write(text)
        return self.path("short.txt")

    def figures(self, *args, **kwargs):
        file = self.path("figures.json")
        r = self.phi3("perplexity", *args, "--json", file, **kwargs)
        with open(file, encoding="utf-8") as f:
            return r, json.load(f)

    def case(self, case):
        """Options that give a golden case's model, windows and text."""
        args = ["-m", os.path.join(GOLDENS, case["model"]), "--window", case["window"], "--stride", case["stride"]]
        if not case["case"]:
            return [*args, TEXT]
        ids = read_npy(os.path.join(GOLDENS, case["case"], "ids.npy"))[2]
        return [*args, "--ids", " ".join(map(str, ids))]


class Figures(Perplexity):
    def test_hugging_face(self):
        cases = golden_json("perplexity", "index.json")
        self.assertGreater(len(cases), 4)
        for case in cases:
            with self.subTest(case=case["name"]):
                r, got = self.figures(*self.case(case))
                self.assertEqual((got["tokens"], got["counted"]), (case["tokens"], case["counted"]))
                self.assertLess(abs(got["perplexity"]["value"] / case["perplexity"] - 1), LIMIT)
                self.assertLess(abs(got["loss"]["value"] - case["loss"]), LIMIT)
                printed = float(r.out.split("Perplexity")[1].split()[0])
                self.assertLess(abs(printed / case["perplexity"] - 1), LIMIT)

    def traced_losses(self, model, ids, window, stride):
        """-log p of each counted token, from the logits that phi3 trace writes for each window by itself."""
        losses = []
        for begin, end, first in spans(len(ids), window, stride):
            dump = self.path(f"trace-{begin}")
            self.phi3("trace", "-m", model, "--ids", " ".join(map(str, ids[begin:end])), "--dump", dump)
            _, (_, vocab), logits = read_npy(os.path.join(dump, "logits.npy"))
            for target in range(first, end):
                row = logits[(target - begin - 1) * vocab : (target - begin) * vocab]
                most = max(row)
                total = math.fsum(math.exp(v - most) for v in row)
                losses.append(most + math.log(total) - row[ids[target]])
        return losses

    def test_sums_from_a_trace(self):
        model, text = self.golden("mha")
        ids = [int(i) for i in text.split()]
        for window, stride in [(40, 20), (16, 5), (7, 7), (2, 1), (2, 2)]:
            with self.subTest(window=window, stride=stride):
                losses = self.traced_losses(model, ids, window, stride)
                _, got = self.figures("-m", model, "--ids", text, "--window", window, "--stride", stride, "--chunk", 6)
                mean, n = math.fsum(losses) / len(losses), len(losses)
                error = math.sqrt(math.fsum((v - mean) ** 2 for v in losses) / (n - 1) / n)
                self.assertEqual(got["counted"], n)
                self.assertAlmostEqual(got["loss"]["value"], mean, delta=1e-6)
                self.assertAlmostEqual(got["loss"]["standard_error"], error, delta=1e-6)
                self.assertAlmostEqual(got["perplexity"]["value"] / math.exp(mean), 1, delta=1e-6)
                self.assertAlmostEqual(got["perplexity"]["standard_error"] / (error * math.exp(mean)), 1, delta=1e-5)

    def test_it_does_not_depend_on_how_it_is_cut(self):
        seen, text = set(), self.short()
        for args in [["--chunk", "512"], ["--chunk", "7"], ["--threads", "1"], ["--page-size", "5"]]:
            _, got = self.figures(*args, "--window", "200", "--stride", "90", text)
            seen.add((got["loss"]["value"], got["loss"]["standard_error"]))
        with open(text, "rb") as f:
            _, got = self.figures("--window", "200", "--stride", "90", "-", stdin=f)
        seen.add((got["loss"]["value"], got["loss"]["standard_error"]))
        self.assertEqual(len(seen), 1)


class Bases(Perplexity):
    def save(self, *args):
        base = self.path("base")
        self.phi3("perplexity", "--save-base", base, *args)
        return base

    def test_the_same_run_is_no_distance_away(self):
        for top, kept in [("0", 1024), ("256", 256), ("5000", 1024), ("1", 1)]:
            base = self.save(self.short(), "--base-top", top, "--window", "300")
            r, got = self.figures("--against", base)
            self.assertEqual(got["against"]["kept_logits"], kept)
            self.assertLess(abs(got["against"]["mean_kl"]["value"]), 1e-12)
            self.assertEqual(got["against"]["same_top"]["value"], 1)
            self.assertEqual(got["against"]["more_loss"]["value"], 0)
            self.assertEqual((got["window"], got["stride"]), (300, 150))
            self.assertEqual(got["against"]["mean_kl_bound"] == 0, kept == 1024)
            self.assertEqual("at most" in r.out, kept < 1024)

    def test_gates(self):
        base = self.save(TEXT, "--base-top", "0", "--window", "256")
        got = self.figures("--against", base, "--pages", "f16", "--gate")[1]["against"]
        self.assertGreater(got["mean_kl"]["value"], 1e-12)
        self.assertTrue(got["mean_kl"]["value"] <= got["kl_99_percent"] <= got["max_kl"])
        self.assertLess(got["kl_99_percent"], got["max_kl"])  # one in a hundred lies above it
        near = str(0.8 * got["mean_kl"]["value"])
        self.assertIn("past the gate", self.phi3("perplexity", "--against", base, "--pages", "f16", "--max-kl", near, code=1).err)
        few = self.save("--ids", " ".join(map(str, range(3, 100))), "--base-top", "0")
        got = self.figures("--against", few, "--pages", "f16")[1]
        self.assertEqual(got["counted"], 96)
        self.assertEqual(got["against"]["kl_99_percent"], got["against"]["max_kl"])  # of fewer than a hundred none
        r, got = self.figures("--against", base, "--pages", "f16", "--max-kl", "1e-12", code=1)
        self.assertIn("past the gate of 1e-12", r.err)
        self.assertFalse(got["passes"])
        few = self.save("--ids", "1 2 3 4 5 6", "--base-top", "0")
        self.assertIn("2000 tokens or more", self.phi3("perplexity", "--against", few, "--gate", code=1).err)
        lossy = self.save(TEXT, "--base-top", "2", "--window", "256")
        self.assertIn("too few to judge", self.phi3("perplexity", "--against", lossy, "--gate", code=1).err)

    def test_the_gate_of_the_whole_model(self):
        """Every change must stay within it: fp32 on the CPU, and the kernels, from double precision. Under a sanitizer a part of the text, which is too
        short for --gate itself."""
        sanitized = os.environ.get("PHI3_SANITIZED")
        text, gate = (self.short(), ["--max-kl", "1e-4", "--min-same-top", "0.995"]) if sanitized else (TEXT, ["--gate"])
        base = self.save(text, "--base-top", "0", "--window", "256", "--stride", "256", "--device", "cpu", "--precision", "fp64")
        for device in ["cpu", "vgpu"] if has_vgpu() else ["cpu"]:
            with self.subTest(device=device):
                _, got = self.figures("--device", device, "--against", base, *gate)
                self.assertTrue(got["passes"])
                self.assertGreater(got["counted"], 400 if sanitized else 2000)
                self.assertGreater(got["against"]["mean_kl"]["value"], 0)
                self.assertLess(got["against"]["mean_kl"]["value"], 1e-9 if device == "cpu" else 1e-5)  # what they are by a factor

    def test_what_does_not_belong_together(self):
        base = self.save("--ids", "1 2 3 4 5 6 7 8", "--window", "4")
        refused = [
            (["--ids", "1 2 3 4 5 6 7"], "another text: 8 tokens, here 7"),
            (["--ids", "1 2 3 9 5 6 7 8"], "another text: token 3 is 4, here 9"),
            (["--window", "5"], "--window 4 --stride 2"),
            (["-m", os.path.join(GOLDENS, "models", "mha")], "another model"),
        ]
        for args, says in refused:
            self.refused("perplexity", "--against", base, *args, says=says)
        with open(base, "rb") as f:
            data = f.read()
        for broken, says in [(data[:-5], "not complete"), (b"GGUF" + data[4:], "no base file"), (data[:300] + b"xyz" + data[303:], "checksum"), (b"", "no base file")]:
            with open(base, "wb") as f:
                f.write(broken)
            self.refused("perplexity", "--against", base, says=says)
        self.refused("perplexity", "--against", self.path("none"), says="none")

    def test_a_full_disk_leaves_nothing(self):
        text = self.short()
        self.refused("perplexity", text, "--save-base", self.path("base"), file_limit=100000, says="cannot write")
        for option in ["--save-base", "--json"]:
            self.refused("perplexity", text, option, self.path("no", "base"), says="cannot create")
            self.refused("perplexity", text, option, self.dir, says="is a folder")
        self.phi3("perplexity", text, "--save-base", "/dev/full", code=1)
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/full").st_mode))
        self.assertEqual(self.files(), ["short.txt"])
        os.symlink("/dev/full", self.path("full"))  # a device is written to, not replaced
        self.refused("perplexity", text, "--save-base", self.path("full"), says="cannot write")
        self.assertTrue(os.path.islink(self.path("full")))


class Refusals(Perplexity):
    def test_texts(self):
        empty, one = self.path("empty"), self.path("one")
        for path, text in [(empty, ""), (one, "a")]:
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        self.refused("perplexity", empty, says="0 tokens")
        self.refused("perplexity", "--ids", "5", says="1 tokens")
        self.refused("perplexity", "--ids", "5 1024", says="1024 is not in the vocabulary")
        self.refused("perplexity", self.path("none"), says="none")
        self.refused("perplexity", TEXT, "--window", "1025", says="1024 positions")
        self.refused("perplexity", TEXT, "--stride", "1025", says="stride")

    def test_usage(self):
        for args, says in [
            ([], "there is no text"),
            ([TEXT, "--ids", "1"], "not both"),
            ([TEXT, "--gate"], "--against"),
            ([TEXT, "--max-kl", "1"], "--against"),
            ([TEXT, "--window", "1"], "--window"),
            ([TEXT, "--window", "10", "--stride", "11"], "--stride 11"),
            ([TEXT, "--save-base", ""], "--save-base"),
            ([TEXT, "more"], "'more'"),
        ]:
            self.refused("perplexity", *args, code=2, says=says)


if __name__ == "__main__":
    main()

"""Help, usage errors and failures of every command: exit codes 0, 2 and 1, and what is said."""

import json
import math
import os
import shutil
import struct
import subprocess

from harness import COMMANDS, PHI3, DriverTest, main

IDS = ["--ids", "1 2 3"]


class Help(DriverTest):
    def test_each_command(self):
        for command in COMMANDS:
            for flag in ["--help", "-h"]:
                with self.subTest(command=command, flag=flag):
                    r = self.phi3(command, flag)
                    self.assertTrue(r.out.startswith(f"Usage: phi3 {command}"), r)
                    self.assertRegex(r.out, r"\nOptions:\n +\S")
                    self.assertRegex(r.out, rf"\nExamples:\n.*phi3 {command}")
                    self.assertEqual(r.err, "")

    def test_of_all(self):
        for flag in ["--help", "-h", "help"]:
            r = self.phi3(flag)
            for command in COMMANDS:
                self.assertRegex(r.out, rf"\n  {command} +\S")
        for command in COMMANDS:
            self.assertEqual(self.phi3("help", command).out, self.phi3(command, "--help").out)
        self.refused("help", "trance", code=2, says="'trance'")
        self.assertRegex(self.phi3("--version").out, r"\Aphi3 \d+\.\d+\.\d+\n\Z")

    def test_a_full_disk_is_a_failure(self):
        with open("/dev/full", "wb") as full:
            for args in [["trace", "--help"], ["--help"], ["--version"]]:
                self.phi3(*args, code=1, stdout=full)


def bare_gguf():
    """A GGUF file of a phi3 of one layer, width 32, fp32, that knows no text."""
    width, vocab = 32, 40
    shapes = {"token_embd": (width, vocab), "output_norm": (width,), "blk.0.attn_norm": (width,), "blk.0.attn_qkv": (width, 3 * width)}
    shapes |= {"blk.0.attn_output": (width, width), "blk.0.ffn_norm": (width,), "blk.0.ffn_up": (width, 2 * width), "blk.0.ffn_down": (width, width)}
    numbers = {"context_length": 64, "embedding_length": width, "block_count": 1, "feed_forward_length": width}
    numbers |= {"attention.head_count": 2, "rope.dimension_count": width // 2}

    def string(s):
        return struct.pack("<Q", len(s)) + s.encode()

    out = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(numbers) + 2)
    out += string("general.architecture") + struct.pack("<I", 8) + string("phi3")
    out += b"".join(string(f"phi3.{k}") + struct.pack("<II", 4, n) for k, n in numbers.items())
    out += string("phi3.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-5)
    at = 0
    for name, shape in shapes.items():
        out += string(name + ".weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, at)
        at += 4 * math.prod(shape)
    out += bytes(-len(out) % 32)
    return out + struct.pack(f"<{at // 4}f", *(((i * 7919 % 1009) - 504) / 2000 for i in range(at // 4)))


class Usage(DriverTest):
    def wrong(self, *args, says):
        return self.refused(*args, code=2, says=says)

    def test_no_such_command(self):
        self.wrong("trance", says="'trance'")
        done = subprocess.run([PHI3], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("Usage", done.stderr)

    def test_options(self):
        for command in COMMANDS:
            self.wrong(command, "--no-such-option", says="--no-such-option")
        for command in ["generate", "trace", "bench"]:
            with self.subTest(command=command):
                self.wrong(command, "--model", says="--model needs a value")
                self.wrong(command, "--device", "abacus", *IDS, says="'abacus'")
                self.wrong(command, "--chunk", "0", *IDS, says="--chunk")
                self.wrong(command, "--chunk", "1.5", *IDS, says="'1.5'")
                self.wrong(command, "--threads", "-1", *IDS, says="--threads")
                self.wrong(command, "--threads", "99999999999999999999", *IDS, says="--threads")
                self.wrong(command, "-p", "text", *IDS, says="not both")
                self.wrong(command, "--chat", *IDS, says="--chat") if command != "bench" else None
                self.wrong(command, "--chat-form", "phi3", "-p", "text", says="--chat-form") if command != "bench" else None
                self.wrong(command, *IDS, "stray", says="'stray'")
        for command in ["generate", "trace"]:
            self.wrong(command, says="-p TEXT")

    def test_of_trace_and_bench(self):
        self.wrong("trace", *IDS, "--top", "0", says="--top")
        self.wrong("trace", *IDS, "--dump", "", says="--dump")
        self.wrong("trace", *IDS, "--json=yes", says="--json takes no value")
        for bad in ["0", "x", "", "3,-1", "1,2,zwei"]:
            self.wrong("bench", "--prompts", bad, says="--prompts")
            self.wrong("bench", "--outputs", bad, says="--outputs")
        self.wrong("bench", "--roof", "--no-roof", says="not both")
        for bad in ["0", "-3", "7x", "1e3"]:
            self.wrong("bench", "--runs", bad, says=f"'{bad}'")

    def test_two_outputs_in_one_file(self):
        """What is written last would replace the other: refused before anything is done, whatever the names look like."""
        there, nothing = self.path("there"), self.path("x", "..", "new")
        os.mkdir(self.path("x"))
        with open(there, "w", encoding="ascii") as f:
            f.write("kept")
        os.symlink(there, self.path("link"))
        for names in [(there, there), (there, self.path("link")), (nothing, self.path("new"))]:
            self.wrong("bench", "--json", names[0], "--csv", names[1], says="--json and --csv both name the file")
            self.wrong("bench", "--csv", names[0], "--markdown", names[1], says="--csv and --markdown")
            self.wrong("profile", "--timeline", names[0], "--roofline", names[1], says="--roofline and --timeline")
            self.wrong("compare", "--json", names[0], "--heatmap", names[1], says="--json and --heatmap")
            self.wrong("perplexity", "--json", names[0], "--save-base", names[1], says="--save-base and --json")
        with open(there, encoding="ascii") as f:
            self.assertEqual(f.read(), "kept")
        self.assertEqual(self.files(), ["link", "there", "x"])
        short = ["-n", "1", "--runs", "1", "--no-sweep", "--no-roof", "--no-uncached", *IDS]
        self.phi3("bench", *short, "--json", "/dev/null", "--csv", "/dev/null")  # a device keeps nothing


class Failures(DriverTest):
    def test_model(self):
        empty = self.path("empty")
        os.mkdir(empty)
        for command in ["generate", "trace", "bench"]:
            with self.subTest(command=command):
                self.refused(command, *IDS, "-m", self.path("nothing"), says="nothing")
                self.refused(command, *IDS, "-m", "no-such-model-name", says="no-such-model-name")
                self.refused(command, *IDS, "-m", empty, says="config.json")
                self.refused(command, *IDS, "-m", "/dev/null", says="/dev/null")

    def test_broken_weights(self):
        model, _ = self.golden("mha")
        copy = self.path("copy")
        shutil.copytree(model, copy)
        weights = os.path.join(copy, "model.safetensors")
        size = os.path.getsize(weights)
        for keep in [0, 4, 100, size - 1]:
            with self.subTest(keep=keep):
                shutil.copy(os.path.join(model, "model.safetensors"), weights)
                os.truncate(weights, keep)
                self.refused("trace", *IDS, "-m", copy, says="model.safetensors")
        os.remove(weights)
        self.refused("trace", *IDS, "-m", copy, says="safetensors")

    def test_weights_that_are_no_numbers(self):
        """A model of NaN: the stages are shown, the first bad one is named, and it is a failure."""
        model, _ = self.golden("tied_f32")
        copy = self.path("copy")
        shutil.copytree(model, copy)
        weights = os.path.join(copy, "model.safetensors")
        with open(weights, "r+b") as f:
            start = 8 + int.from_bytes(f.read(8), "little")
            f.seek(start)
            f.write(b"\xff" * (os.path.getsize(weights) - start))
        r = self.phi3("trace", *IDS, "-m", copy, "--dump", self.path("dump"), code=1)
        self.assertIn("embedding is the first stage", r.err)
        self.assertIn("layer_00", r.out)
        self.assertIn("logits.npy", self.files(self.path("dump")))
        r = self.phi3("trace", *IDS, "-m", copy, "--json", code=1)
        self.assertIn('"argmax": null', r.out)
        self.refused("generate", *IDS, "-m", copy, says="phi3 trace")
        self.refused("bench", "--no-roof", *IDS, "-m", copy, says="phi3 trace")

    def test_ids(self):
        model, _ = self.golden("mha")
        for command in ["generate", "trace", "bench"]:
            for ids, says in [
                ("1 two", "'two'"),
                ("-1", "'-1'"),
                ("1,,2 3.5", "'3.5'"),
                ("99999999999", "'99999999999'"),
                ("80", "80"),
                ("", "empty"),
                (" , ", "empty"),
            ]:
                with self.subTest(command=command, ids=ids):
                    self.refused(command, "-m", model, "--ids", ids, says=says)

    def test_lengths(self):
        model, _ = self.golden("mha_one_token")
        with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
            positions = json.load(f)["max_position_embeddings"]
        long = " ".join(["1"] * (positions + 1))
        for command in ["generate", "trace", "bench"]:
            self.refused(command, "-m", model, "--ids", long, says=f"{positions} positions")
        self.refused("bench", "-m", model, *IDS, "-n", positions, says="smaller -n")
        self.phi3("trace", "-m", model, "--ids", long[2:])

    def test_gguf_without_a_tokenizer(self):
        """It takes ids, as a folder without tokenizer.json does."""
        file = self.path("bare.gguf")
        with open(file, "wb") as f:
            f.write(bare_gguf())
        self.phi3("generate", "-m", file, "--ids", "1 2 3", "-n", "4", statistics=True)
        self.refused("generate", "-m", file, "-p", "text", says="has no tokenizer, so it knows no text; give ids with --ids")
        self.refused("tokenize", "-m", file, "text", says="tokenizer.ggml.model")

    def test_text_without_a_tokenizer(self):
        model, _ = self.golden("mha")
        for command in ["generate", "trace", "bench"]:
            self.refused(command, "-m", model, "-p", "text", says="--ids")


class Output(DriverTest):
    def test_folders_that_cannot_be(self):
        model, _ = self.golden("mha")
        file = self.path("file")
        open(file, "w").close()
        self.refused("trace", "-m", model, *IDS, "--dump", file, says=file)
        self.refused("trace", "-m", model, *IDS, "--dump", os.path.join(file, "below"), says=file)
        self.assertEqual(self.files(), ["file"])

    def test_full_disk(self):
        model, _ = self.golden("mha")
        with open("/dev/full", "wb") as full:
            for extra in [[], ["--json"]]:
                self.phi3("trace", "-m", model, *IDS, *extra, code=1, stdout=full)
                self.phi3("generate", "-m", model, *IDS, "-n", "4", *extra, code=1, stdout=full, statistics=True)
        dump = self.path("dump")
        r = self.phi3("trace", "-m", model, "--ids", "1 " * 40, "--dump", dump, code=1, file_limit=8192)
        self.assertIn("cannot write", r.err)
        self.assertEqual(self.files(dump), [])

    def test_dump_replaces_an_older_one(self):
        model, _ = self.golden("mha")
        dump = self.path("a", "b")
        for _ in range(2):
            self.phi3("trace", "-m", model, *IDS, "--dump", dump)
        self.assertEqual(
            self.files(dump), ["embedding.npy", "ids.npy", "layer_00.npy", "layer_01.npy", "logits.npy", "norm.npy"]
        )


if __name__ == "__main__":
    main()

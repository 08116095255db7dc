"""phi3 generate and chat: text and ids, with the cache and without, on the bundled model and on the goldens."""

import json
import os
import pty
import signal
import subprocess
import time

from harness import PHI3, ROOT, DriverTest, golden_json, main

FRANCE = "The capital of France is"
SARAH = "Write an email apologizing to Sarah for the tragic gardening mishap. Explain how it happened."


class Ids(DriverTest):
    def test_same_ids_however_computed(self):
        for name in ["gqa", "hd96_window", "window7", "longrope_generate", "sharded_mixed"]:
            model, ids = self.golden(name)

            def generate(*extra):
                got = json.loads(
                    self.phi3("generate", "-m", model, "--ids", ids, "-n", "12", "--ignore-end", "--json", *extra).out
                )
                self.assertEqual((len(got["ids"]), got["finish"], got["text"]), (12, "length", None))
                return got["ids"]

            with self.subTest(model=name):
                wanted = generate()
                for extra in [
                    ["--no-cache"],
                    ["--chunk", "1"],
                    ["--chunk", "5", "--page-size", "3"],
                    ["--threads", "1"],
                    ["--threads", "3"],
                ]:
                    self.assertEqual(generate(*extra), wanted, extra)

    def test_plain_output_of_a_model_without_text(self):
        model, ids = self.golden("mha")
        r = self.phi3("generate", "-m", model, "--ids", ids, "-n", "3", "--ignore-end")
        self.assertRegex(r.out, r"\A\d+ \d+ \d+\n\Z")
        self.assertRegex(r.err, r"\Aprompt 40 tokens, time to first token .*\n\Z")

    def test_seed(self):
        model, ids = self.golden("mha")

        def draw(seed):
            args = ["--temperature", "1", "--seed", seed, "-n", "16", "--ignore-end"]
            return self.phi3("generate", "-m", model, "--ids", ids, *args).out

        self.assertEqual(draw(1), draw(1))
        self.assertEqual(len({draw(seed) for seed in range(4)}), 4)


class Text(DriverTest):
    def test_hugging_face_s_ids_and_text(self):
        cases = golden_json("nano", "greedy.json")
        self.assertGreater(len(cases), 2)
        for case in cases:
            for extra in [[], ["--no-cache"], ["--chunk", "3"]]:
                with self.subTest(prompt=case["prompt"], extra=extra):
                    count = len(case["ids"])
                    args = ["-p", "-", "-n", count, "--json", *extra]
                    got = json.loads(self.phi3("generate", *args, input=case["prompt"].encode()).out)
                    self.assertEqual((got["prompt_ids"], got["ids"]), (case["prompt_ids"], case["ids"]))
                    self.assertEqual(got["text"].strip(), case["text"].strip())

    def test_cached_and_uncached_say_the_same(self):
        for prompt in [FRANCE, SARAH]:
            a = self.phi3("generate", "-p", prompt, "-n", "24")
            b = self.phi3("generate", "-p", prompt, "-n", "24", "--no-cache")
            self.assertTrue(a.out.strip())
            self.assertEqual(a.out, b.out)
        self.assertTrue(self.phi3("generate", "-p", FRANCE, "-n", "4", "--full-text").out.startswith(FRANCE))

    def test_json_holds_the_text(self):
        plain = self.phi3("generate", "-p", FRANCE, "-n", "6").out
        got = json.loads(self.phi3("generate", "-p", FRANCE, "-n", "6", "--json").out)
        self.assertEqual(got["text"] + "\n", plain)
        self.assertEqual(got["prompt_ids"], [int(i) for i in self.phi3("tokenize", FRANCE).out.split()])
        self.assertEqual(self.phi3("generate", "--ids", " ".join(map(str, got["prompt_ids"])), "-n", "6").out, plain)

    def test_prompt_on_standard_input(self):
        wanted = self.phi3("generate", "-p", FRANCE, "-n", "6").out
        self.assertEqual(self.phi3("generate", "-p", "-", "-n", "6", input=FRANCE.encode()).out, wanted)
        self.refused("generate", "-p", "-", input=b"", says="empty")

    def test_stop(self):
        text = self.phi3("generate", "-p", FRANCE, "-n", "12").out
        stop = text.strip()[3:6]
        got = self.phi3("generate", "-p", FRANCE, "-n", "12", "--stop", stop).out
        self.assertEqual(got, text[: text.index(stop)] + "\n")

    def test_bytes_of_any_kind(self):
        for prompt in [
            b"caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80",
            b"\xff\xfe broken \xe2\x82",
            b"zero\0byte",
            b"\x1b[31m<|end|><|user|>\n",
        ]:
            for command in [["generate", "-n", "3"], ["trace", "--top", "3"], ["trace", "--json"]]:
                r = self.phi3(*command, "-p", "-", input=prompt)
                if command[0] == "trace":
                    self.assertNotIn("\x1b", r.out, r)

    def test_trace_walks_the_same_token(self):
        got = json.loads(self.phi3("trace", "-p", FRANCE, "--json").out)
        first = json.loads(self.phi3("generate", "-p", FRANCE, "-n", "1", "--ignore-end", "--json").out)
        self.assertEqual((got["argmax"], got["text"], got["ids"]), (first["ids"][0], FRANCE, first["prompt_ids"]))
        self.assertEqual(len(got["pieces"]), len(got["ids"]))
        self.assertEqual(got["top"][0]["text"], first["text"] or got["top"][0]["text"])
        text = self.phi3("trace", "-p", FRANCE).out
        self.assertIn(f'Text        "{FRANCE}"', text)
        self.assertRegex(text, r"\n +1\. \"[^\n]+ %")

    def test_chat(self):
        r = self.phi3("chat", "-n", "20", input=b"What is the capital of France?\nAnd of Italy?\n")
        self.assertGreaterEqual(len(r.out.rstrip("\n").split("\n")), 2, r)
        self.assertEqual(r.err, "")

    def test_greedy_options(self):
        """Options that only sampling reads are not passed over in silence."""
        for command, more in {"generate": ["-p", FRANCE], "chat": []}.items():
            for option in [["--top-k", "4"], ["--top-p", "0.5"], ["--min-p", "0.1"], ["--seed", "3"]]:
                r = self.phi3(command, "-n", "2", *more, *option, input=b"Hi\n")
                self.assertEqual("--top-k, --top-p and --min-p do nothing at temperature 0" in r.err, option[0] != "--seed", r)
                r = self.phi3(command, "-n", "2", *more, *option, "--temperature", "1", input=b"Hi\n")
                self.assertNotIn("temperature", r.err)

    def test_chat_form(self):
        """A form by name in place of the file's: the ids are those of that form's text, in every command that has one."""
        ids = {}
        for form, text in {"phi3": "<|user|>\nHi<|end|>\n<|assistant|>\n", "chatml": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"}.items():
            ids[form] = [int(i) for i in self.phi3("tokenize", text).out.split()]
            how = ["--chat", "--chat-form", form]
            self.assertEqual([int(i) for i in self.phi3("tokenize", *how, "Hi").out.split()], ids[form])
            self.assertEqual(json.loads(self.phi3("generate", *how, "-p", "Hi", "-n", "1", "--json").out)["prompt_ids"], ids[form])
            self.assertEqual(json.loads(self.phi3("trace", *how, "-p", "Hi", "--json").out)["ids"], ids[form])
        self.assertEqual([int(i) for i in self.phi3("tokenize", "--chat", "Hi").out.split()], ids["phi3"])
        self.phi3("chat", "--chat-form", "chatml", "-n", "2", input=b"Hi\n")

    def test_reader_that_leaves(self):
        """A closed pipe is no crash."""
        with subprocess.Popen(
            [PHI3, "generate", "-p", SARAH, "-n", "200", "--ignore-end"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        ) as p:
            p.stdout.close()
            err = p.stderr.read().decode()
            p.wait(60)
        self.assertNotIn("Sanitizer", err)
        self.assertIn(p.returncode, [1, -13])


class Interrupted(DriverTest):
    """Ctrl-C ends with what there is; before the first token it is a failure in one line."""

    def interrupt(self, *args, after):
        with subprocess.Popen([PHI3, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as p:
            after(p)
            p.send_signal(signal.SIGINT)
            out, err = p.communicate(timeout=60)
        return p.returncode, out.decode(), err.decode()

    def wait(self, seconds):
        def after(p):
            self.until_it_catches(p.pid)
            time.sleep(seconds)

        return after

    def test_while_text_comes(self):
        args = ["generate", "-p", "Once upon a time", "-n", "900", "--ignore-end", "--no-cache"]
        code, out, err = self.interrupt(*args, after=lambda p: p.stdout.read(10))
        self.assertEqual(code, 0, err)
        self.assertTrue(out.endswith("\n"), out)
        self.assertRegex(err, r"\Aprompt [^\n]* ended by Ctrl-C\n\Z")
        code, out, err = self.interrupt(*args, "--json", after=self.wait(2))
        self.assertEqual((code, err), (0, ""))
        got = json.loads(out)
        self.assertEqual(got["finish"], "cancelled")
        self.assertTrue(0 < len(got["ids"]) < 900 and got["text"], got)

    def test_during_the_prompt(self):
        ids = " ".join(["5"] * 1000)
        for command in ["generate", "trace"]:
            args = [command, "--ids", ids, "--precision", "fp64"]
            self.assertEqual(self.interrupt(*args, after=self.wait(0.2)), (1, "", f"phi3 {command}: interrupted\n"))

    def test_an_answer_at_a_terminal(self):
        """Ctrl-C ends the answer, not the dialogue."""
        ours, theirs = pty.openpty()
        with subprocess.Popen([PHI3, "chat", "--precision", "fp64"], stdin=theirs, stdout=theirs, stderr=theirs) as p:
            os.close(theirs)
            text = b""

            def until(wanted):
                nonlocal text
                while wanted not in text:
                    text += os.read(ours, 1000)
                text = text[text.index(wanted) + len(wanted) :]

            until(b"> ")
            os.write(ours, SARAH.encode() + b"\n")
            until(SARAH.encode() + b"\r\n")
            while not text:
                text += os.read(ours, 1)
            p.send_signal(signal.SIGINT)
            until(b"positions used]\r\n> ")
            os.write(ours, b"\n")
            self.assertEqual(p.wait(60), 0)
        os.close(ours)


class Chat(DriverTest):
    def test_input_that_is_none(self):
        self.refused("chat", input=b"a\0b\n", says="zero byte")
        folder = os.open(ROOT, os.O_RDONLY)
        self.refused("chat", stdin=folder, says="cannot read the input")
        os.close(folder)


class Environment(DriverTest):
    def test_from_another_folder_and_without_a_home(self):
        env = {k: v for k, v in os.environ.items() if k not in ["HOME", "PHI3_MODELS", "XDG_CACHE_HOME"]}
        done = subprocess.run(
            [PHI3, "generate", "-p", FRANCE, "-n", "4"], cwd=self.dir, env=env, capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, self.phi3("generate", "-p", FRANCE, "-n", "4").out)


if __name__ == "__main__":
    main()

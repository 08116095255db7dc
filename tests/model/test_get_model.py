#!/usr/bin/env python3
"""scripts/get_model.sh against a server of our own that breaks off, lies and redirects as real ones do.

Usage: test_get_model.py PATH/TO/get_model.sh
"""
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

LARGE = {
    "model-00001-of-00002.safetensors": os.urandom(300_000),
    "model-00002-of-00002.safetensors": os.urandom(200_000),
    "Phi-3-mini-4k-instruct-q4.gguf": os.urandom(100_000),
}
INDEX = {
    "metadata": {"total_size": 499_000},
    "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
}
SMALL = {
    "config.json": b"{}",
    "generation_config.json": b"{}\n",
    "tokenizer.json": b"[1]",
    "tokenizer_config.json": b"[2]",
    "model.safetensors.index.json": json.dumps(INDEX).encode(),
}
FILES = LARGE | SMALL


class Hub(http.server.BaseHTTPRequestHandler):
    """Large files redirect to /data, with their size and SHA-256; small ones come at once with git's hash."""

    break_after: dict[str, int] = {}  # name: bytes after which the connection ends, once
    lies: set[str] = set()  # names whose content is not what was announced
    ranges = True
    requests: list[tuple[str, str, str]] = []

    def log_message(self, *args):
        pass

    def headers_of(self, name: str) -> None:
        data = FILES[name]
        if name in LARGE:
            self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("X-Linked-ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        else:
            blob = b"blob %d\0" % len(data) + data
            self.send_header("ETag", f'W/"{hashlib.sha1(blob).hexdigest()}"')

    def answer(self, body: bool) -> None:
        name = self.path.rsplit("/", 1)[1]
        Hub.requests.append((self.command, self.path, self.headers.get("Range", "")))
        if name not in FILES:
            self.send_error(404)
            return
        if name in LARGE and not self.path.startswith("/data/"):
            self.send_response(302)
            self.headers_of(name)
            self.send_header("Location", f"/data/{name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = FILES[name]
        if name in Hub.lies:
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = 0
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and Hub.ranges:
            start = int(wanted[6:].split("-")[0])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.headers_of(name)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            self.wfile.write(data[start : Hub.break_after.pop(name, len(data))])
            self.close_connection = True

    def do_GET(self):
        self.answer(True)

    def do_HEAD(self):
        self.answer(False)


def main() -> None:
    script = sys.argv[1]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def run(models: str, *args: str) -> tuple[int, str]:
        Hub.requests.clear()
        env = os.environ | {"PHI3_MODELS": models, "PHI3_HUB": f"http://127.0.0.1:{server.server_port}", "no_proxy": "127.0.0.1"}
        done = subprocess.run([script, *args], env=env, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def check(ok: bool, what: str, output: str) -> None:
        print(("ok  " if ok else "BAD ") + what)
        if not ok:
            sys.exit(output)

    name = "phi-3-mini-4k-instruct"
    first = "model-00001-of-00002.safetensors"
    with tempfile.TemporaryDirectory() as models:
        folder = pathlib.Path(models) / name
        Hub.break_after[first] = 123_456
        code, out = run(models, name)
        check(code == 1 and "run this again" in out and "interrupted after 123456" in out, "a broken connection is told", out)
        check(not (folder / first).exists(), "half a file has no final name", out)
        check(not (folder / "config.json").exists(), "half a model has no config.json", out)
        code, out = run(models, name)
        check(code == 0, "the next run completes it", out)
        check(("GET", f"/data/{first}", "bytes=123456-") in Hub.requests, "from where it stopped", str(Hub.requests))
        for file, data in FILES.items():
            check("gguf" in file or (folder / file).read_bytes() == data, f"{file} is what the server has", out)
        check(sorted(p.name for p in folder.iterdir()) == sorted(f for f in FILES if "gguf" not in f), "nothing else is left", out)
        code, out = run(models, name)
        check(code == 0 and not any(method == "GET" for method, _, _ in Hub.requests), "a complete model is not got again", out)
        data = bytearray((folder / first).read_bytes())
        data[1000] ^= 1
        (folder / first).write_bytes(data)
        code, out = run(models, name)
        check(code == 0 and (folder / first).read_bytes() == FILES[first], "a damaged file is replaced", out)

        quantized = "Phi-3-mini-4k-instruct-q4.gguf"
        for lie in (quantized, "config.json"):
            Hub.lies.add(lie)
            (folder / "config.json").unlink(missing_ok=True)
            code, out = run(models, name, "q4" if lie == quantized else "safetensors")
            check(code == 1 and "differs from what the server announced" in out, f"a changed byte of {lie} is found", out)
            check(not (folder / lie).exists() and not (folder / (lie + ".part")).exists(), "and is not kept", out)
        Hub.lies.clear()
        code, out = run(models, name, "q4")
        check(code == 0 and (folder / quantized).read_bytes() == FILES[quantized], "the GGUF form comes", out)
        (folder / quantized).rename(folder / (quantized + ".part"))
        os.truncate(folder / (quantized + ".part"), 5000)
        Hub.ranges = False
        code, out = run(models, name, "q4")
        check(code == 0 and (folder / quantized).read_bytes() == FILES[quantized], "a server without ranges starts anew", out)
        code, out = run(models, name, "fp16")
        check(code == 1 and "404" in out, "a missing file is told", out)
        INDEX["metadata"]["total_size"] = 600_000
        FILES["model.safetensors.index.json"] = json.dumps(INDEX).encode()
        code, out = run(models, name)
        check(code == 1 and "do not fit their index" in out, "shards that are too small for the index are found", out)
        code, out = run(models, name, "q9")
        check(code == 1 and "safetensors, fp16 and q4" in out, "an unknown form is told", out)
        code, out = run(models, "other")
        check(code == 2 and "there is no model 'other'" in out, "an unknown name is told", out)
        code, out = run(models, "--help")
        check(code == 0 and "PHI3_HUB" in out, "help names the variables", out)
    server.shutdown()


if __name__ == "__main__":
    main()

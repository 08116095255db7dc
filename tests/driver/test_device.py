"""What is said when --device cuda cannot be had: no driver, no GPU, one that is too old or too small; on drivers that are not there."""

import json
import os
import re

from harness import DriverTest, main

FAKES = os.environ["FAKE_CUDA"]
ASK = ["generate", "--ids", "1 2 3", "-n", "40", "--ignore-end"]


class Device(DriverTest):
    def environment(self, folder, **told):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PHI3_CUBLAS", "PHI3_VGPU"))}
        return {**env, "LD_LIBRARY_PATH": folder, **{k: str(v) for k, v in told.items()}}

    def cuda(self, *args, fake="now", says=None, **told):
        env = self.environment(os.path.join(FAKES, f"fake_cuda_{fake}"), **told)
        if says is None:
            return self.phi3(*ASK, "--device", "cuda", *args, env=env)
        return self.refused(*ASK, "--device", "cuda", *args, says=says, env=env).err

    def setUp(self):
        super().setUp()
        says = self.cuda(says="", FAKE_CUDA_DEVICES=0)
        if "no GPU kernels" in says:
            self.assertIn("nvcc was not found or PHI3_CUDA was off; install the CUDA toolkit (11.8 or later) and build again, or use --device cpu", says)
            self.skipTest("this build has no GPU kernels, and says so")

    def test_no_driver(self):
        with open(self.path("libcuda.so.1"), "w", encoding="ascii") as f:
            f.write("no library")
        says = self.refused(*ASK, "--device", "cuda", says="no NVIDIA driver", env=self.environment(self.dir)).err
        self.assertIn("--device cpu or vgpu", says)

    def test_no_gpu(self):
        for devices in [0, -1]:
            self.assertIn("use --device cpu", self.cuda(says="the NVIDIA driver finds no GPU", FAKE_CUDA_DEVICES=devices))

    def test_an_old_driver(self):
        self.cuda(says="the driver is too old; install one for CUDA 11.8 or later", fake="old")
        self.cuda(says="the NVIDIA driver is for CUDA 11.7, which is too old; install one for CUDA 11.8", FAKE_CUDA_VERSION=11070)

    def test_kernels_too_new_for_the_driver(self):
        says = self.cuda(says="update the driver, or build with an older toolkit", FAKE_CUDA_LOAD=209, FAKE_CUDA_VERSION=12020)
        self.assertRegex(says, r"kernels/\w+\.cu, built with CUDA \d+\.\d+, does not load on Imaginary T4, whose driver is for CUDA 12\.2")

    def test_an_old_card(self):
        for capability in [35, 61, 70, 72]:
            says = self.cuda(says="Imaginary T4 has compute capability", FAKE_CUDA_CAPABILITY=capability)
            self.assertIn(f"{capability / 10} and the kernels need 7.5 (Turing) or later; use --device cpu", says)
        self.cuda(FAKE_CUDA_CAPABILITY=75)
        self.cuda(FAKE_CUDA_CAPABILITY=120)

    @staticmethod
    def sizes(text):
        """Free, needed, weights, pages, work space, missing: in bytes, with the precision of the text."""
        units = {"MB": 1e6, "GB": 1e9}
        return [float(v) * units[u] for v, u in re.findall(r"(\d+\.\d\d) ([MG]B)", text)]

    def test_too_little_memory(self):
        says = self.cuda(says="are missing", FAKE_CUDA_FREE=1000000)
        self.assertIn("Imaginary T4 has 1.00 MB of memory free", says)
        self.assertIn("the weights do not fit with any context; use a smaller model", says)
        free, need, weights, pages, work, missing = self.sizes(says)
        self.assertLess(abs(weights + pages + work - need), 3e4)
        self.assertLess(abs(free + missing - need), 3e4)

        # What would fit does, and one page more does not.
        short = int(weights + work + pages / 2)
        says = self.cuda(says="tokens would fit", FAKE_CUDA_FREE=short)
        tokens = int(re.search(r"(\d+) tokens would fit: --max-tokens (\d+)\n", says).group(2))
        self.assertTrue(16 <= tokens < 43, says)
        more = self.cuda("--max-tokens", tokens + 16, says="are missing", FAKE_CUDA_FREE=short)
        self.assertIn(f"--max-tokens {tokens}\n", more)
        r = self.phi3(*ASK[:-3], "-n", "4", "--ignore-end", "--device", "cuda", "--max-tokens", tokens,
                      env=self.environment(os.path.join(FAKES, "fake_cuda_now"), FAKE_CUDA_FREE=short))  # fmt: skip
        self.assertEqual(r.code, 0)

        # The work space of a long chunk is what is too much.
        says = self.cuda("--ids", " ".join(["1"] * 900), "--chunk", "900", says="are missing", FAKE_CUDA_FREE=int(weights + 1.5e6))
        self.assertIn("the weights would fit, so use a --chunk smaller than 900", says)

    def test_weights_go_tensor_by_tensor(self):
        """Of a model of eight layers the host holds one packed matrix at a time, beside the mapped file."""
        if "PHI3_SANITIZED" in os.environ:
            self.skipTest("a sanitizer's own memory is many times that")
        model, peak = self.path("model"), self.path("peak")
        self.phi3("synth", "--like", "phi-3-mini-4k", "--layers", 8, "--hidden", 1024, "--heads", 16, "--intermediate", 2752, "--vocab", 8000, model)
        hidden, mlp, vocab, layers = 1024, 2752, 8000, 8
        one = 2 * vocab * hidden  # the head: the largest matrix, in fp16
        all_of_them = 2 * (hidden * (4 * hidden + 3 * mlp) * layers + 2 * vocab * hidden)
        env = self.environment(os.path.join(FAKES, "fake_cuda_now"), FAKE_CUDA_PEAK=peak)
        self.phi3("generate", "-m", model, "--ids", "1 2 3", "-n", 1, "--device", "cuda", env=env)
        with open(peak, encoding="ascii") as f:
            before, most = (1024 * int(v) for v in f.read().split())
        self.assertGreater(most - before, one / 2)  # else this measures nothing
        self.assertLess(most - before, one + 12e6)
        self.assertGreater(all_of_them, 5 * one)

    def test_values_beyond_fp16(self):
        """bf16 reaches 3e38: what fp16 cannot hold is clamped, counted and told with the largest of them."""
        model = self.path("model")
        self.phi3("synth", "--like", "nano", "--layers", 1, "--type", "bf16", model)
        file = os.path.join(model, "model.safetensors")
        with open(file, "r+b") as f:
            size = int.from_bytes(f.read(8), "little")
            begin, end = json.loads(f.read(size))["model.layers.0.mlp.down_proj.weight"]["data_offsets"]
            for n, bits in enumerate([0x4780, 0xC77F, 0x477F, 0xFF00]):  # 65536, -65280, 65280, -1.7e38
                f.seek(8 + size + begin + 2 * n * 101)
                f.write(bits.to_bytes(2, "little"))
        env = self.environment(os.path.join(FAKES, "fake_cuda_now"))
        told = self.phi3("generate", "-m", model, "--ids", "1 2", "-n", 1, "--device", "cuda", env=env).err
        self.assertRegex(told, r"(?m)^2 of \d+ weights are beyond fp16's range \(up to 1\.7\d*e\+38\) and became its largest value, 65504$")
        self.assertNotIn("fp16's range", self.phi3("generate", "-m", "nano", "--ids", "1 2", "-n", 1, "--device", "cuda", env=env).err)

    def test_cublas(self):
        self.refused(*ASK, "--device", "cpu", "--gemm", "cublas", says="--gemm cublas needs a GPU: use --device cuda, or --gemm own")
        nowhere = {"PHI3_CUBLAS": "/nowhere/libcublas.so"}
        says = self.cuda("--gemm", "cublas", says="cuBLAS: /nowhere/libcublas.so cannot be opened", **nowhere)
        self.assertIn("install CUDA's libraries, or use --gemm own", says)
        # Its work space is what does not fit.
        driver = os.path.join(FAKES, "fake_cuda_now", "libcuda.so.1")
        there = {"PHI3_CUBLAS": os.environ["FAKE_CUBLAS"], "PHI3_VGPU": driver}  # the driver's memory is where it multiplies
        need = self.sizes(self.cuda(says="are missing", FAKE_CUDA_FREE=1000000))[1]
        says = self.cuda("--gemm", "cublas", says="and would fit\n", FAKE_CUDA_FREE=int(need) + 20000, **there)
        self.assertRegex(says, r": 0\.\d\d MB are missing; --gemm own needs 0\.\d\d MB less and would fit")
        self.cuda("--gemm", "cublas", FAKE_CUDA_FREE=16000000, **there)
        says = self.refused(*ASK, "--gemm", "cublas", says="--gemm cublas needs a GPU",
                            env=self.environment(os.path.join(FAKES, "fake_cuda_now"), FAKE_CUDA_DEVICES=0)).err  # fmt: skip
        self.assertIn("the NVIDIA driver finds no GPU", says)

    def test_auto_takes_the_processor(self):
        env = self.environment(os.path.join(FAKES, "fake_cuda_now"), FAKE_CUDA_CAPABILITY=70)
        self.phi3(*ASK, "--device", "auto", env=env)


if __name__ == "__main__":
    main()

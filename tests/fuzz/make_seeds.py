#!/usr/bin/env python3
"""Writes the first inputs of the fuzz targets: small lawful files of every kind, from which libFuzzer goes on. Run in the repository's
root; `scripts/fuzz.sh --merge` then keeps what adds coverage.
Usage: tests/fuzz/make_seeds.py FOLDER"""
import json
import math
import random
import re
import struct
import sys
from pathlib import Path

out = Path(sys.argv[1])
rng = random.Random(1)


def put(target, name, data):
    folder = out / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def noise(n):
    return bytes(rng.randrange(256) for _ in range(n))


# ---- safetensors: the shapes of the configuration in fuzz_safetensors.c ----

SHAPES = {"model.embed_tokens.weight": [3, 2], "model.norm.weight": [2], "model.layers.0.input_layernorm.weight": [2],
          "model.layers.0.post_attention_layernorm.weight": [2], "model.layers.0.self_attn.qkv_proj.weight": [6, 2],
          "model.layers.0.self_attn.o_proj.weight": [2, 2], "model.layers.0.mlp.gate_up_proj.weight": [2, 2],
          "model.layers.0.mlp.down_proj.weight": [2, 1]}


def safetensors(dtype, width, extra=None):
    header, data = ({"__metadata__": {"format": "pt"}} if extra is None else dict(extra)), b""
    for name, shape in SHAPES.items():
        n = width
        for d in shape:
            n *= d
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + n]}
        data += noise(n)
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


for dtype, width in ("F32", 4), ("F16", 2), ("BF16", 2), ("F64", 8):
    put("safetensors", dtype, safetensors(dtype, width))
put("safetensors", "index", b"\0" + json.dumps({"weight_map": {
    "model.norm.weight": "a.safetensors", "model.layers.0.input_layernorm.weight": "a.safetensors", "a": "b.safetensors"}}).encode())
put("safetensors", "empty", b"")

# ---- GGUF ----

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
BLOCKS = {0: (1, 4), 1: (1, 2), 30: (1, 2), 8: (32, 34), 2: (32, 18), 3: (32, 20), 12: (256, 144), 13: (256, 176), 14: (256, 210)}


def string(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(s)) + s


def value(kind, v):
    if kind == STRING:
        return string(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def key(name, kind, v, element=None):
    head = string(name) + struct.pack("<I", kind)
    if kind != ARRAY:
        return head + value(kind, v)
    return head + struct.pack("<IQ", element, len(v)) + b"".join(value(element, x) for x in v)


def gguf(keys, tensors):
    directory, data = b"", b""
    for name, kind, shape in tensors:
        data += b"\0" * (-len(data) % 32)
        directory += string(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in reversed(shape))
        directory += struct.pack("<IQ", kind, len(data))
        block, size = BLOCKS[kind]
        n = 1
        for d in shape:
            n *= d
        data += noise(n // block * size)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + directory
    return head + b"\0" * (-len(head) % 32) + data


def model(arch, hidden, kind, more=()):
    keys = [key("general.architecture", STRING, arch), key("general.name", STRING, "x"), key(f"{arch}.block_count", U32, 1),
            key(f"{arch}.embedding_length", U32, hidden), key(f"{arch}.feed_forward_length", U32, hidden),
            key(f"{arch}.context_length", U32, 8), key(f"{arch}.attention.head_count", U32, 2 if hidden < 64 else hidden // 32),
            key(f"{arch}.attention.head_count_kv", U32, 1), key(f"{arch}.attention.layer_norm_rms_epsilon", F32, 1e-5),
            key(f"{arch}.rope.freq_base", F32, 10000.0)]
    heads = 2 if hidden < 64 else hidden // 32
    d = hidden // heads
    tensors = [("token_embd.weight", kind, [3, hidden]), ("output_norm.weight", 0, [hidden]), ("output.weight", kind, [3, hidden]),
               ("blk.0.attn_norm.weight", 0, [hidden]), ("blk.0.ffn_norm.weight", 0, [hidden]),
               ("blk.0.attn_output.weight", kind, [hidden, hidden]), ("blk.0.ffn_down.weight", kind, [hidden, hidden])]
    if arch == "phi3":
        tensors += [("blk.0.attn_qkv.weight", kind, [hidden + 2 * d, hidden]), ("blk.0.ffn_up.weight", kind, [2 * hidden, hidden])]
    else:
        tensors += [("blk.0.attn_q.weight", kind, [hidden, hidden]), ("blk.0.attn_k.weight", kind, [d, hidden]),
                    ("blk.0.attn_v.weight", kind, [d, hidden]), ("blk.0.ffn_gate.weight", kind, [hidden, hidden]),
                    ("blk.0.ffn_up.weight", kind, [hidden, hidden])]
    return keys + list(more), tensors


SPM = ["<unk>", "<s>", "</s>", "<0x41>", "<0x0A>", "\u2581", "a", "b", "ab", "\u2581a", "<|end|>", "[PAD1]"]
GPT2 = ["A", "b", "a", "aa", "\u0120", "\u0120a", "<|im_start|>", "<|im_end|>"]


def tokens(kind, pieces, types, more):
    return [key("tokenizer.ggml.model", STRING, kind), key("tokenizer.ggml.tokens", ARRAY, pieces, STRING),
            key("tokenizer.ggml.token_type", ARRAY, types, I32)] + more


spm = tokens("llama", SPM, [2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 4, 5],
             [key("tokenizer.ggml.scores", ARRAY, [-float(i) for i in range(len(SPM))], F32), key("tokenizer.ggml.bos_token_id", U32, 1),
              key("tokenizer.ggml.unknown_token_id", U32, 0), key("tokenizer.ggml.add_bos_token", BOOL, True),
              key("tokenizer.ggml.add_space_prefix", BOOL, True)])
bpe = tokens("gpt2", GPT2, [1] * 6 + [3, 3],
             [key("tokenizer.ggml.merges", ARRAY, ["a a", "\u0120 a"], STRING), key("tokenizer.ggml.pre", STRING, "smollm"),
              key("tokenizer.ggml.eos_token_id", U32, 7), key("tokenizer.chat_template", STRING, "<|im_start|>system\\nHi<|im_end|>")])
for arch in "phi3", "llama":
    for kind in 0, 1, 30:
        put("gguf", f"{arch}-{kind}", gguf(*model(arch, 4, kind)))
for kind in 2, 3, 8:
    put("gguf", f"quant-{kind}", gguf(*model("llama", 32, kind)))
put("gguf", "spm", gguf(*model("phi3", 4, 0, spm + [key("phi3.attention.sliding_window", U32, 4)])))
put("gguf", "bpe", gguf(*model("llama", 4, 1, bpe + [key("general.alignment", U32, 32)])))
put("gguf", "vocabulary", gguf(spm, []))
put("gguf", "vocabulary-bpe", gguf(bpe, []))
keys, tensors = model("phi3", 4, 0, [key("phi3.rope.scaling.attn_factor", F32, 1.2), key("phi3.rope.scaling.original_context_length", U32, 4)])
put("gguf", "longrope", gguf(keys, tensors + [("rope_factors_short.weight", 0, [1]), ("rope_factors_long.weight", 0, [1])]))

# ---- configurations ----

for path in sorted(Path("tests/goldens/models").glob("*/config.json")):
    if path.parent.name in ("mha", "su_partial", "longrope", "partial40"):
        put("config", path.parent.name, json.dumps(json.loads(path.read_text()), separators=(",", ":")))
put("config", "pair", json.dumps({"model_type": "phi3", "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}})
    + "\0" + json.dumps({"eos_token_id": [1, 2, 3]}))

# ---- tokenizers ----

spm_model = {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True,
             "vocab": {p: i for i, p in enumerate(SPM)}, "merges": ["a b", "\u2581 a"]}
bpe_model = {"type": "BPE", "vocab": {p: i for i, p in enumerate(GPT2)}, "merges": [["a", "a"], ["\u0120", "a"]], "ignore_merges": True}
PARTS = [
    {"model": spm_model, "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
     "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                                                  {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
     "added_tokens": [{"id": 10, "content": "<|end|>", "rstrip": True, "special": True}, {"id": 12, "content": "x y", "lstrip": True, "normalized": True},
                      {"id": 13, "content": "w", "single_word": True}],
     "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}},
    {"model": bpe_model, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}]},
     "decoder": {"type": "ByteLevel"}},
    {"model": bpe_model, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s+(?!\\S)|[^a-c]"}, "behavior": "MergedWithPrevious", "invert": True}},
    {"model": spm_model, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True},
     "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}},
]
for i, part in enumerate(PARTS):
    config = json.dumps({"add_bos_token": True, "bos_token": {"content": "a"}, "chat_template": "<|user|>\\n<|end|><|assistant|>"}) if i % 2 else ""
    put("tokenizer", str(i), json.dumps(part, ensure_ascii=i == 0, separators=(",", ":")) + "\0" + config + "\0" + "a b\u2581 x y<|end|> \n12")

# ---- texts, templates, arrays, words ----

for i, text in enumerate(["The capital of France is Paris.", "<|user|>\n Hi <|end|>\n<|assistant|>", "a\u00e9\u6f22\U0001f600\u2581 <0x0A>", "   \n\t12345 don't",
                          b"\xff\xc3(\xe2\x96 \xf0\x9f\x98", "<|im_start|>user\nHi<|im_end|>", ""]):
    put("text", str(i), text)
put("chat", "phi3", "{% for message in messages %}{{'<|user|>' + '\\n' + message['content'] + '<|end|>'}}<|assistant|>\0user\0Hello\0assistant\0Yes\0")
put("chat", "chatml", "{{ '<|im_start|>system\\nYou are x<|im_end|>\\n' }}{{'<|im_start|>' + message['role']}}<|im_end|>\0system\0s\0user\0u\0other\0o\0")
put("chat", "none", "[INST]\0user\0x\0")
for kind, width in ("<f4", 4), ("<i8", 8), ("|u1", 1), ("<f2", 2):
    for shape in (), (3,), (2, 3), (0, 4):
        n = 1
        for d in shape:
            n *= d
        head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
        head += " " * (-(len(head) + 11) % 64) + "\n"
        put("npy", kind[1:] + "-" + "x".join(map(str, shape)), b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + noise(n * width))
for i, text in enumerate(["1 2,3\n", "2147483647, 0", "-1", "cuMemAlloc:3", "all:17:lost,cuLaunchKernel:1:719,cuCtxCreate:2:oom", "cuMemAlocc:3,all:0"]):
    put("words", str(i), text)

# ---- base files of phi3 perplexity: header, ids, records; the checksum is the target's ----

for name, vocab, top in ("whole", 4, 4), ("top", 5, 2), ("twice", 5, 2):
    rows, tokens = 2, 3
    data = b"PHI3BASE" + struct.pack("<6I4q", 1, vocab, 1, 8, top, 0, tokens, 4, 2, rows) + b"m".ljust(64, b"\0") + b"cpu".ljust(32, b"\0")
    data += struct.pack("<3i", 1, 2, 3)
    logits = [float(v) for v in range(vocab)] if top == vocab else [0.5, 0.25]
    tail = 0 if top == vocab else 0.1
    log_sum = math.log(sum(map(math.exp, logits)) / (1 - tail))
    for _ in range(rows):
        data += struct.pack("<3d", log_sum, tail, 0.7)
        data += struct.pack(f"<{vocab}f", *logits) if top == vocab else struct.pack("<2i2f", 3, 3 if name == "twice" else 1, *logits)
    put("base", name, data)

# ---- images and PTX ----

for path in sorted(Path("tests/vgpu/data").glob("*.fatbin")):
    put("fatbin", path.stem, path.read_bytes())
put("fatbin", "text", ".version 7.0\n.target sm_75\n.address_size 64\n")
put("fatbin", "zstd-rle", bytes.fromhex("28b52ffd2064") + struct.pack("<I", 1 | 1 << 1 | 100 << 3)[:3] + b"a")
put("fatbin", "lz4", b"\x1fabc\x01\x00\x05\x50hello")
source = Path("tests/vgpu/test_reader.c").read_text()
head = '".version 7.5\\n.target sm_75\\n.address_size 64\\n"'
body = source[source.index("static const char good[]"):]
strings = re.findall(r'"((?:[^"\\]|\\.)*)"', body[:body.index(";\n\nstatic")].replace("HEAD", head))
put("ptx", "statements", "".join(strings).encode().decode("unicode_escape"))
put("ptx", "counts", Path("tests/vgpu/data/counts.ptx").read_text())
HEAD = ".version 7.5\n.target sm_75\n.address_size 64\n.entry k(.param .u64 p)\n{\n.reg .b16 %h<9>;\n.reg .b32 %r<12>;\n.reg .b64 %rd<9>;\n.reg .f32 %f<9>;\n" \
       ".reg .f64 %d<5>;\n.reg .pred %p<5>;\n.shared .align 16 .b8 s[256];\nld.param.u64 %rd1, [p];\nmov.u32 %r1, %tid.x;\n"
BODIES = {
    "loop": "L: add.u32 %r2, %r2, 1;\nsetp.lt.u32 %p1, %r2, 9;\n@%p1 bra L;\n",
    "memory": "mul.wide.u32 %rd2, %r1, 16;\nadd.u64 %rd3, %rd1, %rd2;\nld.global.nc.v4.u32 {%r2,%r3,%r4,%r5}, [%rd3];\nst.global.v2.f32 [%rd3+8], {%f1,%f2};\n",
    "shared": "mov.u32 %r2, s;\nshl.b32 %r3, %r1, 2;\nadd.u32 %r2, %r2, %r3;\nst.shared.u32 [%r2], %r1;\nbar.sync 0;\nld.shared.u32 %r4, [%r2+4];\nred.shared.add.u32 [s], 1;\n",
    "half": "cvt.rn.f16.f32 %h1, %f1;\nfma.rn.f16x2 %r2, %r3, %r4, %r5;\nadd.f16 %h2, %h1, %h3;\nsetp.gt.f16 %p1, %h1, %h2;\nex2.approx.f16 %h4, %h1;\n",
    "double": "cvt.f64.f32 %d1, %f1;\nfma.rn.f64 %d2, %d1, %d1, 0d3FF0000000000000;\nsqrt.rn.f64 %d3, %d2;\ncvt.rzi.s64.f64 %rd2, %d3;\n",
    "bits": "prmt.b32 %r2, %r1, %r3, 0x3210;\nbfe.u32 %r3, %r1, 3, 5;\nbfi.b32 %r4, %r1, %r2, 4, 4;\nlop3.b32 %r5, %r1, %r2, %r3, 0x1e;\nshf.l.wrap.b32 %r6, %r1, %r2, 7;\npopc.b32 %r7, %r1;\ndp4a.u32.u32 %r8, %r1, %r2, %r3;\n",
    "warp": "vote.sync.ballot.b32 %r2, %p1, -1;\nmatch.any.sync.b32 %r3, %r1, -1;\nshfl.sync.idx.b32 %r4, %r1, 3, 31, -1;\nactivemask.b32 %r5;\nbar.warp.sync -1;\n",
    "mma": "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%r2,%r3}, {%r4}, {%r5}, {%r2,%r3};\nmov.u32 %r6, s;\nldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r7,%r8,%r9,%r10}, [%r6];\n",
    "atom": "atom.global.cas.b32 %r2, [%rd1], 0, %r1;\natom.global.add.f32 %f1, [%rd1+4], %f2;\nmembar.gl;\nfence.acq_rel.gpu;\nred.global.max.s32 [%rd1+8], %r1;\n",
}
for name, body in BODIES.items():
    put("ptx", name, HEAD + body + "ret;\n}\n")

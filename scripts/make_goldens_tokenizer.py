"""Ids and texts that Hugging Face's tokenizers give for hostile input. Writes tests/goldens/tokenizer/*.json.

For the bundled model's tokenizer, for two small byte-level ones that are trained here (with GPT-2's pre-tokenizer and
with SmolLM2's), and, where ../shared/data is there, for the tokenizers in it. Formats: tests/goldens/README.md.
"""

import base64
import json
import random
import shutil
import zlib
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from make_goldens_texts import all_texts
from train_nano_corpus import document

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "goldens" / "tokenizer"
CHATML = [
    "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nWhat is 12 +"
    " 30?<|im_end|>\n<|im_start|>assistant\n"
]
PHI3_CHAT = [
    "<|user|>\nWhat is the capital of France?<|end|>\n<|assistant|>\n",
    (
        "<|system|>\nYou are a helpful assistant.<|end|>\n<|user|>\n "
        " Hi!\n<|end|>\n<|assistant|>\nHello.<|end|>\n<|endoftext|>"
    ),
]
CHATML_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' +"
    " '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_byte_level(folder, digits):
    """A byte-level BPE of 600 tokens on the bundled model's corpus; splits as GPT-2 or SmolLM2, has ChatML's tokens."""
    tok = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level]) if digits else level
    )
    tok.decoder = decoders.ByteLevel()
    if not digits:
        tok.post_processor = processors.ByteLevel(trim_offsets=False)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    rng = random.Random(20250)
    texts = [document(rng) for _ in range(1500)]
    trainer = trainers.BpeTrainer(
        vocab_size=597 if not digits else 600,
        special_tokens=special if digits else [],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tok.train_from_iterator(texts, trainer)
    if not digits:  # at the end, as GPT-2 has its one
        tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in special])
    folder.mkdir(parents=True)
    tok.save(str(folder / "tokenizer.json"))
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": special[1],
        "chat_template": CHATML_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": special[2],
        "model_max_length": 1024,
        "pad_token": special[2],
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": special[0],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def text64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def decode_lists(tok, name, encoded):
    """Id lists to decode: what encoding gave, parts of it, random ones, stray bytes, ids beyond the vocabulary."""
    rng = random.Random(zlib.crc32(name.encode()))
    size = tok.get_vocab_size()
    added = sorted(tok.get_added_tokens_decoder())
    some = [ids for ids in encoded if 1 < len(ids) < 60]
    lists = [ids for ids in encoded if len(ids) < 40][::3]
    lists += [ids[rng.randrange(len(ids)) :] for ids in rng.sample(some, 20)] + [
        ids[: rng.randrange(1, len(ids))] for ids in rng.sample(some, 20)
    ]
    lists += [[rng.randrange(size) for _ in range(rng.randint(1, 12))] for _ in range(40)]
    lists += [[rng.choice(added + [rng.randrange(size)]) for _ in range(rng.randint(1, 6))] for _ in range(30)]
    byte = [tok.token_to_id(f"<0x{b:02X}>") for b in range(256)]
    if byte[0] is not None:  # bytes that form characters, parts of characters and nonsense
        letters = [tok.token_to_id("\u2581"), tok.token_to_id("a"), tok.token_to_id("\u2581a")]
        for raw in [
            "\u00e9".encode(),
            "\U0001f600".encode(),
            b"\xff",
            b"\xe2\x82",
            b"\xe2\x82\xac\xe2",
            b"\xf0\x9f\x98",
            b"\x80A",
            b"\xc3\xa9\xff\xc3\xa9",
            b" a ",
            b"\x00",
            b"\n\n",
        ]:
            ids = [byte[b] for b in raw]
            lists += [
                ids,
                letters[:1] + ids,
                ids + letters[1:2],
                letters[2:] + ids + letters[2:],
                ids + added[-1:] + ids,
            ]
    return lists + [[], [size], [size + 5] + lists[5] if lists[5] else [size + 5]]


def goldens(name, folder, chats, shown):
    """`shown` is the folder's path as the tests know it."""
    tok = Tokenizer.from_file(str(folder / "tokenizer.json"))
    full = AutoTokenizer.from_pretrained(str(folder))
    added = [t.content for t in tok.get_added_tokens_decoder().values()]
    encode, encoded = [], []
    for raw in all_texts(added, chats):
        text = raw.decode("utf-8", errors="replace")
        ids = tok.encode(text, add_special_tokens=False).ids
        if full(text, add_special_tokens=False)["input_ids"] != ids:
            raise SystemExit(f"{name}: transformers and tokenizers disagree on {text!r}")
        encoded.append(ids)
        encode.append(
            {"text": text64(raw), "ids": ids, "ids_special": full(text, add_special_tokens=True)["input_ids"]}
        )
    decode = [
        {
            "ids": ids,
            "text": text64(tok.decode(ids, skip_special_tokens=False)),
            "text_skip_special": text64(tok.decode(ids, skip_special_tokens=True)),
        }
        for ids in decode_lists(tok, name, encoded)
    ]
    lines = [
        f'{{"tokenizer": {json.dumps(shown)},',
        '"encode": [',
        ",\n".join(json.dumps(e) for e in encode),
        "],",
        '"decode": [',
        ",\n".join(json.dumps(d) for d in decode),
        "]}",
    ]
    (OUT / f"{name}.json").write_text("\n".join(lines) + "\n")
    different = sum(e["ids"] != e["ids_special"] for e in encode)
    print(
        f"{name:18s} {len(encode)} texts, {len(decode)} id lists; add_special_tokens matters for {different}",
        flush=True,
    )


def main():
    for name in ("gpt2", "smollm"):
        shutil.rmtree(OUT / name, ignore_errors=True)
    train_byte_level(OUT / "gpt2", digits=False)
    train_byte_level(OUT / "smollm", digits=True)
    goldens("gpt2", OUT / "gpt2", CHATML, "tests/goldens/tokenizer/gpt2")
    goldens("smollm", OUT / "smollm", CHATML, "tests/goldens/tokenizer/smollm")
    goldens("nano", ROOT / "runtime" / "model" / "nano", PHI3_CHAT, "runtime/model/nano")
    for name in ("phi3-mini", "stories260k"):
        folder = ROOT.parent / "shared" / "data" / name
        if folder.exists():
            goldens(name, folder, PHI3_CHAT, f"../shared/data/{name}")
        else:
            print(f"{name}: {folder} is not there; its goldens stay as they are")


if __name__ == "__main__":
    main()

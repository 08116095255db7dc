"""The tokenizer of the bundled model: SentencePiece-style BPE with byte fallback, as Phi-3's tokenizer.json has it."""

import json

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

PIECES = 1016  # with the added tokens 1021; the model's vocabulary is padded to 1024, as Phi-3's is to 32064
VOCAB = 1024
SPACE = "\u2581"
# content, special, rstrip: as in Phi-3's tokenizer, where rstrip swallows the white space that follows
BASE_ADDED = [("<unk>", True, False), ("<s>", True, False), ("</s>", False, True)]
ADDED = [
    ("<|endoftext|>", True, False),
    ("<|assistant|>", True, True),
    ("<|system|>", True, True),
    ("<|end|>", True, True),
    ("<|user|>", True, True),
]
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] +"
    " '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif"
    " message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor"
    " %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def learn_merges(texts):
    """Merges inside words only: pieces never cross a space, a digit or a mark, and never hold a line break."""
    tok = Tokenizer(models.BPE(unk_token="<unk>"))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"<\|\w+\|>\n?|\n+"), "removed"),
            pre_tokenizers.Split(SPACE, "merged_with_next"),
            pre_tokenizers.Split(Regex(r"[^\p{L}" + SPACE + "]"), "isolated"),
        ]
    )
    alphabet = [chr(c) for c in range(33, 127)] + [SPACE]
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES - 3 - 256, initial_alphabet=alphabet, limit_alphabet=len(alphabet), show_progress=False
    )
    tok.train_from_iterator(texts, trainer)
    merges = [
        tuple(m) if not isinstance(m, str) else tuple(m.split(" ")) for m in json.loads(tok.to_str())["model"]["merges"]
    ]
    return merges, sorted(alphabet)


def build_json(merges, alphabet):
    """Ids in SentencePiece's order: controls, bytes, pieces by rank, then single characters."""
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    names += ["".join(m) for m in merges] + alphabet
    vocab = {name: i for i, name in enumerate(dict.fromkeys(names))}
    assert len(vocab) == PIECES, f"{len(vocab)} pieces, {PIECES} wanted"
    added = [
        dict(id=i, content=c, single_word=False, lstrip=False, rstrip=r, normalized=False, special=s)
        for i, (c, s, r) in [*enumerate(BASE_ADDED), *enumerate(ADDED, PIECES)]
    ]
    sequence = [{"Sequence": {"id": "A", "type_id": 0}}]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": sequence,
            "pair": sequence + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocab,
            "merges": [" ".join(m) for m in merges],
        },
    }


def build_config(tokenizer, longest):
    decoder = {
        str(a["id"]): {k: a[k] for k in ("content", "lstrip", "normalized", "rstrip", "single_word", "special")}
        for a in tokenizer["added_tokens"]
    }
    return {
        "add_bos_token": False,
        "add_eos_token": False,
        "added_tokens_decoder": decoder,
        "bos_token": "<s>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|endoftext|>",
        "legacy": False,
        "model_max_length": longest,
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
        "use_default_system_prompt": False,
    }


def write(folder, texts, longest):
    """Learns the tokenizer from `texts`, writes tokenizer.json and tokenizer_config.json, returns it ready for use."""
    data = build_json(*learn_merges(texts))
    (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    config = json.dumps(build_config(data, longest), indent=2)
    (folder / "tokenizer_config.json").write_text(config + "\n", encoding="utf-8")
    return Tokenizer.from_file(str(folder / "tokenizer.json"))

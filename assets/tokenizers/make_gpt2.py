"""Writes gpt2.jsonl: 500 texts with the ids that the Python package `tiktoken` gives them in GPT-2's encoding.

    $ pip install tiktoken
    $ python assets/tokenizers/make_gpt2.py [r50k_base.tiktoken]

Without the file of ranks, tiktoken downloads it. The same versions give the same bytes.
"""

import base64
import json
import pathlib
import random
import sys
import unicodedata

import tiktoken

EMOJI = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "❤️", "🧑🏿‍🚀", "1️⃣"]
WORDS = ["the", "I'll", "we've", "DON'T", "naïve", "größer", "Ελλάδα", "мир", "中文字", "日本語", "한국어", "עברית", "x²", "½", "№5", "12345"]
BLANKS = [" ", "  ", " " * 17, "\t", "\n", "\n\n\n", "\r\n", "\u00a0", "\u2003", "\u3000", " \n ", "\t\t  "]
PLANES = [(0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000)] + [(p << 16, (p + 1) << 16) for p in range(1, 17)]


def character(rng):
    return chr(rng.randrange(*rng.choice(PLANES)))


def piece(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice(EMOJI)
    if kind <= 2:
        return rng.choice(WORDS)
    if kind <= 4:
        return rng.choice(BLANKS)
    if kind == 5:
        return chr(rng.randrange(32)) * rng.randint(1, 3)
    if kind == 6:
        return rng.choice("!?.,;:-_'\"<|>") * rng.randint(1, 5)
    return "".join(character(rng) for _ in range(rng.randint(1, 4)))


def gpt2(ranks):
    if ranks is None:
        return tiktoken.get_encoding("gpt2")
    lines = (line.split() for line in pathlib.Path(ranks).read_text().splitlines())
    mergeable = {base64.b64decode(token): int(rank) for token, rank in lines}
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    return tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=mergeable, special_tokens={"<|endoftext|>": 50256})


def main():
    rng = random.Random(20261124)
    encoding = gpt2(sys.argv[1] if len(sys.argv) > 1 else None)
    texts = ["", " ", "<|endoftext|>", "a<|endoftext|>b", "hello world", "\u0000", "\U0010ffff", " " * 300, "ab" * 200]
    while len(texts) < 500:
        # noncharacters and unassigned code points are text as well; lone surrogates aren't
        texts.append("".join(piece(rng) for _ in range(rng.randint(1, 6))))
    with open(pathlib.Path(__file__).with_name("gpt2.jsonl"), "w", encoding="utf-8") as out:
        for text in texts:
            ids = encoding.encode_ordinary(text)
            assert encoding.decode(ids) == text
            out.write(json.dumps({"text": text, "ids": ids}, separators=(",", ":")) + "\n")
    print(f"{len(texts)} texts, tiktoken {tiktoken.__version__}, Unicode {unicodedata.unidata_version}")


main()

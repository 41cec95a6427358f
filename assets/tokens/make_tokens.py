"""Writes what the tests of token files read: nanoGPT's `meta.pkl` in each protocol, and pickles of other things.

    $ python assets/tokens/make_tokens.py

`numpy*.pkl` need NumPy 2, the others Python's standard library alone. The same versions give the same bytes.
"""

import collections
import fractions
import pathlib
import pickle

import numpy

HERE = pathlib.Path(__file__).parent
TEXT = "a naïve 日本 text\nof 300: 👍\n" + "".join(chr(0x4E00 + i) for i in range(300))


def write(name, value, protocol):
    (HERE / name).write_bytes(pickle.dumps(value, protocol=protocol))


def main():
    chars = sorted(set(TEXT))
    stoi = {ch: i for i, ch in enumerate(chars)}
    itos = {i: ch for i, ch in enumerate(chars)}
    (HERE / "chars.txt").write_text("".join(chars), encoding="utf-8", newline="")
    for protocol in range(6):
        write(f"meta{protocol}.pkl", {"vocab_size": len(chars), "itos": itos, "stoi": stoi}, protocol)
    others = {"none": None, "truth": [True, False], "fraction": 0.5, "bytes": b"\0\xff", "large": 1 << 80, "tuples": ((), (1,), (1, 2), (1, 2, 3), (1,) * 4)}
    write("list.pkl", {"vocab_size": 2, "itos": ["b", "a"], "stoi": {"a": 1, "b": 0}, "more": others}, 4)
    number, small, character = numpy.int64, numpy.uint16, numpy.str_
    of_numpy = {
        "vocab_size": number(2),
        "itos": collections.OrderedDict({numpy.dtype(">i4").type(0): "a", number(1): character("b")}),
        "stoi": collections.defaultdict(int, {"a": small(0), "b": number(1)}),
    }
    for protocol in (0, 2, 4):
        write(f"numpy{protocol}.pkl", of_numpy, protocol)
    write("size.pkl", {"vocab_size": 50304}, 4)
    write("words.pkl", {"vocab_size": 2, "itos": {0: "a", 1: "word"}, "stoi": {"a": 0, "word": 1}}, 4)
    write("object.pkl", {"vocab_size": fractions.Fraction(2), "itos": ["a", "b"], "stoi": {"a": 0, "b": 1}}, 4)


main()

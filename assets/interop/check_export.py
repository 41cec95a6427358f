"""Checks that exported models are the same models in transformers, llama.cpp and llm.c.

    $ pip install torch transformers llama-cpp-python
    $ cargo build --release
    $ python assets/interop/check_export.py --work DIR [--llmc CLONE] [--large]

Trains small models into DIR, exports each to every format, and compares with tril: losses and greedy text, ids of awkward
texts, tokens, and logits between the programs. --llmc names a clone of llm.c and needs a C compiler; --large adds a model
of GPT-2 124M's shape. Prints a line for each check and ends with exit code 1 if one failed.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

import safetensors.torch
import torch
import transformers
import llama_cpp
from llama_cpp import Llama

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

SMALL = (
    "--n-layer 2 --n-head 4 --n-embd 64 --block-size 96 --batch-size 8 --steps 300 --lr 3e-3 --eval-every 100 --eval-windows 8 "
    "--sample-every 0"
)
RUNS = {
    "char": "--tokenizer char",
    "char-documents": "--tokenizer char --mode documents --bias true",
    "byte": "--tokenizer byte --bias true --dropout 0.1",
    "byte-documents": "--tokenizer byte --mode documents",
    "bpe": "--tokenizer bpe:700 --bias true",
    "bpe-documents": "--tokenizer bpe:500 --mode documents",
    "untied": "--tokenizer bpe:600 --tied false --bias true",
    "odd": "--tokenizer bpe:300 --n-layer 3 --n-head 3 --n-embd 33 --bias true",
    "gpt2": "--tokenizer gpt2 --bias true --steps 100",
    "sines": "--tokenizer char --positions sinusoidal",
    "accents": "--tokenizer char",
}
LARGE = "--preset gpt2 --block-size 1024 --batch-size 1 --steps 1 --eval-windows 1 --sample-every 0 --tokenizer gpt2"
REFUSED = {("untied", "llmc"), ("sines", "llmc"), ("sines", "gguf"), ("accents", "gguf")}

AWKWARD = [
    "plain words", " leading and trailing  ", "tabs\tand\r\nbreaks\n\n\n", "don't DON'T we've I'll  they're", "x=1234567890; y=3.14",
    "naïve café größer", "Ελλάδα мир עברית", "日本語と한국어中文", "👩‍👩‍👧‍👦🏳️‍🌈 1️⃣", "e\u0301 \ufeff\u00a0\u2003\u3000|", "\x00\x01\x7f\x1b[0m",
    "   \n   \n", "a" * 40, " " * 33 + "end", "½ x² №5 Ⅻ ²³", "!?.,;:-_'\"<|>(){}[]", "\U0010ffff\U000e0001 𝔘𝔫𝔦", "<start> <pad><|endoftext|>",
]
STORY = (
    "Mila was a young fox, and she had a red ball. One morning it was gone. \"Have you seen my red ball?\" she asked the old owl. "
    "\"Look under the bridge,\" said the old owl. So she went to the bridge, and there it was. "
) * 30
PROMPTS = ["Once", "The little", " and then"]

FAILED = []


def check(name, ok, figure=""):
    print(f"{'ok  ' if ok else 'FAIL'} {name:46} {figure}", flush=True)
    if not ok:
        FAILED.append(name)


# llama.cpp's GELU goes through a table of f16 on a CPU; of the largest logit
F16_GELU = 1e-3


def f32_error(run):
    """Of the largest logit: roundings of sums of 4 C terms in another order, which 2 L blocks add to the stream."""
    return 2**-24 * (4 * run.n_embd * 2 * run.n_layer) ** 0.5


def compare(name, ours, theirs, tolerance):
    if ours.shape != theirs.shape:
        return check(name, False, f"{tuple(ours.shape)} and {tuple(theirs.shape)}")
    difference, largest = (ours - theirs).abs().max().item(), theirs.abs().max().item()
    # not the other way around, so that NaN fails
    ok = difference <= tolerance * largest
    check(name, ok, f"largest difference {difference:.1e} of {largest:.1f}, {tolerance * largest:.1e} allowed, {len(theirs)} positions")


def text_ids(tokenizer, text):
    """As tril reads a text: the names of special tokens are text, too."""
    return tokenizer(text, split_special_tokens=True, add_special_tokens=False).input_ids


class Run:
    def __init__(self, tril, work, name):
        self.tril, self.work, self.name, self.path = tril, work, name, work / name
        self.config = None

    def command(self, *args):
        return subprocess.run([self.tril, *map(str, args)], capture_output=True, text=True, cwd=self.work)

    def train(self, flags):
        if not self.path.exists():
            paths = []
            if self.name == "accents":
                text = self.work / "accents.txt"
                text.write_text("Où est l'été ? Là-bas, près de la forêt.\n" * 400, encoding="utf-8")
                paths = [text]
            done = self.command("train", *paths, *(word for flag in flags.items() for word in flag), "--out", self.path)
            assert done.returncode == 0, done.stderr
        text = (self.path / "config.toml").read_text()
        size = lambda key: int(re.search(rf"^{key} = (\d+)", text, re.M).group(1))
        self.block_size, self.n_embd, self.n_layer = size("block_size"), size("n_embd"), size("n_layer")
        tokenizer = json.loads((self.path / "tokenizer.json").read_text())
        self.kind = tokenizer.get("kind", "hf")
        self.chars = tokenizer.get("chars")
        self.documents = re.search(r'kind = "documents"|mode = "documents"', text) is not None

    def export(self, target):
        out = self.work / "exported" / self.name / target
        if out.exists():
            for file in out.iterdir():
                file.unlink()
        return out, self.command("export", self.path, "--to", target, "--out", out)

    def ids(self, text):
        """The ids that tril gives, by what its tokenizers are defined to do; None where they have to be compared otherwise."""
        shift = 1 if self.documents else 0
        if self.kind == "byte":
            return [b + shift for b in text.encode()]
        if self.kind == "char":
            known = {c: i + shift for i, c in enumerate(self.chars)}
            return [known[c] for c in text] if all(c in known for c in text) else None
        return None

    def greedy(self, prompt, n):
        done = self.command("generate", self.path, "--prompt", prompt, "--temperature", 0, "--tokens", n)
        assert done.returncode == 0, done.stderr
        return done.stdout[len(prompt):].removesuffix("\n")

    def logits(self, ids):
        """A row of tril's own logits for each id."""
        file = self.work / "logits.safetensors"
        done = self.command("logits", self.path, "--tokens", ",".join(map(str, ids)), "--out", file)
        assert done.returncode == 0, done.stderr
        return safetensors.torch.load_file(file)["logits"].double()

    def loss(self, text):
        file = self.work / "text.txt"
        file.write_text(text, encoding="utf-8")
        done = self.command("eval", self.path, file, "--json", "--free-windows", 0)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def windows(run, ids, begin, end):
    """Rows as tril's evaluation cuts them: windows that don't overlap, or a document with its beginning and end."""
    if run.documents:
        return [[begin, *ids, end]]
    return [ids[at : at + run.block_size + 1] for at in range(0, len(ids) - 1, run.block_size)]


@torch.no_grad()
def check_hf(run):
    out, done = run.export("hf")
    check(f"{run.name}: exported to hf", done.returncode == 0, done.stderr.strip())
    model, info = transformers.GPT2LMHeadModel.from_pretrained(out, output_loading_info=True)
    model.eval()
    check(f"{run.name}: every tensor is known and there", not any(info.values()), str({k: v for k, v in info.items() if v}))
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id

    texts = [text for text in AWKWARD if run.kind != "char" or run.ids(text) is not None]
    wrong = [text for text in texts if (ids := run.ids(text)) is not None and text_ids(tokenizer, text) != ids]
    lost = [text for text in texts if tokenizer.decode(text_ids(tokenizer, text)) != text]
    if run.kind == "gpt2":
        lines = (ROOT / "assets/tokenizers/gpt2.jsonl").read_text(encoding="utf-8").splitlines()
        pairs = [json.loads(line) for line in lines]
        wrong += [pair["text"] for pair in pairs if text_ids(tokenizer, pair["text"]) != pair["ids"]]
        texts += [pair["text"] for pair in pairs]
    check(f"{run.name}: transformers' ids", not wrong, f"{len(texts)} texts {wrong[:1]}")
    check(f"{run.name}: transformers' text of the ids", not lost, f"{len(texts)} texts {lost[:1]}")

    story = (run.work / "story.txt").read_text(encoding="utf-8")
    worst, n = 0.0, 0
    for text in [story[:60], story[100:500], story[600:1800]] if run.name != "accents" else []:
        text = text.replace("\n", " ").strip()
        rows = windows(run, text_ids(tokenizer, text), begin, end)
        if any(len(row) > run.block_size + 1 for row in rows):
            continue
        losses = []
        for row in rows:
            row = torch.tensor(row)
            losses.append(torch.nn.functional.cross_entropy(model(row[None, :-1]).logits[0].double(), row[1:], reduction="none"))
        losses = torch.cat(losses)
        said = run.loss(text)
        assert said["targets"] == len(losses), (said, len(losses))
        worst, n = max(worst, abs(said["loss"] - losses.mean().item())), n + 1
    # the story has other characters than the text with accents
    assert n > 0 or run.name == "accents"
    if n > 0:
        check(f"{run.name}: loss in transformers and tril", worst < 2e-6, f"largest difference {worst:.1e} in {n} texts")

    ids = sample_ids(run, tokenizer)
    compare(f"{run.name}: logits in transformers and tril", model(torch.tensor([ids])).logits[0].double(), run.logits(ids), f32_error(run))

    wrong = []
    for prompt in prompts(run):
        # with the start token in front, where tril has one
        ids = tokenizer(prompt, split_special_tokens=True).input_ids
        room = min(run.block_size - len(ids), 60)
        made = model.generate(torch.tensor([ids]), max_new_tokens=room, do_sample=False, eos_token_id=end if run.documents else -1, pad_token_id=0)
        text = tokenizer.decode(made[0][len(ids):], skip_special_tokens=True)
        if text != run.greedy(prompt, room):
            wrong.append((text, run.greedy(prompt, room)))
    check(f"{run.name}: greedy text in transformers and tril", not wrong, str(wrong[:1]) if wrong else repr(text[:40]))
    opening = tokenizer("").input_ids
    check(f"{run.name}: transformers begins a text", opening == ([begin] if run.documents else []), f"with {opening}")
    check(f"{run.name}: transformers knows the window", tokenizer.model_max_length == model.config.n_positions == run.block_size)
    return tokenizer


def prompts(run):
    return ["Où est"] if run.name == "accents" else PROMPTS


def sample_ids(run, tokenizer):
    """A full block of text."""
    story = "Où est l'été ? " * 20 if run.name == "accents" else (run.work / "story.txt").read_text(encoding="utf-8")
    return text_ids(tokenizer, story[:6000])[: min(run.block_size, 512)]


def check_gguf(run, tokenizer):
    out, _ = run.export("gguf")
    path = str(out / "model.gguf")
    exact = dict(verbose=False, n_ctx=run.block_size, n_threads=2, type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32)
    llama = Llama(path, logits_all=True, **exact)
    texts = [text for text in AWKWARD if run.kind != "char" or run.ids(text) is not None]
    if run.kind != "char":
        lines = (ROOT / "assets/tokenizers/gpt2.jsonl").read_text(encoding="utf-8").splitlines()
        texts += [text for line in lines if (text := json.loads(line)["text"])]
    wrong = [text for text in texts if llama.tokenize(text.encode(), add_bos=False, special=False) != text_ids(tokenizer, text)]
    check(f"{run.name}: llama.cpp's ids", not wrong, f"{len(wrong)} of {len(texts)} texts differ {wrong[:3] if wrong else ''}")
    lost = [text for text in texts if llama.detokenize(text_ids(tokenizer, text)) != text.encode()]
    check(f"{run.name}: llama.cpp's text of the ids", not lost, f"{len(texts)} texts {lost[:1]}")

    ids = sample_ids(run, tokenizer)
    llama.eval(ids)
    ours = run.logits(ids)
    theirs = torch.tensor(llama.scores[: len(ids), : ours.shape[1]]).double()
    compare(f"{run.name}: logits in llama.cpp and tril", theirs, ours, F16_GELU)
    if llama.n_vocab() > ours.shape[1]:
        added = torch.tensor(llama.scores[: len(ids), ours.shape[1]]).double()
        check(f"{run.name}: the added end is never likeliest", bool((added < theirs.max(1).values).all()), f"{(added - torch.logsumexp(theirs, 1)).exp().max():.1e} likely at most")

    for what, llama in [("f32 cache", Llama(path, **exact)), ("default", Llama(path, verbose=False, n_ctx=run.block_size, n_threads=2))]:
        wrong = []
        for prompt in prompts(run):
            n = len(text_ids(tokenizer, prompt)) + (1 if run.documents else 0)
            room = min(run.block_size - n, 60)
            text = llama(prompt, max_tokens=room, temperature=0)["choices"][0]["text"]
            if text != run.greedy(prompt, room):
                wrong.append((text, run.greedy(prompt, room)))
        check(f"{run.name}: greedy text in llama.cpp, {what}", not wrong, str(wrong[:1]) if wrong else f"{len(prompts(run))} prompts")


def check_llmc(run, tokenizer, program):
    out, _ = run.export("llmc")
    ids = sample_ids(run, tokenizer)
    logits, tokens = run.work / "logits.bin", run.work / "tokens.txt"
    files = [out / "model.bin", out / "tokenizer.bin", logits, tokens]
    subprocess.run([program, *files], input=f"{len(ids)} {' '.join(map(str, ids))}", text=True, check=True, capture_output=True)
    ours = run.logits(ids)
    theirs = torch.frombuffer(bytearray(logits.read_bytes()), dtype=torch.float32).view(len(ids), -1).double()
    compare(f"{run.name}: logits in llm.c and tril", theirs, ours, f32_error(run))
    end, *lines = tokens.read_text().splitlines()
    special = {i: t.content.encode() for i, t in tokenizer.added_tokens_decoder.items()}
    def text(i):
        return special.get(i) or token_bytes(run, tokenizer, i)
    wrong = [i for i, line in enumerate(lines) if bytes.fromhex(line) != text(i).split(b"\0")[0]]
    check(f"{run.name}: llm.c's tokens", not wrong and len(lines) == ours.shape[1], f"{len(lines)} tokens {wrong[:3]}")
    check(f"{run.name}: llm.c begins a text", tokenizer.bos_token_id in (None, int(end)), f"with {end}")


def token_bytes(run, tokenizer, i):
    token = tokenizer.convert_ids_to_tokens(i)
    if run.kind == "char":
        return token.encode()
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in kept]
    byte_of = {chr(b): b for b in kept} | {chr(256 + n): b for n, b in enumerate(others)}
    return bytes(byte_of[c] for c in token)


def settings(flags):
    words = flags.split()
    return dict(zip(words[::2], words[1::2]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tril", type=pathlib.Path, default=ROOT / "target/release/tril")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--llmc", type=pathlib.Path)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", nargs="*", help="names of runs")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, llama-cpp-python {llama_cpp.__version__}")
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    program = None
    if args.llmc:
        program = args.work / "llmc_logits"
        subprocess.run(["cc", "-O2", "-I", args.llmc.resolve(), HERE / "llmc_logits.c", "-o", program, "-lm"], check=True)

    runs = {name: settings(SMALL) | settings(flags) for name, flags in RUNS.items()}
    if args.large:
        runs["large"] = settings(LARGE)
    story = args.work / "story.txt"
    for name, flags in runs.items():
        if args.only and name not in args.only:
            continue
        run = Run(args.tril.resolve(), args.work, name)
        run.train(flags)
        if not story.exists():
            story.write_text(STORY, encoding="utf-8")
        for target in ["hf", "llmc", "gguf"]:
            if (name, target) in REFUSED:
                out, done = run.export(target)
                check(f"{name}: refused for {target}", done.returncode == 1 and not out.exists(), done.stderr.strip())
        tokenizer = check_hf(run)
        if (name, "gguf") not in REFUSED:
            check_gguf(run, tokenizer)
        if program and (name, "llmc") not in REFUSED:
            check_llmc(run, tokenizer, program)
    print(f"{len(FAILED)} failed" if FAILED else "all passed")
    sys.exit(1 if FAILED else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares tril's logits of model files that llm.c's own code wrote with those of transformers.

    pip install torch numpy transformers safetensors
    git clone https://github.com/karpathy/llm.c
    cargo build --release && python assets/interop/check_llmc.py --tril target/release/tril --llmc llm.c

The weights are random, in the shape of GPT-2 124M; `write_model` of train_gpt2.py writes them in F32 and in BF16.
"""

import argparse
import importlib.util
import pathlib
import sys
import tempfile
import types

import torch

from check_transformers import check, logits_of_tril, random_model


def as_llmc(model):
    """A transformers model as `write_model` looks at one: linear layers hold out x in."""
    linear = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    params = {name: p.t().contiguous() if name.endswith(linear) else p for name, p in model.named_parameters()}
    c = model.config
    config = types.SimpleNamespace(
        block_size=c.n_positions, vocab_size=c.vocab_size, n_layer=c.n_layer, n_head=c.n_head, n_embd=c.n_embd
    )
    return types.SimpleNamespace(config=config, named_parameters=params.items)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tril", required=True, type=pathlib.Path, help="the program")
    parser.add_argument("--llmc", required=True, type=pathlib.Path, help="a clone of llm.c")
    parser.add_argument("--tokens", type=int, default=64, help="length of the row")
    args = parser.parse_args()
    spec = importlib.util.spec_from_file_location("train_gpt2", args.llmc / "train_gpt2.py")
    llmc = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(llmc)
    tril = args.tril.resolve()
    model = random_model()
    tokens = torch.randint(0, model.config.vocab_size, (args.tokens,))
    good = True
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        for dtype in [torch.float32, torch.bfloat16]:
            name = str(dtype).removeprefix("torch.")
            model.to(dtype).float()
            file = work / f"{name}.bin"
            llmc.write_model(as_llmc(model), file, name)
            good &= check(f"llm.c {name}", model, tokens, logits_of_tril(tril, file, work, tokens))
    sys.exit(0 if good else "these differ by more than f32 explains")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares tril's logits of imported models with those of transformers, for a model of GPT-2 124M's shape.

    pip install torch numpy transformers safetensors
    cargo build --release && python assets/interop/check_transformers.py --tril target/release/tril

The weights are random, and saved by transformers itself: in F32, in F32 shards, in F16 and in BF16. Every program's logits are
compared with those of transformers in f64. Random weights carry rounding further than trained ones would, so the measure is
what transformers in f32 errs by: tril may err by four times that. Takes some 5 GB on the disk.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

# in units of transformers' own error in f32: other orders of adding, other exponentials
MOST = 4.0


def random_model(**sizes):
    torch.manual_seed(1)
    model = GPT2LMHeadModel(GPT2Config(**sizes)).eval()
    with torch.no_grad():
        for name, param in model.named_parameters():
            is_scale = "ln_" in name and name.endswith("weight")
            deviation = 0.14 if "wte" in name or "attn" in name or "mlp" in name else 0.1
            param.copy_((1.0 if is_scale else 0.0) + deviation * torch.randn_like(param))
    return model


def logits_of_tril(tril, path, work, tokens):
    """Imports a model, and gives its logits."""
    run, out = work / "run", work / "logits.safetensors"
    shutil.rmtree(run, ignore_errors=True)
    ids = ",".join(str(token) for token in tokens.tolist())
    subprocess.run([tril, "import", path, "--out", run], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([tril, "logits", run, "--tokens", ids, "--out", out], check=True, stderr=subprocess.DEVNULL)
    return load_file(out)["logits"].double()


def check(name, model, tokens, got):
    """Compares tril's logits with a model's, and says whether they are the same as far as f32 goes."""
    with torch.no_grad():
        single = model.float()(tokens[None]).logits[0].double()
        exact = model.double()(tokens[None]).logits[0]
    model.float()
    of_tril, of_transformers = ((logits - exact).abs().max().item() for logits in (got, single))
    largest = exact.abs().max().item()
    print(
        f"{name:16} largest logit {largest:.1f}; largest error {of_tril:.1e}, of transformers in f32 {of_transformers:.1e}; "
        f"largest difference {(got - single).abs().max().item():.1e}",
        flush=True,
    )
    return of_tril <= MOST * of_transformers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tril", required=True, type=pathlib.Path, help="the program")
    parser.add_argument("--tokens", type=int, default=64, help="length of the row")
    args = parser.parse_args()
    tril = args.tril.resolve()
    model = random_model()
    tokens = torch.randint(0, model.config.vocab_size, (args.tokens,))
    good = True
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        kinds = [
            ("F32", torch.float32, "5GB"),
            ("F32, sharded", torch.float32, "100MB"),
            ("F16", torch.float16, "5GB"),
            ("BF16, sharded", torch.bfloat16, "100MB"),
        ]
        for name, dtype, shard in kinds:
            folder = work / "model"
            shutil.rmtree(folder, ignore_errors=True)
            model.to(dtype).save_pretrained(folder, max_shard_size=shard)
            is_sharded = (folder / "model.safetensors.index.json").exists()
            assert is_sharded == ("sharded" in name), "transformers has sharded otherwise"
            # rounded to the type for good, as the file is
            good &= check(name, model.float(), tokens, logits_of_tril(tril, folder, work, tokens))
    sys.exit(0 if good else "these differ by more than f32 explains")


if __name__ == "__main__":
    main()

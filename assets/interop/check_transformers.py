#!/usr/bin/env python3
"""Compares tril's logits of imported models with those of transformers, for a model of GPT-2 124M's shape.

    pip install torch numpy transformers safetensors
    cargo build --release && python assets/interop/check_transformers.py --tril target/release/tril

The weights are random, spread like those of a trained GPT-2, and saved by transformers itself: in F32, in F32 shards, in F16
and in BF16. Prints the largest difference for each and fails where it is more than f32 explains. Takes some 5 GB on the disk.
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

# what a sum in f32 may err by, in units of the largest logit: some hundred roundings of 6e-8 in a row of 12 blocks
SHARE = 2e-5


def random_model(**sizes):
    torch.manual_seed(1)
    model = GPT2LMHeadModel(GPT2Config(**sizes)).eval()
    with torch.no_grad():
        for name, param in model.named_parameters():
            is_scale = "ln_" in name and name.endswith("weight")
            deviation = 0.14 if "wte" in name or "attn" in name or "mlp" in name else 0.1
            param.copy_((1.0 if is_scale else 0.0) + deviation * torch.randn_like(param))
    return model


def largest_difference(tril, path, work, tokens, want, *flags):
    """Imports a model, and says how far its logits are from these, in units of the largest."""
    run, out = work / "run", work / "logits.safetensors"
    shutil.rmtree(run, ignore_errors=True)
    ids = ",".join(str(token) for token in tokens.tolist())
    subprocess.run([tril, "import", path, "--out", run, *flags], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([tril, "logits", run, "--tokens", ids, "--out", out], check=True, stderr=subprocess.DEVNULL)
    got = load_file(out)["logits"].double()
    difference = (got - want).abs().max().item()
    return difference, difference / want.abs().max().item()


def report(name, difference, share):
    print(f"{name:16} largest difference {difference:.2e}, {share:.2e} of the largest logit")
    return share <= SHARE


def logits_of(model, tokens):
    """In f64: what is measured is tril's error alone."""
    with torch.no_grad():
        answer = model.double()(tokens[None]).logits[0]
    model.float()
    return answer


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
            want = logits_of(model.float(), tokens)
            good &= report(name, *largest_difference(tril, folder, work, tokens, want))
    sys.exit(0 if good else "these differ by more than f32 explains")


if __name__ == "__main__":
    main()

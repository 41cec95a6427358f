#!/usr/bin/env python3
"""One training step of tril's bench presets in PyTorch on the CPU, timed. Prints one JSON line; `--help` lists the flags."""

import argparse
import json
import math
import os
import resource
import statistics
import sys
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Preset:
    n_layer: int
    n_head: int
    n_embd: int
    t: int
    b: int
    vocab_size: int
    bias: bool


PRESETS = {
    "xs": Preset(4, 4, 128, 128, 8, 256, False),
    "s": Preset(6, 6, 384, 256, 12, 65, False),
    "gpt2": Preset(12, 12, 768, 256, 1, 50_257, True),
}
BEGAN = time.perf_counter()
EPS = 1e-5
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.1
MAX_NORM = 1.0


class Block(nn.Module):
    def __init__(self, p):
        super().__init__()
        c = p.n_embd
        self.n_head = p.n_head
        self.ln_1 = nn.LayerNorm(c, eps=EPS, bias=p.bias)
        self.c_attn = nn.Linear(c, 3 * c, bias=p.bias)
        self.attn_proj = nn.Linear(c, c, bias=p.bias)
        self.ln_2 = nn.LayerNorm(c, eps=EPS, bias=p.bias)
        self.c_fc = nn.Linear(c, 4 * c, bias=p.bias)
        self.mlp_proj = nn.Linear(4 * c, c, bias=p.bias)

    def forward(self, x):
        b, t, c = x.shape
        heads = [y.view(b, t, self.n_head, -1).transpose(1, 2) for y in self.c_attn(self.ln_1(x)).split(c, dim=2)]
        y = F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).reshape(b, t, c)
        x = x + self.attn_proj(y)
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.wte = nn.Embedding(p.vocab_size, p.n_embd)
        self.wpe = nn.Embedding(p.t, p.n_embd)
        self.h = nn.ModuleList(Block(p) for _ in range(p.n_layer))
        self.ln_f = nn.LayerNorm(p.n_embd, eps=EPS, bias=p.bias)
        for name, param in self.named_parameters():
            if param.dim() == 2:
                is_residual = name.endswith("_proj.weight")
                nn.init.normal_(param, std=0.02 / math.sqrt(2 * p.n_layer) if is_residual else 0.02)
            elif name.endswith(".bias"):
                nn.init.zeros_(param)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        # the head is the token embedding
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def batch(p):
    """The tokens of `tril bench`: no meaning, spread over the vocabulary."""
    ids = [(i * 31 + i // 7) % p.vocab_size for i in range(p.b * p.t + 1)]
    return torch.tensor(ids[:-1]).view(p.b, p.t), torch.tensor(ids[1:]).view(p.b, p.t)


def seconds_since_start():
    """Since this process began, where Linux says so; else since this file did."""
    try:
        with open("/proc/self/stat") as stat, open("/proc/uptime") as uptime:
            ticks = int(stat.read().rsplit(")", 1)[1].split()[19])
            return float(uptime.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except OSError:
        return time.perf_counter() - BEGAN


def peak_memory_mib():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="xs")
    parser.add_argument("--steps", type=int, default=200, help="most steps that count")
    parser.add_argument("--seconds", type=float, default=10.0, help="most seconds that count, after three steps")
    parser.add_argument("--warm-up", type=int, default=4, help="steps before the first that counts")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()

    p = PRESETS[args.preset]
    torch.set_num_threads(args.threads)
    torch.manual_seed(1337)
    model = Gpt(p)
    params = list(model.parameters())
    groups = [
        {"params": [w for w in params if w.dim() >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [w for w in params if w.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.99), eps=1e-8)
    tokens, targets = batch(p)

    def step():
        loss = model(tokens, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(params, MAX_NORM)
        optimizer.step()
        return loss.item()

    losses, took = [step()], []
    first_step_s = seconds_since_start()
    for _ in range(1, args.warm_up):
        losses.append(step())
    while len(took) < args.steps and (len(took) < 3 or sum(took) < args.seconds):
        began = time.perf_counter()
        losses.append(step())
        took.append(time.perf_counter() - began)
    result = {
        "peer": "pytorch",
        "version": torch.__version__,
        "backend": "cpu",
        "device": f"CPU, {args.threads} threads, {torch.backends.cpu.get_cpu_capability()}",
        "preset": args.preset,
        "n_param": sum(w.numel() for w in params),
        "batch_size": p.b,
        "t": p.t,
        "steps": len(took),
        "ms_per_step": statistics.median(took) * 1e3,
        "best_ms_per_step": min(took) * 1e3,
        "first_step_s": first_step_s,
        "peak_memory_mib": peak_memory_mib(),
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "steps_done": len(losses),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

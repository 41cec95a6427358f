#!/usr/bin/env python3
"""Makes the golden files in this folder: inputs and right answers, in f64, from PyTorch.

    pip install torch numpy && python assets/golden/make_golden.py

Needed only to change the goldens; the tests read the committed files. Running it again gives the same bytes.

A file per op holds tensors named `<case>.<tensor>`, with `cases` in its metadata. All inputs are exact in f32, so that a
GPU which computes in f32 starts from the very same numbers. Gradients come from autograd; PyTorch's own functions are used
where it has them. Dropout has no counterpart there: its hash is written again below in Python's integers.
MANIFEST records the versions, the seed and a checksum of each file and of this script.
"""

import json
import math
import pathlib
import platform
import struct
import zlib

import numpy as np
import torch
import torch.nn.functional as F

SEED = 20260
FOLDER = pathlib.Path(__file__).resolve().parent
IGNORE = 0xFFFFFFFF

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
rng = torch.Generator().manual_seed(SEED)


# --- values ---------------------------------------------------------------------------------------------------------


def exact(values):
    """Rounds to f32 and back: the golden's input is what a GPU will really see."""
    return torch.as_tensor(values, dtype=torch.float64).to(torch.float32).to(torch.float64)


def normal(*shape, scale=1.0, shift=0.0):
    return exact(torch.randn(*shape, generator=rng) * scale + shift)


def tokens(*shape, high):
    return torch.randint(0, high, shape, generator=rng)


def leaf(tensor):
    return tensor.clone().requires_grad_(True)


def number(value):
    return torch.tensor(float(value))


# --- files ----------------------------------------------------------------------------------------------------------


def write(stem, tensors, metadata):
    """Writes safetensors: header length, JSON header, then the tensors' bytes, wide types first."""
    kinds = {np.dtype("<f8"): "F64", np.dtype("<f4"): "F32", np.dtype("<u4"): "U32"}
    arrays = {}
    for name, value in tensors.items():
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy()
        if value.dtype == np.int64:
            value = value.astype("<u4")
        arrays[name] = value
    header = {"__metadata__": {key: str(value) for key, value in sorted(metadata.items())}}
    data = b""
    for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):
        array = arrays[name]
        chunk = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": kinds[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(chunk)],
        }
        data += chunk
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (FOLDER / f"{stem}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_cases(stem, cases):
    tensors = {f"{case}.{name}": value for case, group in cases.items() for name, value in group.items()}
    write(stem, tensors, {"cases": ",".join(cases), "seed": SEED})


def write_manifest():
    def line(path):
        content = path.read_bytes()
        return f"{zlib.crc32(content):08x} {len(content):7} {path.name}\n"

    text = "# crc32, bytes and name of each golden file and of the script that made them\n"
    text += f"# torch {torch.__version__.split('+')[0]}, numpy {np.__version__}, python {platform.python_version()}\n"
    text += f"# seed {SEED}\n"
    text += line(pathlib.Path(__file__).resolve())
    for path in sorted(FOLDER.glob("*.safetensors")):
        text += line(path)
    (FOLDER / "MANIFEST").write_text(text)


# --- elementwise ops ------------------------------------------------------------------------------------------------


def residual():
    def case(a, b):
        return {"a": a, "b": b, "out": a + b}

    write_cases(
        "residual",
        {
            "one": case(normal(1), normal(1)),
            "odd": case(normal(2, 3, 5), normal(2, 3, 5)),
            "huge": case(normal(9, scale=1e30), normal(9, scale=1e30)),
            "tiny": case(normal(9, scale=1e-30), normal(9, scale=1e-30)),
            "unlike": case(normal(9, scale=1e6), normal(9, scale=1e-6)),
        },
    )


def gelu():
    def case(inp):
        inp, dout = leaf(inp), normal(*inp.shape)
        out = F.gelu(inp, approximate="tanh")
        out.backward(dout)
        return {"inp": inp, "out": out, "dout": dout, "dinp": inp.grad}

    write_cases(
        "gelu",
        {
            "one": case(normal(1)),
            "range": case(exact(torch.linspace(-8, 8, 67))),
            "odd": case(normal(3, 7)),
            "huge": case(exact([-1e6, -1e4, -50.0, 50.0, 1e4, 1e6])),
            "tiny": case(exact([-1e-30, -1e-10, 0.0, 1e-10, 1e-30])),
        },
    )


HASH_STEP = 0x9E3779B9


def hash32(x):
    x ^= x >> 16
    x = (x * 0x7FEB352D) % 2**32
    x ^= x >> 15
    x = (x * 0x846CA68B) % 2**32
    return x ^ (x >> 16)


def dropout_key(words, site):
    seed_lo, seed_hi, step, micro = words
    key = hash32(site)
    for word in (micro, step, seed_hi, seed_lo):
        key = hash32(((key ^ word) + HASH_STEP) % 2**32)
    return key


def dropout_factors(words, site, p, shape):
    """What each element is multiplied by: 0 or 1 / (1 - p)."""
    key, threshold = dropout_key(words, site), min(math.floor(p * 2**32), 2**32 - 1)
    count = math.prod(shape)
    kept = [hash32(key ^ hash32((elem + HASH_STEP) % 2**32)) >= threshold for elem in range(count)]
    return torch.tensor([1.0 / (1.0 - p) if keep else 0.0 for keep in kept]).reshape(shape)


def dropout():
    def case(words, site, p, *shape):
        inp, dout = leaf(normal(*shape)), normal(*shape)
        factors = dropout_factors(words, site, p, shape)
        out = inp * factors
        out.backward(dout)
        return {
            "rng": torch.tensor(words),
            "site": torch.tensor(site),
            "p": number(p),
            "key": torch.tensor(dropout_key(words, site)),
            "keep": (factors != 0).to(torch.int64),
            "inp": inp,
            "out": out,
            "dout": dout,
            "dinp": inp.grad,
        }

    words = [0, 1, 2, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 12345, 0x9E3779B9]
    write_cases(
        "dropout",
        {
            "hash": {"inp": torch.tensor(words), "out": torch.tensor([hash32(word) for word in words])},
            "one": case([0, 0, 0, 0], 0, 0.5, 1),
            "off": case([1, 2, 3, 4], 5, 0.0, 37),
            "fifth": case([1337, 0, 100, 1], 2, 0.2, 5, 7, 11),
            "next_step": case([1337, 0, 101, 1], 2, 0.2, 5, 7, 11),
            "wide_words": case([0xFFFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF], 0xFFFFFFFF, 0.5, 65),
            "nearly_all": case([7, 7, 7, 7], 7, 0.99, 257),
        },
    )


# --- rows and columns -----------------------------------------------------------------------------------------------


def matmul():
    def case(m, n, k, trans_a=False, trans_b=False, bias=True, scale=1.0):
        a = leaf(normal(*((k, m) if trans_a else (m, k)), scale=scale))
        b = leaf(normal(*((n, k) if trans_b else (k, n)), scale=scale))
        out = (a.T if trans_a else a) @ (b.T if trans_b else b)
        group = {"a": a, "b": b, "dims": torch.tensor([m, n, k, int(trans_a), int(trans_b)])}
        if bias:
            group["bias"] = leaf(normal(n))
            out = out + group["bias"]
        dout = normal(m, n)
        out.backward(dout)
        group |= {"out": out, "dout": dout, "da": a.grad, "db": b.grad}
        if bias:
            group["dbias"] = group["bias"].grad
        return group

    def linear(m, n, k):
        """With what a product's kernel does besides, in a linear layer and its gradients."""
        group = case(m, n, k)
        out, b, dout = (group[name].detach() for name in ("out", "b", "dout"))
        stream, pre = normal(m, n), leaf(normal(m, k, scale=2.0))
        (F.gelu(pre, approximate="tanh") @ b).backward(dout)
        gelu = F.gelu(out, approximate="tanh")
        return group | {"gelu": gelu, "stream": stream, "sum": stream + out, "pre": pre, "dpre": pre.grad}

    write_cases(
        "matmul",
        {
            "one": case(1, 1, 1),
            "nn": case(5, 7, 3),
            "nn_plain": case(4, 6, 9, bias=False),
            "nt": case(3, 5, 8, trans_b=True),
            "nt_plain": case(6, 11, 5, trans_b=True, bias=False),
            "tn": case(7, 4, 10, trans_a=True),
            "tt": case(3, 2, 5, trans_a=True, trans_b=True),
            "row": case(1, 9, 17),
            "column": case(9, 1, 17),
            "outer": case(6, 5, 1),
            "huge": case(3, 4, 5, scale=1e12),
            "tiny": case(3, 4, 5, bias=False, scale=1e-12),
            "linear": linear(5, 12, 8),
        },
    )


def column_sum():
    def case(*shape, scale=1.0, shift=0.0):
        inp = normal(*shape, scale=scale, shift=shift)
        return {"inp": inp, "out": inp.sum(0)}

    write_cases(
        "column_sum",
        {
            "one": case(1, 1),
            "row": case(1, 9),
            "column": case(67, 1),
            "odd": case(13, 7),
            "one_sign": case(65, 3, shift=5.0),
            "huge": case(5, 4, scale=1e30),
            "tiny": case(5, 4, scale=1e-30),
        },
    )


def layernorm():
    def case(inp, bias=True, eps=1e-5):
        n_col = inp.shape[1]
        inp, weight, dout = leaf(inp), leaf(normal(n_col, scale=0.5, shift=1.0)), normal(*inp.shape)
        group = {"inp": inp, "weight": weight, "eps": number(eps)}
        if bias:
            group["bias"] = leaf(normal(n_col))
        out = F.layer_norm(inp, (n_col,), weight, group.get("bias"), eps)
        out.backward(dout)
        variance, mean = torch.var_mean(inp, dim=1, correction=0)
        group |= {"out": out, "mean": mean, "rstd": 1 / torch.sqrt(variance + eps)}
        group |= {"dout": dout, "dinp": inp.grad, "dweight": weight.grad}
        if bias:
            group["dbias"] = group["bias"].grad
        return group

    write_cases(
        "layernorm",
        {
            "one": case(normal(1, 1)),
            "one_column": case(normal(5, 1)),
            "one_row": case(normal(1, 9)),
            "odd": case(normal(5, 7)),
            "no_bias": case(normal(4, 6), bias=False),
            "wide": case(normal(3, 129)),
            "far_from_zero": case(normal(3, 16, shift=1000.0)),
            "constant_rows": case(exact([[2.0] * 6, [0.0] * 6, [-3.5] * 6])),
            "huge": case(normal(3, 8, scale=1e6)),
            "tiny": case(normal(3, 8, scale=1e-6)),
        },
    )


def spans_of(documents):
    """Of each position the first of its document and the one after its last, from the lengths in each row."""
    rows = []
    for lengths in documents:
        ends = torch.tensor(lengths).cumsum(0)
        rows.append(torch.stack([ends - torch.tensor(lengths), ends], 1).repeat_interleave(torch.tensor(lengths), 0))
    return torch.stack(rows)


def embedding():
    def case(b, t, c, vocab, positions=True, ids=None, documents=None):
        ids = tokens(b, t, high=vocab) if ids is None else torch.tensor(ids)
        wte = leaf(normal(vocab, c))
        out = F.embedding(ids, wte)
        group = {"ids": ids, "wte": wte}
        if positions:
            group["wpe"] = leaf(normal(t, c))
            if documents is None:
                out = out + group["wpe"]
            else:
                group["spans"] = spans_of(documents)
                out = out + F.embedding(torch.arange(t) - group["spans"][:, :, 0], group["wpe"])
        dout = normal(b, t, c)
        out.backward(dout)
        group |= {"out": out, "dout": dout, "dwte": wte.grad}
        if positions:
            group["dwpe"] = group["wpe"].grad
        return group

    def table(t, c):
        pair = torch.arange(c) // 2
        angle = torch.arange(t)[:, None] * torch.exp(-math.log(10000.0) * 2 * pair / c)
        return {"table": torch.where(torch.arange(c) % 2 == 0, torch.sin(angle), torch.cos(angle))}

    write_cases(
        "embedding",
        {
            "one": case(1, 1, 1, 1),
            "odd": case(2, 5, 7, 11),
            "no_positions": case(3, 4, 6, 5, positions=False),
            "same_token": case(2, 3, 4, 5, ids=[[4, 4, 4], [4, 4, 4]]),
            "large_vocab": case(1, 4, 3, 67, ids=[[0, 66, 0, 65]]),
            "documents": case(2, 5, 8, 7, documents=[[2, 3], [1, 1, 3]]),
            "sinusoidal": table(9, 8),
            "sinusoidal_odd": table(5, 7),
            "sinusoidal_one": table(1, 1),
        },
    )


# --- attention and the loss -----------------------------------------------------------------------------------------


def attention():
    def case(b, t, c, n_head, words=(0, 0, 0, 0), site=0, p=0.0, scale=1.0, documents=None):
        words, head_size = list(words), c // n_head
        qkv, dout = leaf(normal(b, t, 3 * c, scale=scale)), normal(b, t, c)
        q, k, v = (part.view(b, t, n_head, head_size).transpose(1, 2) for part in qkv.split(c, dim=2))
        scores = q @ k.transpose(2, 3) / math.sqrt(head_size)
        unseen = torch.ones(t, t, dtype=torch.bool).triu(1)
        if documents is not None:
            numbers = torch.stack([torch.arange(len(row)).repeat_interleave(torch.tensor(row)) for row in documents])
            unseen = (unseen | (numbers[:, :, None] != numbers[:, None, :]))[:, None]
        att = torch.softmax(scores.masked_fill(unseen, -math.inf), dim=3)
        out = (att * dropout_factors(words, site, p, att.shape)) @ v
        if p == 0.0:
            fused = F.scaled_dot_product_attention(q, k, v, attn_mask=~unseen)
            assert torch.allclose(out, fused, rtol=1e-12, atol=1e-12)
        out = out.transpose(1, 2).reshape(b, t, c)
        out.backward(dout)
        group = {} if documents is None else {"spans": spans_of(documents)}
        return group | {
            "dims": torch.tensor([b, t, c, n_head]),
            "rng": torch.tensor(words),
            "site": torch.tensor(site),
            "p": number(p),
            "qkv": qkv,
            "out": out,
            "att": att,
            "lse": torch.logsumexp(scores.masked_fill(unseen, -math.inf), dim=3),
            "dout": dout,
            "dqkv": qkv.grad,
        }

    write_cases(
        "attention",
        {
            "one": case(1, 1, 1, 1),
            "one_token": case(2, 1, 6, 3),
            "one_head": case(1, 7, 4, 1),
            "odd": case(2, 5, 6, 2),
            "heads_of_one": case(2, 4, 5, 5),
            "long": case(1, 17, 4, 2),
            "dropout": case(2, 5, 6, 3, words=(1337, 5, 10, 1), site=4, p=0.25),
            "heavy_dropout": case(1, 6, 4, 2, words=(1, 0, 0, 0), site=9, p=0.9),
            "huge": case(1, 6, 4, 2, scale=50.0),
            "tiny": case(1, 6, 4, 2, scale=1e-6),
            "heads_of_16": case(1, 21, 32, 2),
            "heads_of_12": case(2, 9, 24, 2, words=(3, 1, 4, 1), site=5, p=0.25),
            "documents": case(2, 7, 8, 2, documents=[[1, 4, 2], [3, 3, 1]]),
            "documents_dropout": case(1, 24, 16, 2, words=(2, 7, 1, 8), site=3, p=0.25, documents=[[9, 1, 14]]),
        },
    )


def cross_entropy():
    def case(logits, targets, scale=None):
        targets = torch.tensor(targets)
        counted = targets != IGNORE
        if scale is None:
            scale = 1.0 / max(1, int(counted.sum()))
        logits = leaf(logits)
        ignored_as_minus = torch.where(counted, targets, -100)
        losses = F.cross_entropy(logits, ignored_as_minus, ignore_index=-100, reduction="none")
        loss = losses.sum() * scale
        loss.backward()
        return {
            "logits": logits,
            "targets": targets,
            "scale": number(scale),
            "loss": loss,
            "losses": losses,
            "lse": torch.logsumexp(logits, dim=1),
            "dlogits": logits.grad,
        }

    write_cases(
        "cross_entropy",
        {
            "one": case(normal(1, 1), [0]),
            "one_row": case(normal(1, 9), [8]),
            "odd": case(normal(5, 7), [0, 6, 3, 3, 1]),
            "some_ignored": case(normal(6, 11), [IGNORE, 10, IGNORE, 0, 5, IGNORE]),
            "all_ignored": case(normal(3, 5), [IGNORE] * 3),
            "accumulated": case(normal(4, 5), [1, 2, IGNORE, 4], scale=0.125),
            "wide": case(normal(2, 257), [256, 0]),
            "huge": case(normal(4, 6, scale=1e4), [0, 1, 2, 3]),
            "tiny": case(normal(4, 6, scale=1e-6), [0, 1, 2, 3]),
            "equal": case(exact(torch.full((2, 5), 7.0)), [0, 4]),
        },
    )


# --- the optimizer --------------------------------------------------------------------------------------------------


def global_norm():
    def case(grads, max_norm):
        grads = exact(grads)
        bad = int((~torch.isfinite(grads)).sum())
        if bad:
            out = [0.0, 0.0, 0.0, bad]
        elif max_norm == 0.0:
            out = [torch.linalg.vector_norm(grads).item(), 1.0, 1.0, 0.0]
        else:
            param = leaf(torch.zeros_like(grads))
            param.grad = grads.clone()
            norm = torch.nn.utils.clip_grad_norm_([param], max_norm)
            # The coefficient as PyTorch applied it, seen on the largest element.
            largest = grads.abs().argmax()
            coef = 1.0 if grads[largest] == 0 else (param.grad[largest] / grads[largest]).item()
            out = [norm.item(), coef, 1.0, 0.0]
        return {"grads": grads, "max_norm": number(max_norm), "out": torch.tensor(out)}

    broken = normal(11)
    one_nan, mixed = broken.clone(), broken.clone()
    one_nan[10] = math.nan
    mixed[0], mixed[5], mixed[9] = math.inf, -math.inf, math.nan
    write_cases(
        "global_norm",
        {
            "one": case(normal(1), 1.0),
            "clipped": case(normal(67), 1.0),
            "not_clipped": case(normal(67, scale=0.01), 1.0),
            "clipping_off": case(normal(67), 0.0),
            "zeros": case(torch.zeros(7), 1.0),
            "huge": case(normal(9, scale=1e15), 1.0),
            "tiny": case(normal(9, scale=1e-15), 1.0),
            "nan": case(one_nan, 1.0),
            "infinities": case(mixed, 0.0),
        },
    )


def adamw():
    def case(t, decay=True, clip=1.0, grad_scale=1.0, lr=1e-2, shape=(3, 5)):
        beta1, beta2, eps, weight_decay = 0.9, 0.95, 1e-8, 0.1
        param = leaf(normal(*shape))
        grad = normal(*shape, scale=grad_scale)
        m = torch.zeros(shape) if t == 1 else normal(*shape, scale=0.1 * grad_scale)
        v = torch.zeros(shape) if t == 1 else exact(normal(*shape, scale=0.3 * grad_scale) ** 2)
        optimizer = torch.optim.AdamW(
            [param], lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay if decay else 0.0, foreach=False
        )
        optimizer.state[param] = {"step": torch.tensor(t - 1.0), "exp_avg": m.clone(), "exp_avg_sq": v.clone()}
        before = param.detach().clone()
        param.grad = grad * clip
        optimizer.step()
        after = optimizer.state[param]
        return {
            "param": before,
            "grad": grad,
            "m": m,
            "v": v,
            "t": torch.tensor(t),
            "decay": torch.tensor(int(decay)),
            "clip_coef": number(clip),
            "hyper": torch.tensor([lr, beta1, beta2, eps, weight_decay]),
            "param_after": param,
            "m_after": after["exp_avg"],
            "v_after": after["exp_avg_sq"],
        }

    write_cases(
        "adamw",
        {
            "one": case(1, shape=(1,)),
            "first_step": case(1),
            "later_step": case(7),
            "thousandth_step": case(1000),
            "no_decay": case(3, decay=False, shape=(7,)),
            "clipped": case(2, clip=0.3125),
            "zero_gradient": case(1, grad_scale=0.0),
            "huge": case(4, grad_scale=1e6),
            "tiny": case(4, grad_scale=1e-9),
            "no_learning": case(2, lr=0.0),
        },
    )


# --- a whole model --------------------------------------------------------------------------------------------------


def model_shapes(config):
    c, shapes = config["n_embd"], {"wte.weight": (config["vocab_size"], config["n_embd"])}
    if config["learned_positions"]:
        shapes["wpe.weight"] = (config["block_size"], c)
    for layer in range(config["n_layer"]):
        for name, shape in {
            "ln_1": (c,),
            "attn.c_attn": (c, 3 * c),
            "attn.c_proj": (c, c),
            "ln_2": (c,),
            "mlp.c_fc": (c, 4 * c),
            "mlp.c_proj": (4 * c, c),
        }.items():
            shapes[f"h.{layer}.{name}.weight"] = shape
            if config["bias"]:
                shapes[f"h.{layer}.{name}.bias"] = shape[-1:]
    shapes["ln_f.weight"] = (c,)
    if config["bias"]:
        shapes["ln_f.bias"] = (c,)
    if not config["tied"]:
        shapes["lm_head.weight"] = (config["vocab_size"], c)
    return shapes


def initial(name, shape):
    """Larger than GPT-2's own, so that every part of the tiny model has a gradient worth comparing."""
    if ".ln_" in f".{name}" and name.endswith("weight"):
        return normal(*shape, scale=0.1, shift=1.0)
    return normal(*shape, scale=0.2)


def logits_of(config, weights, ids):
    """GPT-2's decoder as its paper and its published weights have it."""
    t, c, n_head = ids.shape[1], config["n_embd"], config["n_head"]

    def norm(name, x):
        return F.layer_norm(x, (c,), weights[f"{name}.weight"], weights.get(f"{name}.bias"), 1e-5)

    def linear(name, x):
        x = x @ weights[f"{name}.weight"]
        return x + weights[f"{name}.bias"] if config["bias"] else x

    def heads(x):
        return x.view(*ids.shape, n_head, c // n_head).transpose(1, 2)

    if config["learned_positions"]:
        positions = weights["wpe.weight"][:t]
    else:
        rows = [
            [(math.cos if col % 2 else math.sin)(pos / 10000 ** ((col - col % 2) / c)) for col in range(c)]
            for pos in range(t)
        ]
        positions = torch.tensor(rows)
    x = weights["wte.weight"][ids] + positions
    for layer in range(config["n_layer"]):
        q, k, v = linear(f"h.{layer}.attn.c_attn", norm(f"h.{layer}.ln_1", x)).split(c, dim=2)
        y = F.scaled_dot_product_attention(heads(q), heads(k), heads(v), is_causal=True)
        x = x + linear(f"h.{layer}.attn.c_proj", y.transpose(1, 2).reshape(*ids.shape, c))
        y = F.gelu(linear(f"h.{layer}.mlp.c_fc", norm(f"h.{layer}.ln_2", x)), approximate="tanh")
        x = x + linear(f"h.{layer}.mlp.c_proj", y)
    head = weights["wte.weight" if config["tied"] else "lm_head.weight"]
    return norm("ln_f", x) @ head.T


def sample():
    def case(n, temperature, top_k, top_p, words, scale=3.0):
        logits, temperature, top_p = normal(n, scale=scale), float(exact(temperature)), float(exact(top_p))
        values, order = torch.sort(logits, descending=True, stable=True)
        if temperature == 0:
            weights = F.one_hot(order[0], n).to(torch.float64)
        else:
            kept = F.softmax(values[: top_k or n] / temperature, dim=0)
            # a token stays where those before it don't make top_p yet
            kept = kept[(kept.cumsum(0) - kept) < top_p]
            weights = torch.zeros(n).index_put((order[: len(kept)],), kept / kept.max())
        # the random number: a hash of seed low, seed high, stream and how many were drawn
        goal = (dropout_key(words, 0) >> 8) / 2**24 * weights.sum()
        token = int((weights.cumsum(0) <= goal).sum())
        numbers = {"temperature": number(temperature), "top_p": number(top_p)}
        counts = {"top_k": torch.tensor([top_k]), "words": torch.tensor(words), "token": torch.tensor([token])}
        return {"logits": logits.reshape(1, n), "weights": weights} | numbers | counts

    write_cases(
        "sample",
        {
            "greedy": case(65, 0.0, 0, 1.0, [1, 0, 0, 0]),
            "all": case(65, 0.8, 0, 1.0, [1, 0, 0, 1]),
            "stream": case(65, 0.8, 0, 1.0, [1, 0, 5, 1]),
            "hot": case(256, 1.7, 0, 1.0, [0xDEADBEEF, 17, 3, 200]),
            "top_k": case(300, 1.0, 10, 1.0, [2, 0, 0, 9]),
            "top_p": case(300, 1.0, 0, 0.8, [3, 0, 1, 10]),
            "both": case(300, 1.2, 40, 0.9, [4, 1, 2, 11]),
        },
    )


def model(stem, config, b, t, ignored):
    n_step, lr, beta1, beta2, eps, weight_decay, max_norm = 10, 1e-2, 0.9, 0.95, 1e-8, 0.1, 1.0
    weights = {name: leaf(initial(name, shape)) for name, shape in model_shapes(config).items()}
    ids, targets = tokens(b, t, high=config["vocab_size"]), tokens(b, t, high=config["vocab_size"])
    for position in ignored:
        targets.view(-1)[position] = IGNORE
    minus = torch.where(targets == IGNORE, -100, targets)
    arrays = {"tokens": ids, "targets": targets}
    for name, weight in weights.items():
        # Exact in f32 already, so half the space holds the same numbers.
        arrays[f"init.{name}"] = weight.detach().to(torch.float32)

    optimizer = torch.optim.AdamW(
        [
            {"params": [w for w in weights.values() if w.dim() >= 2], "weight_decay": weight_decay},
            {"params": [w for w in weights.values() if w.dim() < 2], "weight_decay": 0.0},
        ],
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        foreach=False,
    )
    losses, norms = [], []
    for step in range(n_step):
        optimizer.zero_grad()
        logits = logits_of(config, weights, ids)
        loss = F.cross_entropy(logits.view(b * t, -1), minus.view(-1), ignore_index=-100)
        loss.backward()
        if step == 0:
            arrays |= {"logits": logits, "loss": loss}
            arrays |= {f"grad.{name}": weight.grad.clone() for name, weight in weights.items()}
        norms.append(torch.nn.utils.clip_grad_norm_(list(weights.values()), max_norm).item())
        losses.append(loss.item())
        optimizer.step()
    arrays |= {"losses": torch.tensor(losses), "grad_norms": torch.tensor(norms)}
    arrays |= {f"final.{name}": weight for name, weight in weights.items()}
    hyper = {"n_step": n_step, "lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
    hyper |= {"weight_decay": weight_decay, "max_norm": max_norm, "b": b, "t": t, "seed": SEED}
    flags = {key: str(value).lower() for key, value in config.items()}
    write(stem, arrays, flags | hyper)


def main():
    # Every op draws from its own stream, so that a new case in one leaves the other files as they are.
    makers = [residual, gelu, dropout, matmul, column_sum, layernorm, embedding, attention, cross_entropy]
    for number_of, maker in enumerate(makers + [global_norm, adamw, sample]):
        rng.manual_seed(SEED + number_of)
        maker()
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 12, "block_size": 8, "vocab_size": 11}
    rng.manual_seed(SEED + 100)
    tiny = sizes | {"bias": True, "tied": True, "learned_positions": True}
    model("model_tiny", tiny, b=3, t=7, ignored=[0, 5, 6, 13, 17])
    rng.manual_seed(SEED + 101)
    plain = sizes | {"n_head": 4, "bias": False, "tied": False, "learned_positions": False}
    model("model_plain", plain, b=2, t=8, ignored=[8, 9, 10, 15])
    write_manifest()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes the small foreign models in `models/`, and transformers' logits for them.

    pip install torch numpy transformers safetensors && python assets/interop/make_models.py

Needed only to change them; the tests read the committed files. Running it again gives the same bytes, but for torch_old: its
storages are called by their addresses in memory.

Every model is a GPT-2 with random weights, large enough that each of them counts:

    hf_f32/            as GPT2LMHeadModel.save_pretrained writes it today: F32, tied, `transformer.` in front of names;
                       its vocabulary of 272 is padded, tokenizer.json has 266
    hf_old_f16/        as in files of 2019: bare names, the causal masks beside the weights, an old config.json, F16;
                       vocab.json and merges.txt
    hf_bf16_sharded/   BF16, in shards with an index
    hf_untied/         an output projection of its own
    llmc_f32.bin       llm.c's model file, version 3, in its layout: padded vocabulary, matrices out x in
    llmc_bf16.bin      the same in BF16, version 5
    nanogpt/           nanoGPT's folder: out/ckpt.pt as its train.py writes it with compile=True and bias=False, and the
                       data set's meta.pkl; logits with the tanh form of GELU
    torch_old/         pytorch_model.bin of before PyTorch 1.6, F16, with masks, as on the hub in 2019
    torch_views.pt     a state_dict of parameters in BF16 behind `module.`, biases, an output projection of its own, one
                       matrix a transposed view and one a slice of a larger tensor

`models/logits.safetensors` has `<model>.tokens` (T) and `<model>.logits` (T, V): of transformers in f64, from the weights as
the files hold them, rounded to f32. MANIFEST records the versions, the seed and a checksum of each file and of this script.
"""

import json
import pathlib
import pickle
import platform
import shutil
import zlib

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

SEED = 20261
FOLDER = pathlib.Path(__file__).resolve().parent
MODELS = FOLDER / "models"
T = 6
END_OF_TEXT = "<|endoftext|>"
MERGES = ["t h", "Ġ th", "Ġth e", "i n", "e r", "Ġ a", "o n", "a n", "an d"]
LLMC_MAGIC = 20240326

torch.set_num_threads(1)
rng = torch.Generator().manual_seed(SEED)
logits = {}


# --- tokenizer ------------------------------------------------------------------------------------------------------


def alphabet():
    """The character that GPT-2's files write for each byte."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in kept else chr(next(others)) for byte in range(256)]


def tokenizer():
    """Bytes, a few merges, and the end of a text: 266 ids."""
    vocab = [*alphabet(), *(merge.replace(" ", "") for merge in MERGES), END_OF_TEXT]
    return {token: i for i, token in enumerate(vocab)}


def tokenizer_json():
    vocab = tokenizer()
    part = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    end = {"id": vocab[END_OF_TEXT], "content": END_OF_TEXT, "single_word": False, "lstrip": False, "rstrip": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{**end, "normalized": False, "special": True}],
        "normalizer": None,
        "pre_tokenizer": part,
        "post_processor": part,
        "decoder": part,
        "model": {"type": "BPE", "vocab": vocab, "merges": [merge.split(" ") for merge in MERGES]},
    }


def write_tokenizer(folder):
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(), ensure_ascii=False), encoding="utf-8")


# --- models ---------------------------------------------------------------------------------------------------------


def make(vocab_size, n_embd, n_head, dtype, tied=True):
    """A model whose weights are exact in a type, each of a size that shows in the logits."""
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=16,
        n_embd=n_embd,
        n_layer=2,
        n_head=n_head,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for name, param in model.named_parameters():
            center = 1.0 if name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")) else 0.0
            values = center + 0.3 * torch.randn(param.shape, generator=rng)
            param.copy_(values.to(dtype).float())
    return model.eval()


def remember(name, model):
    tokens = torch.randint(0, model.config.vocab_size, (T,), generator=rng)
    with torch.no_grad():
        answer = model.double()(tokens[None]).logits[0]
    logits[f"{name}.tokens"] = tokens.to(torch.uint32)
    logits[f"{name}.logits"] = answer.float().contiguous()
    model.float()


def folder_of(name):
    folder = MODELS / name
    folder.mkdir(parents=True)
    return folder


def hf_f32():
    folder, model = folder_of("hf_f32"), make(272, 16, 2, torch.float32)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    remember("hf_f32", model)


def hf_old_f16():
    folder, model = folder_of("hf_old_f16"), make(266, 18, 3, torch.float16)
    state = {}
    for name, values in model.transformer.state_dict().items():
        state[name] = values.half().contiguous()
    for layer in range(2):
        state[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(16, 16, dtype=torch.uint8)).view(1, 1, 16, 16).contiguous()
        state[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4).half()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1,
        "bos_token_id": 265,
        "embd_pdrop": 0.1,
        "eos_token_id": 265,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_ctx": 16,
        "n_embd": 18,
        "n_head": 3,
        "n_layer": 2,
        "n_positions": 16,
        "resid_pdrop": 0.1,
        "summary_type": "cls_index",
        "vocab_size": 266,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "vocab.json").write_text(json.dumps(tokenizer(), ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n", encoding="utf-8")
    remember("hf_old_f16", model)


def hf_bf16_sharded():
    folder, model = folder_of("hf_bf16_sharded"), make(266, 16, 4, torch.bfloat16)
    model.bfloat16().save_pretrained(folder, max_shard_size="9KB")
    model.float()
    write_tokenizer(folder)
    remember("hf_bf16_sharded", model)


def hf_untied():
    folder, model = folder_of("hf_untied"), make(256, 16, 1, torch.float32, tied=False)
    model.save_pretrained(folder)
    remember("hf_untied", model)


def llmc(name, version, dtype):
    """Header and order: karpathy/llm.c, `write_model` of train_gpt2.py."""
    model = make(256, 16, 2, dtype)
    padded = 272
    config, state = model.config, model.transformer.state_dict()
    header = np.zeros(256, dtype="<i4")
    header[:8] = [LLMC_MAGIC, version, config.n_positions, 256, config.n_layer, config.n_head, config.n_embd, padded]
    # rows that no token has may hold anything
    tensors = [torch.cat([state["wte.weight"], torch.full((padded - 256, config.n_embd), 7.0)]), state["wpe.weight"]]
    for kind in ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"]:
        for part in ["weight", "bias"]:
            layers = [state[f"h.{i}.{kind}.{part}"] for i in range(config.n_layer)]
            # 2-D ones are in x out in transformers
            tensors += [layer.T.contiguous() if layer.dim() == 2 else layer for layer in layers]
    tensors += [state["ln_f.weight"], state["ln_f.bias"]]
    with open(MODELS / f"{name}.bin", "wb") as file:
        file.write(header.tobytes())
        for tensor in tensors:
            if dtype == torch.bfloat16:
                file.write(tensor.bfloat16().view(torch.int16).numpy().astype("<i2").tobytes())
            else:
                file.write(tensor.numpy().astype("<f4").tobytes())
    remember(name, model)


# --- PyTorch's own files --------------------------------------------------------------------------------------------


def by_output(state):
    """As nn.Linear has matrices: out x in."""
    is_linear = lambda name: name.endswith(".weight") and (".attn." in name or ".mlp." in name)
    return {name: tensor.T.contiguous() if is_linear(name) else tensor for name, tensor in state.items()}


def nanogpt():
    chars = sorted("\n !abcdefghijklmnopqrstuvwxyz")
    model = make(len(chars), 24, 3, torch.float32)
    with torch.no_grad():
        for name, param in model.named_parameters():
            if name.endswith(".bias"):
                param.zero_()
    weights = {name: tensor for name, tensor in by_output(model.state_dict()).items() if not name.endswith(".bias")}
    weights["lm_head.weight"] = weights["transformer.wte.weight"]
    args = {"n_layer": 2, "n_head": 3, "n_embd": 24, "block_size": 16, "bias": False, "vocab_size": len(chars), "dropout": 0.2}
    params = [torch.nn.Parameter(tensor.clone()) for tensor in list(weights.values())[:2]]
    optimizer = torch.optim.AdamW(params, lr=1e-3)
    for param in params:
        param.grad = torch.ones_like(param)
    state = {"_orig_mod." + name: tensor.clone() for name, tensor in weights.items()}
    state["_orig_mod.lm_head.weight"] = state["_orig_mod.transformer.wte.weight"]
    optimizer.step()
    folder = folder_of("nanogpt/out")
    checkpoint = {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "model_args": args,
        "iter_num": 250,
        "best_val_loss": torch.tensor(2.5),
        "config": {"out_dir": "out", "dataset": "tiny", "compile": True, "learning_rate": 1e-3, "n_head": 3},
    }
    torch.save(checkpoint, folder / "ckpt.pt")
    meta = {"vocab_size": len(chars), "itos": dict(enumerate(chars)), "stoi": {c: i for i, c in enumerate(chars)}}
    with open(folder_of("nanogpt/data/tiny") / "meta.pkl", "wb") as file:
        pickle.dump(meta, file)
    remember("nanogpt", model)


def torch_old():
    folder, model = folder_of("torch_old"), make(266, 16, 2, torch.float16)
    state = {name: tensor.half().contiguous() for name, tensor in model.transformer.state_dict().items()}
    for layer in range(2):
        state[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(16, 16, dtype=torch.uint8)).view(1, 1, 16, 16)
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    config = {"model_type": "gpt2", "vocab_size": 266, "n_positions": 16, "n_ctx": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_tokenizer(folder)
    remember("torch_old", model)


def torch_views():
    model = make(256, 16, 4, torch.bfloat16, tied=False)
    state = {name: tensor.bfloat16() for name, tensor in by_output(model.state_dict()).items()}
    name = "transformer.h.1.mlp.c_proj.weight"
    state[name] = state[name].T.contiguous().T
    name = "transformer.h.0.attn.c_proj.weight"
    state[name] = torch.cat([state[name], state[name]], dim=1)[:, 16:]
    assert not any(state[f"transformer.h.{part}.c_proj.weight"].is_contiguous() for part in ["1.mlp", "0.attn"])
    state = {"module." + name: torch.nn.Parameter(tensor) for name, tensor in state.items()}
    torch.save({"epoch": 3, "model_state_dict": state, "config": {"n_head": 4}}, MODELS / "torch_views.pt")
    remember("torch_views", model)


# --- files ----------------------------------------------------------------------------------------------------------


def main():
    shutil.rmtree(MODELS, ignore_errors=True)
    MODELS.mkdir()
    hf_f32()
    hf_old_f16()
    hf_bf16_sharded()
    hf_untied()
    llmc("llmc_f32", 3, torch.float32)
    llmc("llmc_bf16", 5, torch.bfloat16)
    nanogpt()
    torch_old()
    torch_views()
    save_file(logits, MODELS / "logits.safetensors")
    for extra in MODELS.glob("*/generation_config.json"):
        extra.unlink()
    paths = [pathlib.Path(__file__).resolve(), *sorted(path for path in MODELS.rglob("*") if path.is_file())]
    lines = [
        "# crc32, bytes and name of each small model's files and of the script that made them",
        f"# torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, numpy {np.__version__}, "
        f"python {platform.python_version()}",
        f"# seed {SEED}",
    ]
    for path in paths:
        data = path.read_bytes()
        lines.append(f"{zlib.crc32(data):08x} {len(data):7} {path.relative_to(FOLDER).as_posix()}")
    (FOLDER / "MANIFEST").write_text("\n".join(lines) + "\n")


main()

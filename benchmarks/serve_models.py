"""Make what `serve.py` starts from, untimed and once: a base in ONNX, adapters for it.

    python serve_models.py FOLDER MODEL [--smoke]

FOLDER then holds base.onnx and its data, and adapter-<n>.fft, with fingerprints.
"""
# ruff: noqa: TID251 -- torch makes the bases and the adapters

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import warnings
from pathlib import Path

import torch
from kinds_setup import save_llama
from minilm_peer import export
from minilm_setup import base_model
from serve_cases import ALPHA, SEED, Files, Model, model_of, sizes_of

import fourier_format
from fourier_trainers.torch import FourierConfig, attach, capture, detach


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model")
    parser.add_argument("--smoke", action="store_true", help="a tiny model of its kind")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        make(arguments.folder, model_of(arguments.model, smoke=arguments.smoke), arguments.smoke)


def make(folder: Path, model: Model, smoke: bool) -> None:
    """Write a model's base and adapters; a folder that is there is whole."""
    unfinished = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    files = Files(unfinished)
    base = torch_model(model)
    for n in sizes_of(smoke=smoke):
        save_adapter(base, model, n, files.adapter(n))
    if model.family == "bert":
        export(base, files.base, "dynamo")
    else:
        _build_llama(base, unfinished, model)
    unfinished.rename(folder)


def torch_model(model: Model) -> torch.nn.Module:
    """The base in torch, the same weights each time."""
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    shape = {
        "vocab_size": model.vocabulary,
        "hidden_size": model.width,
        "intermediate_size": model.feedforward,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
    }
    made: torch.nn.Module
    if model.real:
        made = base_model(tiny=False)
    elif model.family == "bert":
        made = BertModel(BertConfig(**shape), add_pooling_layer=False)
    else:
        made = LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=model.heads))
    return made.eval()


def save_adapter(base: torch.nn.Module, model: Model, n: int, path: Path) -> None:
    """An adapter of query and value with random coefficients, which stand for trained ones."""
    config = FourierConfig(target_modules=model.targets, n=n, alpha=ALPHA, init="normal")
    attach(base, config)
    fourier_format.save(capture(base), path)
    detach(base)


def _build_llama(base: torch.nn.Module, folder: Path, model: Model) -> None:
    """onnxruntime-genai's graph, with query, key and value apart: LoRA's way needs that.

    Packed, its builder would not have room for a LoRA beside query and value either.
    """
    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    checkpoint, built = folder / "checkpoint", folder / "built"
    save_llama(base, checkpoint)
    cache = str(folder / "cache")
    settings = (None, str(checkpoint), str(built), model.precision, "cpu", cache)
    with contextlib.redirect_stderr(io.StringIO()):
        create_model(*settings, **parse_extra_options(*settings, ["fuse_qkv=false"]))
    (built / "model.onnx").rename(folder / "base.onnx")
    (built / "model.onnx.data").rename(folder / "model.onnx.data")
    for spent in (checkpoint, built, folder / "cache"):
        shutil.rmtree(spent, ignore_errors=True)


if __name__ == "__main__":
    main()

"""Make what `activation.py` starts from, untimed: a base by the dynamo exporter, an adapter.

python activation_setup.py FOLDER --model minilm|bert|tiny [--n 1000]
"""
# ruff: noqa: TID251 -- torch and PEFT make the base and the adapter

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import torch
from minilm_peer import export
from minilm_setup import base_model
from peft import FourierFTConfig, get_peft_model
from transformers import BertConfig, BertModel

from fourier_converters.cli import main as convert


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=("minilm", "bert", "tiny"), required=True)
    parser.add_argument("--n", type=int, default=1000)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    folder: Path = arguments.folder
    bert = arguments.model == "bert"
    base = BertModel(BertConfig()) if bert else base_model(tiny=arguments.model == "tiny")
    base.eval().save_pretrained(folder / "model")
    export(base, folder / "base.onnx", "dynamo")
    config = FourierFTConfig(
        target_modules=["query", "value"], n_frequency=arguments.n, init_weights=False
    )
    get_peft_model(base, config).save_pretrained(folder / "peft")
    peft, model, adapter = (str(folder / name) for name in ("peft", "model", "adapter.fft"))
    if convert([peft, "--to", "fft", "--base", model, "-o", adapter, "--quiet"]) != 0:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

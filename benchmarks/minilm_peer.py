"""Today's way from a PEFT FourierFT adapter to ONNX, as its user would write it.

    python minilm_peer.py MODEL ADAPTER OUTPUT --exporter dynamo

Load the model and the adapter, merge, export. `conversion.py` times it as a whole process.
"""
# ruff: noqa: TID251 -- the peer

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModel

INPUTS = ("input_ids", "attention_mask")
_SHAPE = (2, 16)


class Encoder(torch.nn.Module):
    """The usual wrapper of export scripts: a plain tensor out."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask)[0]
        return states


def load(model: Path) -> torch.nn.Module:
    """Load the base model."""
    base: torch.nn.Module = AutoModel.from_pretrained(model).eval()
    return base


def with_adapter(base: torch.nn.Module, adapter: Path) -> PeftModel:
    """Put the adapter on the base."""
    result: PeftModel = PeftModel.from_pretrained(base, adapter).eval()
    return result


def merged(adapted: PeftModel) -> torch.nn.Module:
    """Merge the adapter into the base's weights, which changes the model."""
    result: torch.nn.Module = adapted.merge_and_unload()
    return result


def export(model: torch.nn.Module, path: Path, exporter: str) -> None:
    """Export with free batch and sequence axes, and the exporter's own defaults otherwise."""
    inputs = {name: torch.ones(_SHAPE, dtype=torch.int64) for name in INPUTS}
    free = {name: {0: "batch", 1: "tokens"} for name in INPUTS}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            torch.onnx.export(
                Encoder(model),
                (),
                path,
                kwargs=inputs,
                input_names=list(INPUTS),
                dynamic_shapes=free,
                dynamo=True,
                verbose=False,
            )
        else:
            torch.onnx.export(
                Encoder(model),
                tuple(inputs.values()),
                path,
                input_names=list(INPUTS),
                dynamic_axes=free,
                dynamo=False,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--exporter", choices=("dynamo", "torchscript"), required=True)
    arguments = parser.parse_args()
    model = merged(with_adapter(load(arguments.model), arguments.adapter))
    export(model, arguments.output, arguments.exporter)


if __name__ == "__main__":
    main()

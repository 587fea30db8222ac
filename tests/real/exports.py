"""Export torch models to ONNX in the ways in which people do it.

The exporter, the wrapper and constant folding each decide what a weight is called and which way
round it is stored; a converter that has seen one combination has seen one.
"""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel

Exporter = Literal["dynamo", "torchscript"]
Wrap = Literal["bare", "wrapped", "pooled"]
EXPORTERS: tuple[Exporter, ...] = ("dynamo", "torchscript")
_OPSET = 18
_AXES = {
    "input_ids": {0: "batch", 1: "tokens"},
    "attention_mask": {0: "batch", 1: "tokens"},
    "decoder_input_ids": {0: "batch", 1: "targets"},
    "pixel_values": {0: "batch"},
}
"""What varies from one run to the next, by input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One way of exporting a model."""

    exporter: Exporter
    wrap: Wrap = "wrapped"
    external: bool = False
    """Weights in a second file; dynamo only."""
    folding: bool = True
    """Constant folding, which transposes and renames weights; both exporters have it on."""
    dynamic: bool = False
    dtype: torch.dtype = torch.float32

    @property
    def name(self) -> str:
        """A folder name, different for each way."""
        marks = {"external": self.external, "unfolded": not self.folding, "dynamic": self.dynamic}
        parts = [self.exporter, self.wrap, *(mark for mark, on in marks.items() if on)]
        return "-".join([*parts, str(self.dtype).removeprefix("torch.")])


class Wrapped(torch.nn.Module):
    """The usual wrapper of export scripts: plain tensors out, every path prefixed ``model.``."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        return tuple(self.model(input_ids=input_ids, attention_mask=attention_mask).values())


class WrappedPair(Wrapped):
    """The same around an encoder and a decoder."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        decoder_input_ids: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        result = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
        )
        return tuple(result.values())


class WrappedImages(torch.nn.Module):
    """The same around a model of images."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.model(pixel_values=pixel_values).values())


class Pooled(torch.nn.Module):
    """A sentence encoder: its path ``encoder.`` stands before BERT's own ``encoder.layer``."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        weights = attention_mask[..., None].to(states.dtype)
        pooled = (states * weights).sum(1) / weights.sum(1)
        return (torch.nn.functional.normalize(pooled, dim=1),)


_WRAPPERS: dict[str, type[torch.nn.Module]] = {"t5": WrappedPair, "vit": WrappedImages}


def wrapped(model: PreTrainedModel, wrap: Wrap) -> torch.nn.Module:
    """Put the model in the module that its owner exports."""
    if wrap == "bare":
        itself: torch.nn.Module = model
        return itself
    if wrap == "pooled":
        return Pooled(model)
    return _WRAPPERS.get(model.config.model_type, Wrapped)(model)


def export(
    model: PreTrainedModel, inputs: dict[str, torch.Tensor], path: Path, how: Export
) -> None:
    """Write ``model`` to ``path``; its outputs are those of ``wrapped(model, how.wrap)``."""
    if how.external and how.exporter == "torchscript":
        raise ValueError("TorchScript writes external data above 2 GB only")
    module = wrapped(model.to(how.dtype), how.wrap)
    write = _write_dynamo if how.exporter == "dynamo" else _write_torchscript
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        write(module, inputs, path, how)


def _write_dynamo(
    module: torch.nn.Module, inputs: dict[str, torch.Tensor], path: Path, how: Export
) -> None:
    shapes = {name: _AXES[name] for name in inputs} if how.dynamic else None
    torch.onnx.export(
        module,
        (),
        path,
        kwargs=inputs,
        input_names=list(inputs),
        dynamo=True,
        verbose=False,
        optimize=how.folding,
        external_data=how.external,
        dynamic_shapes=shapes,
        opset_version=_OPSET,
    )


def _write_torchscript(
    module: torch.nn.Module, inputs: dict[str, torch.Tensor], path: Path, how: Export
) -> None:
    axes = {name: _AXES[name] for name in inputs} if how.dynamic else None
    if how.wrap == "bare":
        module.forward = _plain(module.forward, list(inputs))
    torch.onnx.export(
        module,
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        dynamo=False,
        do_constant_folding=how.folding,
        dynamic_axes=axes,
        opset_version=_OPSET - 1,
    )


def _plain(
    forward: Callable[..., Mapping[str, torch.Tensor]], names: list[str]
) -> Callable[..., object]:
    """Patch a forward as Optimum does: tracing fails on the originals of transformers 5.

    Given positions they pass ``use_cache`` twice; given keywords, every default becomes an input.
    """

    def plain(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(forward(**dict(zip(names, values, strict=True))).values())

    return plain

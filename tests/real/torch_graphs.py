"""The small torch modules as graphs, and what torch computes once their weights are changed."""
# ruff: noqa: TID251 -- torch is what the converter is compared with

import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tests.real.torch_models import MODELS, Block, Inputs, example_inputs
from tests.real.workspace import Array, once

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)
Writer = Callable[[nn.Module, Inputs, Path], None]


def _dynamo(module: nn.Module, inputs: Inputs, path: Path, *, folding: bool = True) -> None:
    torch.onnx.export(
        module,
        (),
        path,
        kwargs=inputs,
        input_names=list(inputs),
        dynamo=True,
        verbose=False,
        optimize=folding,
        external_data=False,
        opset_version=18,
    )


def _torchscript(
    module: nn.Module, inputs: Inputs, path: Path, *, functions: frozenset[type] = frozenset()
) -> None:
    torch.onnx.export(
        module,
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        dynamo=False,
        opset_version=17,
        export_modules_as_functions=set(functions) or False,
    )


def _scripted(module: nn.Module, inputs: Inputs, path: Path) -> None:
    _torchscript(torch.jit.script(module), inputs, path)


WRITERS: dict[str, Writer] = {
    "dynamo": _dynamo,
    "dynamo-unfolded": partial(_dynamo, folding=False),
    "torchscript": _torchscript,
    "scripted": _scripted,
    "functions": partial(_torchscript, functions=frozenset({Block})),
    "nested-functions": partial(_torchscript, functions=frozenset({Block, nn.Linear})),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchSample:
    """A module and the way in which it is exported."""

    model: str
    writer: str
    operators: Mapping[str, int]
    """Operators that the graph must hold, subgraphs and functions included, and how many."""

    @property
    def name(self) -> str:
        """A test's name for it."""
        return f"{self.model}-{self.writer}"


_SAMPLES = (
    TorchSample(model="branches", writer="dynamo", operators={"If": 1, "MatMul": 3}),
    TorchSample(model="branches", writer="dynamo-unfolded", operators={"If": 1, "Transpose": 3}),
    TorchSample(model="scripted-branches", writer="scripted", operators={"If": 1, "MatMul": 3}),
    TorchSample(model="loop", writer="scripted", operators={"Loop": 1, "MatMul": 3}),
    TorchSample(model="blocks", writer="functions", operators={"Block": 2, "MatMul": 2}),
    TorchSample(model="blocks", writer="nested-functions", operators={"Block": 2, "Linear": 1}),
    TorchSample(model="convolutions", writer="dynamo", operators={"Conv": 4, "ConvTranspose": 1}),
    TorchSample(
        model="convolutions", writer="torchscript", operators={"Conv": 4, "ConvTranspose": 1}
    ),
    TorchSample(model="embeddings", writer="dynamo", operators={"Gather": 2}),
    TorchSample(model="embeddings", writer="torchscript", operators={"Gather": 2}),
)
TORCH_SAMPLES = {sample.name: sample for sample in _SAMPLES}


@dataclass(frozen=True, slots=True)
class TorchGraph:
    """One exported module."""

    sample: TorchSample
    model: Path
    """The ONNX file."""

    def targets(self) -> dict[str, NDArray[np.float32]]:
        """Return the weight of every layer, as torch stores it, by the layer's path."""
        return {
            name: layer.weight.detach().numpy()
            for name, layer in _build(self.sample.model).named_modules()
            if isinstance(layer, _KINDS)
        }

    def inputs(self) -> list[dict[str, Array]]:
        """Return inputs that between them use every layer."""
        return [
            {key: value.numpy() for key, value in inputs.items()}
            for inputs in example_inputs(self.sample.model)
        ]

    def adapted(self, deltas: Mapping[str, NDArray[np.float32]]) -> list[Array]:
        """Return torch's output for each input, once these are added to its weights."""
        module = _build(self.sample.model)
        with torch.no_grad():
            for path, delta in deltas.items():
                module.get_parameter(f"{path}.weight").add_(torch.from_numpy(delta))
            return [module(**inputs).numpy() for inputs in example_inputs(self.sample.model)]


TorchGraphOf = Callable[[str], TorchGraph]
"""What the fixture ``torch_graph_of`` gives: a sample's name to its graph."""


def torch_graph(folder: Path, name: str) -> TorchGraph:
    """Return a sample's graph; it is exported at the first call."""
    sample = TORCH_SAMPLES[name]

    def write(target: Path) -> None:
        inputs = example_inputs(sample.model)[0]
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            WRITERS[sample.writer](_build(sample.model), inputs, target / "model.onnx")

    return TorchGraph(sample, once(folder / name, write) / "model.onnx")


def _build(name: str) -> nn.Module:
    """Build the module: the same weights at every call, large enough to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        module = MODELS[name]()
        for parameter in module.parameters():
            parameter.data.normal_(0, 0.4)
    return module.eval()

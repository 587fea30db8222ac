"""The batch's axis: one row of a batch is changed, and only that row of x changes.

Whatever exporters, optimizers and quantisers make of a base: where `Batches` says the batch lies in
what an adapted layer reads, ONNX Runtime is asked.
"""
# ruff: noqa: TID251 -- torch exports what is tested here

import io
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fourier_converters.onnx.batches import Batch, Batches
from fourier_converters.onnx.model import Model, Value
from fourier_converters.onnx.uses import Use, find_uses
from tests.real.cases import example_inputs
from tests.real.exports import EXPORTERS, Export, Exporter
from tests.real.generation import built
from tests.real.keras_graphs import BACKENDS, Backend, KerasGraphOf
from tests.real.samples import SAMPLES
from tests.real.torch_graphs import TORCH_SAMPLES, TorchGraphOf
from tests.real.workspace import Array, WorkspaceOf, build_base

pytestmark = pytest.mark.real
_ROW = 1
"""The row that is changed."""
_ROUNDED = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul"}
"""One scale for the whole batch: a row moves its neighbours by rounding."""
_HEAD = 16
"""How wide a head of the generating Llama is."""
_LAYERS = 4
"""The layers of a small base."""


@pytest.mark.parametrize("name", SAMPLES)
def test_a_row_of_a_rewritten_graph_is_a_row(name: str, workspace_of: WorkspaceOf) -> None:
    sample = SAMPLES[name]
    workspace = workspace_of(sample.case)

    path = workspace.rewritten(sample.how, sample.tools)

    inputs = {k: v.numpy() for k, v in example_inputs(build_base(workspace.case)).items()}
    checked = _assert_rows_are_rows(path, inputs)
    assert checked >= (0 if "QLinearMatMul" in sample.operators else 8)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_row_of_minilm_is_a_row(
    exporter: Exporter, dynamic: bool, workspace_of: WorkspaceOf
) -> None:
    workspace = workspace_of("minilm-query-value")

    path = workspace.onnx(Export(exporter=exporter, dynamic=dynamic))

    inputs = {k: v.numpy() for k, v in example_inputs(build_base(workspace.case)).items()}
    assert _assert_rows_are_rows(path, inputs) == 37


@pytest.mark.parametrize("form", ["fp32", "fp32-unpacked", "int4", "int4-qdq", "int4-embedding"])
def test_a_row_of_a_generating_graph_is_a_row(form: str, workspace_of: WorkspaceOf) -> None:
    path = built(workspace_of("llama-generating"), form) / "model.onnx"

    inputs: dict[str, Array] = {
        "input_ids": np.random.default_rng(1).integers(5, 97, (3, 6)),
        "attention_mask": np.ones((3, 6), np.int64),
    }
    for value in onnx.load(path, load_external_data=False).graph.input:
        if value.name not in inputs:
            heads = value.type.tensor_type.shape.dim[1].dim_value
            inputs[value.name] = np.zeros((3, heads, 0, _HEAD), np.float32)
    assert _assert_rows_are_rows(path, inputs) >= 11


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_of_kerass_export_is_a_row(backend: Backend, keras_graph_of: KerasGraphOf) -> None:
    graph = keras_graph_of(backend, "text")
    (name,) = [value.name for value in onnx.load(graph.model).graph.input]

    assert _assert_rows_are_rows(graph.model, {name: graph.run()[0]}) >= 10


@pytest.mark.parametrize("name", [n for n in TORCH_SAMPLES if not n.startswith("convolutions")])
def test_a_row_beside_subgraphs_and_functions_is_a_row(
    name: str, torch_graph_of: TorchGraphOf
) -> None:
    graph = torch_graph_of(name)

    assert _assert_rows_are_rows(graph.model, graph.inputs()[0]) >= 1


class _Attention(nn.Module):
    """torch's own attention; sequence first inside, whatever is outside."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.first = nn.Linear(12, 24)
        self.attention = nn.MultiheadAttention(24, 2, batch_first=batch_first)
        self.last = nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = self.first(x)
        result: torch.Tensor = self.last(states + self.attention(states, states, states)[0])
        return result


class _Encoder(nn.Module):
    """Two of torch's own layers."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 2, 24, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.encoder(x)
        return result


_TORCHS: list[tuple[Any, Exporter]] = [
    (_Attention, "dynamo"),
    (_Attention, "torchscript"),
    (_Encoder, "torchscript"),
]


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("build", "exporter"), _TORCHS)
def test_a_row_is_a_row_where_torch_turns_it_round(
    build: Any, exporter: Exporter, dynamic: bool, tmp_path: Path
) -> None:
    axes = {0: "batch", 1: "tokens"} if dynamic else None
    path = _exported(build(batch_first=True), exporter, axes, tmp_path)

    assert _assert_rows_are_rows(path, {"x": _x()}) >= _LAYERS


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("build", "exporter"), _TORCHS)
def test_a_graph_with_tokens_first_has_no_batch_in_front(
    build: Any, exporter: Exporter, dynamic: bool, tmp_path: Path
) -> None:
    axes = {0: "tokens", 1: "rows"} if dynamic else None
    path = _exported(build(batch_first=False), exporter, axes, tmp_path)

    model = Model(path)
    batches = Batches(model)

    answers = {batches.of(_x_of(model, use)) for use in _layers(model)}
    assert answers == {None}
    assert "axis 0 of 'x'" in batches.why(_x_of(model, _layers(model)[0]))


@pytest.mark.parametrize("build", [_Attention, _Encoder])
def test_a_batch_that_is_named_is_followed_on_its_own_axis(build: Any, tmp_path: Path) -> None:
    axes = {0: "tokens", 1: "batch"}
    path = _exported(build(batch_first=False), "torchscript", axes, tmp_path)

    assert _assert_rows_are_rows(path, {"x": _x()}, axis=1) >= _LAYERS


def _exported(
    module: nn.Module, exporter: Exporter, axes: dict[int, str] | None, folder: Path
) -> Path:
    path = folder / "model.onnx"
    named = None if axes is None else {"x": axes}
    how: dict[str, Any] = (
        {"dynamo": True, "dynamic_shapes": named, "verbose": False, "external_data": False}
        if exporter == "dynamo"
        else {"dynamo": False, "dynamic_axes": named, "opset_version": 17}
    )
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # gradients: no fused kernels
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), (torch.from_numpy(_x()),), path, input_names=["x"], **how)
    return path


def _x() -> NDArray[np.float32]:
    return np.random.default_rng(2).standard_normal((3, 5, 12), np.float32)


def _layers(model: Model) -> list[Use]:
    """The linear layers of the main graph, whose inputs can be looked at."""
    return [use for use in find_uses(model) if use.kind == "linear" and use.read.scope == 0]


def _x_of(model: Model, use: Use) -> Value:
    name = model.node(use.read).input[1 - use.read.slot]
    return model.resolve(use.read.scope, name)


def _assert_rows_are_rows(path: Path, inputs: Mapping[str, Array], *, axis: int = 0) -> int:
    """Check every layer of a graph; returns how many have an answer, which must be all."""
    model = Model(path)
    batches = Batches(model)
    claims = {}
    for use in _layers(model):
        value = _x_of(model, use)
        found = batches.of(value)
        assert found is not None, (value, batches.why(value))
        assert batches.why(value) == ""
        assert found.source_axis == axis
        claims[value.name] = found
    if not claims:
        return 0
    rounded = any(node.op_type in _ROUNDED for _, _, node in model.nodes())
    before, after = _ran(model, path, list(claims), [inputs, _changed(inputs, axis)])
    rows = next(iter(inputs.values())).shape[axis]
    for (name, claim), old, new in zip(claims.items(), before, after, strict=True):
        own, others = _differences(claim, old, new, rows)
        assert own > 0, name
        assert others <= (0.5 * own if rounded else 1e-5 * own), (name, claim, own, others)
    return len(_layers(model))


def _changed(inputs: Mapping[str, Array], axis: int) -> dict[str, Array]:
    """Other tokens, pixels and numbers in one row; masks as they were."""
    random = np.random.default_rng(4)
    result = {}
    for name, array in inputs.items():
        result[name] = other = array.copy()
        if array.ndim < 2:
            continue
        part = np.moveaxis(other, axis, 0)
        if np.issubdtype(array.dtype, np.floating):
            part[_ROW] += random.standard_normal(part[_ROW].shape).astype(array.dtype)
        elif "mask" not in name and "places" not in name:
            part[_ROW] = random.integers(5, 20, part[_ROW].shape)
    return result


def _differences(claim: Batch, old: Array, new: Array, rows: int) -> tuple[float, float]:
    """Return how far the row moved at most, and the others."""
    moved = (
        np.abs(
            np.moveaxis(new, claim.axis, 0).astype(np.float64)
            - np.moveaxis(old, claim.axis, 0).astype(np.float64)
        )
        .reshape(old.shape[claim.axis], -1)
        .max(axis=1)
    )
    index = np.arange(len(moved))
    assert len(moved) % rows == 0
    if claim.order == "only":
        assert len(moved) == rows
    row = index % rows if claim.order == "fastest" else index // (len(moved) // rows)
    return float(moved[row == _ROW].max()), float(moved[row != _ROW].max())


def _ran(
    model: Model, path: Path, names: list[str], inputs: list[Mapping[str, Array]]
) -> list[list[Array]]:
    """Return those values, for each of some inputs."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    onnx.load_external_data_for_model(proto, str(path.parent))
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    asked = {value.name for value in session.get_inputs()}
    return [
        [
            np.asarray(array)
            for array in session.run(
                names, {key: value for key, value in given.items() if key in asked}
            )
        ]
        for given in inputs
    ]

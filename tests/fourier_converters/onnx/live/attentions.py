"""Graphs with one com.microsoft Attention, opened in place; and attention in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from fourier_converters.onnx.live.attention import Term, opened
from fourier_format.adapter import Array
from tests.fourier_converters.graphs import rng

ROWS, TOKENS, IN, HEADS = 3, 5, 12, 2
SIZES: Final = (8, 8, 8)
_KINDS: Final = {
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "bool": TensorProto.BOOL,
}
_SLOTS: Final = {"x": 0, "w": 1, "b": 2, "mask": 3, "past": 4, "bias": 5}


@dataclass(frozen=True, kw_only=True)
class Fused:
    """An Attention: what it is given, and its attributes."""

    fed: Mapping[str, Array]
    """By `_SLOTS`; what it lacks is absent. x, w and b are drawn unless they are here."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    sizes: tuple[int, int, int] = SIZES
    biased: bool = True
    present: bool = False

    @property
    def values(self) -> dict[str, Array]:
        drawn = {
            "x": normal(ROWS, TOKENS, IN, seed=1),
            "w": normal(IN, sum(self.sizes), seed=2),
            "b": normal(sum(self.sizes), seed=3),
        }
        if not self.biased:
            del drawn["b"]
        return drawn | dict(self.fed)

    def node(self) -> Any:
        values = self.values
        inputs = [name if name in values else "" for name in _SLOTS]
        while not inputs[-1]:
            inputs.pop()
        outputs = ["y", *(["present"] if self.present else [])]
        given = {"num_heads": HEADS} | dict(self.attributes)
        if self.sizes != SIZES:
            given["qkv_hidden_sizes"] = self.sizes
        return helper.make_node(
            "Attention", inputs, outputs, "att", domain="com.microsoft", **given
        )

    def run(self) -> list[Array]:
        """Returns the outputs of the node itself."""
        return self.outputs([self.node()])

    def run_opened(self, terms: Mapping[tuple[int, int], Array], opset: int = 20) -> list[Array]:
        """Returns the outputs of the opened node, with terms added."""
        named = [(columns, f"term{at}") for at, columns in enumerate(terms)]
        nodes = open_node(self.node(), named, sum(self.sizes), opset)
        more = {name: terms[columns] for columns, name in named}
        return self.outputs(nodes, opset, **more)

    def outputs(self, nodes: Sequence[Any], opset: int = 20, **more: Array) -> list[Array]:
        """Returns what `nodes` compute; w and b are initializers."""
        given = self.values | more
        constant = [numpy_helper.from_array(given.pop(n), n) for n in ("w", "b") if n in given]
        inputs = [info(name, value) for name, value in given.items()]
        names = ("y", "present")[: 1 + self.present]
        outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]
        graph = helper.make_graph(list(nodes), "g", inputs, outputs, constant)
        return run(graph, given, opset)


def normal(*shape: int, seed: int = 0) -> Array:
    return rng(seed).standard_normal(shape).astype(np.float32)


def info(name: str, value: Array) -> Any:
    """Returns the declaration of an input whose sizes all vary."""
    shape = [f"{name}{axis}" for axis in range(value.ndim)]
    return helper.make_tensor_value_info(name, _KINDS[str(value.dtype)], shape)


def run(graph: Any, fed: Mapping[str, Array], opset: int = 20) -> list[Array]:
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(output) for output in session.run(None, dict(fed))]


def open_node(node: Any, terms: Sequence[Term], width: int, opset: int = 20) -> list[Any]:
    return opened(node, terms, fresh(f"{node.name}."), width=width, opset=opset)


def fresh(prefix: str = "") -> Callable[[str], str]:
    numbers = count()
    return lambda stem: f"{prefix}{stem}.{next(numbers)}"


def attention(case: Fused, terms: Mapping[tuple[int, int], Array]) -> Array:
    """Returns softmax(q k^T scale + masks) v in float64, by the operator's documentation.

    A masked score gets `mask_filter_value` added; one in the future is minus infinity.
    """
    values = {name: array.astype(np.float64) for name, array in case.values.items()}
    packed = values["x"] @ values["w"] + values.get("b", 0)
    for (first, end), term in terms.items():
        packed[..., first:end] += term
    heads = [
        part.reshape(*part.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)  # [R, heads, S, size]
        for part in np.split(packed, np.cumsum(case.sizes)[:2], axis=-1)
    ]
    query, keys, held = heads
    if "past" in values:
        keys = np.concatenate([values["past"][0], keys], axis=2)
        held = np.concatenate([values["past"][1], held], axis=2)
    size = query.shape[-1]
    scores = query @ keys.swapaxes(2, 3) * case.attributes.get("scale", size**-0.5)
    scores = scores + values.get("bias", 0)
    tokens, total = scores.shape[2:]
    seen = _seen(case.fed.get("mask"), total)
    scores = scores + np.where(seen, 0.0, case.attributes.get("mask_filter_value", -10000.0))
    if case.attributes.get("unidirectional", 0):
        scores = np.where(np.tri(tokens, total, total - tokens, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    result: Array = (weights @ held).transpose(0, 2, 1, 3).reshape(ROWS, tokens, -1)
    return result


def worst(reference: Sequence[Array], got: Sequence[Array]) -> float:
    """Returns the largest `compare` of several outputs."""
    return max(compare(*pair) for pair in zip(reference, got, strict=True))


def compare(reference: Array, got: Array) -> float:
    """Returns the largest difference, relative to the reference's largest value."""
    assert reference.shape == got.shape
    difference = np.abs(reference.astype(np.float64) - got)
    return float(difference.max() / np.abs(reference).max())


def _seen(mask: Array | None, total: int) -> Array:
    """Returns which keys are not masked, to be broadcast to [R, heads, S, T]."""
    if mask is None:
        return np.ones((1, 1, 1, total), bool)
    if mask.ndim == 1:  # lengths come first in both forms
        return (np.arange(total) < mask[:ROWS, None])[:, None, None, :]
    return mask.astype(bool)[:, None, None, :] if mask.ndim == 2 else mask.astype(bool)[:, None]

"""Packed weights: one matrix that holds several layers, and which rows are whose.

Optimisers join query, key and value, or a gated MLP's two layers; what reads the result says how
it is divided (ONNX Runtime's docs/ContribOperators.md: Attention, GroupQueryAttention; ONNX
Split).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple

from fourier_converters.onnx.model import Model, Value
from fourier_converters.onnx.operators import MICROSOFT, ONNX
from fourier_converters.onnx.protos import attribute
from fourier_converters.onnx.tracing import constant_integers
from fourier_converters.onnx.uses import Use

_QUERY_KEY_VALUE: Final = (
    frozenset({"query", "q_proj", "q", "q_lin", "to_q", "wq", "query_proj"}),
    frozenset({"key", "k_proj", "k", "k_lin", "to_k", "wk", "key_proj"}),
    frozenset({"value", "v_proj", "v", "v_lin", "to_v", "wv", "value_proj"}),
)
_GATE_UP: Final = (
    frozenset({"gate_proj", "w1", "wi_0"}),
    frozenset({"up_proj", "w3", "wi_1"}),
)

_PASSING: Final = frozenset({"Add", "Identity", "Cast", "Reshape"})


class Part(NamedTuple):
    """Rows of a packed canonical matrix, or elements of a packed bias.

    Attributes:
        names: What the module is called whose rows they are, as far as the order tells.
        rows: The first row, and the one after the last.
    """

    names: frozenset[str]
    rows: tuple[int, int]


def parts_of(model: Model, use: Use) -> list[Part]:
    """Returns the parts of a packed weight or bias; none where it is not packed."""
    node = model.node(use.read)
    out = use.canonical_shape[0] if use.canonical_shape else _length(use)
    if node.op_type == "Attention" and node.domain == MICROSOFT:
        sizes = attribute(node, "qkv_hidden_sizes", [])
        return _named(sizes or [out // 3] * 3, out)
    if use.role == "weight" and use.kind != "linear":
        return []
    for scope, reader, reshaped in _following(model, Value(use.read.scope, node.output[0])):
        sizes = _sizes(model, scope, reader, out, reshaped=reshaped)
        if sizes:
            return _named(sizes, out)
    return []


def divided(rows: Sequence[tuple[int, int]], whole: int) -> tuple[list[int], dict[int, int]]:
    """Returns the sizes of the parts of a packed product, and which are whose of sorted `rows`."""
    sizes: list[int] = []
    owners: dict[int, int] = {}
    at = 0
    for owner, (first, end) in enumerate(rows):
        if first > at:
            sizes.append(first - at)
        owners[len(sizes)] = owner
        sizes.append(end - first)
        at = end
    if whole > at:
        sizes.append(whole - at)
    return sizes, owners


def _length(use: Use) -> int:
    return use.origin.view.result[0] if len(use.origin.view.result) == 1 else 0


def _named(sizes: list[int], out: int) -> list[Part]:
    if len(sizes) not in {2, 3} or sum(sizes) != out or min(sizes) < 1:
        return []
    names = _QUERY_KEY_VALUE if len(sizes) == 3 else _GATE_UP
    bounds = pairwise(accumulate(sizes, initial=0))
    return [Part(*pair) for pair in zip(names, bounds, strict=True)]


def _following(model: Model, value: Value) -> Iterator[tuple[int, Any, bool]]:
    """Yields what reads a value in the end, a bias's Add between, and whether a Reshape is, too."""
    values = [(value, False)]
    for _ in range(4):
        found, values = values, []
        for at, reshaped in found:
            for read in model.reads(at):
                node = model.node(read)
                if node.op_type in _PASSING and node.domain in ONNX and read.slot < 2:
                    following = Value(read.scope, node.output[0])
                    values.append((following, reshaped or node.op_type == "Reshape"))
                elif read.slot == 0:
                    yield read.scope, node, reshaped


def _sizes(model: Model, scope: int, node: Any, out: int, *, reshaped: bool) -> list[int]:
    if node.op_type == "GroupQueryAttention" and node.domain == MICROSOFT:
        if any(node.input[1:3]):
            return []
        heads, groups = attribute(node, "num_heads", 0), attribute(node, "kv_num_heads", 0)
        width = out // max(1, heads + 2 * groups)
        return [heads * width, groups * width, groups * width]
    if node.op_type == "Split" and node.domain in ONNX and len(node.output) in {2, 3}:
        return _split_sizes(model, scope, node, out, reshaped=reshaped)
    return []


def _split_sizes(model: Model, scope: int, node: Any, out: int, *, reshaped: bool) -> list[int]:
    """Returns the sizes into which Split divides the features, none where that is not sure.

    Equal parts of another axis, or of a part of the features alone (BLOOM's query, key and value
    take turns, head by head), do not add up to all of them, and only stated sizes show it.
    """
    if attribute(node, "axis", 0) == 0:
        return []
    if len(node.input) > 1:
        value = model.resolve(scope, node.input[1])
        return constant_integers(model, value) or []
    stated: list[int] = attribute(node, "split", [])
    if stated or reshaped:
        return stated
    return [out // len(node.output)] * len(node.output)

"""A fused Attention to which terms are added: opened where something is fed, else left as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fourier_converters.onnx import surgery
from fourier_converters.onnx.live.attention import opened, refusal
from fourier_converters.onnx.live.nodes import Constants, Nodes
from fourier_converters.onnx.model import Model, Read
from fourier_converters.onnx.shapes import known_shapes
from fourier_format.dtypes import DTYPES
from fourier_format.errors import UnsupportedError, raise_all


class Source(NamedTuple):
    """Terms that one input feeds.

    Attributes:
        input: The input.
        columns: The columns of the packed product that each term has.
        fill: Adds nodes that compute the terms, of rank 3; returns their names.
    """

    input: str
    columns: tuple[tuple[int, int], ...]
    fill: Callable[[Nodes], Sequence[str]]


class Fused(NamedTuple):
    """A fused Attention.

    Attributes:
        read: Its input that reads the packed weight.
        width: Columns of its packed product.
        dtype: The dtype of x and of the outputs.
    """

    read: Read
    width: int
    dtype: str


def refuse_unopenable(model: Model, nodes: Sequence[Fused]) -> None:
    """Check fused nodes that have to be opened.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED, for all of them.
    """
    shapes = known_shapes(model.proto)
    found = [refusal(model.node(fused.read), shapes, fused.width) for fused in nodes]
    raise_all([UnsupportedError(violation) for violation in found if violation is not None])


def open_attention(
    constants: Constants,
    fused: Fused,
    sources: Sequence[Source],
    conditions: Mapping[str, str] | None,
) -> None:
    """Replace a fused Attention by an If that opens it where one of its inputs is fed.

    Args:
        constants: Of the model.
        fused: The node.
        sources: Its terms, by input.
        conditions: Whether an input is fed; None in the static form, which has no If.
    """
    model = constants.model
    node = model.node(fused.read)
    nodes = Nodes(constants, str(node.output[0]))
    if conditions is None:
        terms = [pair for s in sources for pair in zip(s.columns, s.fill(nodes), strict=True)]
        surgery.replace_node(model, fused.read, [*nodes.made, *_opened(nodes, node, fused, terms)])
        return
    condition = conditions[sources[0].input]
    for source in sources[1:]:
        condition = nodes.add("Or", condition, conditions[source.input])

    def then(inner: Nodes) -> list[str]:
        terms = []
        for source in sources:
            alone = len(sources) == 1
            made = source.fill(inner) if alone else _or_zeros(inner, source, fused, conditions)
            terms += list(zip(source.columns, made, strict=True))
        copy = _renamed(node, model)
        inner.made += _opened(inner, copy, fused, terms)
        return [name for name in copy.output if name]

    def otherwise(inner: Nodes) -> list[str]:
        copy = _renamed(node, model)
        inner.made.append(copy)
        return [name for name in copy.output if name]

    outputs = [name for name in node.output if name]
    nodes.either(condition, then, otherwise, outputs, [fused.dtype] * len(outputs))
    surgery.replace_node(model, fused.read, nodes.made)


def _opened(
    nodes: Nodes, node: Any, fused: Fused, terms: Sequence[tuple[tuple[int, int], str]]
) -> list[Any]:
    model = nodes.constants.model
    opset = surgery.opset(model)
    return list(opened(node, terms, model.fresh_name, width=fused.width, opset=opset))


def _or_zeros(
    nodes: Nodes, source: Source, fused: Fused, conditions: Mapping[str, str]
) -> list[str]:
    """Returns the terms, or zeros for all rows and tokens where their input is not fed."""
    constants = nodes.constants
    zeros = [
        constants.of(np.zeros((1, 1, end - first), DTYPES[fused.dtype]), "fourier.zeros")
        for first, end in source.columns
    ]
    outputs = [constants.model.fresh_name("fourier.term") for _ in zeros]
    nodes.either(
        conditions[source.input],
        source.fill,
        lambda inner: [inner.add("Identity", zero) for zero in zeros],
        outputs,
        [fused.dtype] * len(outputs),
    )
    return outputs


def _renamed(node: Any, model: Model) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    copy.name = model.fresh_name(f"{node.name}.kept")
    for slot, name in enumerate(node.output):
        copy.output[slot] = model.fresh_name(f"{name}.kept") if name else ""
    return copy

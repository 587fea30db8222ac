"""A fused Attention to which terms are added: opened where something is fed, else left as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fourier_converters.onnx import surgery
from fourier_converters.onnx.live.attention import opened, refusal
from fourier_converters.onnx.live.nodes import Constants, Nodes
from fourier_converters.onnx.model import Model, Read
from fourier_converters.onnx.shapes import known_shapes
from fourier_format.dtypes import DTYPES
from fourier_format.errors import UnsupportedError, raise_all

Fill = Callable[[Nodes], str]
"""Adds nodes that compute a tensor of rank 3 with q's, k's or v's features; returns its name."""


def refuse_unopenable(model: Model, reads: Sequence[Read], widths: Sequence[int]) -> None:
    """Check fused nodes that have to be opened.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED, for all of them.
    """
    shapes = known_shapes(model.proto)
    found = [
        refusal(model.node(read), shapes, width) for read, width in zip(reads, widths, strict=True)
    ]
    raise_all([UnsupportedError(violation) for violation in found if violation is not None])


def open_attention(
    constants: Constants,
    read: Read,
    width: int,
    dtype: str,
    terms: Sequence[tuple[tuple[int, int], str, Fill]],
    conditions: Mapping[str, str] | None,
) -> None:
    """Replace a fused Attention by an If that opens it where a term's input is fed.

    Args:
        constants: Of the model.
        read: The node's input that reads the packed weight.
        width: Columns of its packed product.
        dtype: The dtype of x and of the outputs.
        terms: Columns, the input that feeds it, and what computes it.
        conditions: Whether an input is fed; None in the static form, which has no If.
    """
    model = constants.model
    node = model.node(read)
    nodes = Nodes(constants, str(node.output[0]))
    inputs = list(dict.fromkeys(name for _, name, _ in terms))
    if conditions is None:
        made = _opened(nodes, node, width, [(rows, fill(nodes)) for rows, _, fill in terms])
        surgery.replace_node(model, read, [*nodes.made, *made])
        return
    condition = conditions[inputs[0]]
    for name in inputs[1:]:
        condition = nodes.add("Or", condition, conditions[name])

    def then(inner: Nodes) -> list[str]:
        ready = [
            (
                rows,
                fill(inner)
                if len(inputs) == 1
                else _or_zero(inner, conditions[name], fill, rows[1] - rows[0], dtype),
            )
            for rows, name, fill in terms
        ]
        copy = _renamed(node, model)
        inner.made += _opened(inner, copy, width, ready)
        return [name for name in copy.output if name]

    def otherwise(inner: Nodes) -> list[str]:
        copy = _renamed(node, model)
        inner.made.append(copy)
        return [name for name in copy.output if name]

    outputs = [name for name in node.output if name]
    dtypes = [dtype] * len(outputs)
    nodes.either(condition, then, otherwise, outputs, dtypes)
    surgery.replace_node(model, read, nodes.made)


def _opened(
    nodes: Nodes, node: Any, width: int, terms: Sequence[tuple[tuple[int, int], str]]
) -> list[Any]:
    model = nodes.constants.model
    return opened(node, terms, model.fresh_name, width=width, opset=surgery.opset(model))


def _or_zero(nodes: Nodes, condition: str, fill: Fill, width: int, dtype: str) -> str:
    """Returns a term, or zeros that rows and tokens take where its input is not fed."""
    values = np.zeros((1, 1, width), DTYPES[dtype])
    zero = nodes.constants.of(values, "fourier.zero")
    output = nodes.constants.model.fresh_name("fourier.term")
    nodes.either(
        condition,
        lambda inner: [fill(inner)],
        lambda inner: [inner.add("Identity", zero)],
        [output],
        [dtype],
    )
    return output


def _renamed(node: Any, model: Model) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    copy.name = model.fresh_name(f"{node.name}.kept")
    for slot, name in enumerate(node.output):
        copy.output[slot] = model.fresh_name(f"{name}.kept") if name else ""
    return copy

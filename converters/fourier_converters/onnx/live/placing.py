"""Where a term is added so that the base stays what ONNX Runtime makes of it, to the bit.

Optimisers fuse a product, its bias, and what follows; an If between them would undo that, and with
it the base's speed and its last bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fourier_converters.onnx.model import Model, Read, Value
from fourier_converters.onnx.operators import ONNX

_ACTIVATIONS: Final = frozenset({"Gelu", "FastGelu", "QuickGelu", "Div", "Erf", "Pow", "Tanh"})
"""What begins GELU, whole or in pieces: it is fused with the bias before it."""

_IDLE: Final = frozenset({"Identity", "Dropout"})
"""What does nothing in inference."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a term is added to.

    Attributes:
        y: The value to which it is added, and whose shape it has.
        beside: The input of a residual sum to which it is added instead; None for y itself.
    """

    y: Value
    beside: Read | None = None


def place_of(model: Model, product: Value) -> Place:
    """Returns where a term of a linear layer is added, given its product.

    Behind the bias, so that both stay together; before it where an activation is fused with it; and
    where a residual sum is, to what that adds.
    """
    biased = _only_sum(model, product)
    if biased is None or _constant(model, biased) is None:
        return Place(product)
    total = Value(biased.scope, model.node(biased).output[0])
    if {model.node(read).op_type for read in model.reads(total)} & _ACTIVATIONS:
        return Place(product)
    residual = _only_sum(model, total)
    if residual is None or _constant(model, residual) is not None:
        return Place(total)
    return Place(product, Read(residual.node, 1 - residual.slot, residual.scope))


def place_of_bias(model: Model, read: Read) -> Place:
    """Returns where a difference of biases is added, given the node's input that reads the bias.

    Where a term of the layer would be, if the node adds the bias to a product that nothing else
    reads; else behind the node.
    """
    node = model.node(read)
    total = Value(read.scope, node.output[0])
    if node.op_type != "Add":
        return Place(total)
    product = model.resolve(read.scope, node.input[1 - read.slot])
    summed = _only_sum(model, product) if product.scope == read.scope else None
    fits = summed is not None and (summed.scope, summed.node) == (read.scope, read.node)
    return place_of(model, product) if fits and model.producer(product) else Place(total)


def _only_sum(model: Model, value: Value) -> Read | None:
    """Returns the read of an Add in the same graph, if nothing else reads the value."""
    reads = model.reads(value)
    if len(reads) != 1 or model.is_output(value) or model.is_result(value):
        return None
    (read,) = reads
    node = model.node(read)
    if node.op_type in _IDLE and read.slot == 0 and read.scope == value.scope:
        return _only_sum(model, Value(read.scope, node.output[0]))
    fits = node.op_type == "Add" and node.domain in ONNX and read.scope == value.scope
    return read if fits else None


def _constant(model: Model, read: Read) -> Any:
    """Returns the vector that a sum has beside what it reads there, None for other values."""
    node = model.node(read)
    other = model.tensor(model.resolve(read.scope, node.input[1 - read.slot]))
    is_vector = other is not None and sum(size > 1 for size in other.dims) <= 1
    return other if is_vector else None

"""Uses: a place where a node reads a weight, and the weight that it reads.

A weight may hide behind Identity, Transpose and Cast. The operator says how it reads its operand;
together with the transposes on the way that gives the layout in which the initializer is stored.
Values are never asked: for a square or symmetric weight they could not tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from fourier_converters.onnx.model import Model, Read
from fourier_converters.onnx.tensors import ELEMENT_TYPES, FLOATS, dtype_of

PASSED: Final = frozenset({"Identity", "Transpose", "Cast"})
"""Operators through which a weight is followed."""
_SLOTS: Final[dict[tuple[str, int], str]] = {
    ("MatMul", 1): "weight",
    ("Gemm", 1): "weight",
    ("Gemm", 2): "bias",
    ("Conv", 1): "weight",
    ("Conv", 2): "bias",
    ("Gather", 0): "weight",
    ("Add", 0): "bias",
    ("Add", 1): "bias",
    ("Mul", 0): "weight",
    ("Mul", 1): "weight",
    ("LayerNormalization", 1): "weight",
    ("LayerNormalization", 2): "bias",
    ("RMSNormalization", 1): "weight",
    ("SimplifiedLayerNormalization", 1): "weight",
    ("SkipLayerNormalization", 2): "weight",
    ("SkipLayerNormalization", 3): "bias",
}
"""(operator, input) -> which parameter of a module it is."""

ONNX_DOMAIN: Final = frozenset({"", "ai.onnx"})
_DOMAINS: Final = {"SkipLayerNormalization": frozenset({"com.microsoft"})}
"""Where an operator of `_SLOTS` lives, if not in ONNX's own domain."""

LINEAR: Final = frozenset({"MatMul", "Gemm"})
"""The operators of linear layers."""


@dataclass(frozen=True, slots=True)
class Use:
    """One use of one weight.

    Attributes:
        read: The input of the node that computes with the weight.
        operator: The node's operator.
        role: Which parameter of its module this is: "weight" or "bias".
        initializer: The stored tensor.
        shape: The stored tensor's shape.
        dtype: The stored dtype.
        operand_dtype: The dtype in which the node reads it, after Casts.
        layout: For the weight of a linear operator: "out_in" or "in_out", as it is stored.
        operand_layout: The same, as the node reads it.
        direct: Whether the node reads the initializer itself.
    """

    read: Read
    operator: str
    role: str
    initializer: str
    shape: tuple[int, ...]
    dtype: str
    operand_dtype: str
    layout: str | None
    operand_layout: str | None
    direct: bool

    @property
    def canonical_shape(self) -> tuple[int, int] | None:
        """(out, in) of a linear operator's weight, else None."""
        if self.layout is None:
            return None
        first, second = self.shape
        return (first, second) if self.layout == "out_in" else (second, first)


@dataclass(frozen=True, slots=True)
class _Path:
    """The way from a node's input back to an initializer."""

    initializer: str
    transposed: bool = False
    dtype: str | None = None
    steps: list[str] = field(default_factory=list)


def find_uses(model: Model) -> list[Use]:
    """Returns every use of every floating-point initializer in the main graph, in node order."""
    return list(_uses(model))


@dataclass(frozen=True, slots=True)
class Readers:
    """Who reads a value in the end, through Identity, Transpose and Cast.

    Attributes:
        reads: The inputs of the main graph's nodes.
        shown: Whether it is a graph output.
        inside: Whether a subgraph reads it.
    """

    reads: frozenset[Read]
    shown: bool
    inside: bool


def readers(model: Model, value: str) -> Readers:
    """Returns who reads `value` in the end."""
    reads: set[Read] = set()
    values, shown, inside = [value], False, False
    while values:
        name = values.pop()
        shown |= model.is_output(name)
        inside |= model.is_read_inside(name)
        for read in model.reads(name):
            node = model.nodes[read.node]
            if node.op_type in PASSED and node.domain in ONNX_DOMAIN:
                values.append(node.output[0])
            else:
                reads.add(read)
    return Readers(frozenset(reads), shown, inside)


def _uses(model: Model) -> Iterator[Use]:
    for index, node in enumerate(model.nodes):
        if node.op_type in PASSED:
            continue
        for slot, value in enumerate(node.input):
            role = _role(node, slot)
            path = _trace(model, value) if role else None
            if role is None or path is None:
                continue
            tensor = model.initializers[path.initializer]
            dtype = dtype_of(tensor)
            if dtype in FLOATS and dtype is not None:
                use = _use(node, Read(index, slot), role, path, tensor, dtype)
                turned = path.transposed and use.layout is None and len(use.shape) > 1
                if not turned:  # a layout that has no name here
                    yield use


def _role(node: Any, slot: int) -> str | None:
    """Returns the role of an input; None where the node does not read a module's parameter."""
    if node.domain not in _DOMAINS.get(node.op_type, ONNX_DOMAIN):
        return None
    if node.op_type == "Gemm" and (
        _attribute(node, "alpha", 1.0) != 1.0 or _attribute(node, "transA", 0)
    ):
        return None  # no exporter writes a linear layer so
    return _SLOTS.get((node.op_type, slot))


def _use(node: Any, read: Read, role: str, path: _Path, tensor: Any, dtype: str) -> Use:
    operand = _operand_layout(node) if role == "weight" and len(tensor.dims) == 2 else None
    return Use(
        read=read,
        operator=node.op_type,
        role=role,
        initializer=path.initializer,
        shape=tuple(tensor.dims),
        dtype=dtype,
        operand_dtype=path.dtype or dtype,
        layout=_flipped(operand) if path.transposed else operand,
        operand_layout=operand,
        direct=not path.steps,
    )


def _trace(model: Model, value: str) -> _Path | None:
    """Returns the way back from `value` to an initializer, None where something computes it."""
    transposed, dtype, steps = False, None, list[str]()
    while value not in model.initializers:
        node = model.producer(value)
        passed = node is not None and node.op_type in PASSED and node.domain in ONNX_DOMAIN
        if node is None or not passed or len(steps) > len(model.nodes):
            return None
        if node.op_type == "Transpose":
            order = _attribute(node, "perm", [])
            if order and list(order) not in ([0, 1], [1, 0]):
                return None
            transposed ^= list(order) != [0, 1]
        if node.op_type == "Cast" and dtype is None:
            dtype = ELEMENT_TYPES.get(_attribute(node, "to", 0))
            if dtype not in FLOATS:
                return None
        steps.append(node.op_type)
        value = node.input[0]
    return _Path(value, transposed, dtype, steps)


def _operand_layout(node: Any) -> str | None:
    """MatMul, x @ B, reads B as (in, out); Gemm with transB reads it as (out, in)."""
    if node.op_type == "MatMul":
        return "in_out"
    if node.op_type == "Gemm":
        return "out_in" if _attribute(node, "transB", 0) else "in_out"
    return None


def _flipped(layout: str | None) -> str | None:
    return {"in_out": "out_in", "out_in": "in_out", None: None}[layout]


def _attribute(node: Any, name: str, default: Any) -> Any:
    """Returns a node's attribute of the default's type."""
    for attribute in node.attribute:
        if attribute.name == name:
            if isinstance(default, float):
                return attribute.f
            return attribute.i if isinstance(default, int) else list(attribute.ints)
    return default

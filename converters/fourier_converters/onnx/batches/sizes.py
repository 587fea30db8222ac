"""Sizes: the shape of every value in numbers, by onnx's own inference, one node after the other.

Node by node, because onnx knows none of ONNX Runtime's operators and would stop at the first;
their shapes are in `fused`. Reshape and the like are told what the graph computes of shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np

from fourier_converters.onnx.batches import fused
from fourier_converters.onnx.batches.numbers import BROKEN, MOST, compute, held, parts
from fourier_converters.onnx.model import Model, Value
from fourier_converters.onnx.operators import ONNX
from fourier_converters.onnx.protos import attribute
from fourier_converters.onnx.surgery import opset
from fourier_format.adapter import Array
from fourier_format.errors import FourierFormatError

_T = TypeVar("_T")
Shape = tuple[int | None, ...] | None
"""The sizes of a value's axes; None for a size, or for all, that are not known."""
_NUMBERS: Final = frozenset({1, 6, 7, 9, 11})
"""TensorProto.DataTypes in which graphs compute shapes."""
_MOST_AXES: Final = 64
_MOST_INPUTS: Final = 8
"""Inputs of an operator whose numbers its shape can follow from, and no more than `_MOST_TOLD`."""
_MOST_TOLD: Final = 1024
_TERM: Final = r"[A-Za-z ]{0,64}(\.\.\.[A-Za-z ]{0,64})?"
_EQUATION: Final = re.compile(rf"{_TERM}(,{_TERM}){{0,{_MOST_INPUTS}}}(->{_TERM})?".encode())
"""Of an Einsum: onnx takes forever over "....a", and very long over 100,000 letters."""
_MOST_IN_ALL: Final = 1 << 25
"""Numbers that all values may hold together; what comes later is not computed."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value is.

    Attributes:
        dtype: A TensorProto.DataType, 0 where it is not known.
        shape: Its sizes.
    """

    dtype: int = 0
    shape: Shape = None


UNKNOWN: Final = Kind()


class Sizes:
    """The kinds of values, and the numbers of the small ones; filled by `visit`, in node order.

    Attributes:
        model: The model.
        kinds: What is known of each value.
        numbers: What small values hold.
    """

    def __init__(self, model: Model, symbols: Mapping[str, int]) -> None:
        """Takes numbers for the names of sizes."""
        self.model: Final = model
        self.kinds: Final[dict[Value, Kind]] = {}
        self.numbers: Final[dict[Value, Array]] = {}
        self._symbols = symbols
        self._room = _MOST_IN_ALL
        self._version = opset(model)
        self._declared = {
            Value(index, value.name): value
            for index, scope in enumerate(model.scopes)
            for value in (*scope.graph.value_info, *scope.graph.output)
        }

    def kind(self, value: Value) -> Kind:
        """Returns what `value` is."""
        found = self.kinds.get(value)
        if found is None:
            tensor = self.model.tensor(value)
            known = tensor is not None
            said = Kind(tensor.data_type, tuple(tensor.dims)) if known else UNKNOWN
            found = self.learn(value, said)
        return found

    def learn(self, value: Value, kind: Kind) -> Kind:
        """Remember what `value` is, but no sizes that no tensor has; returns what is remembered."""
        shape = kind.shape
        if shape is not None:
            shape = tuple(n if n is not None and 0 <= n < 2**63 else None for n in shape)
        known = shape is None or len(shape) <= _MOST_AXES
        self.kinds[value] = Kind(kind.dtype, shape if known else None)
        return self.kinds[value]

    def shape(self, value: Value) -> Shape:
        """Returns its sizes."""
        return self.kind(value).shape

    def number(self, value: Value) -> Array | None:
        """Returns what a small value holds, None where that is not known."""
        if value not in self.numbers:
            tensor = self.model.tensor(value)
            small = tensor is not None and tensor.data_type in _NUMBERS
            if not small or np.prod(tensor.dims, dtype=np.float64) > MOST:
                return None
            try:
                self.numbers[value] = self.model.array(value)
            except FourierFormatError:
                return None
        return self.numbers[value]

    def visit(self, scope: int, node: Any) -> None:
        """Take in a node whose inputs are known."""
        given = [self.model.resolve(scope, name) if name else None for name in node.input]
        kinds = [UNKNOWN if value is None else self.kind(value) for value in given]
        numbers = [None if value is None else self.number(value) for value in given]
        outputs = [Value(scope, name) if name else None for name in node.output]
        found = _or_nothing(self._infer, node, kinds, numbers)
        for slot, value in enumerate(outputs):
            if value is not None and value not in self.kinds:
                kind = found[slot] if slot < len(found) else UNKNOWN
                self.learn(value, self._merged(kind, self._said(value)))
        results = _or_nothing(self._computed, node, kinds, numbers) if self._room > 0 else []
        for value, result in zip(outputs, results, strict=False):
            if value is not None and result is not None:
                self.numbers[value] = result
                self._room -= result.size

    def _computed(
        self, node: Any, kinds: Sequence[Kind], numbers: Sequence[Array | None]
    ) -> Sequence[Array | None]:
        """Returns the numbers of the outputs."""
        if node.domain not in ONNX:
            return []
        if node.op_type == "Constant":
            return [held(node)]
        if node.op_type in {"Shape", "Size"}:
            return [_measured(node, kinds[0].shape)]
        if node.op_type == "Split" and numbers[0] is not None and numbers[0].ndim == 1:
            return parts(numbers[0], len(node.output), [*numbers, None][1])
        return [compute(node, numbers)]

    def _infer(
        self, node: Any, kinds: Sequence[Kind], numbers: Sequence[Array | None]
    ) -> Sequence[Kind]:
        shapes = [kind.shape for kind in kinds]
        own = fused.shapes(node, shapes)
        if own is not None:
            dtype = kinds[fused.typed_by(node)].dtype
            return [Kind(dtype, shape) for shape in own]
        if node.domain not in ONNX:
            return []
        return self._by_onnx(node, kinds, numbers)

    def _by_onnx(
        self, node: Any, kinds: Sequence[Kind], numbers: Sequence[Array | None]
    ) -> Sequence[Kind]:
        """Returns what onnx infers of a node of its own; it is told of inputs by their slot."""
        from onnx import defs, helper, numpy_helper, shape_inference

        try:
            schema = defs.get_schema(node.op_type, self._version, "")
        except defs.SchemaError:
            return []
        if node.op_type == "Einsum" and not _is_equation(node):
            return []
        asked = type(node)()
        asked.CopyFrom(node)
        for slot, name in enumerate(asked.input):
            asked.input[slot] = f"i{slot}" if name else ""
        for slot in range(len(asked.output)):
            asked.output[slot] = f"o{slot}"
        types = {
            f"i{slot}": helper.make_tensor_type_proto(kind.dtype, kind.shape)
            for slot, kind in enumerate(kinds)
            if node.input[slot]
        }
        data = {
            f"i{slot}": numpy_helper.from_array(np.asarray(array, order="C"))
            for slot, array in enumerate(numbers[:_MOST_INPUTS])
            if array is not None and array.size <= _MOST_TOLD
        }
        try:
            found = shape_inference.infer_node_outputs(
                schema,
                asked,
                types,
                data,
                opset_imports=[helper.make_opsetid("", self._version)],
                ir_version=self.model.proto.ir_version,
            )
        except Exception:  # noqa: BLE001 -- whatever the C++ code finds wrong: it is not known then
            return []
        return [self._read(found.get(f"o{slot}")) for slot in range(len(node.output))]

    def _read(self, proto: Any) -> Kind:
        """Returns the kind that a TypeProto says."""
        if proto is None or not proto.HasField("tensor_type"):
            return UNKNOWN
        tensor = proto.tensor_type
        if not tensor.HasField("shape"):
            return Kind(int(tensor.elem_type))
        sizes = tuple(
            int(dim.dim_value)
            if dim.HasField("dim_value") and dim.dim_value >= 0
            else self._symbols.get(dim.dim_param)
            for dim in tensor.shape.dim
        )
        return Kind(int(tensor.elem_type), sizes)

    def _said(self, value: Value) -> Kind:
        """Returns what the model says of a value itself; names of sizes that inputs lack are open.

        Its fixed sizes are not taken: exporters leave those of the example in open graphs.
        """
        declared = self._declared.get(value)
        kind = UNKNOWN if declared is None else self._read(declared.type)
        open_ = None if kind.shape is None else (None,) * len(kind.shape)
        return Kind(kind.dtype, open_)

    @staticmethod
    def _merged(kind: Kind, said: Kind) -> Kind:
        shape = kind.shape if kind.shape is not None else said.shape
        return Kind(kind.dtype or said.dtype, shape)


def _measured(node: Any, shape: Shape) -> Array | None:
    """Returns what Shape or Size gives."""
    if shape is None:
        return None
    first, end = attribute(node, "start", 0), attribute(node, "end", len(shape))
    sizes = shape[first:end] if node.op_type == "Shape" else shape
    if any(size is None for size in sizes):
        return None
    if node.op_type == "Size":
        return np.asarray(math.prod(size or 0 for size in sizes), np.int64)
    return np.array(sizes, np.int64)


def _is_equation(node: Any) -> bool:
    found = [each.s for each in node.attribute if each.name == "equation"]
    return len(found) == 1 and _EQUATION.fullmatch(found[0]) is not None


def _or_nothing(known: Callable[..., Sequence[_T]], node: Any, *given: Any) -> Sequence[_T]:
    """Returns what is known of a node's outputs: nothing if it breaks its operator's definition."""
    try:
        return known(node, *given)
    except BROKEN:
        return []

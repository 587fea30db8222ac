"""Uses: a place where a node reads a weight, and the weight that it reads.

The operator says how it reads its operand; together with the way back to the stored tensor that
gives the view under which the stored values are the canonical matrix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fourier_converters.onnx.model import Model, Read, Value
from fourier_converters.onnx.operators import (
    MICROSOFT,
    ONNX,
    QUANTIZED,
    UNOPENED,
    UNOPENED_DOMAINS,
    canonical_view,
    role,
)
from fourier_converters.onnx.quantized import Quantized
from fourier_converters.onnx.tracing import (
    Origin,
    bits_matmul,
    dequantized_by,
    dequantized_dtype,
    integer_matmul,
    is_dequantizer,
    is_passed,
    trace,
)
from fourier_converters.onnx.views import View


@dataclass(frozen=True, slots=True)
class Use:
    """One use of one weight.

    Attributes:
        read: The input of the node that computes with the weight.
        operator: The node's operator.
        role: Which parameter of its module this is: "weight" or "bias".
        origin: The stored tensor, and the way from it to the node.
        kind: "linear", "conv2d" or "embedding", None for other parameters.
        operand: From what the node reads to the canonical matrix (out, in), None without a kind.
    """

    read: Read
    operator: str
    role: str
    origin: Origin
    kind: str | None
    operand: View | None

    @property
    def value(self) -> Value:
        """The stored tensor; of a quantised weight its codes."""
        return self.origin.value

    @property
    def initializer(self) -> str:
        """The stored tensor's name."""
        return self.origin.value.name

    @property
    def quantized(self) -> Quantized | None:
        """How the weight is quantised, None where it is not."""
        return self.origin.quantized

    @property
    def view(self) -> View:
        """From the stored values to the canonical matrix; to the operand where there is none."""
        view = self.origin.view
        return view if self.operand is None else view.joined(self.operand)

    @property
    def canonical_shape(self) -> tuple[int, int] | None:
        """(out, in) of a weight with a kind, else None."""
        if self.operand is None:
            return None
        out, in_ = self.operand.result
        return out, in_


def find_uses(model: Model) -> list[Use]:
    """Returns every use of every stored floating-point or quantised weight, in node order."""
    return list(_uses(model))


def unopened(model: Model) -> list[str]:
    """Returns in words which nodes hide weights from the search, such as fused quantised ones."""
    counts: Counter[str] = Counter()
    for scope, _, node in model.nodes():
        if node.op_type in UNOPENED and node.domain in UNOPENED_DOMAINS:
            counts[f"{node.op_type}: {UNOPENED.get(node.op_type, '')}"] += 1
        elif node.op_type in QUANTIZED and _quantized_origin(model, scope, node) is None:
            counts[f"{node.op_type} whose weight is not constant or not of a known packing"] += 1
        elif node.op_type == "Gather" and _gathers_codes(model, scope, node):
            counts["Gather of an embedding's codes, which are dequantised behind it"] += 1
        elif is_dequantizer(node) and _quantizes_here(model, scope, node):
            counts["QuantizeLinear of a weight in floating point, and DequantizeLinear"] += 1
        elif is_dequantizer(node) and _is_unknown(model, scope, node):
            counts["DequantizeLinear of stored codes in a form that is not known"] += 1
        elif node.domain == "com.microsoft.nchwc":
            counts["Conv in ONNX Runtime's own NCHWc layout"] += 1
    return [f"{count} {text}" for text, count in counts.items()]


def _gathers_codes(model: Model, scope: int, node: Any) -> bool:
    """Whether a table of codes is read before it is dequantised, as quantize_dynamic writes it."""
    if node.domain not in ONNX or not node.output:
        return False
    tensor = model.tensor(model.resolve(scope, node.input[0]))
    following = model.reads(Value(scope, node.output[0]))
    return tensor is not None and any(
        model.node(read).op_type == "DequantizeLinear" for read in following
    )


def _quantizes_here(model: Model, scope: int, node: Any) -> bool:
    """Whether its codes are made in the graph, of a weight: training that knows of quantisation."""
    maker = model.producer(model.resolve(scope, node.input[0]))
    if maker is None or maker.op_type != "QuantizeLinear":
        return False
    return trace(model, model.resolve(scope, maker.input[0])) is not None


def _is_unknown(model: Model, scope: int, node: Any) -> bool:
    stored = model.tensor(model.resolve(scope, node.input[0])) is not None
    return stored and dequantized_by(model, Value(scope, node.output[0])) is None


@dataclass(frozen=True, slots=True)
class Readers:
    """Who reads a value in the end, through operators that only pass it on or dequantise it.

    Attributes:
        reads: The inputs of nodes, in subgraphs too.
        shown: Whether it is an output of the model.
        handed_on: Whether a subgraph hands it to the node that it belongs to.
    """

    reads: frozenset[Read]
    shown: bool
    handed_on: bool

    @property
    def only_reads(self) -> bool:
        """Whether nothing but the reads sees the value."""
        return not self.shown and not self.handed_on


def readers(model: Model, value: Value) -> Readers:
    """Returns who reads `value` in the end."""
    reads: set[Read] = set()
    values, seen, shown, handed_on = [value], {value}, False, False
    while values:
        at = values.pop()
        shown |= model.is_output(at)
        handed_on |= model.is_result(at)
        for read in model.reads(at):
            node = model.node(read)
            following = Value(read.scope, node.output[0]) if node.output else at
            passes = is_passed(node) or dequantized_by(model, following) is not None
            if not passes:
                reads.add(read)
            elif following not in seen:
                seen.add(following)
                values.append(following)
    return Readers(frozenset(reads), shown, handed_on)


def _uses(model: Model) -> Iterator[Use]:
    for scope, number, node in model.nodes():
        if is_passed(node):
            continue
        if node.op_type == "Mul" and dequantized_by(model, Value(scope, node.output[0])):
            continue  # its scale is no parameter of a module
        for slot, name in enumerate(node.input):
            part = role(node, slot) if name else None
            if part is None:
                continue
            if part == "weight" and node.op_type in QUANTIZED:
                origin = _quantized_origin(model, scope, node)
            else:
                origin = trace(model, model.resolve(scope, name))
            if origin is not None:
                yield _use(node, Read(number, slot, scope), part, origin)


def _use(node: Any, read: Read, part: str, origin: Origin) -> Use:
    found = canonical_view(node, read.slot, origin.view.result) if part == "weight" else None
    kind, operand = found or (None, None)
    return Use(read, node.op_type, part, origin, kind, operand)


def _quantized_origin(model: Model, scope: int, node: Any) -> Origin | None:
    """Returns the weight of an operator that reads codes itself."""
    names = [*node.input, "", "", "", ""]
    if node.op_type == "MatMulNBits" and node.domain == MICROSOFT:
        found = bits_matmul(model, scope, node)
    elif node.op_type == "DynamicQuantizeMatMul" and node.domain == MICROSOFT:
        given = (names[1], names[2], names[3] or None)
        found = integer_matmul(model, scope, given, "dynamic int8")
    elif node.op_type == "MatMulIntegerToFloat" and node.domain == MICROSOFT:
        given = (names[1], names[3], names[5] or None)
        found = integer_matmul(model, scope, given, "dynamic int8")
    elif node.op_type == "MatMulInteger" and node.domain in ONNX:
        scale = _scale_of_product(model, scope, node)
        given = (names[1], scale or "", names[3] or None)
        found = integer_matmul(model, scope, given, "dynamic int8") if scale else None
    else:
        return None
    if found is None:
        return None
    operand_dtype = dequantized_dtype(model, found)
    return Origin(found.codes, found.shape, "F32", View(found.shape), operand_dtype, found)


def _weight_scale(model: Model, scope: int, node: Any, product: Any) -> str | None:
    """Returns the weight's scale in (x's scale * the weight's); a joined constant tells neither."""
    if product is None or product.op_type != "Mul" or len(product.input) != 2:
        return None
    quantiser = model.producer(model.resolve(scope, node.input[0]))
    for own, other in (product.input, reversed(product.input)):
        is_stored = model.tensor(model.resolve(scope, other)) is not None
        if is_stored and quantiser is not None and own in quantiser.output:
            return str(other)
    return None


def _scale_of_product(model: Model, scope: int, node: Any) -> str | None:
    """The integer product becomes float by Cast and Mul(x's scale * the weight's scale)."""
    value = Value(scope, node.output[0])
    for name in ("Cast", "Mul"):
        reads = model.reads(value)
        seen = model.is_output(value) or model.is_result(value)
        if seen or len(reads) != 1 or model.node(reads[0]).op_type != name:
            return None
        following = model.node(reads[0])
        if following.domain not in ONNX:
            return None
        if name == "Mul":
            if len(following.input) != 2:
                return None
            product = model.producer(model.resolve(scope, following.input[1 - reads[0].slot]))
            return _weight_scale(model, scope, node, product)
        value = Value(scope, following.output[0])
    return None

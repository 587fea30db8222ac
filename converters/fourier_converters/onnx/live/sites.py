"""Sites: where something is added for each row of the batch, and to what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fourier_converters.onnx.branches import Branch, product_of
from fourier_converters.onnx.candidates import Candidate
from fourier_converters.onnx.live.placing import Place, place_of, place_of_bias
from fourier_converters.onnx.model import Model, Read, Value
from fourier_converters.onnx.protos import attribute
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.words import shortened

_BIASED: Final = frozenset(
    {"Add", "Gemm", "MatMulNBits", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
)
"""Operators whose output is a sum with their bias."""


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One use of a weight or bias to which something is added for each row of the batch.

    Attributes:
        name: The target's or the replacement's.
        read: The node's input that reads it.
        x: What a weight is multiplied with; of a bias what it is added to.
        place: To what is added; None of a fused Attention, which has to be opened.
        width: The features of y.
        rows: Which of them are meant; None for all.
        dtype: The dtype of y.
        is_like: Whether y has the axes of x but for the last.
    """

    name: str
    read: Read
    x: Value
    place: Place | None
    width: int
    rows: tuple[int, int] | None
    dtype: str
    is_like: bool = False


def site_of(model: Model, candidate: Candidate, name: str, branch: Branch | None) -> Site:
    """Returns the site of a use.

    Args:
        model: The model.
        candidate: The use and its rows.
        name: Whose it is.
        branch: What is multiplied, and the product; None of a bias and of a fused Attention.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: the product's features are no last axis.
    """
    use = candidate.use
    node = model.node(use.read)
    dtype = use.origin.operand_dtype
    whole = (use.canonical_shape or use.origin.view.result or (0,))[0]
    if use.operator == "Attention":
        x = model.resolve(use.read.scope, node.input[0])
        return Site(name, use.read, x, None, whole, candidate.rows, dtype)
    if branch is None:
        if node.op_type not in _BIASED:
            raise _refused(name, f"its bias is added inside {node.op_type} {node.name!r}")
        x = model.resolve(use.read.scope, node.input[0])
        behind = Place(product_of(model, use.read)) if use.quantized else None
        place = behind or place_of_bias(model, use.read)
        return Site(name, use.read, x, place, whole, candidate.rows, dtype)
    if use.operator == "Einsum":
        equation = attribute(node, "equation", "")
        if not _is_plain(equation):
            problem = f"the features of Einsum {node.name!r} are not its last axes"
            raise _refused(name, problem, shortened(equation, 60))
    place, is_like = place_of(model, branch.y), use.operator != "Einsum"
    return Site(name, use.read, branch.x, place, whole, candidate.rows, dtype, is_like)


def _is_plain(equation: str) -> bool:
    """Whether the contracted axes are x's last in the kernel's order, and the kernel's others y's.

    Then both sides are matrices of (tokens, features) in the order of the canonical matrix.
    """
    inputs, _, result = equation.replace(" ", "").partition("->")
    given, kernel = inputs.split(",")
    contracted = "".join(letter for letter in kernel if letter not in result)
    kept = "".join(letter for letter in kernel if letter in result)
    tokens = given.removesuffix(contracted)
    return given.endswith(contracted) and result == tokens + kept


def _refused(name: str, problem: str, got: str | None = None) -> UnsupportedError:
    advice = "merge this adapter (without --live), or serve it merged (`activate`)"
    return UnsupportedError(
        Violation("E-CONVERSION-UNSUPPORTED", name, problem, got, advice=advice)
    )

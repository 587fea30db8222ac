"""The layers that can be adapted: where each keeps its weight, and how that is the canonical one.

A layer kind is a stateless object. `fourier_format`'s kind says how the stored weight becomes the
canonical matrix (spec/registry.md, table 2); everything here is about Keras's layers. All of them
store input axes first: a kernel's transposed canonical matrix, (in, out), is a reshape of it, and a
transpose of axes where these are in another order.
"""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar, Final, NamedTuple

import keras
import numpy as np
from keras import ops

from fourier_format.adapter import Array
from fourier_format.errors import UnsupportedError, UsageError, Violation
from fourier_trainers.config import Path
from fourier_trainers.keras.spectral import cost
from fourier_trainers.keras.spectral.axes import matmul
from fourier_trainers.keras.spectral.basis import Basis


class Term(NamedTuple):
    """A delta weight.

    Attributes:
        basis: Its transform, shape and entries.
        scaled: (n,) its coefficients times alpha.
        path: How to compute it.
    """

    basis: Basis
    scaled: Any
    path: Path


class Axes(NamedTuple):
    """The axes of a stored weight.

    Attributes:
        inner: Those of the canonical matrix's input, in their canonical order.
        outer: Those of its output.
    """

    inner: tuple[int, ...]
    outer: tuple[int, ...]


class LayerKind(abc.ABC):
    """How one sort of layer is adapted.

    Attributes:
        kind: The format's name for it.
        weight: The layer's property that reads its weight.
        origin: The class whose `call` is known.
    """

    kind: ClassVar[str]
    weight: ClassVar[str] = "kernel"
    origin: ClassVar[type[Any]]

    @abc.abstractmethod
    def axes(self, layer: Any) -> Axes:
        """Returns the axes of the layer's stored weight."""

    def separate(self, layer: Any, inputs: Any, term: Term) -> bool:  # noqa: ARG002 - kinds are called alike
        """Whether the delta weight is applied beside the weight, by `call`, not added to it."""
        return False

    def call(self, layer: Any, inputs: Any, weight: Any, term: Term) -> Any:
        """Returns what the layer computes of `inputs` with `weight`, the base's, and a delta."""
        raise NotImplementedError

    def shape(self, layer: Any) -> tuple[int, int]:
        """Returns (out, in) of the canonical matrix."""
        stored, axes = tuple(variable_of(layer, self).shape), self.axes(layer)
        return math.prod(stored[k] for k in axes.outer), math.prod(stored[k] for k in axes.inner)

    def canonical(self, layer: Any, stored: Array) -> Array:
        """Returns the canonical matrix (out, in) of a stored weight; a view where possible."""
        axes = self.axes(layer)
        out = math.prod(stored.shape[k] for k in axes.outer)
        return stored.transpose(axes.outer + axes.inner).reshape(out, -1)

    def stored(self, layer: Any, matrix: Array) -> Array:
        """Returns a canonical matrix as the layer stores it: what `canonical` undoes."""
        axes, shape = self.axes(layer), tuple(variable_of(layer, self).shape)
        order = axes.outer + axes.inner
        return matrix.reshape([shape[k] for k in order]).transpose(np.argsort(order))

    def delta(self, layer: Any, term: Term) -> Any:
        """Returns the delta weight as the layer stores its weight, in the coefficients' dtype."""
        axes, shape = self.axes(layer), tuple(variable_of(layer, self).shape)
        order = axes.inner + axes.outer
        transposed = term.basis.delta_weight(term.scaled)  # (in, out)
        split = ops.reshape(transposed, [shape[k] for k in order])
        back = np.argsort(order).tolist()
        return split if list(order) == sorted(order) else ops.transpose(split, back)


class Dense(LayerKind):
    """layers.Dense: (in, out)."""

    kind = "linear"
    origin = keras.layers.Dense

    def axes(self, layer: Any) -> Axes:  # noqa: ARG002 - the same
        """Returns in, out."""
        return Axes((0,), (1,))

    def separate(self, layer: Any, inputs: Any, term: Term) -> bool:
        """As `cost` says."""
        return cost.separately(term.path, term.basis, inputs.shape[:-1], layer.compute_dtype)

    def call(self, layer: Any, inputs: Any, weight: Any, term: Term) -> Any:
        """Returns activation(x W + x delta^T + b)."""
        y = ops.matmul(inputs, weight)
        flat = ops.reshape(inputs, (-1, inputs.shape[-1]))  # (t, in)
        return _finished(layer, y, _product(flat, term))


class EinsumDense(LayerKind):
    """layers.EinsumDense: the kernel's axes that are contracted with the input are the input's."""

    kind = "einsum_dense"
    origin = keras.layers.EinsumDense

    def axes(self, layer: Any) -> Axes:
        """Returns the axes that the equation contracts, and the others, in the kernel's order."""
        given, kernel, result = _letters(layer.equation)
        inner = tuple(k for k, letter in enumerate(kernel) if letter not in result)
        outer = tuple(k for k, letter in enumerate(kernel) if letter in result)
        if any(letter in given for letter in kernel if letter in result):
            problem = "its kernel has an axis that input and output share: no one matrix"
            raise refused(layer.name, problem, layer.equation)
        return Axes(inner, outer)

    def separate(self, layer: Any, inputs: Any, term: Term) -> bool:
        """As `cost` says, where input and output axes stand last and in order."""
        if not _is_plain(layer):
            return False
        kept = len(inputs.shape) - len(self.axes(layer).inner)
        return cost.separately(term.path, term.basis, inputs.shape[:kept], layer.compute_dtype)

    def call(self, layer: Any, inputs: Any, weight: Any, term: Term) -> Any:
        """Returns activation(einsum(x, W) + x delta^T + b)."""
        y = ops.einsum(layer.equation, inputs, weight)
        flat = ops.reshape(inputs, (-1, term.basis.shape[1]))  # (..., in axes) -> (t, in)
        return _finished(layer, y, _product(flat, term))


class Conv2D(LayerKind):
    """layers.Conv2D: (kh, kw, in / groups, out) -> in order (in / groups, kh, kw)."""

    kind = "conv2d"
    origin = keras.layers.Conv2D

    def axes(self, layer: Any) -> Axes:  # noqa: ARG002 - the same
        """Returns input channels and positions, output channels."""
        return Axes((2, 0, 1), (3,))


class Embedding(LayerKind):
    """layers.Embedding: (vocab, dim)."""

    kind = "embedding"
    weight = "embeddings"
    origin = keras.layers.Embedding

    def axes(self, layer: Any) -> Axes:  # noqa: ARG002 - the same
        """Returns vocab, dim."""
        return Axes((0,), (1,))

    def separate(self, layer: Any, inputs: Any, term: Term) -> bool:  # noqa: ARG002 - the same
        """Whether rows of the delta are computed, and not the whole of it."""
        return cost.by_rows(term.path, term.basis, inputs.shape)

    def call(self, layer: Any, inputs: Any, weight: Any, term: Term) -> Any:
        """Returns rows of W + delta^T."""
        inputs = ops.cast(inputs, "int32")
        rows = term.basis.columns(term.scaled, ops.reshape(inputs, (-1,)))  # (t, dim)
        base = ops.cast(ops.take(as_stored(weight), inputs, axis=0), rows.dtype)
        return ops.cast(base + ops.reshape(rows, ops.shape(base)), layer.compute_dtype)


KINDS: Final[tuple[LayerKind, ...]] = (Dense(), EinsumDense(), Conv2D(), Embedding())
ADAPTABLE: Final = "Dense, EinsumDense, Conv2D or Embedding"


def kind_of(layer: Any, name: str) -> LayerKind | None:
    """Returns how `layer` is adapted, None if it is of no such sort.

    Raises:
        UnsupportedError: It is of such a sort, and cannot be adapted; the message says why.
    """
    kind = next((one for one in KINDS if isinstance(layer, one.origin)), None)
    if kind is None:
        return None
    if not layer.built:
        problem, advice = (
            "it was never built, and has no weight",
            "call the model once, or build it",
        )
        raise refused(name, problem, type(layer).__name__, advice)
    if getattr(layer, "quantization_mode", None) is not None:
        problem = "its weight is quantised"
        raise refused(
            name, problem, layer.quantization_mode, "attach before quantize(), or leave it"
        )
    if getattr(layer, "lora_enabled", False):
        problem, advice = "it has LoRA enabled", "attach to a model without LoRA"
        raise refused(name, problem, type(layer).__name__, advice)
    if getattr(type(layer), kind.weight, None) is not getattr(kind.origin, kind.weight):
        problem = f"its class has a {kind.weight} of its own, of which nothing is known"
        raise refused(name, problem, f"{type(layer).__module__}.{type(layer).__name__}")
    if getattr(layer, f"{kind.weight}_constraint", None) is not None:
        problem, advice = f"it has a {kind.weight}_constraint", "a delta weight may break it"
        raise refused(name, problem, type(layer).__name__, advice)
    kind.axes(layer)
    return kind


def is_linear(layer: Any) -> bool:
    """Whether a layer is a Dense, or an EinsumDense whose kernel is one matrix."""
    if isinstance(layer, keras.layers.EinsumDense):
        given, kernel, result = _letters(layer.equation)
        return not set(given) & set(kernel) & set(result)
    return isinstance(layer, keras.layers.Dense)


def variable_of(layer: Any, kind: LayerKind) -> Any:
    """Returns the variable that holds a layer's weight, past any delta."""
    return getattr(layer, f"_{kind.weight}")


def as_stored(variable: Any) -> Any:
    """Returns a variable's value in its own dtype, also where a mixed policy would cast it."""
    casts = variable._autocast  # noqa: SLF001 - there is no other way to read it uncast
    variable._autocast = False  # noqa: SLF001 - the same
    try:
        return variable.value
    finally:
        variable._autocast = casts  # noqa: SLF001 - the same


def refused(
    name: str, problem: str, got: str | None = None, advice: str | None = None
) -> UnsupportedError:
    """Returns the error for a layer that cannot be adapted."""
    return UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, got, advice=advice))


def _product(flat: Any, term: Term) -> Any:
    """Returns x delta^T, (t, in) -> (t, out), in the input's dtype.

    For float16 it is computed in float32: the small numbers of a delta weight are none of float16.
    """
    dtype = keras.backend.standardize_dtype(flat.dtype)
    if cost.through_activations(term.path, term.basis, flat.shape[0]):
        y = term.basis.product(term.scaled, ops.cast(flat, term.scaled.dtype))
        return ops.cast(y, dtype)
    delta = term.basis.delta_weight(term.scaled)
    if dtype == "bfloat16":
        return ops.matmul(flat, ops.cast(delta, dtype))
    return ops.cast(matmul(ops.cast(flat, delta.dtype), delta), dtype)


def _finished(layer: Any, y: Any, product: Any) -> Any:
    """Returns activation(y + product + bias), as Dense and EinsumDense finish their calls."""
    y += ops.reshape(product, ops.shape(y))
    if layer.bias is not None:
        y = ops.add(y, layer.bias)
    return y if layer.activation is None else layer.activation(y)


def _letters(equation: str) -> tuple[str, str, str]:
    """Returns an equation's letters for input, kernel and output.

    Raises:
        UsageError: It has no such three parts.
    """
    given, _, result = equation.replace(" ", "").replace("...", "").partition("->")
    inputs, _, kernel = given.partition(",")
    if not (inputs and kernel and result):
        raise UsageError(Violation("E-USAGE", "equation", "not input,kernel->output", equation))
    return inputs, kernel, result


def _is_plain(layer: Any) -> bool:
    """Whether input axes end the input, and output axes the output, in the kernel's order."""
    _, kernel, result = _letters(layer.equation)
    inner = "".join(letter for letter in kernel if letter not in result)
    outer = "".join(letter for letter in kernel if letter in result)
    left, _, whole_result = layer.equation.replace(" ", "").partition("->")
    whole_given = left.partition(",")[0]  # an ellipsis at its end is none of the axes of the kernel
    if not (whole_given.endswith(inner) and whole_result.endswith(outer)):
        return False
    return bool(whole_given.removesuffix(inner) == whole_result.removesuffix(outer))

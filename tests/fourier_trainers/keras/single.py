"""Layers of each kind, and what they compute with W + delta, by NumPy in float64.

What a layer does to its input is linear in its kernel and in its input, so that every gradient is
a product with what it does to a unit of either: no gradient is written out by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from fourier_format.adapter import Array
from fourier_trainers.config import Path
from fourier_trainers.keras import Explicit, FourierConfig, attach
from tests.fourier_trainers import reference
from tests.fourier_trainers.keras.differentiating import Found, gradients

GAIN = 4.0


@dataclass(frozen=True)
class Case:
    """A layer.

    Attributes:
        name: Of the test.
        make: name and dtype policy -> the layer.
        x: An input's shape.
        order: The stored axes as they stand in the canonical matrix (spec/registry.md, table 2).
        outer: How many of them are the output's.
        linear: (x, kernel) -> what comes before bias and activation.
        tanh: Whether the activation is tanh.
        plain: Whether a delta may be applied beside the weight.
    """

    name: str
    make: Callable[..., Any]
    x: tuple[int, ...]
    order: tuple[int, ...]
    outer: int
    linear: Callable[[Array, Array], Array]
    tanh: bool = False
    plain: bool = True
    vocabulary: int = field(default=0)


def dense(name: str, x: tuple[int, ...], units: int, **keywords: Any) -> Case:
    """Return a Dense."""

    def make(**more: Any) -> Any:
        return keras.layers.Dense(units, **keywords, **more)

    return Case(name, make, x, (1, 0), 1, np.matmul, "activation" in keywords)


def einsum(
    equation: str, x: tuple[int, ...], out: Any, order: tuple[int, ...], outer: int, **keywords: Any
) -> Case:
    """Return an EinsumDense."""
    plain = keywords.pop("plain", True)

    def make(**more: Any) -> Any:
        return keras.layers.EinsumDense(equation, out, **keywords, **more)

    def linear(inputs: Array, kernel: Array) -> Array:
        return np.asarray(np.einsum(equation, inputs, kernel))

    return Case(equation, make, x, order, outer, linear, "activation" in keywords, plain)


def conv(name: str, x: tuple[int, ...], filters: int, size: Any, **keywords: Any) -> Case:
    """Return a Conv2D; images are (height, width, channels)."""

    def make(**more: Any) -> Any:
        return keras.layers.Conv2D(filters, size, **keywords, **more)

    def linear(inputs: Array, kernel: Array) -> Array:
        return convolved(inputs, kernel, keywords)

    return Case(name, make, x, (3, 2, 0, 1), 1, linear, "activation" in keywords, plain=False)


def convolved(x: Array, kernel: Array, keywords: Mapping[str, Any]) -> Array:
    """Return a convolution of (n, h, w, c) with (kh, kw, c / groups, o), patch by patch."""
    steps, spread = (
        (value, value) if isinstance(value, int) else value
        for value in (keywords.get("strides", 1), keywords.get("dilation_rate", 1))
    )
    groups, shape = keywords.get("groups", 1), kernel.shape[:2]
    reach = [(k - 1) * d + 1 for k, d in zip(shape, spread, strict=True)]
    if keywords.get("padding") == "same":
        sizes = [math.ceil(n / s) for n, s in zip(x.shape[1:3], steps, strict=True)]
        extra = [
            max((o - 1) * s + r - n, 0)
            for o, s, r, n in zip(sizes, steps, reach, x.shape[1:3], strict=True)
        ]
        x = np.pad(x, ((0, 0), *((e // 2, e - e // 2) for e in extra), (0, 0)))
    sizes = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:3], reach, steps, strict=True)]
    y = np.zeros((x.shape[0], *sizes, kernel.shape[3]))
    for i, j in np.ndindex(*shape):
        rows, columns = (
            slice(k * d, k * d + (n - 1) * s + 1, s)
            for k, d, n, s in zip((i, j), spread, sizes, steps, strict=True)
        )
        pixels = np.split(x[:, rows, columns], groups, axis=3)
        weights = np.split(kernel[i, j], groups, axis=1)
        y += np.concatenate([a @ b for a, b in zip(pixels, weights, strict=True)], axis=3)
    return y


def embedding(name: str, **keywords: Any) -> Case:
    """Return an Embedding of 24 rows."""

    def make(**more: Any) -> Any:
        return keras.layers.Embedding(24, 18, **keywords, **more)

    return Case(name, make, (2, 7), (1, 0), 1, lambda ids, rows: rows[ids], vocabulary=24)


Q = {"bias_axes": "de"}
CASES = {
    case.name: case
    for case in (
        dense("dense", (5, 24), 18, activation="tanh"),
        dense("dense 3-D", (2, 5, 24), 18),
        dense("dense, no bias", (2, 3, 2, 24), 18, use_bias=False),
        dense("dense of one", (3, 1), 1),
        einsum("abc,cd->abd", (2, 5, 24), (None, 18), (1, 0), 1, bias_axes="d"),
        einsum("...x,xy->...y", (2, 5, 24), 18, (1, 0), 1, activation="tanh"),
        einsum("abc,cde->abde", (2, 5, 12), (None, 3, 6), (1, 2, 0), 2, **Q, activation="tanh"),
        einsum("abcd,cde->abe", (2, 5, 3, 6), (None, 12), (2, 0, 1), 1, bias_axes="e"),
        einsum("abc,dc->abd", (2, 5, 24), (None, 18), (0, 1), 1),
        einsum("abde,dec->abc", (2, 5, 3, 6), (None, 12), (2, 0, 1), 1, bias_axes="c"),
        einsum("abcd,cdef->abef", (2, 5, 3, 4), (None, 2, 5), (2, 3, 0, 1), 2),
        einsum("abc,dce->abed", (2, 5, 4), (None, 3, 6), (0, 2, 1), 2, plain=False),
        einsum("abcd,dec->abe", (2, 5, 3, 4), (None, 6), (1, 0, 2), 1, plain=False),
        einsum("abc,bd->acd", (2, 8, 5), (5, 6), (1, 0), 1, plain=False),
        conv("conv", (2, 5, 6, 4), 6, 3, activation="tanh"),
        conv("conv 1x1", (2, 3, 4, 12), 18, 1, use_bias=False),
        conv("conv, strides", (2, 7, 6, 4), 6, (2, 3), strides=2, padding="same"),
        conv("conv, dilation", (2, 7, 6, 4), 6, (3, 2), dilation_rate=2),
        conv("conv, groups", (2, 5, 6, 8), 6, 3, groups=2, padding="same"),
        embedding("embedding"),
        embedding("embedding, mask", mask_zero=True),
    )
}


class Adapted:
    """One adapted layer; its delta weight is `size` times as large as its weight.

    Attributes:
        layer: Called "layer", in `model`.
        x: An input, float64 of float32 or float16, or int32.
        kernel: The base's weight, as the layer holds it, in float64.
    """

    def __init__(
        self,
        case: Case,
        policy: str = "float32",
        path: Path = "auto",
        transform: str = "dft2",
        count: int = 30,
        size: float = 1.0,
    ) -> None:
        self.case, self.policy, self.transform = case, policy, transform
        rng = np.random.default_rng(5)
        self.layer = case.make(name="layer", dtype=policy)
        shape = case.x[1:]
        if case.vocabulary:
            self.x = rng.integers(case.vocabulary, size=case.x).astype(np.int32)
            self.x[0, :3] = [23, 0, 23]
        else:
            self.x = rng.standard_normal(case.x).astype(np.float16).astype(np.float64)
        given = keras.Input(shape, dtype="int32" if case.vocabulary else policy_of(policy))
        self.model = keras.Sequential([given, self.layer])
        stored = tuple(self.variable.shape)
        ends = [stored[k] for k in case.order]
        self.shape = math.prod(ends[: case.outer]), math.prod(ends[case.outer :])
        self.ends = ends
        scale = 1.0 if case.vocabulary else self.shape[1] ** -0.5
        self._assign(self.variable, rng.standard_normal(stored) * scale)
        if getattr(self.layer, "bias", None) is not None:
            self._assign(self.layer.bias, rng.standard_normal(self.layer.bias.shape))
        self.entries = reference.entries_of(self.shape, count)
        self.values = reference.values_of(len(self.entries)).astype(np.float32)
        wave = self.matrix(self.values)
        self.alpha = float(size * scale / np.sqrt(np.mean(wave**2)))
        self.config = FourierConfig(
            target_modules=("layer",),
            n=len(self.entries),
            alpha=self.alpha,
            transform=transform,
            entries=Explicit({self.shape: self.entries}),
            gain=GAIN,
            path=path,
        )

    def attach(self) -> Adapted:
        attach(self.model, self.config)
        return self

    @property
    def variable(self) -> Any:
        return self.layer._embeddings if self.case.vocabulary else self.layer._kernel

    @property
    def kernel(self) -> Array:
        return _double(self.variable)

    @property
    def delta(self) -> Array:
        """The delta weight, as the layer stores its weight."""
        return self.stored(self.matrix(self.values)) * self.alpha

    def assign(self, values: Array) -> None:
        """Give the layer another weight."""
        self._assign(self.variable, values)

    def matrix(self, values: Array) -> Array:
        """Return the delta weight (out, in) of coefficients, for alpha 1."""
        p, q = (np.arange(size) for size in self.shape)
        return reference.delta_block(
            self.transform, self.shape, self.entries, values.astype(np.float64), p, q
        )

    def stored(self, matrix: Array) -> Array:
        """Return a canonical matrix as the layer stores its weight."""
        return matrix.reshape(self.ends).transpose(np.argsort(self.case.order))

    def got(self, compiled: bool) -> Found:
        """Return output and gradients by the trained values, over `gain`, and x."""
        coefficients = self.layer.fourier.coefficients
        values = (self.values / GAIN).astype(coefficients.dtype)
        return gradients(self._with(coefficients), values, self._input(), compiled=compiled)

    def plain(self, compiled: bool) -> Found:
        """Return output and gradients of the layer before `attach`, by its weight and x."""
        values = self.kernel.astype("float64" if self.policy == "float64" else "float32")
        return gradients(self._with(self.variable), values, self._input(), compiled=compiled)

    def expected(self, g: Array, *, adapted: bool = True) -> dict[str, Array]:
        """Return output and gradients in float64: by trained values, or by the weight, and x."""
        total = self.kernel + (self.delta if adapted else 0.0)
        y = self.case.linear(self.x, total)
        bias = getattr(self.layer, "bias", None)
        if bias is not None:
            y = y + _double(bias)
        if self.case.tanh:
            y = np.tanh(y)
            g = g * (1 - y**2)
        found = {"y": y, "values": self._by_weight(g, adapted=adapted)}
        if not self.case.vocabulary:
            units = np.eye(self.x.size).reshape(-1, *self.x.shape)
            by_x = [(g * self.case.linear(unit, total)).sum() for unit in units]
            found["x"] = np.reshape(by_x, self.x.shape)
        return found

    def _by_weight(self, g: Array, *, adapted: bool) -> Array:
        size = self.shape[0] * self.shape[1]
        shape = tuple(self.variable.shape)
        units = np.eye(size).reshape(size, *shape)
        dense = np.reshape([(g * self.case.linear(self.x, u)).sum() for u in units], shape)
        if not adapted:
            return dense
        matrix = dense.transpose(self.case.order).reshape(self.shape)
        return (
            self.alpha
            * GAIN
            * reference.coefficient_gradient(self.transform, self.shape, self.entries, matrix)
        )

    def _with(self, variable: Any) -> Callable[..., Any]:
        def f(values: Any, x: Any = None) -> Any:
            with keras.StatelessScope(state_mapping=[(variable, values)]):
                return self.model(self.x if x is None else x)

        return f

    def _input(self) -> Array:
        return self.x if self.case.vocabulary else self.x.astype(policy_of(self.policy, numpy=True))

    def _assign(self, variable: Any, values: Array) -> None:
        variable.assign(values.astype(np.float32).astype(_numpy(str(variable.dtype))))


def policy_of(policy: str, *, numpy: bool = False) -> str:
    """Return the dtype of a policy's inputs; NumPy has no bfloat16, and Keras rounds them."""
    compute = policy.removeprefix("mixed_")
    return "float32" if numpy and compute == "bfloat16" else compute


def _numpy(dtype: str) -> str:
    return "float32" if dtype == "bfloat16" else dtype


def _double(variable: Any) -> Array:
    values = keras.ops.convert_to_tensor(variable)
    return np.asarray(keras.ops.convert_to_numpy(values)).astype(np.float64)

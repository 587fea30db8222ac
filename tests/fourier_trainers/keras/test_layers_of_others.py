"""Layers that read the weight of a target themselves: users' subclasses, Keras's and keras-hub's.

They compute what they compute with W + delta as their weight: the expected is the same layer,
plain, with that sum assigned to it.
"""

from __future__ import annotations

from typing import Any

import keras
import keras_hub
import numpy as np
import pytest

from fourier_format.adapter import Array
from fourier_trainers.config import Path
from fourier_trainers.keras import Explicit, FourierConfig, attach, named_layers
from tests.fourier_trainers import reference
from tests.fourier_trainers.keras.differentiating import USUAL, Found, gradients
from tests.fourier_trainers.reference import error
from tests.tolerances import TRAINED_OUTPUT_F32

PATHS: tuple[Path, ...] = ("weight", "activation")
paths = pytest.mark.parametrize("path", PATHS)
N = 30


class Halved(keras.layers.Dense):  # type: ignore[misc]  # Keras has no types
    """Reads its kernel twice."""

    def call(self, inputs: Any) -> Any:
        kernel = self.kernel / 2
        return keras.ops.tanh(keras.ops.matmul(inputs, kernel)) + keras.ops.sum(self.kernel, axis=0)


class Standardised(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution with a kernel that is standardised first."""

    def call(self, inputs: Any) -> Any:
        kernel = self.kernel - keras.ops.mean(self.kernel, axis=(0, 1, 2), keepdims=True)
        return keras.ops.conv(inputs, kernel, padding="same")


class Normed(keras.layers.Embedding):  # type: ignore[misc]
    """Scales what the layer itself looks up."""

    def call(self, inputs: Any) -> Any:
        return super().call(inputs) * 3.0


def of_target(
    model: Any, name: str, order: tuple[int, ...], outer: int, x: Array, path: Path
) -> tuple[list[Array], list[Array]]:
    """Return what is found and what is expected: outputs, and gradients by the trained values.

    `order` and `outer` are those of the target's weight in `single.Case`.
    """
    target = named_layers(model)[name]
    variable = target._embeddings if hasattr(target, "_embeddings") else target._kernel
    kernel = np.array(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable)))
    ends = [kernel.shape[k] for k in order]
    shape = int(np.prod(ends[:outer])), int(np.prod(ends[outer:]))
    entries, values = reference.entries_of(shape, N), reference.values_of(N).astype(np.float32)
    alpha = float(shape[0] * shape[1]) * 0.1
    delta = alpha * reference.delta("dft2", shape, entries, values.astype(np.float64))
    total = kernel + delta.reshape(ends).transpose(np.argsort(order))

    plain = _run(model, x, variable, total.astype(np.float32))
    attach(
        model,
        FourierConfig(
            target_modules=(name,),
            n=N,
            alpha=alpha,
            entries=Explicit({shape: entries}),
            path=path,
        ),
    )
    got = _run(model, x, target.fourier.coefficients, values)

    dense = plain.gradients[0].astype(np.float64).transpose(order).reshape(shape)
    expected = alpha * reference.coefficient_gradient("dft2", shape, entries, dense)
    return [got.y, got.gradients[0]], [plain.y, expected]


def _run(model: Any, x: Array, variable: Any, values: Array) -> Found:
    def f(given: Any) -> Any:
        with keras.StatelessScope(state_mapping=[(variable, given)]):
            return model(x)

    return gradients(f, values, compiled=USUAL)


def assert_same(found: tuple[list[Array], list[Array]]) -> None:
    assert [error(a, b) < TRAINED_OUTPUT_F32 for a, b in zip(*found, strict=True)] == [True, True]


def normal(*shape: int) -> Array:
    return np.random.default_rng(shape).standard_normal(shape, np.float32)


@paths
def test_a_dense_whose_call_reads_its_kernel(path: Path) -> None:
    model = keras.Sequential([keras.Input((24,)), Halved(18, name="target")])
    x = normal(5, 24)

    assert_same(of_target(model, "target", (1, 0), 1, x, path))


@paths
def test_a_convolution_whose_call_reads_its_kernel(path: Path) -> None:
    model = keras.Sequential([keras.Input((5, 6, 4)), Standardised(6, 3, name="target")])
    x = normal(2, 5, 6, 4)

    assert_same(of_target(model, "target", (3, 2, 0, 1), 1, x, path))


@paths
def test_an_embedding_whose_call_asks_its_class(path: Path) -> None:
    model = keras.Sequential([keras.Input((7,), dtype="int32"), Normed(24, 18, name="target")])
    x = np.array([[23, 0, 23, 4, 5, 6, 1]], np.int32)

    assert_same(of_target(model, "target", (1, 0), 1, x, path))


@paths
@pytest.mark.parametrize(
    ("cls", "tied"),
    [
        (keras_hub.layers.ReversibleEmbedding, True),
        (keras.layers.ReversibleEmbedding, False),
    ],
)
def test_an_embedding_that_gives_the_logits_too(cls: Any, tied: bool, path: Path) -> None:
    layer = cls(24, 18, tie_weights=tied, mask_zero=True, name="target")
    ids = keras.Input((7,), dtype="int32")
    model = keras.Model(ids, layer(keras.ops.tanh(layer(ids)), reverse=True))
    x = np.array([[23, 0, 23, 4, 5, 6, 1]], np.int32)

    assert_same(of_target(model, "target", (1, 0), 1, x, path))


@pytest.mark.parametrize(
    ("name", "order", "outer", "path"),
    [
        ("query", (1, 2, 0), 2, "weight"),
        ("key", (1, 2, 0), 2, "activation"),
        ("value", (1, 2, 0), 2, "auto"),
        ("attention_output", (2, 0, 1), 1, "activation"),
    ],
)
def test_the_layers_of_an_attention(
    name: str, order: tuple[int, ...], outer: int, path: Path
) -> None:
    attention = keras.layers.MultiHeadAttention(3, 4)
    given = keras.Input((6, 16))
    model = keras.Model(given, attention(given, given))
    x = normal(2, 6, 16)

    (full,) = [one for one in named_layers(model) if one.endswith("/" + name)]
    assert_same(of_target(model, full, order, outer, x, path))

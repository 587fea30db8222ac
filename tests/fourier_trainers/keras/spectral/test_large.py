"""From 2048 up, at 256 sampled positions: where a fast transform has been seen wrong."""

from __future__ import annotations

import numpy as np
import pytest

from fourier_format.adapter import Array
from fourier_trainers.keras.spectral.basis import Basis
from tests.fourier_trainers import reference
from tests.fourier_trainers.keras.differentiating import BACKEND, gradients
from tests.fourier_trainers.reference import error
from tests.tolerances import SPECTRAL_F32, TRAINED_OUTPUT_F32

SAMPLES = 256
TOKENS = 5
COUNT = 600
slow = pytest.mark.slow
ELSEWHERE = [("dft2", (4096, 4096)), ("dct2", (4099, 8191)), ("dwt2:sym4", (2047, 4099))]
LARGEST = [
    ("dft2", (2048, 2048)),
    ("dft2", (8191, 4099)),
    # JAX takes half a minute for each of these.
    *([] if BACKEND == "jax" else ELSEWHERE),
]
CASES = [
    *(("dft2", shape) for shape in [(2047, 64), (4099, 64), (64, 8191), (1, 8192)]),
    *(("dct2", shape) for shape in [(64, 2048), (4099, 64), (8191, 1)]),
    ("dht2", (64, 4096)),
    ("dwt2:db5", (2047, 64)),
    *(pytest.param(*case, marks=slow) for case in LARGEST),
]
cases = pytest.mark.parametrize(
    ("transform", "shape"), CASES, ids=lambda value: str(value).replace(" ", "")
)


class Problem:
    """A delta weight with standard normal coefficients, scaled to elements of about 1."""

    def __init__(self, transform: str, shape: tuple[int, int]) -> None:
        rng = np.random.default_rng(9)
        self.shape, self.transform = shape, transform
        self.entries = reference.entries_of(shape, COUNT)
        self.basis = Basis(transform, shape, self.entries)
        size = float(np.prod(shape))
        alpha = {"dft2": size, "dht2": size, "dct2": size**0.5}.get(transform, size**0.5)
        values = reference.values_of(len(self.entries)) * alpha / COUNT**0.5
        self.scaled = values.astype(np.float32)
        self.rows = rng.integers(shape[0], size=SAMPLES)
        self.columns = rng.integers(shape[1], size=SAMPLES)
        self.chosen = rng.integers(len(self.entries), size=min(SAMPLES, len(self.entries)))

    def normal(self, *size: int) -> Array:
        return np.random.default_rng(size).standard_normal(size, np.float32)

    def block(self, p: Array, q: Array) -> Array:
        """Return delta[p][:, q], in float64."""
        values = self.scaled.astype(np.float64)
        return reference.delta_block(self.transform, self.shape, self.entries, values, p, q)

    def of_coefficients(self, g: Array, x: Array, columns: Array | None = None) -> Array:
        """Return the gradient of sampled coefficients from g^T x, that of the delta weight.

        That is never formed: it has as many ranks as there are tokens.
        """
        p, q = np.arange(self.shape[0]), np.arange(self.shape[1])
        q = q if columns is None else columns
        found = np.zeros(len(self.chosen))
        entries = self.entries[self.chosen]
        for left, right in reference.factors(self.transform, self.shape, entries, p, q):
            found += ((left @ g.T.astype(np.float64)) * (right @ x.T.astype(np.float64))).sum(1)
        return found


@cases
def test_a_large_delta_weight_and_its_gradient(transform: str, shape: tuple[int, int]) -> None:
    problem = Problem(transform, shape)
    a, b = ((problem.normal(TOKENS, size) * 4).round() for size in shape)
    dense = a.T @ b  # (out, in), of small integers, and so exact

    got = gradients(problem.basis.delta_weight, problem.scaled, g=dense.T)

    p, q = problem.rows, problem.columns
    values = problem.scaled.astype(np.float64)
    expected = reference.delta_at(transform, shape, problem.entries, values, p, q)
    assert error(got.y[q, p], expected) < SPECTRAL_F32
    some = got.gradients[0][problem.chosen]
    assert error(some, problem.of_coefficients(a, b)) < SPECTRAL_F32


@cases
def test_a_large_product_and_its_gradients(transform: str, shape: tuple[int, int]) -> None:
    problem = Problem(transform, shape)
    out, in_ = shape
    x = problem.normal(TOKENS, in_)
    g = problem.normal(TOKENS, out)

    got = gradients(problem.basis.product, problem.scaled, x, g=g)

    lines = problem.block(problem.rows, np.arange(in_))  # (256, in)
    uprights = problem.block(np.arange(out), problem.columns)  # (out, 256)
    by_scaled, by_x = got.gradients
    assert error(got.y[:, problem.rows], x.astype(np.float64) @ lines.T) < TRAINED_OUTPUT_F32
    assert error(by_x[:, problem.columns], got.g @ uprights) < TRAINED_OUTPUT_F32
    some = by_scaled[problem.chosen]
    assert error(some, problem.of_coefficients(got.g, x)) < TRAINED_OUTPUT_F32


@pytest.mark.parametrize("transform", ["dft2", "dct2"])
@pytest.mark.parametrize("shape", [(96, 30522), (48, 50257)], ids=str)
def test_columns_of_a_vocabulary(transform: str, shape: tuple[int, int]) -> None:
    problem = Problem(transform, shape)
    positions = problem.columns.astype(np.int32)

    got = gradients(problem.basis.columns, problem.scaled, positions)

    assert error(got.y, problem.block(np.arange(shape[0]), problem.columns).T) < SPECTRAL_F32
    some = got.gradients[0][problem.chosen]
    expected = problem.of_coefficients(got.g, np.eye(SAMPLES), problem.columns)
    assert error(some, expected) < SPECTRAL_F32

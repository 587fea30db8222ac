"""Delta weights, their products and columns, and the gradients of all, are the formula's sums."""

from __future__ import annotations

import numpy as np
import pytest

from fourier_format.adapter import TRANSFORMS as REGISTERED
from fourier_format.adapter import Array
from fourier_format.errors import UnsupportedError
from fourier_trainers.keras.spectral.basis import Basis
from tests.fourier_trainers import reference
from tests.fourier_trainers.keras.differentiating import BACKEND, COMPILED, USUAL, gradients, value
from tests.fourier_trainers.reference import TRANSFORMS, WAVELETS, error
from tests.tolerances import SPECTRAL_F32, SPECTRAL_F64

SHAPES = [(1, 1), (1, 2), (2, 1), (1, 97), (2, 3), (24, 40), (97, 89), (128, 512), (512, 127)]
BARS = {"float64": SPECTRAL_F64, "float32": SPECTRAL_F32}
TOKENS = 9
CASES = [
    *((transform, shape) for transform in TRANSFORMS for shape in SHAPES),
    *((transform, shape) for transform in WAVELETS for shape in [(1, 7), (64, 97)]),
]


class Problem:
    """Entries and coefficients of one shape, and what they must give in float64.

    Attributes:
        scaled: (n,) of float32, in float64; delta weights are about as large.
        delta: (out, in) float64.
    """

    def __init__(self, transform: str, shape: tuple[int, int], count: int = 60) -> None:
        self.transform, self.shape = transform, shape
        self.entries = reference.entries_of(shape, count)
        self.basis = Basis(transform, shape, self.entries)
        size = float(np.prod(shape))
        alpha = {"dft2": size, "dht2": size, "dct2": size**0.5}.get(transform, 1.0)
        values = reference.values_of(len(self.entries)) * alpha
        self.scaled = values.astype(np.float32).astype(np.float64)
        p, q = np.arange(shape[0]), np.arange(shape[1])
        self.delta = reference.delta_block(transform, shape, self.entries, self.scaled, p, q)

    def normal(self, *size: int) -> Array:
        """Return standard normal numbers of float32, in float64."""
        return np.random.default_rng(size).standard_normal(size, np.float32).astype(np.float64)

    def of_coefficients(self, dense: Array) -> Array:
        """Return the gradient of the scaled coefficients from that of the delta weight."""
        return reference.coefficient_gradient(self.transform, self.shape, self.entries, dense)


FEW = [
    *((transform, (97, 89)) for transform in TRANSFORMS),
    ("dct2", (1, 2)),
    ("dwt2:db5", (64, 97)),
]
"""Those in float64 for JAX, which takes a second to compile each of them."""
cases = pytest.mark.parametrize(
    ("transform", "shape", "dtype"),
    [
        (*case, dtype)
        for case in CASES
        for dtype in BARS
        if BACKEND != "jax" or dtype == "float32" or case in FEW
    ],
    ids=str,
)


@cases
def test_the_delta_weight(transform: str, shape: tuple[int, int], dtype: str) -> None:
    of_delta_weight(Problem(transform, shape), dtype, compiled=USUAL)


def of_delta_weight(problem: Problem, dtype: str, *, compiled: bool) -> None:
    got = gradients(problem.basis.delta_weight, problem.scaled.astype(dtype), compiled=compiled)

    assert got.y.dtype == got.gradients[0].dtype == dtype
    assert error(got.y, problem.delta.T) < BARS[dtype]
    assert error(got.gradients[0], problem.of_coefficients(got.g.T)) < BARS[dtype]


@cases
def test_the_product_with_it(transform: str, shape: tuple[int, int], dtype: str) -> None:
    of_product(Problem(transform, shape), dtype, compiled=USUAL)


def of_product(problem: Problem, dtype: str, *, compiled: bool) -> None:
    x = problem.normal(TOKENS, problem.shape[1])

    got = gradients(
        problem.basis.product, problem.scaled.astype(dtype), x.astype(dtype), compiled=compiled
    )

    by_scaled, by_x = got.gradients
    assert got.y.dtype == by_scaled.dtype == by_x.dtype == dtype
    assert error(got.y, x @ problem.delta.T) < BARS[dtype]
    assert error(by_scaled, problem.of_coefficients(got.g.T @ x)) < BARS[dtype]
    assert error(by_x, got.g @ problem.delta) < BARS[dtype]


@cases
def test_columns_of_it(transform: str, shape: tuple[int, int], dtype: str) -> None:
    of_columns(Problem(transform, shape), dtype, compiled=USUAL)


def of_columns(problem: Problem, dtype: str, *, compiled: bool) -> None:
    positions = np.random.default_rng(0).integers(problem.shape[1], size=TOKENS).astype(np.int32)

    got = gradients(
        problem.basis.columns, problem.scaled.astype(dtype), positions, compiled=compiled
    )

    dense = np.zeros(problem.shape)
    np.add.at(dense.T, positions, got.g)
    assert got.y.dtype == got.gradients[0].dtype == dtype
    assert error(got.y, problem.delta.T[positions]) < BARS[dtype]
    assert error(got.gradients[0], problem.of_coefficients(dense)) < BARS[dtype]


@pytest.mark.parametrize(
    ("transform", "compiled"),
    [("dct2", compiled) for compiled in COMPILED] + [("dwt2:db5", COMPILED[-1])],
)
def test_compiled_or_not_it_is_the_same(transform: str, compiled: bool) -> None:
    for check in (of_delta_weight, of_product, of_columns):
        check(Problem(transform, (24, 41)), "float32", compiled=compiled)


@pytest.mark.parametrize("transform", REGISTERED)
def test_every_registered_transform_has_a_basis(transform: str) -> None:
    problem = Problem(transform, (12, 9), 40)

    got = value(problem.basis.delta_weight, problem.scaled)

    assert error(got, problem.delta.T) < SPECTRAL_F64


@pytest.mark.parametrize("transform", [*TRANSFORMS, "dwt2:db2"])
def test_every_entry_of_a_shape_may_be_adapted(transform: str) -> None:
    of_delta_weight(Problem(transform, (8, 7), 56), "float64", compiled=USUAL)


def test_it_states_its_sizes() -> None:
    basis = Basis("dft2", (6, 10), np.array([[0, 0], [1, 3], [5, 7], [2, 1]], np.int32))

    assert (basis.count, basis.shape, basis.transform) == (4, (6, 10), "dft2")
    assert basis.rank == 6  # cosine and sine of the frequencies 0, 1, and 3, which 7 mirrors


def test_its_entries_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Problem("dft2", (6, 10)).basis.entries[0, 0] = 1


def test_a_transform_of_no_registry_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="E-TRANSFORM-UNKNOWN"):
        Basis("dst2", (6, 10), np.array([[0, 0]], np.int32))

"""Delta weights, their products and their gradients are the sums of the formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fourier_format.adapter import Array
from fourier_trainers.torch.spectral import arithmetic
from fourier_trainers.torch.spectral.basis import Basis
from tests.fourier_trainers.torch import reference
from tests.fourier_trainers.torch.reference import TRANSFORMS, error, tensor
from tests.tolerances import SPECTRAL_F32, SPECTRAL_F64

SHAPES = [
    (1, 1),
    (1, 2),
    (2, 1),
    (1, 97),
    (2, 3),
    (24, 40),
    (97, 89),
    (128, 512),
    (512, 127),
]
BARS = {torch.float64: SPECTRAL_F64, torch.float32: SPECTRAL_F32}
TOKENS = 9


class Problem:
    """Entries and coefficients of one shape, and what they must give in float64."""

    def __init__(self, transform: str, shape: tuple[int, int], dtype: torch.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self.entries = reference.entries_of(shape, 60)
        self.basis = Basis(transform, shape, self.entries)
        size = shape[0] * shape[1]  # so that delta weights are about as large as coefficients
        alpha = np.sqrt(size) if transform == "dct2" else size
        values = reference.values_of(len(self.entries)).astype(np.float32).astype(np.float64)
        self.delta = alpha * reference.delta_block(
            transform, shape, self.entries, values, np.arange(shape[0]), np.arange(shape[1])
        )
        self.transform, self.alpha = transform, alpha
        self.scaled = tensor(values * alpha * self.basis.norm, dtype)
        self.bar = BARS[dtype]

    def random(self, *size: int) -> Tensor:
        rng = np.random.default_rng(len(size) + size[-1])
        return tensor(rng.standard_normal(size, np.float32), self.dtype)

    def of_coefficients(self, dense: Array | Tensor) -> Array:
        """Return the gradient of the scaled coefficients from that of the delta weight."""
        whole = np.asarray(dense, np.float64)
        found = reference.coefficient_gradient(self.transform, self.shape, self.entries, whole)
        return found / self.basis.norm


@pytest.fixture(params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


@pytest.fixture(params=["float64", "float32", "float64, blocks of a few rows"])
def dtype(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> torch.dtype:
    """A block is one of rows: everything must come out of several as out of one."""
    name, *blocks = request.param.split(",")
    if blocks:
        monkeypatch.setitem(arithmetic._BLOCK_CELLS, "cpu", 4 * (max(shape) + 2))
    found: torch.dtype = getattr(torch, name)
    return found


@pytest.fixture(params=TRANSFORMS)
def problem(request: pytest.FixtureRequest, shape: tuple[int, int], dtype: torch.dtype) -> Problem:
    return Problem(request.param, shape, dtype)


def test_the_delta_weight(problem: Problem) -> None:
    got = arithmetic.delta_weight(problem.basis, problem.scaled)

    assert got.dtype == problem.dtype
    assert error(got, problem.delta) < problem.bar


def test_the_delta_weight_added_to_a_matrix_of_any_strides(problem: Problem) -> None:
    matrix = problem.random(*reversed(problem.shape)).T
    expected = matrix.double().numpy() + problem.delta

    arithmetic.add_delta_weight(matrix, problem.basis, problem.scaled)

    assert error(matrix, expected) < problem.bar


def test_the_gradient_of_coefficients_from_that_of_the_delta_weight(problem: Problem) -> None:
    gradient = problem.random(*reversed(problem.shape)).T

    got = arithmetic.coefficient_gradient(problem.basis, gradient)

    assert got.dtype == problem.dtype
    assert error(got, problem.of_coefficients(gradient)) < problem.bar


def test_the_product_with_the_delta_weight(problem: Problem) -> None:
    x, y = problem.random(TOKENS, problem.shape[1]), problem.random(TOKENS, problem.shape[0])
    expected = y.double().numpy() + x.double().numpy() @ problem.delta.T

    arithmetic.add_product(y, problem.basis, problem.scaled, x)

    assert error(y, expected) < problem.bar


def test_the_product_with_the_delta_weight_turned(problem: Problem) -> None:
    g, x = problem.random(TOKENS, problem.shape[0]), problem.random(TOKENS, problem.shape[1])
    expected = x.double().numpy() + g.double().numpy() @ problem.delta

    arithmetic.add_transposed_product(x, problem.basis, problem.scaled, g)

    assert error(x, expected) < problem.bar


@pytest.mark.parametrize("wanted", [True, False], ids=["x too", "coefficients alone"])
def test_the_gradients_of_a_product(problem: Problem, wanted: bool) -> None:
    x, g = problem.random(TOKENS, problem.shape[1]), problem.random(TOKENS, problem.shape[0])
    x_gradient = problem.random(TOKENS, problem.shape[1])
    x_expected = x_gradient.double().numpy() + g.double().numpy() @ problem.delta

    got = arithmetic.product_gradients(
        problem.basis, problem.scaled, x, g, x_gradient if wanted else None
    )

    expected = problem.of_coefficients(g.double().numpy().T @ x.double().numpy())
    assert error(got, expected) < problem.bar
    if wanted:
        assert error(x_gradient, x_expected) < problem.bar


def test_columns_of_the_delta_weight(problem: Problem) -> None:
    positions = torch.from_numpy(np.random.default_rng(0).integers(problem.shape[1], size=TOKENS))
    y = problem.random(TOKENS, problem.shape[0])
    expected = y.double().numpy() + problem.delta.T[positions.numpy()]

    arithmetic.add_columns(y, problem.basis, problem.scaled, positions)

    assert error(y, expected) < problem.bar


def test_the_gradient_of_coefficients_from_that_of_columns(problem: Problem) -> None:
    positions = torch.from_numpy(np.random.default_rng(0).integers(problem.shape[1], size=TOKENS))
    gradient = problem.random(TOKENS, problem.shape[0])

    got = arithmetic.column_gradients(problem.basis, positions, gradient)

    dense = np.zeros(problem.shape)
    np.add.at(dense.T, positions.numpy(), gradient.double().numpy())
    assert error(got, problem.of_coefficients(dense)) < problem.bar


def test_nothing_comes_of_no_tokens(problem: Problem) -> None:
    x, g = torch.empty(0, problem.shape[1]), torch.empty(0, problem.shape[0])
    x, g = x.to(problem.dtype), g.to(problem.dtype)
    positions = torch.empty(0, dtype=torch.int64)

    arithmetic.add_product(g, problem.basis, problem.scaled, x)
    arithmetic.add_columns(g, problem.basis, problem.scaled, positions)
    found = [
        arithmetic.product_gradients(problem.basis, problem.scaled, x, g, x),
        arithmetic.column_gradients(problem.basis, positions, g),
    ]

    assert all(torch.equal(f, torch.zeros_like(problem.scaled)) for f in found)

"""The approximation is the best of its rank, held to NumPy's whole decomposition in float64."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourier_converters.lora import decomposition
from fourier_converters.lora.decomposition import LowRank, low_rank
from fourier_format import sampling
from fourier_format.adapter import Array
from tests.fourier_format import samples
from tests.strategies import DRAW, entries, shapes
from tests.tolerances import DELTA_F32

OPTIMAL = 1e-9
"""How far the kept energy may be from the best possible, as a part of the whole."""

SIZES = [
    ((1, 1), 1),
    ((1, 9), 9),
    ((8, 1), 8),
    ((2, 2), 4),
    ((12, 10), 120),
    ((13, 11), 60),
    ((40, 24), 100),
    ((24, 41), 100),
    ((96, 384), 300),
]
"""Even and odd, flat and tall, with every entry or with few."""


@st.composite
def problems(draw: DRAW) -> tuple[Array, Array, tuple[int, int], int]:
    """Draws entries, coefficients, shape and rank."""
    shape = draw(shapes)
    positions = draw(entries(shape))
    values = draw(st.lists(st.integers(-8, 8), min_size=len(positions), max_size=len(positions)))
    return positions, np.array(values, np.float32), shape, draw(st.integers(1, min(shape)))


def problem(shape: tuple[int, int], count: int) -> tuple[Array, Array]:
    drawn = sampling.draw(shape, count, samples.UNIFORM, 5)
    return drawn, np.random.default_rng(count).standard_normal(count).astype(np.float32)


def exact(positions: Array, values: Array, shape: tuple[int, int], alpha: float) -> Array:
    """Returns the delta weight by NumPy's complex transform."""
    spectrum = np.zeros(shape, np.complex128)
    spectrum[positions[:, 0], positions[:, 1]] = values.astype(np.float64)
    return np.asarray(np.fft.ifft2(spectrum).real * alpha)


def assert_best(found: LowRank, delta: Array, rank: int) -> None:
    """Hold factors and stated energies to the singular values of the whole matrix."""
    squares = np.linalg.svd(delta, compute_uv=False) ** 2
    total = squares.sum()
    assert found.left.shape == (delta.shape[0], rank)
    assert found.right.shape == (rank, delta.shape[1])
    assert found.left.dtype == found.right.dtype == np.float32
    product = found.left.astype(np.float64) @ found.right.astype(np.float64)
    if not total:
        assert not product.any()
        assert found.kept == 1
        return
    best = squares[:rank].sum() / total
    lost = ((delta - product) ** 2).sum() / total
    assert lost <= 1 - best + 10 * DELTA_F32**2 + OPTIMAL
    assert abs(found.kept - best) <= OPTIMAL
    ours = found.energies / found.energies.sum()
    both = min(ours.size, squares.size)
    assert np.abs(ours[:both] - squares[:both] / total).max() <= OPTIMAL
    assert squares[both:].sum() <= OPTIMAL * total


@pytest.mark.parametrize(("shape", "count"), SIZES)
@pytest.mark.parametrize("rank", [1, 3, 10])
def test_it_is_the_best_of_its_rank(shape: tuple[int, int], count: int, rank: int) -> None:
    positions, values = problem(shape, count)
    rank = min(rank, *shape)

    found = low_rank(positions, values, shape, 150.0, rank)

    assert_best(found, exact(positions, values, shape, 150.0), rank)


@given(problems(), st.sampled_from([1.0, -30.0, 0.5]))
def test_it_is_the_best_for_any_entries(
    drawn: tuple[Array, Array, tuple[int, int], int], alpha: float
) -> None:
    positions, values, shape, rank = drawn

    found = low_rank(positions, values, shape, alpha, rank)

    assert_best(found, exact(positions, values, shape, alpha), rank)


@pytest.mark.parametrize(("shape", "count"), SIZES)
def test_with_the_deltas_own_rank_it_is_the_delta(shape: tuple[int, int], count: int) -> None:
    positions, values = problem(shape, count)
    delta = exact(positions, values, shape, -80.0)

    found = low_rank(positions, values, shape, -80.0, min(shape))

    product = found.left.astype(np.float64) @ found.right.astype(np.float64)
    assert np.abs(product - delta).max() <= DELTA_F32 * np.abs(delta).max()
    assert found.kept == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_coefficients_are_widened_first(dtype: type) -> None:
    positions, values = problem((24, 16), 50)
    half: Array = values.astype(dtype)

    found = low_rank(positions, half, (24, 16), 10.0, 4)

    assert_best(found, exact(positions, half, (24, 16), 10.0), 4)


def test_a_basis_that_is_made_by_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = low_rank(*problem((41, 24), 100), (41, 24), 5.0, 6)
    monkeypatch.setattr(decomposition, "_ROWS", 7)

    pieces = low_rank(*problem((41, 24), 100), (41, 24), 5.0, 6)

    assert np.allclose(whole.left, pieces.left, atol=1e-6)
    assert np.allclose(whole.right, pieces.right, atol=1e-6)


def test_the_two_factors_are_of_one_size() -> None:
    """Neither is lost in half precision: each has half of every singular value."""
    found = low_rank(*problem((40, 24), 100), (40, 24), 5.0, 6)

    norms = np.linalg.norm(found.left, axis=0), np.linalg.norm(found.right, axis=1)
    assert np.allclose(*norms, rtol=1e-5)
    assert (np.diff(norms[0]) <= 0).all()


def test_mirrored_entries_add_up() -> None:
    positions = np.array([[1, 2], [5, 6]], np.int32)  # one cosine of 6 x 8
    values = np.array([1.0, 2.0], np.float32)

    found = low_rank(positions, values, (6, 8), 1.0, 2)

    assert_best(found, exact(positions, values, (6, 8), 1.0), 2)


def test_rows_beyond_the_rank_of_the_delta_are_zero() -> None:
    found = low_rank(np.array([[0, 0]], np.int32), np.ones(1, np.float32), (6, 8), 1.0, 4)

    assert np.count_nonzero(found.left.any(axis=0)) == 1
    assert np.count_nonzero(found.right.any(axis=1)) == 1


def test_a_delta_of_less_rank_than_entries_needs_no_more_than_its_own() -> None:
    """Of 49 entries in 7 rows and columns, all alike, remain one cosine and one sine product."""
    u, v = np.divmod(np.arange(49), 7)
    positions = np.stack([u + 1, v + 1], axis=1).astype(np.int32)

    found = low_rank(positions, np.full(49, 1 / 3, np.float32), (24, 16), 5.0, 16)

    assert found.rank_for(1.0) == 2
    assert low_rank(positions, np.full(49, 1 / 3, np.float32), (24, 16), 5.0, 2).keeps(1.0)
    assert_best(found, exact(positions, np.full(49, 1 / 3, np.float32), (24, 16), 5.0), 16)


@pytest.mark.parametrize("coefficient", [0.0, -0.0])
def test_a_delta_of_zeros_loses_nothing(coefficient: float) -> None:
    values = np.full(4, coefficient, np.float32)

    found = low_rank(problem((6, 8), 4)[0], values, (6, 8), 1.0, 2)

    assert not found.left.any()
    assert (found.kept, found.keeps(1.0), found.rank_for(0.9)) == (1.0, True, 1)


@pytest.mark.parametrize("energy", [0.0, 0.3, 0.9, 0.999, 1.0])
def test_the_rank_that_is_named_is_the_smallest_that_does(energy: float) -> None:
    positions, values = problem((40, 24), 100)

    needed = low_rank(positions, values, (40, 24), 5.0, 1).rank_for(energy)

    assert low_rank(positions, values, (40, 24), 5.0, needed).keeps(energy)
    assert needed == 1 or not low_rank(positions, values, (40, 24), 5.0, needed - 1).keeps(energy)


@pytest.mark.parametrize(("coefficient", "alpha"), [(3e38, 1e-30), (1e-30, 1e30), (3e38, 1e200)])
def test_large_numbers_do_not_overflow_before_the_result(coefficient: float, alpha: float) -> None:
    values = np.array([coefficient, coefficient], np.float32)
    positions = np.array([[0, 1], [2, 3]], np.int32)

    found = low_rank(positions, values, (6, 8), alpha, 4)

    assert found.kept == pytest.approx(1)
    assert np.isfinite(found.left).all() == (alpha < 1e100)


@pytest.mark.slow
def test_at_width_4096_it_takes_seconds_and_not_minutes() -> None:
    """The dense matrix's own truncated decomposition, by ARPACK, keeps as much."""
    from scipy.sparse.linalg import svds

    shape, rank = (4096, 4096), 64
    positions, values = problem(shape, 1000)
    delta = exact(positions, values, shape, 300.0)

    found = low_rank(positions, values, shape, 300.0, rank)

    _, best, _ = svds(delta.astype(np.float32), k=rank)
    total = (delta**2).sum()
    product = found.left.astype(np.float64) @ found.right.astype(np.float64)
    kept = 1 - ((delta - product) ** 2).sum() / total
    assert abs(kept - (best.astype(np.float64) ** 2).sum() / total) <= 1e-6
    assert abs(found.kept - kept) <= 1e-6

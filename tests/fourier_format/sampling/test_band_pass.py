"""Band-pass entries follow Eq. 5 of the paper (registry, section 3.2)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourier_format import Sampling, sampling
from fourier_format.adapter import Array
from fourier_format.errors import UsageError
from fourier_format.sampling import band_pass
from tests.fourier_format.sampling.test_splitmix64 import word


def distance(cells: Array, shape: tuple[int, int]) -> Array:
    """Return each cell's distance to frequency zero, float64."""
    u, v = np.divmod(cells, shape[1])
    d: Array = np.hypot(np.minimum(u, shape[0] - u), np.minimum(v, shape[1] - v))
    return d


def eq5(cells: Array, shape: tuple[int, int], centre: float, width: float) -> Array:
    """Return Eq. 5 straight from the paper, with NumPy's own exponential."""
    d = distance(cells, shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exponent = ((d * d - centre * centre) / (d * width)) ** 2
    exponent[d == 0] = 0.0 if centre == 0 else np.inf
    return np.exp(-exponent)


def exp_minus(x: float) -> float:
    """Return step 5 of the registry's definition, in Python's floats."""
    if x > 40 or math.isnan(x):
        return 0.0
    y, e = x / 1024, 1.0
    for k in range(10, 0, -1):
        e = 1 - (y / k) * e
    for _ in range(10):
        e = e * e
    return e


def drawn_by_definition(
    shape: tuple[int, int], count: int, seed: int, c: float, w: float
) -> list[int]:
    """Return the draw as the registry writes it, one candidate after the other."""
    out, in_ = shape
    result: list[int] = []
    for j in itertools.count():
        f = word(seed, 2 * j) * (out * in_) >> 64
        t = word(seed, 2 * j + 1) >> 32
        u, v = divmod(f, in_)
        u, v = min(u, out - u), min(v, in_ - v)
        d2 = float(u) * u + float(v) * v
        d, s = d2 - c * c, d2 * (w * w)
        x = (0.0 if c == 0 else math.inf) if d2 == 0 else (d * d) / s
        if t < math.floor(exp_minus(x) * 2.0**32) and f not in result:
            result.append(f)
            if len(result) == count:
                return result
    raise AssertionError


@pytest.mark.parametrize(("centre", "width"), [(0, 200), (100, 200), (350, 200), (480, 50)])
def test_the_probability_is_equation_5_over_the_papers_whole_matrix(
    centre: float, width: float
) -> None:
    cells = np.arange(768 * 768)

    found = band_pass._probability(cells, (768, 768), centre, width)

    np.testing.assert_allclose(found, eq5(cells, (768, 768), centre, width), atol=1e-13)


def test_the_exponential_is_exact_to_rounding_where_it_matters() -> None:
    x = np.linspace(0, 40, 10_001)

    found = band_pass._exp_minus(x)

    np.testing.assert_allclose(found, np.exp(-x), rtol=1e-12)
    assert band_pass._exp_minus(np.array([0.0, 40.1, np.inf])).tolist() == [1.0, 0.0, 0.0]


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 2**64 - 1),
    st.sampled_from([0.0, 2.5, 6.0]),
)
def test_draws_are_those_of_the_definition(
    shape: tuple[int, int], seed: int, centre: float
) -> None:
    cells = np.arange(shape[0] * shape[1])
    likely = int((eq5(cells, shape, centre, 8.0) > 0.05).sum())
    if not likely:
        return

    found = band_pass.draw(shape, min(likely, 6), seed, centre, 8.0)

    assert found.tolist() == drawn_by_definition(shape, min(likely, 6), seed, centre, 8.0)


def test_the_draw_of_a_known_seed_never_changes() -> None:
    found = band_pass.draw((768, 768), 5, 777, 100.0, 200.0)

    assert found.tolist() == [506043, 473827, 40841, 530650, 40956]


@pytest.mark.parametrize(("centre", "width"), [(0.0, 300.0), (600.0, 200.0), (1500.0, 100.0)])
def test_entries_are_distributed_by_equation_5(centre: float, width: float) -> None:
    shape, count = (4096, 2048), 10_000
    cells = np.arange(shape[0] * shape[1])
    weight, edges = eq5(cells, shape, centre, width), np.linspace(0, 2300, 47)
    expected, _ = np.histogram(distance(cells, shape), edges, weights=weight / weight.sum())

    drawn = band_pass.draw(shape, count, 11, centre, width)
    observed, _ = np.histogram(distance(drawn, shape), edges)

    assert np.unique(drawn).size == count
    many = expected * count > 10
    deviation = (observed - expected * count)[many] / np.sqrt(expected * count)[many]
    assert np.abs(deviation).max() < 4.5
    assert observed[~many].sum() < 200


def test_the_four_quadrants_are_drawn_alike() -> None:
    drawn = band_pass.draw((768, 768), 4000, 3, 100.0, 200.0)
    u, v = np.divmod(drawn, 768)

    quadrants = np.bincount((u < 384) * 2 + (v < 384), minlength=4)

    assert np.abs(quadrants - 1000).max() < 150  # 5 standard deviations


def test_a_band_that_holds_too_few_entries_is_refused() -> None:
    with pytest.raises(UsageError, match=r"0 of 5 entries") as caught:
        band_pass.draw((64, 64), 5, 1, 1e6, 1.0)

    assert caught.value.code == "E-FIELD-VALUE"


@pytest.mark.parametrize(("centre", "width"), [(1e300, 1e-300), (1e300, 1e300), (0, 1e-300)])
def test_parameters_that_overflow_accept_nothing_and_give_no_warning(
    centre: float, width: float
) -> None:
    found = band_pass._probability(np.arange(1, 16), (4, 4), centre, width)

    assert not (found > 0).any()


@pytest.mark.parametrize(
    ("centre", "width"),
    [(-1, 1), (0, 0), (0, -1), (math.nan, 1), (0, math.nan), (math.inf, 1), (0, math.inf)],
)
def test_parameters_without_a_meaning_are_refused(centre: float, width: float) -> None:
    with pytest.raises(UsageError, match="centre must be >= 0 and width > 0"):
        band_pass.draw((64, 64), 1, 1, centre, width)


def test_without_a_centre_frequency_zero_may_be_drawn_and_with_one_never() -> None:
    low = band_pass.draw((4, 4), 16, 1, 0.0, 100.0)
    high = band_pass.draw((4, 4), 15, 1, 2.0, 100.0)

    assert 0 in low
    assert 0 not in high


@pytest.mark.parametrize("missing", ["centre", "width"])
def test_a_recipe_without_its_parameters_is_refused(missing: str) -> None:
    parameters = {"centre": 1.0, "width": 1.0}
    del parameters[missing]
    recipe = Sampling(
        method="band-pass", generator="splitmix64-rejection", seed=1, parameters=parameters
    )

    with pytest.raises(UsageError, match=missing) as caught:
        sampling.draw((64, 64), 1, recipe)

    assert caught.value.code == "E-FIELD-MISSING"

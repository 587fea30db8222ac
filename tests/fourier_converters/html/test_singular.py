"""Singular values from entries alone, held to NumPy's of the whole delta weight in float64."""

from __future__ import annotations

import numpy as np
import pytest

from fourier_converters.html import singular
from fourier_converters.html.singular import Core, Singular
from fourier_format import sampling
from fourier_format.adapter import TRANSFORMS, Array
from fourier_format.spectral.routes import routes
from fourier_format.transforms import named
from tests.fourier_format import samples
from tests.tolerances import SINGULAR_VALUES

SIZES = [
    ((1, 1), 1),
    ((1, 9), 9),
    ((8, 1), 8),
    ((12, 10), 120),
    ((13, 11), 60),
    ((40, 24), 100),
    ((24, 41), 200),
    ((96, 160), 300),
    ((130, 120), 1200),
    ((130, 120), 3000),
]
"""Even and odd, flat and tall, with every entry or with few; parts small and large."""


def problem(transform: str, shape: tuple[int, int], n: int) -> tuple[Singular, Array, float]:
    """Returns what is computed, the singular values of the whole matrix, and its norm."""
    drawn = sampling.draw(shape, n, samples.UNIFORM, 5)
    values = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    rows = named(transform).rows(drawn, values, shape, 1.0, np.float64)
    whole = np.linalg.svd(rows(0, shape[0]), compute_uv=False)
    found = Core(routes(transform, shape, drawn)).singular(values, rows.norm)
    return found, whole, rows.norm


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_they_are_those_of_the_whole_delta_weight(transform: str) -> None:
    for shape, n in SIZES:
        found, whole, norm = problem(transform, shape, n)
        both = min(found.values.size, whole.size)
        scale = whole[0] or 1.0

        assert found.complete
        assert found.energy == pytest.approx(norm**2)
        assert np.abs(found.values[:both] - whole[:both]).max() <= SINGULAR_VALUES * scale
        assert whole[both:].max(initial=0.0) <= SINGULAR_VALUES * scale


@pytest.mark.parametrize("transform", ["dft2", "dht2", "dct2", "dwt2:db4"])
def test_of_a_large_part_the_leading_ones_are_computed_and_no_others_are_claimed(
    transform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(singular, "EXACT", 30)
    monkeypatch.setattr(singular, "LEADING", 10)

    found, whole, _ = problem(transform, (130, 120), 3000)

    assert not found.complete
    assert 10 <= found.values.size <= 20
    leading = whole[: found.values.size]
    assert np.abs(found.values - leading).max() <= SINGULAR_VALUES * whole[0]


def test_where_the_leading_ones_do_not_converge_none_are_claimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(singular, "EXACT", 30)
    monkeypatch.setattr(singular, "LEADING", 10)
    monkeypatch.setattr(singular, "RESTARTS", 1)

    found, _, norm = problem("dct2", (130, 120), 3000)

    assert found.values.size == 0
    assert not found.complete
    assert found.energy == pytest.approx(norm**2)
    assert (found.kept(8), found.rank_for(0.9)) == (None, None)


def test_leading_ones_that_reach_zero_are_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singular, "EXACT", 30)
    monkeypatch.setattr(singular, "LEADING", 10)
    shape = (40, 35)
    drawn = sampling.draw(shape, 1400, samples.UNIFORM, 5)

    whole = Core(routes("dct2", shape, drawn))
    found = whole.singular(np.ones(1400, np.float32), float(np.sqrt(1400)))

    assert found.complete
    assert found.values.size == 1


class TestTwins:
    """Entries in one quarter of the spectrum give dht2 every value twice, which ARPACK misses."""

    SHAPE = (130, 120)

    def entries(self, quarter: tuple[int, int], n: int) -> Array:
        """Returns `n` entries with u and v each below the half, or each above."""
        places = np.random.default_rng(n).choice(64 * 58, n, replace=False)
        inside = np.stack(np.divmod(places, 58), axis=1)
        return (inside + np.array(quarter) * (66, 62)).astype(np.int32)

    def both(self, transform: str, drawn: Array, values: Array) -> tuple[Singular, Array]:
        """Returns what is computed, and the singular values of the whole matrix."""
        rows = named(transform).rows(drawn, values, self.SHAPE, 1.0, np.float64)
        whole = np.linalg.svd(rows(0, self.SHAPE[0]), compute_uv=False)
        return Core(routes(transform, self.SHAPE, drawn)).singular(values, rows.norm), whole

    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(singular, "EXACT", 30)
        monkeypatch.setattr(singular, "LEADING", 10)

    @pytest.mark.parametrize("n", [40, 300, 3000])
    @pytest.mark.parametrize("quarter", [None, (0, 0), (0, 1), (1, 0), (1, 1)])
    @pytest.mark.parametrize("transform", TRANSFORMS)
    def test_none_of_the_leading_ones_is_missed(
        self, transform: str, quarter: tuple[int, int] | None, n: int
    ) -> None:
        drawn = sampling.draw(self.SHAPE, n, samples.UNIFORM, 5)
        if quarter is not None:
            drawn = self.entries(quarter, n)
        falling = 1 / (1 + np.hypot(*(drawn - drawn.mean(axis=0)).T))
        values = np.random.default_rng(n).standard_normal(n) * falling

        found, whole = self.both(transform, drawn, values.astype(np.float32))

        leading = whole[: found.values.size]
        assert found.values.size >= 10
        assert np.abs(found.values - leading).max() <= SINGULAR_VALUES * whole[0]
        assert found.complete == (whole[found.values.size :].max(initial=0) < 1e-6 * whole[0])

    @pytest.mark.parametrize("times", [1, 3, 8])
    @pytest.mark.parametrize("rank", [1, 7, 20])
    def test_of_few_that_occur_many_times_all_are_found(self, rank: int, times: int) -> None:
        drawn = np.stack(np.divmod(np.arange(40 * 40), 40), axis=1).astype(np.int32)
        left, right = np.random.default_rng(rank).standard_normal((2, 40, rank))
        low = np.linalg.qr(left)[0] * np.repeat(np.arange(1.0, rank + 1), times)[:rank]
        values = (low @ np.linalg.qr(right)[0].T).astype(np.float32).reshape(-1)

        found, whole = self.both("dht2", drawn, values)

        assert np.abs(found.values - whole[: found.values.size]).max() <= 1e-6 * whole[0]
        assert found.values.size >= min(2 * rank, 10)
        assert found.kept(8) == pytest.approx(np.square(whole[:8]).sum() / np.square(whole).sum())


def test_what_a_rank_keeps_and_needs() -> None:
    found = Singular(np.array([3.0, 2.0, 1.0]), 14.0, complete=True)

    assert found.kept(1) == pytest.approx(9 / 14)
    assert found.kept(8) == 1.0
    assert [found.rank_for(share) for share in (0.5, 0.9, 1.0)] == [1, 2, 3]


def test_what_is_not_known_of_leading_ones_is_not_said() -> None:
    found = Singular(np.array([3.0, 2.0]), 14.0, complete=False)

    assert found.kept(2) == pytest.approx(13 / 14)
    assert found.kept(3) is None
    assert found.rank_for(0.9) == 2
    assert found.rank_for(0.95) is None


def test_zeros_have_none() -> None:
    drawn = sampling.draw((9, 8), 5, samples.UNIFORM, 5)

    found = Core(routes("dft2", (9, 8), drawn)).singular(np.zeros(5, np.float32), 0.0)

    assert found.values.size == 0
    assert found.kept(8) is None

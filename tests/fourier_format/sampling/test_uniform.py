"""Uniform entries: distinct, a prefix of longer draws, and uniform (registry, section 3.1)."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fourier_format.sampling import uniform
from tests.fourier_format.sampling.test_splitmix64 import word

CHI_SQUARE_63_MAX = 120.0
"""Of 63 degrees of freedom; a uniform source exceeds it once in 50,000 draws."""


def drawn_by_definition(total: int, count: int, seed: int) -> list[int]:
    """Return the draw as the registry writes it, with the whole list in memory."""
    a = list(range(total))
    for i in range(count):
        k = i + (word(seed, i) * (total - i) >> 64)
        a[i], a[k] = a[k], a[i]
    return a[:count]


def chi_square(observed: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    expected = observed.sum() / observed.size
    return float(((observed - expected) ** 2 / expected).sum())


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**64 - 1), st.data())
def test_draws_are_those_of_the_definition(
    out: int, in_: int, seed: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, out * in_))

    found = uniform.draw((out, in_), count, seed)

    assert found.tolist() == drawn_by_definition(out * in_, count, seed)


def test_the_draw_of_a_known_seed_never_changes() -> None:
    found = uniform.draw((768, 768), 5, 777)

    assert found.tolist() == [280720, 384916, 183947, 290479, 50327]


def test_all_entries_of_a_spectrum_are_a_permutation() -> None:
    found = uniform.draw((31, 17), 31 * 17, 5)

    assert sorted(found.tolist()) == list(range(31 * 17))


def test_many_entries_of_a_large_spectrum_are_distinct_and_in_range() -> None:
    found = uniform.draw((4096, 4096), 10_000, 2024)

    assert np.unique(found).size == 10_000
    assert 0 <= found.min() <= found.max() < 4096 * 4096


def test_the_largest_spectrum_can_be_drawn_from() -> None:
    side = 2**31 - 1

    found = uniform.draw((side, side), 1000, 1)

    assert np.unique(found).size == 1000
    assert 0 <= found.min() <= found.max() < side * side


@given(st.integers(0, 2**64 - 1), st.integers(1, 200), st.integers(1, 200))
def test_fewer_entries_are_the_beginning_of_more(seed: int, some: int, more: int) -> None:
    few, many = sorted((some, more))

    long = uniform.draw((20, 15), many, seed)

    assert np.array_equal(uniform.draw((20, 15), few, seed), long[:few])


def test_entries_spread_evenly_over_both_axes_and_their_lower_bits() -> None:
    found = uniform.draw((4096, 4096), 20_000, 99)
    u, v = np.divmod(found, 4096)

    for part in (u // 64, v // 64, u % 64, v % 64, (u // 512) * 8 + v // 512):
        assert chi_square(np.bincount(part, minlength=64)) < CHI_SQUARE_63_MAX


def test_each_place_of_the_list_is_uniform_over_seeds() -> None:
    draws = np.array([uniform.draw((8, 8), 3, seed) for seed in range(6400)])  # (seeds, 3)

    for place in range(3):
        assert chi_square(np.bincount(draws[:, place], minlength=64)) < CHI_SQUARE_63_MAX


def test_other_seeds_draw_other_entries() -> None:
    first, second = (set(uniform.draw((512, 512), 1000, seed).tolist()) for seed in (1, 2))

    assert len(first & second) < 30  # 4 are expected

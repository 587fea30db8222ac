"""The counter-based generator, against its definition in exact integers (registry, section 3)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourier_format.sampling import splitmix64

MASK = 2**64 - 1


def word(seed: int, i: int) -> int:
    """Return word(s, i) as the registry writes it."""
    z = seed + (i + 1) * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def test_the_first_word_of_seed_zero_is_the_published_one() -> None:
    assert splitmix64.words(0, 0, 1).tolist() == [0xE220A8397B1DCDAF]


@pytest.mark.parametrize("seed", [0, 1, 777, 2**32, 2**63, 2**64 - 1])
def test_words_are_those_of_the_definition(seed: int) -> None:
    assert splitmix64.words(seed, 0, 50).tolist() == [word(seed, i) for i in range(50)]


def test_a_word_depends_on_its_index_alone() -> None:
    whole = splitmix64.words(7, 0, 100)

    assert np.array_equal(splitmix64.words(7, 60, 40), whole[60:])
    assert splitmix64.words(7, 0, 0).size == 0


@given(st.integers(0, MASK), st.integers(1, 2**62 - 1))
def test_bounding_is_the_upper_half_of_the_128_bit_product(value: int, bound: int) -> None:
    found = splitmix64.bounded(np.array([value], np.uint64), bound)

    assert found.tolist() == [value * bound >> 64]


def test_bounding_takes_one_bound_for_each_word() -> None:
    found = splitmix64.bounded(np.array([MASK, MASK], np.uint64), np.array([10, 2**61]))

    assert found.tolist() == [9, 2**61 - 1]

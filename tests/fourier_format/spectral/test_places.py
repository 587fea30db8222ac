"""Where entries stand in a spectrum, and which of them are low."""

from __future__ import annotations

import numpy as np
import pytest

from fourier_format import EntrySet
from fourier_format.spectral.places import FREQUENCIES, distances, places, signed_frequencies


def entry_set(entries: list[tuple[int, int]], shape: tuple[int, int]) -> EntrySet:
    return EntrySet(
        id="a",
        shape=shape,
        entries=np.array(entries, np.int32),
        coefficients=np.ones((1, len(entries)), np.float32),
    )


@pytest.mark.parametrize(
    ("shape", "entry", "signed"),
    [
        ((4, 6), (0, 0), (0, 0)),
        ((4, 6), (1, 2), (1, 2)),
        ((4, 6), (2, 3), (-2, -3)),
        ((4, 6), (3, 5), (-1, -1)),
        ((5, 7), (2, 3), (2, 3)),
        ((5, 7), (3, 4), (-2, -3)),
    ],
)
def test_frequencies_above_the_middle_are_the_negative_ones(
    shape: tuple[int, int], entry: tuple[int, int], signed: tuple[int, int]
) -> None:
    assert signed_frequencies(entry_set([entry], shape)).tolist() == [list(signed)]


@pytest.mark.parametrize(
    ("transform", "stands"),
    [("dft2", [-1, -2]), ("dht2", [-1, -2]), ("dct2", [7, 2]), ("dwt2:db2", [7, 2])],
)
def test_only_waves_have_signs(transform: str, stands: list[int]) -> None:
    assert places(entry_set([(7, 2)], (8, 4)), transform).tolist() == [stands]


def test_the_way_from_low_to_high_is_relative_to_each_axis() -> None:
    corners = entry_set([(0, 0), (4, 8), (4, 0), (0, 8), (7, 15)], (8, 16))

    waves, cosines = distances(corners, "dft2"), distances(corners, "dct2")

    assert waves == pytest.approx(
        [0, 1, np.sqrt(0.5), np.sqrt(0.5), np.hypot(1 / 4, 1 / 8) / 2**0.5]
    )
    assert cosines == pytest.approx(
        [0, np.hypot(4 / 7, 8 / 15) / 2**0.5, *np.sqrt([8 / 49, 32 / 225]), 1]
    )


@pytest.mark.parametrize("transform", FREQUENCIES)
@pytest.mark.parametrize("shape", [(8, 16), (7, 5), (8, 5), (1, 9), (1, 2), (6, 1), (2, 2)])
def test_the_highest_frequency_is_at_1_and_zero_at_0(
    transform: str, shape: tuple[int, int]
) -> None:
    every = entry_set([(u, v) for u in range(shape[0]) for v in range(shape[1])], shape)

    found = distances(every, transform)

    assert found[0] == 0
    assert found.max() == 1


@pytest.mark.parametrize("transform", FREQUENCIES)
def test_a_spectrum_of_one_entry_is_frequency_zero(transform: str) -> None:
    assert distances(entry_set([(0, 0)], (1, 1)), transform).tolist() == [0]

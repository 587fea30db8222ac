"""Pictures of spectra: every entry in its cell, and no energy lost."""

from __future__ import annotations

import numpy as np
import pytest

from fourier_converters.html.grids import SIDE, Spectrum, picture
from fourier_format import Adapter, EntrySet, Target, delta_weight
from tests.fourier_converters.html.settings import made
from tests.fourier_format import samples


def entry_set(entries: list[tuple[int, int]], shape: tuple[int, int], values: object) -> EntrySet:
    return EntrySet(
        id="s",
        shape=shape,
        entries=np.array(entries, np.int32),
        coefficients=np.array([values], np.float32),
    )


def test_waves_stand_at_their_signed_frequencies_u_upwards() -> None:
    entries = [(0, 0), (1, 0), (7, 0), (0, 5)]
    one = entry_set(entries, (8, 6), [4.0, -3.0, 2.0, 1.0])
    values = one.coefficients[0].astype(np.float64)
    spectrum = Spectrum(one, "dft2")

    seen = spectrum.map(values, values**2)

    cells = np.sign(seen.strengths)
    assert seen.largest == 4
    expected = np.zeros((8, 6))
    expected[3, 3] = 1  # zero in the middle: rows 0 to 7 are u = 3 to -4
    expected[2, 3] = -1  # u = 1, above it
    expected[4, 3] = 1  # u = 7 is -1
    expected[3, 2] = 1  # v = 5 is -1
    assert (cells == expected).all()


@pytest.mark.parametrize("transform", ["dct2", "dwt2:db1"])
def test_other_spectra_stand_as_they_are_zero_at_the_lower_left(transform: str) -> None:
    one = entry_set([(0, 0), (7, 5)], (8, 6), [1.0, -1.0])

    cells = Spectrum(one, transform).map(np.array([1.0, -1.0]), np.ones(2)).strengths

    assert cells[7, 0] == 1
    assert cells[0, 5] == -1
    assert np.count_nonzero(cells) == 2


@pytest.mark.parametrize("transform", ["dft2", "dct2", "dht2", "dwt2:db3"])
def test_cells_that_many_entries_share_keep_the_energy(transform: str) -> None:
    adapter = made(["a", "b", "c"], shape=(400, 300), n=20_000, transform=transform)
    spectrum = Spectrum(adapter.entry_sets[0], transform)

    seen = picture(adapter.entry_sets[0], spectrum)

    values = adapter.entry_sets[0].coefficients.astype(np.float64)
    assert seen.map.strengths.shape == (SIDE, SIDE)
    assert spectrum.shares
    for drawn in (seen.map, seen.rows):  # strengths are fourth roots over the largest
        energy = np.abs(drawn.strengths) ** 4 * drawn.largest**2
        assert np.abs(drawn.strengths).max() == pytest.approx(1)
        assert energy.sum() == pytest.approx(np.square(values).sum())
    share = np.square(values).sum(axis=1)
    rows = (np.abs(seen.rows.strengths) ** 4).sum(axis=1)
    assert rows / rows.sum() == pytest.approx(share / share.sum())
    assert sum(band.energy for band in seen.bands) == pytest.approx(1)
    assert sum(band.entries for band in seen.bands) == pytest.approx(1)


def test_energy_at_low_frequencies_is_seen_there() -> None:
    one = entry_set([(1, 1), (30, 30)], (64, 64), [3.0, 1.0])

    bands = picture(one, Spectrum(one, "dft2")).bands

    assert bands[0].energy == pytest.approx(0.9)
    assert bands[-1].energy == pytest.approx(0.1)


def test_the_subbands_of_wavelets_are_the_filters_that_the_delta_weight_shows() -> None:
    shape = (8, 12)
    for u, v in np.ndindex(shape):
        one = entry_set([(u, v)], shape, [1.0])
        target = Target(name="t", kind="linear", shape=shape, entries="s", row=0)
        adapter = Adapter(alpha=1.0, transform="dwt2:db1", entry_sets=(one,), targets=(target,))
        delta = delta_weight(adapter, target, np.float64)
        energies = [np.square(delta.sum(axis=axis)).sum() for axis in (0, 1)]
        filters = ["low" if energy > 1e-12 else "high" for energy in energies]  # high sums to zero

        bands = Spectrum(one, "dwt2:db1").bands(np.ones(1))

        assert [band.label for band in bands if band.entries] == [", ".join(filters)]


def test_of_zeros_nothing_is_divided_by_zero() -> None:
    adapter = made(["a"])
    silent = samples.changed(adapter.entry_sets[0], coefficients=np.zeros((1, 40), np.float32))

    seen = picture(silent, Spectrum(silent, "dft2"))

    assert not seen.map.strengths.any()
    assert not seen.rows.strengths.any()
    assert (seen.map.largest, seen.rows.largest) == (0, 0)
    assert not any(band.energy for band in seen.bands)


def test_targets_that_cancel_out_in_a_row_are_drawn() -> None:
    adapter = made([f"m{i}" for i in range(192)])
    one = np.asarray(adapter.entry_sets[0].coefficients)[:96]
    pairs = samples.changed(
        adapter.entry_sets[0], coefficients=np.stack([one, -one], axis=1).reshape(192, 40)
    )

    seen = picture(pairs, Spectrum(pairs, "dft2")).rows

    assert seen.strengths.shape == (96, 40)
    assert (seen.strengths > 0).all()
    assert seen.largest == pytest.approx(np.sqrt(2) * np.abs(one).max())

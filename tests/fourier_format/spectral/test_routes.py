"""A_out^T M A_in is the formula of each transform."""

from __future__ import annotations

import numpy as np
import pytest

from fourier_format.adapter import Array
from fourier_format.errors import UnsupportedError
from fourier_format.spectral.axes import Axis
from fourier_format.spectral.routes import Routes, routes
from fourier_trainers.torch.spectral.axes import applied
from tests.fourier_trainers.torch import reference
from tests.fourier_trainers.torch.reference import TRANSFORMS, error, tensor
from tests.tolerances import SPECTRAL_F64

SHAPES = [(1, 1), (1, 2), (2, 1), (1, 5), (6, 1), (2, 2), (2, 3), (4, 4), (5, 7), (6, 8), (8, 5)]


def rows_of(axis: Axis) -> Array:
    """Return A, (r, d)."""
    whole: Array = applied(axis).forward(tensor(np.eye(axis.length))).numpy().T
    return whole


def delta_of(r: Routes, values: Array) -> Array:
    """Return norm A_out^T M A_in."""
    m = np.zeros((r.out_axis.rows, r.in_axis.rows))
    for out_rows, in_rows, weights in zip(r.out_rows, r.in_rows, r.weights, strict=True):
        np.add.at(m, (out_rows, in_rows), values * weights)
    delta: Array = r.norm * (rows_of(r.out_axis).T @ m @ rows_of(r.in_axis))
    return delta


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_single_entry_is_its_wave(shape: tuple[int, int], transform: str) -> None:
    for u, v in np.ndindex(shape):
        entry = np.array([[u, v]], np.int32)

        got = delta_of(routes(transform, shape, entry), np.ones(1))

        expected = reference.delta(transform, shape, entry, np.ones(1))
        assert np.abs(got - expected).max() < SPECTRAL_F64, (u, v)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_entries_together_are_the_sum_of_their_waves(
    shape: tuple[int, int], transform: str
) -> None:
    entries = reference.entries_of(shape, shape[0] * shape[1])
    values = reference.values_of(len(entries))

    got = delta_of(routes(transform, shape, entries), values)

    assert error(got, reference.delta(transform, shape, entries, values)) < SPECTRAL_F64


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sines_that_are_zero_everywhere_carry_no_weight(
    shape: tuple[int, int], transform: str
) -> None:
    """An inverse FFT may read the imaginary parts at 0 and at half the length: cuFFT's does."""
    r = routes(transform, shape, reference.entries_of(shape, shape[0] * shape[1]))

    for axis, rows in ((r.out_axis, r.out_rows), (r.in_axis, r.in_rows)):
        empty = np.flatnonzero(np.abs(rows_of(axis)).max(1) < SPECTRAL_F64)
        assert (r.weights[np.isin(rows, empty)] == 0).all()


@pytest.mark.parametrize("transform", ["dft3", "", "DFT2", "dwt2:nothing-of-this-name"])
def test_an_unknown_transform_is_refused(transform: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        routes(transform, (4, 4), np.zeros((1, 2), np.int32))

    assert caught.value.violations[0].code == "E-TRANSFORM-UNKNOWN"

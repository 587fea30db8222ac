"""An axis's transforms in keras.ops are the matrix that its rows say."""

from __future__ import annotations

import numpy as np
import pytest

from fourier_format.adapter import Array
from fourier_format.spectral import axes
from fourier_format.spectral.axes import cosine_order
from fourier_trainers.keras.spectral.axes import Axis, applied
from tests.fourier_trainers.keras.differentiating import BACKEND, value
from tests.fourier_trainers.reference import error, filters
from tests.tolerances import SPECTRAL_F32, SPECTRAL_F64

LENGTHS = [*range(1, 13), 31, 64, 97, 127, 128, 255, 256, 509, 512]
LARGE = [2047, 2048, 4096, 4099, 8191, 8192]
WAVELETS = ["db1", "db2", "db5", "coif4-peft"]
BARS = {"float64": SPECTRAL_F64, "float32": SPECTRAL_F32}
orders = pytest.mark.parametrize("order", ["plain", "cosine"])
dtypes = pytest.mark.parametrize("dtype", ["float32"] if BACKEND == "jax" else [*BARS])
"""JAX takes long to compile each of so many; `test_basis` has float64 for it."""


def matrix(length: int, rows: Array) -> Array:
    """Return rows of A, (m, d): cos and -sin side by side."""
    phase = (rows // 2)[:, None] * np.arange(length) % length
    angle = 2 * np.pi * phase / length
    waves: Array = np.where((rows % 2)[:, None] == 0, np.cos(angle), -np.sin(angle))
    return waves


def axis_of(length: int, order: str) -> tuple[Axis, Array]:
    """Return an axis, and which position stands where."""
    if order == "plain":
        return applied(axes.FourierAxis(length)), np.arange(length)
    return applied(axes.FourierAxis(length, cosine=True)), cosine_order(length)


def normal(seed: int, *shape: int) -> Array:
    """Return standard normal numbers of float32, in float64."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32).astype(np.float64)


@dtypes
@orders
@pytest.mark.parametrize("length", LENGTHS)
def test_it_applies_the_rows_forth_and_back(length: int, order: str, dtype: str) -> None:
    axis, places = axis_of(length, order)
    rows, bar = np.arange(axis.rows), BARS[dtype]
    at = axis.place(rows)
    x, z = normal(length, 5, length), normal(1, 5, axis.rows)

    forth = value(axis.forward, x.astype(dtype))
    back = value(axis.inverse, z[:, np.argsort(at)].astype(dtype))

    assert sorted(at) == list(range(axis.rows))
    assert forth.dtype == back.dtype == dtype
    assert error(forth[:, at], x[:, places] @ matrix(length, rows).T) < bar
    expected = np.empty((5, length))
    expected[:, places] = (z * axis.weights) @ matrix(length, rows)
    assert error(back, expected) < bar


@orders
@pytest.mark.parametrize("length", LENGTHS)
def test_columns_are_elements_of_the_rows(length: int, order: str) -> None:
    axis, places = axis_of(length, order)
    rows = np.random.default_rng(length).permutation(axis.rows)
    positions = np.random.default_rng(1).integers(length, size=7).astype(np.int32)

    got = value(lambda at: axis.columns(rows, at, "float32"), positions)

    whole = np.empty((len(rows), length))
    whole[:, places] = matrix(length, rows)
    assert got.dtype == np.float32
    assert error(got, whole[:, positions].T) < SPECTRAL_F32


@orders
@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("length", LARGE)
def test_large_transforms_in_float32_are_exact_at_sampled_positions(
    length: int, order: str, batch: int
) -> None:
    axis, places = axis_of(length, order)
    rng = np.random.default_rng(length)
    at = axis.place(np.arange(axis.rows))
    x, z = normal(length, batch, length), normal(2, batch, axis.rows)
    lines, rows = rng.integers(batch, size=256), rng.integers(axis.rows, size=256)
    positions = rng.integers(length, size=256)

    forth = value(axis.forward, x.astype(np.float32))
    back = value(axis.inverse, z[:, np.argsort(at)].astype(np.float32))

    expected = (x[lines][:, places] * matrix(length, rows)).sum(1)
    assert error(forth[lines, at[rows]], expected) < SPECTRAL_F32
    every = np.arange(axis.rows)
    phase = (every // 2)[None, :] * np.argsort(places)[positions][:, None] % length  # (256, r)
    angle = 2 * np.pi * phase / length
    waves = np.where(every % 2 == 0, np.cos(angle), -np.sin(angle)) * axis.weights
    assert error(back[lines, positions], (z[lines] * waves).sum(1)) < SPECTRAL_F32


@pytest.mark.parametrize("length", [2**15, 2**15 + 1, 50257, 2**21 + 3], ids=str)
@orders
def test_large_columns_in_float32_keep_every_digit(order: str, length: int) -> None:
    """The phase leaves 31 bits here; it is reduced digit by digit."""
    axis, places = axis_of(length, order)
    half = length // 2
    rows = np.array([0, 1, 2, 3, length - length % 2, length - 1, half, half + 1])
    positions = np.array([0, 1, 2, half, length - 2, length - 1], np.int32)

    got = value(lambda at: axis.columns(rows, at, "float32"), positions)

    stands = np.argsort(places)[positions].astype(np.int64)
    angle = 2 * np.pi * ((rows // 2) * stands[:, None] % length) / length
    expected = np.where(rows % 2 == 0, np.cos(angle), -np.sin(angle))
    assert error(got, expected) < SPECTRAL_F32


@dtypes
@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("length", [1, 2, 3, 8, 17, 97])
def test_a_wavelets_axis_is_the_matrix_of_its_filters(
    length: int, wavelet: str, dtype: str
) -> None:
    both = filters(f"dwt2:{wavelet}")
    axis = applied(axes.WaveletAxis(length, both))
    rows, taps = np.arange(axis.rows), both.shape[1]
    tap = np.arange(length) + taps - 2 - 2 * (rows // 2)[:, None]  # (r, d)
    inside = (tap >= 0) & (tap < taps)
    expected = np.where(inside, both[(rows % 2)[:, None], np.where(inside, tap, 0)], 0.0)
    x, z = normal(0, 4, length), normal(1, 4, axis.rows)

    forth = value(axis.forward, x.astype(dtype))
    back = value(axis.inverse, z.astype(dtype))
    columns = value(lambda at: axis.columns(rows, at, "float32"), np.arange(length, dtype=np.int32))

    assert np.array_equal(axis.place(rows), rows)
    assert error(forth, x @ expected.T) < BARS[dtype]
    assert error(back, z @ expected) < BARS[dtype]
    assert error(columns, expected.T) < SPECTRAL_F32

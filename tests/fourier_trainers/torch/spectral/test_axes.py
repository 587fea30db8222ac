"""An axis's two fast transforms are the matrix that its rows say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fourier_format.adapter import Array
from fourier_format.spectral import axes
from fourier_format.spectral.axes import cosine_order
from fourier_trainers.torch.spectral.axes import FourierAxis
from tests.fourier_trainers.torch.reference import error, tensor
from tests.tolerances import SPECTRAL_F32, SPECTRAL_F64

LENGTHS = [*range(1, 13), 31, 64, 97, 127, 128, 255, 256, 509, 512]
LARGE = [(d, b) for d in (2047, 2048, 4096, 4099, 8191, 8192) for b in (1, 64)] + [(2048, 2048)]


def matrix(length: int, rows: Array) -> Array:
    """Return rows of A, (m, d): cos and -sin side by side."""
    phase = (rows // 2)[:, None] * np.arange(length) % length
    angle = 2 * np.pi * phase / length
    waves: Array = np.where((rows % 2)[:, None] == 0, np.cos(angle), -np.sin(angle))
    return waves


def axis_of(length: int, order: str) -> tuple[FourierAxis, Array]:
    """Return an axis, and which position stands where."""
    if order == "plain":
        return FourierAxis(axes.FourierAxis(length)), np.arange(length)
    return FourierAxis(axes.FourierAxis(length, cosine=True)), cosine_order(length)


@pytest.mark.parametrize("order", ["plain", "cosine"])
@pytest.mark.parametrize("length", LENGTHS)
def test_forward_is_the_product_with_the_rows(length: int, order: str) -> None:
    axis, places = axis_of(length, order)
    x = np.random.default_rng(length).standard_normal((5, length))

    got = axis.forward(tensor(x))

    assert got.shape == (5, axis.rows)
    expected = x[:, places] @ matrix(length, np.arange(axis.rows)).T
    assert error(got, expected) < SPECTRAL_F64


@pytest.mark.parametrize("order", ["plain", "cosine"])
@pytest.mark.parametrize("length", LENGTHS)
def test_inverse_is_the_weighted_sum_of_the_rows(length: int, order: str) -> None:
    axis, places = axis_of(length, order)
    z = np.random.default_rng(length).standard_normal((5, axis.rows))

    got = axis.inverse(tensor(z))

    expected = np.empty((5, length))
    expected[:, places] = (z * axis.multiplicity) @ matrix(length, np.arange(axis.rows))
    assert error(got, expected) < SPECTRAL_F64


@pytest.mark.parametrize("order", ["plain", "cosine"])
@pytest.mark.parametrize("length", LENGTHS)
def test_columns_are_elements_of_the_rows(length: int, order: str) -> None:
    axis, places = axis_of(length, order)
    rows = np.random.default_rng(length).permutation(axis.rows)
    positions = np.random.default_rng(1).integers(length, size=7)

    got = axis.columns(torch.from_numpy(rows), torch.from_numpy(positions), torch.float64)

    whole = np.empty((len(rows), length))
    whole[:, places] = matrix(length, rows)
    assert error(got, whole[:, positions]) < SPECTRAL_F64


@pytest.mark.parametrize("order", ["plain", "cosine"])
@pytest.mark.parametrize(("length", "batch"), LARGE)
def test_large_transforms_in_float32_are_exact_at_sampled_positions(
    length: int, order: str, batch: int
) -> None:
    """A float32 transform of torch is wrong at one size; none that is used here is."""
    axis, places = axis_of(length, order)
    rng = np.random.default_rng(length)
    x, z = (rng.standard_normal((batch, size), np.float32) for size in (length, axis.rows))
    lines, rows = rng.integers(batch, size=256), rng.integers(axis.rows, size=256)
    positions = rng.integers(length, size=256)

    forth, back = axis.forward(tensor(x, torch.float32)), axis.inverse(tensor(z, torch.float32))

    some = matrix(length, rows)  # (256, d)
    expected = (x[lines][:, places].astype(np.float64) * some).sum(1)
    assert error(forth[lines, rows], expected) < SPECTRAL_F32
    place = np.argsort(places)[positions]
    every = np.arange(axis.rows)
    phase = (every // 2)[None, :] * place[:, None] % length  # (256, r)
    angle = 2 * np.pi * phase / length
    waves = np.where(every % 2 == 0, np.cos(angle), -np.sin(angle)) * axis.multiplicity
    assert error(back[lines, positions], (z[lines] * waves).sum(1)) < SPECTRAL_F32


@pytest.mark.parametrize("order", ["plain", "cosine"])
def test_large_columns_in_float32_keep_every_digit(order: str) -> None:
    """The phase reaches 2^31 here; it is reduced in integers."""
    length = 50257
    axis, places = axis_of(length, order)
    rows = np.array([0, 1, 2, 3, length - 1, length, length // 2, length // 2 + 1])
    positions = np.array([0, 1, 2, length // 2, length - 2, length - 1])

    got = axis.columns(torch.from_numpy(rows), torch.from_numpy(positions), torch.float32)

    whole = np.empty((len(rows), length))
    whole[:, places] = matrix(length, rows)
    assert error(got, whole[:, positions]) < SPECTRAL_F32


@pytest.mark.parametrize("order", ["plain", "cosine"])
@pytest.mark.parametrize("view", ["turned", "sliced", "expanded"])
def test_input_of_any_strides_gives_the_same(view: str, order: str) -> None:
    axis, _ = axis_of(24, order)

    def views(width: int) -> torch.Tensor:
        if view == "turned":
            return torch.randn(width, 6, dtype=torch.float64).T
        if view == "sliced":
            return torch.randn(6, 3 * width, dtype=torch.float64)[:, 1::3]
        return torch.randn(width, dtype=torch.float64).expand(6, width)

    x, z = views(24), views(axis.rows).contiguous()[:, :]

    assert torch.equal(axis.forward(x), axis.forward(x.contiguous()))
    assert torch.equal(axis.inverse(z), axis.inverse(z.clone()))


@pytest.mark.parametrize("length", range(1, 10))
def test_the_cosine_order_holds_every_position_once(length: int) -> None:
    assert sorted(cosine_order(length)) == list(range(length))

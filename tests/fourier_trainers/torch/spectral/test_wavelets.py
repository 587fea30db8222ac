"""Wavelets: the axis, and delta weights by the formula of clause 3.2 and by PEFT's WaveFT."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fourier_format.adapter import TRANSFORMS, Array
from fourier_format.spectral import axes
from fourier_format.wavelets import LOW_PASS
from fourier_trainers.torch.spectral import arithmetic
from fourier_trainers.torch.spectral.axes import WaveletAxis
from fourier_trainers.torch.spectral.basis import Basis
from tests.fourier_trainers.torch.reference import error, tensor
from tests.tolerances import SPECTRAL_F32, SPECTRAL_F64

WAVELETS = ["db1", "db2", "db5", "sym4", "coif2", "coif4-peft"]
LENGTHS = [1, 2, 3, 5, 8, 17, 64, 97]
SHAPES = [(1, 1), (1, 7), (6, 1), (5, 4), (8, 8), (11, 7), (64, 97)]


def filters(wavelet: str) -> Array:
    """Return g_0 and g_1, (2, L)."""
    low = np.array(LOW_PASS[wavelet])
    high = [(-1) ** t * low[len(low) - 1 - t] for t in range(len(low))]
    return np.stack([low, high])


def w(both: Array, band: int, index: int, y: int) -> float:
    place = y + both.shape[1] - 2 - 2 * index
    return float(both[band, place]) if 0 <= place < both.shape[1] else 0.0


def place(both: Array, f: int, size: int) -> tuple[int, int]:
    """Return band and index of u or v."""
    half = (size + size % 2 + both.shape[1] - 2) // 2
    x = f + both.shape[1] // 2 - 1
    return (0, x) if x < half else (1, x - half)


def direct(wavelet: str, entries: Array, values: Array, shape: tuple[int, int]) -> Array:
    """Return the delta weight by the sum of clause 3.2, element by element."""
    both = filters(wavelet)
    delta = np.zeros(shape)
    for (u, v), c in zip(entries.tolist(), values.tolist(), strict=True):
        (bu, iu), (bv, iv) = place(both, u, shape[0]), place(both, v, shape[1])
        column = [w(both, bv, iu, p) for p in range(shape[0])]
        row = [w(both, bu, iv, q) for q in range(shape[1])]
        delta += c * np.outer(column, row)
    return delta


def drawn(shape: tuple[int, int], count: int = 12) -> tuple[Array, Array]:
    """Return entries and coefficients."""
    rng = np.random.default_rng(shape)
    flat = rng.permutation(shape[0] * shape[1])[:count]
    entries = np.stack(np.divmod(flat, shape[1]), axis=1).astype(np.int32)
    return entries, rng.standard_normal(len(flat))


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("length", LENGTHS)
def test_an_axis_is_the_matrix_of_its_filters(wavelet: str, length: int) -> None:
    both = filters(wavelet)
    axis = WaveletAxis(axes.WaveletAxis(length, both))
    matrix = np.array(
        [[w(both, r % 2, r // 2, y) for y in range(length)] for r in range(axis.rows)]
    )
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((4, length)), rng.standard_normal((4, axis.rows))
    rows, positions = torch.arange(axis.rows), torch.arange(length)

    assert error(axis.forward(tensor(x)), x @ matrix.T) < SPECTRAL_F64
    assert error(axis.inverse(tensor(z)), z @ matrix) < SPECTRAL_F64
    assert error(axis.columns(rows, positions, torch.float64), matrix) < SPECTRAL_F64


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_delta_weight_and_its_products_are_those_of_the_formula(
    wavelet: str, shape: tuple[int, int]
) -> None:
    entries, values = drawn(shape)
    basis = Basis(f"dwt2:{wavelet}", shape, entries)
    expected = direct(wavelet, entries, values, shape)
    rng = np.random.default_rng(1)
    x, g = rng.standard_normal((9, shape[1])), rng.standard_normal((9, shape[0]))
    y, x_gradient = torch.zeros(9, shape[0]).double(), torch.zeros(9, shape[1]).double()

    delta = arithmetic.delta_weight(basis, tensor(values))
    arithmetic.add_product(y, basis, tensor(values), tensor(x))
    found = arithmetic.product_gradients(basis, tensor(values), tensor(x), tensor(g), x_gradient)

    assert error(delta, expected) < SPECTRAL_F64
    assert error(y, x @ expected.T) < SPECTRAL_F64
    assert error(x_gradient, g @ expected) < SPECTRAL_F64
    each = [direct(wavelet, entries[k : k + 1], np.ones(1), shape) for k in range(len(values))]
    assert error(found, np.array([(g.T @ x * one).sum() for one in each])) < SPECTRAL_F64
    dense = arithmetic.coefficient_gradient(basis, tensor(g.T @ x))
    assert error(dense, found.numpy()) < SPECTRAL_F64


@pytest.mark.real
@pytest.mark.parametrize("wavelet", ["db1", "db3", "sym5", "coif1"])
@pytest.mark.parametrize("shape", [(16, 16), (33, 20), (64, 48)])
def test_a_delta_weight_is_that_of_pefts_waveft(wavelet: str, shape: tuple[int, int]) -> None:
    from peft import WaveFTConfig, get_peft_model

    net = nn.Sequential(nn.Linear(shape[1], shape[0]))
    config = WaveFTConfig(
        n_frequency=50, target_modules=["0"], wavelet_family=wavelet, init_weights=False
    )
    layer = get_peft_model(net, config).base_model.model[0]
    entries = layer.waveft_indices["default"].T.numpy().astype(np.int32)  # (n, 2)
    values = layer.waveft_spectrum["default"].detach()

    basis = Basis(f"dwt2:{wavelet}", shape, entries)
    delta = arithmetic.delta_weight(basis, values * config.scaling)

    assert error(delta, layer.get_delta_weight("default").detach().numpy()) < SPECTRAL_F32


@pytest.mark.parametrize("transform", [name for name in TRANSFORMS if name.startswith("dwt2")])
def test_every_registered_wavelet_has_a_basis(transform: str) -> None:
    entries, values = drawn((12, 9))

    delta = arithmetic.delta_weight(Basis(transform, (12, 9), entries), tensor(values))

    expected = direct(transform.partition(":")[2], entries, values, (12, 9))
    assert error(delta, expected) < SPECTRAL_F64

"""The constants of a bank, multiplied in NumPy, are the transform's formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourier_converters.onnx.live.basis import Basis, basis
from fourier_converters.onnx.live.splitting import splits
from fourier_format.adapter import Array
from fourier_format.errors import UnsupportedError
from tests.fourier_converters.graphs import rng
from tests.fourier_format.transforms import reference
from tests.tolerances import DELTA_F32, SPECTRAL_F64

TRANSFORMS = ("dft2", "dct2", "dht2")
SHAPES = [
    (1, 1),
    (1, 2),
    (2, 1),
    (1, 7),
    (12, 1),
    (2, 2),
    (4, 6),
    (5, 7),
    (13, 13),
    (9, 24),
    (36, 8),
]
LARGE = [(384, 384), (1536, 384), (90, 251)]

every = pytest.mark.parametrize("transform", TRANSFORMS)


def delta(of: Basis, coefficients: Array) -> Array:
    """Returns (out, in) float64: what the constants make of unit vectors."""
    length = of.split_in.length
    x = np.eye(length) if of.order_in is None else np.eye(length)[of.order_in]  # features first
    outer = of.outer_in.astype(np.float64) @ x.reshape(of.split_in.a, -1)
    inner = outer.reshape(of.split_in.groups, 2 * of.split_in.b, -1)
    begun = (of.inner_in.astype(np.float64) @ inner).reshape(-1, length)
    values = of.weights.astype(np.float64) * coefficients[of.entries][:, None]
    met = (values @ begun[of.begins]).reshape(-1, length)
    ended = of.inner_out.astype(np.float64) @ met[of.ends]
    result = of.outer_out.astype(np.float64) @ ended.reshape(2 * of.split_out.groups, -1)
    result = result.reshape(of.split_out.length, -1)
    turned: Array = result if of.order_out is None else result[of.order_out]
    return turned


def error(transform: str, shape: tuple[int, int], entries: Array, coefficients: Array) -> float:
    """Returns the largest error, by the largest value that the coefficients can add up to."""
    got = delta(basis(transform, shape, entries), coefficients)
    expected = reference.delta_weight(transform, entries, coefficients, shape, 1.0)
    assert got.shape == expected.shape
    waves = 2.0 if transform == "dct2" else 1.0 + (transform == "dht2")
    largest = waves * np.abs(coefficients).sum() / (shape[0] * shape[1])
    if transform == "dct2":  # its waves are as large as 2 / sqrt(out * in)
        largest = waves * np.abs(coefficients).sum() / np.sqrt(shape[0] * shape[1])
    return float(np.abs(got - expected).max() / largest)


@every
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_single_entry_is_its_wave(shape: tuple[int, int], transform: str) -> None:
    """Mirrored frequencies, 0 and half the length among them."""
    for u, v in np.ndindex(shape):
        entry = np.array([[u, v]], np.int32)
        assert error(transform, shape, entry, np.ones(1)) <= DELTA_F32, (u, v)


@every
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_entries_together_are_the_sum_of_their_waves(
    shape: tuple[int, int], transform: str
) -> None:
    entries = np.stack(np.divmod(np.arange(shape[0] * shape[1]), shape[1]), axis=1)

    values = rng(3).standard_normal(len(entries))

    assert error(transform, shape, entries.astype(np.int32), values) <= DELTA_F32


@every
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_a_thousand_entries_of_a_real_layer(shape: tuple[int, int], transform: str) -> None:
    flat = rng(5).choice(shape[0] * shape[1], 1000, replace=False)
    entries = np.stack(np.divmod(flat, shape[1]), axis=1).astype(np.int32)

    assert error(transform, shape, entries, rng(6).standard_normal(1000)) <= DELTA_F32


@given(st.data())
def test_any_entries_of_any_shape(data: st.DataObject) -> None:
    transform = data.draw(st.sampled_from(TRANSFORMS))
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    cells = st.integers(0, shape[0] * shape[1] - 1)
    flat = np.array(data.draw(st.lists(cells, min_size=1, max_size=12, unique=True)))
    entries = np.stack(np.divmod(flat, shape[1]), axis=1).astype(np.int32)
    values = rng(data.draw(st.integers(0, 99))).standard_normal(len(entries))

    assert error(transform, shape, entries, values) <= DELTA_F32


@pytest.mark.parametrize("transform", ["dwt2:db1", "dwt2:coif4-peft"])
def test_a_wavelet_transform_is_refused(transform: str) -> None:
    with pytest.raises(UnsupportedError, match="computes Fourier transforms, not dwt2") as caught:
        basis(transform, (8, 8), np.array([[0, 0]], np.int32))

    (violation,) = caught.value.violations
    assert violation.code == "E-CONVERSION-UNSUPPORTED"
    assert violation.advice
    assert "serve it merged" in violation.advice


def test_what_a_token_costs_stays_far_below_the_layers_own_products() -> None:
    """At 768 with n = 1000 the branch of a target is a fraction of its layer."""
    flat = rng(5).choice(768 * 768, 1000, replace=False)
    entries = np.stack(np.divmod(flat, 768), axis=1).astype(np.int32)

    made = basis("dft2", (768, 768), entries)

    assert made.products < 0.5 * 768 * 768
    assert made.nbytes < 768 * 768 * 4


class TestSplitting:
    @pytest.mark.parametrize("length", [1, 2, 3, 4, 6, 7, 12, 30, 36, 37, 64, 97])
    def test_both_products_of_every_split_are_the_dft(self, length: int) -> None:
        """Row 2 w of A is the cosine of frequency w, row 2 w + 1 the negated sine."""
        rows = np.arange(2 * (length // 2 + 1))
        angle = 2 * np.pi * np.outer(rows // 2, np.arange(length)) / length
        expected = np.where(rows[:, None] % 2 == 0, np.cos(angle), -np.sin(angle))

        for split in splits(length):
            outer = split.outer() @ np.eye(length).reshape(split.a, -1)
            groups = outer.reshape(split.groups, 2 * split.b, length)
            place = split.place(rows)
            got = np.einsum("mi,mid->md", place.vector, groups[place.group])
            assert np.abs(got - expected).max() < length * SPECTRAL_F64, split

    @pytest.mark.parametrize("length", [1, 2, 7, 12, 36, 97])
    def test_a_split_is_a_product_and_the_direct_form_comes_first(self, length: int) -> None:
        found = splits(length)

        assert {(s.a, s.b) for s in found} == {
            (a, length // a) for a in range(1, length + 1) if length % a == 0
        }
        assert (found[0].a, found[0].b) == (length, 1)

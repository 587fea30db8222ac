"""The delta weight is the formula of clause 3.1, to float32's rounding."""

from __future__ import annotations

import dataclasses

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st

import fourier_format
from fourier_format import sampling
from fourier_format.adapter import Array
from fourier_format.errors import TargetNotFoundError
from fourier_format.transforms import dft2
from fourier_format.transforms.rows import whole
from tests.fourier_format import samples
from tests.strategies import shapes
from tests.tolerances import DELTA_F32

SIZES = [
    (1, 1),
    (1, 2),
    (2, 1),
    (1, 7),
    (7, 1),
    (1, 1000),
    (1000, 1),
    (2, 2),
    (13, 17),
    (97, 89),
    (127, 128),
    (128, 127),
    (384, 384),
    (384, 1536),
    (1536, 384),
    (768, 768),
    (509, 1021),
    (2304, 768),
    (2048, 2048),
]


def problem(shape: tuple[int, int], count: int = 1000) -> tuple[Array, Array]:
    """Return (n, 2) entries and (n,) float32 coefficients, n up to `count`."""
    n = min(count, shape[0] * shape[1])
    entries = sampling.draw(shape, n, samples.UNIFORM, 777)
    return entries, np.random.default_rng(5).standard_normal(n).astype(np.float32)


def dft2_delta(
    entries: Array,
    coefficients: Array,
    shape: tuple[int, int],
    alpha: float,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    return whole(dft2.rows(entries, coefficients, shape, alpha, dtype), dtype)


def by_complex_fft(
    entries: Array, coefficients: Array, shape: tuple[int, int], alpha: float
) -> Array:
    """Return alpha * Re(IDFT2(S)) by the whole complex transform in float64."""
    spectrum = np.zeros(shape, np.complex128)
    spectrum[entries[:, 0], entries[:, 1]] = coefficients.astype(np.float64)
    delta: Array = scipy.fft.ifft2(spectrum, overwrite_x=True).real * alpha
    return delta


def by_sum(entries: Array, coefficients: Array, shape: tuple[int, int], alpha: float) -> Array:
    """Return the formula of clause 3.1, one cosine after the other."""
    out, in_ = shape
    p, q = np.arange(out)[:, None], np.arange(in_)[None, :]
    total = np.zeros(shape)
    for (u, v), c in zip(entries.tolist(), coefficients.astype(np.float64), strict=True):
        total += c * np.cos(2 * np.pi * ((u * p % out) / out + (v * q % in_) / in_))
    return total * (alpha / (out * in_))


def error(got: Array, expected: Array) -> float:
    """Return the largest difference, relative to the largest expected value."""
    return float(np.abs(got.astype(np.float64) - expected).max() / np.abs(expected).max())


def check(shape: tuple[int, int]) -> None:
    entries, coefficients = problem(shape)

    delta = dft2_delta(entries, coefficients, shape, 150.0)

    assert delta.dtype == np.float32
    assert delta.shape == shape
    assert error(delta, by_complex_fft(entries, coefficients, shape, 150.0)) < DELTA_F32


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_a_delta_weight_is_exact_to_float32(shape: tuple[int, int]) -> None:
    check(shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(4096, 4096), (11008, 4096), (4099, 4093)], ids=str)
def test_a_large_delta_weight_is_exact_to_float32(shape: tuple[int, int]) -> None:
    check(shape)


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (1, 6), (24, 40), (97, 89), (384, 768)], ids=str)
def test_a_delta_weight_in_float64_is_exact_to_float64(shape: tuple[int, int]) -> None:
    entries, coefficients = problem(shape)

    delta = dft2_delta(entries, coefficients, shape, 150.0, np.float64)

    assert delta.dtype == np.float64
    assert error(delta, by_complex_fft(entries, coefficients, shape, 150.0)) < 1e-14


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (1, 6), (24, 40), (97, 89), (384, 768)], ids=str)
def test_rows_are_those_of_the_whole_in_any_order_and_the_norm_is_known_before(
    shape: tuple[int, int],
) -> None:
    entries, coefficients = problem(shape)
    delta = dft2_delta(entries, coefficients, shape, 150.0, np.float64)

    rows = dft2.rows(entries, coefficients, shape, 150.0, np.float64)

    for start in reversed(range(0, shape[0], 7)):
        got = rows(start, min(start + 7, shape[0]))
        assert np.array_equal(got, delta[start : start + 7])
    assert np.isclose(rows.norm, np.linalg.norm(delta), rtol=1e-12)


@pytest.mark.parametrize("shape", [(12, 18), (7, 11), (1, 9), (16, 16)], ids=str)
def test_the_reference_itself_is_the_sum_of_cosines(shape: tuple[int, int]) -> None:
    entries, coefficients = problem(shape, 40)

    expected = by_sum(entries, coefficients, shape, 3.0)

    assert error(by_complex_fft(entries, coefficients, shape, 3.0), expected) < 1e-14


@given(shapes, st.integers(0, 2**32), st.sampled_from([0.5, 150.0, -3.0]))
def test_a_full_spectrum_of_any_small_shape_is_the_sum_of_cosines(
    shape: tuple[int, int], seed: int, alpha: float
) -> None:
    rng = np.random.default_rng(seed)
    total = shape[0] * shape[1]
    entries = np.stack(np.divmod(rng.permutation(total), shape[1]), axis=1).astype(np.int32)
    coefficients = rng.uniform(0.1, 1, total).astype(np.float32)  # the sum at (0, 0) is large

    delta = dft2_delta(entries, coefficients, shape, alpha)

    assert error(delta, by_sum(entries, coefficients, shape, alpha)) < DELTA_F32


@given(shapes, st.data())
def test_one_entry_anywhere_is_one_cosine(shape: tuple[int, int], data: st.DataObject) -> None:
    u = data.draw(st.integers(0, shape[0] - 1))
    v = data.draw(st.integers(0, shape[1] - 1))
    entries, coefficients = np.array([[u, v]], np.int32), np.array([1], np.float32)

    delta = dft2_delta(entries, coefficients, shape, 1.0)

    assert error(delta, by_sum(entries, coefficients, shape, 1.0)) < DELTA_F32


def test_one_entry_goes_with_the_output_axis_first() -> None:
    entries, one = np.array([[1, 0]], np.int32), np.array([8], np.float32)

    delta = dft2_delta(entries, one, (4, 2), 1.0)

    np.testing.assert_allclose(delta, [[1, 1], [0, 0], [-1, -1], [0, 0]], atol=1e-7)


def test_entries_that_mirror_each_other_add_up() -> None:
    shape = (12, 10)
    pair = np.array([[5, 3], [7, 7]], np.int32)  # (u, v) and (-u, -v)
    both = np.array([2.0, 5.0], np.float32)

    delta = dft2_delta(pair, both, shape, 1.0)

    alone = by_sum(pair[:1], np.array([7.0]), shape, 1.0)
    assert error(delta, alone) < DELTA_F32


@pytest.mark.parametrize("shape", [(12, 10), (9, 7), (9, 10), (12, 7)], ids=str)
def test_entries_that_are_their_own_mirror_count_once(shape: tuple[int, int]) -> None:
    out, in_ = shape
    own = [(u, v) for u in range(out) for v in range(in_) if not (2 * u % out or 2 * v % in_)]
    entries = np.array(own, np.int32)
    coefficients = np.arange(1, len(own) + 1, dtype=np.float32)

    delta = dft2_delta(entries, coefficients, shape, 1.0)

    assert error(delta, by_sum(entries, coefficients, shape, 1.0)) < DELTA_F32


def test_the_order_of_the_entries_does_not_matter_but_their_pairing_does() -> None:
    entries, coefficients = problem((24, 40), 100)

    delta = dft2_delta(entries, coefficients, (24, 40), 1.0)

    turned = dft2_delta(entries[::-1], coefficients[::-1], (24, 40), 1.0)
    unpaired = dft2_delta(entries[::-1], coefficients, (24, 40), 1.0)
    assert error(turned, delta) < DELTA_F32
    assert error(unpaired, delta) > 0.1


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_coefficients_are_taken_at_their_exact_values(dtype: type) -> None:
    entries, coefficients = problem((48, 32), 100)
    half: Array = coefficients.astype(dtype)

    delta = dft2_delta(entries, half, (48, 32), 150.0)

    expected = dft2_delta(entries, half.astype(np.float32), (48, 32), 150.0)
    assert np.array_equal(delta, expected)


def test_zero_coefficients_give_zero() -> None:
    entries, coefficients = problem((48, 32), 100)

    assert not dft2_delta(entries, coefficients * 0, (48, 32), 150.0).any()


def test_an_adapters_delta_weight_takes_the_targets_row_and_scale() -> None:
    adapter = samples.adapter()
    target = adapter.targets[1]
    own = dataclasses.replace(target, alpha=15.0)
    entry_set = adapter.entry_sets[0]

    delta = fourier_format.delta_weight(adapter, target.name)

    expected = by_complex_fft(entry_set.entries, entry_set.coefficients[1], (48, 32), 150.0)
    assert error(delta, expected) < DELTA_F32
    assert error(fourier_format.delta_weight(adapter, own), expected / 10) < DELTA_F32


def test_an_unknown_target_is_refused_by_name() -> None:
    with pytest.raises(TargetNotFoundError, match="nobody"):
        fourier_format.delta_weight(samples.adapter(), "nobody")

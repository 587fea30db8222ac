"""Every transform gives the formula of clause 3.1 or 3.2, to float32's rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fourier_format
from fourier_format import sampling
from fourier_format.adapter import TRANSFORMS, Array
from fourier_format.transforms import delta_norms, named, rows_of
from fourier_format.transforms.rows import whole
from tests.fourier_format import samples
from tests.fourier_format.transforms import reference
from tests.strategies import shapes
from tests.tolerances import DELTA_F32

SOME = ("dft2", "dct2", "dht2", "dwt2:db1", "dwt2:db2", "dwt2:sym5", "dwt2:coif4-peft", "dwt2:db10")
SHAPES = [(1, 1), (1, 2), (2, 1), (1, 7), (7, 1), (2, 2), (13, 17), (97, 89), (127, 128), (64, 48)]

some = pytest.mark.parametrize("transform", SOME)


def problem(shape: tuple[int, int], count: int = 1000) -> tuple[Array, Array]:
    """Return (n, 2) entries and (n,) float32 coefficients, n up to `count`."""
    n = min(count, shape[0] * shape[1])
    entries = sampling.draw(shape, n, samples.UNIFORM, 777)
    return entries, np.random.default_rng(5).standard_normal(n).astype(np.float32)


def delta_of(
    transform: str, entries: Array, coefficients: Array, shape: tuple[int, int], dtype: type
) -> Array:
    return whole(named(transform).rows(entries, coefficients, shape, 150.0, dtype), dtype)


def error(got: Array, expected: Array) -> float:
    """Return the largest difference, relative to the largest expected value."""
    return float(np.abs(got.astype(np.float64) - expected).max() / np.abs(expected).max())


def test_the_transforms_are_those_of_the_specification() -> None:
    assert TRANSFORMS == reference.TRANSFORMS


@pytest.mark.parametrize("name", ["dst2", "dwt2", "dwt2:", "dwt2:coif4", "DFT2", "db1"])
def test_another_name_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        named(name)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_delta_weight_is_its_formula(transform: str, shape: tuple[int, int]) -> None:
    entries, coefficients = problem(shape)
    expected = reference.delta_weight(transform, entries, coefficients, shape, 150.0)

    single = delta_of(transform, entries, coefficients, shape, np.float32)
    double = delta_of(transform, entries, coefficients, shape, np.float64)

    assert [single.dtype, double.dtype] == [np.dtype(np.float32), np.dtype(np.float64)]
    assert error(single, expected) < DELTA_F32
    assert error(double, expected) < 1e-13


def check_some_rows(transform: str, shape: tuple[int, int], count: int) -> None:
    entries, coefficients = problem(shape, count)
    drawn = np.random.default_rng(1).integers(0, shape[0], 8)
    rows = np.unique([0, 1, shape[0] - 1, shape[0] // 2, *drawn])
    expected = reference.delta_rows(transform, entries, coefficients, shape, 150.0, rows)

    delta = delta_of(transform, entries, coefficients, shape, np.float32)

    assert error(delta[rows], expected) < DELTA_F32


@some
@pytest.mark.parametrize("shape", [(384, 1536), (509, 1021), (2048, 2048), (8192, 3)], ids=str)
def test_a_large_delta_weight_is_exact_to_float32(transform: str, shape: tuple[int, int]) -> None:
    check_some_rows(transform, shape, 1000)


@pytest.mark.slow
@some
@pytest.mark.parametrize("shape", [(4096, 4096), (4099, 4093)], ids=str)
def test_a_larger_delta_weight_is_exact_to_float32(transform: str, shape: tuple[int, int]) -> None:
    check_some_rows(transform, shape, 3000)


@given(shapes, st.sampled_from(TRANSFORMS), st.integers(0, 2**32))
def test_a_full_spectrum_of_any_small_shape_is_the_formula(
    shape: tuple[int, int], transform: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    total = shape[0] * shape[1]
    entries = np.stack(np.divmod(rng.permutation(total), shape[1]), axis=1).astype(np.int32)
    coefficients = rng.uniform(0.1, 1, total).astype(np.float32)

    delta = delta_of(transform, entries, coefficients, shape, np.float32)

    expected = reference.delta_weight(transform, entries, coefficients, shape, 150.0)
    assert error(delta, expected) < DELTA_F32


@some
@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (1, 6), (24, 40), (97, 89)], ids=str)
def test_rows_are_those_of_the_whole_in_any_order_and_the_norm_is_known_before(
    transform: str, shape: tuple[int, int]
) -> None:
    entries, coefficients = problem(shape)
    rows = named(transform).rows(entries, coefficients, shape, 150.0, np.float64)
    delta = whole(rows, np.float64)

    for start in reversed(range(0, shape[0], 7)):
        got = rows(start, min(start + 7, shape[0]))
        assert error(got, delta[start : start + 7]) < 1e-15
    assert rows.shape == shape
    assert np.isclose(rows.norm, np.linalg.norm(delta), rtol=1e-10)


@some
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_turned_rows_are_the_transposes(transform: str, dtype: type) -> None:
    adapter = samples.changed(samples.adapter(), transform=transform)
    for target in adapter.targets:
        expected = fourier_format.delta_weight(adapter, target, np.float64).T

        turned = rows_of(adapter, target, dtype, turned=True)

        assert turned.shape == expected.shape
        got = turned(0, expected.shape[0])
        assert got.dtype == dtype
        assert error(got, expected) < (DELTA_F32 if dtype is np.float32 else 1e-13)
        assert np.isclose(turned.norm, np.linalg.norm(expected), rtol=1e-10)


@some
@pytest.mark.parametrize("shape", [(1, 1), (13, 17), (48, 32), (384, 768)], ids=str)
def test_the_real_factors_give_the_same_delta_weight(
    transform: str, shape: tuple[int, int]
) -> None:
    entries, coefficients = problem(shape, 200)

    made = named(transform).factors(entries, shape)

    scaled = coefficients * (150.0 / made.cells)
    signed = np.concatenate([sign * scaled for sign in made.signs])
    delta = (made.out.astype(np.float64) * signed) @ made.in_.astype(np.float64).T
    assert {made.out.dtype, made.in_.dtype} == {np.dtype(np.float32)}
    assert len(made.signs) == named(transform).terms
    expected = reference.delta_weight(transform, entries, coefficients, shape, 150.0)
    assert error(delta, expected) < DELTA_F32


@pytest.mark.parametrize("transform", ["dft2", "dct2", "dht2"])
def test_factors_reduce_their_phase_in_integers(transform: str) -> None:
    size = 100_003
    entries = np.array([[size - 1, 0], [size // 2, 0]], np.int32)
    one = np.ones(1, np.float32)

    made = named(transform).factors(entries, (size, 1))

    for k, entry in enumerate(entries):
        exact = reference.delta_weight(transform, entry[None], one, (size, 1), 1.0)
        terms = range(k, len(entries) * len(made.signs), len(entries))
        got = np.zeros(size)
        for sign, i in zip(made.signs, terms, strict=True):
            got += sign * made.out[:, i].astype(np.float64) * made.in_[0, i] / made.cells
        assert error(got[:, None], exact) < 2e-7


@some
def test_norms_are_known_for_every_row_of_coefficients(transform: str) -> None:
    adapter = samples.changed(samples.adapter(), transform=transform)

    for entry_set in adapter.entry_sets:
        norms = delta_norms(adapter, entry_set)
        mine = [t for t in adapter.targets if t.entries == entry_set.id]
        for target in mine:
            delta = fourier_format.delta_weight(adapter, target, np.float64)
            norm = np.linalg.norm(delta) / adapter.alpha_of(target)
            assert np.isclose(norms[target.row], norm, rtol=1e-10)


def test_norms_need_no_memory_for_the_shape() -> None:
    edge = 2**31 - 1
    entries = np.array([[edge - 1, 0], [0, edge - 1], [edge // 2, 5]], np.int32)
    coefficients = np.ones((2, 3), np.float32)

    for transform in SOME:
        assert (named(transform).norms(entries, coefficients, (edge, edge)) > 0).all()


def test_one_entry_of_dct2_goes_with_the_output_axis_first() -> None:
    entries, one = np.array([[1, 0]], np.int32), np.array([2], np.float32)

    delta = whole(named("dct2").rows(entries, one, (2, 4), 1.0, np.float32), np.float32)

    half = np.sqrt(0.5)
    np.testing.assert_allclose(delta, [[half] * 4, [-half] * 4], atol=1e-7)


def test_dht2_is_no_product_of_two_hartley_transforms() -> None:
    entries, one = np.array([[1, 1]], np.int32), np.array([16], np.float32)

    delta = whole(named("dht2").rows(entries, one, (4, 4), 1.0, np.float32), np.float32)

    np.testing.assert_allclose(delta[0], [1, 1, -1, -1], atol=1e-6)
    np.testing.assert_allclose(delta[1], [1, -1, -1, 1], atol=1e-6)


def test_the_mixed_bands_of_dwt2_take_each_others_filters() -> None:
    """(0, 1) is in the upper band along the input: so the output axis has the high-pass filter."""
    entries, two = np.array([[0, 1]], np.int32), np.array([2], np.float32)

    delta = whole(named("dwt2:db1").rows(entries, two, (2, 2), 1.0, np.float32), np.float32)

    np.testing.assert_allclose(delta, [[1, 1], [-1, -1]], atol=1e-6)

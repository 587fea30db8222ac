"""A fingerprint tells the base's weight from every other (spec, clause 9)."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fourier_format import fingerprint as module
from fourier_format.adapter import Array
from fourier_format.dtypes import dtype_name
from fourier_format.errors import UnsupportedError
from fourier_format.fingerprint import (
    Fingerprint,
    agrees,
    disagreement,
    fingerprint,
    frobenius_norm,
    positions,
    round_to,
    rows_of,
    samples_of,
    sha256_of,
    stack,
)
from tests.fourier_format.sampling.test_splitmix64 import word

GOLDEN = {
    (384, 384): [124799, 138735, 39533, 142902, 39907, 111329],
    (4096, 4096): [14199400, 15785064, 4498008, 16259150, 4540567, 12666766],
}


@pytest.fixture
def weight() -> Array:
    """A weight as a trained layer's: small, and with no two cells alike."""
    return (np.random.default_rng(3).standard_normal((48, 32)) * 0.02).astype(np.float32)


@pytest.mark.parametrize(("shape", "first"), GOLDEN.items())
def test_positions_never_change(shape: tuple[int, int], first: list[int]) -> None:
    assert positions(shape)[:6].tolist() == first


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (48, 32), (2**31 - 1, 2**31 - 1)])
def test_positions_are_those_of_the_registry(shape: tuple[int, int]) -> None:
    total = shape[0] * shape[1]

    expected = [word(0x667072696E74, i) * total >> 64 for i in range(32)]

    assert positions(shape).tolist() == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
def test_a_fingerprint_holds_dtype_samples_norm_and_digest(weight: Array, dtype: type) -> None:
    matrix: Array = weight.astype(dtype)
    wide = matrix.astype(np.float64)

    found = fingerprint(matrix, "w")

    assert found.dtype == {"e": "F16", "f": "F32", "d": "F64"}.get(matrix.dtype.char, "BF16")
    expected = matrix.reshape(-1)[positions((48, 32))].astype(np.float32)
    assert np.array_equal(found.samples, expected)
    assert math.isclose(found.norm, math.sqrt(math.fsum((wide * wide).reshape(-1))), rel_tol=1e-12)
    assert found.sha256.tobytes() == hashlib.sha256(matrix.tobytes()).digest()


def test_a_transposed_view_has_the_fingerprint_of_its_copy(weight: Array) -> None:
    view = fingerprint(weight.T, "w")
    copy = fingerprint(np.ascontiguousarray(weight.T), "w")

    assert np.array_equal(view.samples, copy.samples)
    assert np.array_equal(view.sha256, copy.sha256)
    assert view.norm == copy.norm


def test_a_big_endian_weight_has_the_fingerprint_of_its_little_endian_twin(weight: Array) -> None:
    assert np.array_equal(sha256_of(weight.astype(">f4")), sha256_of(weight))
    assert np.array_equal(samples_of(weight.astype(">f4")), samples_of(weight))


def test_hashing_in_chunks_changes_nothing(weight: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fingerprint(weight, "w")
    monkeypatch.setattr(module, "_CHUNK_CELLS", 100)

    chunked = fingerprint(weight, "w")

    assert np.array_equal(chunked.sha256, whole.sha256)
    assert math.isclose(chunked.norm, whole.norm, rel_tol=1e-14)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (np.ones((4, 4), np.int8), "E-BASE-UNSUPPORTED"),
        (np.ones((4, 4), np.complex64), "E-BASE-UNSUPPORTED"),
        (np.array([[1.0, np.nan]]), "E-NUMBER-NONFINITE"),
        (np.array([[1.0], [-np.inf]], np.float16), "E-NUMBER-NONFINITE"),
    ],
)
def test_a_weight_without_a_fingerprint_is_refused_by_name(bad: Any, code: str) -> None:
    with pytest.raises(UnsupportedError, match=r"layer\.0") as caught:
        fingerprint(bad, "layer.0")

    assert caught.value.code == code


def test_fingerprints_are_stacked_in_row_order(weight: Array) -> None:
    prints = [fingerprint(weight * k, "w") for k in (1, 2, 3)]

    stacked = stack(prints)

    assert stacked.dtype == "F32"
    assert stacked.samples.shape == stacked.sha256.shape == (3, 32)
    assert np.array_equal(stacked.norm, [p.norm for p in prints])
    assert np.array_equal(stacked.samples[1], prints[1].samples)


# does a base's weight agree?


def samples(weight: Array) -> Array:
    return samples_of(weight)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_same_weight_agrees_in_the_graphs_dtype(weight: Array, dtype: str) -> None:
    in_graph = round_to(samples(weight), dtype)

    assert agrees(samples(weight), in_graph, dtype)


def test_a_weight_that_was_cast_does_not_agree_as_float32(weight: Array) -> None:
    cast = round_to(samples(weight), "F16")

    assert not agrees(samples(weight), cast, "F32")


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_fine_tune_nearby_does_not_agree(weight: Array, dtype: str) -> None:
    rng = np.random.default_rng(9)
    tuned = weight + rng.standard_normal(weight.shape).astype(np.float32) * 5e-4

    assert not agrees(samples(weight), round_to(samples(tuned), dtype), dtype)


def test_one_step_of_float32_in_one_sample_does_not_agree(weight: Array) -> None:
    found = samples(weight).copy()
    found[17] = np.nextafter(found[17], np.float32(1))

    assert not agrees(samples(weight), found, "F32")


def test_another_layer_and_the_transposed_weight_do_not_agree(weight: Array) -> None:
    square = weight[:32]

    assert not agrees(samples(square), samples(square.T), "F32")
    assert not agrees(samples(square), samples(weight[16:]), "F32")


def test_rounding_is_to_nearest_even_and_once() -> None:
    halfway = np.array([2049.0, 2051.0, 1e-8, 70000.0], np.float32)

    assert round_to(halfway, "F16").tolist() == [2048.0, 2052.0, 0.0, np.inf]
    assert round_to(np.array([257.0, 259.0], np.float32), "BF16").tolist() == [256.0, 260.0]
    assert round_to(halfway, "F32").tolist() == halfway.tolist()


def test_magnitudes_that_a_float16_converter_lifts_still_agree() -> None:
    tiny = np.array([1e-9, -1e-9, 0.0, 0.5] * 8, np.float32)
    lifted = np.where(np.abs(tiny) < 1e-7, np.copysign(1e-7, tiny), tiny).astype(np.float16)
    found = lifted.astype(np.float32)

    assert agrees(tiny, found, "F16")
    assert not agrees(tiny, found, "F32")


def test_lifting_excuses_no_larger_difference() -> None:
    tiny = np.full(32, 1e-9, np.float32)

    assert not agrees(tiny, np.full(32, 2e-7, np.float32), "F16")
    assert not agrees(np.full(32, 1e-3, np.float32), np.full(32, 1e-7, np.float32), "F16")


def other_between_the_samples(weight: Array) -> Array:
    changed = np.full_like(weight, 9)
    rows, columns = np.divmod(positions((48, 32)), 32)
    changed[rows, columns] = weight[rows, columns]
    return changed


def compared(expected: Fingerprint, found: Array) -> str | None:
    """Returns what says that `found`, as a base holds it, is not the weight of a fingerprint."""
    dtype = str(dtype_name(found.dtype))
    return disagreement(expected, dtype, samples_of(found), lambda: frobenius_norm(found))


FLOATS = [np.float32, np.float16, ml_dtypes.bfloat16, np.float64]


@pytest.mark.parametrize("base", FLOATS)
@pytest.mark.parametrize("trained", FLOATS)
def test_a_weight_is_its_fingerprints_in_every_dtype_and_no_other_is(
    weight: Array, trained: type, base: type
) -> None:
    expected = fingerprint(weight.astype(trained), "w")
    held: Array = weight.astype(trained).astype(base)

    assert compared(expected, held) is None
    assert compared(expected, held[::-1]) == "samples"
    assert compared(expected, other_between_the_samples(held)) == "norm"


@pytest.mark.parametrize("wrong", [np.inf, np.nan, 0.0])
def test_a_norm_that_is_no_weights_never_agrees(weight: Array, wrong: float) -> None:
    expected = fingerprint(weight, "w")

    assert disagreement(expected, "F16", round_to(expected.samples, "F16"), lambda: wrong) == "norm"


def test_a_norm_is_not_computed_where_samples_tell(weight: Array) -> None:
    expected = fingerprint(weight, "w")

    assert disagreement(expected, "F32", -expected.samples, pytest.fail) == "samples"


def test_one_wrong_row_among_several_is_enough(weight: Array) -> None:
    prints = stack([fingerprint(weight * k, "w") for k in (1, 2, 3)])
    picked = rows_of(prints, [2, 0])

    assert disagreement(picked, "F32", picked.samples, lambda: picked.norm) is None
    assert disagreement(picked, "F32", prints.samples[[2, 1]], lambda: picked.norm) == "samples"
    assert disagreement(picked, "F32", picked.samples, lambda: prints.norm[[2, 1]]) == "norm"

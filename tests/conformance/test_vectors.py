"""fourier_format gives what every vector states (spec, clause 10)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors

import fourier_format
from fourier_format import InvalidAdapterError, Sampling, kinds, sampling
from fourier_format.dtypes import DTYPES, dtype_name
from fourier_format.files import decode
from fourier_format.fingerprint import fingerprint, positions
from fourier_format.limits import MAX_DIMENSION
from fourier_format.sampling import band_pass
from fourier_format.transforms import named
from fourier_format.transforms.rows import whole
from fourier_format.validation import validate
from tests.conformance import vectors
from tests.conformance.vectors import Vector

Json = dict[str, Any]

LARGEST_DELTA = 2**24
"""Cells up to which a delta weight is computed; we compute no single cells."""


def each(found: list[Vector]) -> Callable[[Any], Any]:
    return pytest.mark.parametrize("vector", found, ids=lambda v: v.name)


def array_of(twin: Json) -> Any:
    """Returns the array that a twin or a vector spells out."""
    dtype = DTYPES[twin["dtype"]]
    if dtype.kind == "b":
        return np.array(twin["values"], np.uint8).view(bool)
    numbers = [(int if dtype.kind in "iu" else float)(value) for value in twin["values"]]
    return np.array(numbers).astype(dtype) if dtype.kind == "f" else np.array(numbers, dtype)


def assert_same_bits(found: Any, expected: Any) -> None:
    assert found.dtype == expected.dtype
    if dtype_name(found.dtype) in {"F16", "BF16", "F32", "F64"}:
        assert (np.isnan(found) == np.isnan(expected)).all()
        found, expected = np.nan_to_num(found), np.nan_to_num(expected)
    assert found.tobytes() == expected.tobytes()


def assert_document_is(data: bytes, twin: Json) -> None:
    document = decode(data, "vector")

    assert json.loads(document.manifest) == twin["manifest"]
    assert document.tensors.keys() == twin["tensors"].keys()
    for name, expected in twin["tensors"].items():
        assert list(document.tensors[name].shape) == expected["shape"]
        assert_same_bits(document.tensors[name].reshape(-1), array_of(expected))
    assert document.digest() == twin["sha256"]


@each(vectors.index())
def test_files_are_the_ones_of_the_index(vector: Vector) -> None:
    for path, sha256 in vector.row["files"].items():
        content = (vectors.DIRECTORY / path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256


@each(vectors.read("valid", "forward", "hdf5"))
def test_a_valid_file_holds_what_its_twin_says(vector: Vector) -> None:
    data = vector.adapter().read_bytes()

    fourier_format.from_bytes(data)
    assert_document_is(data, vector.json())


@each(vectors.read("valid", "forward"))
def test_the_safetensors_library_reads_the_same_tensors(vector: Vector) -> None:
    found = dict(safetensors.deserialize(vector.adapter().read_bytes()))  # type: ignore[no-untyped-call]

    expected = vector.json()["tensors"]
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor["dtype"] == expected[name]["dtype"]
        assert tensor["shape"] == expected[name]["shape"]


@each(vectors.refused("invalid", "forward", "hdf5"))
def test_a_broken_file_is_refused_with_the_stated_code(vector: Vector) -> None:
    with pytest.raises(InvalidAdapterError) as caught:
        fourier_format.load(vector.adapter())

    found = {violation.code for violation in caught.value.violations}
    assert found
    assert found <= vector.codes
    assert {v.code for v in validate(vector.adapter()).violations} == found


@each(vectors.read("valid", "forward", "hdf5"))
def test_a_validator_adds_what_recipes_break(vector: Vector) -> None:
    found = {violation.code for violation in validate(vector.adapter()).violations}

    assert found == set(vector.row.get("validator", ()))


@each(vectors.read("valid", "forward"))
@pytest.mark.parametrize("container", ["fft", "h5"])
def test_what_was_read_is_written_as_the_same_adapter(
    vector: Vector, container: fourier_format.files.Container
) -> None:
    adapter = fourier_format.load(vector.adapter())

    again = fourier_format.from_bytes(fourier_format.to_bytes(adapter, container))

    assert again.version == adapter.version
    assert fourier_format.to_bytes(again) == fourier_format.to_bytes(adapter)


@each(vectors.read("forward"))
def test_versions_and_extensions_survive_reading_and_writing(vector: Vector) -> None:
    adapter = fourier_format.load(vector.adapter())

    document = decode(fourier_format.to_bytes(adapter), "again")

    assert json.loads(document.manifest) == vector.json()["manifest"]
    assert document.tensors.keys() == vector.json()["tensors"].keys()


@each([v for v in vectors.of("numeric") if math.prod(v.json()["shape"]) <= LARGEST_DELTA])
def test_delta_weights_are_within_the_tolerance(vector: Vector) -> None:
    case = vector.json()
    out, in_ = case["shape"]

    coefficients = array_of(case["coefficients"])
    entries, transform = np.array(case["entries"]), named(case["transform"])
    delta = whole(
        transform.rows(entries, coefficients, (out, in_), case["alpha"], np.float32), np.float32
    )

    p, q = np.array([place[:2] for place in case["delta"]]).T
    expected = np.array([place[2] for place in case["delta"]])
    assert delta.shape == (out, in_)
    assert np.abs(delta[p, q] - expected).max() <= case["tolerance"] * case["largest"]
    norm = float(np.linalg.norm(delta.astype(np.float64)))
    assert math.isclose(norm, case["norm"], rel_tol=case["tolerance"])


@each([v for v in vectors.of("sampling") if "thresholds" in v.json()])
def test_candidates_are_kept_below_these_thresholds(vector: Vector) -> None:
    for u, v, centre, width, expected in vector.json()["thresholds"]:
        cell = np.array([u * MAX_DIMENSION + v])

        found = band_pass.thresholds(cell, (MAX_DIMENSION, MAX_DIMENSION), centre, width)

        assert np.nan_to_num(found).tolist() == [expected], (u, v, centre, width)


@each([v for v in vectors.of("sampling") if "thresholds" not in v.json()])
def test_generators_draw_these_entries_in_this_order(vector: Vector) -> None:
    case = vector.json()
    out, in_ = case["shape"]
    recipe = Sampling(
        method=case["method"],
        generator=case["generator"],
        seed=int(case["seed"]),
        parameters=case["parameters"],
    )

    drawn = sampling.draw((out, in_), case["count"], recipe)

    assert drawn.tolist() == case["entries"]


def test_the_vectors_hold_the_entries_that_peft_draws() -> None:
    """Golden values taken from torch 2.13 through PEFT 0.21."""
    golden = {
        "peft-777-768": [[509, 359], [239, 147], [538, 367], [500, 200], [567, 103]],
        "peft-777-1024": [[318, 103], [881, 391], [465, 1001], [181, 331], [104, 595]],
        "peft-777-4096": [[335, 2151], [2011, 3029], [1651, 3799], [1580, 3138], [3609, 3735]],
        "peft-2024-768": [[607, 392], [331, 644], [592, 550], [323, 140], [69, 135]],
    }
    by_id = {vector.row["id"]: vector for vector in vectors.of("sampling")}

    for id_, entries in golden.items():
        assert by_id[id_].json()["entries"][:5] == entries


@each(vectors.of("kinds"))
def test_stored_weights_become_these_canonical_matrices(vector: Vector) -> None:
    case = vector.json()
    stored = np.arange(math.prod(case["stored_shape"])).reshape(case["stored_shape"])
    contracted = tuple(case.get("contracted", ()))

    canonical = kinds.canonical_matrix(stored, case["kind"], case.get("layout"), contracted)

    assert list(canonical.shape) == case["canonical_shape"]
    assert canonical.reshape(-1).tolist() == case["canonical"]


@each(vectors.of("fingerprint"))
def test_fingerprints_are_these(vector: Vector) -> None:
    case = vector.json()
    out, in_ = case["shape"]
    if "positions" in case:
        assert [str(k) for k in positions((out, in_))] == case["positions"]
        return

    found = fingerprint(array_of(case).reshape(out, in_), "weight")

    assert found.dtype == case["dtype"]
    assert_same_bits(found.samples, np.array(case["samples"], np.float32))
    assert math.isclose(found.norm, case["norm"], rel_tol=1e-9)
    assert found.sha256.tobytes().hex() == case["sha256"]

"""Fields and tensors fit together, and an error names the place (spec, clauses 3, 5 and 9)."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fourier_format import meaning, strict_json, structure
from fourier_format.adapter import Array
from tests.fourier_format import minimal
from tests.fourier_format.minimal import Edit, Fields, Tensors, set_in

SET, TARGET = minimal.FIELDS["entries"][0], minimal.FIELDS["targets"][0]
SECOND = SET | {"id": "b"}
SECOND_TARGET = TARGET | {"name": "k", "entries": "b"}
OPTIONAL = {"must_understand": False}


def tensor(name: str, array: Array | None) -> Edit:
    """Returns the edit that puts a tensor in, or takes it out."""

    def edit(_: Fields, tensors: Tensors) -> None:
        if array is None:
            del tensors[name]
        else:
            tensors[name] = array

    return edit


def coefficients(*values: float, dtype: Any = np.float32) -> Edit:
    return tensor("coefficients/4x6", np.array([values], dtype))


def entries(*pairs: tuple[int, int]) -> Edit:
    return tensor("entries/4x6", np.array(pairs, np.int32))


def second_set(whole: Fields, tensors: Tensors) -> None:
    """Add a second entry set with a target of its own."""
    whole["entries"].append(dict(SECOND))
    whole["targets"].append(dict(SECOND_TARGET))
    tensors["entries/b"] = tensors["entries/4x6"]
    tensors["coefficients/b"] = tensors["coefficients/4x6"]


def fingerprints(whole: Fields, tensors: Tensors) -> None:
    """Add fingerprints to the entry set."""
    whole["entries"][0]["fingerprints"] = {"dtype": "F32"}
    tensors["fingerprints/4x6/samples"] = np.zeros((1, 32), np.float32)
    tensors["fingerprints/4x6/norm"] = np.zeros(1, np.float64)
    tensors["fingerprints/4x6/sha256"] = np.zeros((1, 32), np.uint8)


def head(array: Array) -> list[Edit]:
    return [set_in("replacements", ["head"]), tensor("replacements/head", array)]


BROKEN: dict[str, tuple[list[Edit], str, str]] = {
    "a seed above 2^64 - 1": (
        [set_in("seed", str(2**64))],
        "E-FIELD-VALUE",
        "seed",
    ),
    "a recipe's seed above 2^64 - 1": (
        [set_in("entries.0.sampling", {"method": "uniform", "seed": "9" * 20})],
        "E-FIELD-VALUE",
        "entries[0].sampling.seed",
    ),
    "two sets of one id": (
        [
            set_in("entries", [SET, SET]),
            set_in("targets", [TARGET, TARGET | {"name": "k", "row": 1}]),
            tensor("coefficients/4x6", np.ones((2, 3), np.float32)),
        ],
        "E-ENTRIES-DUPLICATE",
        "entries",
    ),
    "two targets of one name": (
        [second_set, set_in("targets.1.name", "q")],
        "E-TARGET-DUPLICATE",
        "targets",
    ),
    "two replacements of one name": (
        [set_in("replacements", ["a", "a"]), tensor("replacements/a", np.ones(2))],
        "E-REPLACEMENT-DUPLICATE",
        "replacements",
    ),
    "a target of another shape": (
        [set_in("targets.0.shape", [6, 4])],
        "E-TARGET-SHAPE",
        "targets[0].shape",
    ),
    "rows that do not start at 0": ([set_in("targets.0.row", 1)], "E-TARGET-ROW", "entries/4x6"),
    "a row used twice": (
        [
            set_in("targets", [TARGET, TARGET | {"name": "k"}]),
            tensor("coefficients/4x6", np.ones((2, 3), np.float32)),
        ],
        "E-TARGET-ROW",
        "entries/4x6",
    ),
    "no entries tensor": (
        [tensor("entries/4x6", None)],
        "E-TENSOR-MISSING",
        "entries/4x6",
    ),
    "no coefficients": ([tensor("coefficients/4x6", None)], "E-TENSOR-MISSING", "coefficients/4x6"),
    "no replacement tensor": (
        [set_in("replacements", ["head"])],
        "E-TENSOR-MISSING",
        "replacements/head",
    ),
    "no fingerprint tensor": (
        [fingerprints, tensor("fingerprints/4x6/norm", None)],
        "E-TENSOR-MISSING",
        "fingerprints/4x6/norm",
    ),
    "entries as int64": (
        [tensor("entries/4x6", np.array([[0, 1], [3, 5], [2, 0]], np.int64))],
        "E-TENSOR-DTYPE",
        "entries/4x6",
    ),
    "entries as floats": (
        [tensor("entries/4x6", np.array([[0, 1], [3, 5], [2, 0]], np.float32))],
        "E-TENSOR-DTYPE",
        "entries/4x6",
    ),
    "coefficients as float64": (
        [coefficients(1, 2, 3, dtype=np.float64)],
        "E-TENSOR-DTYPE",
        "coefficients/4x6",
    ),
    "coefficients as integers": (
        [coefficients(1, 2, 3, dtype=np.int32)],
        "E-TENSOR-DTYPE",
        "coefficients/4x6",
    ),
    "more coefficients than entries": (
        [coefficients(1, 2, 3, 4)],
        "E-TENSOR-SHAPE",
        "coefficients/4x6",
    ),
    "more entries than the count": (
        [entries((0, 0), (1, 1), (2, 2), (3, 3))],
        "E-TENSOR-SHAPE",
        "entries/4x6",
    ),
    "entries with three numbers each": (
        [tensor("entries/4x6", np.zeros((3, 3), np.int32))],
        "E-TENSOR-SHAPE",
        "entries/4x6",
    ),
    "16 samples a target": (
        [fingerprints, tensor("fingerprints/4x6/samples", np.zeros((1, 16), np.float32))],
        "E-TENSOR-SHAPE",
        "fingerprints/4x6/samples",
    ),
    "an undeclared tensor": (
        [tensor("entries/other", np.zeros((3, 2), np.int32))],
        "E-TENSOR-UNDECLARED",
        "entries/other",
    ),
    "an undeclared replacement": (
        [tensor("replacements/head", np.ones(2))],
        "E-TENSOR-UNDECLARED",
        "replacements/head",
    ),
    "fingerprints that the set does not speak of": (
        [tensor("fingerprints/4x6/norm", np.zeros(1))],
        "E-TENSOR-UNDECLARED",
        "fingerprints/4x6/norm",
    ),
    "a tensor of an extension that is not there": (
        [tensor("extensions/new/a", np.ones(2))],
        "E-TENSOR-UNDECLARED",
        "extensions/new/a",
    ),
    "a tensor of an extension without a name of its own": (
        [set_in("new", OPTIONAL), tensor("extensions/new", np.ones(2))],
        "E-TENSOR-UNDECLARED",
        "extensions/new",
    ),
    "a tensor of an extension that claims a known field": (
        [set_in("metadata", OPTIONAL), tensor("extensions/metadata/a", np.ones(2))],
        "E-TENSOR-UNDECLARED",
        "extensions/metadata/a",
    ),
    "a row beyond the spectrum": (
        [entries((0, 0), (4, 0), (4, 1))],
        "E-ENTRY-RANGE",
        "entries/4x6[1]",
    ),
    "a column beyond the spectrum": (
        [entries((0, 6), (1, 1), (2, 2))],
        "E-ENTRY-RANGE",
        "entries/4x6[0]",
    ),
    "a negative entry": ([entries((0, 0), (1, 1), (-1, 2))], "E-ENTRY-RANGE", "entries/4x6[2]"),
    "an entry that occurs twice": (
        [entries((3, 3), (1, 1), (3, 3))],
        "E-ENTRY-DUPLICATE",
        "entries/4x6[2]",
    ),
    "a coefficient that is NaN": (
        [coefficients(1, float("nan"), 3)],
        "E-NUMBER-NONFINITE",
        "coefficients/4x6[0, 1]",
    ),
    "an infinite bfloat16 coefficient": (
        [coefficients(1, 2, float("-inf"), dtype=ml_dtypes.bfloat16)],
        "E-NUMBER-NONFINITE",
        "coefficients/4x6[0, 2]",
    ),
    "an infinite float16 in a replacement": (
        head(np.array([1, np.inf], np.float16)),
        "E-NUMBER-NONFINITE",
        "replacements/head[1]",
    ),
    "a scalar replacement that is NaN": (
        head(np.array(np.nan)),
        "E-NUMBER-NONFINITE",
        "replacements/head[]",
    ),
    "a norm that is infinite": (
        [fingerprints, tensor("fingerprints/4x6/norm", np.array([np.inf]))],
        "E-NUMBER-NONFINITE",
        "fingerprints/4x6/norm[0]",
    ),
    "a norm that is negative": (
        [fingerprints, tensor("fingerprints/4x6/norm", np.array([-1.0]))],
        "E-FIELD-VALUE",
        "fingerprints/4x6/norm",
    ),
    "a replacement without elements": (
        head(np.zeros((0, 3), np.float32)),
        "E-LIMIT",
        "replacements/head",
    ),
    "a replacement of nine axes": (
        head(np.zeros((1,) * 9, np.float32)),
        "E-LIMIT",
        "replacements/head",
    ),
    "a replacement of complex numbers": (
        head(np.zeros(3, np.complex64)),
        "E-CONTAINER-DTYPE",
        "replacements/head",
    ),
    "a replacement of text": (head(np.array(["a"])), "E-CONTAINER-DTYPE", "replacements/head"),
}


def found(edits: list[Edit]) -> list[tuple[str, str]]:
    document = minimal.document(*edits)
    fields = strict_json.loads(document.manifest, "test")
    assert structure.violations(fields) == []
    return [(v.code, v.where) for v in meaning.violations(fields, document.tensors)]


@pytest.mark.parametrize(("edits", "code", "where"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_rule_has_one_code_and_its_place(edits: list[Edit], code: str, where: str) -> None:
    assert found(edits) == [(code, where)]


FOLLOWED: dict[str, tuple[list[Edit], str, str]] = {
    "rows and shapes, after a target of a set that is not there": (
        [set_in("targets.0.entries", "other")],
        "E-TARGET-ENTRIES",
        "targets[0].entries",
    ),
    "tensors, after a set of another id": (
        [set_in("entries.0.id", "other")],
        "E-TARGET-ENTRIES",
        "targets[0].entries",
    ),
    "shapes, rows and tensors, after two sets of one id": (
        [set_in("entries", [SET, SET | {"shape": [3, 2], "count": 9}])],
        "E-ENTRIES-DUPLICATE",
        "entries",
    ),
    "shapes, after a set without targets": (
        [
            second_set,
            set_in("targets.1", TARGET | {"name": "k", "row": 1}),
            tensor("coefficients/4x6", np.ones((2, 3), np.float32)),
        ],
        "E-TARGET-ROW",
        "entries/b",
    ),
}


@pytest.mark.parametrize(("edits", "code", "where"), FOLLOWED.values(), ids=FOLLOWED.keys())
def test_what_only_follows_is_not_reported(edits: list[Edit], code: str, where: str) -> None:
    assert found(edits) == [(code, where)]


def test_what_does_not_follow_is_reported_beside_a_set_that_is_not_there() -> None:
    edits = [set_in("targets.0.entries", "other"), coefficients(1, np.nan, 3), entries((4, 0))]

    assert [code for code, _ in found(edits)] == [
        "E-TARGET-ENTRIES",
        "E-ENTRY-RANGE",
        "E-NUMBER-NONFINITE",
    ]


def test_a_tensor_name_with_half_a_surrogate_pair_is_refused_before_it_is_hashed() -> None:
    edits = [set_in("new", OPTIONAL), tensor("extensions/new/\ud800", np.ones(2))]

    assert ("E-JSON-SURROGATE", "extensions/new/\ud800") in found(edits)


SOUND: dict[str, list[Edit]] = {
    "the minimal adapter": [],
    "two sets": [second_set],
    "rows in any order": [
        set_in("targets", [TARGET | {"row": 1}, TARGET | {"name": "k"}]),
        tensor("coefficients/4x6", np.ones((2, 3), np.float32)),
    ],
    "shapes and rows written as floats": [
        set_in("entries.0.shape", [4.0, 6]),
        set_in("targets.0.row", 0.0),
    ],
    "the largest seed": [set_in("seed", str(2**64 - 1))],
    "mirrored pairs": [entries((1, 2), (3, 4), (0, 0))],
    "the corners": [entries((0, 0), (3, 5), (0, 5))],
    "float16": [coefficients(1, 2, 3, dtype=np.float16)],
    "bfloat16": [coefficients(1, 2, 3, dtype=ml_dtypes.bfloat16)],
    "fingerprints": [fingerprints],
    "a replacement of integers": head(np.arange(3)),
    "a scalar replacement": head(np.array(True)),
    "a replacement named by a path": [
        set_in("replacements", ["a/../b"]),
        tensor("replacements/a/../b", np.ones(2)),
    ],
    "an extension with a tensor, finite or not": [
        set_in("new", OPTIONAL),
        tensor("extensions/new/a/b", np.array([np.nan])),
    ],
}


@pytest.mark.parametrize("edits", SOUND.values(), ids=SOUND.keys())
def test_what_fits_together_is_accepted(edits: list[Edit]) -> None:
    assert found(edits) == []


def test_the_first_repeated_entry_is_named_among_many() -> None:
    rng = np.random.default_rng(3)
    flat = rng.permutation(10_000)
    flat[7_000], flat[9_000] = flat[10], flat[11]

    assert meaning._first_repeat(flat) == 7_000


def test_entries_of_the_largest_shape_are_told_apart() -> None:
    largest = 2**31 - 1
    pairs = np.array([[largest - 1, largest - 1], [largest - 1, largest - 2]], np.int32)

    assert list(meaning._entries("entries/a", pairs, (largest, largest))) == []

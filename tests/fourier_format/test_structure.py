"""Each field has its type and values, and an error names the field (spec, clauses 5.2 and 6)."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourier_format import structure, validation
from fourier_format.limits import MAX_DIMENSION, MAX_ENTRY_SETS, MAX_SAFE_INTEGER, MAX_TARGETS
from tests.fourier_format import minimal
from tests.fourier_format.mutate import mutated_json
from tests.strategies import json_values

TYPE, VALUE, MISSING = "E-FIELD-TYPE", "E-FIELD-VALUE", "E-FIELD-MISSING"
SET, TARGET = minimal.FIELDS["entries"][0], minimal.FIELDS["targets"][0]
SAMPLED = SET | {"sampling": {"method": "uniform"}}


def set_with(**fields: Any) -> list[dict[str, Any]]:
    return [SET | fields]


def target_with(**fields: Any) -> list[dict[str, Any]]:
    return [TARGET | fields]


BROKEN = [
    # top level: (place of the edit, value, code, where)
    ("format", ..., MISSING, "format"),
    ("format", "other", "E-NOT-FOURIER-FORMAT", "format"),
    ("format", 1, "E-NOT-FOURIER-FORMAT", "format"),
    ("version", ..., MISSING, "version"),
    ("version", 1.0, TYPE, "version"),
    ("version", "1", VALUE, "version"),
    ("version", "1.00", VALUE, "version"),
    ("version", "1.0\n", VALUE, "version"),
    ("version", "1.9999999999", VALUE, "version"),
    ("version", "2.0", "E-VERSION", "version"),
    ("version", "0.9", "E-VERSION", "version"),
    ("version", "10.0", "E-VERSION", "version"),
    ("transform", ..., MISSING, "transform"),
    ("transform", None, TYPE, "transform"),
    ("transform", "dst2", "E-TRANSFORM-UNKNOWN", "transform"),
    ("transform", "dwt2", "E-TRANSFORM-UNKNOWN", "transform"),
    ("transform", "dwt2:coif4", "E-TRANSFORM-UNKNOWN", "transform"),
    ("alpha", ..., MISSING, "alpha"),
    ("alpha", "2.5", TYPE, "alpha"),
    ("alpha", True, TYPE, "alpha"),
    ("alpha", None, TYPE, "alpha"),
    ("seed", -1, VALUE, "seed"),
    ("seed", 1.5, TYPE, "seed"),
    ("seed", None, TYPE, "seed"),
    ("seed", True, TYPE, "seed"),
    ("seed", "01", VALUE, "seed"),
    ("seed", "", VALUE, "seed"),
    ("seed", "-1", VALUE, "seed"),
    ("seed", "7\n", VALUE, "seed"),
    ("seed", "٣", VALUE, "seed"),
    ("seed", "1" * 21, VALUE, "seed"),
    ("target_modules", 1, TYPE, "target_modules"),
    ("target_modules", ["q", 1], TYPE, "target_modules[1]"),
    ("target_modules", ["q"] * (MAX_TARGETS + 1), VALUE, "target_modules"),
    ("replacements", "head", TYPE, "replacements"),
    ("replacements", [""], VALUE, "replacements[0]"),
    ("replacements", ["a", "b\n"], VALUE, "replacements[1]"),
    ("replacements", ["x" * 1025], VALUE, "replacements[0]"),
    ("labels", {"0": "cat"}, TYPE, "labels"),
    ("labels", [0], TYPE, "labels[0]"),
    ("base_model", "bert", TYPE, "base_model"),
    ("base_model", {"name": 1}, TYPE, "base_model.name"),
    ("base_model", {"Name": "bert"}, "E-FIELD-UNKNOWN", "base_model.Name"),
    ("producer", {}, MISSING, "producer.name"),
    ("producer", {"name": "x", "version": 1}, TYPE, "producer.version"),
    ("origin", {"format": "peft"}, MISSING, "origin.text"),
    ("origin", {"format": "p e", "text": ""}, VALUE, "origin.format"),
    ("metadata", [], TYPE, "metadata"),
    ("metadata", None, TYPE, "metadata"),
    ("label", ["cat"], "E-FIELD-UNKNOWN", "label"),
    ("future", {"must_understand": True}, "E-FIELD-UNKNOWN", "future"),
    ("future", {"must_understand": 0}, "E-FIELD-UNKNOWN", "future"),
    ("future", {}, "E-FIELD-UNKNOWN", "future"),
    # entry sets
    ("entries", ..., MISSING, "entries"),
    ("entries", {}, TYPE, "entries"),
    ("entries", [], VALUE, "entries"),
    ("entries", [SET] * (MAX_ENTRY_SETS + 1), VALUE, "entries"),
    ("entries", [1], TYPE, "entries[0]"),
    ("entries.0.id", ..., MISSING, "entries[0].id"),
    ("entries.0.id", "", VALUE, "entries[0].id"),
    ("entries.0.id", "a/b", VALUE, "entries[0].id"),
    ("entries.0.id", "../a", VALUE, "entries[0].id"),
    ("entries.0.id", ".a", VALUE, "entries[0].id"),
    ("entries.0.id", "-a", VALUE, "entries[0].id"),
    ("entries.0.id", "a\n", VALUE, "entries[0].id"),
    ("entries.0.id", "é", VALUE, "entries[0].id"),
    ("entries.0.id", "x" * 65, VALUE, "entries[0].id"),
    ("entries.0.shape", ..., MISSING, "entries[0].shape"),
    ("entries.0.shape", "4x6", TYPE, "entries[0].shape"),
    ("entries.0.shape", [4], VALUE, "entries[0].shape"),
    ("entries.0.shape", [4, 6, 1], VALUE, "entries[0].shape"),
    ("entries.0.shape", [0, 6], VALUE, "entries[0].shape[0]"),
    ("entries.0.shape", [4, 6.5], TYPE, "entries[0].shape[1]"),
    ("entries.0.shape", [4, MAX_DIMENSION + 1], VALUE, "entries[0].shape[1]"),
    ("entries.0.count", ..., MISSING, "entries[0].count"),
    ("entries.0.count", 0, VALUE, "entries[0].count"),
    ("entries.0.count", True, TYPE, "entries[0].count"),
    ("entries.0.count", 1e300, VALUE, "entries[0].count"),
    ("entries.0.sampling", "uniform", TYPE, "entries[0].sampling"),
    ("entries", [SAMPLED | {"sampling": {}}], MISSING, "entries[0].sampling.method"),
    ("entries.0.sampling", {"method": "x y"}, VALUE, "entries[0].sampling.method"),
    ("entries.0.sampling", {"method": "x", "seed": -1}, VALUE, "entries[0].sampling.seed"),
    (
        "entries.0.sampling",
        {"method": "x", "parameters": []},
        TYPE,
        "entries[0].sampling.parameters",
    ),
    (
        "entries.0.sampling",
        {"method": "x", "parameters": {"width": "wide"}},
        TYPE,
        "entries[0].sampling.parameters.width",
    ),
    ("entries.0.sampling", {"method": "x", "y": 1}, "E-FIELD-UNKNOWN", "entries[0].sampling.y"),
    ("entries.0.fingerprints", {}, MISSING, "entries[0].fingerprints.dtype"),
    ("entries.0.fingerprints", {"dtype": "I8"}, VALUE, "entries[0].fingerprints.dtype"),
    ("entries.0.wide", 1, "E-FIELD-UNKNOWN", "entries[0].wide"),
    # targets
    ("targets", ..., MISSING, "targets"),
    ("targets", [], VALUE, "targets"),
    ("targets", [TARGET] * (MAX_TARGETS + 1), VALUE, "targets"),
    ("targets", ["q"], TYPE, "targets[0]"),
    ("targets.0.name", ..., MISSING, "targets[0].name"),
    ("targets.0.name", "", VALUE, "targets[0].name"),
    ("targets.0.name", "q\u0085", VALUE, "targets[0].name"),
    ("targets.0.name", "q\n", VALUE, "targets[0].name"),
    ("targets.0.kind", "conv3d", "E-KIND-UNKNOWN", "targets[0].kind"),
    ("targets.0.kind", 1, TYPE, "targets[0].kind"),
    ("targets.0.shape", [4], VALUE, "targets[0].shape"),
    ("targets.0.entries", 0, TYPE, "targets[0].entries"),
    ("targets.0.entries", "a b", VALUE, "targets[0].entries"),
    ("targets.0.row", ..., MISSING, "targets[0].row"),
    ("targets.0.row", -1, VALUE, "targets[0].row"),
    ("targets.0.row", "0", TYPE, "targets[0].row"),
    ("targets.0.alpha", "1", TYPE, "targets[0].alpha"),
    ("targets.0.alpha", None, TYPE, "targets[0].alpha"),
    ("targets.0.scale", 2, "E-FIELD-UNKNOWN", "targets[0].scale"),
]


@pytest.mark.parametrize(("place", "value", "code", "where"), BROKEN)
def test_a_broken_field_has_one_code_and_its_place(
    place: str, value: Any, code: str, where: str
) -> None:
    fields = minimal.fields()
    minimal.set_in(place, value)(fields, {})

    found = [(violation.code, violation.where) for violation in structure.violations(fields)]

    assert found == [(code, where)]


SOUND = [
    ("version", "1.999999999"),
    ("alpha", 3),
    ("alpha", -1e300),
    ("seed", MAX_SAFE_INTEGER),
    ("seed", "18446744073709551615"),
    ("seed", 7.0),
    ("target_modules", "q|v"),
    ("target_modules", []),
    ("replacements", ["head/weight", "x" * 1024, "🙂" * 1024]),
    ("labels", [""]),
    ("base_model", {}),
    ("producer", {"name": ""}),
    ("origin", {"format": "peft", "text": "", "name": ""}),
    ("metadata", {"must_understand": True, "": None}),
    ("entries", set_with(shape=[4.0, 6], count=3.0)),
    ("entries", set_with(id="_" + "x" * 63)),
    ("entries.0.sampling", {"method": "dream", "generator": "moon", "parameters": {"a": 1}}),
    ("entries.0.fingerprints", {"dtype": "BF16"}),
    ("targets", target_with(name="a/b.c %\u00a0")),
    ("targets", target_with(alpha=0)),
    ("future", {"must_understand": False}),
    ("targets.0.future", {"must_understand": False, "x": [None]}),
    ("entries.0.sampling", {"method": "x", "future": {"must_understand": False}}),
]


@pytest.mark.parametrize(("place", "value"), SOUND)
def test_what_the_tables_allow_is_accepted(place: str, value: Any) -> None:
    fields = minimal.fields()
    minimal.set_in(place, value)(fields, {})

    assert structure.violations(fields) == []
    assert validation.schema_violations(fields) == []


@pytest.mark.parametrize("value", [None, True, 1, "text", []])
def test_a_manifest_that_is_no_object_is_refused(value: Any) -> None:
    (violation,) = structure.violations(value)

    assert (violation.code, violation.where) == (TYPE, "manifest")


def test_all_broken_fields_are_reported_at_once() -> None:
    fields = minimal.fields() | {"alpha": "1", "labels": 1, "unknown": 1}

    codes = [violation.code for violation in structure.violations(fields)]

    assert sorted(codes) == [TYPE, TYPE, "E-FIELD-UNKNOWN"]


def test_a_long_value_is_shortened_in_the_message() -> None:
    fields = minimal.fields() | {"transform": "x" * 10_000}

    (violation,) = structure.violations(fields)

    assert len(str(violation)) < 200


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (1.0, True), (-3, True), (1e300, True), (True, False), (1.5, False), ("1", False)],
)
def test_an_integer_is_a_number_with_no_fraction(value: Any, expected: bool) -> None:
    assert structure.is_integer(value) is expected


@given(st.integers(0, 2**32))
def test_the_fast_check_and_the_json_schema_accept_the_same_manifests(seed: int) -> None:
    rng = random.Random(seed)
    whole = copy.deepcopy(minimal.FIELDS) | {
        "seed": "7",
        "target_modules": ["q"],
        "replacements": ["head"],
        "base_model": {"name": "bert"},
        "producer": {"name": "p", "version": "1"},
        "labels": ["cat"],
        "origin": {"format": "peft", "text": "{}"},
        "metadata": {"a": 1},
        "entries": [SAMPLED | {"fingerprints": {"dtype": "F32"}}],
    }
    broken = mutated_json(whole, rng, changes=rng.randint(0, 2))

    accepted = structure.violations(broken) == []

    assert accepted == (validation.schema_violations(broken) == [])


@given(json_values)
def test_any_json_is_judged_without_a_crash_and_as_the_schema_judges_it(value: Any) -> None:
    accepted = structure.violations(value) == []

    assert accepted == (validation.schema_violations(value) == [])

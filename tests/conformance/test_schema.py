"""The JSON Schema and `structure.violations` accept the same manifests (spec, clause 5.2)."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any, Final

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fourier_format import InvalidAdapterError, strict_json, structure
from fourier_format.files import decode
from fourier_format.limits import MAX_SAFE_INTEGER
from tests.conformance import vectors
from tests.conformance.vectors import Vector

Place = tuple[str | int, ...]

_TEXT: Final = resources.files("fourier_format") / "schema" / "manifest-1.0.schema.json"
_SCHEMA: Final = json.loads(_TEXT.read_text("utf-8"))
_VALIDATOR: Final = jsonschema.Draft202012Validator(_SCHEMA)
_FULL: Final = next(v for v in vectors.read("valid") if v.row["id"] == "every-field")
_BASE: Final[dict[str, Any]] = _FULL.json()["manifest"]
_INTERESTING: Final[tuple[Any, ...]] = (
    *("1.0", "1.7", "2.0", "1.0\n", "1.1000000000", "dft2", "linear", "F64", "4x6", "007", "777"),
    *("", "n" * 1024, "n" * 1025, "\U0001f600" * 1024, "a\x85", "a\n", "é", "\u0667", "\x00"),
    *(0, 1, -1, 1.0, -0.0, 1.5, 1e16, 1e300, 2**31 - 1, 2**31, MAX_SAFE_INTEGER, True, False, None),
    *({"must_understand": False}, {"must_understand": 0}, {"must_understand": True}, {}, []),
)


def parsed(vector: Vector) -> Any:
    """Returns the manifest of a vector, whatever else is wrong with it; None if it is no JSON."""
    try:
        document = decode(vector.adapter().read_bytes(), "vector")
        return strict_json.loads(document.manifest, "manifest")
    except InvalidAdapterError:
        return None


@pytest.mark.parametrize(
    "vector", vectors.of("valid", "invalid", "forward", "hdf5"), ids=lambda v: v.name
)
def test_the_schema_judges_every_vector_as_the_reader_does(vector: Vector) -> None:
    manifest = parsed(vector)

    assert _VALIDATOR.is_valid(manifest) == (not structure.violations(manifest))
    if not vector.codes:
        assert _VALIDATOR.is_valid(manifest)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(_SCHEMA)


def test_every_field_has_a_title_and_a_description() -> None:
    for name, field in fields_of(_SCHEMA):
        described = _SCHEMA["$defs"][name] if field.keys() == {"$ref"} else field
        assert described["title"]
        assert described["description"].endswith(".")


def fields_of(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each property below `schema` under the name of its definition, but must_understand."""
    for key, value in schema.items() if isinstance(schema, dict) else ():
        if key == "properties":
            for name, field in value.items():
                if name != "must_understand":
                    yield str(field.get("$ref", name)).rsplit("/", 1)[-1], field
        yield from fields_of(value)


def places_in(value: Any, at: Place = ()) -> Iterator[Place]:
    """Yields the path of every value inside `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*at, key)
        if isinstance(inner, dict | list):
            yield from places_in(inner, (*at, key))


def _json_values() -> st.SearchStrategy[Any]:
    numbers = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.floats(
        allow_nan=False, allow_infinity=False
    )
    leaves = st.none() | st.booleans() | numbers | st.text(max_size=8)
    trees = st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
        ),
        max_leaves=6,
    )
    return st.sampled_from(_INTERESTING) | st.sampled_from(list(_parts())) | trees


def _parts() -> Iterator[Any]:
    """Yields the values of the valid manifest, to be put in other places."""
    for path in places_in(_BASE):
        value: Any = _BASE
        for step in path:
            value = value[step]
        yield value


_KEYS: Final = st.sampled_from(
    sorted({str(path[-1]) for path in places_in(_BASE)} | {"alpha", "x-a", "must_understand"})
)
_CHANGES: Final = st.lists(
    st.tuples(st.sampled_from(["replace", "remove", "add"]), st.integers(0), _KEYS, _json_values()),
    min_size=1,
    max_size=3,
)


def changed(change: str, index: int, key: str, value: Any, manifest: Any) -> None:
    """Change `manifest` in one place, if there is one."""
    paths = list(places_in(manifest))
    if not paths:
        return
    path = paths[index % len(paths)]
    place = manifest
    for step in path[:-1]:
        place = place[step]
    if change == "replace":
        place[path[-1]] = copy.deepcopy(value)
    elif change == "remove":
        del place[path[-1]]
    elif isinstance(place, dict):
        place[key] = copy.deepcopy(value)
    else:
        place.append(copy.deepcopy(value))


@settings(max_examples=1000, deadline=None)
@given(_CHANGES)
@example([("add", 0, "x-a", {"must_understand": 0})])
@example([("replace", 0, "", True)])
def test_a_changed_manifest_is_judged_alike_by_the_schema_and_the_reader(
    changes: list[tuple[str, int, str, Any]],
) -> None:
    manifest = copy.deepcopy(_BASE)
    for change, index, key, value in changes:
        changed(change, index, key, value, manifest)

    assert _VALIDATOR.is_valid(manifest) == (not structure.violations(manifest))


@given(_json_values())
def test_anything_else_is_judged_alike(value: Any) -> None:
    assert _VALIDATOR.is_valid(value) == (not structure.violations(value))


@pytest.mark.parametrize(
    ("field", "limit"),
    [
        ("entries", 4_096),
        ("targets", 65_536),
        ("labels", 65_536),
        ("target_modules", 65_536),
        ("replacements", 65_536),
    ],
)
def test_the_lists_end_at_the_same_lengths(field: str, limit: int) -> None:
    """The schema's limit is read, since it judges each item of a list that is long."""
    listed = _SCHEMA["properties"][field]
    (stated,) = (s["maxItems"] for s in (listed, *listed.get("anyOf", ())) if "maxItems" in s)

    assert stated == limit
    assert structure.violations(_BASE | {field: [_BASE[field][-1]] * limit}) == []
    assert [v.where for v in structure.violations(_BASE | {field: [None] * (limit + 1)})] == [field]


@pytest.mark.parametrize("field", ["entries", "targets"])
def test_the_lists_that_may_not_be_empty_begin_at_the_same_length(field: str) -> None:
    manifest = _BASE | {field: []}

    assert not _VALIDATOR.is_valid(manifest)
    assert [v.where for v in structure.violations(manifest)] == [field]

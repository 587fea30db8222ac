"""An Adapter becomes a manifest and tensors and comes back the same (spec, clause 5)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import fourier_format
from fourier_format import Adapter, EntrySet, Sampling, manifest, strict_json
from fourier_format.document import Document
from fourier_format.errors import InvalidAdapterError
from tests.fourier_format import minimal, samples
from tests.fourier_format.equality import assert_same
from tests.fourier_format.minimal import set_in
from tests.strategies import adapters


@given(adapters())
def test_every_valid_adapter_survives_the_way_through_a_file_and_keeps_its_bytes(
    adapter: Adapter,
) -> None:
    data = fourier_format.to_bytes(adapter)

    loaded = fourier_format.from_bytes(data)

    assert_same(loaded, adapter)
    assert fourier_format.to_bytes(loaded) == data


def test_the_manifest_is_compact_and_has_no_field_that_says_nothing() -> None:
    document = manifest.to_document(minimal.adapter())

    assert document.manifest == strict_json.dumps(minimal.FIELDS)


def test_a_number_gives_the_same_bytes_whatever_its_type() -> None:
    def written(real: Any, integer: Any) -> bytes:
        band = {"centre": real(3), "width": real(2)}
        recipe = Sampling(
            method="band-pass", generator="x", seed=integer(2**63 - 1), parameters=band
        )
        plain = minimal.adapter()
        shape: Any = (integer(4), integer(6))
        target = samples.changed(
            plain.targets[0], alpha=real(5), row=integer(0), shape=np.array(shape)
        )
        whole = samples.changed(plain, alpha=real(150), seed=integer(7), targets=(target,))
        return fourier_format.to_bytes(samples.with_first_set(whole, shape=shape, sampling=recipe))

    expected = written(float, int)

    assert b'\\"alpha\\":150.0,\\"seed\\":7,' in expected
    assert written(int, int) == expected
    assert written(np.float32, np.int64) == expected
    assert written(np.float64, np.uint64) == expected
    assert written(np.int32, int) == expected


def test_what_cannot_be_written_is_named_by_its_field() -> None:
    adapter = samples.changed(
        minimal.adapter(), metadata={"x": np.int64(1)}, labels=(object(),), seed=np.bool_(True)
    )

    with pytest.raises(InvalidAdapterError) as caught:
        fourier_format.to_bytes(adapter)

    assert [v.where for v in caught.value.violations] == ["seed", "labels", "metadata"]


@pytest.mark.parametrize(
    ("seed", "written"),
    [(0, 0), (777, 777), (2**53 - 1, 2**53 - 1), (2**53, str(2**53)), (2**64 - 1, str(2**64 - 1))],
)
def test_a_seed_that_some_readers_would_round_is_written_as_text(seed: int, written: Any) -> None:
    adapter = samples.changed(minimal.adapter(), seed=seed)

    document = manifest.to_document(adapter)

    assert strict_json.loads(document.manifest, "test")["seed"] == written
    assert manifest.from_document(document, "test").seed == seed


def test_a_seed_that_is_text_or_a_whole_float_is_read_as_a_number() -> None:
    assert minimal.adapter(set_in("seed", "777")).seed == 777
    assert minimal.adapter(set_in("seed", 777.0)).seed == 777


def test_whole_floats_become_integers_where_the_format_means_integers() -> None:
    adapter = minimal.adapter(set_in("entries.0.shape", [4.0, 6.0]), set_in("targets.0.row", 0.0))

    assert_same(adapter.entry_sets[0].shape, (4, 6))
    assert_same(adapter.targets[0].row, 0)


def test_a_list_of_target_modules_and_one_expression_are_told_apart() -> None:
    assert minimal.adapter(set_in("target_modules", ["q"])).target_modules == ("q",)
    assert minimal.adapter(set_in("target_modules", "q")).target_modules == "q"


def test_unknown_optional_fields_are_kept_at_every_level_with_their_tensors() -> None:
    optional = {"must_understand": False, "x": [1]}

    def with_tensor(fields: minimal.Fields, tensors: minimal.Tensors) -> None:
        fields |= {"new": optional, "version": "1.3"}
        fields["entries"][0] |= {"new": optional, "sampling": {"method": "m", "new": optional}}
        fields["targets"][0] |= {"new": optional}
        tensors["extensions/new/a"] = np.ones(2)

    adapter = minimal.adapter(with_tensor)

    assert adapter.version == "1.3"
    assert adapter.extensions == {"new": optional}
    assert adapter.entry_sets[0].extensions == adapter.targets[0].extensions == {"new": optional}
    assert list(adapter.extension_tensors) == ["extensions/new/a"]
    assert_same(fourier_format.from_bytes(fourier_format.to_bytes(adapter)), adapter)


def test_an_extension_never_takes_the_place_of_a_field_of_the_format() -> None:
    adapter = minimal.adapter()
    clash = {"alpha": {"must_understand": False}}
    target = samples.changed(adapter.targets[0], extensions=clash)

    for broken in ({"extensions": clash}, {"targets": (target,)}):
        with pytest.raises(InvalidAdapterError, match=r"extensions\.alpha") as caught:
            manifest.to_document(samples.changed(adapter, **broken))
        assert caught.value.code == "E-FIELD-VALUE"


@pytest.mark.parametrize("name", ["entries/4x6", "coefficients/4x6", "other"])
def test_an_extensions_tensor_never_takes_the_place_of_another(name: str) -> None:
    adapter = samples.changed(minimal.adapter(), extension_tensors={name: np.ones(2)})

    with pytest.raises(InvalidAdapterError) as caught:
        manifest.to_document(adapter)

    assert caught.value.code == "E-FIELD-VALUE"


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"alpha": math.nan}, "E-FIELD-TYPE"),
    ({"alpha": math.inf}, "E-FIELD-TYPE"),
    ({"alpha": "2"}, "E-FIELD-TYPE"),
    ({"alpha": None}, "E-FIELD-MISSING"),
    ({"alpha": True}, "E-FIELD-TYPE"),
    ({"alpha": np.bool_(True)}, "E-FIELD-TYPE"),
    ({"alpha": 10**400}, "E-JSON-NUMBER"),
    ({"seed": 1.5}, "E-FIELD-TYPE"),
    ({"alpha": 2**60}, "E-JSON-NUMBER"),
    ({"seed": -1}, "E-FIELD-VALUE"),
    ({"seed": 2**64}, "E-FIELD-VALUE"),
    ({"targets": ()}, "E-FIELD-VALUE"),
    ({"entry_sets": ()}, "E-FIELD-VALUE"),
    ({"metadata": {"x": object()}}, "E-FIELD-TYPE"),
    ({"metadata": {"x": math.nan}}, "E-FIELD-TYPE"),
    ({"metadata": {1: "a", "1": "b"}}, "E-JSON-DUPLICATE-KEY"),
    ({"metadata": {"x": "\ud800"}}, "E-JSON-SURROGATE"),
    ({"labels": ("\udfff",)}, "E-JSON-SURROGATE"),
    ({"replacements": {"a\n": np.ones(2)}}, "E-FIELD-VALUE"),
    ({"replacements": {"a": np.zeros((0, 2))}}, "E-LIMIT"),
    ({"replacements": {"a": np.zeros(2, object)}}, "E-CONTAINER-DTYPE"),
    ({"extensions": {"new": {"x": 1}}}, "E-FIELD-UNKNOWN"),
    ({"extension_tensors": {"extensions/new/a": np.ones(2)}}, "E-TENSOR-UNDECLARED"),
    ({"version": "2.0"}, "E-VERSION"),
    ({"transform": "dst2"}, "E-TRANSFORM-UNKNOWN"),
]


@pytest.mark.parametrize("container", ["fft", "h5"])
@pytest.mark.parametrize(("fields", "code"), BROKEN)
def test_an_adapter_in_memory_that_breaks_a_rule_is_never_written(
    fields: dict[str, Any], code: str, container: Any
) -> None:
    adapter = samples.changed(minimal.adapter(), **fields)

    with pytest.raises(InvalidAdapterError) as caught:
        fourier_format.to_bytes(adapter, container)

    assert caught.value.code == code


def test_metadata_deeper_than_the_limit_is_never_written() -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"a": deep}

    with pytest.raises(InvalidAdapterError) as caught:
        fourier_format.to_bytes(samples.changed(minimal.adapter(), metadata=deep))

    assert caught.value.code == "E-JSON-DEPTH"


@pytest.mark.parametrize("entries", [np.array(1, np.int32), np.zeros(3, np.int32), [[0, 1]]])
def test_entries_of_another_form_are_never_written(entries: Any) -> None:
    entry_set = EntrySet(
        id="4x6", shape=(4, 6), entries=entries, coefficients=np.ones((1, 1), np.float32)
    )
    adapter = samples.changed(minimal.adapter(), entry_sets=(entry_set,))

    with pytest.raises(InvalidAdapterError):
        fourier_format.to_bytes(adapter)


def test_all_broken_rules_are_listed_with_the_files_name() -> None:
    document = minimal.document(set_in("seed", str(2**64)), set_in("targets.0.row", 1))

    with pytest.raises(InvalidAdapterError) as caught:
        manifest.from_document(document, "a.fft")

    places = [violation.where for violation in caught.value.violations]
    assert places == ["a.fft, seed", "a.fft, entries/4x6"]


def test_broken_json_in_the_manifest_is_told_from_a_broken_header() -> None:
    document = Document("{", minimal.tensors())

    with pytest.raises(InvalidAdapterError) as caught:
        manifest.from_document(document, "a.fft")

    assert caught.value.code == "E-JSON-SYNTAX"
    assert caught.value.violations[0].where.startswith("a.fft, manifest")


def test_arrays_of_a_loaded_adapter_are_read_only() -> None:
    adapter = fourier_format.from_bytes(fourier_format.to_bytes(samples.adapter()))
    first = adapter.entry_sets[0]
    assert first.fingerprints is not None

    arrays = [first.entries, first.coefficients, first.fingerprints.samples]
    for array in [*arrays, *adapter.replacements.values()]:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0

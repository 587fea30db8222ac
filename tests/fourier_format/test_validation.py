"""`validate` reports everything that is wrong with a file, at once."""

from __future__ import annotations

import json
import time
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import fourier_format
from fourier_format import EntrySet, Sampling, Target, structure
from fourier_format.adapter import Adapter
from fourier_format.errors import FileAccessError
from fourier_format.validation import SCHEMA, Report, schema_violations, validate
from tests.fourier_format.samples import (
    UNIFORM,
    Fields,
    Tensors,
    adapter,
    changed,
    with_first_set,
    write_edited,
)


def found(report: Report) -> list[tuple[str, str]]:
    return [(v.code, v.where) for v in report.violations]


@pytest.fixture
def valid_file(tmp_path: Path) -> Path:
    path = tmp_path / "adapter.fft"
    fourier_format.save(adapter(), path)
    return path


@pytest.mark.parametrize("name", ["adapter.fft", "adapter.fft.h5"])
def test_a_valid_file_in_either_container_has_no_violations(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    fourier_format.save(adapter(), path)
    report = validate(path)
    assert report.valid
    assert not report.violations
    assert not report.notes
    assert report.adapter is not None
    assert len(report.adapter.targets) == 5


def test_both_containers_of_one_adapter_have_the_same_digest(tmp_path: Path) -> None:
    paths = [tmp_path / "a.fft", tmp_path / "a.fft.h5"]
    for path in paths:
        fourier_format.save(adapter(), path)
    digests = [validate(path).digest for path in paths]
    assert digests[0] == digests[1]
    assert len(digests[0] or "") == 64


def test_every_fault_of_structure_is_reported_at_once(tmp_path: Path) -> None:
    def edit(fields: Fields, tensors: Tensors) -> None:
        fields["colour"] = 3
        fields["targets"][0]["kind"] = "linera"
        del fields["targets"][1]["shape"]
        fields["entries"][1]["sampling"]["seed"] = "seven"

    report = validate(write_edited(tmp_path / "bad.fft", edit))
    assert sorted(found(report)) == [
        ("E-FIELD-MISSING", "targets[1].shape"),
        ("E-FIELD-UNKNOWN", "colour"),
        ("E-FIELD-VALUE", "entries[1].sampling.seed"),
        ("E-KIND-UNKNOWN", "targets[0].kind"),
    ]
    assert report.adapter is None


def test_every_fault_of_meaning_is_reported_at_once(tmp_path: Path) -> None:
    def edit(fields: Fields, tensors: Tensors) -> None:
        fields["targets"][0]["row"] = 99
        fields["targets"][1]["name"] = fields["targets"][2]["name"]
        tensors["extra"] = np.ones(3, np.float32)
        del tensors["fingerprints/16x32/norm"]
        coefficients = tensors["coefficients/48x32"].copy()
        coefficients[1, 2] = np.nan
        tensors["coefficients/48x32"] = coefficients

    report = validate(write_edited(tmp_path / "bad.fft", edit))
    assert sorted(found(report)) == [
        ("E-NUMBER-NONFINITE", "coefficients/48x32[1, 2]"),
        ("E-TARGET-DUPLICATE", "targets"),
        ("E-TARGET-ROW", "entries/48x32"),
        ("E-TENSOR-MISSING", "fingerprints/16x32/norm"),
        ("E-TENSOR-UNDECLARED", "extra"),
    ]


def test_a_flipped_bit_is_reported_without_the_file_name_in_its_place(valid_file: Path) -> None:
    data = bytearray(valid_file.read_bytes())
    data[-1] ^= 1
    valid_file.write_bytes(data)
    assert found(validate(valid_file)) == [("E-DIGEST", "")]


def test_a_manifest_that_is_not_strict_json_is_reported(tmp_path: Path) -> None:
    from fourier_format.containers import safetensors
    from fourier_format.document import Document

    path = tmp_path / "twice.fft"
    path.write_bytes(safetensors.encode(Document('{"a":1,"a":2}', {})))
    assert found(validate(path)) == [("E-JSON-DUPLICATE-KEY", "manifest")]


def test_a_file_that_cannot_be_read_is_an_error_and_not_a_report(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError):
        validate(tmp_path / "missing.fft")


class TestRecipes:
    def report(self, tmp_path: Path, whole: Adapter) -> Report:
        fourier_format.save(whole, tmp_path / "a.fft")
        return validate(tmp_path / "a.fft")

    def test_a_recipe_that_draws_other_entries_is_a_violation_of_its_set(
        self, tmp_path: Path
    ) -> None:
        report = self.report(tmp_path, with_first_set(adapter(), sampling=changed(UNIFORM, seed=8)))
        assert found(report) == [("E-SAMPLING-MISMATCH", "entries/48x32")]
        assert fourier_format.load(tmp_path / "a.fft").seed == 7  # the stored entries count

    def test_a_recipe_draws_with_its_own_seed_before_the_adapters(self, tmp_path: Path) -> None:
        own = with_first_set(adapter(), sampling=changed(UNIFORM, seed=7))
        report = self.report(tmp_path, changed(own, seed=1))
        assert found(report) == [("E-SAMPLING-MISMATCH", "entries/16x32")]

    def test_a_recipe_without_any_seed_cannot_be_drawn(self, tmp_path: Path) -> None:
        report = self.report(tmp_path, changed(adapter(), seed=None))
        assert [v.problem for v in report.violations] == [
            "cannot be drawn: neither the recipe nor the adapter has a seed"
        ] * 2

    def test_the_recipe_of_peft_is_drawn_again(self, tmp_path: Path) -> None:
        recipe = Sampling(method="torch-randperm", generator="mt19937-fy32")
        assert self.report(tmp_path, adapter(recipe)).valid

    @pytest.mark.parametrize("recipe", [None, Sampling(method="explicit")])
    def test_entries_without_a_recipe_need_no_check(
        self, tmp_path: Path, recipe: Sampling | None
    ) -> None:
        report = self.report(tmp_path, adapter(recipe))
        assert report.valid
        assert report.notes == ()

    def test_an_unknown_recipe_is_a_note(self, tmp_path: Path) -> None:
        report = self.report(tmp_path, adapter(Sampling(method="sobol", generator="gray-code")))
        assert report.valid
        (note,) = report.notes
        assert note.startswith("entries/48x32: the recipe sobol by gray-code is not known")

    def test_a_draw_of_a_thousand_years_is_left_out_with_a_note(self, tmp_path: Path) -> None:
        recipe = Sampling(method="torch-randperm", generator="mt19937-io64", seed=1)
        huge = (2**31 - 1, 2**31 - 1)
        entries = EntrySet(
            id="a",
            shape=huge,
            entries=np.zeros((1, 2), np.int32),
            coefficients=np.ones((1, 1), np.float32),
            sampling=recipe,
        )
        target = Target(name="t", kind="linear", shape=huge, entries="a", row=0)
        start = time.monotonic()
        report = self.report(tmp_path, Adapter(alpha=1.0, entry_sets=(entries,), targets=(target,)))
        assert time.monotonic() - start < 5
        assert report.valid
        assert "not re-drawn" in report.notes[0]

    def test_parameters_that_overflow_give_a_violation_and_no_warning(self, tmp_path: Path) -> None:
        recipe = Sampling(
            method="band-pass",
            generator="splitmix64-rejection",
            parameters={"centre": 1e300, "width": 1e300},
        )
        report = self.report(tmp_path, with_first_set(adapter(), sampling=recipe))
        assert found(report) == [("E-SAMPLING-MISMATCH", "entries/48x32")]


class TestSchema:
    def test_the_packaged_schema_is_a_schema_of_draft_2020_12(self) -> None:
        text = resources.files("fourier_format").joinpath(SCHEMA).read_text("utf-8")
        schema = json.loads(text)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        jsonschema.Draft202012Validator.check_schema(schema)

    def test_what_the_schema_finds_has_the_path_of_the_field(self) -> None:
        paths = [v.where for v in schema_violations({"format": "fourier-format", "targets": [{}]})]
        assert "targets[0]" in paths
        assert "manifest" in paths

    def test_what_only_the_schema_finds_is_reported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write_edited(tmp_path / "bad.fft", lambda fields, _: fields.update(alpha="much"))
        monkeypatch.setattr(structure, "violations", lambda _: [])
        assert found(validate(path)) == [("E-FIELD-VALUE", "alpha")]

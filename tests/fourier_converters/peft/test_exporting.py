"""Adapters as PEFT checkpoints: what PEFT cannot hold is refused with the reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fourier_converters.peft import to_peft
from fourier_format import Adapter, Sampling, sampling
from fourier_format.errors import OutputExistsError, UnsupportedError
from tests.fourier_converters.adapters import COUNT, adapter, replaced, save, without_prints
from tests.fourier_converters.command import Captured, converted, refused
from tests.fourier_converters.graphs import digests, weight
from tests.fourier_converters.peft.altered import first_set, first_target, with_origin, written
from tests.fourier_converters.processes import run_on_a_full_disk


def reasons(whole: Adapter, folder: Path) -> list[tuple[str, str]]:
    """Returns where and why `to_peft` refuses."""
    with pytest.raises(UnsupportedError) as caught:
        to_peft(whole, folder / "peft")
    assert not (folder / "peft").exists()
    assert {v.code for v in caught.value.violations} == {"E-PEFT-INEXPRESSIBLE"}
    assert all("--to onnx" in (v.advice or "") for v in caught.value.violations)
    return [(v.where, v.problem) for v in caught.value.violations]


class TestRefusals:
    NOT_DRAWN = "PEFT draws its entries by torch.randperm and cannot take others"

    @pytest.mark.parametrize(
        "recipe",
        [Sampling(method="uniform", generator="splitmix64-fisher-yates"), None],
    )
    def test_entries_that_peft_would_not_draw(
        self, recipe: Sampling | None, two: Adapter, tmp_path: Path
    ) -> None:
        drawn = Sampling(method="uniform", generator="splitmix64-fisher-yates", seed=1)
        entries = sampling.draw((6, 4), COUNT, drawn)
        whole = first_set(two, entries=entries, sampling=recipe)

        assert reasons(whole, tmp_path) == [("entries/0", self.NOT_DRAWN)]

    def test_a_recipe_that_says_torch_is_not_believed(self, two: Adapter, tmp_path: Path) -> None:
        entries = two.entry_sets[0].entries[::-1]

        assert reasons(first_set(two, entries=entries), tmp_path) == [("entries/0", self.NOT_DRAWN)]

    def test_entries_that_happen_to_be_torchs_need_no_recipe(
        self, two: Adapter, tmp_path: Path
    ) -> None:
        assert written(first_set(two, sampling=None), tmp_path)["random_loc_seed"] == 777

    def test_entries_whose_drawing_would_take_too_long(
        self, two: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fourier_converters.peft.exporting.MAX_REDRAWING_STEPS", 10**6)
        whole = first_set(two, shape=(2**16, 2**16))  # torch draws every one of 2^32 numbers
        targets = tuple(replaced(t, shape=(2**16, 2**16)) for t in whole.targets)

        found = reasons(replaced(whole, targets=targets), tmp_path)

        assert found[0][0] == "entries/0"
        assert "too many or too large" in found[0][1]

    def test_no_seed_at_all(self, two: Adapter, tmp_path: Path) -> None:
        found = reasons(replaced(two, seed=None), tmp_path)

        assert found == [("entries/0", self.NOT_DRAWN), ("entries/1", self.NOT_DRAWN)]

    def test_several_seeds(self, two: Adapter, tmp_path: Path) -> None:
        recipe = replaced(two.entry_sets[0].sampling, seed=3)
        entries = sampling.draw((6, 4), COUNT, recipe)
        whole = first_set(two, entries=entries, sampling=recipe)

        assert reasons(whole, tmp_path) == [("entries", "PEFT has one seed for all layers")]

    def test_a_scale_for_one_layer(self, two: Adapter, tmp_path: Path) -> None:
        whole = first_target(two, alpha=3.0)

        assert reasons(whole, tmp_path) == [("a.query", "PEFT has one scale for all layers")]

    def test_a_layers_own_scale_that_is_the_adapters(self, two: Adapter, tmp_path: Path) -> None:
        assert written(first_target(two, alpha=two.alpha), tmp_path)["scaling"] == two.alpha

    @pytest.mark.parametrize("kind", ["conv2d", "embedding", "einsum_dense"])
    def test_layers_that_are_not_linear(self, kind: str, two: Adapter, tmp_path: Path) -> None:
        whole = first_target(two, kind=kind)

        assert reasons(whole, tmp_path) == [("a.query", "PEFT adapts linear layers only")]

    def test_counts_that_no_pattern_can_tell_apart(self, tmp_path: Path) -> None:
        """PEFT reads a pattern "query" as ".*.query" too."""
        whole = without_prints({"query": weight(), "a.query": weight(seed=1), "v": weight(seed=2)})
        one, two, three = whole.entry_sets
        few = replaced(one, entries=one.entries[:3], coefficients=one.coefficients[:, :3])
        whole = replaced(whole, entry_sets=(few, two, three))

        (found,) = reasons(whole, tmp_path)

        assert "n_frequency_pattern cannot give each module" in found[1]

    def test_all_reasons_are_listed_at_once(
        self, two: Adapter, tmp_path: Path, capsys: Captured
    ) -> None:
        whole = first_target(first_set(two, entries=two.entry_sets[0].entries[::-1]), alpha=3.0)
        file = save(whole, tmp_path)

        lines = refused(capsys, file, "--to", "peft")

        assert [line.split(":")[0] for line in lines] == ["a.query", "entries/0"]


class TestWriting:
    def test_an_existing_directory_is_refused_and_kept(self, two: Adapter, tmp_path: Path) -> None:
        (tmp_path / "peft").mkdir()
        (tmp_path / "peft" / "adapter_config.json").write_text("mine")

        with pytest.raises(OutputExistsError):
            to_peft(two, tmp_path / "peft")

        assert [p.read_text() for p in (tmp_path / "peft").iterdir()] == ["mine"]

    def test_force_replaces_its_two_files_alone(self, two: Adapter, tmp_path: Path) -> None:
        file = save(two, tmp_path)
        (tmp_path / "peft").mkdir()
        (tmp_path / "peft" / "adapter_config.json").write_text("old")
        (tmp_path / "peft" / "README.md").write_text("mine")

        converted(file, "--to", "peft", "-o", tmp_path / "peft", "--force")

        assert "FOURIERFT" in (tmp_path / "peft" / "adapter_config.json").read_text()
        assert (tmp_path / "peft" / "README.md").read_text() == "mine"

    def test_a_file_where_the_directory_should_be_is_refused(
        self, two: Adapter, tmp_path: Path, capsys: Captured
    ) -> None:
        file = save(two, tmp_path)
        (tmp_path / "peft").write_text("mine")

        refused(capsys, file, "--to", "peft", "-o", tmp_path / "peft", "--force", exit_code=2)

        assert (tmp_path / "peft").read_text() == "mine"

    @pytest.mark.parametrize("failing", [1, 2, 3, 4])
    def test_a_failure_leaves_no_half_directory(
        self, failing: int, two: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The disk fails at each sync in turn, of which a file and its directory take one each."""
        monkeypatch.setattr(os, "fsync", _failing_at(failing))

        with pytest.raises(KeyboardInterrupt):
            to_peft(two, tmp_path / "peft")

        assert not list(tmp_path.iterdir())

    def test_a_full_disk_leaves_the_checkpoint_that_was_there(
        self, two: Adapter, tmp_path: Path
    ) -> None:
        to_peft(two, tmp_path / "peft")
        before = digests(tmp_path / "peft")
        note = {"note": "x" * 3000}  # the config does not fit on the disk, the tensors do
        other = first_set(two, coefficients=2 * two.entry_sets[0].coefficients)
        other = with_origin(replaced(other, alpha=30.0), scaling=30.0, auto_mapping=note)
        file = save(other, tmp_path)

        arguments = (file, "--to", "peft", "-o", tmp_path / "peft", "--force")
        done = run_on_a_full_disk(2000, *arguments)

        assert done.returncode == 2
        assert "adapter_config.json: cannot write the file: File too large" in done.stderr
        assert digests(tmp_path / "peft") == before


def _failing_at(number: int) -> Any:
    calls = iter(range(1, 100))

    def fsync(descriptor: int) -> None:
        if next(calls) == number:
            raise KeyboardInterrupt

    return fsync


def test_the_result_is_the_same_with_and_without_fingerprints(tmp_path: Path) -> None:
    for name, make in (("with", adapter), ("without", without_prints)):
        to_peft(make({"a.query": weight()}), tmp_path / name)

    one, two = (sorted((tmp_path / name).iterdir()) for name in ("with", "without"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]

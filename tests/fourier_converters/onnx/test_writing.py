"""Writing a merged model: the base is only read, and the result is whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from fourier_converters.onnx import writing
from tests.fourier_converters.adapters import adapter, save
from tests.fourier_converters.command import Captured, convert, converted, refused
from tests.fourier_converters.graphs import (
    digests,
    initializers,
    save_external,
)
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.mixed import ARRAYS, W, assert_merged, proto


class TestInline:
    def test_the_result_is_one_file_of_the_same_bytes_every_time(
        self, source: Path, tmp_path: Path
    ) -> None:
        path = save_model(proto(), tmp_path / "base.onnx")

        for name in ("a.onnx", "b.onnx"):
            converted(source, "--to", "onnx", "--base", path, "-o", tmp_path / name)

        assert_merged(tmp_path / "a.onnx")
        assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
        assert sorted(digests(tmp_path)) == ["a.fft", "a.onnx", "b.onnx", "base.onnx"]

    def test_large_weights_are_written_in_pieces_of_the_same_model(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = proto(ARRAYS | {"empty": np.zeros(0, np.float32), "one": np.ones(1, np.float32)})
        made.graph.initializer.add(name="typed", dims=[200], data_type=1).float_data.extend(
            [2] * 200
        )
        made.metadata_props.add(key="after", value="the graph")
        path = save_model(made, tmp_path / "base.onnx")
        converted(source, "--to", "onnx", "--base", path, "-o", tmp_path / "whole.onnx")

        monkeypatch.setattr(writing, "_LARGE", 0)
        converted(source, "--to", "onnx", "--base", path, "-o", tmp_path / "pieces.onnx")

        whole, pieces = (onnx.load(tmp_path / name) for name in ("whole.onnx", "pieces.onnx"))
        assert pieces == whole
        assert_merged(tmp_path / "pieces.onnx")
        assert (tmp_path / "pieces.onnx").stat().st_size == (tmp_path / "whole.onnx").stat().st_size

    def test_what_protobuf_cannot_hold_is_refused(
        self, source: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = save_model(proto(), tmp_path / "base.onnx")
        before = digests(tmp_path)
        monkeypatch.setattr(writing, "_LARGE", 0)
        monkeypatch.setattr(writing, "_LARGEST", 1000)
        arguments = (source, "--to", "onnx", "--base", path, "-o", tmp_path / "m.onnx")

        line, *_ = refused(capsys, *arguments)

        assert "cannot be written as one file" in line
        assert digests(tmp_path) == before

    @pytest.mark.parametrize("field", ["float_data", "raw_data"])
    def test_values_may_be_stored_in_either_field(
        self, field: str, source: Path, tmp_path: Path
    ) -> None:
        made = proto()
        if field == "float_data":
            for t in made.graph.initializer:
                t.float_data.extend(np.frombuffer(t.raw_data, np.float32).tolist())
                t.ClearField("raw_data")
        path = save_model(made, tmp_path / "base.onnx")

        converted(source, "--to", "onnx", "--base", path, "-o", tmp_path / "m.onnx")

        assert_merged(tmp_path / "m.onnx")

    @pytest.mark.parametrize(("field", "count"), [("float_data", 5), ("float_data", 0), ("raw", 8)])
    def test_values_that_do_not_fill_the_shape_are_refused(
        self, field: str, count: int, source: Path, tmp_path: Path, capsys: Captured
    ) -> None:
        made = proto()
        made.graph.initializer[0].ClearField("raw_data")
        if field == "raw":
            made.graph.initializer[0].raw_data = bytes(count)
        else:
            made.graph.initializer[0].float_data.extend([0.0] * count)
        path = save_model(made, tmp_path / "base.onnx")

        line, *_ = refused(capsys, source, "--to", "onnx", "--base", path)

        assert "base.onnx, w: " in line
        assert line.endswith("[E-BASE-UNSUPPORTED]")


class TestExistingOutput:
    def test_it_is_refused_and_kept(self, base: Path, source: Path, capsys: Captured) -> None:
        output = base.with_name("m.onnx")
        output.write_text("mine")
        before = digests(base.parent)

        (line,) = refused(capsys, source, "--to", "onnx", "--base", base, "-o", output, exit_code=2)

        assert "or overwrite it: --force" in line
        assert line.endswith("[E-OUTPUT-EXISTS]")
        assert digests(base.parent) == before

    def test_force_replaces_it_with_its_data(self, base: Path, source: Path) -> None:
        output = base.with_name("m.onnx")
        converted(source, "--to", "onnx", "--base", base, "-o", output)
        first = set(digests(base.parent))

        converted(source, "--to", "onnx", "--base", base, "-o", output, "--force")

        second = set(digests(base.parent))
        assert len(second) == len(first)
        assert len(second - first) == 1
        assert_merged(output)

    def test_a_failure_with_force_keeps_the_old_model_and_its_data(
        self, base: Path, source: Path, capsys: Captured, tmp_path: Path
    ) -> None:
        output = base.with_name("m.onnx")
        converted(source, "--to", "onnx", "--base", base, "-o", output)
        before = digests(base.parent)
        other = save(adapter({"one": W + 1}), tmp_path, "other.fft")

        arguments = (other, "--to", "onnx", "--base", base, "-o", output, "--force")
        refused(capsys, *arguments)

        assert digests(base.parent) == before
        assert_merged(output)

    @pytest.mark.parametrize(
        "name", ["m.onnx.data", "m.onnx.0123456789ab.0.data.txt", "m.onnx.notes.data"]
    )
    def test_files_of_others_that_are_called_alike_stay(
        self, name: str, base: Path, source: Path
    ) -> None:
        output = base.with_name("m.onnx")
        base.with_name(name).write_text("mine")

        converted(source, "--to", "onnx", "--base", base, "-o", output)
        converted(source, "--to", "onnx", "--base", base, "-o", output, "--force")

        assert base.with_name(name).read_text() == "mine"

    @pytest.mark.parametrize("name", ["weird.txt", "noext", "x.fft"])
    def test_a_model_under_any_name_keeps_its_data(
        self, name: str, base: Path, source: Path
    ) -> None:
        output = base.with_name(name)

        converted(source, "--to", "onnx", "--base", base, "-o", output)
        converted(source, "--to", "onnx", "--base", base, "-o", output, "--force")

        assert_merged(output)
        assert len(list(base.parent.glob(f"{name}.*.data"))) == 1

    @pytest.mark.parametrize("name", ["best.onnx", "prod.model"])
    def test_the_data_of_a_model_that_was_renamed_stays(
        self, name: str, base: Path, source: Path
    ) -> None:
        """Its data keeps the old name, because the model names it."""
        output, renamed = base.with_name("m.onnx"), base.with_name(name)
        converted(source, "--to", "onnx", "--base", base, "-o", output)
        output.rename(renamed)

        converted(source, "--to", "onnx", "--base", base, "-o", output)

        assert_merged(renamed)
        assert_merged(output)

    @pytest.mark.parametrize("above", [1, 3])
    def test_the_data_that_a_model_above_refers_to_stays(
        self, above: int, source: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "a" / "b" / "c"
        folder.mkdir(parents=True)
        output = save_external(proto(), folder / "base.onnx").with_name("m.onnx")
        converted(source, "--to", "onnx", "--base", folder / "base.onnx", "-o", output)
        higher = folder.parents[above - 1] / "higher.onnx"
        referring = onnx.load(output, load_external_data=False)
        for initializer in referring.graph.initializer:
            field = next(e for e in initializer.external_data if e.key == "location")
            field.value = (folder / field.value).relative_to(higher.parent).as_posix()
        higher.write_bytes(referring.SerializeToString())

        converted(source, "--to", "onnx", "--base", folder / "base.onnx", "-o", output, "--force")

        assert_merged(higher)
        assert_merged(output)

    def test_data_stays_where_too_many_files_may_refer_to_it(
        self, base: Path, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output = base.with_name("m.onnx")
        converted(source, "--to", "onnx", "--base", base, "-o", output)

        monkeypatch.setattr(writing, "_MANY", 2)
        converted(source, "--to", "onnx", "--base", base, "-o", output, "--force")

        assert len(list(base.parent.glob("m.onnx.*.data"))) == 2

    def test_a_directory_is_not_replaced(self, base: Path, source: Path, capsys: Captured) -> None:
        output = base.with_name("m.onnx")
        output.mkdir()
        before = digests(base.parent)

        arguments = (source, "--to", "onnx", "--base", base, "-o", output, "--force")
        refused(capsys, *arguments, exit_code=2)

        assert digests(base.parent) == before


class TestTheBaseIsNeverTheOutput:
    """Not even --force may write to what is only read."""

    @pytest.mark.parametrize("name", ["base.onnx", "base.onnx.data", "link.onnx", "../a.fft"])
    def test_its_files_and_the_source_are_refused(
        self, name: str, base: Path, source: Path, capsys: Captured
    ) -> None:
        base.with_name("link.onnx").symlink_to(base)
        before = digests(base.parents[1])

        output = base.parent / name
        arguments = (source, "--to", "onnx", "--base", base, "-o", output, "--force")
        (line,) = refused(capsys, *arguments, exit_code=2)

        assert "is only read" in line
        assert line.endswith("[E-USAGE]")
        assert digests(base.parents[1]) == before
        assert base.with_name("link.onnx").is_symlink()


def test_an_interruption_after_the_commit_leaves_a_whole_model(
    base: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the directory is synced, when the model has its name already."""
    output = tmp_path / "m.onnx"
    fsync = os.fsync

    def interrupted(descriptor: int) -> None:
        fsync(descriptor)
        if output.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)

    assert convert(source, "--to", "onnx", "--base", base, "-o", output) == 130

    assert_merged(output)


def test_the_default_place_is_beside_the_source(base: Path, source: Path) -> None:
    converted(source, "--to", "onnx", "--base", base)

    assert_merged(source.with_name("a.base.onnx"))
    assert sorted(initializers(source.with_name("a.base.onnx"))) == [
        "unread",
        "v",
        "v.merged",
        "w",
    ]

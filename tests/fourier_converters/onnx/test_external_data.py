"""External data: copied into files of the result's own, and held to ONNX's rules."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fourier_converters import copying
from tests.fourier_converters.adapters import adapter, delta, save, without_prints
from tests.fourier_converters.command import Captured, converted, refused
from tests.fourier_converters.graphs import (
    digests,
    model,
    save_external,
    tensor,
    weight,
)
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.mixed import ARRAYS, V, W, assert_merged, proto

_PIECE = 1000


class TestExternal:
    @pytest.mark.parametrize("one_file", [True, False])
    def test_the_result_has_data_files_of_its_own(
        self, one_file: bool, source: Path, tmp_path: Path
    ) -> None:
        folder, output = tmp_path / "base", tmp_path / "out" / "m.onnx"
        folder.mkdir()
        output.parent.mkdir()
        path = save_external(proto(), folder / "base.onnx", one_file=one_file)
        before = digests(folder)

        converted(source, "--to", "onnx", "--base", path, "-o", output)

        assert digests(folder) == before
        assert len(list(output.parent.iterdir())) == (2 if one_file else 4)
        moved = output.parent.rename(tmp_path / "moved")
        folder.rename(tmp_path / "elsewhere")
        assert_merged(moved / "m.onnx")

    def test_the_result_may_lie_beside_the_base(self, base: Path, source: Path) -> None:
        before = digests(base.parent)

        converted(source, "--to", "onnx", "--base", base, "-o", base.with_name("m.onnx"))

        after = digests(base.parent)
        assert before.items() <= after.items()
        assert len(after) == len(before) + 2
        assert_merged(base.with_name("m.onnx"))

    def test_small_new_tensors_stay_inside_the_model(self, tmp_path: Path) -> None:
        text = "g (float[N, 4] x) => (float[N, 6] y, float[4, 6] w) { y = MatMul (x, w) }"
        path = save_external(model(text, {"w": weight().T}), tmp_path / "base.onnx")
        file = save(adapter({"q": weight()}), tmp_path)

        converted(file, "--to", "onnx", "--base", path, "-o", tmp_path / "m.onnx")

        graph = onnx.load(tmp_path / "m.onnx", load_external_data=False).graph
        assert [t.data_location for t in graph.initializer] == [1, 0]

    def test_two_tensors_of_one_range_do_not_change_together(self, tmp_path: Path) -> None:
        text = """
            g (float[N, 4] x) => (float[N, 6] y, float[N, 6] z) {
                [one] y = MatMul (x, w)
                [two] z = MatMul (x, v)
            }
        """
        stored = weight().T
        made = model(text, {"w": stored, "v": stored}, {"one": "one", "two": "two"})
        path = save_external(made, tmp_path / "base.onnx")
        _share(path, "v", "w")
        whole = adapter({"one": weight()})

        output = tmp_path / "m.onnx"
        converted(save(whole, tmp_path), "--to", "onnx", "--base", path, "-o", output)

        assert np.array_equal(tensor(output, "v"), stored)
        assert np.allclose(tensor(output, "w").T, weight() + delta(whole, "one"), atol=1e-6)

    def test_two_targets_of_one_range_each_get_their_own(self, tmp_path: Path) -> None:
        text = """
            g (float[N, 4] x) => (float[N, 6] y, float[N, 6] z) {
                [one] y = MatMul (x, w)
                [two] z = MatMul (x, v)
            }
        """
        stored = weight().T
        made = model(text, {"w": stored, "v": stored}, {"one": "one", "two": "two"})
        path = save_external(made, tmp_path / "base.onnx")
        _share(path, "v", "w")
        whole = adapter({"one": weight(), "two": weight()})

        output = tmp_path / "m.onnx"
        converted(save(whole, tmp_path), "--to", "onnx", "--base", path, "-o", output)

        for name, target in (("w", "one"), ("v", "two")):
            got = tensor(output, name).T
            assert np.allclose(got, weight() + delta(whole, target), atol=1e-6)

    @pytest.mark.parametrize("data_type", [22, 17, 23, 14])
    def test_tensors_of_types_that_nothing_here_reads_are_carried_over(
        self, data_type: int, base: Path, source: Path
    ) -> None:
        """INT4, FLOAT8E4M3FN, FLOAT4E2M1 and COMPLEX64: a base may be quantised elsewhere."""
        made = onnx.load(base, load_external_data=False)
        bits = {22: 4, 17: 8, 23: 4, 14: 64}[data_type]
        data = base.with_name("extra.data")
        data.write_bytes(bytes(range(48)) * 8)
        extra = made.graph.initializer.add()
        extra.name, extra.data_type, extra.data_location = "packed", data_type, 1
        extra.dims.extend([3])
        _point(extra, "extra.data", 16, -(-3 * bits // 8))
        save_model(made, base)

        output = base.with_name("m.onnx")
        converted(source, "--to", "onnx", "--base", base, "-o", output)

        merged = onnx.load(output, load_external_data=False)
        (kept,) = [t for t in merged.graph.initializer if t.name == "packed"]
        place = {e.key: e.value for e in kept.external_data}
        assert int(place["offset"]) == 16
        assert (base.parent / place["location"]).read_bytes() == data.read_bytes()


class TestCopyingMeanwhile:
    """New values are computed while the base's data is copied, and written behind the copying."""

    def test_what_is_changed_waits_for_the_copying(
        self, base: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pieces = self.slow(monkeypatch, pause=0.005)
        before = digests(base.parent)

        converted(source, "--to", "onnx", "--base", base, "-o", tmp_path / "m.onnx")

        assert len(pieces) > 10
        assert digests(base.parent) == before
        assert_merged(tmp_path / "m.onnx")

    def test_what_is_refused_meanwhile_ends_the_copying_and_leaves_nothing(
        self, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = np.where(np.arange(32) == 3, np.float32(np.inf), W)
        base = save_external(proto(ARRAYS | {"w": broken.T}), tmp_path / "base.onnx")
        whole = without_prints({"one": W, "two": V})
        pieces = self.slow(monkeypatch, pause=0.05)
        file = save(whole, tmp_path)
        before = digests(tmp_path)

        line, *_ = refused(capsys, file, "--to", "onnx", "--base", base, "-o", tmp_path / "m.onnx")

        assert "E-NUMBER-NONFINITE" in line
        assert len(pieces) < base.with_name("base.onnx.data").stat().st_size // _PIECE
        assert digests(tmp_path) == before

    @staticmethod
    def slow(monkeypatch: pytest.MonkeyPatch, pause: float) -> list[int]:
        """Copy small pieces with pauses; returns their sizes as they are copied."""
        real, pieces = os.copy_file_range, list[int]()

        def copy(source: int, target: int, length: int) -> int:
            time.sleep(pause)
            pieces.append(real(source, target, length))
            return pieces[-1]

        monkeypatch.setattr(os, "copy_file_range", copy)
        monkeypatch.setattr(copying, "_PIECE", _PIECE)
        return pieces


class TestExternalPaths:
    """The rules of ONNX Runtime and onnx: nothing outside the model's directory."""

    @pytest.mark.parametrize(
        ("location", "problem"),
        [
            ("../secret.data", "leaves the model's directory"),
            ("sub/../../secret.data", "leaves the model's directory"),
            ("", "has no location"),
            ("link.data", "is a link that leaves the model's directory"),
            ("folder/secret.data", "is a link that leaves the model's directory"),
            ("back\\\\slash.data", "leaves the model's directory"),
            ("nul\0.data", "leaves the model's directory"),
        ],
    )
    def test_what_leaves_the_directory_is_refused(
        self, location: str, problem: str, base: Path, source: Path, capsys: Captured
    ) -> None:
        outside = base.parents[1]
        (outside / "secret.data").write_bytes(base.with_name("base.onnx.data").read_bytes())
        base.with_name("link.data").symlink_to(outside / "secret.data")
        base.with_name("folder").symlink_to(outside)
        self.relocate(base, location=location)

        line, *_ = self.refuse(capsys, base, source)

        assert problem in line
        assert line.endswith("[E-BASE-UNSUPPORTED]")

    def test_an_absolute_path_is_refused(self, base: Path, source: Path, capsys: Captured) -> None:
        self.relocate(base, location=str(base.with_name("base.onnx.data")))

        line, *_ = self.refuse(capsys, base, source)

        assert "leaves the model's directory" in line

    @pytest.mark.parametrize(
        ("changed", "problem"),
        [
            ({"offset": "100000"}, "lies outside the file base.onnx.data"),
            ({"offset": "-4"}, "not a number"),
            ({"offset": "9" * 30}, "not a number"),
            ({"offset": "x"}, "not a number"),
            ({"length": "12"}, "its external length is 12, its shape needs 6144 bytes"),
            ({"length": "-1"}, "not a number"),
        ],
    )
    def test_a_range_that_does_not_fit_is_refused(
        self,
        changed: dict[str, str],
        problem: str,
        base: Path,
        source: Path,
        capsys: Captured,
    ) -> None:
        self.relocate(base, **changed)

        line, *_ = self.refuse(capsys, base, source)

        assert "base.onnx, w: its external" in line
        assert problem in line

    def test_a_truncated_data_file_is_refused(
        self, base: Path, source: Path, capsys: Captured
    ) -> None:
        os.truncate(base.with_name("base.onnx.data"), 1000)

        line, *_ = self.refuse(capsys, base, source)

        assert "lies outside the file" in line

    def test_a_data_file_that_is_not_there_is_trouble_with_files(
        self, base: Path, source: Path, capsys: Captured
    ) -> None:
        data = base.with_name("base.onnx.data")
        data.unlink()

        line, *_ = self.refuse(capsys, base, source, exit_code=2)

        assert f"{data}: cannot read the file" in line

    def test_a_tensor_that_no_target_means_is_held_to_the_rules_too(
        self, base: Path, source: Path, capsys: Captured
    ) -> None:
        self.relocate(base, "unread", location="../a.fft")

        line, *_ = self.refuse(capsys, base, source)

        assert "unread: its external data leaves the model's directory" in line

    @staticmethod
    def relocate(base: Path, name: str = "w", **changed: str) -> None:
        made = onnx.load(base, load_external_data=False)
        (found,) = [t for t in made.graph.initializer if t.name == name]
        for entry in found.external_data:
            entry.value = changed.get(entry.key, entry.value)
        save_model(made, base)

    @staticmethod
    def refuse(capsys: Captured, base: Path, source: Path, exit_code: int = 1) -> list[str]:
        before = digests(base.parents[1])
        output = base.with_name("m.onnx")
        arguments = (source, "--to", "onnx", "--base", base, "-o", output)
        lines = refused(capsys, *arguments, exit_code=exit_code)
        assert digests(base.parents[1]) == before
        return lines


def _point(found: Any, location: str, offset: int, length: int) -> None:
    fields = {"location": location, "offset": str(offset), "length": str(length)}
    for key, value in fields.items():
        entry = found.external_data.add()
        entry.key, entry.value = key, value


def _share(path: Path, one: str, other: str) -> None:
    """Point the tensor `one` at the bytes of `other`."""
    made = onnx.load(path, load_external_data=False)
    tensors = {t.name: t for t in made.graph.initializer}
    del tensors[one].external_data[:]
    tensors[one].external_data.extend(tensors[other].external_data)
    save_model(made, path)

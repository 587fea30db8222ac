"""`--external-data reference`: the new values alone, beside the base's data, which stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest

from tests.fourier_converters.adapters import adapter, delta, save
from tests.fourier_converters.command import Captured, converted, refused
from tests.fourier_converters.graphs import digests, run, save_external
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.hub import cached
from tests.fourier_converters.onnx.mixed import W, assert_merged, proto

REFERENCE = ("--external-data", "reference")


def merge(source: Path, base: Path, output: Path, *more: str) -> None:
    converted(source, "--to", "onnx", "--base", base, "-o", output, *REFERENCE, *more)


def assert_opens_everywhere(path: Path) -> None:
    assert_merged(path)  # onnx.load, onnx.checker and ONNX Runtime
    for tensor in onnx_ir.load(path).graph.initializers.values():
        assert tensor.const_value is not None
        assert np.isfinite(tensor.const_value.numpy()).all()


def locations(path: Path) -> dict[str, str]:
    """Returns where the initializers that lie outside the model lie, by name."""
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    return {t.name: t.external_data[0].value for t in tensors if t.external_data}


class TestTheResult:
    def test_opens_everywhere_and_the_base_stays_as_it_was(self, base: Path, source: Path) -> None:
        before = digests(base.parent)

        merge(source, base, base.with_name("m.onnx"))

        after = digests(base.parent)
        assert before.items() <= after.items()
        (data,) = after.keys() - before.keys() - {"m.onnx"}
        assert_opens_everywhere(base.with_name("m.onnx"))
        assert locations(base.with_name("m.onnx")) == {
            "w": data,
            "v": "base.onnx.data",
            "unread": "base.onnx.data",
            "v.merged": data,
        }

    def test_holds_the_new_values_alone(self, source: Path, tmp_path: Path) -> None:
        base = save_external(proto(), tmp_path / "base.onnx")
        os.truncate(tmp_path / "base.onnx.data", 2**24)  # a base of which little is changed

        merge(source, base, tmp_path / "m.onnx")

        (data,) = tmp_path.glob("m.onnx.*.data")
        assert data.stat().st_size <= 2 * 2**16

    def test_many_adapters_share_one_base(self, base: Path, tmp_path: Path) -> None:
        adapters = [adapter({"one": W}, alpha=float(alpha)) for alpha in (1, 10, 100)]
        data = base.with_name("base.onnx.data")

        for number, whole in enumerate(adapters):
            file = save(whole, tmp_path, f"{number}.fft")
            merge(file, base, base.with_name(f"{number}.onnx"))

        x, ids = np.eye(32, dtype=np.float32), np.arange(32)
        for number, whole in enumerate(adapters):
            y = run(base.with_name(f"{number}.onnx"), x=x, ids=ids)[0]
            expected = W + delta(whole, "one")
            assert np.allclose(y.T, expected, atol=1e-6 * np.abs(expected).max())
            assert locations(base.with_name(f"{number}.onnx"))["v"] == data.name

    def test_above_the_base_refers_down_to_it(self, base: Path, source: Path) -> None:
        output = base.parents[1] / "m.onnx"

        merge(source, base, output)

        assert locations(output)["v"] == "base/base.onnx.data"
        assert_opens_everywhere(output)

    def test_may_be_replaced_and_leaves_no_orphans(self, base: Path, source: Path) -> None:
        output = base.with_name("m.onnx")
        merge(source, base, output)
        first = digests(base.parent)

        merge(source, base, output, "--force")

        second = digests(base.parent)
        assert len(second) == len(first)
        assert second["base.onnx.data"] == first["base.onnx.data"]
        assert_opens_everywhere(output)

    def test_may_follow_a_copy_and_be_followed_by_one(self, base: Path, source: Path) -> None:
        output = base.with_name("m.onnx")
        copy = (source, "--to", "onnx", "--base", base, "-o", output, "--force")

        for _ in range(2):
            converted(*copy)
            merge(source, base, output, "--force")

            assert_opens_everywhere(output)
            assert len(list(base.parent.iterdir())) == 4

        converted(*copy)

        assert_opens_everywhere(output)
        assert len(list(base.parent.iterdir())) == 4


class TestRefused:
    def refuse(self, capsys: Captured, base: Path, output: Path, source: Path, code: int) -> str:
        around = source.parent
        before = digests(around)
        arguments = (source, "--to", "onnx", "--base", base, "-o", output, *REFERENCE)
        (line,) = refused(capsys, *arguments, exit_code=code)
        assert digests(around) == before
        return line

    def test_elsewhere_with_advice(
        self, base: Path, source: Path, tmp_path: Path, capsys: Captured
    ) -> None:
        (tmp_path / "out").mkdir()

        line = self.refuse(capsys, base, tmp_path / "out" / "m.onnx", source, 2)

        assert "only to data in its own directory or below" in line
        assert f"write the output to {base.parent} with -o, or use --external-data copy" in line

    def test_below_the_base_with_advice(self, base: Path, source: Path, capsys: Captured) -> None:
        (base.parent / "sub").mkdir()

        line = self.refuse(capsys, base, base.parent / "sub" / "m.onnx", source, 2)

        assert "only to data in its own directory or below" in line

    def test_inline_weights_with_advice(
        self, source: Path, tmp_path: Path, capsys: Captured
    ) -> None:
        base = save_model(proto(), tmp_path / "base.onnx")

        line = self.refuse(capsys, base, tmp_path / "m.onnx", source, 2)

        assert "use --external-data copy, or save the base with external data" in line

    def test_data_behind_a_link_with_advice(
        self, base: Path, source: Path, capsys: Captured
    ) -> None:
        real = base.with_name("real.data")
        base.with_name("base.onnx.data").rename(real)
        base.with_name("base.onnx.data").symlink_to("real.data")

        line = self.refuse(capsys, base, base.with_name("m.onnx"), source, 1)

        assert "is a symbolic link; merge with --external-data copy" in line


class TestAHubCache:
    @pytest.fixture
    def snapshot(self, base: Path, tmp_path: Path) -> Path:
        return cached(base, tmp_path / "cache")

    @pytest.mark.parametrize("beside", [True, False])
    def test_a_copy_opens_everywhere(
        self, beside: bool, snapshot: Path, source: Path, tmp_path: Path
    ) -> None:
        before = digests(tmp_path / "cache" / "blobs")
        (tmp_path / "out").mkdir()
        output = snapshot.with_name("m.onnx") if beside else tmp_path / "out" / "m.onnx"

        converted(source, "--to", "onnx", "--base", snapshot, "-o", output)

        assert digests(tmp_path / "cache" / "blobs") == before
        assert_opens_everywhere(output)
        if not beside:
            shutil.rmtree(tmp_path / "cache")
            assert_opens_everywhere(output)

    def test_a_reference_is_refused_with_advice(
        self, snapshot: Path, source: Path, capsys: Captured
    ) -> None:
        line = TestRefused().refuse(capsys, snapshot, snapshot.with_name("m.onnx"), source, 1)

        assert "merge with --external-data copy, or copy the model and its data" in line
        assert "cp -RL" in line

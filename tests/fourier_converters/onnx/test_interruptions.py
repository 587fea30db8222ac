"""Full disks, Ctrl-C, killed and simultaneous runs: a whole model or none, and nothing else."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.fourier_converters.adapters import adapter, delta, save
from tests.fourier_converters.graphs import digests, model, run, save_external, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.processes import (
    end,
    go_on,
    run_on_a_full_disk,
    start,
    start_and_stop_at,
)
from tests.fourier_converters.processes import run as run_process

TEXT = """
    g (float[N, 64] x) => (float[N, 96] y, float[N, 96] z) {
        [one] y = MatMul (x, w)
        [two] z = MatMul (x, w)
    }
"""
W = weight(96, 64)
SIZE = W.nbytes
WHOLE = adapter({"one": W})


class Place:
    """Two folders: one with the base and the adapter, one for the result alone."""

    def __init__(self, folder: Path, large: int = 0) -> None:
        self.inputs, self.outputs = folder / "in", folder / "out"
        self.inputs.mkdir()
        self.outputs.mkdir()
        self.source = save(WHOLE, self.inputs)
        self.base = self.inputs / "base.onnx"
        self.output = self.outputs / "m.onnx"
        proto = model(TEXT, {"w": W.T}, {"one": "one", "two": "two"})
        save_model(proto, self.inputs / "inline.onnx")
        save_external(proto, self.base)
        if large:
            os.truncate(self.inputs / "base.onnx.data", large)
        self.before = digests(self.inputs)

    def arguments(self, *more: str, base: str = "base.onnx") -> list[str | Path]:
        path = self.inputs / base
        return [self.source, "--to", "onnx", "--base", path, "-o", self.output, *more]

    @property
    def left(self) -> list[str]:
        """The names of what lies where the result should."""
        return sorted(path.name for path in self.outputs.iterdir())

    def is_begun(self) -> bool:
        return any(name.endswith(".data") for name in self.left)

    def assert_whole(self) -> None:
        assert digests(self.inputs) == self.before
        onnx.checker.check_model(self.output)
        y, z = run(self.output, x=np.eye(64, dtype=np.float32))
        assert np.allclose(y.T, W + delta(WHOLE, "one"), atol=2e-6)
        assert np.array_equal(z.T, W)
        (data,) = (name for name in self.left if name != "m.onnx")
        assert data.encode() in self.output.read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class TestAFullDisk:
    @pytest.mark.parametrize(
        ("base", "room"),
        [
            ("inline.onnx", SIZE // 2),
            ("base.onnx", SIZE // 2),  # while the data is copied
            ("base.onnx", 2**16 + 10),  # while the second tensor is put behind it
            ("base.onnx", 10),
        ],
    )
    def test_is_one_error_and_leaves_nothing(self, base: str, room: int, place: Place) -> None:
        done = run_on_a_full_disk(room, *place.arguments(base=base))

        assert done.returncode == 2
        assert not done.stdout
        error = f"fourier-convert: error: {place.output}: cannot write the file: File too large"
        assert done.stderr == f"{error} [E-IO]\n"
        assert place.left == []
        assert digests(place.inputs) == place.before

    @pytest.mark.parametrize("to", ["fft", "h5"])
    def test_of_an_adapter_leaves_nothing_either(self, to: str, place: Place) -> None:
        output = place.outputs / "copy"

        done = run_on_a_full_disk(100, place.source, "--to", to, "-o", output)

        assert done.returncode == 2
        assert f"{output}: cannot write the file" in done.stderr
        assert place.left == []

    def test_that_was_freed_is_no_trouble_any_more(self, place: Place) -> None:
        run_on_a_full_disk(SIZE // 2, *place.arguments())

        assert run_process(*place.arguments("--quiet")).returncode == 0

        place.assert_whole()


@pytest.mark.parametrize("moment", ["copy_file_range", "fsync"])
class TestASignal:
    """While the base's data is copied, and when it is written and the model is not."""

    def test_ctrl_c_leaves_nothing(self, moment: str, place: Place) -> None:
        process = start_and_stop_at(moment, *place.arguments())
        assert place.is_begun()

        go_on(process, signal.SIGINT)

        message = "fourier-convert: interrupted; nothing was left half written\n"
        assert end(process) == (130, "", message)
        assert place.left == []
        assert digests(place.inputs) == place.before

    def test_ctrl_c_keeps_the_model_that_was_to_be_replaced(
        self, moment: str, place: Place
    ) -> None:
        assert run_process(*place.arguments()).returncode == 0
        kept = digests(place.outputs)

        process = start_and_stop_at(moment, *place.arguments("--force"))
        assert len(place.left) > len(kept)
        go_on(process, signal.SIGINT)

        assert end(process)[0] == 130
        assert digests(place.outputs) == kept
        place.assert_whole()

    def test_what_a_killed_run_leaves_is_no_model_and_the_next_run_removes_it(
        self, moment: str, place: Place
    ) -> None:
        process = start_and_stop_at(moment, *place.arguments())
        process.kill()
        assert end(process)[0] == -signal.SIGKILL
        orphans = set(place.left)
        assert {Path(name).suffix for name in orphans} == {".data", ".partial"}

        assert run_process(*place.arguments()).returncode == 0

        assert orphans.isdisjoint(place.left)
        place.assert_whole()

    def test_a_run_does_not_remove_what_another_is_writing(self, moment: str, place: Place) -> None:
        slow = start_and_stop_at(moment, *place.arguments("--force"))
        begun = {name for name in place.left if name.endswith(".data")}
        assert len(begun) == 1

        assert run_process(*place.arguments("--force")).returncode == 0
        assert begun <= set(place.left)

        slow.send_signal(signal.SIGCONT)
        assert end(slow)[0] == 0
        assert begun <= set(place.left)
        place.assert_whole()


class TestTwoRunsAtOnce:
    def test_with_the_same_output_give_one_whole_model(self, tmp_path: Path) -> None:
        place = Place(tmp_path, 2**22)

        processes = [start(*place.arguments()) for _ in range(2)]
        ends = [end(process) for process in processes]

        assert sorted(code for code, _, _ in ends) == [0, 2]
        assert any("[E-OUTPUT-EXISTS]" in error for _, _, error in ends)
        place.assert_whole()

    def test_that_may_both_overwrite_give_one_whole_model(self, tmp_path: Path) -> None:
        place = Place(tmp_path, 2**22)

        processes = [start(*place.arguments("--force")) for _ in range(2)]
        ends = [end(process) for process in processes]

        assert [code for code, _, _ in ends] == [0, 0], ends
        assert run_process(*place.arguments("--force")).returncode == 0  # sweeps
        place.assert_whole()

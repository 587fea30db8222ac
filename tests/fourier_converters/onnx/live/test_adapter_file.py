"""An adapter as a .onnx_adapter: ONNX Runtime reads it, and the live graph computes with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from fourier_converters.onnx.live.adapter_file import to_onnx_adapter
from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.combination import combine
from fourier_format.errors import DependencyMissingError, UsageError
from tests.fourier_converters.adapters import save as save_adapter
from tests.fourier_converters.checkpoints import DIGITS
from tests.fourier_converters.command import Captured, as_json, converted, refused
from tests.fourier_converters.graphs import digests, save
from tests.fourier_converters.onnx.live.by_hand import (
    BIAS,
    COEFFICIENTS,
    DIFFERENCE,
    NAMES,
    WEIGHTS,
    X,
    adapter,
    describe,
    live_graph,
    outputs,
)
from tests.fourier_converters.processes import run_on_a_full_disk
from tests.tolerances import LIVE_FILE_F32

ALPHA = 30.0


@pytest.fixture
def live(tmp_path: Path) -> Path:
    (tmp_path / "live").mkdir()
    return live_graph(tmp_path / "live")


def served(live: Path, file: Path | None) -> list[Array]:
    """Returns what ONNX Runtime computes of X with the adapter, or with none."""
    options = onnxruntime.RunOptions()
    if file is not None:
        loaded = onnxruntime.LoraAdapter()
        loaded.Load(str(file))
        options.add_active_adapter(loaded)
    session = onnxruntime.InferenceSession(live)
    computed: list[Array] = session.run(None, {"x": X}, options)
    return computed


def parameters(file: Path) -> Mapping[str, Array]:
    read = onnxruntime.AdapterFormat.read_adapter(str(file))
    return {name: value.numpy().copy() for name, value in read.get_parameters().items()}


def worst(got: list[Array], expected: list[Array]) -> float:
    pairs = zip(got, expected, strict=True)
    return max(float(np.abs(g - e).max() / np.abs(e).max()) for g, e in pairs)


def write(whole: Adapter, live: Path) -> Path:
    source = save_adapter(whole, live.parent)
    converted(source, "--to", "onnx-adapter", "--base", live)
    return source.with_name("a.onnx_adapter")


class TestServed:
    @pytest.mark.parametrize("bias", [None, BIAS[::-1]])
    def test_the_live_graph_computes_with_it_what_the_formula_says(
        self, bias: Array | None, live: Path
    ) -> None:
        whole = adapter(bias=bias)

        got = served(live, write(whole, live))

        assert worst(got, outputs(whole)) <= LIVE_FILE_F32
        assert worst(got, outputs(None)) > 0.1

    @pytest.mark.parametrize("name", NAMES)
    def test_a_target_that_it_lacks_stays_the_base(self, name: str, live: Path) -> None:
        whole = adapter(name)

        got = served(live, write(whole, live))

        other = 1 - NAMES.index(name)
        assert worst(got, outputs(whole)) <= LIVE_FILE_F32
        assert np.array_equal(got[other], served(live, None)[other])

    def test_several_sources_are_summed(self, live: Path) -> None:
        wholes = [adapter(), adapter(seed=1)]
        sources = [save_adapter(w, live.parent, f"{i}.fft") for i, w in enumerate(wholes)]
        output = live.parent / "sum.onnx_adapter"

        converted(
            *sources, "--scales=0.7,-0.3", "--to", "onnx-adapter", "--base", live, "-o", output
        )

        expected = outputs(combine(wholes, [0.7, -0.3]))
        assert worst(served(live, output), expected) <= LIVE_FILE_F32

    def test_the_graph_may_lie_in_a_directory_of_genai(self, live: Path) -> None:
        config = {"model": {"decoder": {"filename": live.name}}}
        (live.parent / "genai_config.json").write_text(json.dumps(config))
        source = save_adapter(adapter(), live.parent.parent)

        converted(source, "--to", "onnx-adapter", "--base", live.parent)

        file = source.with_name("a.onnx_adapter")
        assert worst(served(live, file), outputs(adapter())) <= LIVE_FILE_F32


class TestWritten:
    def test_parameters_are_inputs_of_the_graph_with_one_row(self, live: Path) -> None:
        whole = adapter(bias=BIAS + 1)

        found = parameters(write(whole, live))

        stored = ALPHA * whole.entry_sets[0].coefficients.astype(np.float64)
        assert found.keys() == {COEFFICIENTS, DIFFERENCE}
        assert np.array_equal(found[COEFFICIENTS], stored.astype(np.float32)[None])
        moved = (BIAS + 1).astype(np.float64) - BIAS
        assert np.array_equal(found[DIFFERENCE], moved.astype(np.float32)[None])

    def test_the_same_adapter_gives_the_same_bytes(self, live: Path) -> None:
        first = write(adapter(bias=BIAS), live).read_bytes()
        (live.parent / "a.onnx_adapter").unlink()

        assert write(adapter(bias=BIAS), live).read_bytes() == first

    def test_the_report_says_which_input_each_target_feeds(
        self, live: Path, capsys: Captured
    ) -> None:
        source = save_adapter(adapter(bias=BIAS), live.parent)

        code, report = as_json(capsys, source, "--to", "onnx-adapter", "--base", live)

        assert code == 0
        assert report["output"] == str(source.with_name("a.onnx_adapter"))
        assert [(row["target"], row["found"]) for row in report["rows"]] == [
            (NAMES[0], COEFFICIENTS),
            (NAMES[1], COEFFICIENTS),
            ("enc.q.bias", DIFFERENCE),
        ]

    def test_an_output_that_exists_is_replaced_only_by_force(
        self, live: Path, capsys: Captured
    ) -> None:
        file = write(adapter(), live)
        before = file.read_bytes()
        source = save_adapter(adapter(seed=1), live.parent)
        arguments = (source, "--to", "onnx-adapter", "--base", live)

        (line,) = refused(capsys, *arguments, exit_code=2)
        assert line.endswith("[E-OUTPUT-EXISTS]")
        assert file.read_bytes() == before

        converted(*arguments, "--force")
        assert worst(served(live, file), outputs(adapter(seed=1))) <= LIVE_FILE_F32

    def test_the_live_graph_is_never_the_output(self, live: Path, capsys: Captured) -> None:
        source = save_adapter(adapter(), live.parent)
        before = digests(live.parent)

        arguments = (source, "--to", "onnx-adapter", "--base", live, "-o", live, "--force")
        (line,) = refused(capsys, *arguments, exit_code=2)

        assert "the output is an input of this conversion" in line
        with pytest.raises(UsageError, match="the output is an input of this conversion"):
            to_onnx_adapter(adapter(), live, live, overwrite=True)
        assert digests(live.parent) == before

    def test_a_full_disk_leaves_nothing(self, live: Path) -> None:
        whole = adapter()
        source = save_adapter(whole, live.parent)
        before = digests(live.parent)

        done = run_on_a_full_disk(100, source, "--to", "onnx-adapter", "--base", live)

        assert done.returncode == 2
        assert "ONNX Runtime cannot write the adapter: " in done.stderr
        assert done.stderr.rstrip().endswith("[E-IO]")
        assert digests(live.parent) == before


class TestRefused:
    def refuse(self, capsys: Captured, whole: Adapter, live: Path) -> list[str]:
        """Returns why it is refused; nothing is written."""
        source = save_adapter(whole, live.parent)
        before = digests(live.parent)
        lines = refused(capsys, source, "--to", "onnx-adapter", "--base", live)
        assert digests(live.parent) == before
        return lines

    def test_another_base(
        self, live: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(WEIGHTS, "enc.k", WEIGHTS["enc.k"] + np.float32(1e-3))

        (line,) = self.refuse(capsys, adapter(), live)

        assert "enc.k: the live graph's base is not the one" in line
        assert line.endswith("[E-BASE-MISMATCH]")

    def test_an_adapter_that_does_not_know_its_base(self, live: Path, capsys: Captured) -> None:
        (line,) = self.refuse(capsys, adapter(prints=False), live)

        assert line.endswith("[E-BASE-MISMATCH]")

    def test_but_in_python_it_is_taken_where_one_says_so(self, live: Path) -> None:
        output = live.parent / "a.onnx_adapter"

        to_onnx_adapter(adapter(prints=False), live, output, unverified=True)

        assert worst(served(live, output), outputs(adapter())) <= LIVE_FILE_F32

    def test_other_entries(self, live: Path, capsys: Captured) -> None:
        other = np.array([[0, 0], [3, 5], [7, 1], [4, 4]], np.int32)

        lines = self.refuse(capsys, adapter(entries=other), live)

        assert [line.rpartition(" ")[2] for line in lines] == ["[E-LIVE-LAYOUT]"] * 2

    @pytest.mark.parametrize(
        ("texts", "problem"),
        [
            ([], "it is not a live graph; convert the base with --to onnx --live"),
            (["{}", "{}"], "it describes its live graph twice"),
            (["{}"], "its description of the live graph is broken"),
        ],
    )
    def test_a_graph_that_does_not_describe_itself(
        self, texts: list[str], problem: str, live: Path, capsys: Captured
    ) -> None:
        proto: Any = onnx.load(live)
        del proto.metadata_props[:]
        for text in texts:
            describe(proto, text)
        save(proto, live)

        (line,) = self.refuse(capsys, adapter(), live)

        assert problem in line
        assert line.endswith("[E-LIVE-INTERFACE]")

    @pytest.mark.parametrize("wrong", [[], ["--base", "live.safetensors"]])
    def test_without_a_live_graph(self, wrong: list[str], tmp_path: Path, capsys: Captured) -> None:
        source = save_adapter(adapter(), tmp_path)

        (line,) = refused(capsys, source, "--to", "onnx-adapter", *wrong, exit_code=2)

        assert "--to onnx-adapter needs the live graph" in line

    def test_a_peft_checkpoint(self, live: Path, capsys: Captured) -> None:
        peft = DIGITS / "peft_adapter"

        (line,) = refused(capsys, peft, "--to", "onnx-adapter", "--base", live, exit_code=2)

        assert "make a .fft from it and its own base first" in line

    @pytest.mark.parametrize("option", ["--map=m.json", "--verify=full"])
    def test_options_for_merging(self, option: str, live: Path, capsys: Captured) -> None:
        source = save_adapter(adapter(), live.parent)

        (line,) = refused(
            capsys, source, "--to", "onnx-adapter", "--base", live, option, exit_code=2
        )

        assert "--to onnx-adapter of a .fft has no use for it" in line

    def test_without_onnxruntime(
        self, live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)

        with pytest.raises(DependencyMissingError, match=r"fourier-format\[ort\]") as caught:
            to_onnx_adapter(adapter(), live, tmp_path / "a.onnx_adapter")

        assert caught.value.violations[0].code == "E-DEPENDENCY-MISSING"
        assert not (tmp_path / "a.onnx_adapter").exists()

"""The live graph as a file, through the command line: written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest

from fourier_converters.mapping import Map, MapEntry
from fourier_converters.onnx.live import live_at_load, read_interface, to_live
from fourier_format import load
from fourier_format.errors import (
    DependencyMissingError,
)
from fourier_format.fingerprint import fingerprint
from fourier_format.live import from_text
from fourier_format.live.interface import KEY, entries_digest, input_name
from tests.fourier_converters.adapters import save
from tests.fourier_converters.command import Captured, as_json, converted, refused
from tests.fourier_converters.graphs import digests, model, run, save_external, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.hub import cached
from tests.fourier_converters.onnx.live.served import (
    Served,
    adapter,
    batch,
    elsewhere,
    terms,
    tuned,
    worst,
)
from tests.fourier_converters.processes import run_on_a_full_disk
from tests.tolerances import LIVE_F32

IN, OUT = 32, 48
NAMES: Final = ("one", "two")
W, V = weight(OUT, IN), weight(OUT, IN, seed=1)
TEXT: Final = f"""
    g (float[N, {IN}] x) => (float[N, {OUT}] y, float[N, {OUT}] z) {{
        [one] y = MatMul (x, w)
        [two] z = Gemm <transB = 1> (x, v)
    }}
"""
A: Final = adapter({"one": W, "two": V})
B: Final = tuned(A, 5)
OTHER: Final = elsewhere(A)


def proto() -> Any:
    return model(TEXT, {"w": W.T, "v": V}, {"one": "one", "two": "two"})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base in one file, alone in its folder."""
    (tmp_path / "base").mkdir()
    return save_model(proto(), tmp_path / "base" / "base.onnx")


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A base with its weights in a second file."""
    (tmp_path / "base").mkdir()
    return save_external(proto(), tmp_path / "base" / "base.onnx")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save(A, tmp_path)


def check(base: Path, live: Path, rows: Any = (None, A, B)) -> None:
    """The live graph is the base, and each row of a batch has its own adapter."""
    onnx.checker.check_model(live)
    served, x = Served(base, live), batch(3, IN)
    assert np.array_equal(served.run(None, x=x), served.unchanged(x=x))
    expected = x @ W.T.astype(np.float64) + terms(rows, x, "one", OUT)
    assert worst(served.run(rows, x=x), expected) <= LIVE_F32


class TestCommand:
    def test_it_makes_the_live_graph(self, base: Path, source: Path) -> None:
        before = digests(base.parent)

        converted(source, "--to", "onnx", "--live", "--base", base)

        check(base, source.with_name("live.base.onnx"))
        assert digests(base.parent) == before

    def test_further_adapters_share_constants_or_get_a_bank(self, base: Path, source: Path) -> None:
        folder = source.parent
        same, other = save(B, folder, "b.fft"), save(OTHER, folder, "c.fft")
        output = folder / "live.onnx"

        arguments = ("--to", "onnx", "--live", "--base", base, "-o", output)
        converted(source, *arguments, "--adapters", same, other)

        check(base, output, (None, A, OTHER))
        interface = read_interface(output)
        assert interface is not None
        assert len(interface.banks) == 2

    def test_adapters_may_be_given_by_the_option_alone(self, base: Path, source: Path) -> None:
        output = source.parent / "live.onnx"

        options = ("--to", "onnx", "--live", "--base", base, "-o", output)
        converted(*options, "--adapters", source)

        check(base, output)

    def test_the_report_says_what_was_found_and_what_it_costs(
        self, base: Path, source: Path, capsys: Captured
    ) -> None:
        output = source.parent / "live.onnx"
        code, found = as_json(
            capsys, source, "--to", "onnx", "--live", "--base", base, "-o", output
        )

        assert code == 0
        assert [(row["target"], row["found"]) for row in found["rows"]] == [
            ("one", "w"),
            ("two", "v"),
        ]
        (note,) = [n for n in found["notes"] if "input fourier.0-" in n]
        assert ".coefficients [0, 1 or batch, 2, 5]: " in note
        assert note.endswith("of its layer's products")

    def test_a_dry_run_writes_nothing(self, base: Path, source: Path, capsys: Captured) -> None:
        before = digests(source.parent)
        output = source.parent / "live.onnx"

        code, found = as_json(
            capsys, source, "--to", "onnx", "--live", "--dry-run", "--base", base, "-o", output
        )

        assert code == 0
        assert len(found["rows"]) == 2
        assert digests(source.parent) == before

    def test_a_dry_run_refuses_what_the_real_run_would(
        self, base: Path, source: Path, capsys: Captured
    ) -> None:
        output = source.parent / "live.onnx"
        options = ("--live", "--external-data", "reference", "--base", base, "-o", output)

        lines = [
            refused(capsys, source, "--to", "onnx", *options, *more, exit_code=2)
            for more in ((), ("--dry-run",))
        ]

        assert lines[0] == lines[1]
        assert "the base has its weights inside the .onnx file" in lines[0][0]

    def test_the_report_says_what_the_map_leaves_out(self, base: Path, source: Path) -> None:
        mapping = Map(targets={"two": MapEntry(skip=True)})
        output = source.parent / "live.onnx"

        report = to_live([load(source)], base, output, mapping=mapping, dry_run=True)

        assert report.skipped == ("two",)

    def test_the_static_form_has_no_if(self, base: Path, source: Path) -> None:
        output = source.parent / "live.onnx"

        converted(source, "--to", "onnx", "--live", "--static", "--base", base, "-o", output)

        interface = read_interface(output)
        assert interface is not None
        assert interface.static
        graph = onnx.load(output).graph
        assert "If" not in {node.op_type for node in graph.node}
        stored = {t.name: list(t.dims) for t in graph.initializer}
        assert stored[interface.banks[0].input] == [1, 2, 5]
        served, x = Served(base, output), batch(3, IN)
        assert worst(served.run(None, x=x), served.unchanged(x=x)) <= LIVE_F32

    def test_the_whole_weights_are_verified_on_demand(self, base: Path, source: Path) -> None:
        output = source.parent / "live.onnx"
        options = ("--to", "onnx", "--live", "--verify", "full", "--base", base, "-o", output)

        converted(source, *options)

        check(base, output)

    @pytest.mark.parametrize(
        ("more", "named"),
        [
            (["--scales", "0.5"], "--scales"),
            (["--quantized", "live"], "--quantized"),
            (["--explain", "map.json"], "--explain"),
        ],
    )
    def test_options_about_one_adapter_are_refused(
        self, more: list[str], named: str, base: Path, source: Path, capsys: Captured
    ) -> None:
        before = digests(source.parent)
        arguments: list[str | Path] = [source, "--to", "onnx", "--live", "--base", base]

        (line,) = refused(capsys, *arguments, *more, exit_code=2)

        assert line.startswith(f"{named}: ")
        assert line.endswith("[E-USAGE]")
        assert digests(source.parent) == before

    @pytest.mark.parametrize("more", [["--static"], ["--adapters", "a.fft"]])
    def test_options_of_live_without_live_are_refused(
        self, more: list[str], base: Path, source: Path, capsys: Captured
    ) -> None:
        more = [str(source) if m == "a.fft" else m for m in more]

        (line,) = refused(capsys, source, "--to", "onnx", "--base", base, *more, exit_code=2)

        assert "it belongs to --live; add --live [E-USAGE]" in line

    @pytest.mark.parametrize(
        ("arguments", "exit_code", "said"),
        [
            (["--to", "onnx", "--live", "--base", "BASE"], 2, "no adapter is given"),
            (["SOURCE", "--to", "onnx", "--live"], 2, "--to onnx needs the ONNX base"),
            (["SOURCE", "--to", "peft", "--live"], 2, "it is for --to onnx only"),
            (
                ["SOURCE", "--to", "onnx", "--live", "--base", "BASE", "--adapters", "no.fft"],
                2,
                "no such file",
            ),
        ],
    )
    def test_commands_that_mean_nothing_are_refused(
        self,
        arguments: list[str],
        exit_code: int,
        said: str,
        base: Path,
        source: Path,
        capsys: Captured,
    ) -> None:
        places = {"BASE": str(base), "SOURCE": str(source)}
        given = [places.get(argument, argument) for argument in arguments]

        (line,) = refused(capsys, *given, exit_code=exit_code)

        assert said in line


class TestFiles:
    def test_external_data_is_copied_by_default(self, external: Path, source: Path) -> None:
        (source.parent / "out").mkdir()
        output = source.parent / "out" / "live.onnx"

        converted(source, "--to", "onnx", "--live", "--base", external, "-o", output)

        check(external, output)
        external.with_name("base.onnx.data").unlink()
        assert np.isfinite(run(output, x=batch(3, IN))[0]).all()

    def test_external_data_is_referred_to_on_demand(self, external: Path, source: Path) -> None:
        output = external.with_name("live.onnx")
        options = ("--external-data", "reference")

        converted(source, "--to", "onnx", "--live", "--base", external, "-o", output, *options)

        check(external, output)
        read = {
            entry.value
            for tensor in onnx.load(output, load_external_data=False).graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        assert "base.onnx.data" in read

    def test_a_base_in_a_hub_cache(self, external: Path, source: Path) -> None:
        snapshot = cached(external, source.parent / "cache")
        output = source.parent / "live.onnx"
        before = digests(source.parent / "cache")

        converted(source, "--to", "onnx", "--live", "--base", snapshot, "-o", output)

        served, x = Served(snapshot, output), batch(3, IN)
        expected = x @ W.T.astype(np.float64) + terms((None, A, B), x, "one", OUT)
        assert worst(served.run((None, A, B), x=x), expected) <= LIVE_F32
        assert digests(source.parent / "cache") == before

    def test_a_directory_of_genai_is_copied_with_its_graph_live(
        self, external: Path, source: Path
    ) -> None:
        folder = external.parent
        config = {"model": {"decoder": {"filename": external.name}}}
        (folder / "genai_config.json").write_text(json.dumps(config))
        (folder / "tokenizer.json").write_text("{}")
        before = digests(folder)
        output = source.parent / "live"

        converted(source, "--to", "onnx", "--live", "--base", folder, "-o", output)

        check(external, output / "base.onnx")
        assert (output / "tokenizer.json").read_text() == "{}"
        assert digests(folder) == before

    def test_an_output_that_exists_is_replaced_only_by_force(
        self, base: Path, source: Path, capsys: Captured
    ) -> None:
        output = source.parent / "live.onnx"
        output.write_bytes(b"mine")
        arguments = (source, "--to", "onnx", "--live", "--base", base, "-o", output)

        (line,) = refused(capsys, *arguments, exit_code=2)

        assert line.endswith("[E-OUTPUT-EXISTS]")
        assert output.read_bytes() == b"mine"
        converted(*arguments, "--force")
        check(base, output)

    @pytest.mark.parametrize("which", ["base", "source"])
    def test_an_input_is_never_the_output(
        self, which: str, base: Path, source: Path, capsys: Captured
    ) -> None:
        output = base if which == "base" else source
        before = digests(source.parent)
        arguments = (source, "--to", "onnx", "--live", "--base", base, "-o", output, "--force")

        (line,) = refused(capsys, *arguments, exit_code=2)

        assert "the output is an input of this conversion" in line
        assert digests(source.parent) == before

    def test_a_full_disk_leaves_nothing(self, external: Path, source: Path) -> None:
        (source.parent / "out").mkdir()
        output = source.parent / "out" / "live.onnx"
        arguments = (source, "--to", "onnx", "--live", "--base", external, "-o", output)

        done = run_on_a_full_disk(1000, *arguments)

        assert done.returncode == 2
        assert list(output.parent.iterdir()) == []

    def test_the_same_base_and_adapters_give_the_same_bytes(self, base: Path, source: Path) -> None:
        first, second = (source.parent / f"{n}.onnx" for n in ("first", "second"))

        for output in (first, second):
            converted(source, "--to", "onnx", "--live", "--base", base, "-o", output)

        assert first.read_bytes() == second.read_bytes()


class TestDescription:
    def test_the_graph_says_what_it_takes(self, base: Path, tmp_path: Path) -> None:
        """In words of the specification: inputs, layouts, targets, and the base's samples."""
        output = tmp_path / "live.onnx"
        to_live([A], base, output)
        proto = onnx.load(output)
        (text,) = [e.value for e in proto.metadata_props if e.key == KEY]

        interface = from_text(text, "it")

        (bank,) = interface.banks
        assert (bank.input, bank.transform, bank.shape, bank.count) == (
            input_name("0", bank),
            "dft2",
            (OUT, IN),
            5,
        )
        assert bank.entries_sha256 == entries_digest(A.entry_sets[0].entries)
        assert [seat.name for seat in bank.seats] == ["one", "two"]
        for seat, canonical in zip(bank.seats, (W, V), strict=True):
            assert (seat.kind, seat.dtype, seat.tolerance) == ("linear", "F32", 0.0)
            print_ = fingerprint(canonical, seat.name)
            assert np.array_equal(seat.samples, print_.samples)
            assert seat.norm == pytest.approx(print_.norm, rel=1e-9)
        declared = {i.name: i.type.tensor_type for i in proto.graph.input}[bank.input]
        assert declared.elem_type == onnx.TensorProto.FLOAT
        sizes = [dim.dim_value or dim.dim_param for dim in declared.shape.dim]
        assert sizes == ["adapters", 2, 5]
        stored = {t.name: list(t.dims) for t in proto.graph.initializer}
        assert stored[bank.input] == [0, 2, 5]

    def test_values_are_alpha_times_coefficients_by_hand(self, base: Path, tmp_path: Path) -> None:
        """What somebody feeds who has only the README."""
        output = tmp_path / "live.onnx"
        to_live([A], base, output)
        values = np.stack([s.coefficients[0] for s in A.entry_sets])[None] * np.float32(A.alpha)
        x = batch(3, IN)

        served = Served(base, output)
        (name,) = served.interface.layouts
        got = served.fed({name: values}, x=x)

        assert worst(got, x @ W.T.astype(np.float64) + terms([A] * 3, x, "one", OUT)) <= LIVE_F32

    def test_a_graph_that_is_not_live_says_nothing(self, base: Path) -> None:
        assert read_interface(base) is None


class TestInMemory:
    @pytest.mark.parametrize("data", ["inside", "beside"])
    def test_a_session_is_made_of_it(
        self, data: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        import onnxruntime

        base: Path = request.getfixturevalue("base" if data == "inside" else "external")
        before = digests(tmp_path)

        live = live_at_load([A], base)

        session = onnxruntime.InferenceSession(live.model, live.options)
        x = batch(3, IN)
        given = Served(base, base)
        values = np.stack([s.coefficients[0] for s in A.entry_sets])[None] * np.float32(A.alpha)
        assert np.array_equal(session.run(None, {"x": x})[0], given.unchanged(x=x))
        (name,) = [i.name for i in session.get_overridable_initializers()]
        got = session.run(None, {"x": x, name: values})[0]
        assert worst(got, x @ W.T.astype(np.float64) + terms([A] * 3, x, "one", OUT)) <= LIVE_F32
        assert digests(tmp_path) == before

    def test_onnxruntime_is_needed(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)

        with pytest.raises(DependencyMissingError, match="onnxruntime"):
            live_at_load([A], base)

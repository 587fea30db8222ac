"""The command fourier-convert: exit codes, data on stdout, talk on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fourier_format.errors import BaseMismatchError
from tests.fourier_converters.adapters import adapter, save
from tests.fourier_converters.checkpoints import DIGITS
from tests.fourier_converters.command import (
    Captured,
    as_json,
    convert,
)
from tests.fourier_converters.graphs import LINEAR, model, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.processes import run

W = weight()
PEFT, BASE = DIGITS / "peft_adapter", DIGITS / "base.onnx"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save(adapter({"enc.q": W}), tmp_path)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    proto = model(LINEAR, {"val_1": W.T}, {"node_MatMul": "enc.q"})
    return save_model(proto, tmp_path / "base.onnx")


class TestOutput:
    def test_a_merge_prints_what_was_found_where(
        self, source: Path, base: Path, capsys: Captured
    ) -> None:
        assert convert(source, "--to", "onnx", "--base", base) == 0

        out, err = capsys.readouterr()
        header, row, blank, last = out.splitlines()
        assert header.split() == ["target", "found", "in", "evidence", "shape", "n", "change"]
        assert row.startswith("enc.q   val_1     fingerprint + name scopes  6x4")
        assert not blank
        assert last == f"wrote {source.with_name('a.base.onnx')}"
        assert not err

    def test_a_real_checkpoint_is_merged_in_one_step(
        self, tmp_path: Path, capsys: Captured
    ) -> None:
        output = tmp_path / "m.onnx"

        assert convert(PEFT, "--to", "onnx", "--base", BASE, "-o", output) == 0

        out, err = capsys.readouterr()
        assert out.count("blocks.") == 12
        assert not err

    def test_json_is_the_whole_of_stdout(self, source: Path, base: Path, capsys: Captured) -> None:
        code, found = as_json(capsys, source, "--to", "onnx", "--base", base)

        assert code == 0
        assert found["ok"] is True
        assert found["output"] == str(source.with_name("a.base.onnx"))
        assert set(found) == {"ok", "output", "rows", "skipped", "notes"}

    def test_json_of_a_failure_is_the_whole_of_stdout_too(
        self, source: Path, base: Path, capsys: Captured
    ) -> None:
        save_model(model(LINEAR, {"val_1": W.T + 1}, {"node_MatMul": "enc.q"}), base)

        assert convert(source, "--to", "onnx", "--base", base, "--json") == 1

        out, err = capsys.readouterr()
        found = json.loads(out)
        assert found["ok"] is False
        assert [e["code"] for e in found["errors"]] == ["E-BASE-MISMATCH"]
        assert found["errors"][0]["where"] == "enc.q"
        assert not err

    @pytest.mark.parametrize("to", ["fft", "h5", "peft"])
    def test_every_conversion_reports_as_json(
        self, to: str, source: Path, tmp_path: Path, capsys: Captured
    ) -> None:
        code, found = as_json(capsys, source, "--to", to, "-o", tmp_path / "out")

        assert code == 0
        assert [row["target"] for row in found["rows"]] == ["enc.q"]

    def test_quiet_prints_nothing_but_errors(
        self, source: Path, base: Path, capsys: Captured
    ) -> None:
        arguments = (source, "--to", "onnx", "--base", base, "--quiet")

        assert convert(*arguments) == 0
        assert capsys.readouterr() == ("", "")

        assert convert(*arguments) == 2
        out, err = capsys.readouterr()
        assert not out
        assert "[E-OUTPUT-EXISTS]" in err

    def test_nothing_is_drawn_where_no_one_looks(self, tmp_path: Path) -> None:
        done = run(PEFT, "--to", "fft", "--base", BASE, "-o", tmp_path / "a.fft")

        assert done.returncode == 0
        assert not done.stderr

    def test_names_cannot_forge_output(self, tmp_path: Path, capsys: Captured) -> None:
        hostile = "\x1b[2J\nfourier-convert: done\u202e"
        file = save(adapter({"enc.q": W}), tmp_path, f"{hostile}.fft")
        proto = model(LINEAR, {"val_1": W.T})
        proto.graph.initializer[0].name = proto.graph.node[0].input[1] = f"{hostile}.weight"
        base = save_model(proto, tmp_path / "base.onnx")
        path = tmp_path / "map.json"
        path.write_text(json.dumps({"targets": {hostile: {"skip": True}, hostile * 2: {}}}))

        codes = [
            convert(file, "--to", "onnx", "--base", base),
            convert(file, "--to", "onnx", "--base", base),
            convert(file, "--to", "onnx", "--base", base, "--map", path, "--force"),
            convert(file, "--to", "h5"),
            convert(file.with_name(hostile), "--to", "h5"),
            convert(file, "--to", "onnx", "--base", base.with_name(f"{hostile}.onnx")),
        ]

        assert codes == [0, 2, 2, 0, 2, 2]
        out, err = capsys.readouterr()
        assert all(line.isprintable() for line in (out + err).split("\n"))
        assert not any(line.startswith("fourier-convert: done") for line in (out + err).split("\n"))

    def test_a_name_that_is_not_utf_8_can_be_reported(self, tmp_path: Path) -> None:
        file = save(adapter({"q": W}), tmp_path, "\udcff.fft")

        plain = run(file, "--to", "h5")
        good = run(file, "--to", "peft", "--json")
        bad = run(tmp_path / "\udcff", "--to", "peft", "--json")

        assert plain.stdout.endswith(f"wrote {tmp_path}/\\udcff.fft.h5\n")
        assert json.loads(good.stdout)["ok"] is True
        assert json.loads(bad.stdout)["errors"][0]["code"] == "E-USAGE"
        assert [p.returncode for p in (plain, good, bad)] == [0, 0, 2]


class TestDebug:
    def test_an_error_is_raised_where_it_came_from(self, source: Path, base: Path) -> None:
        save_model(model(LINEAR, {"val_1": W.T + 1}, {"node_MatMul": "enc.q"}), base)

        with pytest.raises(BaseMismatchError):
            convert(source, "--to", "onnx", "--base", base, "--debug")

    def test_the_user_sees_a_traceback(self, tmp_path: Path) -> None:
        done = run(tmp_path / "no.fft", "--to", "h5", "--debug")

        assert done.returncode == 1
        assert done.stderr.startswith("Traceback (most recent call last):")
        assert "UsageError" in done.stderr

    def test_without_it_there_is_none(self, tmp_path: Path) -> None:
        done = run(tmp_path / "no.fft", "--to", "h5")

        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"fourier-convert: error: {tmp_path}/no.fft: ")


class TestStart:
    PROGRAM = """
import sys
from fourier_converters.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stopped:
    code = stopped.code
heavy = {"scipy", "jsonschema", "onnx", "onnxruntime", "h5py", "tqdm", "torch", "peft", "numpy"}
print(*sorted(heavy.intersection(sys.modules)), file=sys.stderr)
sys.exit(code)
"""

    def loaded(self, *arguments: str | Path) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", self.PROGRAM, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=True,
        )
        return set(done.stderr.split())

    def test_help_loads_nothing_that_takes_long(self) -> None:
        assert self.loaded("--help") <= {"numpy"}

    def test_a_conversion_between_containers_loads_no_onnx(
        self, source: Path, tmp_path: Path
    ) -> None:
        loaded = self.loaded(source, "--to", "peft", "-o", tmp_path / "peft")

        assert not loaded & {"onnx", "h5py", "jsonschema", "tqdm"}

    def test_merging_a_peft_checkpoint_needs_no_framework(self, tmp_path: Path) -> None:
        loaded = self.loaded(PEFT, "--to", "onnx", "--base", BASE, "-o", tmp_path / "m.onnx")

        assert loaded <= {"numpy", "scipy", "onnx"}

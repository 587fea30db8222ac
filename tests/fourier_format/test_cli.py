"""The command fourier-format: exit codes, data on stdout, talk on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Never

import numpy as np
import pytest

import fourier_format
from fourier_format import cli, validation
from fourier_format.errors import FileAccessError
from tests.fourier_format.samples import (
    UNIFORM,
    Fields,
    Tensors,
    adapter,
    changed,
    with_first_set,
    write_edited,
)

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def good(tmp_path: Path) -> str:
    fourier_format.save(adapter(), tmp_path / "good.fft")
    return str(tmp_path / "good.fft")


@pytest.fixture
def bad(tmp_path: Path) -> str:
    def edit(fields: Fields, tensors: Tensors) -> None:
        fields["targets"][0]["kind"] = "linera"
        del fields["targets"][1]["shape"]

    return str(write_edited(tmp_path / "bad.fft", edit))


@pytest.fixture
def missing(tmp_path: Path) -> str:
    return str(tmp_path / "missing.fft")


def run_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fourier_format", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def as_json(captured: Captured) -> Any:
    return json.loads(captured.readouterr().out)


class TestValidate:
    def test_a_valid_file_is_good_and_gets_one_line(self, good: str, capsys: Captured) -> None:
        assert cli.main(["validate", good]) == 0
        out, err = capsys.readouterr()
        digest = validation.validate(good).digest or ""
        assert out == f"{good}: valid (5 targets, n = 12, 20, BF16, F32, SHA-256 {digest[:12]})\n"
        assert not err

    def test_violations_are_data_one_line_each(self, bad: str, capsys: Captured) -> None:
        assert cli.main(["validate", bad]) == 1
        out, err = capsys.readouterr()
        lines = out.splitlines()
        assert len(lines) == 2
        assert all(line.startswith(f"{bad}: targets[") for line in lines)
        assert "[E-KIND-UNKNOWN, clause 3.3]" in lines[0]
        assert not err

    def test_it_goes_on_after_a_bad_file_and_a_missing_one(
        self, good: str, bad: str, missing: str, capsys: Captured
    ) -> None:
        assert cli.main(["validate", missing, bad, good]) == 2
        out, err = capsys.readouterr()
        assert f"{good}: valid" in out
        assert bad in out
        assert err.count("\n") == 1
        assert f"{missing}: cannot read the file" in err

    def test_the_exit_code_is_the_worst_and_not_the_last(self, good: str, bad: str) -> None:
        assert cli.main(["validate", bad, good]) == 1

    def test_a_wrong_recipe_is_invalid_and_an_unknown_one_is_noted(
        self, tmp_path: Path, capsys: Captured
    ) -> None:
        wrong, unknown = tmp_path / "wrong.fft", tmp_path / "unknown.fft"
        fourier_format.save(with_first_set(adapter(), sampling=changed(UNIFORM, seed=8)), wrong)
        recipe = fourier_format.Sampling(method="sobol")
        fourier_format.save(with_first_set(adapter(), sampling=recipe), unknown)
        assert cli.main(["validate", str(wrong)]) == 1
        assert "E-SAMPLING-MISMATCH" in capsys.readouterr().out
        assert cli.main(["validate", str(unknown)]) == 0
        assert f"{unknown}: note: entries/48x32: the recipe sobol" in capsys.readouterr().out

    def test_json_has_every_file_and_every_violation(
        self, good: str, bad: str, missing: str, capsys: Captured
    ) -> None:
        assert cli.main(["validate", "--json", good, bad, missing]) == 2
        found = as_json(capsys)
        assert found["ok"] is False
        assert [file["valid"] for file in found["files"]] == [True, False, None]
        assert found["files"][0]["targets"] == 5
        codes = [violation["code"] for violation in found["files"][1]["violations"]]
        assert codes == ["E-KIND-UNKNOWN", "E-FIELD-MISSING"]
        assert found["files"][2]["errors"][0]["code"] == "E-IO"


class TestInspect:
    def test_it_shows_the_adapter(self, good: str, capsys: Captured) -> None:
        assert cli.main(["inspect", good]) == 0
        out, err = capsys.readouterr()
        assert out.startswith(f"{good}: FourierFT adapter, format 1.0\n")
        assert not err

    def test_json_states_the_size_of_the_file(self, good: str, capsys: Captured) -> None:
        assert cli.main(["inspect", "--json", good]) == 0
        found = as_json(capsys)
        assert found["file"] == good
        assert found["size"]["bytes"] == Path(good).stat().st_size

    def test_an_invalid_file_is_refused_on_stderr(self, bad: str, capsys: Captured) -> None:
        assert cli.main(["inspect", bad]) == 1
        out, err = capsys.readouterr()
        assert not out
        assert len(err.splitlines()) == 2
        assert all(line.startswith("fourier-format: error: ") for line in err.splitlines())

    def test_the_picture_is_written_beside_the_text(
        self, good: str, tmp_path: Path, capsys: Captured
    ) -> None:
        picture = tmp_path / "a.png"
        assert cli.main(["inspect", good, "--plot", str(picture)]) == 0
        out, err = capsys.readouterr()
        assert "FourierFT adapter" in out
        assert err == f"fourier-format: wrote {picture}\n"
        assert picture.read_bytes().startswith(b"\x89PNG")

    def test_an_existing_picture_needs_force(self, good: str, tmp_path: Path) -> None:
        picture = tmp_path / "a.png"
        picture.write_text("mine")
        assert cli.main(["inspect", good, "--plot", str(picture)]) == 2
        assert picture.read_text() == "mine"
        assert cli.main(["inspect", good, "--plot", str(picture), "--force"]) == 0
        assert picture.read_bytes().startswith(b"\x89PNG")

    def test_not_even_force_draws_over_the_adapter(self, good: str) -> None:
        before = Path(good).read_bytes()
        assert cli.main(["inspect", good, "--plot", good, "--force"]) == 2
        assert Path(good).read_bytes() == before


class TestDiff:
    def test_the_same_bytes_are_the_same(self, good: str, capsys: Captured) -> None:
        assert cli.main(["diff", good, good]) == 0
        assert capsys.readouterr().out == "the same adapter, byte for byte\n"

    def test_the_other_container_is_the_same_stored_differently(
        self, good: str, tmp_path: Path, capsys: Captured
    ) -> None:
        other = str(tmp_path / "other.fft.h5")
        fourier_format.save(adapter(), other)
        assert cli.main(["diff", good, other]) == 0
        assert capsys.readouterr().out == "the same adapter, stored differently\n"

    def test_a_difference_is_data_and_exit_code_1(
        self, good: str, tmp_path: Path, capsys: Captured
    ) -> None:
        other = str(tmp_path / "other.fft")
        fourier_format.save(changed(adapter(), labels=("cat", "cow")), other)
        assert cli.main(["diff", good, other]) == 1
        out, err = capsys.readouterr()
        assert out == 'labels: ["cat", "dog"] -> ["cat", "cow"]\n'
        assert not err

    def test_json_lists_the_differences_with_all_their_targets(
        self, good: str, tmp_path: Path, capsys: Captured
    ) -> None:
        other = str(tmp_path / "other.fft")
        fourier_format.save(changed(adapter(), alpha=1.0), other)
        assert cli.main(["diff", good, other, "--json"]) == 1
        found = as_json(capsys)
        assert found["ok"] is found["same_bytes"] is False
        (difference,) = found["differences"]
        assert difference["where"] == "alpha"
        assert len(difference["targets"]) == 5

    def test_a_missing_file_is_trouble(self, good: str, missing: str) -> None:
        assert cli.main(["diff", good, missing]) == 2


class TestEveryCommand:
    @pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["validate"], ["diff", "one"]])
    def test_a_command_line_without_sense_is_exit_code_2(
        self, arguments: list[str], capsys: Captured
    ) -> None:
        assert cli.main(arguments) == 2

        printed = capsys.readouterr()
        assert not printed.out
        assert "E-USAGE" in printed.err

    def test_a_command_line_without_sense_is_json_where_that_was_asked_for(
        self, capsys: Captured
    ) -> None:
        assert cli.main(["frobnicate", "--json"]) == 2

        (error,) = json.loads(capsys.readouterr().out)["errors"]
        assert error["code"] == "E-USAGE"

    def test_the_version_is_the_packages(self, capsys: Captured) -> None:
        with pytest.raises(SystemExit):
            cli.main(["--version"])
        assert capsys.readouterr().out == f"fourier-format {fourier_format.__version__}\n"

    def test_ctrl_c_is_exit_code_130(
        self, good: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
    ) -> None:
        def interrupt(path: str) -> Never:
            raise KeyboardInterrupt

        monkeypatch.setattr(validation, "validate", interrupt)
        assert cli.main(["validate", good]) == 130
        assert "interrupted" in capsys.readouterr().err

    @pytest.mark.parametrize("command", ["validate", "inspect"])
    def test_debug_shows_where_an_error_came_from(self, command: str, missing: str) -> None:
        with pytest.raises(FileAccessError):
            cli.main([command, missing, "--debug"])

    @pytest.mark.parametrize("command", ["validate", "inspect"])
    def test_an_error_is_one_line_and_never_a_traceback(self, command: str, missing: str) -> None:
        done = run_process(command, missing)
        assert done.returncode == 2
        assert not done.stdout
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"fourier-format: error: {missing}: ")

    def test_a_file_cannot_forge_output(self, tmp_path: Path, capsys: Captured) -> None:
        hostile = "\x1b[2J\nadapter.fft: valid\u202e"
        path = tmp_path / f"{hostile}.fft"
        whole = changed(
            adapter(),
            labels=(hostile,),
            base_model={"name": hostile},
            metadata={hostile: hostile},
            replacements={"head\u202e\u2028": np.ones(2)},
        )
        fourier_format.save(whole, path)
        plain = tmp_path / "plain.fft"
        fourier_format.save(adapter(), plain)
        (tmp_path / f"{hostile}.bad").write_bytes(b"nothing")
        cli.main(["validate", str(path), str(tmp_path / f"{hostile}.bad")])
        cli.main(["inspect", str(path)])
        cli.main(["diff", str(plain), str(path)])
        cli.main(["inspect", f"{path}.missing"])
        out, err = capsys.readouterr()
        assert all(line.isprintable() for line in (out + err).split("\n"))
        assert not any(line.startswith("adapter.fft: valid") for line in out.split("\n"))

    def test_a_name_that_is_not_utf_8_can_be_reported_as_json(
        self, tmp_path: Path, capsys: Captured
    ) -> None:
        path = f"{tmp_path}/\udcff.fft"
        fourier_format.save(adapter(), path)
        assert cli.main(["validate", "--json", path]) == 0
        assert as_json(capsys)["files"][0]["file"] == f"{tmp_path}/\\xff.fft"


class TestStart:
    @pytest.mark.parametrize(
        "arguments", [["--help"], ["validate", "--help"], ["inspect", "--help"], ["--version"]]
    )
    def test_help_loads_nothing_that_takes_long(self, arguments: list[str]) -> None:
        program = """
import sys
from fourier_format.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stopped:
    heavy = {"scipy", "jsonschema", "h5py", "onnx", "matplotlib", "tqdm"}
    loaded = heavy.intersection(sys.modules)
    sys.exit(f"loaded {loaded}" if loaded else stopped.code)
"""
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
        )
        assert not done.stderr
        assert done.returncode == 0

    def test_the_help_has_examples(self) -> None:
        done = run_process("--help")
        assert done.returncode == 0
        assert "fourier-format validate adapter.fft" in done.stdout

    def test_the_module_runs_as_the_command_does(self, good: str) -> None:
        done = run_process("validate", good)
        assert done.returncode == 0
        assert done.stdout.startswith(f"{good}: valid")

"""The command fourier-convert: command lines without sense, and where results go."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import fourier_format
from fourier_converters.cli import EXTERNAL_DATA, QUANTIZED, TARGETS
from fourier_converters.onnx.applying import QuantizedMode
from fourier_converters.onnx.convert import ExternalData
from tests.fourier_converters.adapters import adapter, save
from tests.fourier_converters.checkpoints import DIGITS, spectrum, write_base, write_peft
from tests.fourier_converters.command import (
    Captured,
    as_json,
    converted,
    refused,
)
from tests.fourier_converters.graphs import LINEAR, model, save_external, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.keras.setting import write_weights

W = weight()
FOR_ONE_RESULT = {
    ("onnx",): ("--quantized live", "--external-data copy", "--explain map.json"),
    ("onnx", "keras"): ("--dry-run",),
    ("lora",): ("--rank 4", "--rank 0", "--min-energy 0.5", "--min-energy 0"),
}
PEFT, BASE = DIGITS / "peft_adapter", DIGITS / "base.onnx"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save(adapter({"enc.q": W}), tmp_path)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    proto = model(LINEAR, {"val_1": W.T}, {"node_MatMul": "enc.q"})
    return save_model(proto, tmp_path / "base.onnx")


class TestNames:
    @pytest.mark.parametrize(
        ("to", "name"),
        [("h5", "a.fft.h5"), ("peft", "a.peft"), ("onnx", "a.base.onnx")],
    )
    def test_the_default_output_lies_beside_the_source(
        self, to: str, name: str, source: Path, base: Path
    ) -> None:
        more: list[str | Path] = ["--base", base] if to == "onnx" else []

        converted(source, "--to", to, *more)

        assert source.with_name(name).exists()

    @pytest.mark.parametrize(
        ("arguments", "name"),
        [
            (["a.fft", "b.fft", "--to", "fft"], "a+b.fft"),
            (["a.fft", "b.fft.h5", "--to", "peft"], "a+b.peft"),
            (["a.fft", "--scales", "2", "--to", "h5"], "a.fft.h5"),
            (["a.fft", "b.fft", "--to", "onnx", "--base", "base.onnx"], "a+b.base.onnx"),
            (["a.fft", "--to", "safetensors", "--base", "checkpoint"], "a.merged"),
        ],
    )
    @pytest.mark.usefixtures("source", "base")
    def test_of_several_sources_and_of_a_checkpoint(
        self,
        arguments: list[str],
        name: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        save(adapter({"enc.q": W}), tmp_path, "b.fft")
        save(adapter({"enc.q": W}), tmp_path, "b.fft.h5")
        write_base(tmp_path / "checkpoint", {"enc.q.weight": W})

        converted(*arguments)

        assert (tmp_path / name).exists()

    def test_beside_the_base_whose_data_it_refers_to(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        proto = model(LINEAR, {"val_1": W.T}, {"node_MatMul": "enc.q"})
        base = save_external(proto, tmp_path / "there" / "base.onnx")

        converted(source, "--to", "onnx", "--base", base, "--external-data", "reference")

        assert base.with_name("a.base.onnx").exists()

    @pytest.mark.parametrize(
        ("written", "there"),
        [
            ("checkpoint", "checkpoint.fft"),
            ("checkpoint/", "checkpoint.fft"),
            ("checkpoint/.", "checkpoint.fft"),
            ("checkpoint/sub/..", "checkpoint.fft"),
            (".", "here.fft"),
        ],
    )
    def test_of_a_directory_too_however_it_is_written(
        self, written: str, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "here"
        base = write_base(tmp_path / "base", {"query.weight": np.zeros((6, 4), np.float32)})
        write_peft(folder, spectrum("query"))
        write_peft(folder / "checkpoint", spectrum("query"))
        (folder / "checkpoint" / "sub").mkdir()
        monkeypatch.chdir(folder)

        converted(written, "--to", "fft", "--base", base)

        place = tmp_path if written == "." else folder
        assert (place / there).is_file()

    def test_the_container_is_what_was_asked_for_whatever_the_name(
        self, source: Path, tmp_path: Path
    ) -> None:
        converted(source, "--to", "h5", "-o", tmp_path / "x.fft")

        assert (tmp_path / "x.fft").read_bytes().startswith(b"\x89HDF")
        assert fourier_format.load(tmp_path / "x.fft").alpha == 10.0

    @pytest.mark.parametrize("to", ["fft", "peft"])
    def test_the_source_is_not_its_own_output(
        self, to: str, source: Path, tmp_path: Path, capsys: Captured
    ) -> None:
        peft = write_peft(tmp_path / "peft", spectrum("query"))
        base = write_base(tmp_path / "base", {"query.weight": np.zeros((6, 4), np.float32)})
        arguments = [source] if to == "fft" else [peft, "--base", base, "-o", peft]

        (line,) = refused(capsys, *arguments, "--to", to, "--force", exit_code=2)

        assert "the output is an input of this conversion, which is only read" in line

    def test_a_directory_that_is_not_there_is_not_made(
        self, source: Path, tmp_path: Path, capsys: Captured
    ) -> None:
        arguments = (source, "--to", "h5", "-o", tmp_path / "no" / "a.h5")

        (line,) = refused(capsys, *arguments, exit_code=2)

        assert "the directory of the output does not exist; create it" in line


class TestUsage:
    def test_the_choices_are_those_that_the_converter_knows(self) -> None:
        assert (get_args(QuantizedMode), get_args(ExternalData)) == (QUANTIZED, EXTERNAL_DATA)

    def test_merging_needs_a_base(self, source: Path, capsys: Captured) -> None:
        wrong: list[list[str | Path]] = [[], ["--base", source]]
        for more in wrong:
            (line,) = refused(capsys, source, "--to", "onnx", *more, exit_code=2)
            assert "--to onnx needs the ONNX base" in line
            assert line.endswith("[E-USAGE]")

    @pytest.mark.parametrize("to", ["fft", "h5", "peft"])
    def test_a_peft_checkpoint_needs_a_base(self, to: str, capsys: Captured) -> None:
        (line,) = refused(capsys, PEFT, "--to", to, exit_code=2)

        assert "a PEFT checkpoint holds neither shapes nor entries" in line
        assert "add --base model.safetensors, its directory or model.onnx" in line

    @pytest.mark.parametrize("to", ["fft", "onnx"])
    def test_a_base_that_is_not_there(self, to: str, tmp_path: Path, capsys: Captured) -> None:
        arguments = (PEFT, "--to", to, "--base", tmp_path / "no.onnx")

        (line,) = refused(capsys, *arguments, exit_code=2)

        assert f"no such file or directory: {tmp_path}/no.onnx" in line

    def test_a_source_that_is_not_there(self, tmp_path: Path, capsys: Captured) -> None:
        (line,) = refused(capsys, tmp_path / "no.fft", "--to", "h5", exit_code=2)

        assert "no.fft: no such file or directory" in line

    @pytest.mark.parametrize(
        ("more", "problem"),
        [
            (["--adapter", "formal"], "only a PEFT directory has named adapters"),
            (["--base", str(BASE)], "--base: --to h5 of a .fft has no use for it"),
            (["--verify", "full"], "--verify: --to h5 of a .fft has no use for it"),
        ],
    )
    def test_an_option_that_means_nothing_here(
        self, more: list[str], problem: str, source: Path, capsys: Captured
    ) -> None:
        (line,) = refused(capsys, source, "--to", "h5", *more, exit_code=2)

        assert problem in line

    @pytest.mark.parametrize("wrong", [[], ["--base", str(BASE)], ["--base", "no"]])
    def test_a_merged_checkpoint_needs_a_checkpoint(
        self, wrong: list[str], source: Path, capsys: Captured
    ) -> None:
        (line,) = refused(capsys, source, "--to", "safetensors", *wrong, exit_code=2)

        assert line.startswith("--base: ")
        assert line.endswith("[E-USAGE]")

    @pytest.mark.parametrize(
        ("asked", "to", "option"),
        [
            (asked, " and ".join(to), option)
            for to, options in FOR_ONE_RESULT.items()
            for option in options
            for asked in TARGETS
            if asked not in to
        ],
    )
    def test_an_option_for_another_result(
        self,
        asked: str,
        to: str,
        option: str,
        source: Path,
        base: Path,
        tmp_path: Path,
        capsys: Captured,
    ) -> None:
        checkpoint = write_base(tmp_path / "checkpoint", {"enc.q.weight": W})
        keras = write_weights(tmp_path / "m.weights.h5")
        bases = {"onnx": base, "onnx-adapter": base, "keras": keras}
        bases["safetensors"] = checkpoint.parent
        more: list[str | Path] = ["--base", bases[asked]] if asked in bases else []
        more += ["--rank", "4"] if asked == "lora" else []

        (line,) = refused(capsys, source, "--to", asked, *more, *option.split(), exit_code=2)

        assert line.startswith(f"{option.split(maxsplit=1)[0]}: it is for --to {to} only")

    @pytest.mark.parametrize("wrong", [[], ["--base", str(BASE)], ["--base", "m.npz"]])
    def test_a_merged_keras_file_needs_a_keras_file(
        self, wrong: list[str], source: Path, capsys: Captured
    ) -> None:
        (line,) = refused(capsys, source, "--to", "keras", *wrong, exit_code=2)

        assert "--to keras needs the Keras base" in line
        assert "add --base model.keras or model.weights.h5" in line

    def test_a_peft_checkpoint_is_made_a_file_before_it_is_merged_into_keras(
        self, tmp_path: Path, capsys: Captured
    ) -> None:
        keras = write_weights(tmp_path / "m.weights.h5")

        (line,) = refused(capsys, PEFT, "--to", "keras", "--base", keras, exit_code=2)

        assert "make a .fft from it and its own base first" in line

    def test_a_lora_needs_a_rank(self, source: Path, capsys: Captured) -> None:
        (line,) = refused(capsys, source, "--to", "lora", exit_code=2)

        assert "--rank: a LoRA approximates, and nothing says how closely" in line

    @pytest.mark.parametrize(
        ("scales", "said"),
        [
            ("1", "--scales: 1 scales for 2 sources; give one number for each source"),
            ("1,2,3", "--scales: 3 scales for 2 sources"),
            ("a,b", "--scales: got 'a,b', expected finite numbers: 0.7,0.3"),
            ("1,", "--scales: got '1,', expected finite numbers: 0.7,0.3"),
            ("1,nan", "--scales: got '1,nan', expected finite numbers: 0.7,0.3"),
            ("inf,1", "--scales: got 'inf,1', expected finite numbers: 0.7,0.3"),
        ],
    )
    def test_scales_are_numbers_one_for_each_source(
        self, scales: str, said: str, source: Path, tmp_path: Path, capsys: Captured
    ) -> None:
        arguments = (source, source, "--to", "fft", "-o", tmp_path / "sum.fft")

        (line,) = refused(capsys, *arguments, "--scales", scales, exit_code=2)

        assert said in line
        assert line.endswith("[E-USAGE]")

    def test_one_of_several_sources_that_is_not_there(
        self, source: Path, tmp_path: Path, capsys: Captured
    ) -> None:
        (line,) = refused(capsys, source, tmp_path / "no.fft", "--to", "fft", exit_code=2)

        assert "no.fft: no such file or directory" in line

    @pytest.mark.parametrize(
        "arguments",
        [[], ["a.fft"], ["a.fft", "--to", "pt"], ["a.fft", "--to", "h5", "--verify", "some"]],
    )
    def test_a_command_line_without_sense_is_exit_code_2(
        self, arguments: list[str], capsys: Captured
    ) -> None:
        (line,) = refused(capsys, *arguments, exit_code=2)

        assert "fourier-convert --help shows what can be said" in line
        assert line.endswith("[E-USAGE]")

    def test_a_command_line_without_sense_is_json_where_that_was_asked_for(
        self, capsys: Captured
    ) -> None:
        code, found = as_json(capsys, "a.fft", "--to", "pt")

        assert code == 2
        assert found["errors"][0]["code"] == "E-USAGE"

    def test_a_peft_checkpoint_cannot_verify_a_base(self, capsys: Captured) -> None:
        arguments = (PEFT, "--to", "onnx", "--base", BASE, "--verify", "full")

        (line,) = refused(capsys, *arguments, exit_code=2)

        assert "make a .fft from it and its own base first" in line

    @pytest.mark.parametrize("content", [b"", b"nothing", bytes(1000), b"\x89HDF\r\n\x1a\n"])
    def test_a_source_that_is_no_adapter_is_refused(
        self, content: bytes, tmp_path: Path, base: Path, capsys: Captured
    ) -> None:
        (tmp_path / "x.fft").write_bytes(content)

        for to in ("h5", "peft", "onnx"):
            more: list[str | Path] = ["--base", base] if to == "onnx" else []
            (line,) = refused(capsys, tmp_path / "x.fft", "--to", to, *more)
            assert "x.fft" in line

    @pytest.mark.parametrize("content", [b"", b"nothing", bytes(1000)])
    def test_a_base_that_is_no_model_is_refused(
        self, content: bytes, source: Path, base: Path, capsys: Captured
    ) -> None:
        base.write_bytes(content)

        (line,) = refused(capsys, source, "--to", "onnx", "--base", base)

        assert "base.onnx: not an ONNX model" in line
        assert line.endswith("[E-BASE-UNSUPPORTED]")

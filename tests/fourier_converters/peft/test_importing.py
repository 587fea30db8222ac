"""PEFT checkpoints that cannot be read as FourierFT: each refused with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fourier_converters.checkpoints import (
    PREFIX,
    config,
    spectrum,
    write_base,
    write_peft,
)
from tests.fourier_converters.command import Captured, as_json, convert, refused


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "base", {"query.weight": np.zeros((6, 4), np.float32)})


@pytest.fixture
def reasons(tmp_path: Path, base: Path, capsys: Captured) -> Callable[..., list[str]]:
    """Returns a function that converts the checkpoint "peft" and returns why it was refused."""

    def refuse(exit_code: int = 1) -> list[str]:
        arguments = (tmp_path / "peft", "--to", "fft", "--base", base)
        lines = refused(capsys, *arguments, exit_code=exit_code)
        assert not list(tmp_path.glob("*.fft"))
        return lines

    return refuse


Reasons = Callable[..., list[str]]


@pytest.mark.parametrize("peft_type", ["LORA", None, 3])
def test_another_kind_of_adapter_is_refused(
    peft_type: object, tmp_path: Path, reasons: Reasons
) -> None:
    write_peft(tmp_path / "peft", spectrum("query"), config(peft_type=peft_type))

    (line,) = reasons()

    assert "neither a FourierFT nor a WaveFT adapter" in line
    assert f"got {peft_type!r}, expected 'FOURIERFT' or 'WAVEFT'" in line
    assert line.endswith("[E-PEFT-CONFIG]")


def test_a_pickle_is_never_opened(tmp_path: Path, reasons: Reasons) -> None:
    folder = write_peft(tmp_path / "peft", spectrum("query"))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")

    (line,) = reasons()

    assert "adapter_model.bin is a pickle" in line
    assert "save it again with save_pretrained" in line


def test_a_directory_without_a_config_is_refused(tmp_path: Path, reasons: Reasons) -> None:
    folder = write_peft(tmp_path / "peft", spectrum("query"))
    (folder / "adapter_config.json").unlink()

    (line,) = reasons()

    assert "has no adapter_config.json" in line


def test_a_directory_without_tensors_is_refused(tmp_path: Path, reasons: Reasons) -> None:
    folder = write_peft(tmp_path / "peft", spectrum("query"))
    (folder / "adapter_model.safetensors").unlink()

    (line,) = reasons(exit_code=2)

    assert "adapter_model.safetensors" in line
    assert line.endswith("[E-IO]")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"peft_type": "FOURIERFT", "scaling": NaN}', "E-JSON-NUMBER"),
        ('{"peft_type": "FOURIERFT", "scaling": 1e999}', "E-JSON-NUMBER"),
        ('{"peft_type": "LORA", "peft_type": "FOURIERFT"}', "E-JSON-DUPLICATE-KEY"),
        ('{"peft_type": "FOURIERFT"', "E-JSON-SYNTAX"),
        ("[" * 100 + "]" * 100, "E-JSON-DEPTH"),
        ("[]", "E-PEFT-CONFIG"),
        ("", "E-JSON-SYNTAX"),
    ],
)
def test_a_config_that_is_not_one_json_object_is_refused(
    text: str, code: str, tmp_path: Path, base: Path, capsys: Captured
) -> None:
    source = write_peft(tmp_path / "peft", spectrum("query"), text)

    exit_code, found = as_json(capsys, source, "--to", "fft", "--base", base)

    assert exit_code == 1
    assert [error["code"] for error in found["errors"]] == [code]
    assert "adapter_config.json" in found["errors"][0]["where"]


def test_a_config_that_is_not_utf_8_is_refused(tmp_path: Path, reasons: Reasons) -> None:
    folder = write_peft(tmp_path / "peft", spectrum("query"))
    text = json.dumps(config(base_model_name_or_path="größe"), ensure_ascii=False)
    (folder / "adapter_config.json").write_bytes(text.encode("latin-1"))

    (line,) = reasons()

    assert "not UTF-8" in line


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"n_frequency": 6}, "number of coefficients is not the config's n_frequency"),
        ({"n_frequency": "5"}, "number of coefficients is not the config's n_frequency"),
        ({"n_frequency_pattern": {"query": 6}}, "number of coefficients is not the config's"),
        ({"n_frequency_pattern": {"(": 6}}, "n_frequency_pattern has a bad expression"),
        ({"n_frequency_pattern": ["query"]}, "n_frequency_pattern is not an object"),
        ({"random_loc_seed": -1}, "random_loc_seed is not a seed"),
        ({"random_loc_seed": 1.5}, "random_loc_seed is not a seed"),
        ({"random_loc_seed": True}, "random_loc_seed is not a seed"),
        ({"scaling": "150"}, "scaling is not a number"),
        ({"scaling": True}, "scaling is not a number"),
    ],
)
def test_a_setting_that_contradicts_the_tensors_is_refused(
    changed: dict[str, Any], problem: str, tmp_path: Path, reasons: Reasons
) -> None:
    write_peft(tmp_path / "peft", spectrum("query"), config(**changed))

    (line,) = reasons()

    assert problem in line
    assert line.endswith("[E-PEFT-CONFIG]")


def test_more_coefficients_than_the_weight_has_values_are_refused(
    tmp_path: Path, reasons: Reasons
) -> None:
    write_peft(tmp_path / "peft", spectrum("query", 25), config(n_frequency=25))

    (line,) = reasons()

    assert "more coefficients than the base's weight query.weight" in line
    assert "got 25, expected at most 24" in line


def test_as_many_coefficients_as_the_weight_has_values_are_taken(
    tmp_path: Path, base: Path
) -> None:
    source = write_peft(tmp_path / "peft", spectrum("query", 24), config(n_frequency=24))

    assert convert(source, "--to", "fft", "--base", base) == 0


@pytest.mark.parametrize("shape", [(5, 1), (1, 5), ()])
def test_coefficients_that_are_not_a_list_are_refused(
    shape: tuple[int, ...], tmp_path: Path, reasons: Reasons
) -> None:
    tensors = {f"{PREFIX}query.fourierft_spectrum": np.ones(shape, np.float32)}
    write_peft(tmp_path / "peft", tensors)

    (line,) = reasons()

    assert "not a list of coefficients" in line


def test_coefficients_of_another_dtype_are_refused(tmp_path: Path, reasons: Reasons) -> None:
    write_peft(tmp_path / "peft", spectrum("query", dtype=np.float64))

    (line,) = reasons()

    assert "got F64 (5,), expected (n,) of F32, F16 or BF16" in line


def test_a_tensor_that_fourierft_does_not_write_is_refused(
    tmp_path: Path, reasons: Reasons
) -> None:
    write_peft(tmp_path / "peft", spectrum("query") | {"query.lora_A": np.ones(3)})

    (line,) = reasons()

    assert "a tensor that PEFT's FourierFT does not write (got 'query.lora_A')" in line


def test_two_tensors_for_one_parameter_are_refused(tmp_path: Path, reasons: Reasons) -> None:
    tensors = spectrum("query") | {
        f"{PREFIX}query.base_layer.bias": np.ones(6, np.float32),
        f"{PREFIX}query.bias": np.ones(6, np.float32),
    }
    write_peft(tmp_path / "peft", tensors)

    (line,) = reasons()

    assert "two tensors for one parameter (got 'query.bias')" in line


def test_a_checkpoint_without_coefficients_is_refused(tmp_path: Path, reasons: Reasons) -> None:
    write_peft(tmp_path / "peft", {f"{PREFIX}query.bias": np.ones(6)})

    (line,) = reasons()

    assert "no tensor ends in .fourierft_spectrum" in line


def test_every_layer_that_the_base_lacks_is_listed_at_once(
    tmp_path: Path, reasons: Reasons
) -> None:
    write_peft(tmp_path / "peft", spectrum("query") | spectrum("key") | spectrum("value"))

    lines = reasons()

    assert [line.split(":")[0] for line in lines] == ["key", "value"]
    assert all("no weight of this module is in the base" in line for line in lines)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_coefficients_that_are_not_finite_are_refused(
    bad: float, tmp_path: Path, reasons: Reasons
) -> None:
    tensors = {f"{PREFIX}query.fourierft_spectrum": np.array([1, bad, 0, 0, 0], np.float32)}
    write_peft(tmp_path / "peft", tensors)

    (line,) = reasons()

    assert "E-NUMBER-NONFINITE" in line


def test_a_base_that_is_not_finite_is_refused(tmp_path: Path, base: Path, reasons: Reasons) -> None:
    write_peft(tmp_path / "peft", spectrum("query"))
    write_base(base.parent, {"query.weight": np.full((6, 4), np.nan, np.float32)})

    (line,) = reasons()

    assert "the base's weight is not finite" in line

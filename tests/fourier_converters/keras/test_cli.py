"""fourier-convert --to keras as its user runs it."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fourier_converters.adapters import delta, save
from tests.fourier_converters.command import Captured, as_json, converted, refused
from tests.fourier_converters.keras.setting import (
    HEAD,
    UP,
    dense,
    read,
    write_archive,
    write_weights,
)
from tests.tolerances import KERAS_KERNEL_F32

PATH = "layers/block/up_dense/vars/0"
WHOLE = dense({"block/up": UP})


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_the_result_lies_beside_the_adapter_under_both_names(name: str, tmp_path: Path) -> None:
    write = write_archive if name.endswith(".keras") else write_weights
    base = write(tmp_path / name)

    converted(save(WHOLE, tmp_path), "--to", "keras", "--base", base)

    assert not np.array_equal(read(tmp_path / f"a.{name}")[PATH], UP)


def test_several_adapters_are_summed(tmp_path: Path) -> None:
    base = write_weights(tmp_path / "m.weights.h5")
    one, other = save(WHOLE, tmp_path, "one.fft"), save(dense({"logits": HEAD}), tmp_path, "b.fft")
    output = tmp_path / "both.weights.h5"

    converted(one, other, "--scales", "0.5,2", "--to", "keras", "--base", base, "-o", output)

    merged = read(output)
    for path, before, expected in (
        (PATH, UP, 0.5 * delta(WHOLE, "block/up").T),
        ("layers/dense/vars/0", HEAD, 2 * delta(dense({"logits": HEAD}), "logits").T),
    ):
        wide = before + expected
        assert np.abs(merged[path] - wide).max() <= KERAS_KERNEL_F32 * np.abs(wide).max()


def test_the_report_says_where_each_was_found(tmp_path: Path, capsys: Captured) -> None:
    base = write_weights(tmp_path / "m.weights.h5")

    code, report = as_json(capsys, save(WHOLE, tmp_path), "--to", "keras", "--base", base)

    assert code == 0
    (row,) = report["rows"]
    assert row["found"] == f"{PATH} (block/up)"
    assert row["evidence"] == "name + fingerprint"
    assert row["shape"] == "8x6"


def test_a_map_names_a_variable_by_its_path(tmp_path: Path) -> None:
    base = write_weights(tmp_path / "m.weights.h5")
    (tmp_path / "map.json").write_text(f'{{"targets": {{"u": {{"weight": "{PATH}"}}}}}}')
    source = save(dense({"u": UP}, prints=False), tmp_path)

    converted(source, "--to", "keras", "--base", base, "--map", tmp_path / "map.json")

    assert not np.array_equal(read(tmp_path / "a.m.weights.h5")[PATH], UP)


def test_a_map_that_names_nothing_is_an_error(tmp_path: Path, capsys: Captured) -> None:
    base = write_weights(tmp_path / "m.weights.h5")
    (tmp_path / "map.json").write_text('{"targets": {"block/up": {"weight": "layers/no"}}}')
    arguments = ("--to", "keras", "--base", base, "--map", tmp_path / "map.json")

    (line,) = refused(capsys, save(WHOLE, tmp_path), *arguments)

    assert "the map names 'layers/no', which is not in the base" in line


def test_h5py_is_asked_for_where_it_is_missing(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, source = write_weights(tmp_path / "m.weights.h5"), save(WHOLE, tmp_path)
    monkeypatch.delitem(sys.modules, "h5py")
    real = builtins.__import__

    def missing(name: str, *rest: object) -> object:
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", missing)
    (line,) = refused(capsys, source, "--to", "keras", "--base", base, exit_code=2)

    assert "pip install 'fourier-format[h5]'" in line

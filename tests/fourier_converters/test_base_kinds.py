"""What kind of base a path names."""

from __future__ import annotations

from pathlib import Path

import pytest

from fourier_converters.base_kinds import is_keras_base, is_onnx_base


@pytest.mark.parametrize(
    ("name", "onnx", "keras"),
    [
        ("model.onnx", True, False),
        ("model.keras", False, True),
        ("model.weights.h5", False, True),
        ("old.hdf5", False, True),
        ("model.weights.json", False, True),
        ("model.safetensors", False, False),
        ("checkpoint", False, False),
    ],
)
def test_files_are_known_by_their_names(name: str, onnx: bool, keras: bool, tmp_path: Path) -> None:
    path = tmp_path / name

    assert (is_onnx_base(path), is_keras_base(path)) == (onnx, keras)


def test_a_directory_of_onnxruntime_genai_is_an_onnx_base(tmp_path: Path) -> None:
    (tmp_path / "genai_config.json").write_text("{}")

    assert is_onnx_base(tmp_path)

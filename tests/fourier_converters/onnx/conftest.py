"""Fixtures: bases and adapters in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fourier_converters.adapters import save
from tests.fourier_converters.command import Captured
from tests.fourier_converters.graphs import save_external
from tests.fourier_converters.onnx.layers import Graph
from tests.fourier_converters.onnx.mixed import WHOLE, proto
from tests.fourier_converters.onnx.setting import Setting


@pytest.fixture
def setting(tmp_path: Path, capsys: Captured) -> Setting:
    return Setting(tmp_path, capsys)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base with its weights in one external file, alone in its folder."""
    (tmp_path / "base").mkdir()
    return save_external(proto(), tmp_path / "base" / "base.onnx")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save(WHOLE, tmp_path)


@pytest.fixture
def graph(tmp_path: Path, capsys: Captured) -> Graph:
    return Graph(tmp_path, capsys)

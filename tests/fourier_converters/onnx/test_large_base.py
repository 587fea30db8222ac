"""The shapes of a large language model in small: right results, and memory that does not grow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import numpy_helper

import fourier_format
from fourier_converters.onnx.external import is_external
from fourier_format.adapter import Array
from tests.fourier_converters.command import converted
from tests.fourier_converters.graphs import digests, run

_ROOT = Path(__file__).parents[3]
_LAYERS, _WIDTH, _VOCABULARY = 3, 256, 500
_WAYS = ("copy", "reference")
_CASES = [(way, shards) for way in _WAYS for shards in (1, 3)]
_MIB = 2**20


def make(folder: Path, **sizes: int) -> Path:
    """Write a base and an adapter as the benchmark does; returns the folder."""
    options = [text for name, size in sizes.items() for text in (f"--{name}", str(size))]
    _end(_start("benchmarks/llama_base.py", "make", folder, *options))
    return folder


@pytest.mark.parametrize(("way", "shards"), _CASES)
def test_a_large_base_is_merged_in_one_file_or_sharded(
    way: str, shards: int, tmp_path: Path
) -> None:
    sizes = {"layers": _LAYERS, "width": _WIDTH, "vocabulary": _VOCABULARY, "n": 100}
    make(tmp_path, shards=shards, **sizes)
    base, output = tmp_path / "base" / "model.onnx", tmp_path / "merged.onnx"
    before = digests(tmp_path / "base")
    assert len(before) == 1 + shards

    converted(*_arguments(tmp_path, output, way))

    assert digests(tmp_path / "base") == before
    onnx.checker.check_model(output, full_check=True)
    names = {name for name in onnx_ir.load(output).graph.initializers if name is not None}
    weights = _weights(output)
    assert names == set(weights)
    expected = _weights(base)
    adapter = fourier_format.load(tmp_path / "adapter.fft")
    assert len(adapter.targets) == 2 * _LAYERS
    for target in adapter.targets:
        name = _weight_of(base, target.name)
        delta = fourier_format.delta_weight(adapter, target, np.float64)
        exact = expected[name].astype(np.float64) + delta.T
        expected[name] = exact.astype(np.float16)
        assert (weights[name] != expected[name]).sum() <= 2  # ties of two ways of summing
    for name, values in expected.items():
        assert values.dtype == weights[name].dtype == np.float16
        assert np.allclose(weights[name], values, rtol=2e-3, atol=1e-7)
    ids = np.array([1, 5, 80, 33])
    (logits,) = run(output, ids=ids)
    wanted, unadapted = _outputs(expected, ids), _outputs(_weights(base), ids)
    effect = np.abs(wanted - unadapted).max()
    assert np.abs(logits - wanted).max() < 0.2 * effect  # float16 rounds the scores


@pytest.mark.slow
@pytest.mark.parametrize("way", _WAYS)
def test_memory_follows_the_largest_target_and_not_the_base(way: str, tmp_path: Path) -> None:
    """The weights of 1024 x 1024 take 2 MiB; 8 more layers are 200 MiB, mapped pages counted."""
    peaks = []
    for layers in (4, 12):
        folder = make(tmp_path / str(layers), layers=layers, width=1024, vocabulary=200, n=100)
        size = (folder / "base" / "model.onnx.data").stat().st_size
        assert size > layers * 23 * _MIB
        process = _start(
            "-m", "fourier_converters.cli", *_arguments(folder, folder / "merged.onnx", way)
        )
        peaks.append(_end(process))

    assert peaks[1] - peaks[0] < 24 * _MIB


def _arguments(folder: Path, output: Path, way: str) -> list[str | Path]:
    base = folder / "base" / "model.onnx"
    arguments: list[str | Path] = [folder / "adapter.fft", "--to", "onnx", "--base", base]
    return [*arguments, "-o", output, "--external-data", way]


def _start(*command: str | Path) -> subprocess.Popen[bytes]:
    paths = [str(_ROOT), str(_ROOT / "converters"), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )


def _end(process: subprocess.Popen[bytes]) -> int:
    """Wait for the process, which must go well; returns its peak resident memory in bytes."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


def _weights(model: Path) -> dict[str, Array]:
    proto = onnx.load(model, load_external_data=False)
    assert all(is_external(tensor) for tensor in proto.graph.initializer)
    return {
        tensor.name: numpy_helper.to_array(tensor, str(model.parent))
        for tensor in proto.graph.initializer
    }


def _weight_of(model: Path, module: str) -> str:
    """Returns the anonymous name of the weight that the module's node reads."""
    path = f"/{module.replace('.layers.', '/layers.').replace('.self_attn.', '/self_attn/')}/MatMul"
    nodes: Any = onnx.load(model, load_external_data=False).graph.node
    (found,) = [node for node in nodes if node.name == path]
    return str(found.input[1])


def _outputs(weights: dict[str, Array], ids: Array) -> Array:
    """Returns the scores that the layers of `llama_base.py` give, in float64."""
    wide = {name: values.astype(np.float64) for name, values in weights.items()}
    h: Array = wide["model.embed_tokens.weight"][ids]
    for layer in range(_LAYERS):
        q, k, v, o, gate, up, down = (
            wide[f"onnx::MatMul_{1000 + 10 * layer + number}"] for number in range(7)
        )
        h = h + (np.tanh(h @ q + h @ k) * (h @ v)) @ o
        h = h + (np.tanh(h @ gate) * (h @ up)) @ down
    scores: Array = h @ wide["onnx::MatMul_1"]
    return scores

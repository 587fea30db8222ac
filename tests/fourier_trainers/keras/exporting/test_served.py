"""Train in Keras, capture, export the base, fourier-convert, ONNX Runtime: what Keras computes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fourier_format.adapter import Array
from tests.fourier_trainers.keras.exporting.exports import BACKENDS, Backend, TrainedOf
from tests.real.checks import effects, figures, run_onnx, worst
from tests.tolerances import KERAS_EXPORT_F32, KERAS_SERVED_EFFECT_F32

pytestmark = pytest.mark.real


def _arrays(path: Path) -> dict[str, Array]:
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", ["text", "image", "subclassed", "bert"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_keras_trained_computes_the_same_in_onnx_runtime(
    backend: Backend, name: str, trained_of: TrainedOf, tmp_path: Path
) -> None:
    folder, merged = trained_of(backend, name), tmp_path / "merged.onnx"
    command = ["--to", "onnx", "--base", str(folder / "base.onnx"), "-o", str(merged)]

    subprocess.run(
        [sys.executable, "-m", "fourier_converters", str(folder / "adapter.fft"), *command],
        check=True,
        capture_output=True,
    )

    inputs = _arrays(folder / "inputs.npz")
    base, adapted = (list(_arrays(folder / f"{k}.npz").values()) for k in ("base", "adapted"))
    before, after = run_onnx(folder / "base.onnx", inputs), run_onnx(merged, inputs)
    exported, output = worst(base, before), worst(adapted, after)
    effect = worst(effects(adapted, base), effects(after, before))
    figures.info("base %.1e, output %.1e, effect %.1e", exported, output, effect)
    assert exported <= KERAS_EXPORT_F32
    assert output <= KERAS_EXPORT_F32
    assert effect <= KERAS_SERVED_EFFECT_F32

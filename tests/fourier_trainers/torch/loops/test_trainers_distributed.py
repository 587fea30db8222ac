from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import fourier_format
from fourier_trainers.torch import attach
from tests.fourier_trainers.torch.loops import contents, sentences, small, torchrun, trainer_ranks
from tests.fourier_trainers.torch.loops.test_huggingface import CONFIG

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ranks")
    torchrun.run("trainer_ranks.py", made)
    return made


def test_the_trainer_writes_with_two_processes_what_it_does_with_one(
    folder: Path, tmp_path: Path
) -> None:
    trainer_ranks.train(tmp_path, 8)

    expected = fourier_format.load(tmp_path / "adapter.fft")
    found = fourier_format.load(folder / "straight/adapter.fft")
    for target in expected.targets:
        difference = found.coefficients(target) - expected.coefficients(target)
        assert np.abs(difference).max() < TOLERANCE, target.name
        assert np.abs(expected.coefficients(target)).max() > 1000 * TOLERANCE
    for key, value in expected.replacements.items():
        assert np.abs(found.replacements[key] - value).max() < TOLERANCE, key


def test_a_resumed_trainer_goes_on_to_the_bit_with_two_processes(folder: Path) -> None:
    straight = (folder / "straight/adapter.fft").read_bytes()

    assert (folder / "resumed/adapter.fft").read_bytes() == straight


def test_no_checkpoint_of_two_processes_holds_the_base(folder: Path) -> None:
    bert = contents.base_tensors(attach(sentences.bert(), CONFIG))

    assert contents.holding_base(folder, bert) == []
    assert contents.holding_base(folder, contents.base_tensors(small.attached())) == []


def test_accelerate_trains_and_restores_with_two_processes_what_it_does_with_one(
    folder: Path, tmp_path: Path
) -> None:
    found = torch.load(folder / "accelerate.pt")

    expected = trainer_ranks.accelerated(tmp_path, 8)

    for when, state in expected.items():
        assert found[when].keys() == small.TRAINED
        for key, value in state.items():
            assert (found[when][key] - value).abs().max() < TOLERANCE, key
    assert not small.same_bits(found["last"], found["loaded"])

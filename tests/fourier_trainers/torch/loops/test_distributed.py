from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fourier_format
from fourier_trainers.torch import load_adapter, trained_state
from tests.fourier_trainers.torch.loops import ranks, small, torchrun

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5
WAYS = [name for name in ranks.WAYS if name != "refusals"]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What one process makes of whole batches."""
    return ranks.alone()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes make of halves of the same batches, in a file for each way."""
    made = tmp_path_factory.mktemp("ranks")
    torchrun.run("ranks.py", made)
    return made


def results(folder: Path, way: str) -> dict[str, Any]:
    read: dict[str, Any] = torch.load(folder / f"{way}.pt", weights_only=True)
    return read


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_what_one_does(alone: dict[str, Any], folder: Path, way: str) -> None:
    state = results(folder, way)["state"]

    start = trained_state(small.attached())
    assert state.keys() == small.TRAINED
    for key, expected in alone["state"].items():
        assert (state[key] - expected).abs().max() < TOLERANCE, key
        assert (start[key] - expected).abs().max() > 1000 * TOLERANCE, key


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_capture_what_one_does(alone: dict[str, Any], folder: Path, way: str) -> None:
    found = fourier_format.from_bytes(results(folder, way)["adapter"])
    expected = fourier_format.from_bytes(alone["adapter"])

    assert found.targets == expected.targets
    for target in expected.targets:
        difference = found.coefficients(target) - expected.coefficients(target)
        assert np.abs(difference).max() < TOLERANCE, target.name
    assert found.replacements.keys() == expected.replacements.keys()
    for key, value in expected.replacements.items():
        assert np.abs(found.replacements[key] - value).max() < TOLERANCE, key
    prints = [adapter.entry_sets[0].fingerprints for adapter in (found, expected)]
    assert prints[0] is not None
    assert prints[1] is not None
    assert (prints[0].samples == prints[1].samples).all()


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_compute_what_one_does(alone: dict[str, Any], folder: Path, way: str) -> None:
    assert (results(folder, way)["outputs"] - alone["outputs"]).abs().max() < TOLERANCE


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_going_on_from_a_checkpoint_is_the_same_to_the_bit(folder: Path, way: str) -> None:
    straight, interrupted = results(folder, way), results(folder, f"{way}-interrupted")

    assert small.same_bits(straight["state"], interrupted["state"])
    assert straight["adapter"] == interrupted["adapter"]


def test_a_sharded_model_keeps_no_sums_of_whole_weights(folder: Path) -> None:
    assert results(folder, "fsdp-used")["held"] == 0


def test_the_adapter_of_a_sharded_model_goes_onto_one_that_is_not(
    alone: dict[str, Any], folder: Path
) -> None:
    (folder / "adapter.fft").write_bytes(results(folder, "fsdp")["adapter"])
    torch.manual_seed(0)

    model = load_adapter(small.Classifier(), folder / "adapter.fft").eval()

    with torch.no_grad():
        outputs = model(small.rows()[0])
    assert (outputs - alone["outputs"]).abs().max() < TOLERANCE


def test_what_cannot_be_done_to_a_sharded_model_is_refused(folder: Path) -> None:
    said = results(folder, "refusals")

    assert "attach before fully_shard(model)" in said["attach"]
    assert "make the adapter active before fully_shard(model)" in said["set_active"]
    assert said["active"] == ("second",)

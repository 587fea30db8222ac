"""A trial goes on from what the same code, device and versions have left, from nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.resuming import Clock, begin, changes, lock, steps_done
from experiments.trial import Json

ENVIRONMENT: Json = {
    "day": "2026-01-01",
    "python": "3.11.7",
    "machine": "x86_64",
    "cores": 2,
    "threads": 1,
    "device": "cpu",
    "versions": {"torch": "2.5.0", "numpy": "2.1.0"},
    "code": "0a1b2c3d",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns that of a trial that was killed after a step."""
    lock(tmp_path).touch()
    assert begin(tmp_path, ENVIRONMENT) == []
    (tmp_path / "checkpoint.pt").write_text("one epoch")
    (tmp_path / "merged").mkdir()
    Clock(tmp_path).step()
    return tmp_path


@pytest.mark.parametrize("same", [{}, {"day": "2026-01-02"}, {"threads": 2}, {"cores": 4}])
def test_a_trial_goes_on_where_nothing_that_decides_numbers_has_changed(
    same: Json, folder: Path
) -> None:
    assert begin(folder, ENVIRONMENT | same) == []

    assert (folder / "checkpoint.pt").read_text() == "one epoch"
    assert steps_done(folder, ENVIRONMENT | same) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "4e5f6071"}, "code 0a1b2c3d -> 4e5f6071"),
        ({"device": "NVIDIA H100"}, "device cpu -> NVIDIA H100"),
        ({"python": "3.12.1"}, "python 3.11.7 -> 3.12.1"),
        ({"machine": "aarch64"}, "machine x86_64 -> aarch64"),
        ({"versions": {"torch": "2.6.0", "numpy": "2.1.0"}}, "torch 2.5.0 -> 2.6.0"),
        ({"versions": {"torch": "2.5.0"}}, "numpy 2.1.0 -> none"),
    ],
)
def test_a_trial_begins_anew_where_it_has(change: Json, said: str, folder: Path) -> None:
    assert steps_done(folder, ENVIRONMENT | change) == 0

    assert begin(folder, ENVIRONMENT | change) == [said]

    assert {path.name for path in folder.iterdir()} == {"lock", "begun.json"}
    assert changes(folder, ENVIRONMENT | change) == []


def test_a_checkpoint_of_unknown_code_is_not_gone_on_with(folder: Path) -> None:
    (folder / "begun.json").unlink()

    assert begin(folder, ENVIRONMENT) == ["what began it is not known"]

    assert not (folder / "checkpoint.pt").exists()


def test_a_new_folder_is_nothing_to_speak_of(tmp_path: Path) -> None:
    assert steps_done(tmp_path / "nowhere", ENVIRONMENT) == 0
    assert begin(tmp_path, ENVIRONMENT) == []


def test_the_clock_goes_on_where_it_was(folder: Path) -> None:
    kept = json.loads((folder / "clock.json").read_text())
    (folder / "clock.json").write_text(json.dumps(kept | {"seconds": 1000.0}))

    clock = Clock(folder)

    assert clock.steps == 1
    assert 1000 <= clock.seconds() < 2000

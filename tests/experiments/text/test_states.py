"""What is computed once is named by all that decides it: rows, device and code."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import code
from experiments.states import States
from experiments.text import serving, states
from experiments.text.tasks import TASKS, Rows

ROWS = Rows(["a", "b"], None, np.zeros(2), [0, 1])


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Puts the names of what would be made into a list, and makes nothing of a model."""
    names: list[Path] = []

    def kept_rows(path: Path, *_: object) -> list[States]:
        names.append(path)
        return []

    for module in (states, serving):
        monkeypatch.setattr(module, "located", lambda name: name)
        monkeypatch.setattr(module, "identity", lambda name: name)
        monkeypatch.setattr(module, "pretrained", lambda *_: SimpleNamespace(hidden_size=4))
        monkeypatch.setattr(module, "tokens", lambda *_: [{"input_ids": np.arange(3)}] * 2)
    monkeypatch.setattr(states, "kept_rows", kept_rows)
    monkeypatch.setattr(serving, "new_model", lambda *_, **__: None)
    monkeypatch.setattr(serving, "padding", lambda _: 0)
    monkeypatch.setattr(serving, "padded", lambda *_: {})
    monkeypatch.setattr(serving, "export", lambda *given: names.append(given[-1]))
    return names


def test_states_are_those_of_one_device_and_one_code(
    made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(device: str) -> None:
        states.states("toy", TASKS["mrpc"], ROWS, 1, 16, tmp_path, device)

    for device in ("cpu", "cpu", "cuda"):
        ask(device)
    monkeypatch.setattr(code, "of", lambda *_: "other")
    ask("cpu")

    assert made[0] == made[1]
    assert len(set(made)) == 3


def test_an_exported_base_is_that_of_one_code(
    made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving._base("toy", TASKS["mrpc"], tmp_path)
    monkeypatch.setattr(code, "of", lambda *_: "other")
    serving._base("toy", TASKS["mrpc"], tmp_path)

    assert len(set(made)) == 2

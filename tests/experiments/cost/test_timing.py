from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from experiments.cost.timing import in_turn, processor


class Recorder:
    """A job that says when it is called."""

    def __init__(self, calls: list[str], name: str) -> None:
        self.calls, self.name = calls, name

    def __call__(self) -> None:
        self.calls.append(self.name)
        time.sleep(0.001)


def test_jobs_take_turns_in_every_round(tmp_path: Path) -> None:
    calls: list[str] = []
    jobs = {name: Recorder(calls, name) for name in "ab"}

    found = in_turn(jobs, 3, tmp_path / "rounds.json", lambda: None, sample=0.0)

    assert calls[4:] == ["a", "b", "b", "a", "a", "b"]  # after two calls of each, not timed
    assert {name: len(seconds) for name, seconds in found.seconds.items()} == {"a": 3, "b": 3}
    assert all(second >= 0.001 for seconds in found.seconds.values() for second in seconds)


def test_no_job_is_always_behind_the_same_one(tmp_path: Path) -> None:
    calls: list[str] = []

    in_turn(
        {name: Recorder(calls, name) for name in "abc"},
        3,
        tmp_path / "rounds.json",
        lambda: None,
        sample=0.0,
    )

    rounds = ["".join(calls[k : k + 3]) for k in range(6, 15, 3)]
    assert rounds == ["abc", "bca", "cab"]


def test_each_round_says_how_busy_the_machine_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = iter([0.5, 3.25])
    monkeypatch.setattr(os, "getloadavg", lambda: (next(loads), 9.0, 9.0))

    found = in_turn({"a": lambda: None}, 2, tmp_path / "r.json", lambda: None, sample=0.0)

    assert found.load == [0.5, 3.25]
    assert found.around == {"load": [0.5, 3.25], "processor": processor()}
    assert processor()


def test_a_fast_job_is_called_until_a_sample_is_long_enough(tmp_path: Path) -> None:
    calls: list[str] = []

    found = in_turn(
        {"a": Recorder(calls, "a")}, 1, tmp_path / "rounds.json", lambda: None, sample=0.01
    )

    assert len(calls) > 2 + 1
    assert found.seconds["a"][0] < 0.01  # of one call, not of all


def test_a_killed_run_goes_on_behind_the_rounds_that_it_kept(tmp_path: Path) -> None:
    checkpoint, calls = tmp_path / "rounds.json", list[str]()
    jobs = {"a": Recorder(calls, "a")}

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_turn(jobs, 3, checkpoint, killed, sample=0.0)
    first = checkpoint.read_text()
    calls.clear()
    steps: list[None] = []

    found = in_turn(jobs, 3, checkpoint, lambda: steps.append(None), sample=0.0)

    assert len(steps) == 2
    assert len(calls) == 2 + 2
    kept = json.loads(first)
    assert kept == {"seconds": {"a": found.seconds["a"][:1]}, "load": found.load[:1]}
    assert len(found.load) == 3


def test_a_run_that_is_killed_as_it_writes_keeps_the_rounds_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, text: str) -> int:
        with path.open("w") as file:
            file.write(text[: len(text) // 2])
        raise KeyboardInterrupt

    checkpoint = tmp_path / "rounds.json"
    jobs = {"a": lambda: None}
    before = in_turn(jobs, 1, checkpoint, lambda: None, sample=0.0)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", half)
        with pytest.raises(KeyboardInterrupt):
            in_turn(jobs, 2, checkpoint, lambda: None, sample=0.0)

    found = in_turn(jobs, 2, checkpoint, lambda: None, sample=0.0)

    assert found.seconds["a"][:1] == before.seconds["a"]
    assert len(found.load) == 2


def test_what_has_all_its_rounds_is_not_called_again(tmp_path: Path) -> None:
    checkpoint, calls = tmp_path / "rounds.json", list[str]()
    jobs = {"a": Recorder(calls, "a")}
    before = in_turn(jobs, 2, checkpoint, lambda: None, sample=0.0)
    calls.clear()

    assert in_turn(jobs, 2, checkpoint, lambda: None, sample=0.0) == before
    assert calls == []


def test_a_sample_ends_when_the_device_is_done(tmp_path: Path) -> None:
    found = in_turn(
        {"a": lambda: None},
        1,
        tmp_path / "rounds.json",
        lambda: None,
        sample=0.0,
        wait=lambda: time.sleep(0.01),
    )

    assert found.seconds["a"][0] >= 0.01

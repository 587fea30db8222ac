"""Results on disk come back as they were, and equal ones are equal bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from experiments import records as records_module
from experiments.cost.trials import ConversionTrial, FileTrial, ServeTrial
from experiments.records import ROOT, Record, code_digest, read, record, write
from experiments.trial import key
from tests.experiments.toys import Toy


def records() -> list[Record]:
    return [record(Toy(name), {"choose": 0.25}, 1.04, "cpu", 1) for name in ("b", "a")]


def test_records_come_back_sorted_by_label(tmp_path: Path) -> None:
    write(tmp_path / "toys.json", records())

    assert read(tmp_path / "toys.json") == records()[::-1]


def test_the_order_of_records_changes_no_byte(tmp_path: Path) -> None:
    write(tmp_path / "one.json", records())
    write(tmp_path / "two.json", records()[::-1])

    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_a_result_that_is_not_finite_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "toys.json"
    write(path, records())
    before = path.read_bytes()

    with pytest.raises(ValueError, match="JSON"):
        write(path, [record(Toy("a"), {"choose": float("nan")}, 1.0, "cpu", 1)])

    assert path.read_bytes() == before


def test_any_field_makes_another_trial() -> None:
    assert key(Toy("a")) == key(Toy("a"))
    assert len({key(Toy("a")), key(Toy("b")), key(Toy("a", steps=4))}) == 3


@dataclass(frozen=True, slots=True)
class Measuring(Toy):
    """A toy that measures other code than its own."""

    measures: ClassVar[tuple[str, ...]] = ("benchmarks",)


def test_the_code_that_a_trial_measures_is_in_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = tmp_path / "benchmarks" / "one.py"
    measured.parent.mkdir()
    monkeypatch.setattr(records_module, "ROOT", tmp_path / "experiments")
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "training.py").touch()
    digests = []
    for text in ("a = 1\n", "a = 2\n"):
        measured.write_text(text)
        digests.append((code_digest(Measuring("a")), code_digest(Toy("a"))))

    assert digests[0][0] != digests[1][0]
    assert digests[0][1] == digests[1][1]


def test_folders_that_trials_measure_are_there() -> None:
    for trial in (FileTrial, ConversionTrial, ServeTrial):
        assert all(any((ROOT.parent / name).rglob("*.py")) for name in trial.measures)

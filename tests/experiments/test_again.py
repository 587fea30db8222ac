"""What is to run again is forgotten for what was named alone, and never while it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from experiments import command, resuming
from experiments.again import forget, planned
from experiments.locking import locked
from experiments.records import Book
from experiments.runner import Machine, run
from experiments.trial import Options, key
from tests.experiments.toys import Toy, experiment, recorded

OPTIONS = Options("smoke")


def labels(*toys: Toy) -> dict[str, str]:
    return {key(toy): toy.label for toy in toys}


def test_a_forgotten_trial_runs_again(machine: Machine, book: Book, tmp_path: Path) -> None:
    toys = Toy("a"), Toy("b")
    run(experiment(*toys), OPTIONS, machine, book)
    before = [book.get(toy) for toy in toys]

    said = forget(["toy a"], labels(*toys), book, machine.work)

    assert said == ["to be run again: toy a (results of toys)"]
    assert Book("smoke", tmp_path / "results").get(Toy("a")) is None
    run(experiment(*toys), OPTIONS, machine, book)
    after = [book.get(toy) for toy in toys]
    assert None not in after
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True]


def test_a_forgotten_trial_that_failed_begins_anew(machine: Machine, book: Book) -> None:
    toy = Toy("a", fails=2)
    run(experiment(toy), OPTIONS, machine, book)

    said = forget(["toy a"], labels(toy, Toy("b")), book, machine.work)

    assert said == ["to be run again: toy a"]
    assert [path.name for path in (machine.work / key(toy)).iterdir()] == ["lock"]


def test_a_label_that_nothing_has_is_said(machine: Machine, book: Book) -> None:
    assert forget(["c"], labels(Toy("a")), book, machine.work) == ["nothing is called c"]


def test_trials_that_were_not_named_keep_their_results_and_sharers_are_said(
    machine: Machine, book: Book, tmp_path: Path
) -> None:
    first = experiment(Toy("mrpc a"), Toy("mrpc b"), name="first")
    second = experiment(Toy("mrpc b"), Toy("mrpc c"), name="second")
    for name in "abc":
        book.add(recorded(Toy(f"mrpc {name}")))
    for each in (first, second):
        book.write(each, OPTIONS)

    said = forget(["mrpc"], planned([first], OPTIONS, book), book, machine.work)

    assert said == [
        "to be run again: toy mrpc a (results of first)",
        "to be run again: toy mrpc b (results of first, second)",
    ]
    left = Book("smoke", tmp_path / "results")
    assert [found.label for found in left] == ["toy mrpc c"]


@pytest.mark.parametrize("names", [["second"], []])
def test_the_command_forgets_what_the_named_experiments_plan_or_all(
    names: list[str], book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys = [Toy("a"), Toy("b"), Toy("stray")]
    for toy in toys:
        book.add(recorded(toy))
    book.write(experiment(*toys, name="first"), OPTIONS)
    made = {"first": experiment(Toy("a"), name="first"), "second": experiment(Toy("b"))}
    monkeypatch.setattr(command, "EXPERIMENTS", made)
    monkeypatch.setattr(command, "run", lambda *_: {})
    monkeypatch.setattr("multiprocessing.set_forkserver_preload", lambda _: None)
    folders = ["--results", str(tmp_path / "results"), "--work", str(tmp_path / "work")]
    again = ["--size", "smoke", "--again", "toy"]
    monkeypatch.setattr(sys, "argv", ["experiments", *names, *again, *folders])

    command.main()

    left = Book("smoke", tmp_path / "results")
    assert [left.get(toy) is None for toy in toys] == [not names, True, not names]


def test_a_trial_that_is_running_is_not_forgotten_nor_is_any_other(
    machine: Machine, book: Book, tmp_path: Path
) -> None:
    toys = Toy("a"), Toy("b")
    run(experiment(*toys), OPTIONS, machine, book)
    before = (tmp_path / "results" / "smoke" / "toys.json").read_bytes()

    with (
        locked(resuming.lock(machine.work / key(toys[1]))),
        pytest.raises(SystemExit, match="another process is running toy b"),
    ):
        forget(["toy"], labels(*toys), book, machine.work)

    assert (tmp_path / "results" / "smoke" / "toys.json").read_bytes() == before
    assert all((machine.work / key(toy) / "result.json").exists() for toy in toys)

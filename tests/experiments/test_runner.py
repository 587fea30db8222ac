"""Trials run once, go on where they were, and fail one by one."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import code, runner
from experiments.records import Book
from experiments.runner import Machine, News, expected_seconds, forecast, run, words
from experiments.trial import Options, Plan, key
from tests.experiments.toys import Toy, experiment, staged

OPTIONS = Options("smoke")
NOTHING: dict[str, str] = {}


def begun_by(machine: Machine, toy: Toy, code: str) -> None:
    """Have the folder of `toy` say that other code began it."""
    path = machine.work / key(toy) / "begun.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"code": code}))


def test_results_are_written_and_never_computed_again(
    machine: Machine, book: Book, tmp_path: Path
) -> None:
    toys = Toy("a"), Toy("b")
    assert run(experiment(*toys), OPTIONS, machine, book) == NOTHING
    written = (tmp_path / "results" / "smoke" / "toys.json").read_bytes()

    again = Book("smoke", tmp_path / "results")
    assert run(experiment(*toys), OPTIONS, machine, again) == NOTHING

    assert (tmp_path / "results" / "smoke" / "toys.json").read_bytes() == written


def test_a_trial_that_failed_goes_on_where_it_was(machine: Machine, book: Book) -> None:
    toy = Toy("a", fails=2)
    failed = run(experiment(toy, Toy("b")), OPTIONS, machine, book)
    assert len(failed) == 1
    assert "it failed, as it was told to" in failed["toy a"]
    assert book.get(Toy("b")) is not None

    assert run(experiment(toy), OPTIONS, machine, book) == NOTHING

    result = book.get(toy)
    assert result is not None
    assert result["first"] == 2


def test_a_trial_that_other_code_began_begins_anew_and_says_so(
    machine: Machine, book: Book, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = Toy("a", fails=2)
    run(experiment(toy), OPTIONS, machine, book)
    begun_by(machine, toy, "other")

    failed = run(experiment(toy), OPTIONS, machine, book)

    assert list(failed) == ["toy a"]  # as it does from the first step on
    assert f"toy a begins anew: code other -> {code.digest(toy)}" in capsys.readouterr().out


def test_a_trial_of_before_its_code_was_noted_begins_anew(machine: Machine, book: Book) -> None:
    folder = machine.work / key(Toy("a"))
    folder.mkdir(parents=True)
    (folder / "step").write_text("2")

    run(experiment(Toy("a")), OPTIONS, machine, book)

    result = book.get(Toy("a"))
    assert result is not None
    assert result["first"] == 0


def test_a_finished_trial_is_kept_whatever_code_began_it(
    machine: Machine, book: Book, tmp_path: Path
) -> None:
    run(experiment(Toy("a")), OPTIONS, machine, book)
    begun_by(machine, Toy("a"), "other")
    other = Book("smoke", tmp_path / "elsewhere")

    run(experiment(Toy("a")), OPTIONS, machine, other)

    assert other.record(Toy("a")) == book.record(Toy("a"))


def test_a_record_tells_the_code_that_the_trial_began_with(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_disk(toy: Toy) -> str:
        return "changed" if (machine.work / key(toy) / "step").exists() else "first"

    monkeypatch.setattr(code, "digest", on_disk)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    found = runner._work(lambda _: None, Toy("a"), machine)

    assert found.environment["code"] == "first"


@pytest.mark.parametrize(
    ("how", "said"),
    [("killed", "terminated abruptly"), ("data", "the data is missing"), ("error", "as it was")],
)
def test_whatever_befalls_one_trial_the_others_run(
    how: str, said: str, machine: Machine, book: Book
) -> None:
    toys = [Toy("a"), Toy("b", fails=1, how=how), Toy("c"), Toy("d")]

    failed = run(experiment(*toys), OPTIONS, machine, book)

    assert list(failed) == ["toy b"]
    assert said in failed["toy b"]
    assert all(book.get(toy) is not None for toy in toys if toy.name != "b")


def test_the_trial_that_was_killed_fails_and_not_those_that_ran_beside_it(
    machine: Machine, book: Book
) -> None:
    toys = [Toy("a", how="slow"), Toy("b", fails=0, how="killed"), Toy("c"), Toy("d")]

    failed = run(experiment(*toys), OPTIONS, replace(machine, jobs=2), book)

    assert list(failed) == ["toy b"]
    assert all(book.get(toy) is not None for toy in toys if toy.name != "b")


def test_a_result_that_is_not_finite_is_a_failure_and_not_kept(
    machine: Machine, book: Book
) -> None:
    failed = run(experiment(Toy("a", how="nan"), Toy("b")), OPTIONS, machine, book)

    assert list(failed) == ["toy a"]
    assert "JSON" in failed["toy a"]
    assert book.get(Toy("b")) is not None
    assert list(machine.work.rglob("result.json")) == [machine.work / key(Toy("b")) / "result.json"]


def test_what_another_run_has_finished_is_taken_from_its_folder(
    machine: Machine, book: Book, tmp_path: Path
) -> None:
    run(experiment(Toy("a")), OPTIONS, machine, book)
    other = Book("smoke", tmp_path / "elsewhere")

    run(experiment(Toy("a")), OPTIONS, machine, other)

    assert other.get(Toy("a")) == book.get(Toy("a"))


def test_only_trials_whose_label_holds_a_part_run_and_the_others_wait(
    machine: Machine, book: Book
) -> None:
    toys = [Toy("one"), Toy("two"), Toy("three")]

    assert run(experiment(*toys), OPTIONS, machine, book, ["one", "thr"]) == NOTHING

    assert [book.get(toy) is not None for toy in toys] == [True, False, True]
    plan = Plan(toys, toys).only(["two"])
    assert (plan.trials, plan.later) == ([toys[1]], [toys[1]])


def test_trials_that_wait_for_results_run_in_a_second_round(machine: Machine, book: Book) -> None:
    first, second = Toy("a"), Toy("b")

    assert run(staged(first, second), OPTIONS, machine, book) == NOTHING

    assert book.get(second) is not None


def test_each_run_has_the_threads_that_its_jobs_leave(
    machine: Machine, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though all are forked from one server, which starts with the first run."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    toys = {jobs: Toy(f"{jobs} at a time") for jobs in (4, 1, 2)}

    for jobs, toy in toys.items():
        run(experiment(toy), OPTIONS, replace(machine, jobs=jobs), book)

    found = {jobs: book.get(toy) for jobs, toy in toys.items()}
    assert {jobs: result and result["threads"] for jobs, result in found.items()} == {
        4: "1",
        1: "4",
        2: "2",
    }


def test_the_forecast_counts_what_is_known_and_what_waits(machine: Machine, book: Book) -> None:
    first, second = Toy("a"), Toy("b", steps=6)
    each = staged(first, second)

    said = forecast(each, each.plan(OPTIONS, book), machine, book)

    assert said == "toys: 2 trials, 0 done; about 90 s to go, 1 at a time"


def test_the_forecast_counts_steps_of_a_killed_run_as_done(machine: Machine, book: Book) -> None:
    toy = Toy("a", steps=6, fails=4)
    run(experiment(toy), OPTIONS, machine, book)

    assert "; about 20 s to go" in forecast(experiment(toy), Plan([toy]), machine, book)

    begun_by(machine, toy, "other")
    assert "; about 60 s to go" in forecast(experiment(toy), Plan([toy]), machine, book)


def test_the_bar_counts_steps_of_a_killed_run_as_done_and_not_as_fast() -> None:
    with runner._bar([Toy("a", steps=6)]) as (bar, hear):
        hear(News(before=4))
        hear(News(steps=1))

    assert (bar.total, bar.n, bar.initial) == (6, 5, 4)


def test_a_run_tells_its_bar_of_steps_that_were_taken_before(
    machine: Machine, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy("a", fails=2)
    run(experiment(toy), OPTIONS, machine, book)
    told: list[News] = []
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    runner._work(told.append, toy, machine)
    runner._work(told.append, toy, machine)

    assert told == [News(before=2), News(steps=1), News(before=3)]


def test_the_forecast_counts_a_trial_that_is_asked_for_twice_once(
    machine: Machine, book: Book
) -> None:
    plan = Plan([Toy("a"), Toy("a")], [Toy("b"), Toy("b")])

    assert "2 trials, 0 done; about 60 s" in forecast(experiment(), plan, machine, book)


def test_a_trial_is_expected_to_take_what_its_like_took(machine: Machine, book: Book) -> None:
    run(experiment(Toy("a")), OPTIONS, machine, book)
    taken = book.record(Toy("a"))
    assert taken is not None

    assert expected_seconds(Toy("b", steps=6), book) == pytest.approx(2 * taken.seconds)


def test_a_finished_experiment_says_so(machine: Machine, book: Book) -> None:
    run(experiment(Toy("a")), OPTIONS, machine, book)
    each = experiment(Toy("a"))

    assert "nothing is left" in forecast(each, Plan([Toy("a")]), machine, book)


@pytest.mark.parametrize(("seconds", "said"), [(3.2, "3 s"), (600, "10 min"), (7300, "2 h 2 min")])
def test_durations_are_for_people(seconds: float, said: str) -> None:
    assert words(seconds) == said

"""Committed results are those that the plans ask for, and what is missing can be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.catalogue import EXPERIMENTS
from experiments.completeness import missing, strangers
from experiments.records import RESULTS, Book, read
from experiments.trial import Json, Options, Plan, key
from tests.experiments.toys import Toy, recorded

SIZE = "small"
COMMITTED = [name for name in EXPERIMENTS if (RESULTS / SIZE / f"{name}.json").exists()]


@pytest.mark.parametrize("name", COMMITTED)
def test_every_committed_trial_is_one_of_the_plan(name: str) -> None:
    plan = EXPERIMENTS[name].plan(Options(SIZE), Book(SIZE))
    strange = strangers(read(RESULTS / SIZE / f"{name}.json"), plan)
    assert [each.label for each in strange] == []


def test_a_trial_that_stands_in_several_files_has_one_result() -> None:
    results: dict[str, Json] = {}
    for name in COMMITTED:
        for each in read(RESULTS / SIZE / f"{name}.json"):
            assert results.setdefault(each.key, each.result) == each.result, each.label


def test_planned_trials_that_have_not_run_are_listed_once_and_stand_ins_last(
    tmp_path: Path,
) -> None:
    book = Book("smoke", tmp_path)
    book.add(recorded(Toy("done")))
    plan = Plan([Toy("done"), Toy("a"), Toy("a")], [Toy("later"), Toy("a")])
    assert [trial.label for trial in missing(plan, book)] == ["toy a", "toy later"]
    assert missing(Plan([Toy("done")]), book) == []


def test_records_that_no_plan_asks_for_are_found() -> None:
    old, new = (recorded(Toy("a", steps=n)) for n in (3, 4))
    assert [each.key for each in strangers([old, new], Plan([Toy("a")]))] == [
        key(Toy("a", steps=4))
    ]

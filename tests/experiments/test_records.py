"""Results on disk come back as they were, and equal ones are equal bytes."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from experiments.locking import lock_of, locked
from experiments.records import Book, Record, read, write
from experiments.trial import Options, key
from tests.experiments.toys import Toy, experiment, recorded, staged

OPTIONS = Options("smoke")


def records() -> list[Record]:
    return [recorded(Toy(name)) for name in ("b", "a")]


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
        write(path, [recorded(Toy("a"), float("nan"))])

    assert path.read_bytes() == before


def test_what_another_process_has_written_stays_and_is_known_from_now_on(tmp_path: Path) -> None:
    toys = Toy("a"), Toy("b"), Toy("c")
    both = [Book("smoke", tmp_path) for _ in range(2)]
    for book, toy in zip(both, toys, strict=False):
        book.add(recorded(toy))
        path = book.write(experiment(*toys), OPTIONS)

    assert [found.label for found in read(path)] == ["toy a", "toy b"]
    assert both[1].get(Toy("a")) is not None


def test_trials_that_only_another_process_knows_to_be_planned_stay(tmp_path: Path) -> None:
    plan = staged(Toy("a"), Toy("b"))
    here, other = (Book("smoke", tmp_path) for _ in range(2))
    for toy in (Toy("a"), Toy("b")):
        other.add(recorded(toy))
    other.write(plan, OPTIONS)

    path = here.write(plan, OPTIONS)

    assert [found.label for found in read(path)] == ["toy a", "toy b"]


def test_a_run_in_which_all_failed_leaves_no_results(tmp_path: Path) -> None:
    """An empty file would be on the page as an experiment that has run."""
    path = Book("smoke", tmp_path).write(experiment(Toy("a")), OPTIONS)

    assert not path.exists()


def test_the_newer_of_two_records_is_written(tmp_path: Path) -> None:
    here, other = (Book("smoke", tmp_path) for _ in range(2))
    for book, choose in ((here, 0.1), (other, 0.2)):
        book.add(recorded(Toy("a"), choose))
        path = book.write(experiment(Toy("a")), OPTIONS)
    here.write(experiment(Toy("a")), OPTIONS)

    assert [found.result for found in read(path)] == [{"choose": 0.2}]


def test_what_is_forgotten_does_not_come_back_from_another_process(tmp_path: Path) -> None:
    plan = experiment(Toy("a"), Toy("b"))
    here = Book("smoke", tmp_path)
    here.add(recorded(Toy("a"), 0.1))
    path = here.write(plan, OPTIONS)
    other = Book("smoke", tmp_path)

    here.forget([key(Toy("a"))])
    other.write(plan, OPTIONS)
    here.write(plan, OPTIONS)
    assert here.get(Toy("a")) is None
    assert read(path) == []

    here.add(recorded(Toy("a"), 0.2))
    here.write(plan, OPTIONS)
    assert [found.result for found in read(path)] == [{"choose": 0.2}]


def test_files_are_written_one_process_after_the_other(tmp_path: Path) -> None:
    book = Book("smoke", tmp_path)
    book.add(recorded(Toy("a")))
    path = tmp_path / "smoke" / "toys.json"
    with locked(lock_of(path)):
        writer = Thread(target=book.write, args=(experiment(Toy("a")), OPTIONS))
        writer.start()
        writer.join(0.2)
        assert not path.exists()
    writer.join()

    assert path.exists()


def test_any_field_makes_another_trial() -> None:
    assert key(Toy("a")) == key(Toy("a"))
    assert len({key(Toy("a")), key(Toy("b")), key(Toy("a", steps=4))}) == 3

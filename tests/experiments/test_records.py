"""Results on disk come back as they were, and equal ones are equal bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.records import Record, read, write
from experiments.trial import key
from tests.experiments.toys import Toy, recorded


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


def test_any_field_makes_another_trial() -> None:
    assert key(Toy("a")) == key(Toy("a"))
    assert len({key(Toy("a")), key(Toy("b")), key(Toy("a", steps=4))}) == 3

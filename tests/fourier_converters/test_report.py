"""Reports: a table for people, JSON for programs."""

from __future__ import annotations

import json

from fourier_converters.report import Report, Row, of_adapter
from tests.fourier_converters.adapters import adapter
from tests.fourier_converters.graphs import weight

FULL = Row("a.q", "val_1", "fingerprint", "6x4", 5, 0.12345)
HEAD = Row("head.weight", "head.weight", "replaced", "2x6", None, None)


def test_columns_that_nobody_fills_are_left_out() -> None:
    text = str(of_adapter(adapter({"a.q": weight(), "b": weight()}), "x", {}))

    assert text.splitlines() == ["target  shape  n", "a.q     6x4    5", "b       6x4    5"]


def test_where_a_base_has_each_target_is_shown() -> None:
    text = str(of_adapter(adapter({"a.q": weight()}), "x", {"a.q": "q.weight (out_in)"}))

    assert "a.q     q.weight (out_in)  6x4" in text


def test_what_one_row_lacks_is_blank() -> None:
    header, first, second = str(Report("x", (FULL, HEAD))).splitlines()

    assert header.split() == ["target", "found", "in", "evidence", "shape", "n", "change"]
    assert first.split() == ["a.q", "val_1", "fingerprint", "6x4", "5", "0.123"]
    assert second.split() == ["head.weight", "head.weight", "replaced", "2x6"]


def test_what_was_skipped_and_noted_comes_last() -> None:
    text = str(Report("x", (FULL,), ("pooler",), ("a note",)))

    assert text.splitlines()[-2:] == ["skipped by the map: pooler", "a note"]


def test_a_report_of_nothing_is_empty() -> None:
    assert not str(Report("x"))


def test_every_name_is_one_line() -> None:
    row = Row("a\nb", "c\x1b[2J", "e", "6x4", 5, None)

    text = str(Report("x", (row,), ("d\ne",), ("f\rg",)))

    assert all(line.isprintable() for line in text.split("\n"))
    assert text.count("\n") == 3


def test_json_has_every_field() -> None:
    found = json.loads(json.dumps(Report("x", (FULL, HEAD), ("p",), ("n",)).as_json()))

    assert found["ok"] is True
    assert found["rows"][0]["relative_change"] == 0.12345
    assert found["rows"][1]["n"] is None
    assert (found["skipped"], found["notes"]) == (["p"], ["n"])

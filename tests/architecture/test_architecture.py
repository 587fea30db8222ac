"""ARCHITECTURE.md names modules that are there."""

from __future__ import annotations

import re

from tests.architecture.source import PACKAGES, ROOT

ROW = re.compile(r"^\|[^|]*\|(?P<modules>.*)\|$", re.MULTILINE)
TABLE = re.compile(r"\| question \| modules \|\n\|---\|---\|\n(?P<rows>(?:\|.*\n)+)")


def named() -> set[str]:
    """Returns the modules that the tables of questions name, the last part of each path."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    cells = [
        row["modules"] for table in TABLE.finditer(text) for row in ROW.finditer(table["rows"])
    ]
    names = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    return {name.rstrip("/").rpartition("/")[2] for name in names}


def test_every_module_that_the_tables_name_is_there() -> None:
    there = {
        name
        for folder in PACKAGES.values()
        for path in folder.rglob("*")
        for name in (path.name, path.stem)
    }

    assert len(named()) > 100
    assert named() - there == set()

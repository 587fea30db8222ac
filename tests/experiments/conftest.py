"""Where toys run, and what is known of them, in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.records import Book
from experiments.runner import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "data", "cpu", 1, tmp_path / "work" / "smoke")


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book("smoke", tmp_path / "results")

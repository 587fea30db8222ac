"""The committed results, as sections read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.records import RESULTS, Record, read

SIZES = ("small", "medium", "paper")
"""Those that the page shows; "smoke" proves nothing."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All results of one size.

    Attributes:
        size: "small", "medium" or "paper".
        files: Name of an experiment -> its records, sorted by label.
    """

    size: str
    files: Mapping[str, tuple[Record, ...]]

    def of(self, experiment: str) -> tuple[Record, ...]:
        """Returns the records of an experiment; none if it has not run at this size."""
        return self.files.get(experiment, ())


def collected(results: Path = RESULTS) -> list[Evidence]:
    """Returns what has run, a size each, in the order of SIZES."""
    return [
        Evidence(
            size,
            {path.stem: tuple(read(path)) for path in sorted((results / size).glob("*.json"))},
        )
        for size in SIZES
    ]

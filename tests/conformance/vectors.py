"""The conformance vectors, as spec/vectors/index.json lists them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
DIRECTORY: Final = ROOT / "spec" / "vectors"


@dataclass(frozen=True, slots=True)
class Vector:
    """One row of the index."""

    row: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder and the id."""
        return f"{self.row['kind']}/{self.row['id']}"

    @property
    def codes(self) -> set[str]:
        """The codes that a reader may report; none if it must read the file."""
        return set(self.row.get("codes", ()))

    def adapter(self) -> Path:
        """The .fft or .fft.h5 file."""
        files: list[str] = list(self.row["files"])
        (name,) = (f for f in files if not f.endswith(".json"))
        return DIRECTORY / name

    def json(self) -> dict[str, Any]:
        """The content of the .json file."""
        files: list[str] = list(self.row["files"])
        (name,) = (f for f in files if f.endswith(".json"))
        content: dict[str, Any] = json.loads((DIRECTORY / name).read_text("utf-8"))
        return content


def index() -> list[Vector]:
    """Every vector."""
    rows = json.loads((DIRECTORY / "index.json").read_text("utf-8"))["vectors"]
    return [Vector(row) for row in rows]


def of(*kinds: str) -> list[Vector]:
    """The vectors of some kinds."""
    return [vector for vector in index() if vector.row["kind"] in kinds]


def read(*kinds: str) -> list[Vector]:
    """The adapters among them that a reader reads."""
    return [vector for vector in of(*kinds) if not vector.codes]


def refused(*kinds: str) -> list[Vector]:
    """The adapters among them that a reader refuses."""
    return [vector for vector in of(*kinds) if vector.codes]

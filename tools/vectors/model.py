"""What a vector is, and how the set of them is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Vector:
    """One conformance vector.

    Attributes:
        id: Says the one idea that the vector shows.
        kind: Its folder: "valid", "invalid", "forward", "numeric", "sampling", ...
        clause: The clause of the specification that it tests.
        about: The idea in words.
        files: Their content by suffix, such as ".fft" and ".json".
        codes: The codes that a reader may report; empty where it must read the file.
        validator: The codes that a validator reports for a file that a reader reads.
    """

    id: str
    kind: str
    clause: str
    about: str
    files: Mapping[str, bytes]
    codes: tuple[str, ...] = ()
    validator: tuple[str, ...] = field(default=())

    def index_row(self) -> Json:
        """Returns the vector's entry in index.json."""
        row: Json = {"id": self.id, "kind": self.kind, "clause": self.clause, "about": self.about}
        if self.codes:
            row["codes"] = list(self.codes)
        if self.validator:
            row["validator"] = list(self.validator)
        row["files"] = {
            f"{self.kind}/{self.id}{suffix}": hashlib.sha256(content).hexdigest()
            for suffix, content in self.files.items()
        }
        return row


def pretty(value: Json) -> bytes:
    """Returns JSON text with one member of the outermost object a line."""
    members = ",\n".join(
        f" {json.dumps(key)}: {json.dumps(item, ensure_ascii=False, allow_nan=False)}"
        for key, item in value.items()
    )
    return f"{{\n{members}\n}}\n".encode()


def write(vectors: Iterable[Vector], directory: Path) -> tuple[int, int]:
    """Write every file of `vectors` and index.json; return how many vectors and bytes."""
    rows, size = [], 0
    for vector in vectors:
        folder = directory / vector.kind
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in vector.files.items():
            (folder / f"{vector.id}{suffix}").write_bytes(content)
            size += len(content)
        rows.append(vector.index_row())
    names = [(row["kind"], row["id"]) for row in rows]
    if len(set(names)) != len(names):
        raise ValueError(sorted(name for name in names if names.count(name) > 1))
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    text = f'{{\n "format": "fourier-format vectors 1",\n "vectors": [\n{lines}\n ]\n}}\n'
    (directory / "index.json").write_text(text, encoding="utf-8")
    return len(rows), size

"""The index of a model that Keras saved in shards: read as text, without the rest of keras/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

from fourier_converters.base.shards import read_json
from fourier_format.errors import UnsupportedError, Violation

INDEX_SUFFIX: Final = ".weights.json"


def shards_of(index: Path) -> list[str]:
    """Returns the files that an index of Keras names, in order; each lies beside it.

    Raises:
        UnsupportedError: It is no such index, or names a file elsewhere.
    """
    content = read_json(index)
    stated = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(stated, dict) or not stated:
        _fail(index, "no weight_map, which an index of Keras's shards has")
    names = sorted({name for value in stated.values() for name in _names(value, index)})
    for name in names:
        if Path(name).name != name or name in {"", ".", ".."}:
            _fail(index, f"the shard {name!r} lies outside the index's directory")
    return names


def _names(value: object, index: Path) -> Iterator[str]:
    for name in value if isinstance(value, list) else [value]:
        if not isinstance(name, str):
            _fail(index, "a shard's name is no text")
        yield name


def _fail(path: Path, problem: str) -> NoReturn:
    raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(path), problem))

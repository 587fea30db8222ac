"""The index of a store's folder: which adapter lies in which slots, with digests.

`index.json` is replaced whole. Its slots are never written to while it names them, so that what a
killed process leaves is a sound store, of some moments ago.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from fourier_format import atomic, strict_json
from fourier_format.atomic import os_errors, write_bytes
from fourier_format.errors import BaseMismatchError, FileAccessError, InvalidAdapterError, Violation
from fourier_runtimes.tables import Precision

NAME: Final = "index.json"
LOCK_NAME: Final = ".lock"
VERSION: Final = "1.0"
MAX_BYTES: Final = 2**30
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One adapter of a store's folder.

    Attributes:
        slots: Its slot in each table that it fills, by the table's key.
        digests: The SHA-256 of what it stored there, in lower-case hex, by the table's key.
        origin: The path or URL that it was loaded from, if any.
    """

    slots: Mapping[str, int]
    digests: Mapping[str, str]
    origin: str | None


def write(folder: Path, precision: Precision, entries: Mapping[str, Entry]) -> None:
    """Replace the index, whole or not at all.

    Raises:
        FileAccessError: Writing failed.
    """
    value = {
        "version": VERSION,
        "precision": precision,
        "adapters": {
            name: [[[k, s, entry.digests[k]] for k, s in entry.slots.items()], entry.origin]
            for name, entry in entries.items()
        },
    }
    write_bytes(folder / NAME, strict_json.dumps(value).encode(), overwrite=True)


def read(folder: Path, precision: Precision) -> dict[str, Entry]:
    """Returns the adapters of the index, none where there is no index yet.

    Raises:
        InvalidAdapterError: The index is broken.
        BaseMismatchError: It is of a store of another precision.
        FileAccessError: It cannot be read.
    """
    path = folder / NAME
    with os_errors(path, "read"):
        if not path.exists():
            return {}
        data = path.read_bytes()
    try:
        value = strict_json.loads(data.decode(), str(path), MAX_BYTES)
    except InvalidAdapterError as error:
        raise broken(path, error.violations[0].problem) from None
    except UnicodeDecodeError as error:
        raise broken(path, f"not UTF-8: {error.reason}") from None
    try:
        stored = value["precision"]
        entries = {str(name): _entry(fields) for name, fields in value["adapters"].items()}
        known = value["version"] == VERSION
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise broken(path, f"{type(error).__name__} {error}") from None
    if not known:
        raise broken(path, "it has another version")
    if stored != precision:
        problem = "the store in this folder has another precision"
        raise BaseMismatchError(
            Violation("E-BASE-MISMATCH", str(folder), problem, str(stored)[:40], precision)
        )
    return entries


def broken(path: Path, problem: str) -> InvalidAdapterError:
    """Returns the error for an index that cannot be used."""
    what = f"the store's index is broken: {problem}"
    advice = "remove the folder; its adapters are loaded anew from their files"
    return InvalidAdapterError(Violation("E-FIELD-VALUE", str(path), what, advice=advice))


def _entry(fields: Any) -> Entry:
    rows, origin = fields
    slots, digests = {}, {}
    for key, slot, digest in rows:
        if type(slot) is not int or not _DIGEST.fullmatch(digest):
            raise ValueError(digest)
        slots[str(key)], digests[str(key)] = slot, digest
    return Entry(slots, digests, None if origin is None else str(origin))


def guarded(folder: Path) -> IO[bytes]:
    """Returns the file whose lock says that this store has the folder.

    Raises:
        FileAccessError: Another one has it, or it cannot be written.
    """
    with os_errors(folder, "write"):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_NAME).open("ab")
    if not atomic.lock(file) and atomic.fcntl is not None:
        file.close()
        problem = "another session has this store open"
        advice = "give each session a folder of its own"
        raise FileAccessError(Violation("E-IO", str(folder), problem, advice=advice))
    return file

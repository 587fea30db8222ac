"""Wherever a run is interrupted or killed: all files are new, or all are as they were."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from fourier_converters.keras.together import staged_together
from fourier_format.errors import FileAccessError, OutputExistsError

NAMES: Final = ("index", "one", "two")
OLD: Final = dict.fromkeys(NAMES, b"old")
NEW: Final = dict.fromkeys(NAMES, b"new")
STEPS: Final = ("fsync", "link", "rename", "replace", "unlink")

Step = Callable[[str], None]


@pytest.fixture(autouse=True)
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody cuts the power here, and waiting for the disk takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def write(folder: Path, overwrite: bool = True) -> None:
    """Write the new files."""
    with staged_together([folder / name for name in NAMES], overwrite) as files:
        for file in files:
            file.write(b"new")


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def visible(content: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in content.items() if not name.startswith(".")}


def filled(folder: Path, content: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder


@contextmanager
def stepping(before: Step, after: Step) -> Iterator[None]:
    """Calls `before` and `after` around everything that changes a directory."""
    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, _stepped(name, getattr(os, name), before, after))
        yield


def _stepped(name: str, real: Callable[..., Any], before: Step, after: Step) -> Callable[..., Any]:
    def stepped(*arguments: Any, **settings: Any) -> None:
        before(name)
        real(*arguments, **settings)
        after(name)

    return stepped


def nothing(_: str) -> None:
    """Let it go on."""


def interrupting(number: int) -> Step:
    """Returns a step that interrupts when it is called for the `number`th time."""
    calls = count()

    def interrupt(_: str) -> None:
        if next(calls) == number:
            raise KeyboardInterrupt

    return interrupt


@pytest.mark.parametrize(
    "old",
    [
        {},
        OLD,
        {"index": b"old"},
        {"one": b"old", "two": b"old"},
        OLD | {".one.replaced": b"of a killed run"},
    ],
)
@pytest.mark.parametrize("is_before", [True, False])
def test_ctrl_c_leaves_the_old_or_the_new_and_nothing_else(
    is_before: bool, old: dict[str, bytes], tmp_path: Path
) -> None:
    interrupted = 0
    for number in count():
        folder, step = filled(tmp_path / str(number), old), interrupting(number)
        try:
            with stepping(*((step, nothing) if is_before else (nothing, step))):
                write(folder)
            break
        except KeyboardInterrupt:
            interrupted += 1
        assert visible(state(folder)) in (visible(old), NEW), number
        write(folder)  # also takes away what a run left that was interrupted while it tidied
        assert state(folder) == NEW

    assert interrupted > len(NAMES) * 2


@pytest.mark.parametrize("old", [{}, OLD])
def test_a_reader_never_meets_an_index_of_old_and_new_files(
    old: dict[str, bytes], tmp_path: Path
) -> None:
    folder = filled(tmp_path / "a", old)
    seen = list[str]()

    def look(_: str) -> None:
        left = state(folder)
        read = {left[name] for name in NAMES} if "index" in left else {b"none"}
        assert len(read) == 1
        seen.append(read.pop().decode())

    with stepping(look, look):
        write(folder)

    assert set(seen) == {"none", "new"} | {data.decode() for data in old.values()}
    assert state(folder) == NEW


def test_a_file_that_came_meanwhile_stays(tmp_path: Path) -> None:
    folder = filled(tmp_path / "a", {})

    def meanwhile(name: str) -> None:
        if name == "link" and not (folder / "one").exists():
            (folder / "one").write_bytes(b"mine")

    with pytest.raises(OutputExistsError, match="one"), stepping(meanwhile, nothing):
        write(folder, overwrite=False)

    assert state(folder) == {"one": b"mine"}


def test_an_error_names_the_file(tmp_path: Path) -> None:
    folder = filled(tmp_path / "a", OLD)

    def full(name: str) -> None:
        if name == "fsync":
            raise OSError(28, "No space left on device")

    with pytest.raises(FileAccessError, match="index: cannot write"), stepping(full, nothing):
        write(folder)

    assert state(folder) == OLD

"""Copies are the source's bytes, whatever the kernel and the file system can do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fourier_converters import copying
from fourier_converters.copying import copy_file, copy_range
from fourier_format.errors import FileAccessError

CONTENT = bytes(range(256)) * 40


def refusing(*_: Any) -> int:
    raise OSError(errno.EXDEV, "cross-device")


def stopping(*_: Any) -> int:
    return 0


def halting_after_one(real: Callable[..., int]) -> Callable[..., int]:
    """Copies 1000 bytes, then stops, as some file systems do."""
    calls: list[int] = []

    def copy(source: int, target: int, _: int) -> int:
        calls.append(1)
        return real(source, target, 1000) if len(calls) == 1 else 0

    return copy


@pytest.fixture(params=["kernel", "refusing", "stopping", "halting", "absent"])
def _kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.copy_file_range
    if request.param == "absent":
        monkeypatch.delattr(os, "copy_file_range")
    elif request.param != "kernel":
        others = {"refusing": refusing, "stopping": stopping, "halting": halting_after_one(real)}
        monkeypatch.setattr(os, "copy_file_range", others[request.param])
    monkeypatch.setattr(copying, "_CHUNK", 4096)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.usefixtures("_kernel")
def test_a_copy_has_the_bytes_of_its_source(source: Path, tmp_path: Path) -> None:
    with (tmp_path / "copy").open("xb+") as target:
        copy_file(source, target)

    assert (tmp_path / "copy").read_bytes() == CONTENT


@pytest.mark.usefixtures("_kernel")
def test_a_range_comes_after_what_was_written_before(source: Path, tmp_path: Path) -> None:
    with (tmp_path / "copy").open("xb") as target:
        target.write(b"head")
        copy_range(source, 7, 5000, target)
        target.write(b"tail")
        copy_range(source, 0, 3, target)
        copy_range(source, 3, 0, target)

    expected = b"head" + CONTENT[7:5007] + b"tail" + CONTENT[:3]
    assert (tmp_path / "copy").read_bytes() == expected


@pytest.mark.usefixtures("_kernel")
def test_a_source_that_ends_too_early_is_an_error(source: Path, tmp_path: Path) -> None:
    with (
        (tmp_path / "copy").open("xb") as target,
        pytest.raises(FileAccessError, match=r"source: the base's data changed"),
    ):
        copy_range(source, 100, len(CONTENT), target)


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with (
        (tmp_path / "copy").open("xb") as target,
        pytest.raises(FileAccessError, match=r"absent: cannot read the file"),
    ):
        copy_file(tmp_path / "absent", target)


@pytest.mark.usefixtures("_kernel")
def test_trouble_with_the_target_is_not_laid_to_the_source(source: Path) -> None:
    with Path("/dev/full").open("wb", buffering=0) as target, pytest.raises(OSError) as caught:  # noqa: PT011
        copy_file(source, target)

    assert not isinstance(caught.value, FileAccessError)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.usefixtures("_kernel")
def test_progress_is_told_up_to_the_end(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_PIECE", 3000)
    told: list[int] = []
    with (tmp_path / "copy").open("xb") as target:
        copy_file(source, target, told.append)

    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert told == sorted(set(told))
    assert told[-1] == len(CONTENT)


@pytest.mark.usefixtures("_kernel")
def test_who_is_told_may_end_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_PIECE", 3000)

    def enough(copied: int) -> None:
        if copied >= 4000:
            raise TimeoutError

    with (tmp_path / "copy").open("xb") as target, pytest.raises(TimeoutError):
        copy_file(source, target, enough)

    assert (tmp_path / "copy").stat().st_size < len(CONTENT)


def test_bytes_that_were_told_of_are_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told writes over them through another descriptor."""
    monkeypatch.delattr(os, "copy_file_range")
    told: list[tuple[int, int]] = []
    source, goal = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 8)

    with goal.open("xb") as target:
        copy_file(source, target, lambda copied: told.append((copied, goal.stat().st_size)))

    assert told == [(2048, 2048)]

"""What is loaded: names of files, and files that the system reads ahead."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fourier_runtimes import loading
from fourier_runtimes.loading import Loadable, read_ahead
from tests.fourier_runtimes.handmade import adapter_for, handmade

_ADAPTER = adapter_for(handmade(0), 1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Loadable]:
    """Returns the list of the files that the system was asked to read."""
    files: list[Loadable] = []
    monkeypatch.setattr(loading, "_will_need", files.append)
    return files


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 500])
def test_each_file_is_asked_for_once_some_time_before_its_turn(
    count: int, asked: list[Loadable]
) -> None:
    files = [f"{number}.fft" for number in range(count)]

    ahead = [len(asked) - number for number in read_ahead(range(count), files)]

    assert asked == files
    assert all(64 <= lead <= 128 for lead in ahead[: max(0, count - 64)])


def test_what_is_no_file_is_left_to_whoever_reads_it(tmp_path: Path) -> None:
    files: list[Loadable] = [tmp_path / "absent.fft", "memory://a.fft", "a\0b", _ADAPTER, tmp_path]

    assert list(read_ahead("abcde", files)) == list("abcde")


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no advice")
def test_the_system_is_told_which_files_will_be_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.fft"
    path.write_bytes(b"x")
    told: list[Any] = []
    monkeypatch.setattr(os, "posix_fadvise", noted(told))

    assert list(read_ahead("a", [path])) == ["a"]

    assert told == [os.POSIX_FADV_WILLNEED]


def noted(told: list[Any]) -> Callable[..., None]:
    def advise(*arguments: int) -> None:
        told.append(arguments[-1])

    return advise

"""Blocks of rows by several threads: the same blocks, in the same order, whatever their number."""

from __future__ import annotations

import threading

import pytest

from fourier_format import threads
from fourier_format.threads import by_blocks


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize(("rows", "step"), [(0, 4), (1, 4), (4, 4), (9, 4), (16, 1)])
def test_results_are_in_the_order_of_rows(
    rows: int, step: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: count)

    got = by_blocks(lambda start, stop: (start, stop), rows, step)

    assert got == [(start, min(start + step, rows)) for start in range(0, rows, step)]


def test_work_is_shared_by_as_many_threads_as_there_are_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)
    both = threading.Barrier(2, timeout=10)

    assert by_blocks(lambda _start, _stop: both.wait() >= 0, 2, 1) == [True, True]


@pytest.mark.parametrize("wrong", [0, 1, 6])
def test_an_error_of_any_block_is_raised(wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 3)

    def work(start: int, _stop: int) -> int:
        if start == wrong:
            raise ZeroDivisionError
        return start

    with pytest.raises(ZeroDivisionError):
        by_blocks(work, 7, 1)


def test_where_it_does_not_pay_there_is_one_thread() -> None:
    names = by_blocks(lambda *_: threading.current_thread().name, 8, 1, parallel=False)

    assert set(names) == {threading.current_thread().name}


def test_work_inside_shared_work_stays_in_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)

    def inner(start: int, _stop: int) -> tuple[int, str]:
        return start, threading.current_thread().name

    def outer(_start: int, _stop: int) -> bool:
        found = by_blocks(inner, 6, 1)
        return threads.is_shared() and found == [
            (start, threading.current_thread().name) for start in range(6)
        ]

    assert by_blocks(outer, 4, 1) == [True] * 4
    assert not threads.is_shared()
    assert len({name for _, name in by_blocks(inner, 6, 1)}) == 2

"""What a process of its own does comes back, whatever becomes of it."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from experiments.apart import ProcessDiedError, Tell, apart


def counting(tell: Tell, most: int) -> int:
    for number in range(most):
        tell(number)
    return os.getpid()


def killed(tell: Tell) -> None:
    tell("begun")
    os.kill(os.getpid(), signal.SIGKILL)


def failing(_: Tell, wrong: BaseException) -> None:
    raise wrong


class UnportableError(Exception):
    """An error that no pipe carries."""

    def __init__(self) -> None:
        super().__init__("held")
        self.function = lambda: None


def unportable(_: Tell) -> None:
    raise UnportableError


def test_what_is_told_is_heard_in_order_and_the_result_is_another_process_own() -> None:
    heard: list[int] = []

    assert apart(counting, 3, hear=heard.append) != os.getpid()
    assert heard == [0, 1, 2]


@pytest.mark.parametrize("wrong", [ValueError("as it was"), SystemExit("the data is missing")])
def test_an_error_is_raised_as_it_was(wrong: BaseException) -> None:
    with pytest.raises(type(wrong), match=str(wrong)):
        apart(failing, wrong, hear=print)


def test_an_error_that_no_pipe_carries_is_told() -> None:
    with pytest.raises(RuntimeError, match="UnportableError: held"):
        apart(unportable, hear=print)


def test_a_death_is_seen_and_no_other_process_is_touched() -> None:
    """Many at once: a pool may miss the death of a process that it has just begun."""
    heard: list[object] = []
    with ThreadPoolExecutor(8) as pool:
        dying = [pool.submit(apart, killed, hear=heard.append) for _ in range(8)]
        living = [pool.submit(apart, counting, 1, hear=heard.append) for _ in range(8)]

        for job in dying:
            with pytest.raises(ProcessDiedError, match="terminated abruptly"):
                job.result()
        assert len({job.result() for job in living}) == 8
    assert heard.count("begun") == 8

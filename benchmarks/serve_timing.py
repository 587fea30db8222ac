"""Measure the arms of `serve.py` in this process: times in turn, memory, and whether they agree."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime
from measure import Call, Json, peak_mib, progress, rounded, settled_mib, timed
from numpy.typing import NDArray
from serve_arms import Arm, Setup, open_arm

_SAMPLE_SECONDS: Final = 0.15
"""What is timed lasts at least so long, or is repeated until it does."""
_REST_SECONDS: Final = 0.1
"""Until the threads of the session before no longer wait in a loop: some 50 ms."""
_MEMORY_CALLS: Final = 3
_WHOLE: Final = ("lora_two_sessions", "session_rows_1000")
"""Arms whose rows are all another's."""


def times(names: Sequence[str], setup: Setup, runs: int) -> Json:
    """Time each arm `runs` times, each time beside the base: drift meets both.

    Returns for each arm pairs of its own call and the base's beside it, for all rows.
    """
    arms = {name: open_arm(name, setup) for name in names}
    counts = {name: _repetitions(arm) for name, arm in arms.items()}
    pairs: dict[str, list[tuple[Call, Call]]] = {name: [] for name in arms}
    for number in range(runs):
        progress(f"run {number + 1} of {runs}")
        gc.collect()
        for turn in range(len(names)):
            name = names[(turn + number) % len(names)]
            base = _sample(arms["base"], counts["base"], setup)
            pairs[name].append((_sample(arms[name], counts[name], setup), base))
    return {"pairs": pairs, "agreement": _agreement(arms)}


def _repetitions(arm: Arm) -> int:
    """How many calls make a sample; the first call of an arm is not like the others."""
    arm.call()
    seconds = min(timed(arm.call).seconds for _ in range(2))
    return max(1, math.ceil(_SAMPLE_SECONDS / seconds))


def _sample(arm: Arm, count: int, setup: Setup) -> Call:
    def calls() -> None:
        for _ in range(count):
            arm.call()

    time.sleep(_REST_SECONDS)
    whole = timed(calls)
    share = setup.case.rows / (arm.rows * count)
    return Call(whole.seconds * share, whole.cpu_seconds * share)


def memory(name: str, setup: Setup) -> Json:
    """The memory of an arm that has this process to itself: opening, and a few calls.

    What was resident before the sessions were opened, libraries, does not count.
    """
    onnxruntime.get_available_providers()
    before = settled_mib()
    arm = open_arm(name, setup)
    for _ in range(_MEMORY_CALLS):
        arm.call()
    peak = peak_mib()
    return {"peak_mib": peak - before, "resident_mib": settled_mib() - before}


def _agreement(arms: Mapping[str, Arm]) -> Json:
    """How far what should be equal is apart, over the largest value; tests ask how exact it is."""
    found = {name: arm.answers() for name, arm in arms.items()}
    report: Json = {}
    if "live_nothing" in found:
        report["live_nothing_is_base"] = bool(np.array_equal(found["live_nothing"], found["base"]))
    if "merged" in found:
        report["effect"] = _apart(found["merged"], found["base"])
    expected = dict.fromkeys(("live_one_1000", "live_rows_1000", "open_merged"), "merged")
    expected |= {"live_rows_200": "live_one_200", "lora_rows": "lora_one"}
    expected |= {"session_rows_1000": "live_rows_1000"}
    expected |= {"open_optimised": "merged", "lora_two_sessions": "lora_rows"}
    for name, other in expected.items():
        if name in found and other in found:
            first = slice(None) if name in _WHOLE else slice(1)
            report[f"{name}_from_{other}"] = _apart(found[name][first], found[other][first])
    return report


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    return rounded(float(np.abs(one - other).max() / np.abs(other).max()))

"""What a trial goes on from: nothing but what the same code, device and versions have left.

A trial's folder is named by its fields alone. What the trial was begun with stands in it, so that
epochs of one code are never recorded as those of another.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from experiments.locking import whole
from experiments.trial import Json

_LOCK = "lock"
_BEGUN = "begun.json"
_CLOCK = "clock.json"
_DECIDE = ("code", "device", "machine", "python")


def lock(folder: Path) -> Path:
    """Returns the lock of a trial's folder, held by the process that runs the trial."""
    return folder / _LOCK


def begin(folder: Path, environment: Json) -> list[str]:
    """Keep with what a trial begins; what others have left of it in its folder goes.

    Args:
        folder: The trial's, whose lock is held.
        environment: What its record is to hold.

    Returns:
        What has changed, where it begins anew; nothing where it goes on, or where it is new.
    """
    changed = changes(folder, environment)
    if changed:
        empty(folder)
    with whole(folder / _BEGUN) as partial:
        partial.write_text(json.dumps(_deciding(environment)), "utf-8")
    return changed


def changes(folder: Path, environment: Json) -> list[str]:
    """Returns what is no longer as it was when the trial of a folder began: "torch 2.5 -> 2.6"."""
    if not _left(folder):
        return []
    begun = folder / _BEGUN
    if not begun.exists():
        return ["what began it is not known"]
    old, new = json.loads(begun.read_text("utf-8")), _deciding(environment)
    return [
        f"{name} {old.get(name, 'none')} -> {new.get(name, 'none')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def steps_done(folder: Path, environment: Json) -> int:
    """Returns how many steps the trial of a folder would not take again."""
    return 0 if changes(folder, environment) else Clock(folder).steps


def empty(folder: Path) -> None:
    """Take all that a trial has left, but not its lock: a process that waits for it has it open."""
    for path in _left(folder):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


class Clock:
    """Wall time and steps of a trial over all its runs.

    Attributes:
        steps: How many it has taken.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _CLOCK
        kept = {"steps": 0, "seconds": 0.0}
        if self._path.exists():
            kept |= json.loads(self._path.read_text("utf-8"))
        self.steps = int(kept["steps"])
        self._start = time.perf_counter() - kept["seconds"]

    def seconds(self) -> float:
        """Returns what has gone by in this run, and up to the last step of each before."""
        return time.perf_counter() - self._start

    def step(self) -> None:
        """Count a step that has just ended."""
        self.steps += 1
        with whole(self._path) as partial:
            partial.write_text(json.dumps({"steps": self.steps, "seconds": self.seconds()}))


def _deciding(environment: Json) -> dict[str, str]:
    """Returns what of an environment decides numbers: not the day, nor the number of threads."""
    return {**environment["versions"], **{name: environment[name] for name in _DECIDE}}


def _left(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.name != _LOCK]

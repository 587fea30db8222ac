"""What an experiment is made of: trials that a killed run goes on with, and that are run once.

A trial is a frozen dataclass. Its fields decide its numbers, so they are its identity: two
experiments that ask for the same trial share it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """Where a trial runs.

    Attributes:
        folder: Its own folder, kept between runs: checkpoints go here.
        shared: A folder of all trials, for what is computed once (states, exported bases).
        data: The folder of the data sets.
        device: "cpu" or "cuda".
        step: To be called after each of the trial's steps, for the progress bar.
    """

    folder: Path
    shared: Path
    data: Path
    device: str
    step: Callable[[], None]


class Trial(Protocol):
    """One run; a frozen dataclass that can be pickled and whose fields JSON can hold."""

    @property
    def label(self) -> str:
        """What it is, in a line that is unique among the trials of an experiment."""

    @property
    def work(self) -> str:
        """What it costs: steps of trials that say the same here take the same time."""

    @property
    def steps(self) -> int:
        """Into how many parts of equal time it falls, such as epochs."""

    @property
    def guess(self) -> float:
        """Seconds of a step on one core, before any was measured."""

    def run(self, context: Context) -> Json:
        """Returns its result: numbers and ids of examples, never a text or a weight.

        It saves a checkpoint in `context.folder` after each step and starts from what is there.
        """


def described(trial: Trial) -> Json:
    """Returns the trial's fields, with the class that runs it."""
    return {"trial": type(trial).__name__, **asdict(trial)}  # type: ignore[call-overload]  # a protocol cannot say "dataclass"


def key(trial: Trial) -> str:
    """Returns 16 hex digits that name the trial: of the SHA-256 of its fields."""
    text = json.dumps(described(trial), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Results(Protocol):
    """What trials have found so far."""

    def get(self, trial: Trial) -> Json | None:
        """Returns the trial's result; None if it has not run."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line changes of an experiment.

    Attributes:
        size: "smoke", "small", "medium" or "paper".
        model: A path or hub name in place of the configured model.
    """

    size: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to run.

    Attributes:
        trials: All trials that can be named with the results so far, done ones too.
        later: Stand-ins for trials that wait for these results: they are only estimated.
    """

    trials: Sequence[Trial]
    later: Sequence[Trial] = ()

    def only(self, parts: Sequence[str]) -> Plan:
        """Returns the trials whose label holds one of `parts`; all if there are none."""
        if not parts:
            return self
        kept = (
            [trial for trial in trials if any(part in trial.label for part in parts)]
            for trials in (self.trials, self.later)
        )
        return Plan(*kept)


def distinct(trials: Iterable[Trial]) -> list[Trial]:
    """Returns the trials, each once: several methods may ask for the same."""
    return list({key(trial): trial for trial in trials}.values())


@dataclass(frozen=True, slots=True)
class Experiment:
    """A question and the trials that answer it.

    Attributes:
        name: As it is called on the command line.
        question: In a line.
        plan: Options and results so far -> what to run. Asked again after each round.
        alone: Whether its trials are timed, so that they run one after the other on all cores.
    """

    name: str
    question: str
    plan: Callable[[Options, Results], Plan]
    alone: bool = field(default=False, kw_only=True)


def merged(defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> Json:
    """Returns `defaults` with `changes`, tables within tables too."""
    both = dict(defaults)
    for name, value in changes.items():
        old = both.get(name)
        both[name] = (
            merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return both

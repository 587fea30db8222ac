"""What is observed, and what is made of it: frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from fourier_format import words
from fourier_format.errors import one_line

Severity = Literal["problem", "warning", "note", "fine"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
"""Worst first. A problem: training on is of no use. A warning: it will likely disappoint."""

Kind = Literal[
    "not-finite",
    "loss-grows",
    "gradient-grows",
    "start-too-large",
    "alpha-too-large",
    "outgrown",
    "no-gradient",
    "frozen",
    "vanishing-gradient",
    "low-learning-rate",
    "too-small",
    "plateau",
    "lost-in-merge",
    "healthy",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""The kinds of finding, most urgent first; stable names. The first six are ways to diverge."""

_NAMES_SHOWN: Final = 2
_NAME_WIDTH: Final = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchedTarget:
    """What does not change about one adapted weight while it is trained.

    Attributes:
        name: The module path.
        shape: (out, in) of the canonical matrix.
        count: The number n of coefficients.
        alpha: The scale.
        weight_norm: The Frobenius norm of the base's weight; None where it is not known.
        gain: The coefficients are the trained variable times this.
        dtype: The base's, "F32", "BF16", ...; None where nothing will be merged.
    """

    name: str
    shape: tuple[int, int]
    count: int
    alpha: float
    weight_norm: float | None = None
    gain: float = 1.0
    dtype: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One target at one step.

    Attributes:
        step: Optimiser steps taken so far.
        coefficient_norm: The Euclidean norm of the coefficients, gain included.
        relative_change: ||delta||_F / ||W||_F; None takes `relative_change` of the coefficients.
        gradient_norm: Of the trained variable; 0 where there was none, None where none was looked
            for.
        learning_rate: Of the trained variable's parameter group.
        loss: Of the whole run.
    """

    step: int
    coefficient_norm: float
    relative_change: float | None = None
    gradient_norm: float | None = None
    learning_rate: float | None = None
    loss: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was seen.

    Attributes:
        kind: Its stable name.
        severity: How much it matters.
        target: The target's name, or None for the whole run.
        figure: The number that it rests on; its meaning is the kind's.
        phrase: What was seen, a clause with "{}" in the place of the figure, and of each of `also`.
        advice: What to do, in sentences.
        learning_rate: The rate to try, for the trained variable, where one can be said.
        alpha: The scale to try, where another one is advised.
        also: Other numbers of this target in the phrase.
    """

    kind: Kind
    severity: Severity
    target: str | None
    figure: float
    phrase: str
    advice: str
    learning_rate: float | None = None
    alpha: float | None = None
    also: tuple[float, ...] = ()

    @property
    def seen(self) -> str:
        """What was seen, with its figures."""
        return self.phrase.format(*map(short, self.figures))

    @property
    def figures(self) -> tuple[float, ...]:
        """The numbers in the phrase, in its order."""
        return (self.figure, *self.also)

    def __str__(self) -> str:
        """One line: where, what was seen, what to do."""
        where = "the run" if self.target is None else shown(self.target)
        return f"{where}: {self.seen}. {self.advice}".rstrip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """Findings of one kind that are said in the same words, as one line for the run.

    Attributes:
        kind: The findings' kind; several lines may be of one.
        severity: The worst of theirs.
        targets: The names of the targets, in the order of the findings; empty for the whole run.
        of: How many targets were looked at.
        seen: What was seen of every target, with the range of each figure.
        advice: What to do, in sentences.
        learning_rate: The rate to try, where one can be said.
        alpha: The scale to try, where another one is advised.
    """

    kind: Kind
    severity: Severity
    targets: tuple[str, ...]
    of: int
    seen: str
    advice: str
    learning_rate: float | None = None
    alpha: float | None = None

    def __str__(self) -> str:
        """One line, as in "11 of 12 targets (a, b and 9 more): ... Try ..."."""
        return f"{self._where()}: {self.seen}. {self.advice}".rstrip()

    def _where(self) -> str:
        count = len(self.targets)
        if not count:
            return "the run"
        if count == self.of:
            return f"all {count} targets" if count > 1 else shown(self.targets[0])
        names = ", ".join(shown(name) for name in self.targets[:_NAMES_SHOWN])
        more = f" and {count - _NAMES_SHOWN} more" if count > _NAMES_SHOWN else ""
        return f"{count} of {self.of} targets ({names}{more})"


def shown(name: str) -> str:
    """Returns a target's name for people, on one line and not too long."""
    return words.shortened(one_line(name), _NAME_WIDTH)


def short(value: float) -> str:
    """Returns a number in two digits, as in "0.06", "150" and "3.2e-5"."""
    rounded = float(f"{value:.2g}")
    text = f"{rounded:.0f}" if 10 <= abs(rounded) < 1e6 else f"{rounded:.2g}"
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text

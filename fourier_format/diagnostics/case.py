"""One target's history with what several checks ask of it, and the settings to try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fourier_format.diagnostics import thresholds as at
from fourier_format.diagnostics.arithmetic import likely_change, real
from fourier_format.diagnostics.records import (
    Finding,
    Kind,
    Observation,
    Severity,
    WatchedTarget,
    short,
)

Settings = tuple[str, float | None, float | None]
"""Advice in sentences, the learning rate to try, the alpha to try."""


@dataclass(frozen=True, slots=True)
class Case:
    """A target, its observations by step, and how many steps the run is to take."""

    target: WatchedTarget
    history: tuple[Observation, ...]
    planned: int

    @classmethod
    def of(
        cls, target: WatchedTarget, history: Sequence[Observation], planned_steps: int | None
    ) -> Case:
        """Returns the case; a history that is longer than the plan is the plan."""
        ordered = tuple(sorted(history, key=lambda seen: seen.step))
        planned = at.DEFAULT_STEPS if planned_steps is None else planned_steps
        return cls(target, ordered, max(planned, ordered[-1].step))

    @property
    def first(self) -> Observation:
        """The earliest observation."""
        return self.history[0]

    @property
    def last(self) -> Observation:
        """The latest observation."""
        return self.history[-1]

    @property
    def early(self) -> bool:
        """Whether it is too soon to call anything small."""
        return self.last.step < at.WARM_UP * self.planned

    @property
    def starts_nonzero(self) -> bool:
        """Whether there was a delta weight before the first step."""
        return self.first.step <= 0 and bool(real(self.first.coefficient_norm) > 0)

    @property
    def allowed(self) -> float:
        """The relative change that is not disturbing at the latest step."""
        return at.DISTURBING * float(np.sqrt(max(1.0, self.last.step / at.EARLY)))

    @property
    def rates(self) -> list[float]:
        """The finite learning rates, in order of steps."""
        return _finite([seen.learning_rate for seen in self.history])

    @property
    def rate(self) -> float | None:
        """The highest learning rate: what the user set, whatever the schedule makes of it."""
        return max(self.rates, default=None)

    @property
    def warming_up(self) -> bool:
        """Whether the learning rate still rises, or is to."""
        rising = len(self.rates) > 1 and self.rates[-1] > max(self.rates[:-1])
        return self.early and (rising or self.rate == 0)

    @property
    def decayed(self) -> bool:
        """Whether the schedule has come to its end."""
        return bool(self.rates) and self.rates[-1] < at.DECAYED * max(self.rates)

    @property
    def gradients(self) -> list[float]:
        """The finite norms of gradients that are not zero, in order of steps."""
        return [norm for norm in _finite([seen.gradient_norm for seen in self.history]) if norm > 0]

    @property
    def losses(self) -> list[float]:
        """The finite losses, in order of steps."""
        return _finite([seen.loss for seen in self.history])

    def likely(self, rate: float | None) -> float:
        """Returns the relative change to expect at the end of the run."""
        return likely_change(self.target, float(real(rate)), self.planned)

    def finding(
        self,
        kind: Kind,
        severity: Severity,
        figure: float,
        phrase: str,
        advice: str,
        learning_rate: float | None = None,
        alpha: float | None = None,
        also: tuple[float, ...] = (),
    ) -> Finding:
        """Returns a finding about the target."""
        return Finding(
            kind=kind,
            severity=severity,
            target=self.target.name,
            figure=float(figure),
            phrase=phrase,
            advice=advice,
            learning_rate=learning_rate,
            alpha=alpha,
            also=tuple(map(float, also)),
        )

    def scaled_alpha(self, factor: float) -> float | None:
        """Returns alpha times `factor` in two digits, or None where that is no scale."""
        return _usable(real(self.target.alpha) * factor)

    def calmer(self, factor: float) -> Settings:
        """Returns settings with which the change is `factor` < 1 of what it is now.

        The change goes with alpha times the rate under Adam, so either will do; a rate above the
        paper's is taken back first.
        """
        rate, alpha = self.rate, self.scaled_alpha(factor)
        if rate is not None and rate * abs(real(self.target.gain)) > at.PAPER_RATES[1]:
            lower = _usable(real(rate) * factor)
            if lower is not None:
                return (
                    f"Try a learning rate of {short(lower)} instead of {short(rate)}.",
                    lower,
                    None,
                )
        if alpha is None:
            return "Try a smaller alpha or learning rate.", None, None
        return f"Try alpha {short(alpha)} instead of {short(self.target.alpha)}.", None, alpha

    def stronger(self, factor: float) -> Settings:
        """Returns settings with which the change is `factor` times what it will be.

        The rate is raised up to the paper's highest, and alpha for the rest.
        """
        low, high = at.PAPER_RATES
        paper = f"the paper's are {low:g} to {high:g}, at gain 1"
        gain = abs(real(self.target.gain))
        now = real(self.rate) * gain
        highest = np.maximum(now, high)
        wanted = now * factor
        rate = _usable(np.minimum(wanted, highest) / gain) if wanted > now else None
        if rate is None or self.rate is None:
            return f"Try a higher learning rate ({paper}) or alpha.", None, None
        alpha = self.scaled_alpha(float(wanted / highest)) if wanted > highest else None
        other = f"alpha {short(alpha)} instead of {short(self.target.alpha)}" if alpha else ""
        if now >= high:
            return f"Try {other or 'a larger alpha'}.", None, alpha
        text = f"Try a learning rate of {short(rate)} instead of {short(self.rate)} ({paper})"
        return f"{text}{' and ' if other else ''}{other}.", rate, alpha

    def slower(self) -> Settings:
        """Returns what to do after a divergence."""
        return after_divergence(self.history)


def after_divergence(history: Sequence[Observation]) -> Settings:
    """Returns the advice to go back and take a third of the rate; alpha as it is."""
    rate = max(_finite([seen.learning_rate for seen in history]), default=None)
    slower = None if rate is None else _usable(real(rate) / 3)
    back = "Go back to a checkpoint from before it"
    if slower is None:
        return f"{back} and take a third of the learning rate.", None, None
    return f"{back} and try a learning rate of {short(slower)}, a third.", slower, None


def _finite(values: Sequence[float | None]) -> list[float]:
    return [float(number) for number in map(real, values) if np.isfinite(number)]


def _usable(value: float) -> float | None:
    """Returns a setting in two digits, or None where it is not finite or zero."""
    rounded = float(f"{value:.2g}")
    return rounded if np.isfinite(rounded) and rounded != 0 else None

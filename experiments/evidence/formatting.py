"""How numbers are written on the page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.statistics import Interval, mean_interval

NONE = "-"
"""Of a cell for which there is no number."""
_ROUNDED = 0.9995  # from here on three digits give 1.00 of the next unit
_MORE = 5  # digits at most, where those of the unit do not tell two numbers apart


@dataclass(frozen=True, slots=True)
class Unit:
    """How a metric is written.

    Attributes:
        metric: Its name.
        scale: After the name, where values are not written as they are: "%".
        name: After differences: "points", or nothing.
        factor: What the stored value is multiplied by.
        digits: After the point.
        bounds: Between which all stored values lie.
    """

    metric: str
    scale: str
    name: str
    factor: float
    digits: int
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def mean(self, values: Sequence[float]) -> Interval:
        """Returns the mean over seeds, with Student's interval as far as values can lie."""
        return mean_interval(values).within(*self.bounds)

    def value(self, number: float) -> str:
        """Returns a value: "84.3" points, "0.8712" of a correlation."""
        return _fixed(number * self.factor, self.digits)

    def signed(self, number: float) -> str:
        """Returns a difference with its sign: "+0.4", "-1.2"; more digits until it shows."""
        return self._signed(number, self._telling([number], [0.0]))

    def interval(self, found: Interval) -> str:
        """Returns a mean and its interval: "84.3 [83.8, 84.9]"; the mean alone if there is none."""
        return _with_ends([self.value(n) for n in _numbers(found)])

    def difference(self, found: Interval, bound: float = 0.0) -> str:
        """Returns a difference and its interval: "-0.4 [-1.2, +0.3]".

        All have so many digits that one sees on which side of 0 and of `bound` each of them lies.
        """
        numbers = _numbers(found)
        digits = self._telling(numbers, [0.0, bound])
        return _with_ends([self._signed(number, digits) for number in numbers])

    def _signed(self, number: float, digits: int) -> str:
        text = _fixed(number * self.factor, digits)
        return text if text.startswith("-") or not float(text) else f"+{text}"

    def _telling(self, numbers: Sequence[float], bounds: Sequence[float]) -> int:
        """Returns the digits that tell `numbers` from `bounds`, where they differ at all."""
        most = self.digits + _MORE
        pairs = [
            (number * self.factor, bound * self.factor)
            for number, bound in itertools.product(numbers, bounds)
            if abs(number - bound) * self.factor >= 10.0**-most
        ]
        return next(
            digits
            for digits in range(self.digits, most + 1)
            if all(_fixed(a, digits) != _fixed(b, digits) for a, b in pairs)
        )

    def on(self, split: str) -> str:
        """Returns what a column or an axis is called: "accuracy on test (%)"."""
        return f"{self.metric} on {split}" + (f" ({self.scale})" if self.scale else "")

    def called(self, text: str) -> str:
        """Returns `text` with the unit's name."""
        return f"{text} {self.name}".rstrip()


UNITS = {
    "accuracy": Unit("accuracy", "%", "points", 100.0, 1, (0, 1)),
    "f1": Unit("F1", "%", "points", 100.0, 1, (0, 1)),
    "matthews": Unit("Matthews", "times 100", "points", 100.0, 1, (-1, 1)),
    "pearson": Unit("Pearson", "", "", 1.0, 4, (-1, 1)),
    "spearman": Unit("Spearman", "", "", 1.0, 4, (-1, 1)),
}
"""Metric -> how it is written."""


def count(number: float) -> str:
    """Returns a whole number: "3,600"."""
    return f"{round(number):,}"


def significant(number: float, digits: int = 3) -> str:
    """Returns a number of any size: "0.0312", "1.2e-07"."""
    return f"{number:.{digits}g}"


def power(number: float) -> str:
    """Returns a bound: "1e-4"."""
    return f"{number:.0e}".replace("e-0", "e-")


def size(number: float) -> str:
    """Returns bytes: "14.2 kB", "1.2 MB", "512 B"; of 1000."""
    for name, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= _ROUNDED * factor:
            return f"{number / factor:.{1 if number < 99.95 * factor else 0}f} {name}"
    return f"{number:.0f} B"


def memory(number: float) -> str:
    """Returns bytes as memory is counted: "612 MiB"."""
    return f"{number / 2**20:,.0f} MiB"


def seconds(number: float) -> str:
    """Returns a duration: "12 ms", "4.1 s", "240 s", "12 min", "3.2 h"."""
    if number < _ROUNDED:
        return f"{1000 * number:.3g} ms"
    if number < 600:
        return f"{number:.{1 if number < 9.95 else 0}f} s"
    return f"{number / 60:.0f} min" if number < 6000 else f"{number / 3600:.1f} h"


def listed(names: list[str]) -> str:
    """Returns names as a list in a sentence: "a, b and c"."""
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), *names[-1:]])


def _numbers(found: Interval) -> list[float]:
    """Returns the mean, and the ends if there are any."""
    return [number for number in (found.mean, found.low, found.high) if number is not None]


def _with_ends(texts: Sequence[str]) -> str:
    mean, *ends = texts
    return f"{mean} [{', '.join(ends)}]" if ends else mean


def _fixed(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}"
    return text.removeprefix("-") if not float(text) else text  # no "-0.0"

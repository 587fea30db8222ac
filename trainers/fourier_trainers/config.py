"""What a user asks for when a model is adapted: the same words in every framework."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fourier_format.adapter import Array
from fourier_format.errors import UsageError, Violation

Path = Literal["auto", "weight", "activation"]
"""How to compute: through the delta weight, through activations, or whichever is cheaper."""


@dataclass(frozen=True, slots=True)
class Uniform:
    """Entries uniform among all of a shape, without replacement (spec/registry.md, 3.1)."""


@dataclass(frozen=True, slots=True)
class BandPass:
    """Entries around a distance from frequency zero (arXiv 2405.03003, Eq. 5; registry, 3.2).

    Attributes:
        centre: The favoured distance, in entries; 0 favours low frequencies.
        width: How wide the band is, in entries.
    """

    centre: float
    width: float


@dataclass(frozen=True, slots=True)
class TorchRandperm:
    """Entries as PEFT draws them, so that the adapter can go back to PEFT (registry, 3.3)."""


@dataclass(frozen=True, slots=True, eq=False)
class Explicit:
    """Entries that were chosen in another way.

    Attributes:
        entries: (out, in) -> (n, 2) integers, one (u, v) a row; a shape for every target.
    """

    entries: Mapping[tuple[int, int], Array]


Entries = Uniform | BandPass | TorchRandperm | Explicit


@dataclass(frozen=True, kw_only=True, slots=True)
class FourierConfig:
    """How a model is adapted. Defaults are the paper's and PEFT's, but for a start at the base.

    Attributes:
        target_modules: Name suffixes, one regular expression for whole names, or "all-linear":
            every linear layer but the output layer and what is in `modules_to_save`.
        n: Coefficients of a target.
        alpha: The scale of the delta weights; the paper takes 10 to 300.
        n_pattern: Suffix of a name -> its own n; the longest suffix wins.
        alpha_pattern: Suffix of a name -> its own alpha, in the same way.
        transform: "dft2", "dct2", "dht2" or "dwt2:<wavelet>" (spec, clause 3.2).
        entries: How entries are drawn; targets of one shape and n share them.
        seed: Of the draw, and of the start where that is "normal".
        init: "zeros" starts at the base; "normal" starts at standard normal coefficients, as PEFT
            does, which disturbs the base.
        gain: Trained are the coefficients over `gain`. Under Adam, a rate lr then moves them by
            lr * gain a step, so that one rate serves coefficients (1e-2 to 3e-1) and a head (1e-3).
        modules_to_save: Name suffixes of modules that are trained whole, such as a classifier.
        bias: Which biases are trained: "none", those of the "targets", or "all".
        path: "auto", or how to compute: through the "weight" or through "activation"s.
        reached: "checked": the first forward is an error if it misses a target; "unchecked" for
            models whose targets take turns, such as experts.
    """

    target_modules: Sequence[str] | str
    n: int = 1000
    alpha: float = 150.0
    n_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    transform: str = "dft2"
    entries: Entries = field(default_factory=Uniform)
    seed: int = 777
    init: Literal["zeros", "normal"] = "zeros"
    gain: float = 1.0
    modules_to_save: Sequence[str] = ()
    bias: Literal["none", "targets", "all"] = "none"
    path: Path = "auto"
    reached: Literal["checked", "unchecked"] = "checked"

    def __post_init__(self) -> None:
        """Refuse what makes no sense, all of it at once.

        Raises:
            UsageError: With a line for each field.
        """
        wrong = [
            Violation("E-USAGE", f"FourierConfig.{name}", "not allowed", repr(got), expected)
            for name, got, expected, allowed in self._rules()
            if not allowed
        ]
        if wrong:
            raise UsageError(wrong)

    def _rules(self) -> list[tuple[str, Any, str, bool]]:
        counts, alphas = self.n_pattern.values(), self.alpha_pattern.values()
        choices = "one of "
        return [
            ("n", self.n, "an integer from 1", _is_count(self.n)),
            ("n_pattern", self.n_pattern, "integers from 1", all(map(_is_count, counts))),
            ("alpha", self.alpha, "a finite number", _is_finite(self.alpha)),
            (
                "alpha_pattern",
                self.alpha_pattern,
                "finite numbers",
                all(map(_is_finite, alphas)),
            ),
            ("gain", self.gain, "a positive number", _is_finite(self.gain) and self.gain > 0),
            ("seed", self.seed, "0 to 2^64 - 1", type(self.seed) is int and 0 <= self.seed < 2**64),
            ("init", self.init, choices + "zeros, normal", self.init in {"zeros", "normal"}),
            (
                "bias",
                self.bias,
                choices + "none, targets, all",
                self.bias in {"none", "targets", "all"},
            ),
            (
                "path",
                self.path,
                choices + "auto, weight, activation",
                self.path in {"auto", "weight", "activation"},
            ),
            (
                "reached",
                self.reached,
                choices + "checked, unchecked",
                self.reached in {"checked", "unchecked"},
            ),
            (
                "entries",
                self.entries,
                "Uniform(), BandPass(...), Explicit(...) or TorchRandperm()",
                isinstance(self.entries, Entries),
            ),
            ("target_modules", self.target_modules, "at least one name", bool(self.target_modules)),
            (
                "modules_to_save",
                self.modules_to_save,
                "a list of names",
                not isinstance(self.modules_to_save, str),
            ),
        ]


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

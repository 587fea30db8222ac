"""What keeps targets from being adapted as is asked for, in every framework."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from fourier_format.errors import UnsupportedError, UsageError, Violation
from fourier_trainers.config import FourierConfig
from fourier_trainers.names import Naming


class Sized(Protocol):
    """What each framework's site has."""

    @property
    def name(self) -> str:
        """Its name in the model."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the canonical matrix."""
        ...

    @property
    def n(self) -> int:
        """Its number of coefficients."""
        ...

    @property
    def alpha(self) -> float:
        """Its scale."""
        ...


def refuse_sizes(sites: Iterable[Sized]) -> None:
    """Refuse targets with more coefficients than weights, or a scale that trains nothing.

    Raises:
        UsageError: With a line for each.
    """
    wrong = []
    for site in sites:
        cells = site.shape[0] * site.shape[1]
        if site.n > cells:
            expected = f"at most {site.shape[0]} * {site.shape[1]} = {cells}"
            problem = "n exceeds the matrix"
            wrong.append(Violation("E-FIELD-VALUE", site.name, problem, str(site.n), expected))
        if site.alpha == 0:
            problem = "with an alpha of 0 nothing is trained"
            wrong.append(Violation("E-FIELD-VALUE", site.name, problem, str(site.alpha)))
    if wrong:
        raise UsageError(wrong)


def refuse_patterns(sites: Sequence[Sized], config: FourierConfig, naming: Naming) -> None:
    """Refuse an n or alpha of its own for what is no target.

    Raises:
        TargetNotFoundError: A key of `n_pattern` or `alpha_pattern` is the suffix of none.
    """
    names = [site.name for site in sites]
    for field in ("n_pattern", "alpha_pattern"):
        for key in getattr(config, field):
            if not any(naming.has_suffix(name, key) for name in names):
                raise naming.not_found(field, key, names, "no target has this name")


def refuse_not_finite(norms: Mapping[str, float]) -> None:
    """Refuse targets, by name, whose weights' norms are not finite.

    Raises:
        UnsupportedError: With a line for each.
    """
    wrong = [name for name, norm in norms.items() if not math.isfinite(norm)]
    if wrong:
        problem = "its base weight is not finite"
        advice = "load the base again, or mend it, before attaching"
        raise UnsupportedError(
            Violation("E-NUMBER-NONFINITE", name, problem, advice=advice) for name in wrong
        )

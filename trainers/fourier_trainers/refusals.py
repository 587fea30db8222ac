"""Whether what is asked for fits a target."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fourier_format.errors import UsageError, Violation


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

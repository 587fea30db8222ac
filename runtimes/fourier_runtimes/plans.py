"""What a plan says: what each form costs, and which is best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Form: TypeAlias = Literal["merged", "inputs", "factored", "spectral", "dense"]

LABELS: Final[dict[Form, str]] = {
    "merged": "merged session",
    "inputs": "adapted weights as inputs",
    "factored": "live, factored",
    "spectral": "live, spectral",
    "dense": "dense delta per run",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one form costs.

    Attributes:
        form: The form.
        milliseconds: Of a run of all rows, on what was measured, one thread; infinite where the
            form cannot serve this.
        relative: The same over the base's.
        nbytes: What all adapters take, beside the base.
        note: What the time is made of.
    """

    form: Form
    milliseconds: float
    relative: float
    nbytes: int
    note: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Which form is best.

    Attributes:
        form: The fastest.
        costs: Of every form, the fastest first.
        relative_to: What relative costs are relative to: "the base", or "the adapted layers" where
            nothing says what else the base computes.
        why: Why, in a sentence.
        pays_after: Runs with one adapter after which making its merged session has paid, against
            the live graph; None if it never does.
        measured_on: Of what the table is.
    """

    form: Form
    costs: tuple[Cost, ...]
    relative_to: str
    why: str
    pays_after: int | None
    measured_on: str

    def cost(self, form: Form) -> Cost:
        """Returns what a form costs."""
        return next(cost for cost in self.costs if cost.form == form)

    def best_of(self, *forms: Form) -> Form:
        """Returns the fastest of some forms."""
        return next(cost.form for cost in self.costs if cost.form in forms)

    def __str__(self) -> str:
        """The costs as a table, and why."""
        rows = [("form", f"times {self.relative_to}", "ms a run", "MB", "")]
        rows += [
            (
                LABELS[one.form],
                f"{one.relative:.2f}" if math.isfinite(one.relative) else "-",
                f"{one.milliseconds:.3g}" if math.isfinite(one.relative) else "-",
                f"{one.nbytes / 1e6:.1f}",
                one.note,
            )
            for one in self.costs
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(row[c].rjust(widths[c]) for c in (1, 2, 3)), row[4]]
            ).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, self.why])

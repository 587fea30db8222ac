"""What a conversion did, as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fourier_format.adapter import Adapter, Array, Target
from fourier_format.command_line import table
from fourier_format.errors import one_line


@dataclass(frozen=True, slots=True)
class Row:
    """One target or replacement.

    Attributes:
        target: Its name in the adapter.
        found: Where it was found in the base.
        evidence: What says so.
        shape: (out, in), or a replacement's shape.
        n: The number of coefficients; None for a replacement.
        relative_change: Norm of the delta weight over the weight's; None where not computed.
        kept: The share of the change that the result carries, where that is not all of it.
    """

    target: str
    found: str
    evidence: str
    shape: str
    n: int | None
    relative_change: float | None
    kept: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a conversion did.

    Attributes:
        output: The file or directory that was written.
        rows: One for each target and replacement.
        skipped: What the map left out.
        notes: What the user should know.
    """

    output: str
    rows: tuple[Row, ...] = ()
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def noting(self, note: str) -> Report:
        """Returns the report with one more note."""
        return replace(self, notes=(*self.notes, note))

    def as_json(self) -> dict[str, Any]:
        """Returns the report for `--json`."""
        return {"ok": True, **asdict(self)}

    def __str__(self) -> str:
        """The table, then what was skipped and noted."""
        header = ("target", "found in", "evidence", "shape", "n", "change", "kept")
        lines = []
        if self.rows:
            cells = [
                (
                    one_line(row.target),
                    one_line(row.found),
                    row.evidence,
                    row.shape,
                    "" if row.n is None else str(row.n),
                    "" if row.relative_change is None else f"{row.relative_change:.3g}",
                    "" if row.kept is None else f"{row.kept:.1%}",
                )
                for row in self.rows
            ]
            columns = [i for i in range(len(header)) if any(cell[i] for cell in cells)]
            shown = [[cell[i] for i in columns] for cell in cells]
            lines.append(table([header[i] for i in columns], shown))
        lines += [f"skipped by the map: {one_line(name)}" for name in self.skipped]
        lines += [one_line(note) for note in self.notes]
        return "\n".join(lines)


def target_row(
    adapter: Adapter,
    target: Target,
    found: str,
    evidence: Sequence[str] = (),
    relative_change: float | None = None,
    kept: float | None = None,
) -> Row:
    """Returns the row of a target; `evidence` are the things that say where it was found."""
    return Row(
        target=target.name,
        found=found,
        evidence=" + ".join(evidence),
        shape=f"{target.shape[0]}x{target.shape[1]}",
        n=adapter.entry_set(target).count,
        relative_change=relative_change,
        kept=kept,
    )


def replacement_row(name: str, found: str, evidence: str, values: Array) -> Row:
    """Returns the row of a replacement with its `values`."""
    shape = "x".join(str(size) for size in values.shape)
    return Row(name, found, evidence, shape, n=None, relative_change=None)


def of_adapter(adapter: Adapter, output: str, places: Mapping[str, str]) -> Report:
    """Returns the report of a conversion; `places` says where targets were found, if anywhere."""
    rows = [target_row(adapter, t, places.get(t.name, "")) for t in adapter.targets]
    return Report(output, tuple(rows))

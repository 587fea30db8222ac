"""Which form serves adapters best: what each costs a run, and takes, by a measured table.

All forms are compared on one footing: a run of `rows` rows, each of which asks for one of the
adapters, all equally often. A merged session, or one whose adapted weights are inputs, answers one
adapter a run, so that a batch takes as many runs as it asks for adapters.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from fourier_converters.onnx.live.spectrum import FEW_TOKENS
from fourier_format.adapter import Adapter
from fourier_format.errors import UsageError, Violation
from fourier_format.live import Interface, from_text
from fourier_runtimes import costs
from fourier_runtimes.activating import PER_GRAPH
from fourier_runtimes.costs import Group, Table
from fourier_runtimes.graphs import live_text, name_of
from fourier_runtimes.plans import LABELS, Cost, Form, Plan
from fourier_runtimes.weighing import (
    TARGETS,
    Weighed,
    groups_of_adapter,
    groups_of_base,
    groups_of_interface,
    weighed,
)

BUDGET: Final = 2**30
_FLOAT: Final = 4


class Served(Protocol):
    """A session, as far as a plan asks it."""

    @property
    def interface(self) -> Interface:
        """What its live graph says of itself."""

    @property
    def plain(self) -> str | None:
        """The path of the model that it was made of, if that is known."""


def plan(
    base: str | os.PathLike[str] | Interface | Served,
    n: int | None,
    adapters: int,
    tokens: int,
    rows: int = 1,
    *,
    adapter: Adapter | None = None,
    targets: Sequence[str] = TARGETS,
    weights: int | None = None,
    per_run: float | None = None,
    budget: int = BUDGET,
    device: str = "cpu",
    table: str | os.PathLike[str] | None = None,
) -> Plan:
    """Returns which form serves adapters best, by the costs that were measured.

    Args:
        base: The path of an ONNX model, plain or live; a live graph's interface; a session.
        n: The entries of a target; None for those of `adapter`, or of the live graph.
        adapters: How many adapters are to be served, all equally often.
        tokens: The tokens of a row.
        rows: The rows of a run.
        adapter: One of the adapters, whose targets count rather than the base's.
        targets: The last parts of the names of the targets, for a plain base without an adapter.
        weights: The weights of all linear layers of the base, where it does not say them itself.
        per_run: How many adapters a run asks for; on average as many as `rows` rows draw.
        budget: The bytes that adapters may take as merged sessions or dense weights; what is not
            held is made when it is asked for.
        device: "cpu" or "cuda": which table is taken.
        table: A file of benchmarks/forms.py to take instead of ours.

    Raises:
        UsageError: A number is below 1; n is not given and not known; nothing says which layers
            are adapted; there is no table of the device.
        FourierFormatError: The base cannot be read.
    """
    for name, value in {"n": n, "adapters": adapters, "tokens": tokens, "rows": rows}.items():
        if value is not None and value < 1:
            raise UsageError(Violation("E-USAGE", name, "not a count", str(value), "1 or more"))
    groups, found = _described(base, n, adapter, targets)
    weights = found.weights if weights is None and found is not None else weights
    adapted = sum(group.weights for group in groups)
    distinct = adapters * -math.expm1(rows * math.log1p(-1 / adapters)) if adapters > 1 else 1.0
    asked = _Asked(
        groups,
        max(weights or 0, adapted),
        adapted,
        adapters,
        rows,
        rows * tokens,
        min(distinct if per_run is None else max(1.0, per_run), rows, adapters),
        budget,
        0 if found is None else PER_GRAPH * found.graph_bytes,
        _refused(groups, adapter),
    )
    return _planned(
        asked, costs.table(device, table), "the base" if weights else "the adapted layers"
    )


def _described(
    base: str | os.PathLike[str] | Interface | Served,
    n: int | None,
    adapter: Adapter | None,
    targets: Sequence[str],
) -> tuple[list[Group], Weighed | None]:
    """Returns the targets, and what the base consists of where it is there to be read."""
    if isinstance(base, Interface):
        interface, path = base, None
    elif isinstance(base, str | os.PathLike):
        path = os.fspath(base)
        text = live_text(path)
        interface = Interface(()) if text is None else from_text(text, name_of(path))
    else:
        interface, path = base.interface, base.plain
    found = None if path is None else weighed(path, targets)
    if adapter is not None:
        groups = groups_of_adapter(adapter, n)
    elif interface.banks or found is None:
        groups = groups_of_interface(interface, n)
    elif n is None:
        problem = "a plain base says nothing of entries"
        raise UsageError(Violation("E-USAGE", "n", problem, advice="give n, or an adapter"))
    else:
        groups = groups_of_base(found, n)
    if not groups:
        problem = "nothing says which layers are adapted"
        raise UsageError(
            Violation("E-USAGE", "base", problem, advice="give `adapter` or `targets`")
        )
    return groups, found


def _refused(groups: Iterable[Group], adapter: Adapter | None) -> str | None:
    """Returns why no live graph serves these, None if one does."""
    transforms = {group.transform for group in groups}
    if any(transform.startswith("dwt2") for transform in transforms):
        return "a live graph computes no wavelets"
    kinds = set() if adapter is None else {target.kind for target in adapter.targets}
    if kinds & {"conv2d", "embedding"}:
        return "a live graph adapts linear layers alone"
    return None


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What is planned for.

    Attributes:
        groups: The targets.
        weights: Those of the base's linear layers.
        adapted: Those of the targets.
        adapters: How many are served.
        rows: The rows of a run.
        tokens: All tokens of a run.
        distinct: The adapters that a run asks for.
        budget: Bytes.
        session: The bytes of a session beside its weights.
        refused: Why no live graph serves this.
    """

    groups: list[Group]
    weights: int
    adapted: int
    adapters: int
    rows: int
    tokens: int
    distinct: float
    budget: int
    session: int
    refused: str | None

    @property
    def fed(self) -> int:
        """The rows of adapters that a live graph is fed."""
        return 1 if self.distinct <= 1 else self.rows

    def missing(self, each: int) -> float | None:
        """Returns the share of adapters that are not held, None where not even one can be."""
        held = min(self.adapters, self.budget // each)
        return 1 - held / self.adapters if held else None


def _planned(asked: _Asked, table: Table, relative_to: str) -> Plan:
    base = _base(asked, table, asked.tokens)
    found = [
        _cost("merged", *_merged(asked, table), base),
        _cost("inputs", *_inputs(asked, table), base),
        _cost("dense", *_dense(asked, table), base),
        _cost("factored", *_factored(asked, table), base),
        _cost("spectral", *_spectral(asked, table), base),
    ]
    found.sort(key=lambda one: (one.milliseconds, one.nbytes))
    one_adapter = _live(asked, table, fed=1)
    pays = _making(asked, table) / one_adapter if one_adapter > 0 else math.inf
    return Plan(
        found[0].form,
        tuple(found),
        relative_to,
        _why(found, asked, relative_to),
        math.ceil(pays) if asked.refused is None and math.isfinite(pays) else None,
        f"{table.processor}, {table.device}",
    )


def _cost(form: Form, ns: float, nbytes: int, note: str, base: float) -> Cost:
    return Cost(form, ns / 1e6, ns / base, nbytes, note)


def _base(asked: _Asked, table: Table, tokens: float) -> float:
    return table.ns("base", {"run": 1, **costs.linear(asked.weights, tokens)})


def _making(asked: _Asked, table: Table) -> float:
    """Returns the nanoseconds of making one merged session."""
    work = {"run": 1, "weight": asked.adapted, "base_weight": asked.weights}
    return table.ns("merging", work)


def _merged(asked: _Asked, table: Table) -> tuple[float, int, str]:
    shared = 0 if table.device == "cpu" else asked.weights - asked.adapted
    each = _FLOAT * (asked.adapted + shared) + asked.session
    missing, runs = asked.missing(each), asked.distinct
    if missing is None:
        return math.inf, each * asked.adapters, "one takes more than the budget"
    made = missing * _making(asked, table)
    ns = runs * (_base(asked, table, asked.tokens / runs) + made)
    return ns, each * asked.adapters, _noted(f"{_runs(runs)}", missing)


def _inputs(asked: _Asked, table: Table) -> tuple[float, int, str]:
    each, runs = _FLOAT * asked.adapted, asked.distinct
    missing = asked.missing(each)
    if missing is None:
        return math.inf, each * asked.adapters, "one takes more than the budget"
    share = asked.tokens / runs
    added = table.ns("inputs", costs.inputs(asked.adapted, share))
    made = missing * _deltas(asked, table)
    ns = runs * (_base(asked, table, share) + added + made)
    return ns, each * asked.adapters, _noted(f"{_runs(runs)}, weights not packed", missing)


def _dense(asked: _Asked, table: Table) -> tuple[float, int, str]:
    each = _FLOAT * asked.adapted
    missing = asked.missing(each)
    if missing is None:
        return math.inf, each * asked.adapters, "one takes more than the budget"
    groups = len(asked.groups)
    work = costs.dense(asked.adapted, asked.fed, asked.tokens, groups=groups)
    added = table.ns("dense", work)
    made = asked.distinct * missing * _deltas(asked, table)
    gathered = each * asked.fed if asked.fed > 1 else 0
    note = _noted(f"one run, a matrix for each of {asked.fed}", missing)
    return _base(asked, table, asked.tokens) + added + made, each * asked.adapters + gathered, note


def _deltas(asked: _Asked, table: Table) -> float:
    return table.ns("delta", {"run": 1, "weight": asked.adapted})


def _factored(asked: _Asked, table: Table) -> tuple[float, int, str]:
    ranks = {(g.shape, g.n): 2 * g.n * sum(g.shape) for g in asked.groups}
    nbytes = _FLOAT * sum(ranks.values()) + _coefficients(asked)
    if asked.refused is not None:
        return math.inf, nbytes, asked.refused
    works = [costs.factored(group, asked.tokens) for group in asked.groups]
    added = sum(table.ns("factored", work) for work in works)
    return _base(asked, table, asked.tokens) + added, nbytes, "one run"


def _spectral(asked: _Asked, table: Table) -> tuple[float, int, str]:
    if asked.refused is not None:
        return math.inf, _coefficients(asked), asked.refused
    bases = {(g.shape, g.n): g.basis.nbytes for g in asked.groups}
    nbytes = sum(bases.values()) + _coefficients(asked)
    return _base(asked, table, asked.tokens) + _live(asked, table, asked.fed), nbytes, "one run"


def _live(asked: _Asked, table: Table, fed: int) -> float:
    """Returns the nanoseconds that the converter's branches add."""
    if asked.refused is not None:
        return 0.0
    by_token = asked.tokens / fed <= FEW_TOKENS
    form = "by_token" if by_token else "by_row"
    works = [costs.spectral(g, fed, asked.tokens, by_token=by_token) for g in asked.groups]
    return sum(table.ns(form, work) for work in works)


def _coefficients(asked: _Asked) -> int:
    return _FLOAT * asked.adapters * sum(group.n * group.targets for group in asked.groups)


def _runs(count: float) -> str:
    return "one run" if count <= 1 else f"{count:.3g} runs"


def _noted(note: str, missing: float) -> str:
    return f"{note}; {missing:.0%} made when asked for" if missing else note


def _why(found: Sequence[Cost], asked: _Asked, relative_to: str) -> str:
    best, second = found[0], found[1]
    share = best.nbytes / asked.adapters / 1e6
    times = f"{best.relative:.2f} times {relative_to}"
    text = f"{LABELS[best.form]}: {times}, {share:.2g} MB an adapter"
    if best.form == "merged" and asked.distinct <= 1:
        text += ", since a run asks for one adapter and its sessions are held"
    elif best.form == "merged":
        text += f", though {asked.distinct:.3g} adapters a run take as many runs"
    elif asked.distinct > 1:
        merged = next(one for one in found if one.form == "merged")
        if math.isfinite(merged.relative):
            text += f"; {merged.note} of merged sessions would cost {merged.relative:.2f}"
    if math.isfinite(second.relative):
        text += f". Next: {LABELS[second.form]}, {second.relative:.2f}"
    return text + "."

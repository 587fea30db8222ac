"""A run as a whole: histories of bounded length, findings of all targets, and advice in short."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from fourier_format.diagnostics import thresholds as at
from fourier_format.diagnostics.arithmetic import quiet, real
from fourier_format.diagnostics.case import after_divergence
from fourier_format.diagnostics.checks import RECENT, target_findings
from fourier_format.diagnostics.records import (
    KINDS,
    SEVERITIES,
    Advice,
    Finding,
    Kind,
    Observation,
    WatchedTarget,
    short,
)

HISTORY: Final = 256
"""Observations kept of a target: at even steps, 64 of them lie in the last quarter of the run."""

LATEST: Final = 16
"""Observations that are never thinned out, so that what happens now is seen at once."""

History = tuple[Observation, ...]


def remember(history: Sequence[Observation], seen: Observation, limit: int = HISTORY) -> History:
    """Returns the history with one more observation, in at most `limit` >= 2.

    When it is full, of the older ones that one goes which is nearest to its neighbours, and never
    the first: whatever the length of the run, it is kept at about even steps.
    """
    longer = (*history, seen)
    limit = max(limit, 2)
    if len(longer) <= limit:
        return longer
    older = range(1, max(len(longer) - LATEST, 2))
    gone = min(older, key=lambda i: longer[i + 1].step - longer[i - 1].step)
    return (longer[:gone] + longer[gone + 1 :])[-limit:]


def diagnose(
    watched: Iterable[tuple[WatchedTarget, Sequence[Observation]]],
    planned_steps: int | None = None,
) -> tuple[Finding, ...]:
    """Returns the findings about the run, then those about each target.

    Args:
        watched: Each target with its history.
        planned_steps: How long the run will be, if that is known.
    """
    watched = tuple(watched)
    of_run = next((found for _, history in watched if (found := run_findings(history))), ())
    of_targets = [
        finding
        for target, history in watched
        for finding in target_findings(target, history, planned_steps)
    ]
    if of_run:
        of_targets = [finding for finding in of_targets if finding.kind != "healthy"]
    return (*of_run, *of_targets)


@quiet
def run_findings(history: Sequence[Observation]) -> tuple[Finding, ...]:
    """Returns what the losses tell, which any target's history holds; nothing where all is well."""
    ordered = sorted(history, key=lambda seen: seen.step)
    losses = [(seen.step, real(seen.loss)) for seen in ordered if seen.loss is not None]
    if not losses:
        return ()
    step, last = losses[-1]
    advice, rate, _ = after_divergence(ordered)
    if not np.isfinite(last):
        phrase = f"the loss is {{}} at step {step:,}"
        return (_of_run("not-finite", last, phrase, advice, rate),)
    values = [loss for _, loss in losses if np.isfinite(loss)]
    start, now = np.median(values[:RECENT]), np.median(values[-RECENT:])
    if not (len(values) > RECENT and start > 0 and now / start > at.LOSS_GROWTH):
        return ()
    phrase = f"the loss is {{}} at step {step:,}, and was {short(start)} at the start"
    return (_of_run("loss-grows", now, phrase, advice, rate),)


def advise(findings: Iterable[Finding]) -> tuple[Advice, ...]:
    """Returns one line for what is said of targets in the same words, most urgent first.

    The settings are those for the middle one of the targets, because most runs have one rate and
    one alpha for all; where things are too large, those for the largest.
    """
    findings = tuple(findings)
    of = len({finding.target for finding in findings if finding.target is not None})
    groups: dict[tuple[str, str, bool], list[Finding]] = {}
    for finding in findings:
        alike = (finding.kind, finding.phrase, finding.target is None)
        groups.setdefault(alike, []).append(finding)
    lines = [_line(group, of) for group in groups.values()]
    return tuple(sorted(lines, key=_urgency))


def _urgency(line: Advice) -> tuple[int, int, int]:
    return SEVERITIES.index(line.severity), KINDS.index(line.kind), len(line.targets)


def _line(group: Sequence[Finding], of: int) -> Advice:
    ordered = sorted(group, key=lambda found: (bool(np.isnan(found.figure)), found.figure))
    stands_for_all = ordered[-1 if group[0].kind in TOO_LARGE else (len(ordered) - 1) // 2]
    return Advice(
        kind=stands_for_all.kind,
        severity=min((found.severity for found in group), key=SEVERITIES.index),
        targets=tuple(dict.fromkeys(f.target for f in group if f.target is not None)),
        of=of,
        seen=stands_for_all.phrase.format(
            *map(_range, zip(*(f.figures for f in group), strict=True))
        ),
        advice=stands_for_all.advice,
        learning_rate=stands_for_all.learning_rate,
        alpha=stands_for_all.alpha,
    )


def _range(figures: Sequence[float]) -> str:
    """Returns the least and the largest of the figures that are numbers."""
    known = [figure for figure in figures if not np.isnan(figure)] or [np.nan]
    least, most = short(min(known)), short(max(known))
    return least if least == most else f"{least} to {most}"


def _of_run(kind: Kind, figure: float, phrase: str, advice: str, rate: float | None) -> Finding:
    return Finding(
        kind=kind,
        severity="problem",
        target=None,
        figure=float(figure),
        phrase=phrase,
        advice=advice,
        learning_rate=rate,
    )


TOO_LARGE: Final = ("start-too-large", "alpha-too-large", "outgrown")
"""The kinds whose settings must suit the largest."""

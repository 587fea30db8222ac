"""What a finished adapter tells, without the history of its training."""

from __future__ import annotations

import numpy as np

from fourier_format.diagnostics import thresholds as at
from fourier_format.diagnostics.arithmetic import beside, quiet, real
from fourier_format.diagnostics.case import Case
from fourier_format.diagnostics.checks import healthy, lost_in_merge, outgrown
from fourier_format.diagnostics.records import Finding, Observation, WatchedTarget


@quiet
def finished_findings(target: WatchedTarget, delta_norm: float) -> tuple[Finding, ...]:
    """Returns what one target of a finished adapter tells; one "healthy" where nothing is wrong.

    Of the checks of a run these are the ones that ask for no gradients, rates or losses: a change
    that is not finite, one that is too small to show, one larger than the weight, and one below
    the rounding of the base; a cause hides what follows from it. Where the weight is zero or
    its norm is not known, only a change of zero and one that is not finite are seen.

    Args:
        target: What is looked at.
        delta_norm: The Frobenius norm of its delta weight.
    """
    size = real(delta_norm)
    value = real(beside(target, size)) if size else size
    seen = Observation(step=at.DEFAULT_STEPS, coefficient_norm=size, relative_change=value)
    case = Case.of(target, (seen,), at.DEFAULT_STEPS)  # at the end, so that nothing is to come
    if not np.isfinite(size):
        phrase, advice = "the delta weight is not finite in float64", "Check alpha."
        return (case.finding("not-finite", "problem", np.nan, phrase, advice),)
    if value < at.TOO_SMALL:
        part = "the delta weight is {} of the weight, which will not show"
        phrase = part if value else "the delta weight is zero and changes nothing"
        advice_and_settings = case.stronger(at.AIM / value)
        return (case.finding("too-small", "warning", value, phrase, *advice_and_settings),)
    larger = filter(None, [outgrown(case), lost_in_merge(case)])
    return tuple(larger) or (healthy(case),)

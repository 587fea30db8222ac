"""The findings about one target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from fourier_format.diagnostics import thresholds as at
from fourier_format.diagnostics.arithmetic import EPSILONS, change, expected_at, quiet, real
from fourier_format.diagnostics.case import Case
from fourier_format.diagnostics.records import Finding, Observation, WatchedTarget, short

Check = Callable[[Case], Finding | None]


@quiet
def target_findings(
    target: WatchedTarget, history: Sequence[Observation], planned_steps: int | None = None
) -> tuple[Finding, ...]:
    """Returns what one target's history tells; one "healthy" where nothing is wrong.

    A cause hides what follows from it: where there is no gradient, no change is called too small.

    Args:
        target: What is watched.
        history: Its observations, in any order; without any there are no findings.
        planned_steps: How long the run will be, if that is known.
    """
    if not history:
        return ()
    case = Case.of(target, history, planned_steps)
    for stage in STAGES:
        found = tuple(finding for check in stage if (finding := check(case)) is not None)
        if found:
            return found
    return (healthy(case),)


def healthy(case: Case) -> Finding:
    """Returns that nothing is wrong, with how large the delta weight is where that is known."""
    value = change(case.target, case.last)
    phrase = "nothing is out of the ordinary"
    if np.isfinite(value):
        phrase = "the delta weight is {} of the weight"
    elif case.target.weight_norm == 0:
        phrase = "the weight is zero, so the delta weight is all there is"
    return case.finding("healthy", "fine", value, phrase, "Nothing to do.")


def _not_finite(case: Case) -> Finding | None:
    sound = np.isfinite(real(case.last.coefficient_norm))
    gradients = [
        real(seen.gradient_norm) for seen in case.history if seen.gradient_norm is not None
    ]
    # One gradient that overflows is how loss scaling in half precision finds its scale.
    twice = len(gradients) > 1 and not np.isfinite(gradients[-2:]).any()
    if sound and not twice:
        return None
    what = "gradients" if sound else "coefficients"
    phrase = f"the {what} are not finite at step {case.last.step:,}"
    return case.finding("not-finite", "problem", np.nan, phrase, *case.slower())


def _start_too_large(case: Case) -> Finding | None:
    value = change(case.target, case.first)
    if not (case.starts_nonzero and value > at.DISTURBING and case.allowed < at.OUTGROWN):
        return None
    phrase = "before the first step the delta weight is already {} of the weight"
    alpha = case.scaled_alpha(at.DISTURBING / 2 / value)
    advice = "If the coefficients were drawn at random, start them at zero"
    advice += "." if alpha is None else f", or try alpha {short(alpha)}."
    return case.finding("start-too-large", "warning", value, phrase, advice, alpha=alpha)


def _alpha_too_large(case: Case) -> Finding | None:
    value = change(case.target, case.last)
    if case.starts_nonzero or not value > case.allowed or case.allowed >= at.OUTGROWN:
        return None
    phrase = f"the delta weight is {{}} of the weight after only {case.last.step:,} steps"
    calmer = case.calmer(case.allowed / 2 / value)
    return case.finding("alpha-too-large", "warning", value, phrase, *calmer)


def outgrown(case: Case) -> Finding | None:
    """Returns that the delta weight is larger than the weight, where it is."""
    value = change(case.target, case.last)
    if not value > at.OUTGROWN:
        return None
    phrase = "the delta weight is {} times as large as the weight"
    advice, rate, alpha = case.calmer(at.OUTGROWN / 2 / value)
    if value > at.OVERWHELMED:
        return case.finding("outgrown", "warning", value, phrase, advice, rate, alpha)
    advice = f"Sound if held-out scores still rise. If not: {advice[0].lower()}{advice[1:]}"
    return case.finding("outgrown", "note", value, phrase, advice, rate, alpha)


def _gradient_grows(case: Case) -> Finding | None:
    norms = case.gradients
    if len(norms) < 2 * RECENT:
        return None
    growth = np.median(norms[-RECENT:]) / np.median(norms[:-RECENT])
    if not growth > at.GRADIENT_GROWTH:
        return None
    phrase = "the gradient is {} times as large as it was"
    advice, rate, alpha = case.slower()
    advice += " Clip gradients to a norm of 1."
    return case.finding("gradient-grows", "problem", float(growth), phrase, advice, rate, alpha)


def _no_gradient(case: Case) -> Finding | None:
    norms = [seen.gradient_norm for seen in case.history if seen.gradient_norm is not None]
    if len(norms) < 2 or any(norm != 0 for norm in norms):  # a zero head gives none at step 0
        return None
    phrase = "the gradient was exactly 0 in each of {} observations"
    advice = (
        "The loss does not depend on this target: check that its module is called and that nothing"
        " after it is detached, or leave it out."
    )
    return case.finding("no-gradient", "problem", len(norms), phrase, advice)


def _frozen(case: Case) -> Finding | None:
    norms = {seen.coefficient_norm for seen in case.history[-RECENT:]}
    steps = {seen.step for seen in case.history[-RECENT:]}
    if len(steps) < RECENT or len(norms) > 1 or case.warming_up or case.decayed:
        return None
    phrase = "the coefficients were the same in each of the last {} observations"
    advice = (
        "Their learning rate is 0: set one from 0.01 to 0.3."
        if case.rate == 0
        else "Make the optimiser after the adapter is attached, and give it the coefficients."
    )
    return case.finding("frozen", "problem", RECENT, phrase, advice)


def _vanishing_gradient(case: Case) -> Finding | None:
    norms = case.gradients[-RECENT:]
    losses = case.losses
    if len(norms) < 2 or (losses and losses[-1] < at.CONVERGED * losses[0]):
        return None
    each = np.median(norms) / np.sqrt(real(case.target.count))
    if not each < at.ADAM_EPSILON:
        return None
    phrase = "the gradient of a coefficient is about {}, so small that Adam's epsilon, 1e-8, rules"
    epsilon = f"1e{int(np.floor(np.log10(each))) - 2}" if each > 0 else "0"
    advice = f"Give the optimiser eps={epsilon} for the coefficients, or raise gain and lower the"
    advice += " learning rate by one factor, such as 1,000."
    return case.finding("vanishing-gradient", "warning", each, phrase, advice)


def _low_learning_rate(case: Case) -> Finding | None:
    moved = real(case.rate) * abs(real(case.target.gain))
    if len(case.history) < 2 or case.warming_up or not moved < at.LOW_RATE:
        return None
    reached = real(case.likely(case.rate))
    if reached >= at.ENOUGH:
        return None
    phrase = "learning rate times gain is {}, as is usual for LoRA"
    if np.isfinite(reached):
        phrase += (
            f"; in {case.planned:,} steps the delta weight would reach about {{}} of the weight"
        )
    advice, rate, alpha = case.stronger(at.AIM / reached)
    if rate is not None:
        gain = moved / real(case.rate) * rate / real(case.rate)
        advice += f" Or keep the rate and set gain to {short(gain)}."
    also = (reached,) if np.isfinite(reached) else ()
    return case.finding("low-learning-rate", "warning", moved, phrase, advice, rate, alpha, also)


def _too_small(case: Case) -> Finding | None:
    value = change(case.target, case.last)
    expected = expected_at(value, case.last.step, case.planned)
    if case.early or not expected < at.TOO_SMALL:
        return None
    phrase = f"the delta weight is {{}} of the weight after {case.last.step:,} steps"
    if case.planned > case.last.step:
        phrase += f", and about {{}} after {case.planned:,} at this pace"
    advice = case.stronger(at.AIM / expected)
    return case.finding("too-small", "warning", value, phrase, *advice, also=(expected,))


def _plateau(case: Case) -> Finding | None:
    since = case.last.step * (1 - at.PLATEAU_PART)
    part = [seen for seen in case.history if seen.step >= since and seen.loss is not None]
    if len(part) < at.PLATEAU_POINTS or case.decayed or case.early:
        return None
    norms = np.array([real(seen.coefficient_norm) for seen in part])
    losses = np.array([real(seen.loss) for seen in part])
    before, after = np.array_split(losses, 2)
    noise = 2 * np.sqrt(before.var() / before.size + after.var() / after.size)
    fell = before.mean() - after.mean()
    still = np.ptp(norms) <= at.PLATEAU_MOVEMENT * norms.max()
    if not (still and fell <= max(noise, at.PLATEAU_LOSS * abs(before.mean()))):
        return None
    phrase = f"loss (about {{}}) and coefficients have not moved since step {part[0].step:,}"
    n = case.target.count
    advice, rate, alpha = case.stronger(3.0)
    advice = f"If the task is learnt, stop here. If not, go from n = {n:,} to {2 * n:,}. {advice}"
    return case.finding("plateau", "note", float(after.mean()), phrase, advice, rate, alpha)


def lost_in_merge(case: Case) -> Finding | None:
    """Returns that the delta weight is below the rounding of the base's dtype, where it is."""
    epsilon = EPSILONS.get(case.target.dtype or "")
    value = expected_at(change(case.target, case.last), case.last.step, case.planned)
    if epsilon is None or case.early or not value < at.LOST_SHARE * epsilon:
        return None
    phrase = f"the delta weight comes to {{}} of the weight, and merging in {case.target.dtype}"
    phrase += " would leave over half of the values as they were"
    advice, rate, alpha = case.stronger(at.AIM / value)
    advice = f"Merge into float32 or keep the adapter beside the base. {advice}"
    return case.finding("lost-in-merge", "note", float(value), phrase, advice, rate, alpha)


RECENT: Final = 3
"""Observations that stand for now: their median is no single batch's."""

STAGES: Final[tuple[tuple[Check, ...], ...]] = (
    (_not_finite,),
    (_start_too_large, _alpha_too_large, _gradient_grows),
    (_no_gradient,),
    (_frozen,),
    (_vanishing_gradient, _low_learning_rate),
    (_too_small,),
    (outgrown, _plateau, lost_in_merge),
)
"""The first stage that finds something is the last one asked."""

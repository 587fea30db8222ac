"""The rule by which rates are chosen, the same for every method: parity.

Each method is tried at as many rates, each once, with the choosing seed; the rate whose best epoch
scores highest on the choosing split is taken, the lower one on a tie; then fresh seeds report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from experiments.trial import Plan, Results, Trial

Make = Callable[[float, int, bool], Trial]
"""Rate, seed, whether it reports -> a trial."""


def chosen_rate(make: Make, rates: Sequence[float], seed: int, results: Results) -> float | None:
    """Returns the rate that scores highest on the choosing split; None while one has not run."""
    found = {rate: results.get(make(rate, seed, False)) for rate in rates}
    scores = {rate: result["choose"] for rate, result in found.items() if result is not None}
    if len(scores) < len(rates):
        return None
    return max(sorted(scores), key=lambda rate: scores[rate])


def plan(
    make: Make, rates: Sequence[float], seed: int, fresh: Sequence[int], results: Results
) -> Plan:
    """Returns one trial a rate, and then one a fresh seed at the chosen rate."""
    trials = [make(rate, seed, False) for rate in rates]
    rate = chosen_rate(make, rates, seed, results)
    if rate is None:
        return Plan(trials, [make(rates[0], other, True) for other in fresh])
    return Plan([*trials, *(make(rate, other, True) for other in fresh)])


def at_rate_of(
    choosing: Make,
    rates: Sequence[float],
    seed: int,
    make: Make,
    factor: float,
    fresh: Sequence[int],
    results: Results,
) -> Plan:
    """Returns a trial of `make` a fresh seed, at `factor` times the rate chosen for `choosing`."""
    rate = chosen_rate(choosing, rates, seed, results)
    if rate is None:
        waiting = [choosing(each, seed, False) for each in rates]
        return Plan(waiting, [make(rates[0], other, True) for other in fresh])
    scaled = float(f"{rate * factor:.3g}")
    return Plan([make(scaled, other, True) for other in fresh])


def together(plans: Sequence[Plan]) -> Plan:
    """Returns the plans as one."""
    return Plan(
        [trial for each in plans for trial in each.trials],
        [trial for each in plans for trial in each.later],
    )

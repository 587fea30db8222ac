"""From calls and peaks to the figures and the table of `train_step.py`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, Final

from measure import Json, at_most, rounded, spread

OURS_OVER_LORA_AIM: Final = 1.0
MEMORY_AIM: Final = 1.0
PEER_OVER_OURS_AIM: Final = 4.0
PEER_AIM_WIDTH: Final = 4096
_PEAKS: Final = ("peak_mib", "above_first_step_mib", "above_base_mib")
_TIMES: Final = ("seconds", "cpu_seconds")

Peaks = Mapping[str, list[Mapping[str, float]]]


def figures(timed: Json, peaks: Peaks) -> Json:
    """All figures of one case; `timed` and `peaks` are what its children measured, by arm."""
    arms: Json = {}
    for arm, facts in timed["arms"].items():
        arms[arm] = {
            **{key: spread(column) for key, column in zip(_TIMES, _columns(facts), strict=True)},
            **{key: value for key, value in facts.items() if key != "calls"},
        }
        extra = _per_layer(timed, arm)
        if extra is not None:
            arms[arm]["seconds_per_adapted_layer"] = spread(extra)
        if peaks.get(arm):
            kinds = _measured(peaks, arm)
            arms[arm]["memory"] = {key: spread(p[key] for p in peaks[arm]) for key in kinds}
    return {"arms": arms, "ratios": _ratios(timed, peaks)}


def _columns(facts: Json) -> tuple[tuple[float, ...], ...]:
    """Wall seconds and processor seconds of an arm's calls."""
    return tuple(zip(*facts["calls"], strict=True))


def _seconds(timed: Json, arm: str) -> list[float]:
    return list(_columns(timed["arms"][arm])[0]) if arm in timed["arms"] else []


def _per_layer(timed: Json, arm: str) -> list[float] | None:
    """What an arm adds to the base, run by run, shared out to its adapted layers."""
    base, seconds = _seconds(timed, "base"), _seconds(timed, arm)
    if arm == "base" or not base or not seconds:
        return None
    layers: int = timed["case"]["adapted_layers"]
    return [(own - frozen) / layers for own, frozen in zip(seconds, base, strict=True)]


def _ratios(timed: Json, peaks: Peaks) -> Json:
    report: Json = {}
    lora = _seconds(timed, "lora")
    for arm in timed["arms"]:
        if arm in {"base", "lora"} or not lora:
            continue
        ours = arm.startswith("ours")
        pairs = [own / peer for own, peer in zip(_seconds(timed, arm), lora, strict=True)]
        entry = spread(pairs)
        if ours:
            entry |= at_most(entry["median"], OURS_OVER_LORA_AIM)
        report[f"{arm}_over_lora"] = entry
        for key in _measured(peaks, arm) if peaks.get("lora") else ():
            ratio = _median(peaks, arm, key) / _median(peaks, "lora", key)
            name = f"{arm}_over_lora_{key.removesuffix('_mib')}"
            aimed = ours and key != "peak_mib"  # which is mostly libraries
            report[name] = at_most(ratio, MEMORY_AIM) if aimed else rounded(ratio)
        if ours:
            report |= _peer_over_ours(timed, arm)
    return report


def _peer_over_ours(timed: Json, arm: str) -> Json:
    """How many times more than ours the peer adds to the base.

    A ratio of two small differences means little run by run: these are medians of differences.
    Where ours adds nothing that can be measured there is no ratio, and any aim is met.
    """
    peer = _per_layer(timed, "peft")
    ours = _per_layer(timed, arm)
    if peer is None or ours is None:
        return {}
    theirs, own = statistics.median(peer), statistics.median(ours)
    reached = rounded(theirs / own) if own > 0 else None
    entry: Json = {"reached": reached}
    if timed["case"]["width"] == PEER_AIM_WIDTH:
        met = reached is None or reached >= PEER_OVER_OURS_AIM
        entry |= {"aim": PEER_OVER_OURS_AIM, "aim_met": met}
    return {f"peft_over_{arm}_per_adapted_layer": entry}


def _measured(peaks: Peaks, arm: str) -> list[str]:
    """The kinds of peaks that were taken of an arm."""
    return [key for key in _PEAKS if peaks.get(arm) and key in peaks[arm][0]]


def _median(peaks: Peaks, arm: str, key: str) -> float:
    return statistics.median(peak[key] for peak in peaks[arm])


HEADINGS: Final = (
    *("case", "arm", "ms a step", "min", "over LoRA", "ms an adapted layer"),
    *("peak MiB", "above first step", "above base", "over LoRA"),
)


def table(cases: Json, labels: Mapping[str, str]) -> str:
    """The figures as a table in Markdown, for people."""
    rows = [HEADINGS, ("---",) * len(HEADINGS)]
    for name, case in cases.items():
        for arm, entry in case["arms"].items():
            rows.append((name, labels[arm], *_cells(arm, entry, case["ratios"])))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(arm: str, entry: Json, ratios: Json) -> tuple[str, ...]:
    memory: Json = entry.get("memory", {})
    extra: Json = entry.get("seconds_per_adapted_layer", {})
    memory_ratio: Any = ratios.get(f"{arm}_over_lora_above_base", "")
    if isinstance(memory_ratio, dict):
        memory_ratio = memory_ratio["reached"]
    return (
        f"{entry['seconds']['median'] * 1e3:.4g}",
        f"{entry['seconds']['min'] * 1e3:.4g}",
        _three(ratios.get(f"{arm}_over_lora", {}).get("median")),
        f"{extra['median'] * 1e3:.3g}" if extra else "",
        *(f"{memory[key]['median']:.0f}" if key in memory else "" for key in _PEAKS),
        _three(memory_ratio or None),
    )


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"

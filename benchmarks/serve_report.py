"""From samples to the figures and the table of `serve.py`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from measure import Json, at_most, spread
from serve_cases import LABELS

Pairs = Sequence[tuple[Sequence[float], Sequence[float]]]
"""(own, base) of one sample; each is wall and processor seconds."""

_TIMES: Final = ("seconds", "cpu_seconds")
_RATIOS: Final = ("over_base", "cpu_over_base")
AIMS: Final[Mapping[tuple[str, str], float]] = {
    ("minilm_32x64", "live_nothing"): 1.03,
    ("minilm_1x16", "live_nothing"): 1.03,
    ("minilm_32x64", "merged"): 1.0,
    ("bert_base_16x64", "merged"): 1.0,
    ("llama_float32_32x1", "merged"): 1.0,
    ("bert_base_16x64", "live_rows_1000"): 1.2,
}
"""Over the base's time."""
LORA_AIMS: Final[Mapping[tuple[str, str], float]] = {
    ("llama_float32_32x1", "live_rows_1000"): 2.0,
    ("llama_int4_32x1", "live_rows_1000"): 2.0,
    ("minilm_32x64", "live_rows_200"): 1.0,
}
"""How many times the better of LoRA's two ways takes as long."""
OPENING_AIM: Final = 1.5
"""Of activating an adapter, over opening the optimised base."""
CACHED_AIM: Final = 0.001


def figures(name: str, pairs: Mapping[str, Pairs], peaks: Mapping[str, Json], threads: int) -> Json:
    """All figures of one case, by arm.

    With sessions of one thread, aims are judged by processor time: LoRA's two sessions would have
    two cores there, and the others one.
    """
    judge = 0 if threads > 1 else 1
    arms: Json = {arm: _arm(found) for arm, found in pairs.items()}
    for arm, peak in peaks.items():
        arms[arm]["memory"] = peak
    for (case, arm), aim in AIMS.items():
        if case == name and arm in arms:
            ratio = arms[arm][_RATIOS[judge]]["median"]
            arms[arm]["aim"] = at_most(ratio, aim) | {"judged_by": _TIMES[judge]}
    ahead = _ahead(name, pairs, _TIMES[judge])
    return {"arms": arms} | ({"lora_over_live": ahead} if ahead else {})


def _arm(pairs: Pairs) -> Json:
    entry: Json = {}
    for k, (key, ratio) in enumerate(zip(_TIMES, _RATIOS, strict=True)):
        entry[key] = spread(own[k] for own, _ in pairs)
        entry[ratio] = spread(own[k] / base[k] for own, base in pairs)
    return entry


def _ahead(name: str, pairs: Mapping[str, Pairs], judge: str) -> Json:
    """LoRA's time over the live graph's, each relative to the base that ran beside it.

    Of LoRA's two ways the faster one counts.
    """
    ways = [way for way in ("lora_rows", "lora_two_sessions") if way in pairs]
    report: Json = {}
    for arm in ("live_rows_200", "live_rows_1000"):
        if arm not in pairs or not ways:
            continue
        entry: Json = {}
        for k, key in enumerate(_TIMES):
            best = min(ways, key=lambda way, k=k: _middle(pairs[way], k))  # type: ignore[misc]
            both = zip(_relative(pairs[best], k), _relative(pairs[arm], k), strict=True)
            entry[key] = {"way": best} | spread(lora / live for lora, live in both)
        aim = LORA_AIMS.get((name, arm))
        if aim is not None:
            met = entry[judge]["median"] >= aim
            entry |= {"aim": aim, "aim_met": met, "judged_by": judge}
        report[arm] = entry
    return report


def _relative(pairs: Pairs, k: int) -> list[float]:
    return [own[k] / base[k] for own, base in pairs]


def _middle(pairs: Pairs, k: int) -> float:
    return statistics.median(_relative(pairs, k))


def of_openings(calls: Mapping[str, Sequence[Sequence[float]]]) -> Json:
    """Each way to a session with an adapter, over opening the optimised base."""
    report: Json = {}
    base = calls["open_optimised_base"]
    for way, done in calls.items():
        entry: Json = {key: spread(call[k] for call in done) for k, key in enumerate(_TIMES)}
        if len(done) == len(base):
            for k, key in enumerate(("over_optimised_base", "cpu_over_optimised_base")):
                pairs = zip(done, base, strict=True)
                entry[key] = spread(own[k] / other[k] for own, other in pairs)
        if way == "activate":
            entry["aim"] = at_most(entry["over_optimised_base"]["median"], OPENING_AIM)
        if way == "activate_cached":
            entry["aim"] = at_most(entry["seconds"]["median"], CACHED_AIM)
        report[way] = entry
    return report


HEADINGS: Final = (
    *("case", "arm", "ms", "over base", "processor ms", "over base"),
    *("peak MiB", "resident MiB"),
)


def table(cases: Json) -> str:
    """The figures as a table in Markdown, for people."""
    rows: list[Sequence[str]] = [HEADINGS, ("---",) * len(HEADINGS)]
    for name, case in cases.items():
        rows += [(name, LABELS[arm], *_cells(entry)) for arm, entry in case["arms"].items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(entry: Json) -> tuple[str, ...]:
    cells: list[str] = []
    for key, ratio in zip(_TIMES, _RATIOS, strict=True):
        found: Any = entry[ratio]
        cells.append(f"{entry[key]['median'] * 1e3:.4g}")
        cells.append(f"{found['median']:.3g} ({found['min']:.3g} to {found['max']:.3g})")
    memory: Json = entry.get("memory", {})
    cells += [f"{memory[key]:.0f}" if memory else "" for key in ("peak_mib", "resident_mib")]
    return tuple(cells)

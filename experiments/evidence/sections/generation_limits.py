"""What the comparison of decoders may lack: seeds, better rates, more epochs, lost runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.evidence.formatting import listed
from experiments.evidence.limits import planned_seeds
from experiments.evidence.spoken import name_of
from experiments.records import Record


def unfinished(size: str, records: Sequence[Record]) -> list[str]:
    """Returns which methods have fewer seeds than planned, as a paragraph; nothing if none."""
    planned = planned_seeds("generation", size)
    lines = []
    for name, runs in by_method(records).items():
        done = {run.trial["seed"] for run in runs if run.trial["report"]}
        if runs[0].trial["method"] is not None and not done >= set(planned):
            lines.append(f"{name} ({len(done & set(planned))} of {len(planned)} seeds)")
    if not lines:
        return []
    return [f"**Half run; means are of what there is so far.** {listed(lines)}."]


def limits(records: Sequence[Record]) -> str:
    """Returns, as a list, where better numbers may lie than those that are shown."""
    found = {name: runs for name, runs in by_method(records).items() if runs[0].trial["method"]}
    lines = [*_edges(found), _epochs(found), *_diverged(found)]
    return "\n".join(["What may be missing:", "", *(f"- {line}" for line in lines)])


def by_method(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Returns the runs of each method by its name, lower rates first."""
    found: dict[str, list[Record]] = {}
    for run in sorted(records, key=lambda run: (run.trial["rate"], run.trial["seed"])):
        found.setdefault(name_of(run), []).append(run)
    return found


def _edges(found: Mapping[str, Sequence[Record]]) -> list[str]:
    """Says where a better rate may lie beyond those that were tried."""
    lines = []
    for name, runs in found.items():
        tried = [run for run in runs if not run.trial["report"]]
        if not tried:
            continue
        best = min(tried, key=lambda run: float(run.result["choose_loss"]))
        lines += [
            f"{name}: the {word} rate is chosen; a better one may lie beyond."
            for word, end in (("lowest", tried[0]), ("highest", tried[-1]))
            if best is end
        ]
    return lines


def _epochs(found: Mapping[str, Sequence[Record]]) -> str:
    """Says whether training had come to rest."""
    at = []
    for name, runs in found.items():
        fresh = [run for run in runs if run.trial["report"]]
        last = sum(run.result["epoch"] == run.trial["epochs"] for run in fresh)
        if last:
            at.append(f"{last} of {len(fresh)} seeds of {name}")
    if not at:
        return "No seed was best at its last epoch."
    return f"Best at the last epoch, so that more epochs may help: {listed(at)}."


def _diverged(found: Mapping[str, Sequence[Record]]) -> list[str]:
    at = [
        f"{name} at rate {run.trial['rate']:g}, seed {run.trial['seed']} "
        f"(epoch {run.result['diverged']}{'' if _reports(run) else ', nothing to report'})"
        for name, runs in found.items()
        for run in runs
        if "diverged" in run.result
    ]
    return [f"Diverged, and stopped there: {listed(at)}."] if at else []


def _reports(run: Record) -> bool:
    return not run.trial["report"] or "report" in run.result

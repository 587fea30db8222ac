"""How far sweeps have come and what they may lack: seeds, better rates, more epochs, lost runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.evidence.formatting import listed
from experiments.records import Record


@dataclass(frozen=True, slots=True)
class Sweep:
    """One setting: the rates that were tried for it, and the seeds that report.

    Attributes:
        name: What it is called.
        tried: Trials that chose a rate, by rate.
        runs: Those that have reported.
        lost: Those that were to report and diverged in their first epoch.
    """

    name: str
    tried: tuple[Record, ...]
    runs: tuple[Record, ...]
    lost: tuple[Record, ...]

    @property
    def fresh(self) -> tuple[Record, ...]:
        """All that were to report and have ended."""
        return (*self.runs, *self.lost)

    def missing(self, planned: Sequence[int]) -> int:
        """Returns how many of the planned seeds have not ended."""
        return len(set(planned) - {run.trial["seed"] for run in self.fresh})

    def so_far(self, planned: Sequence[int]) -> str:
        """Returns how many seeds have run, and how many were lost; "" if all have reported."""
        if not self.fresh:
            tried = len(self.tried)
            return f"{tried} rate{'' if tried == 1 else 's'} tried, no seed so far"
        parts = []
        if self.missing(planned):
            done = len(set(planned) & {run.trial["seed"] for run in self.runs})
            parts.append(f"{done} of {len(planned)} seeds so far")
        if self.lost:
            parts.append(f"{len(self.lost)} of {len(planned)} seeds diverged")
        return ", ".join(parts)


def parted(name: str, records: Iterable[Record], done: str = "report") -> Sweep:
    """Returns the sweep of one setting's records; `done` is a field of each result that reports."""
    found = sorted(records, key=lambda record: (record.trial["rate"], record.trial["seed"]))
    fresh = [record for record in found if record.trial.get("report", True)]
    return Sweep(
        name,
        tuple(record for record in found if not record.trial.get("report", True)),
        tuple(record for record in fresh if done in record.result),
        tuple(record for record in fresh if done not in record.result),
    )


def unfinished(planned: Mapping[str, Sequence[int]], found: Sequence[Sweep]) -> list[str]:
    """Returns what has not run or was lost, a paragraph each; nothing if all has reported.

    Args:
        planned: Name of a setting -> its seeds.
        found: What has begun.
    """
    begun = {sweep.name: sweep for sweep in found}
    half, lost, waiting = [], [], []
    for name, seeds in planned.items():
        sweep = begun.get(name)
        if sweep is None:
            waiting.append(name)
        elif sweep.missing(seeds):
            half.append(f"{name} ({sweep.so_far(seeds)})")
        elif sweep.lost:
            lost.append(f"{name} ({sweep.so_far(seeds)})")
    parts = {"begun": half, "nothing yet": waiting}
    said = [f"{word}: {listed(each)}" for word, each in parts.items() if each]
    paragraphs = []
    if said:
        text = "**Half run; means are of what there is so far.** In the plan"
        paragraphs.append(f"{text}, {'; '.join(said)}.")
    if lost:
        paragraphs.append(f"**Runs were lost; means are of the others alone.** {listed(lost)}.")
    return paragraphs


def lacks(found: Sequence[Sweep], title: str) -> list[str]:
    """Returns, as a list under `title`, where better numbers may lie than those that are shown."""
    lines = [*_edges(found), *_epochs(found), *_diverged(found)]
    return ["\n".join([title, "", *(f"- {each}" for each in lines)])] if lines else []


def ends(sweep: Sweep) -> list[str]:
    """Returns "lowest" or "highest" where the rate that reports is that end of those tried."""
    if not sweep.tried or not sweep.fresh:
        return []
    rate = sweep.fresh[0].trial["rate"]
    places = {"lowest": sweep.tried[0], "highest": sweep.tried[-1]}
    return [word for word, end in places.items() if end.trial["rate"] == rate]


def _edges(found: Sequence[Sweep]) -> list[str]:
    """Says where a better rate may lie beyond those that were tried."""
    if not any(sweep.tried and sweep.fresh for sweep in found):
        return []
    at = [f"{sweep.name} (the {word})" for sweep in found for word in ends(sweep)]
    if not at:
        return ["No rate that is chosen is the lowest or the highest of those tried."]
    return [
        f"The rate chosen is at an end of those tried, a better one may lie beyond: {listed(at)}."
    ]


def _epochs(found: Sequence[Sweep]) -> list[str]:
    """Says whether training had come to rest."""
    if not any(sweep.runs for sweep in found):
        return []
    at = []
    for sweep in found:
        last = sum(run.result["epoch"] == run.trial["epochs"] for run in sweep.runs)
        if last:
            at.append(f"{last} of {len(sweep.runs)} seeds of {sweep.name}")
    if not at:
        return ["No seed was best at its last epoch."]
    return [f"Best at their last epoch, so that more epochs may help: {listed(at)}."]


def _diverged(found: Sequence[Sweep]) -> list[str]:
    at = [
        f"{sweep.name} at rate {run.trial['rate']:g}, seed {run.trial['seed']} "
        f"(epoch {run.result['diverged']}{', nothing to report' if run in sweep.lost else ''})"
        for sweep in found
        for run in (*sweep.tried, *sweep.fresh)
        if "diverged" in run.result
    ]
    return [f"Diverged, and stopped there: {listed(at)}."] if at else []

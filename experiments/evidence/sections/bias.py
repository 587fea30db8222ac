"""Entries of low, middle and high frequencies against entries of all."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence.blocks import Aim, Block, Section
from experiments.evidence.comparing import aims, compared
from experiments.evidence.evidence import Evidence
from experiments.evidence.formatting import listed
from experiments.evidence.limits import sweep
from experiments.evidence.sweeps import ends
from experiments.evidence.trainings import Group, called, of_task, with_tried
from experiments.settings import table

_TEXT = """\
Entries are drawn with the paper's Eq. 5: by their distance from frequency zero, around a centre,
with a width, both in entries of the spectrum. The paper (its Fig. 5) finds on each of its tasks
some centre that is better than no bias."""
_RATE = """\
Every band takes the rate that was chosen without one, and none was tuned for a band. This favours
no bias: where a band is clearly below, the rate may be why, and where one is clearly above, it is
so in spite of it."""
_NONE = "no bias"


def _rendered(evidence: Evidence) -> list[Block]:
    planned = table("bias", evidence.size)
    words = {centre: word for word, centre in planned["centres"].items()}

    def named(band: tuple[float, float] | None) -> str:
        return _NONE if band is None else f"{words.get(band[0], 'centre')} {band[0]:g}/{band[1]:g}"

    def order(group: Group) -> tuple[float, ...]:
        return _band(group) or (-1.0,)

    names = [_NONE, *(named((centre, planned["width"])) for centre in words)]
    found = compared(evidence, "bias", lambda group: named(_band(group)), order, names, len(words))
    return [_TEXT, _RATE, *_ends(evidence, planned["tasks"]), *found]


def _aims(evidence: Evidence) -> list[Aim]:
    return aims(evidence, "bias", len(table("bias", evidence.size)["centres"]))


def _ends(evidence: Evidence, planned: Sequence[str]) -> list[str]:
    """Says on which tasks the rate of all bands is at an end of those that GLUE's trials tried."""
    records = [*evidence.of("glue"), *evidence.of("bias")]
    at = [
        f"the {word} on {called(task)}"
        for task in planned
        for group in of_task(evidence.of("bias"), task)
        if _band(group) is None
        for word in ends(sweep(with_tried([group], records)[0]))
    ]
    if not at:
        return []
    where = f"That rate is at an end of those tried, {listed(at)}"
    return [f"{where}: a better one may lie beyond, for every band."]


def _band(group: Group) -> tuple[float, float] | None:
    """Returns centre and width; None without a bias."""
    band = group.method["band"]
    return None if band is None else (band[0], band[1])


SECTION = Section(
    "bias",
    "Frequency bias",
    "Is it better to draw entries of low, of middle or of high frequencies, and is the answer the "
    "same on every task?",
    _rendered,
    _aims,
)

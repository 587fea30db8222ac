"""Entries of low, middle and high frequencies against entries of all."""

from __future__ import annotations

from experiments.evidence.blocks import Block, Section
from experiments.evidence.comparing import compared
from experiments.evidence.evidence import Evidence
from experiments.evidence.trainings import Group, groups

_TEXT = """\
Entries are drawn with the paper's Eq. 5: by their distance from frequency zero, around a centre,
with a width, both in entries of the spectrum. The paper (its Fig. 5) finds on each of its tasks
some centre that is better than no bias."""
_TRIED = "Every band was tried at rates of its own, by GLUE's rule."
_LIKE = "All bands take the rate that was chosen without one."


def _rendered(evidence: Evidence) -> list[Block]:
    found = groups(evidence.of("bias"))
    centres = sorted({centre for centre, _ in filter(None, map(_band, found))})

    def name(group: Group) -> str:
        band = _band(group)
        if band is None:
            return "no bias"
        names = dict(zip(centres, ("low", "middle", "high"), strict=False))
        word = names[band[0]] if len(centres) == 3 else "centre"
        return f"{word} {band[0]:g}/{band[1]:g}"

    def order(group: Group) -> tuple[float, ...]:
        return _band(group) or (-1.0,)

    tried = any(group.tried for group in found if _band(group) is not None)
    return [_TEXT, _TRIED if tried else _LIKE, *compared(evidence, "bias", name, order)]


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
)

"""The format's transforms against one another and against random bases."""

from __future__ import annotations

from experiments.evidence import paper
from experiments.evidence.blocks import Aim, Block, Section
from experiments.evidence.comparing import aims, compared
from experiments.evidence.evidence import Evidence
from experiments.evidence.formatting import listed
from experiments.evidence.trainings import Group, called, groups
from experiments.settings import table

_TEXT = """\
The same n and entries drawn alike, in another basis. alpha is set so that standard normal
coefficients give a delta of the same Frobenius norm in each. The Gaussian and the orthogonal basis
are random matrices in place of the cosines, as in the paper's ablation; they are no transforms of
the format."""
_TRIED = "Rates were tried for each basis, as under GLUE: {each}."
_PAPER = "The paper's own ablation, on RoBERTa base; quoted, not measured here:"


def _rendered(evidence: Evidence) -> list[Block]:
    planned = table("bases", evidence.size)
    names = ["dft2", *planned["transforms"], *(f"{name} basis" for name in planned["controls"])]

    def order(group: Group) -> tuple[bool, str]:
        return _name(group) != "dft2", _name(group)

    found = compared(evidence, "bases", _name, order, names, _served(evidence))
    return [_TEXT, *_tried(evidence), *found]


def _tried(evidence: Evidence) -> list[str]:
    """How many rates each basis had."""
    counts = {
        f"{_name(group)} on {called(group.task)}": len(group.tried)
        for group in groups(evidence.of("bases"))
    }
    if not counts:
        return []
    if len(set(counts.values())) == 1:
        return [_TRIED.format(each=f"{min(counts.values())} for every basis")]
    each = listed([f"{many} for {name}" for name, many in counts.items()])
    return [f"{_TRIED.format(each=each)} **The bases were not tried equally often.**"]


def _aims(evidence: Evidence) -> list[Aim]:
    return aims(evidence, "bases", _served(evidence))


def _served(evidence: Evidence) -> int:
    """Returns how many are served beside dft2: the format's, as no graph holds a random basis."""
    return len(table("bases", evidence.size)["transforms"])


def _name(group: Group) -> str:
    method = group.method
    return str(method["transform"] if method["kind"] == "fourier" else f"{method['basis']} basis")


SECTION = Section(
    "bases",
    "Bases",
    "Does the Fourier basis matter, or would any basis do?",
    _rendered,
    _aims,
    [_PAPER, paper.bases_table()],
)

"""The format's transforms against one another and against random bases."""

from __future__ import annotations

from experiments.evidence import paper
from experiments.evidence.blocks import Aim, Block, Section
from experiments.evidence.comparing import aims, compared
from experiments.evidence.evidence import Evidence
from experiments.evidence.trainings import Group
from experiments.settings import table

_TEXT = """\
The same n and entries drawn alike, in another basis. alpha is set so that standard normal
coefficients give a delta of the same Frobenius norm in each, and every basis was tried at as many
rates. The Gaussian and the orthogonal basis are random matrices in place of the cosines, as in the
paper's ablation; they are no transforms of the format."""
_PAPER = "The paper's own ablation, on RoBERTa base; quoted, not measured here:"


def _rendered(evidence: Evidence) -> list[Block]:
    planned = table("bases", evidence.size)
    names = ["dft2", *planned["transforms"], *(f"{name} basis" for name in planned["controls"])]

    def order(group: Group) -> tuple[bool, str]:
        return _name(group) != "dft2", _name(group)

    return [_TEXT, *compared(evidence, "bases", _name, order, names, _served(evidence))]


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

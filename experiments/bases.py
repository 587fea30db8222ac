"""The format's transforms against one another and against random bases (the paper's ablation)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from experiments import selection
from experiments.glue import GlueSettings
from experiments.settings import settings
from experiments.text.controls import Control
from experiments.text.methods import Fourier, Method
from experiments.trial import Experiment, Options, Plan, Results


@dataclass(frozen=True, slots=True)
class BasesSettings:
    """configs/bases.toml.

    Attributes:
        tasks: Names in tasks.TASKS.
        transforms: Names of the format's registry, beside "dft2".
        controls: Random bases.
        seeds: Of each.
        rates: "fourier" -> the rates that are tried for each; GLUE's where none are given.
    """

    tasks: Sequence[str]
    transforms: Sequence[str]
    controls: Sequence[Literal["gaussian", "orthogonal"]]
    seeds: Sequence[int]
    rates: Mapping[str, Sequence[float]] = field(default_factory=dict)


def plan(options: Options, results: Results) -> Plan:
    """Returns the trials of every basis: as many rates are tried for each."""
    found = settings(BasesSettings, "bases", options.size)
    glue = GlueSettings.of(options)
    return selection.together(
        [
            glue.plan(task, method, found.seeds, results, found.rates)
            for task in found.tasks
            for method in _methods(found, glue.fourier(task), glue.width)
        ]
    )


def _methods(found: BasesSettings, fourier: Fourier, width: int) -> list[Method]:
    n, alpha = fourier.n, fourier.alpha
    return [
        fourier,
        *(Fourier(n, same_size(each, alpha, width), each) for each in found.transforms),
        *(Control(basis, n, alpha) for basis in found.controls),
    ]


def same_size(transform: str, alpha: float, width: int) -> float:
    """Returns the alpha that makes square deltas as large as dft2's with `alpha`.

    A coefficient of dft2 gives a delta of Frobenius norm alpha / (width sqrt(2)), one of dht2 of
    alpha / width; one of the orthonormal dct2 and dwt2 of alpha (spec, clauses 3.1 and 3.2).
    """
    norms = {"dft2": 1 / (width * math.sqrt(2)), "dht2": 1 / width}
    return float(f"{alpha * norms['dft2'] / norms.get(transform, 1.0):.6g}")


BASES = Experiment("bases", "The format's transforms, and random bases as controls", plan)

"""All experiments, by the names of the command line."""

from __future__ import annotations

from experiments.architectures.experiment import ARCHITECTURES
from experiments.bases import BASES
from experiments.bias import BIAS
from experiments.cost.experiment import COST
from experiments.curves import CURVES
from experiments.further import FURTHER
from experiments.generation.plan import GENERATION
from experiments.glue import GLUE
from experiments.images.experiment import IMAGES
from experiments.instruction.plan import INSTRUCTION
from experiments.trial import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    each.name: each
    for each in (
        GLUE,
        FURTHER,
        CURVES,
        BIAS,
        BASES,
        ARCHITECTURES,
        GENERATION,
        INSTRUCTION,
        IMAGES,
        COST,
    )
}

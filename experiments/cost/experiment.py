"""What FourierFT costs beside LoRA as width and n grow: the paper's open question 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.cost.trials import ConversionTrial, FileTrial, ServeTrial, TrainTrial
from experiments.settings import settings
from experiments.trial import Experiment, Options, Plan, Results, Trial


@dataclass(frozen=True, slots=True)
class CostSettings:
    """configs/cost.toml.

    Attributes:
        widths: Of adapted layers.
        serving_widths: Of those that are served and converted.
        sizes: n of FourierFT.
        ranks: Of LoRA.
        tokens: Of a training step.
        batches: Rows and tokens a row of what is served.
        layers: Of the model whose adapter's file is measured.
        rounds: How often each is timed.
    """

    widths: Sequence[int]
    serving_widths: Sequence[int]
    sizes: Sequence[int]
    ranks: Sequence[int]
    tokens: Sequence[int]
    batches: Sequence[Sequence[int]]
    layers: int
    rounds: int

    def trials(self) -> list[Trial]:
        """Returns all that is measured."""
        sizes, ranks = tuple(self.sizes), tuple(self.ranks)
        training = [
            TrainTrial(width, tokens, sizes, ranks, self.rounds)
            for width in self.widths
            for tokens in self.tokens
        ]
        files = [FileTrial(width, self.layers, sizes, ranks) for width in self.widths]
        conversions = [
            ConversionTrial(width, sizes, ranks, self.rounds) for width in self.serving_widths
        ]
        served = [
            ServeTrial(width, rows, tokens, sizes, ranks, self.rounds)
            for width in self.serving_widths
            for rows, tokens in self.batches
        ]
        return [*training, *files, *conversions, *served]


def plan(options: Options, results: Results) -> Plan:  # noqa: ARG001  # no trial waits for another
    """Returns all trials."""
    return Plan(settings(CostSettings, "cost", options.size).trials())


COST = Experiment(
    "cost", "Time, memory and bytes beside LoRA as width and n grow", plan, alone=True
)

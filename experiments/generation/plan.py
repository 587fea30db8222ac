"""Restaurants described by a decoder that FourierFT or LoRA taught, or that nobody did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from experiments import selection
from experiments.causal.methods import Fourier, Lora, Method
from experiments.generation.trial import GenerationTrial
from experiments.settings import settings
from experiments.trial import Experiment, Options, Plan, Results


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """configs/generation.toml; a count of 0 means all.

    Attributes:
        model: A name for models.located.
        trained_layers: Of GenerationTrial.
        n: Coefficients of a weight.
        alpha: The scale.
        rank: Of LoRA.
        lora_alpha: Its scale is lora_alpha / rank.
        lora_dropout: Of its input.
        rates: Kind of method -> the rates that are tried.
        epochs: Of every trial.
        batch: Rows of a step.
        together: References of a row.
        references: Of a meaning that train.
        precision: Of GenerationTrial.
        decay: Of weights.
        smoothing: Of labels.
        trained_on: "devset" or "trainset".
        meanings: Of the training split that are used.
        test_rows: Meanings of the test split that are answered.
        limit: Tokens of an answer at most.
        choosing_seed: Of the trials that choose.
        fresh_seeds: Of those that report.
    """

    model: str
    trained_layers: int
    n: int
    alpha: float
    rank: int
    lora_alpha: float
    lora_dropout: float
    rates: Mapping[str, Sequence[float]]
    epochs: int
    batch: int
    together: int
    references: int
    precision: str
    decay: float
    smoothing: float
    trained_on: Literal["devset", "trainset"]
    meanings: int
    test_rows: int
    limit: int
    choosing_seed: int
    fresh_seeds: Sequence[int]

    @classmethod
    def of(cls, options: Options) -> GenerationSettings:
        """Returns what is configured for a size."""
        return settings(cls, "generation", options.size, model=options.model)

    def make(self, method: Method) -> Callable[[float, int, bool], GenerationTrial]:
        """Returns what makes the trials of one method."""

        def trial(rate: float, seed: int, report: bool) -> GenerationTrial:
            serve = report and method.kind == "fourier"
            return self._trial(method, rate, seed, self.epochs, report=report, serve=serve)

        return trial

    def untuned(self) -> GenerationTrial:
        """Returns the trial of the model as it is."""
        return self._trial(None, 0.0, 0, 0, report=True, serve=True)

    def _trial(
        self,
        method: Method | None,
        rate: float,
        seed: int,
        epochs: int,
        *,
        report: bool,
        serve: bool,
    ) -> GenerationTrial:
        return GenerationTrial(
            model=self.model,
            method=method,
            trained_layers=self.trained_layers,
            rate=rate,
            seed=seed,
            epochs=epochs,
            batch=self.batch,
            together=self.together,
            references=self.references or None,
            precision=self.precision,
            decay=self.decay,
            smoothing=self.smoothing,
            trained_on=self.trained_on,
            meanings=self.meanings or None,
            report=report,
            test_rows=(self.test_rows or None) if report else None,
            limit=self.limit,
            serve=serve,
        )


def plan(options: Options, results: Results) -> Plan:
    """Returns the trials of each method, rates first, and that of the model as it is."""
    found = GenerationSettings.of(options)
    lora = Lora(found.rank, found.lora_alpha, found.lora_dropout)
    methods: list[Method] = [Fourier(found.n, found.alpha), lora]
    return selection.together(
        [
            Plan([found.untuned()]),
            *(
                selection.plan(
                    found.make(method),
                    found.rates[method.kind],
                    found.choosing_seed,
                    found.fresh_seeds,
                    results,
                )
                for method in methods
            ),
        ]
    )


GENERATION = Experiment(
    "generation", "E2E: BLEU, NIST and ROUGE-L, said by torch and by onnxruntime-genai", plan
)

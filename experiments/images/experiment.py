"""Images: the head alone, LoRA and FourierFT on a Vision Transformer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments import selection
from experiments.images.bases import Base, Checkpoint, Pretext
from experiments.images.trial import ImageTrial, PretextTrial
from experiments.settings import settings
from experiments.text.methods import Fourier, Head, Lora, Method
from experiments.trial import Experiment, Options, Plan, Results, Trial


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """configs/images.toml.

    Attributes:
        data: Of ImageTrial.
        classes: Of ImageTrial.
        rows: Of ImageTrial; 0 for all.
        trained_layers: Of ImageTrial.
        n: The FourierFTs' coefficients of a weight.
        alpha: Their scale.
        ranks: Of the LoRAs, whose alpha is twice the rank.
        rates: Kind of method -> the rates that are tried; of the head alone, head rates. Kinds
            that are not named are not compared.
        head_rate: The head's rate beside every other method.
        epochs: How many.
        batch: Images of a step.
        decay: Of ImageTrial.
        precision: Of ImageTrial.
        choosing_seed: Of the trials that choose.
        fresh_seeds: Of those that report.
        model: A path or hub name of a base; "" for `pretext`.
        pretext: The fields of Pretext; {} where there is a model.
    """

    data: str
    classes: Sequence[int]
    rows: int
    trained_layers: int
    n: Sequence[int]
    alpha: float
    ranks: Sequence[int]
    rates: Mapping[str, Sequence[float]]
    head_rate: float
    epochs: int
    batch: int
    decay: float
    precision: str
    choosing_seed: int
    fresh_seeds: Sequence[int]
    model: str
    pretext: Mapping[str, Any]

    @classmethod
    def of(cls, options: Options) -> ImageSettings:
        """Returns what is configured for a size."""
        return settings(cls, "images", options.size, model=options.model)

    @property
    def base(self) -> Base:
        """What is adapted."""
        if self.model:
            return Checkpoint(self.model)
        fields = {**self.pretext, "classes": tuple(self.pretext["classes"])}
        return Pretext(**fields)

    def methods(self) -> list[Method]:
        """Returns what is compared."""
        loras = [Lora(rank, 2.0 * rank) for rank in self.ranks]
        every: list[Method] = [*(Fourier(n, self.alpha) for n in self.n), *loras, Head()]
        return [method for method in every if method.kind in self.rates]

    def make(self, method: Method) -> Callable[[float, int, bool], Trial]:
        """Returns what makes the trials of one method."""

        def trial(rate: float, seed: int, report: bool) -> Trial:
            return ImageTrial(
                data=self.data,
                classes=tuple(self.classes),
                rows=self.rows or None,
                base=self.base,
                method=method,
                trained_layers=self.trained_layers,
                rate=rate,
                head_rate=rate if method.kind == "head" else self.head_rate,
                seed=seed,
                epochs=self.epochs,
                batch=self.batch,
                decay=self.decay,
                precision=self.precision,
                report=report,
                serve=report and method.kind == "fourier",
            )

        return trial


def plan(options: Options, results: Results) -> Plan:
    """Returns the base's training, if it has one, and then the trials of every method."""
    found = ImageSettings.of(options)
    plans = [
        selection.plan(
            found.make(method),
            found.rates[method.kind],
            found.choosing_seed,
            found.fresh_seeds,
            results,
        )
        for method in found.methods()
    ]
    every = selection.together(plans)
    if not isinstance(found.base, Pretext):
        return every
    first = PretextTrial(found.base)
    if results.get(first) is None:
        return Plan([first], [*every.trials, *every.later])
    return Plan([first, *every.trials], every.later)


IMAGES = Experiment("images", "The head alone, LoRA and FourierFT on a Vision Transformer", plan)

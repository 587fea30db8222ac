"""One architecture, from training to ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

import fourier_format
from experiments.architectures.answering import loss, scores
from experiments.architectures.examples import Examples, splits
from experiments.architectures.models import ARCHITECTURES, Architecture, Origin
from experiments.architectures.serving import served
from experiments.architectures.shapes import Shape
from experiments.training import Loop, fit, shuffled
from experiments.trial import Context, Json
from fourier_trainers.torch import FourierConfig, attach, capture, parameter_groups, summary


@dataclass(frozen=True, slots=True)
class ArchitectureTrial:
    """FourierFT on one architecture.

    Attributes:
        architecture: A name in models.ARCHITECTURES.
        origin: Of its weights.
        targets: Suffixes of the adapted modules' names; () for the architecture's own.
        n: Coefficients of a weight.
        alpha: The scale.
        rate: Of the coefficients.
        head_rate: Of the head.
        epochs: How many.
        batch: Rows of a step.
        rows: Of train.
        answered: Rows that choose, and that report.
        size: Tokens of a row, or the side of an image.
        images: The set of images.
        seed: Of everything.
    """

    architecture: str
    origin: Origin
    targets: tuple[str, ...]
    n: int
    alpha: float
    rate: float
    head_rate: float
    epochs: int
    batch: int
    rows: int
    answered: int
    size: int
    images: str
    seed: int

    @property
    def label(self) -> str:
        """The architecture, its weights, and targets that are not its own."""
        alone = f", {'/'.join(self.targets)} alone" if self.targets else ""
        if isinstance(self.origin, Shape):
            shape = f"{self.origin.layers} x {self.origin.width}"
            return f"{self.architecture} {shape}, random{alone}"
        return f"{self.architecture} {self.origin.name}{alone}"

    @property
    def work(self) -> str:
        """The label and the rows."""
        return f"{self.label}: {self.rows} rows of {self.size}"

    @property
    def steps(self) -> int:
        """Epochs, and serving."""
        return self.epochs + 1

    @property
    def guess(self) -> float:
        """Most of it is the exporter's."""
        return 8.0

    def run(self, context: Context) -> Json:
        """Returns losses and scores before and after, sizes, seconds, and ONNX's differences."""
        kind = ARCHITECTURES[self.architecture]
        found = splits(
            kind.sort, self.origin, context.data, self.images, self.rows, self.answered, self.size
        )
        model = kind.model(self.origin, self.seed).to(context.device)
        before = scores(model, found.report)
        attach(model, self._config(kind))
        groups = parameter_groups(model, self.rate, self.head_rate)
        loop = Loop(
            self.epochs,
            shuffled(len(found.train), self.batch, self.seed),
            lambda rows: loss(model, found.train.at(rows)),
            lambda: -scores(model, found.choose)["loss"],
            self.seed,
        )
        result = fit(model, groups, loop, context.folder / "checkpoint.pt", context.step)
        file = context.folder / "adapter.fft"
        fourier_format.save(capture(model), file, overwrite=True)
        sizes = summary(model)
        result |= {
            "weights": sizes.base,
            "targets": sizes.targets,
            "parameters": sizes.coefficients,
            "head": sizes.whole,
            "file_bytes": file.stat().st_size,
            "before": before,
            "after": scores(model, found.report),
        }
        model = model.cpu()
        base = kind.model(self.origin, self.seed)
        result |= served(file, base, model, found.report, optimize=kind.optimize)
        result["after_without_delta"] = _without_delta(model, found.report)
        context.step()
        return result

    def _config(self, kind: Architecture) -> FourierConfig:
        return FourierConfig(
            target_modules=self.targets or kind.targets,
            n=self.n,
            alpha=self.alpha,
            seed=self.seed,
            modules_to_save=() if kind.head is None else (kind.head,),
        )


@torch.no_grad()
def _without_delta(model: nn.Module, examples: Examples) -> Json:
    """Returns the scores of the trained head alone; the model's coefficients are zero then."""
    for name, parameter in model.named_parameters():
        if name.endswith(".coefficients"):
            parameter.zero_()
    return scores(model, examples)

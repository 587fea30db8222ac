"""One training of a Vision Transformer on a set of images, by one method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

import fourier_format
from experiments.images.bases import Base, Pretext
from experiments.images.cutting import answer, layers, states, targets
from experiments.images.data import Images, splits, values
from experiments.images.scoring import accuracy
from experiments.images.serving import served
from experiments.text import methods
from experiments.text.deltas import delta_norm
from experiments.text.methods import Fourier, Method
from experiments.training import Loop, autocast, fit, shuffled
from experiments.trial import Context, Json
from fourier_trainers.torch import capture

_EVALUATED = 256  # images at a time
_FLOPS = 25e9  # of one core, in training


@dataclass(frozen=True, slots=True)
class PretextTrial:
    """The training of the base itself, once.

    Attributes:
        base: Which.
    """

    base: Pretext

    @property
    def label(self) -> str:
        """The base's."""
        return f"pretext: {self.base.label}"

    @property
    def work(self) -> str:
        """The base and its rows."""
        return f"{self.label} {self.base.rows} rows"

    @property
    def steps(self) -> int:
        """Epochs."""
        return self.base.epochs

    @property
    def guess(self) -> float:
        """From two operations a weight and token, thrice."""
        tokens = 1 + (self.base.side // self.base.patch) ** 2
        weights = 12 * self.base.width**2 * self.base.layers
        return 6 * weights * tokens * (self.base.rows or 30_000) / _FLOPS

    def run(self, context: Context) -> Json:
        """Returns history, and the accuracy on the test images of the classes it learnt."""
        begun = context.folder / "begun"
        if not begun.exists():  # what there is of the base is of a result that was forgotten
            self.base.forget(context)
            begun.touch()
        self.base.train(context)
        reached, images = self.base.accuracy(context)
        return {
            "history": self.base.history(context),
            "report": {"accuracy": reached},
            "images": images,
        }


@dataclass(frozen=True, slots=True)
class ImageTrial:
    """A method at a rate, on the classes that a base is adapted to.

    Attributes:
        data: The set, of data.splits.
        classes: Those of the set; () for all.
        rows: Of train that are used, the tenth that chooses included; None for all.
        base: What is adapted.
        method: What is trained.
        trained_layers: So many of the last layers are adapted, query and value of each; those below
            are computed once. 0: all, and nothing is computed beforehand.
        rate: Of what is trained beside the head.
        head_rate: Of the head.
        seed: Of head, batches and entries.
        epochs: How many.
        batch: Images of a step.
        decay: Of all that is trained, AdamW's.
        precision: "float32" or "bfloat16", of products in training.
        report: Whether the test is answered. Trials that choose a rate never see it.
        serve: Whether ONNX Runtime answers it too.
    """

    data: str
    classes: tuple[int, ...]
    rows: int | None
    base: Base
    method: Method
    trained_layers: int
    rate: float
    head_rate: float
    seed: int
    epochs: int
    batch: int
    decay: float
    precision: str
    report: bool
    serve: bool

    @property
    def label(self) -> str:
        """Set, method, rate, seed."""
        return f"{self.data} {self.method.label} rate={self.rate:g} seed={self.seed}"

    @property
    def work(self) -> str:
        """Equal bases, sets and kinds of method."""
        part = f"top {self.trained_layers}" if self.trained_layers else "all layers"
        rows = "all" if self.rows is None else self.rows
        return f"{self.base.label} {part} {self.data} {rows} rows {self.method.kind}"

    @property
    def steps(self) -> int:
        """Epochs."""
        return self.epochs

    @property
    def guess(self) -> float:
        """From two operations a weight and token, forwards and back."""
        if self.method.kind == "head":
            return 0.5
        small = isinstance(self.base, Pretext)
        weights = 12 * 192**2 * (self.trained_layers or 6) if small else 86e6
        return 4 * weights * (50 if small else 197) * (self.rows or 30_000) / _FLOPS

    def run(self, context: Context) -> Json:
        """Returns history, scores and sizes; with `report` each image's, with `serve` ONNX's.

        A training that diverged in its first epoch has nothing to report: "diverged" is 1.
        """
        found = splits(self.data, context.data, self.classes, self.rows, side=self.base.side)
        classes = int(found.train.labels.max()) + 1
        model = self.base.model(classes, self.seed, context).to(context.device)
        inputs = {
            name: _Inputs(self._kept(model, images, context), images)
            for name, images in (("train", found.train), ("choose", found.choose))
        }
        self.method.apply(model, targets(model, self._layers(model)), self.seed)
        groups = [
            group | {"weight_decay": self.decay}
            for group in methods.groups(model, self.rate, self.head_rate)
        ]
        loop = Loop(
            self.epochs,
            shuffled(len(found.train), self.batch, self.seed),
            partial(self._loss, model, inputs["train"]),
            lambda: accuracy(self._logits(model, inputs["choose"]), labels),
            self.seed,
        )
        labels = found.choose.labels
        result = fit(model, groups, loop, context.folder / "checkpoint.pt", context.step)
        head, beside = (methods.counted(each) for each in methods.parted(model))
        result |= {"parameters": beside, "head": head}
        if self.report and result.get("diverged") != 1:
            result |= self._reported(model, found.report, classes, context)
        return result

    def _layers(self, model: nn.Module) -> int:
        """Returns how many layers the method adapts."""
        return self.trained_layers or len(layers(model))

    @property
    def _above(self) -> int | None:
        """How many layers stand above what is computed once; None if nothing is."""
        if self.method.kind == "head":
            return 0
        return self.trained_layers or None

    def _kept(
        self, model: nn.Module, images: Images, context: Context
    ) -> npt.NDArray[np.float32] | None:
        above = self._above
        return None if above is None else states(model, images, above, context.shared)

    def _loss(self, model: nn.Module, inputs: _Inputs, rows: npt.NDArray[np.int64]) -> Tensor:
        device = next(model.parameters()).device
        with autocast(device.type, self.precision):
            logits = self._answer(model, inputs, rows).float()
        return functional.cross_entropy(
            logits, torch.from_numpy(inputs.images.labels[rows]).to(device)
        )

    def _answer(self, model: Any, inputs: _Inputs, rows: npt.NDArray[np.int64]) -> Tensor:
        """Returns the logits of rows: from their states where these are kept."""
        device = next(model.parameters()).device
        above = self._above
        if inputs.states is not None and above is not None:
            return answer(model, torch.from_numpy(inputs.states[rows]).to(device), above)
        config = model.config
        given = values(inputs.images, rows, config.image_size, config.num_channels)
        logits: Tensor = model(pixel_values=given.to(device)).logits
        return logits

    @torch.no_grad()
    def _logits(self, model: nn.Module, inputs: _Inputs) -> npt.NDArray[np.float64]:
        """Returns all logits: (images, classes), in float32 products."""
        count = len(inputs.images)
        parts = [
            self._answer(model, inputs, np.arange(start, min(start + _EVALUATED, count)))
            for start in range(0, count, _EVALUATED)
        ]
        return torch.cat(parts).double().cpu().numpy()

    def _reported(self, model: nn.Module, test: Images, classes: int, context: Context) -> Json:
        base = self.base.model(classes, self.seed, context).to(context.device)
        answered = self._logits(model, _Inputs(self._kept(base, test, context), test))
        if not np.isfinite(answered).all():
            raise ArithmeticError("the reporting split's logits are not finite")
        right = answered.argmax(1) == test.labels
        result: Json = {
            "report": {"accuracy": float(right.mean())},
            "right": "".join(str(int(each)) for each in right),
            "delta_norm": delta_norm(self.method, model),
        }
        if isinstance(self.method, Fourier):
            file = context.folder / "adapter.fft"
            fourier_format.save(capture(model), file, overwrite=True)
            result["file_bytes"] = file.stat().st_size
            if self.serve:
                result["onnxruntime"] = served(file, base.cpu(), test, answered)
        else:
            result["file_bytes"] = _file_bytes(model, context.folder / "trained.safetensors")
        return result


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Images and, where lower layers are frozen, their states (images, tokens, width)."""

    states: npt.NDArray[np.float32] | None
    images: Images


def _file_bytes(model: nn.Module, path: Path) -> int:
    """Returns the size of the trained weights alone, as safetensors."""
    from safetensors.torch import save_file

    named = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    save_file(named, path)
    size = path.stat().st_size
    path.unlink()
    return size

"""What is adapted: a small Vision Transformer that the experiment trains itself, or a checkpoint.

No pretrained one is needed for the small size: the base learns some classes of a set from nothing,
and is adapted to the others, which it has never seen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from experiments import code
from experiments.images.data import Images, splits, values
from experiments.images.scoring import accuracy
from experiments.locking import once, whole
from experiments.pretrained import pretrained
from experiments.training import Loop, autocast, fit, shuffled
from experiments.trial import Context, Json

_EVALUATED = 256  # images at a time


@dataclass(frozen=True, slots=True)
class Pretext:
    """A Vision Transformer that learns `classes` of a set, all its weights trained.

    Attributes:
        data: The set.
        classes: Those that it learns.
        rows: Of train; None for all.
        side: Of an image, in pixels.
        patch: Of a patch.
        layers: How many.
        width: Of a token; heads have 64.
        epochs: How many.
        batch: Images of a step.
        rate: The learning rate.
        seed: Of weights and batches.
        precision: "float32" or "bfloat16", of products in training.
    """

    data: str
    classes: tuple[int, ...]
    rows: int | None
    side: int
    patch: int
    layers: int
    width: int
    epochs: int
    batch: int
    rate: float
    seed: int
    precision: str

    @property
    def label(self) -> str:
        """A name."""
        return f"vit {self.layers} x {self.width} of {self.data} {'/'.join(map(str, self.classes))}"

    def model(self, classes: int, seed: int, context: Context) -> nn.Module:
        """Returns the trained base in eval mode, with a head of `classes` that the seed decides."""
        self.train(replace(context, step=lambda: None))
        torch.manual_seed(seed)
        model = self._new(classes)
        found = torch.load(self._path(context), weights_only=True)
        model.load_state_dict(
            {name: v for name, v in found.items() if not name.startswith("classifier.")},
            strict=False,
        )
        return model.eval()

    def train(self, context: Context) -> None:
        """Train it, unless this machine has it."""
        path = self._path(context)
        with once(path) as missing:
            if missing:
                self._train(path, context)

    def forget(self, context: Context) -> None:
        """Take away what this machine has of it."""
        path = self._path(context)
        with once(path):
            for each in path.parent.glob(f"{path.stem}.*"):
                if each.suffix != ".lock":
                    each.unlink()

    def accuracy(self, context: Context) -> tuple[float, int]:
        """Returns the accuracy on the set's test images of the classes, and how many these are."""
        model = self._new(len(self.classes))
        model.load_state_dict(torch.load(self._path(context), weights_only=True))
        test = splits(self.data, context.data, self.classes, self.rows, side=self.side).report
        return _accuracy(model.eval(), test), len(test)

    def history(self, context: Context) -> list[Json]:
        """Returns the history of its training."""
        found: list[Json] = torch.load(self._path(context).with_suffix(".history"))
        return found

    def _new(self, classes: int) -> nn.Module:
        from transformers import ViTConfig, ViTForImageClassification

        model: nn.Module = ViTForImageClassification(
            ViTConfig(
                image_size=self.side,
                patch_size=self.patch,
                num_channels=1,
                hidden_size=self.width,
                num_hidden_layers=self.layers,
                num_attention_heads=max(1, self.width // 64),
                intermediate_size=4 * self.width,
                num_labels=classes,
            )
        )
        return model

    def _path(self, context: Context) -> Path:
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:16]
        return context.shared / "vits" / f"{digest}.pt"

    def _train(self, path: Path, context: Context) -> None:
        found = splits(self.data, context.data, self.classes, self.rows, side=self.side)
        torch.manual_seed(self.seed)
        model = self._new(len(self.classes)).to(context.device)
        train = found.train

        def loss(rows: Any) -> torch.Tensor:
            given = values(train, rows, self.side, 1).to(context.device)
            with autocast(context.device, self.precision):
                answered = model(pixel_values=given).logits.float()
            labels = torch.from_numpy(train.labels[rows]).to(context.device)
            return functional.cross_entropy(answered, labels)

        loop = Loop(
            self.epochs,
            shuffled(len(train), self.batch, self.seed),
            loss,
            lambda: _accuracy(model, found.choose),
            self.seed,
        )
        checkpoint = path.with_suffix(f".{code.of(__file__)}.checkpoint")  # no other code's epochs
        groups = [{"params": list(model.parameters()), "lr": self.rate}]
        history = fit(model, groups, loop, checkpoint, context.step)["history"]
        torch.save(history, path.with_suffix(".history"))
        with whole(path) as partial:
            torch.save(model.cpu().state_dict(), partial)
        checkpoint.unlink()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A pretrained Vision Transformer of transformers, by path or hub name, or in --models."""

    name: str

    @property
    def label(self) -> str:
        """The name."""
        return self.name

    @property
    def side(self) -> int:
        """Of an image, in pixels."""
        from transformers import ViTConfig

        return int(pretrained(ViTConfig, self.name).image_size)

    def model(self, classes: int, seed: int, context: Context) -> nn.Module:  # noqa: ARG002  # bases are called alike
        """Returns it in eval mode, with a new head of `classes` that the seed decides."""
        from transformers import ViTForImageClassification

        torch.manual_seed(seed)
        model: nn.Module = pretrained(
            ViTForImageClassification,
            self.name,
            num_labels=classes,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
        )
        return model.eval()


Base = Pretext | Checkpoint


@torch.no_grad()
def _accuracy(model: nn.Module, images: Images) -> float:
    config: Any = model.config
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(images), _EVALUATED):
        rows = np.arange(start, min(start + _EVALUATED, len(images)))
        given = values(images, rows, config.image_size, config.num_channels).to(device)
        parts.append(model(pixel_values=given).logits)  # (images, classes)
    return accuracy(torch.cat(parts).double().cpu().numpy(), images.labels)

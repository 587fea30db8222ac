"""One training of an encoder on one task: what GLUE, curves, bias and bases are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

import fourier_format
from experiments.text import methods
from experiments.text.cutting import cut, layers
from experiments.text.deltas import delta_norm
from experiments.text.methods import Fourier, Method
from experiments.text.models import Example, new_model, tokens
from experiments.text.scoring import Numbers, others, predictions, score
from experiments.text.serving import served
from experiments.text.states import states
from experiments.text.tasks import TASKS, Rows, splits
from experiments.text.training import Recipe, Set, logits, train
from experiments.trial import Context, Json
from fourier_trainers.torch import capture

_QUERY_AND_VALUE = ("query", "value", "q", "v")
_FLOPS = 30e9  # of one core, in training


@dataclass(frozen=True, slots=True)
class TextTrial:
    """A method at a rate, trained on a task.

    Attributes:
        task: A name in tasks.TASKS.
        model: A name for models.located.
        method: What is trained.
        trained_layers: So many of the encoder's last layers are adapted, query and value of each;
            those below are computed once. 0: all, and nothing is computed beforehand.
        rate: Of what is trained beside the head.
        head_rate: Of the head.
        seed: Of head, batches, dropout and entries.
        epochs: How many.
        batch: Rows of a step.
        length: Tokens of a row at most.
        precision: "float32" or "bfloat16", of products in training.
        rows: Of train that are used; None for all.
        report: Whether the reporting split is answered. Trials that choose a rate never see it.
        serve: Whether ONNX Runtime answers it too.
    """

    task: str
    model: str
    method: Method
    trained_layers: int
    rate: float
    head_rate: float
    seed: int
    epochs: int
    batch: int
    length: int
    precision: str
    rows: int | None
    report: bool
    serve: bool

    @property
    def label(self) -> str:
        """Model, its part, task, method, rate, seed, epochs."""
        set_to = f"rate={self.rate:g} seed={self.seed} epochs={self.epochs}"
        return f"{self.model} {self._part} {self.task} {self.method.label} {set_to}"

    @property
    def work(self) -> str:
        """Equal models, parts of them, tasks and kinds of method."""
        rows = "" if self.rows is None else f" {self.rows} rows"
        return f"{self.model} {self._part} {self.task}{rows} {self.method.kind} {self.precision}"

    @property
    def _part(self) -> str:
        return f"top {self.trained_layers}" if self.trained_layers else "all layers"

    @property
    def steps(self) -> int:
        """Epochs."""
        return self.epochs

    @property
    def guess(self) -> float:
        """From two operations a weight and token, forwards and backwards."""
        weights = {"minilm": 1.8e6 * (self.trained_layers or 6)}.get(self.model, 86e6)
        size = TASKS[self.task].size if self.rows is None else self.rows
        passes = {"head": 0.1, "full": 3.0}.get(self.method.kind, 2.0)
        return 2 * passes * weights * TASKS[self.task].tokens * size / _FLOPS

    def run(self, context: Context) -> Json:
        """Returns history, scores, sizes; with `report` the answers, with `serve` ONNX's.

        A training that diverged in its first epoch has nothing to report: "diverged" is 1.
        """
        task = TASKS[self.task]
        found = splits(task, context.data, self.rows)
        model = new_model(self.model, task, self.seed)
        kept = self.trained_layers or len(layers(model))
        targets = _targets(model, kept)
        if self.trained_layers:
            cut(model, kept)
        self.method.apply(model, targets, self.seed)
        model.to(context.device)
        groups = methods.groups(model, self.rate, self.head_rate)
        recipe = Recipe(self.epochs, self.batch, self.seed, task.metric, self.precision)
        result = train(
            model,
            groups,
            recipe,
            Set(self._examples(found.train, context), found.train.labels),
            Set(self._examples(found.choose, context), found.choose.labels),
            context.folder / "checkpoint.pt",
            context.step,
        )
        head, beside = (methods.counted(each) for each in methods.parted(model))
        result |= {"parameters": beside, "head": head}
        if self.report and result.get("diverged") != 1:
            result |= self._reported(model, found.report, context)
        return result

    def _examples(self, rows: Rows, context: Context) -> list[Example]:
        if not self.trained_layers:
            return tokens(self.model, rows, self.length)
        task = TASKS[self.task]
        return states(
            self.model, task, rows, self.trained_layers, self.length, context.shared, context.device
        )

    def _reported(self, model: nn.Module, rows: Rows, context: Context) -> Json:
        task = TASKS[self.task]
        answered = logits(model, self._examples(rows, context))
        if not np.isfinite(answered).all():
            raise ArithmeticError("the reporting split's logits are not finite")
        predicted = predictions(answered)
        names = (task.metric, *others(task.classes))
        result: Json = {
            "report": {name: score(name, predicted, rows.labels) for name in names},
            "delta_norm": delta_norm(self.method, model),
            **_answers(predicted, rows.labels, task.classes),
            "file_bytes": _file_bytes(self.method, model, context.folder),
        }
        if self.serve:
            file = context.folder / "adapter.fft"
            result["onnxruntime"] = served(
                file, self.model, task, rows, answered, self.length, context.shared
            )
        return result


def _targets(model: nn.Module, trained: int) -> list[str]:
    """Returns the names of the query and value layers of the last `trained` layers."""
    first = len(layers(model)) - trained
    numbers = {f"encoder.layer.{number}." for number in range(first, len(layers(model)))}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.rsplit(".", maxsplit=1)[-1] in _QUERY_AND_VALUE
        and any(part in name for part in numbers)
    ]


def _file_bytes(method: Method, model: nn.Module, folder: Path) -> int:
    """Returns the size of what is trained, head included: a .fft, or a safetensors file."""
    if isinstance(method, Fourier):
        fourier_format.save(capture(model), folder / "adapter.fft", overwrite=True)
        return (folder / "adapter.fft").stat().st_size
    from safetensors.torch import save_file

    path = folder / "trained.safetensors"
    named = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    save_file(named, path)
    size = path.stat().st_size
    path.unlink()
    return size


def _answers(predicted: Numbers, labels: Numbers, classes: int) -> Json:
    """Returns which rows are answered right, a digit each, or scores rounded to 1e-6.

    Not the classes: with them, the labels of sets that may not be copied could be told.
    """
    if classes:
        return {"right": "".join(str(int(each)) for each in predicted == labels)}
    return {"predictions": [float(value) for value in np.round(predicted, 6)]}
